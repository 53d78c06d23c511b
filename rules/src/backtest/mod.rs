//! Rules over data of the past: what they would have recorded, and when which alert would have been pending, fired and
//! been over.
//!
//! Groups are evaluated as a server evaluates them, at `from`, an interval later, and so on, with a clock that is set to each
//! time; a rule that looks at nothing that rules give is asked for many of these times at once. What rules write is kept in
//! memory and stands in front of what is stored; the store is only read.

mod ahead;
mod episode;
mod given;
mod remote;
mod store;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

use metrics::Registry;
use model::alert::{Alert, AlertSink};
use model::clock::ManualClock;
use model::storage::Queryable;
use parking_lot::Mutex;
use promql::engine::Engine;
use tokio_util::sync::CancellationToken;

use crate::error::{EvalError, LoadError};
use crate::evaluate::Iteration;
use crate::format::{RuleFile, RuleKind};
use crate::group::{Environment, Group};
use crate::instrument::RuleMetrics;
use crate::load::{Plan, Settings};
use crate::rule::Action;
use crate::source::EngineSource;

use ahead::{Ahead, Answers, samples_each};
use episode::Episodes;
pub use episode::{Counts, End, Episode};
use given::Given;
use remote::RemoteStore;
pub use remote::{NotAskable, Remote, RemoteError, RemoteSeries};
use store::Replayed;

const MS_NS: i64 = 1_000_000;
/// Most samples that rules may write: they are kept in memory, some 16 bytes each.
const SAMPLES_MAX: usize = 100_000_000;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Backtest {
    /// Which rule files, and how they are read.
    pub settings: Settings,
    /// When all groups are evaluated first, in milliseconds since the epoch.
    pub from_ms: i64,
    /// The last time at which one may be.
    pub to_ms: i64,
    /// Texts of rule files and their names, in the place of the patterns' files.
    pub texts: Vec<(String, String)>,
}

/// Where a backtest's data are.
#[derive(Clone)]
pub enum Source {
    /// In a store.
    Stored(Arc<dyn Queryable>),
    /// Behind a server's API.
    Remote(Arc<dyn Remote>),
}

/// Looks on at a backtest.
pub trait Watch {
    /// An evaluation of a group is done; a break ends the backtest.
    fn progress(&mut self, progress: Progress) -> ControlFlow<()>;

    /// Whether [`Watch::alerts`] wants to be told.
    fn wants_alerts(&self) -> bool {
        false
    }

    /// What the evaluation at `at_ms` would have sent to Alertmanagers.
    fn alerts(&mut self, at_ms: i64, alerts: Vec<Alert>) {
        let _ = (at_ms, alerts);
    }
}

impl<F: FnMut(Progress) -> ControlFlow<()>> Watch for F {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        self(progress)
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// When it began, in milliseconds since the epoch.
    pub from_ms: i64,
    /// When it ended.
    pub to_ms: i64,
    /// The rules, as they stand in the files.
    pub rules: Vec<RuleReport>,
}

/// What came of a rule.
#[derive(Debug)]
pub struct RuleReport {
    /// The file it stands in.
    pub file: String,
    /// Its group.
    pub group: String,
    /// Whether it alerts.
    pub kind: RuleKind,
    /// The name of its alerts or series.
    pub name: String,
    /// How often it was evaluated.
    pub evaluations: u64,
    /// How often that failed.
    pub failures: u64,
    /// The first failure.
    pub first_failure: Option<Failure>,
    /// How many alerts there were.
    pub counts: Counts,
    /// The alerts, in order of their beginnings.
    pub episodes: Vec<Episode>,
}

/// Why an evaluation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its time, in milliseconds since the epoch.
    pub at_ms: i64,
    /// What was wrong.
    pub error: String,
}

/// How far a backtest is, in evaluations of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Those that are done.
    pub done: u64,
    /// All of them.
    pub total: u64,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BacktestError {
    /// It ends before it begins.
    #[error("the backtest ends before it begins")]
    Order,
    /// A pattern of the settings matches nothing.
    #[error("{0}: no such file")]
    NoFile(String),
    /// Rule files cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A rule reads what a server elsewhere cannot be asked for.
    #[error(transparent)]
    NotAskable(#[from] NotAskable),
    /// The server elsewhere does not answer, or not as it should.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// There are more evaluations of rules than were allowed.
    #[error(
        "{evaluations} evaluations of rules are more than {max}: try a shorter time, fewer rules or longer intervals"
    )]
    TooManyEvaluations {
        /// How many there would be.
        evaluations: u64,
        /// How many there may be.
        max: u64,
    },
    /// Whoever watches its progress has had enough.
    #[error("interrupted")]
    Interrupted,
    /// The rules write more than can be kept.
    #[error("the rules write more than {SAMPLES_MAX} samples; try a shorter time or fewer rules")]
    TooManySamples,
}

