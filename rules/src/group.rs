//! A group of rules and what it remembers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::alert::{Alert, AlertSink};
use model::clock::{Clock, JumpWatch};
use model::labels::Labels;
use model::storage::{Appender, Queryable};
use parking_lot::Mutex;
use promql::engine::Standing;
use template::Value;
use tokio::sync::Semaphore;

use crate::append::{self, Written};
use crate::error::EvalError;
use crate::instrument::{GroupMetrics, RuleMetrics};
use crate::journal::{Kept, Recovery};
use crate::load::Plan;
use crate::no_data::NoData;
use crate::rule::Rule;
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

/// Takes alerts and forgets them.
struct Nobody;

impl AlertSink for Nobody {
    fn send(&self, _: Vec<Alert>) {}
}

impl Environment {
    /// One in which rules are evaluated one after the other, and nobody is told of alerts but `sink`: for looking at what
    /// rules do.
    pub(crate) fn offline<S: Appender + Queryable + 'static>(
        source: Arc<dyn QuerySource>,
        store: Arc<S>,
        sink: Option<Arc<dyn AlertSink>>,
        clock: Arc<dyn Clock>,
        metrics: Arc<RuleMetrics>,
    ) -> Self {
        Environment {
            source,
            appender: store.clone(),
            storage: store,
            sink: sink.unwrap_or_else(|| Arc::new(Nobody)),
            clock,
            metrics,
            options: AlertOptions::default(),
            recovery: None,
            concurrent_evaluations: None,
        }
    }

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
    pub(crate) no_data: NoData,
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
    /// What is remembered of the rules' expressions, by their place in the group.
    pub(crate) standing: Standing,
    /// Whether the clock was set since the last look; empty until the first.
    clock: Mutex<Option<JumpWatch>>,
    /// The latest time of evaluation so far. Before it, which is where a clock that was set back leads, storage refuses
    /// results: that is told once by whoever watches the clock, not at each evaluation.
    pub(crate) newest_ns: AtomicI64,
    /// Which rules look at which, once somebody has asked; none where they may look at anything.
    pub(crate) batches: OnceLock<Option<Vec<Vec<usize>>>>,
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
            standing: Standing::new(rules.len()),
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
    /// neither as pending nor as waiting to be sent again, and time that went by does not go away. Says whether it was set.
    pub(crate) fn follow_clock(&self, environment: &Environment) -> bool {
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
        jump_ms != 0
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
                None => stale.extend(written.into_present()),
            }
        }
        *self.stale.lock() = stale;
    }

    /// The time that queries of the evaluation at `at_ns` look at, and that results carry.
    pub(crate) fn query_ms(&self, at_ns: i64) -> i64 {
        (at_ns - self.spec.query_offset_ms.saturating_mul(MS_NS)).div_euclid(MS_NS)
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
            stale.extend(std::mem::take(&mut *running.written.lock()).into_present());
        }
    }
}

/// The how manieth of its name and labels the rule is.
fn next_ordinal(twins: &mut HashMap<(String, Labels), u32>, rule: &Rule) -> u32 {
    let next = twins.entry((rule.name.clone(), rule.labels.clone())).or_default();
    *next += 1;
    *next - 1
}
