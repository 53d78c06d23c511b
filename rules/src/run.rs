//! The loop of a group: evaluates it at its times, until it is stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::group::{Environment, Group};
use crate::schedule::Turn;
use crate::threads::Threads;

/// Evaluations before the state of alerts is restored: at the first there may be too few samples yet, and recording
/// rules that alerts look at may not have written theirs.
const EVALUATIONS_BEFORE_RESTORING: u32 = 2;

/// A group and all that running it takes.
pub(crate) struct Runner {
    pub(crate) group: Arc<Group>,
    pub(crate) environment: Arc<Environment>,
    pub(crate) threads: Arc<Threads>,
    pub(crate) stop: CancellationToken,
}

/// How far a group has come.
#[derive(Default)]
struct Progress {
    /// The time of the last evaluation, or of the one that would have been before the first.
    last_ns: Option<i64>,
    evaluations: u32,
}

impl Runner {
    /// Evaluates the group until it is stopped. A panic costs the evaluation that it happens in.
    pub(crate) async fn run(self) {
        let mut progress = Progress::default();
        let supervisor = &self.environment.metrics.supervisor;
        while supervisor
            .round("rule group", self.follow(&mut progress))
            .await
            .is_err()
        {
            self.group.metrics.evaluation_failures.inc();
            let pause = Duration::from_nanos(self.group.schedule.interval_ns().unsigned_abs());
            if !sleep(pause, &self.stop).await {
                return;
            }
        }
    }

    async fn follow(&self, progress: &mut Progress) {
        let Runner {
            group, environment, ..
        } = self;
        while !self.stop.is_cancelled() {
            let now_ns = environment.now_ns();
            group.follow_clock(environment);
            let last_ns = *progress
                .last_ns
                .get_or_insert_with(|| group.schedule.at_or_before(now_ns));
            match group.schedule.turn(last_ns, now_ns) {
                Turn::Wait(pause) => {
                    if !sleep(pause, &self.stop).await {
                        return;
                    }
                }
                Turn::Evaluate { at_ns, missed } => {
                    group.metrics.iterations_missed.add_count(missed);
                    group.metrics.iterations.add_count(missed);
                    progress.last_ns = Some(at_ns);
                    progress.evaluations = progress.evaluations.saturating_add(1);
                    self.evaluate(at_ns, progress.evaluations == EVALUATIONS_BEFORE_RESTORING)
                        .await;
                }
            }
        }
    }

    async fn evaluate(&self, at_ns: i64, may_restore: bool) {
        let stop = self.stop.clone();
        self.blocking(move |group, environment| {
            group.look_again(at_ns, environment);
            group.evaluate(at_ns, environment, &stop);
            let unrestored = group
                .rules
                .iter()
                .any(|rule| !rule.restored.load(Ordering::Relaxed));
            if may_restore && unrestored {
                group.restore(environment.now_ns(), environment);
            }
        })
        .await;
    }

    /// Marks the series of the group, which is being removed, after two intervals: rules that only moved to another
    /// group have gone on with their series by then.
    pub(crate) async fn end(self) {
        let now_ns = self.environment.now_ns();
        let pause_ns = self.group.schedule.interval_ns().saturating_mul(2);
        if !sleep(Duration::from_nanos(pause_ns.unsigned_abs()), &self.stop).await {
            return;
        }
        self.blocking(move |group, environment| {
            group.abandon();
            group.mark_stale(now_ns, environment);
        })
        .await;
    }

    /// Does something that waits for storage on a thread for such things. A panic there ends this only.
    async fn blocking(&self, work: impl FnOnce(&Group, &Environment) + Send + 'static) {
        let (group, environment) = (self.group.clone(), self.environment.clone());
        let supervisor = environment.metrics.supervisor.clone();
        let done = self.threads.evaluate(move || {
            let done = supervisor.catch("rule group", || work(&group, &environment));
            if let Err(panicked) = done {
                group.metrics.evaluation_failures.inc();
                let (file, name) = (&group.spec.file, &group.spec.name);
                tracing::error!(file, group = name, error = %panicked, "An evaluation of a rule group ended early");
            }
        });
        // Without threads the program is ending.
        let _ = done.await;
    }
}

/// Waits; `false` when stopped before.
async fn sleep(pause: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}
