//! A group of rules and one evaluation of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use model::alert::AlertSink;
use model::clock::{Clock, JumpWatch};
use model::labels::Labels;
use model::storage::{Appender, Queryable};
use parking_lot::Mutex;
use promql::value::Sample;
use template::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::append::{self, Written};
use crate::depend::batches;
use crate::error::EvalError;
use crate::instrument::{GroupMetrics, RuleMetrics};
use crate::journal::{Kept, Recovery};
use crate::load::Plan;
use crate::rule::{Action, Rule};
use crate::schedule::Schedule;
use crate::source::{Asker, QuerySource};
use crate::state::AlertBook;

const MS_NS: i64 = 1_000_000;

/// What evaluations need of the rest of the program.
pub struct Environment {
    /// Evaluates expressions.
    pub source: Arc<dyn QuerySource>,
    /// Takes results.
    pub appender: Arc<dyn Appender>,
    /// Where the state of alerts is found again after a restart.
    pub storage: Arc<dyn Queryable>,
    /// Takes alerts.
    pub sink: Arc<dyn AlertSink>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<RuleMetrics>,
    /// `--rules.alert.*`
    pub options: AlertOptions,
    /// What lets alerts survive restarts; without, only series tell of them afterwards.
    pub recovery: Option<Recovery>,
    /// Rules of all groups that may be evaluated beside others of their group; none where rules go one after the other.
    pub concurrent_evaluations: Option<Arc<Semaphore>>,
}

/// The flags `--rules.alert.*`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertOptions {
    /// `resend-delay`: how long to wait before an alert that goes on is sent again.
    pub resend_delay_ms: i64,
    /// `for-outage-tolerance`: how old the state may be that is restored.
    pub outage_tolerance_ms: i64,
    /// `for-grace-period`: how long an alert is at least pending after its state was restored.
    pub grace_period_ms: i64,
}

impl Default for AlertOptions {
    fn default() -> Self {
        AlertOptions {
            resend_delay_ms: 60_000,
            outage_tolerance_ms: 3_600_000,
            grace_period_ms: 600_000,
        }
    }
}

impl Environment {
    pub(crate) fn now_ns(&self) -> i64 {
        self.clock.now_ms().saturating_mul(MS_NS)
    }
}

/// What makes a group what it is: a reload that changes none of it leaves the group alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) interval_ms: i64,
    pub(crate) query_offset_ms: i64,
    pub(crate) limit: usize,
    pub(crate) external_labels: Labels,
    pub(crate) external_url: String,
}

impl Spec {
    /// Who it is to those that it asks.
    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker {
            file: &self.file,
            group: &self.name,
        }
    }

    /// The key under which metrics know the group: names need not be unique across files.
    pub(crate) fn key(&self) -> String {
        format!("{};{}", self.file, self.name)
    }
}

/// How a rule fared at its last evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not evaluated yet.
    Unknown,
    /// Well.
    Good,
    /// Badly.
    Bad,
}

impl Health {
    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Good => "ok",
            Health::Bad => "err",
        }
    }
}

#[derive(Clone)]
pub(crate) struct RuleStatus {
    pub(crate) health: Health,
    pub(crate) last_error: Option<Arc<EvalError>>,
    pub(crate) duration: Duration,
    pub(crate) evaluated_at_ns: Option<i64>,
}

/// A rule and what it remembers.
pub(crate) struct RunningRule {
    pub(crate) rule: Rule,
    pub(crate) alerts: Mutex<AlertBook>,
    pub(crate) written: Mutex<Written>,
    /// Whether the state from before a restart was looked for; until then no state is written, which would hide it.
    pub(crate) restored: AtomicBool,
    pub(crate) kept: Kept,
    pub(crate) status: Mutex<RuleStatus>,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct GroupStatus {
    pub(crate) duration: Duration,
    pub(crate) evaluated_at_ns: Option<i64>,
}

pub(crate) struct Group {
    pub(crate) spec: Spec,
    pub(crate) schedule: Schedule,
    pub(crate) rules: Vec<RunningRule>,
    /// Series of rules that are gone, to be marked.
    stale: Mutex<Vec<Labels>>,
    pub(crate) status: Mutex<GroupStatus>,
    pub(crate) metrics: GroupMetrics,
    pub(crate) external_labels: Value,
    /// Whether the clock was set since the last look; empty until the first.
    clock: Mutex<Option<JumpWatch>>,
    /// The latest time of evaluation so far. Before it, which is where a clock that was set back leads, storage refuses
    /// results: that is told once by whoever watches the clock, not at each evaluation.
    newest_ns: AtomicI64,
    /// Rules that may be evaluated beside each other, once somebody has asked; none where they may not.
    batches: OnceLock<Option<Vec<Vec<usize>>>>,
}

impl Group {
    /// A group that was never evaluated; `restore` says whether its alerts' state is yet to be restored.
    pub(crate) fn new(plan: Plan, restore: bool, metrics: &RuleMetrics) -> Self {
        let Plan { spec, rules } = plan;
        let metrics = metrics.group(&spec.key());
        metrics.interval_seconds.set(spec.interval_ms as f64 / 1000.0);
        metrics.rules.set(rules.len() as f64);
        let mut twins: HashMap<(String, Labels), u32> = HashMap::new();
        let running = |rule: Rule| RunningRule {
            kept: Kept::new(next_ordinal(&mut twins, &rule)),
            rule,
            alerts: Mutex::default(),
            written: Mutex::default(),
            restored: AtomicBool::new(!restore),
            status: Mutex::new(RuleStatus {
                health: Health::Unknown,
                last_error: None,
                duration: Duration::ZERO,
                evaluated_at_ns: None,
            }),
        };
        Group {
            schedule: Schedule::new(&spec.file, &spec.name, spec.interval_ms),
            external_labels: Value::string_map(spec.external_labels.iter()),
            spec,
            rules: rules.into_iter().map(running).collect(),
            stale: Mutex::default(),
            status: Mutex::default(),
            metrics,
            clock: Mutex::default(),
            newest_ns: AtomicI64::new(i64::MIN),
            batches: OnceLock::new(),
        }
    }

