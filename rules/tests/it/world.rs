//! A world for a manager to run in: queries with prepared answers, a store in memory, time that jumps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use metrics::{Format, Registry};
use model::alert::{Alert, AlertSink};
use model::clock::Clock;
use model::labels::Labels;
use narthex_rules::{
    AlertOptions, Asker, Environment, EvalError, GroupSnapshot, LoadError, Manager, QuerySource, RuleMetrics,
    Settings, Threads,
};
use promql::ast::Expr;
use promql::value::{Sample, SampleValue};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::store::Store;

/// Midnight at the start of 2024, in milliseconds.
pub(crate) const START_MS: i64 = 1_704_067_200_000;

/// A query's answer: label sets and their values.
pub(crate) type Vector = Vec<(Labels, f64)>;

/// Answers queries with what the test has prepared: nothing, a vector, or a failure.
#[derive(Clone, Default)]
pub(crate) struct Queries {
    answers: Arc<Mutex<HashMap<String, Option<Vector>>>>,
    asked: Arc<Mutex<Vec<(String, i64)>>>,
    /// Queries that wait for another one, and those that have met one.
    meeting: Arc<(Mutex<u32>, Condvar)>,
}

impl Queries {
    pub(crate) fn set(&self, expr: &str, elements: &[(&[(&str, &str)], f64)]) {
        let vector = elements
            .iter()
            .map(|(labels, value)| (Labels::from_pairs(labels.iter().copied()), *value));
        self.answers
            .lock()
            .unwrap()
            .insert(expr.to_owned(), Some(vector.collect()));
    }

    pub(crate) fn fail(&self, expr: &str) {
        self.answers.lock().unwrap().insert(expr.to_owned(), None);
    }

    /// Waits until another query is here as well.
    fn meet(&self) {
        let (here, changed) = &*self.meeting;
        let mut here = here.lock().unwrap();
        *here += 1;
        changed.notify_all();
        let goal = here.next_multiple_of(2);
        let (_here, waited) = changed
            .wait_timeout_while(here, Duration::from_secs(60), |here| *here < goal)
            .unwrap();
        assert!(!waited.timed_out(), "nobody came");
    }

    /// What was asked for, in order.
    pub(crate) fn order(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(text, _)| text.clone()).collect()
    }

    /// Times at which `expr` was asked for.
    pub(crate) fn asked(&self, expr: &str) -> Vec<i64> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(text, _)| text == expr)
            .map(|(_, at)| *at)
            .collect()
    }
}

impl QuerySource for Queries {
    fn query(&self, expr: &Expr, text: &str, at_ms: i64, asker: Asker<'_>) -> Result<Vec<Sample>, EvalError> {
        assert_eq!(text, expr.to_string());
        self.query_text(text, at_ms, asker)
    }

    fn query_text(&self, text: &str, at_ms: i64, _: Asker<'_>) -> Result<Vec<Sample>, EvalError> {
        self.asked.lock().unwrap().push((text.to_owned(), at_ms));
        assert!(text != "panics", "as prepared");
        if text.starts_with("meet") {
            self.meet();
        }
        let answer = self
            .answers
            .lock()
            .unwrap()
            .get(text)
            .cloned()
            .unwrap_or(Some(Vec::new()));
        let vector = answer.ok_or(EvalError::NotAVector)?;
        Ok(vector
            .into_iter()
            .map(|(labels, value)| Sample {
                labels,
                timestamp_ms: at_ms,
                value: SampleValue::Float(value),
            })
            .collect())
    }
}

/// Keeps what is sent.
#[derive(Clone, Default)]
pub(crate) struct Sent {
    alerts: Arc<Mutex<Vec<Alert>>>,
    panics: Arc<AtomicBool>,
}

impl Sent {
    /// What was sent since the last call.
    pub(crate) fn take(&self) -> Vec<Alert> {
        std::mem::take(&mut *self.alerts.lock().unwrap())
    }

    /// Makes the next send panic.
    pub(crate) fn panic_once(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }
}

impl AlertSink for Sent {
    fn send(&self, alerts: Vec<Alert>) {
        assert!(!alerts.is_empty());
        assert!(
            !self.panics.swap(false, Ordering::SeqCst),
            "the sink panics as prepared"
        );
        self.alerts.lock().unwrap().extend(alerts);
    }
}

