//! Running a mechanism: asking at an interval, or watching. A panic costs one round.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::TargetGroup;
use crate::manager::Shared;
use crate::prepare::{Counted, DiscoveryError, Poll, Runner, Watch};

/// What panics of mechanisms are counted under.
pub(crate) const TASK: &str = "discovery";
/// Shortest pause between two attempts. The reference crashes over an interval of 0.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// An interval is stretched or shortened by up to this share, so that thousands of jobs do not ask in step.
const JITTER: f64 = 0.05;
/// Pause before a watch that ended is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

/// A mechanism's way to report. Reports after the mechanism was stopped are dropped.
#[derive(Clone, Debug)]
pub struct Updates {
    pub(crate) shared: Arc<Shared>,
    pub(crate) provider: u64,
    pub(crate) mechanism: &'static str,
    /// The job in whose name it runs.
    pub(crate) job: Arc<str>,
    /// Whether the last attempt failed: only changes are said.
    pub(crate) failing: Arc<std::sync::atomic::AtomicBool>,
}

impl Updates {
    /// Reports groups; those with the source of an earlier one replace it, those without targets take it back.
    pub fn send(&self, groups: Vec<TargetGroup>) {
        self.shared.update(self.provider, groups, false);
    }

    /// Reports the whole picture: groups whose source is not there are taken back.
    pub fn replace(&self, groups: Vec<TargetGroup>) {
        self.shared.update(self.provider, groups, true);
    }

    /// Says that all that there is was reported: the picture is whole.
    pub fn settled(&self) {
        self.shared.settle(self.provider);
    }

    /// Says that an attempt failed; what was found before stays. Said once, until something succeeds.
    pub fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        let before = self.failing.swap(true, std::sync::atomic::Ordering::Relaxed);
        self.shared
            .trouble(self.provider, self.mechanism, error.to_string());
        if before {
            tracing::debug!(discovery = self.mechanism, config = &*self.job, %error, "Unable to refresh target groups");
        } else {
            tracing::error!(
                discovery = self.mechanism,
                config = &*self.job,
                %error,
                "Unable to refresh target groups; those found before stay"
            );
        }
    }

    /// Shows an error where targets are shown, and says nothing in the log: what `self` stands for shares with others
    /// whatever fails, and that has said it.
    pub(crate) fn trouble(&self, error: &str) {
        self.shared
            .trouble(self.provider, self.mechanism, error.to_owned());
    }

    /// Takes that back.
    pub(crate) fn trouble_ends(&self) {
        self.shared.trouble_ends(self.provider);
    }

    /// Says that an attempt succeeded.
    pub fn succeeded(&self) {
        if self.failing.swap(false, std::sync::atomic::Ordering::Relaxed) {
            self.shared.trouble_ends(self.provider);
            tracing::info!(
                discovery = self.mechanism,
                config = &*self.job,
                "Target groups are refreshed again"
            );
        }
    }
}

/// Runs until `stop`.
pub(crate) async fn run(runner: Runner, updates: Updates, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = async {
            match runner {
                Runner::Poll { interval, poll, counted } => {
                    poll_for_ever(poll, interval.max(INTERVAL_MIN), counted, &updates).await;
                }
                Runner::Watch(watch) => watch_for_ever(watch, &updates).await,
            }
        } => {}
    }
}

async fn poll_for_ever(mut poll: Box<dyn Poll>, interval: Duration, counted: Counted, updates: &Updates) {
    let metrics = &updates.shared.metrics;
    let mechanism = counted.mechanism.unwrap_or(updates.mechanism);
    let job = if counted.under_no_job { "" } else { &*updates.job };
    let failures = metrics.refresh_failures.with(&[mechanism, job]);
    loop {
        let start = Instant::now();
        let result = metrics.supervisor.round(TASK, poll.refresh()).await;
        metrics.refreshed(mechanism, job, start.elapsed());
        // What a panic left half done is replaced by the next round's whole picture.
        let taken_over = result.and_then(|found| {
            metrics.supervisor.catch(TASK, || {
                found.map(|groups| {
                    updates.succeeded();
                    updates.replace(groups);
                    updates.settled();
                })
            })
        });
        match taken_over {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                failures.inc();
                updates.failed(&error);
            }
            Err(panicked) => {
                failures.inc();
                updates.failed(&panicked);
            }
        }
        tokio::time::sleep(interval.mul_f64(1.0 + JITTER * spread())).await;
    }
}

/// Some number between -1 and 1: hash maps are seeded with a different one each time.
pub(crate) fn spread() -> f64 {
    let some = RandomState::new().build_hasher().finish();
    some as f64 / u64::MAX as f64 * 2.0 - 1.0
}

async fn watch_for_ever(mut watch: Box<dyn Watch>, updates: &Updates) {
    loop {
        match updates
            .shared
            .metrics
            .supervisor
            .round(TASK, watch.run(updates))
            .await
        {
            Ok(()) => updates.failed(&DiscoveryError::Other("the watch ended".into())),
            Err(panicked) => updates.failed(&panicked),
        }
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}
