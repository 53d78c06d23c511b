//! One evaluation of a group.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use promql::engine::{InstantVector, Round, StandingQuestion};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::append::{self, Outputs};
use crate::depend::batches;
use crate::error::EvalError;
use crate::group::{Environment, Group, GroupStatus, Health, RuleStatus, RunningRule, Spec};
use crate::rule::Action;

/// Which evaluation of a group it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Iteration {
    /// Its time.
    pub(crate) at_ns: i64,
    /// It was missed, and a later one is due. No alert is sent: what there is to tell is told as it is by then.
    pub(crate) is_caught_up: bool,
}

impl Iteration {
    /// The one that is due, at `at_ns`.
    pub(crate) fn due(at_ns: i64) -> Self {
        Iteration {
            at_ns,
            is_caught_up: false,
        }
    }
}

/// One evaluation on its way.
struct Evaluation<'e> {
    iteration: Iteration,
    environment: &'e Environment,
    stop: &'e CancellationToken,
    /// Rules that look at nothing that rules further up give; none where that is not known.
    first: &'e [usize],
    /// What those share.
    round: Round,
}

impl<'e> Evaluation<'e> {
    /// What the rule `index` shares with others: what it reads must not be what one of them has just written.
    fn round(&self, index: usize) -> Option<&Round> {
        self.first.binary_search(&index).ok().map(|_| &self.round)
    }
}

impl Group {
    /// Evaluates all rules at the iteration's time, so that a rule sees what the ones before it gave: one after the other, or those
    /// beside each other that do not look at each other.
    pub(crate) fn evaluate(&self, iteration: Iteration, environment: &Environment, stop: &CancellationToken) {
        let at_ns = iteration.at_ns;
        let started = Instant::now();
        let started_at_ns = environment.now_ns();
        let rules = self.rules.iter().map(|running| &running.rule);
        let batches = self.batches.get_or_init(|| batches(rules)).as_deref();
        let evaluation = Evaluation {
            iteration,
            environment,
            stop,
            first: batches.and_then(<[_]>::first).map_or(&[], Vec::as_slice),
            round: Round::new(),
        };
        let samples = match (&environment.concurrent_evaluations, batches) {
            (Some(turns), Some(batches)) => self.evaluate_batches(batches, turns, &evaluation),
            _ => (0..self.rules.len())
                .take_while(|_| !stop.is_cancelled())
                .map(|index| self.evaluate_rule(index, &evaluation))
                .sum(),
        };
        if stop.is_cancelled() {
            return;
        }
        let rule_time: Duration = self
            .rules
            .iter()
            .map(|running| running.status.lock().duration)
            .sum();
        self.newest_ns.fetch_max(at_ns, Ordering::Relaxed);
        self.metrics.last_samples.set(samples as f64);
        self.mark_stale(at_ns, environment);
        self.count_missing(environment);
        let duration = started.elapsed();
        let seconds = duration.as_secs_f64();
        environment.metrics.group_seconds.observe(seconds);
        environment.metrics.group_histogram.observe(seconds);
        self.metrics.last_duration_seconds.set(seconds);
        self.metrics
            .last_rule_duration_sum_seconds
            .set(rule_time.as_secs_f64());
        self.metrics
            .last_evaluation_seconds
            .set(started_at_ns as f64 / 1e9);
        *self.status.lock() = GroupStatus {
            duration,
            evaluated_at_ns: Some(started_at_ns),
        };
    }

    /// Evaluates the rules of a batch beside each other as far as there are turns, and the rest here.
    fn evaluate_batches(
        &self,
        batches: &[Vec<usize>],
        turns: &Semaphore,
        evaluation: &Evaluation<'_>,
    ) -> usize {
        let samples = AtomicUsize::new(0);
        let evaluate = |index: usize| {
            let count = self.evaluate_rule(index, evaluation);
            samples.fetch_add(count, Ordering::Relaxed);
        };
        for batch in batches {
            std::thread::scope(|scope| {
                // The last has nobody to be beside of but those that have begun.
                let last = batch.len().saturating_sub(1);
                for (number, index) in batch.iter().enumerate() {
                    if evaluation.stop.is_cancelled() {
                        return;
                    }
                    let index = *index;
                    let turn = (number < last).then(|| turns.try_acquire().ok()).flatten();
                    let beside = turn.and_then(|turn| {
                        let work = move || {
                            evaluate(index);
                            drop(turn);
                        };
                        let thread = std::thread::Builder::new().name("rule".to_owned());
                        thread.spawn_scoped(scope, work).ok()
                    });
                    if beside.is_none() {
                        evaluate(index);
                    }
                }
            });
        }
        samples.into_inner()
    }