/// Tells the runtime's time, which stands still unless everything waits, as a time of day that can be set.
pub(crate) struct RuntimeClock {
    begin: tokio::time::Instant,
    set_by_ms: AtomicI64,
    /// Panics when it is looked at that many times more.
    panics_in: AtomicI64,
}

impl RuntimeClock {
    /// A clock that stands at [`START_MS`] now.
    pub(crate) fn new() -> Self {
        RuntimeClock {
            begin: tokio::time::Instant::now(),
            set_by_ms: AtomicI64::new(0),
            panics_in: AtomicI64::new(i64::MAX),
        }
    }
}

impl Clock for RuntimeClock {
    fn now_ms(&self) -> i64 {
        let left = self.panics_in.fetch_sub(1, Ordering::SeqCst);
        assert_ne!(left, 0, "the clock panics as prepared");
        START_MS + self.set_by_ms.load(Ordering::SeqCst) + self.elapsed().as_millis() as i64
    }

    fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}

pub(crate) struct World {
    pub(crate) queries: Queries,
    pub(crate) store: Store,
    pub(crate) sent: Sent,
    pub(crate) registry: Registry,
    pub(crate) manager: Manager,
    clock: Arc<RuntimeClock>,
    folder: TempDir,
}

impl World {
    /// A world whose manager has started.
    pub(crate) fn new() -> Self {
        World::on(Threads::current(), 0)
    }

    /// A world whose rules run on `threads`, so many beside others of their group.
    pub(crate) fn on(threads: Threads, concurrent: usize) -> Self {
        let (queries, store, sent, registry) = Default::default();
        let clock = Arc::new(RuntimeClock::new());
        let manager = manager(&queries, &store, &sent, &registry, &clock, threads, concurrent);
        World {
            queries,
            store,
            sent,
            registry,
            manager,
            clock,
            folder: TempDir::new().unwrap(),
        }
    }

    /// Stops the manager and starts another one on the same store.
    pub(crate) async fn restart(&mut self, down: Duration) {
        self.manager.stop().await;
        tokio::time::sleep(down).await;
        self.registry = Registry::new();
        self.manager = manager(
            &self.queries,
            &self.store,
            &self.sent,
            &self.registry,
            &self.clock,
            Threads::current(),
            0,
        );
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            patterns: vec![self.folder.path().join("*.yml").display().to_string()],
            interval_ms: 10_000,
            external_labels: Labels::from_pairs([("region", "eu")]),
            external_url: "http://narthex.example".to_owned(),
            ..Settings::default()
        }
    }

    /// Writes `text` as the rule file `rules.yml` and loads it.
    pub(crate) async fn load(&self, text: &str) -> Result<(), LoadError> {
        std::fs::write(self.folder.path().join("rules.yml"), text).unwrap();
        self.manager.load(self.settings()).await
    }

    pub(crate) async fn wait(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Sets the clock forward or back.
    pub(crate) fn set_clock(&self, by_s: i64) {
        self.clock.set_by_ms.fetch_add(by_s * 1000, Ordering::SeqCst);
    }

    /// Makes the clock panic once.
    pub(crate) fn break_clock(&self) {
        self.clock.panics_in.store(0, Ordering::SeqCst);
    }

    /// The only group.
    pub(crate) fn group(&self) -> GroupSnapshot {
        let mut groups = self.manager.snapshot();
        assert_eq!(groups.len(), 1);
        groups.remove(0)
    }

    /// Lines of our own metrics that contain `part`, without the file's folder.
    pub(crate) fn metrics(&self, part: &str) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let text = self.registry.render(Format::Text).replace(&folder, "");
        let lines = text
            .lines()
            .filter(|line| line.contains(part) && !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }
}

fn manager(
    queries: &Queries,
    store: &Store,
    sent: &Sent,
    registry: &Registry,
    clock: &Arc<RuntimeClock>,
    threads: Threads,
    concurrent: usize,
) -> Manager {
    let environment = Environment {
        source: Arc::new(queries.clone()),
        appender: Arc::new(store.clone()),
        storage: Arc::new(store.clone()),
        sink: Arc::new(sent.clone()),
        clock: clock.clone(),
        metrics: Arc::new(RuleMetrics::new(registry)),
        options: AlertOptions::default(),
        concurrent_evaluations: (concurrent > 0).then(|| Arc::new(Semaphore::new(concurrent))),
    };
    let manager = Manager::new(environment, threads, false);
    manager.start();
    manager
}