impl Backtest {
    /// How many evaluations of rules there are.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn count(&self) -> Result<u64, BacktestError> {
        let files = self.files()?;
        let plans = self.settings.plans(&files);
        let of = |plan: &Plan| {
            self.steps(plan.spec.interval_ms)
                .saturating_mul(plan.rules.len() as u64)
        };
        Ok(plans.iter().map(of).fold(0, u64::saturating_add))
    }

    /// How often a group of this interval is evaluated.
    fn steps(&self, interval_ms: i64) -> u64 {
        (self.to_ms.saturating_sub(self.from_ms) / interval_ms).unsigned_abs() + 1
    }

    /// Evaluates all rules over the data of `source`; `watch` is told after each evaluation of a group, and may end it.
    ///
    /// # Errors
    /// When the files cannot be read, and those of [`BacktestError`]. A rule that cannot be evaluated is none: the
    /// report tells.
    pub fn run(
        &self,
        source: Source,
        engine: Arc<Engine>,
        watch: &mut dyn Watch,
    ) -> Result<Report, BacktestError> {
        if self.to_ms < self.from_ms {
            return Err(BacktestError::Order);
        }
        let mut replay = self.prepare(source, engine, watch.wants_alerts())?;
        let mut due: BinaryHeap<_> = (0..replay.groups.len())
            .map(|number| Reverse((self.from_ms, number)))
            .collect();
        let groups = replay.groups.iter();
        let total = groups.map(|group| self.steps(group.spec.interval_ms)).sum();
        let mut done = 0;
        // Groups of the same time follow each other as they stand in the files.
        while let Some(Reverse((at_ms, number))) = due.pop() {
            replay.evaluate(number, at_ms);
            if let Some(error) = replay.broken() {
                return Err(error.into());
            }
            let alerts = std::mem::take(&mut *replay.sent.0.lock());
            if !alerts.is_empty() {
                watch.alerts(at_ms, alerts);
            }
            if replay.store.num_samples() > SAMPLES_MAX {
                return Err(BacktestError::TooManySamples);
            }
            done += 1;
            if watch.progress(Progress { done, total }).is_break() {
                return Err(BacktestError::Interrupted);
            }
            let next_ms = at_ms.saturating_add(replay.groups[number].spec.interval_ms);
            if next_ms <= self.to_ms {
                due.push(Reverse((next_ms, number)));
            }
        }
        Ok(Report {
            from_ms: self.from_ms,
            to_ms: self.to_ms,
            rules: replay.reports(),
        })
    }

    fn files(&self) -> Result<Vec<(String, RuleFile)>, BacktestError> {
        if !self.texts.is_empty() {
            return Ok(self.settings.read_texts(&self.texts)?);
        }
        for pattern in &self.settings.patterns {
            let alone = Settings {
                patterns: vec![pattern.clone()],
                ..Settings::default()
            };
            if alone.paths()?.is_empty() {
                return Err(BacktestError::NoFile(pattern.clone()));
            }
        }
        Ok(self.settings.read_files()?)
    }

    fn prepare(
        &self,
        source: Source,
        engine: Arc<Engine>,
        wants_alerts: bool,
    ) -> Result<Replay, BacktestError> {
        let files = self.files()?;
        let metrics = RuleMetrics::new(&Registry::new());
        let plans = self.settings.plans(&files).into_iter();
        let groups: Vec<Group> = plans.map(|plan| Group::new(plan, false, &metrics)).collect();
        let rules = groups.iter().flat_map(|group| &group.rules);
        let given = Arc::new(Given::new(rules.map(|running| &running.rule)));
        let (storage, remote): (Arc<dyn Queryable>, _) = match source {
            Source::Stored(storage) => (storage, None),
            Source::Remote(remote) => {
                let rules = groups.iter().flat_map(|group| &group.rules);
                let here = rules.map(|running| &running.rule);
                let here = here.filter(|rule| Answers::of(rule, &given).is_none());
                let store = Arc::new(RemoteStore::new(remote, here, &given)?);
                (Arc::new(remote::Asked(store.clone())), Some(store))
            }
        };
        let store = Arc::new(Replayed::new(storage, given.clone()));
        let sent = Arc::new(Sent::default());
        let sink = wants_alerts.then(|| sent.clone() as Arc<dyn AlertSink>);
        let clock = Arc::new(ManualClock::new(self.from_ms));
        let metrics = Arc::new(metrics);
        let samples_max = samples_each(groups.iter().map(|group| group.rules.len()).sum());
        let environment = |group: &Group| {
            let rules = group.rules.iter().map(|running| &running.rule);
            let source = Ahead {
                source: EngineSource::new(engine.clone(), store.clone()),
                remote: remote.clone().map(|store| (store, given.clone())),
                step_ms: group.spec.interval_ms,
                last_ms: self.to_ms,
                samples_max,
                rules: rules.map(|rule| Answers::of(rule, &given)).collect(),
            };
            Environment::offline(
                Arc::new(source),
                store.clone(),
                sink.clone(),
                clock.clone(),
                metrics.clone(),
            )
        };
        Ok(Replay {
            environments: groups.iter().map(environment).collect(),
            findings: groups.iter().map(|group| findings(group.rules.len())).collect(),
            groups,
            store,
            clock,
            remote: remote.clone(),
            sent,
        })
    }
}