    /// Where the clock was set since the last call, moves what is remembered by as much: time that did not go by counts
    /// neither as pending nor as waiting to be sent again, and time that went by does not go away.
    pub(crate) fn follow_clock(&self, environment: &Environment) {
        let clock = &*environment.clock;
        let mut watch = self.clock.lock();
        let jump_ms = watch.get_or_insert_with(|| JumpWatch::new(clock)).jump_ms(clock);
        drop(watch);
        if jump_ms != 0 {
            for running in &self.rules {
                running.kept.fall_behind();
                running.alerts.lock().shift(jump_ms.saturating_mul(MS_NS));
            }
        }
    }

    /// Whether a reload may keep this group: nothing about it changes with `plan`.
    pub(crate) fn is_same(&self, plan: &Plan) -> bool {
        let mut pairs = self.rules.iter().zip(&plan.rules);
        self.spec == plan.spec
            && self.rules.len() == plan.rules.len()
            && pairs.all(|(running, rule)| running.rule.is_same(rule))
    }

    /// Takes over the alerts and series of the group that this one replaces. Rules are paired by name and labels, the
    /// first with the first; series of rules that have no heir are to be marked.
    pub(crate) fn inherit(&self, old: &Group) {
        *self.status.lock() = *old.status.lock();
        *self.clock.lock() = *old.clock.lock();
        self.newest_ns
            .store(old.newest_ns.load(Ordering::Relaxed), Ordering::Relaxed);
        let mut stale = std::mem::take(&mut *old.stale.lock());
        // The last comes first, so that taking from the end pairs the first with the first.
        let mut heirs: HashMap<_, Vec<&RunningRule>> = HashMap::with_capacity(self.rules.len());
        for running in self.rules.iter().rev() {
            heirs.entry(running.rule.identity()).or_default().push(running);
        }
        for from in &old.rules {
            let identity = from.rule.identity();
            let written = std::mem::take(&mut *from.written.lock());
            match heirs.get_mut(&identity).and_then(Vec::pop) {
                Some(to) => {
                    *to.written.lock() = written;
                    // The old group keeps them as well: it answers for them until the journal knows the new one.
                    let alerts = from.alerts.lock().clone();
                    *to.alerts.lock() = alerts;
                    to.kept.inherit(&from.kept);
                }
                None => stale.extend(written.into_keys()),
            }
        }
        *self.stale.lock() = stale;
    }

