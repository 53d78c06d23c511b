//! The loop of a group: evaluates it at its times, until it is stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::evaluate::Iteration;
use crate::group::{Environment, Group};
use crate::schedule::Turn;
use crate::threads::Threads;

/// Evaluations before the state of alerts is restored: at the first there may be too few samples yet, and recording
/// rules that alerts look at may not have written theirs.
const EVALUATIONS_BEFORE_RESTORING: u32 = 2;

/// Missed evaluations that are caught up at a time: the last ones before the one that is due. Earlier ones stay missed.
const CAUGHT_UP_MAX: u64 = 10;

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
    /// How long the last two evaluations took that were not caught up, the last one first.
    took: [Duration; 2],
    /// The last evaluation came so late that others were missed before it.
    is_behind: bool,
}

impl Progress {
    /// How long an evaluation usually takes: one that was held up for once does not count.
    fn usual(&self) -> Duration {
        self.took[0].min(self.took[1])
    }
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
            let was_set = group.follow_clock(environment);
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
                    group.metrics.iterations.add_count(missed.saturating_add(1));
                    progress.last_ns = Some(at_ns);
                    // Times that a clock passed over when it was set were no times: nothing was scraped at them.
                    let missed = if was_set { 0 } else { missed };
                    self.catch_up(at_ns, missed, progress).await;
                    progress.evaluations = progress.evaluations.saturating_add(1);
                    let began = environment.clock.elapsed();
                    self.evaluate(
                        Iteration::due(at_ns),
                        progress.evaluations == EVALUATIONS_BEFORE_RESTORING,
                    )
                    .await;
                    progress.took = [
                        environment.clock.elapsed().saturating_sub(began),
                        progress.took[0],
                    ];
                }
            }
        }
    }

    /// Makes up for the last of `missed` evaluations before the one at `at_ns`, each at its own time: recording rules leave
    /// no gap, and what alerts would have seen then counts. It may take half an interval: a group that is held up for
    /// once is made whole by that, one that is too slow would only fall further behind, and so stays as it is.
    async fn catch_up(&self, at_ns: i64, missed: u64, progress: &mut Progress) {
        let was_behind = std::mem::replace(&mut progress.is_behind, missed > 0);
        let Runner {
            group, environment, ..
        } = self;
        let interval_ns = group.schedule.interval_ns();
        let patience = Duration::from_nanos(interval_ns.unsigned_abs() / 2);
        let (began, mut caught_up) = (environment.clock.elapsed(), 0);
        if progress.usual() <= patience {
            for back in (1..=missed.min(CAUGHT_UP_MAX).cast_signed()).rev() {
                let took = environment.clock.elapsed().saturating_sub(began);
                if self.stop.is_cancelled() || took > patience {
                    break;
                }
                let iteration = Iteration {
                    at_ns: at_ns.saturating_sub(back.saturating_mul(interval_ns)),
                    is_caught_up: true,
                };
                self.evaluate(iteration, false).await;
                group.metrics.iterations_caught_up.inc();
                caught_up += 1;
            }
        }
        if missed > 0 && !was_behind {
            let (file, name) = (&group.spec.file, &group.spec.name);
            tracing::warn!(
                file,
                group = name,
                missed,
                caught_up,
                "Evaluations of a rule group came too late"
            );
        }
    }

    async fn evaluate(&self, iteration: Iteration, may_restore: bool) {
        let stop = self.stop.clone();
        self.blocking(move |group, environment| {
            group.look_again(iteration.at_ns, environment);
            group.evaluate(iteration, environment, &stop);
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
