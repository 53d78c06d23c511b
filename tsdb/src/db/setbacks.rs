//! What fails again and again in the background: tried less and less often, and said once.

use std::fmt::Display;
use std::time::Duration;

/// First pause after a failure; it doubles with each further one.
pub(super) const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How often a job has failed in a row. Every failure is counted in the metrics; here is what the log is told.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    in_a_row: u32,
}

impl Setbacks {
    /// Notes how a round of `job` has ended. The first failure is logged, then the second, fourth, eighth… in a row, and
    /// that it works again.
    pub(super) fn note<T, E: Display>(&mut self, job: &'static str, result: &Result<T, E>) {
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
                    let again_after_ms = self.pause().unwrap_or_default().as_millis() as u64;
                    tracing::error!(%error, failures = self.in_a_row, again_after_ms, "{job} failed");
                }
            }
        }
    }

    /// How long to wait after a failure; `None` where all is well.
    pub(super) fn pause(&self) -> Option<Duration> {
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
}
