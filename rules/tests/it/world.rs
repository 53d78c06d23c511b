//! A world for a manager to run in: queries with prepared answers, a store in memory, time that jumps.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use files::MemFiles;
use metrics::{Format, Registry};
use model::alert::{Alert, AlertSink};
use model::clock::Clock;
use model::labels::Labels;
use narthex_rules::{
    AlertJournal, AlertOptions, Asker, Environment, EvalError, GroupSnapshot, LoadError, Manager,
    QuerySource, Recovery, RuleMetrics, Settings, Threads,
};
use promql::engine::{InstantVector, StandingQuestion};
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
    /// What panics when it is asked for, besides `panics`.
    panicking: Arc<Mutex<HashSet<String>>>,
    slow: Arc<Mutex<Option<Slow>>>,
    /// Queries that wait for another one, and those that have met one.
    meeting: Arc<(Mutex<u32>, Condvar)>,
}

/// Queries that are slow.
struct Slow {
    /// Where time goes by during them.
    clock: Arc<RuntimeClock>,
    seconds: i64,
    queries_left: u32,
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

    pub(crate) fn panic_on(&self, expr: &str) {
        self.panicking.lock().unwrap().insert(expr.to_owned());
    }

    /// Makes the next `queries` take that long on the clock of `world`.
    pub(crate) fn take_seconds(&self, world: &World, seconds: i64, queries: u32) {
        *self.slow.lock().unwrap() = Some(Slow {
            clock: world.clock.clone(),
            seconds,
            queries_left: queries,
        });
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
    fn query(
        &self,
        question: StandingQuestion<'_>,
        text: &str,
        asker: Asker<'_>,
    ) -> Result<InstantVector, EvalError> {
        assert_eq!(text, question.expr.to_string());
        let samples = self.query_text(text, question.at_ms, asker)?;
        Ok(InstantVector::of_samples(samples, question.at_ms))
    }

    fn query_text(&self, text: &str, at_ms: i64, _: Asker<'_>) -> Result<Vec<Sample>, EvalError> {
        self.asked.lock().unwrap().push((text.to_owned(), at_ms));
        let panics = text == "panics" || self.panicking.lock().unwrap().contains(text);
        assert!(!panics, "as prepared");
        if let Some(slow) = &mut *self.slow.lock().unwrap()
            && slow.queries_left > 0
        {
            slow.clock.hold(slow.seconds);
            slow.queries_left -= 1;
        }
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
    dies_with: Option<MemFiles>,
}

impl Sent {
    /// What was sent since the last call.
    pub(crate) fn take(&self) -> Vec<Alert> {
        std::mem::take(&mut *self.alerts.lock().unwrap())
    }

    /// What was sent since it was last taken, which it stays.
    pub(crate) fn peek(&self) -> Vec<Alert> {
        self.alerts.lock().unwrap().clone()
    }

    /// Makes the next send panic.
    pub(crate) fn panic_once(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }
}

impl AlertSink for Sent {
    fn send(&self, alerts: Vec<Alert>) {
        assert!(!alerts.is_empty());
        if self.dies_with.as_ref().is_some_and(MemFiles::is_frozen) {
            return;
        }
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
    /// Time that went by while nobody was woken.
    held_ms: AtomicI64,
    /// Panics when it is looked at that many times more.
    panics_in: AtomicI64,
}

impl RuntimeClock {
    /// A clock that stands at [`START_MS`] now.
    pub(crate) fn new() -> Self {
        RuntimeClock {
            begin: tokio::time::Instant::now(),
            set_by_ms: AtomicI64::new(0),
            held_ms: AtomicI64::new(0),
            panics_in: AtomicI64::new(i64::MAX),
        }
    }

    fn hold(&self, seconds: i64) {
        self.held_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for RuntimeClock {
    fn now_ms(&self) -> i64 {
        let left = self.panics_in.fetch_sub(1, Ordering::SeqCst);
        assert_ne!(left, 0, "the clock panics as prepared");
        START_MS + self.set_by_ms.load(Ordering::SeqCst) + self.elapsed().as_millis() as i64
    }

    fn elapsed(&self) -> Duration {
        self.begin.elapsed() + Duration::from_millis(self.held_ms.load(Ordering::SeqCst).unsigned_abs())
    }
}

pub(crate) struct World {
    pub(crate) queries: Queries,
    pub(crate) store: Store,
    pub(crate) sent: Sent,
    pub(crate) registry: Registry,
    pub(crate) manager: Manager,
    /// Where alerts are kept; they are not where this is absent.
    pub(crate) files: Option<MemFiles>,
    /// How long after a start targets may not have been scraped.
    pub(crate) first_scrapes: Duration,
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
        World::build(threads, concurrent, None)
    }

    /// A world whose alerts are kept in `files`.
    pub(crate) fn kept(files: MemFiles) -> Self {
        World::build(Threads::current(), 0, Some(files))
    }

    fn build(threads: Threads, concurrent: usize, files: Option<MemFiles>) -> Self {
        let (queries, registry): (Queries, Registry) = Default::default();
        let sent = Sent {
            dies_with: files.clone(),
            ..Sent::default()
        };
        let store = Store::dying_with(files.clone());
        let clock = Arc::new(RuntimeClock::new());
        let first_scrapes = Duration::from_secs(20);
        let doors = Doors {
            queries: &queries,
            store: &store,
            sent: &sent,
            clock: &clock,
            files: files.as_ref(),
            first_scrapes,
        };
        let manager = doors.manager(&registry, threads, concurrent);
        World {
            queries,
            store,
            sent,
            registry,
            manager,
            files,
            first_scrapes,
            clock,
            folder: TempDir::new().unwrap(),
        }
    }

    /// Stops the manager and starts another one on the same store.
    pub(crate) async fn restart(&mut self, down: Duration) {
        self.manager.stop().await;
        tokio::time::sleep(down).await;
        self.start();
    }

    /// Ends the manager without a word, and starts another one on the same store and on `files`: what is left of those
    /// that there were.
    pub(crate) async fn kill(&mut self, files: MemFiles, down: Duration) {
        // What it writes as it ends goes to files that nobody reads.
        let sent = self.sent.take();
        self.manager.stop().await;
        self.sent.take();
        self.sent.alerts.lock().unwrap().extend(sent);
        tokio::time::sleep(down).await;
        self.files = Some(files);
        self.start();
    }

    fn start(&mut self) {
        self.registry = Registry::new();
        self.sent.dies_with.clone_from(&self.files);
        self.store.die_with(self.files.clone());
        let doors = Doors {
            queries: &self.queries,
            store: &self.store,
            sent: &self.sent,
            clock: &self.clock,
            files: self.files.as_ref(),
            first_scrapes: self.first_scrapes,
        };
        self.manager = doors.manager(&self.registry, Threads::current(), 0);
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

    /// Lets time go by that nobody is woken in, as where the machine has better things to do.
    pub(crate) fn hold(&self, seconds: i64) {
        self.clock.hold(seconds);
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

/// What a manager is made of.
struct Doors<'a> {
    queries: &'a Queries,
    store: &'a Store,
    sent: &'a Sent,
    clock: &'a Arc<RuntimeClock>,
    files: Option<&'a MemFiles>,
    first_scrapes: Duration,
}

impl Doors<'_> {
    /// A manager that has started.
    fn manager(&self, registry: &Registry, threads: Threads, concurrent: usize) -> Manager {
        let environment = Environment {
            source: Arc::new(self.queries.clone()),
            appender: Arc::new(self.store.clone()),
            storage: Arc::new(self.store.clone()),
            sink: Arc::new(self.sent.clone()),
            clock: self.clock.clone(),
            metrics: Arc::new(RuleMetrics::new(registry)),
            options: AlertOptions::default(),
            recovery: self.files.and_then(|files| self.recovery(files, registry)),
            concurrent_evaluations: (concurrent > 0).then(|| Arc::new(Semaphore::new(concurrent))),
        };
        let manager = Manager::new(environment, threads, false);
        manager.start();
        manager
    }

    /// As a server has it: none where there can be no journal.
    fn recovery(&self, files: &MemFiles, registry: &Registry) -> Option<Recovery> {
        let (files, folder) = (Arc::new(files.clone()), Path::new("data/alerts"));
        let journal = AlertJournal::open(files, self.clock.clone(), folder, registry).ok()?;
        let first_scrapes = self.first_scrapes;
        Some(Recovery::new(journal, Duration::from_secs(300), move || {
            first_scrapes
        }))
    }
}