    /// Evaluates all rules at `at_ns`, so that a rule sees what the ones before it gave: one after the other, or those
    /// beside each other that do not look at each other.
    pub(crate) fn evaluate(&self, at_ns: i64, environment: &Environment, stop: &CancellationToken) {
        let started = Instant::now();
        let started_at_ns = environment.now_ns();
        self.metrics.iterations.inc();
        let batches = environment.concurrent_evaluations.as_ref().and_then(|turns| {
            let rules = self.rules.iter().map(|running| &running.rule);
            Some((turns, self.batches.get_or_init(|| batches(rules)).as_ref()?))
        });
        let samples = match batches {
            Some((turns, batches)) => self.evaluate_batches(batches, turns, at_ns, environment, stop),
            None => {
                let rules = self.rules.iter();
                rules
                    .take_while(|_| !stop.is_cancelled())
                    .map(|running| self.evaluate_rule(running, at_ns, environment))
                    .sum()
            }
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
        at_ns: i64,
        environment: &Environment,
        stop: &CancellationToken,
    ) -> usize {
        let samples = AtomicUsize::new(0);
        let evaluate = |running: &RunningRule| {
            let count = self.evaluate_rule(running, at_ns, environment);
            samples.fetch_add(count, Ordering::Relaxed);
        };
        for batch in batches {
            std::thread::scope(|scope| {
                // The last has nobody to be beside of but those that have begun.
                let last = batch.len().saturating_sub(1);
                for (number, index) in batch.iter().enumerate() {
                    if stop.is_cancelled() {
                        return;
                    }
                    let running = &self.rules[*index];
                    let turn = (number < last).then(|| turns.try_acquire().ok()).flatten();
                    let beside = turn.and_then(|turn| {
                        let work = move || {
                            evaluate(running);
                            drop(turn);
                        };
                        let thread = std::thread::Builder::new().name("rule".to_owned());
                        thread.spawn_scoped(scope, work).ok()
                    });
                    if beside.is_none() {
                        evaluate(running);
                    }
                }
            });
        }
        samples.into_inner()
    }

    /// Evaluates one rule; gives the number of samples that it produced.
    fn evaluate_rule(&self, running: &RunningRule, at_ns: i64, environment: &Environment) -> usize {
        let started = Instant::now();
        let evaluated_at_ns = environment.now_ns();
        self.metrics.evaluations.inc();
        // A rule that panics, in the engine, a template, storage or whoever takes alerts, must not take the others with
        // it. What it shares with them are locks that do not poison; alerts are changed once all that is likely to
        // panic is done.
        let supervisor = &environment.metrics.supervisor;
        let result = supervisor.catch("rule evaluation", || {
            let samples = self.samples(running, at_ns, environment)?;
            let error = self.write(running, &samples, at_ns, environment);
            Ok((samples.len(), error))
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
        if !matches!(
            error,
            EvalError::Query(promql::engine::QueryError::Canceled { .. })
        ) {
            let Spec {
                file, name: group, ..
            } = &self.spec;
            tracing::warn!(file, group, name = running.rule.name, %error, "Evaluating rule failed");
        }
    }

    /// What a rule has to write at `at_ns`: the series that it records, or those that tell of its alerts, which are
    /// sent as well.
    fn samples(
        &self,
        running: &RunningRule,
        at_ns: i64,
        environment: &Environment,
    ) -> Result<Vec<Sample>, EvalError> {
        let result = environment.source.query(
            &running.rule.expr,
            &running.rule.query,
            self.query_ms(at_ns),
            self.spec.asker(),
        )?;
        match &running.rule.action {
            Action::Record => running.rule.record(result, self.spec.limit),
            Action::Alert(action) => self.alert(running, action, &result, at_ns, environment),
        }
    }

    /// The time that queries of the evaluation at `at_ns` look at, and that results carry.
    pub(crate) fn query_ms(&self, at_ns: i64) -> i64 {
        (at_ns - self.spec.query_offset_ms.saturating_mul(MS_NS)).div_euclid(MS_NS)
    }

    /// Writes samples; gives what is wrong with them.
    fn write(
        &self,
        running: &RunningRule,
        samples: &[Sample],
        at_ns: i64,
        environment: &Environment,
    ) -> Option<EvalError> {
        let mut written = running.written.lock();
        let result = append::append(&*environment.appender, samples, &written, self.query_ms(at_ns));
        let appended = match result {
            Ok(appended) => appended,
            Err(error) => {
                let error = EvalError::from(error);
                self.failed(running, &error);
                return Some(error);
            }
        };
        *written = appended.written;
        let repeats = at_ns <= self.newest_ns.load(Ordering::Relaxed);
        for (refusal, num_dropped) in appended.refusals {
            let (group, name) = (&self.spec.name, &running.rule.name);
            if repeats {
                tracing::debug!(group, name, num_dropped, %refusal, "Rule evaluation results discarded");
            } else {
                tracing::warn!(group, name, num_dropped, %refusal, "Rule evaluation results discarded");
            }
        }
        appended.refused
    }

    /// Marks the series of rules that are gone.
    pub(crate) fn mark_stale(&self, at_ns: i64, environment: &Environment) {
        let mut stale = self.stale.lock();
        if stale.is_empty() {
            return;
        }
        match append::mark_stale(&*environment.appender, &stale, self.query_ms(at_ns)) {
            Ok(()) => stale.clear(),
            Err(error) => {
                tracing::warn!(group = self.spec.name, %error, "Marking series of removed rules failed");
            }
        }
    }

    /// Makes all series that the group wrote ones that are to be marked: the group is being removed.
    pub(crate) fn abandon(&self) {
        let mut stale = self.stale.lock();
        for running in &self.rules {
            stale.extend(std::mem::take(&mut *running.written.lock()).into_keys());
        }
    }
}

/// The how manieth of its name and labels the rule is.
fn next_ordinal(twins: &mut HashMap<(String, Labels), u32>, rule: &Rule) -> u32 {
    let next = twins.entry((rule.name.clone(), rule.labels.clone())).or_default();
    *next += 1;
    *next - 1
}
