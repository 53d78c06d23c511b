//! What fails again and again in the background: tried less and less often, and said once.

use std::fmt::Display;
use std::time::Duration;

use parking_lot::Mutex;

/// First pause after a failure; it doubles with each further one.
pub(crate) const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How often a job has failed in a row. Every failure is counted in the metrics; here is what the log is told.
#[derive(Debug, Default)]
pub(crate) struct Setbacks {
    in_a_row: u32,
}

/// The setbacks of each job in the background.
#[derive(Debug, Default)]
pub(crate) struct JobSetbacks {
    pub(crate) compaction: Mutex<Setbacks>,
    pub(crate) reload: Mutex<Setbacks>,
    pub(crate) stale: Mutex<Setbacks>,
    pub(crate) checkpoint: Mutex<Setbacks>,
    pub(crate) snapshot: Mutex<Setbacks>,
}

impl JobSetbacks {
    /// How long the thread of compaction waits: until the job of its round that fails most is tried again.
    pub(crate) fn pause_of_compaction(&self) -> Option<Duration> {
        let jobs = [&self.compaction, &self.reload, &self.stale];
        jobs.into_iter().filter_map(|job| job.lock().pause()).max()
    }
}

impl Setbacks {
    /// Notes how a round of `job` has ended. The first failure is logged, then the second, fourth, eighth… in a row, and
    /// that it works again.
    pub(crate) fn note<T, E: Display>(&mut self, job: &'static str, result: &Result<T, E>) {
        match result {
            Ok(_) => {
                if self.in_a_row > 0 {
                    tracing::info!(failures = self.in_a_row, "{job} works again");
                }
                self.in_a_row = 0;
            }
            Err(error) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                if self.in_a_row.is_power_of_two() {
                    tracing::error!(%error, failures = self.in_a_row, "{job} failed");
                }
            }
        }
    }

    /// How long to wait after a failure; `None` where all is well.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let doublings = self.in_a_row.checked_sub(1)?.min(PAUSE_MAX.as_secs() as u32);
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        Some(PAUSE_MIN.saturating_mul(factor).min(PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_end_with_the_first_success() {
        let mut setbacks = Setbacks::default();
        assert_eq!(setbacks.pause(), None);
        let failed: Result<(), &str> = Err("disk");
        let pauses: Vec<u64> = (0..8)
            .map(|_| {
                setbacks.note("a job", &failed);
                setbacks.pause().unwrap_or_default().as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..1000 {
            setbacks.note("a job", &failed);
        }
        assert_eq!(setbacks.pause(), Some(PAUSE_MAX));
        setbacks.note("a job", &Ok::<(), &str>(()));
        assert_eq!(setbacks.pause(), None);
    }

    #[test]
    fn a_round_of_compaction_waits_for_its_worst_job_and_for_no_other() {
        let jobs = JobSetbacks::default();
        let failed: Result<(), &str> = Err("disk");
        jobs.snapshot.lock().note("a job", &failed);
        jobs.checkpoint.lock().note("a job", &failed);
        assert_eq!(jobs.pause_of_compaction(), None);
        jobs.compaction.lock().note("a job", &failed);
        for _ in 0..3 {
            jobs.reload.lock().note("a job", &failed);
        }
        assert_eq!(jobs.pause_of_compaction(), Some(Duration::from_secs(4)));
    }
}