    /// Evaluates one rule; gives the number of samples that it produced.
    fn evaluate_rule(&self, index: usize, evaluation: &Evaluation<'_>) -> usize {
        let (running, environment) = (&self.rules[index], evaluation.environment);
        let started = Instant::now();
        let evaluated_at_ns = environment.now_ns();
        self.metrics.evaluations.inc();
        // A rule that panics, in the engine, a template, storage or whoever takes alerts, must not take the others with
        // it. What it shares with them are locks that do not poison; alerts are changed once all that is likely to
        // panic is done.
        let supervisor = &environment.metrics.supervisor;
        let result = supervisor.catch("rule evaluation", || {
            let (results, error) = self.results(index, evaluation)?;
            error.iter().for_each(|error| self.failed(running, error));
            let outputs = self.outputs(running, &results)?;
            let written = self.write(running, &results, &outputs, evaluation);
            let refused = written.unwrap_or_else(|error| {
                self.failed(running, &error);
                Some(error)
            });
            Ok((results.len(), error.or(refused)))
        });
        let result = result.unwrap_or_else(|panicked| Err(panicked.into()));
        let (count, error) = match result {
            Ok(done) => done,
            Err(error) => {
                self.failed(running, &error);
                (0, Some(error))
            }
        };
        let duration = started.elapsed();
        environment
            .metrics
            .evaluation_seconds
            .observe(duration.as_secs_f64());
        environment
            .metrics
            .evaluation_histogram
            .observe(duration.as_secs_f64());
        *running.status.lock() = RuleStatus {
            health: if error.is_some() {
                Health::Bad
            } else {
                Health::Good
            },
            last_error: error.map(Arc::new),
            duration,
            evaluated_at_ns: Some(evaluated_at_ns),
        };
        count
    }

    fn failed(&self, running: &RunningRule, error: &EvalError) {
        self.metrics.evaluation_failures.inc();
        // A query that is canceled was so on purpose, when the server stops.
        if !error.is_canceled() {
            let Spec {
                file, name: group, ..
            } = &self.spec;
            tracing::warn!(file, group, name = running.rule.name, %error, "Evaluating rule failed");
        }
    }

    /// What a rule has to write: the result that it records, or the series that tell of its alerts, which are sent as well;
    /// and why it could not be evaluated where there is something to write all the same.
    fn results(
        &self,
        index: usize,
        evaluation: &Evaluation<'_>,
    ) -> Result<(InstantVector, Option<EvalError>), EvalError> {
        let (running, at_ns) = (&self.rules[index], evaluation.iteration.at_ns);
        let question = StandingQuestion {
            expr: &running.rule.expr,
            standing: &self.standing,
            number: index,
            round: evaluation.round(index),
            at_ms: self.query_ms(at_ns),
        };
        let environment = evaluation.environment;
        // Caught here, a panic of the query is a failed evaluation like any other: alerts are looked after (`no_data`).
        let ask = || {
            environment
                .source
                .query(question, &running.rule.query, self.spec.asker())
        };
        let asked = environment.metrics.supervisor.catch("rule evaluation", ask);
        let result = asked.unwrap_or_else(|panicked| Err(panicked.into()));
        match &running.rule.action {
            Action::Record => Ok((result?, None)),
            Action::Alert(action) => {
                let alerted = self.alert(running, action, result, evaluation.iteration, environment)?;
                let samples = InstantVector::of_samples(alerted.samples, self.query_ms(at_ns));
                Ok((samples, alerted.error))
            }
        }
    }

    /// To which series results go.
    ///
    /// # Errors
    /// When they cannot be what the rule records.
    fn outputs(&self, running: &RunningRule, results: &InstantVector) -> Result<Outputs, EvalError> {
        let mut written = running.written.lock();
        if let Action::Alert(_) = running.rule.action {
            return Ok(written.outputs(results, |place| results.labels_at(place)));
        }
        let mut recorded = None;
        let outputs = written.outputs(results, |place| {
            let recorded = recorded.get_or_insert_with(|| running.rule.recorded_labels());
            recorded(&results.labels_at(place))
        });
        let (limit, found) = (self.spec.limit, results.len());
        if outputs.has_twins {
            return Err(EvalError::SameSeries);
        }
        if limit > 0 && found > limit {
            return Err(EvalError::Limit {
                limit,
                found,
                what: "series",
            });
        }
        Ok(outputs)
    }

    /// Writes results; gives what is wrong with single ones.
    ///
    /// # Errors
    /// When nothing was written.
    fn write(
        &self,
        running: &RunningRule,
        results: &InstantVector,
        outputs: &Outputs,
        evaluation: &Evaluation<'_>,
    ) -> Result<Option<EvalError>, EvalError> {
        let (at_ns, appender) = (evaluation.iteration.at_ns, &*evaluation.environment.appender);
        let mut written = running.written.lock();
        let appended = append::append(appender, results, outputs, &mut written)?;
        let repeats = at_ns <= self.newest_ns.load(Ordering::Relaxed);
        for (refusal, num_dropped) in appended.refusals {
            let (group, name) = (&self.spec.name, &running.rule.name);
            if repeats {
                tracing::debug!(group, name, num_dropped, %refusal, "Rule evaluation results discarded");
            } else {
                tracing::warn!(group, name, num_dropped, %refusal, "Rule evaluation results discarded");
            }
        }
        Ok(appended.refused)
    }
}