/// A backtest under way.
struct Replay {
    groups: Vec<Group>,
    /// What is known of each group's rules.
    findings: Vec<Vec<Findings>>,
    /// What each group's evaluations need.
    environments: Vec<Environment>,
    store: Arc<Replayed>,
    clock: Arc<ManualClock>,
    remote: Option<Arc<RemoteStore>>,
    sent: Arc<Sent>,
}

/// What rules have sent since somebody looked.
#[derive(Default)]
struct Sent(Mutex<Vec<Alert>>);

impl AlertSink for Sent {
    fn send(&self, alerts: Vec<Alert>) {
        self.0.lock().extend(alerts);
    }
}

/// What is known of a rule so far.
#[derive(Default)]
struct Findings {
    evaluations: u64,
    failures: u64,
    first_failure: Option<Failure>,
    episodes: Episodes,
}

fn findings(len: usize) -> Vec<Findings> {
    std::iter::repeat_with(Findings::default).take(len).collect()
}

impl Replay {
    /// Why no more can be asked of a server elsewhere.
    fn broken(&self) -> Option<RemoteError> {
        self.remote.as_ref().and_then(|store| store.broken.lock().clone())
    }

    fn evaluate(&mut self, number: usize, at_ms: i64) {
        let group = &self.groups[number];
        let at_ns = at_ms.saturating_mul(MS_NS);
        self.clock.set(at_ms);
        group.evaluate(
            Iteration::due(at_ns),
            &self.environments[number],
            &CancellationToken::new(),
        );
        for (running, found) in group.rules.iter().zip(&mut self.findings[number]) {
            found.evaluations += 1;
            let error = running.status.lock().last_error.clone();
            if let Some(error) = &error {
                found.failures += 1;
                found.first_failure.get_or_insert_with(|| Failure {
                    at_ms,
                    error: error.to_string(),
                });
            }
            let too_many = matches!(error.as_deref(), Some(EvalError::Limit { .. }));
            found.episodes.follow(at_ns, &running.alerts.lock(), too_many);
        }
    }

    fn reports(self) -> Vec<RuleReport> {
        let mut reports = Vec::new();
        for (group, findings) in self.groups.into_iter().zip(self.findings) {
            for (running, found) in group.rules.into_iter().zip(findings) {
                let (episodes, counts) = found.episodes.finish();
                reports.push(RuleReport {
                    file: group.spec.file.clone(),
                    group: group.spec.name.clone(),
                    kind: match running.rule.action {
                        Action::Record => RuleKind::Recording,
                        Action::Alert(_) => RuleKind::Alerting,
                    },
                    name: running.rule.name,
                    evaluations: found.evaluations,
                    failures: found.failures,
                    first_failure: found.first_failure,
                    counts,
                    episodes,
                });
            }
        }
        reports
    }
}
