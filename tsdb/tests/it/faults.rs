//! The disk fails at every call of a small workload that goes every way of writing: what was acknowledged is there,
//! what failed can be done again, and reading goes on.
//!
//! A run does the steps of [`STEPS`] in order. A step that fails must say which file; once the disk is well again it is
//! repeated and must succeed, unless a sync has failed: then appending stays closed until a restart. At the end the
//! store, and the same files opened by another process, hold exactly what was acknowledged.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use files::{Fault, Files, MemFiles};
use model::clock::ManualClock;
use model::histogram::{Buckets, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::{Exemplar, Metadata, MetricType};
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, FloatSample, HistogramSample, StorageError,
    TimeRange,
};
use narthex_tsdb::db::{Db, Options};

use crate::support::{Contents, DIR, Rng, Value, everything, options, read};

const STEP_MS: i64 = 5_000;
const WINDOW_MS: i64 = 40_000;
const BATCHES: i64 = 96;
/// What is older than this may have been removed.
const RETENTION_MS: i64 = 220_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A transaction with samples in order, and where its number is a multiple of 3 late ones too.
    Batch(i64),
    Sync,
    Delete(i64),
    Compact,
    Clean,
    Snapshot(i64),
    /// Of the head, for the next start.
    HeadSnapshot,
    /// A clean stop and a start.
    Reopen,
}

fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for number in 1..=BATCHES {
        steps.push(Step::Batch(number));
        match number {
            33 => steps.push(Step::Reopen),
            24 | 49 | 70 => steps.push(Step::Delete(number)),
            52 => steps.push(Step::Clean),
            40 => steps.push(Step::Snapshot(number)),
            28 | 58 | 77 | 91 => steps.push(Step::HeadSnapshot),
            _ if number % 9 == 0 => steps.push(Step::Sync),
            _ if number % 15 == 0 => steps.push(Step::Compact),
            _ => {}
        }
    }
    steps.extend([Step::Compact, Step::Clean, Step::Compact, Step::Sync]);
    steps
}

fn store_options() -> Options {
    let mut options = options();
    options.retention_ms = RETENTION_MS;
    options.block_range_max_ms = 300_000;
    options.head.samples_per_chunk = 8;
    options.head.out_of_order_window_ms = WINDOW_MS;
    options.head.out_of_order_cap = 3;
    options.head.exemplars_max = 20;
    options.head.wal_compression = narthex_tsdb::wal::Compression::None;
    options
}

struct Planned {
    labels: Labels,
    timestamp_ms: i64,
    histogram: Option<Histogram>,
    value: f64,
}

impl Planned {
    fn value(&self) -> Value {
        match &self.histogram {
            Some(histogram) => Value::of(histogram),
            None => Value::Float(self.value.to_bits()),
        }
    }
}

fn planned(number: i64) -> Vec<Planned> {
    let late = number % 3 == 0;
    let sample = |i: i64, timestamp_ms: i64| Planned {
        // One series is another one every ten batches.
        labels: Labels::from_pairs([
            ("__name__", "m".to_owned()),
            ("i", i.to_string()),
            ("epoch", if i == 4 { number / 10 } else { 0 }.to_string()),
        ]),
        timestamp_ms,
        histogram: (i == 3).then(|| histogram(number)),
        value: number as f64 + i as f64 / 8.0,
    };
    let mut all: Vec<Planned> = (0..5).map(|i| sample(i, number * STEP_MS)).collect();
    if late {
        all.extend((0..2).map(|i| sample(i, number * STEP_MS - 22_221 - i)));
    }
    all
}

fn histogram(number: i64) -> Histogram {
    Histogram::Int(Arc::new(Buckets {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 0,
        count: number as u64,
        sum: number as f64,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        negative_spans: vec![],
        positive_buckets: vec![number],
        negative_buckets: vec![],
        custom_values: None,
    }))
}

/// The range that a deletion takes: older than where late samples still come.
fn deletion(number: i64) -> TimeRange {
    let end_ms = number * STEP_MS - WINDOW_MS - 10_000;
    TimeRange::new(end_ms - 30_000, end_ms)
}

/// What is not about storage: a fault is only ever told as a storage error.
fn storage_error(error: AppendError) -> StorageError {
    match error {
        AppendError::Storage(error) => error,
        other => panic!("{other}"),
    }
}

struct Run {
    files: MemFiles,
    db: Option<Db>,
    /// What was acknowledged.
    must: Contents,
    /// Samples of transactions that failed and were not repeated successfully.
    may: BTreeSet<(Labels, i64)>,
    /// A deletion failed; some of it may be done.
    deleting: Vec<TimeRange>,
    newest_ms: i64,
    errors: Vec<StorageError>,
    /// Heal the disk after so many failures.
    patience: usize,
    /// Whether the head may be read from its snapshot.
    snapshots: bool,
}

impl Run {
    fn new(files: &MemFiles, patience: usize) -> Run {
        Run {
            files: files.clone(),
            db: None,
            must: Contents::new(),
            may: BTreeSet::new(),
            deleting: Vec::new(),
            newest_ms: 0,
            errors: Vec::new(),
            patience,
            snapshots: true,
        }
    }

    fn go(&mut self) {
        self.must_do(Run::reopen);
        for step in steps() {
            self.must_do(|run| run.step(step));
        }
    }

    /// Does it, and again once the disk is well; false where appending is closed.
    fn must_do(&mut self, mut act: impl FnMut(&mut Run) -> Result<(), StorageError>) {
        for attempt in 0..20 {
            let Err(error) = act(self) else {
                return;
            };
            let names_file = match &error {
                StorageError::Io { path, .. } => !path.as_os_str().is_empty(),
                StorageError::Poisoned(_) => true,
                _ => false,
            };
            assert!(names_file, "{error:?}");
            if matches!(error, StorageError::Poisoned(_)) {
                return;
            }
            if self.errors.is_empty() {
                self.check_live();
            }
            self.errors.push(error);
            if attempt + 1 >= self.patience {
                self.files.heal();
            }
            assert!(attempt < 19, "it never succeeds: {:?}", self.errors.last());
        }
    }

    fn step(&mut self, step: Step) -> Result<(), StorageError> {
        match step {
            Step::Batch(number) => self.append(number),
            Step::Sync => self.db().sync(),
            Step::Compact => self.db().compact(),
            Step::Clean => self.db().clean_tombstones(),
            Step::Delete(number) => self.delete(number),
            Step::Snapshot(number) => {
                // A snapshot that failed is begun anew elsewhere.
                let dir = format!("snapshots/{number}-{}", self.errors.len());
                self.db().snapshot(Path::new(&dir), true)
            }
            Step::HeadSnapshot => self.db().head().write_snapshot().map(|_| ()),
            Step::Reopen => self.reopen(),
        }
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("open")
    }

    fn reopen(&mut self) -> Result<(), StorageError> {
        if let Some(db) = self.db.take() {
            // A stop that fails is a stop.
            if let Err(error) = db.close() {
                self.errors.push(error);
            }
        }
        let files: Arc<dyn Files> = Arc::new(self.files.clone());
        let clock = Arc::new(ManualClock::new(0));
        let mut options = store_options();
        options.head.snapshots = self.snapshots;
        let db = Db::open(files, Path::new(DIR), options, clock)?;
        assert!(db.damaged_blocks().is_empty(), "{:?}", db.damaged_blocks());
        self.db = Some(db);
        Ok(())
    }

    fn append(&mut self, number: i64) -> Result<(), StorageError> {
        let planned = planned(number);
        self.newest_ms = number * STEP_MS;
        let appended = self.try_append(&planned);
        for sample in planned {
            let key = (sample.labels.clone(), sample.timestamp_ms);
            match appended {
                Ok(()) => {
                    self.may.remove(&key);
                    let value = sample.value();
                    self.must.entry(key.0).or_default().insert(key.1, value);
                }
                Err(_) => drop(self.may.insert(key)),
            }
        }
        appended
    }

    fn try_append(&self, planned: &[Planned]) -> Result<(), StorageError> {
        loop {
            let mut batch = AppendBatch::default();
            for sample in planned {
                let series = self.db().resolve(&sample.labels).expect("no limit");
                let timestamp_ms = sample.timestamp_ms;
                match &sample.histogram {
                    Some(histogram) => batch.histograms.push(HistogramSample {
                        series,
                        timestamp_ms,
                        histogram: histogram.clone(),
                    }),
                    None => batch.floats.push(FloatSample {
                        series,
                        timestamp_ms,
                        value: sample.value,
                    }),
                }
            }
            let first = batch.floats[0];
            // Long texts fill segments.
            let metadata = Metadata {
                metric_type: MetricType::Gauge,
                unit: String::new(),
                help: "help ".repeat(600),
            };
            batch.metadata.push((first.series, metadata));
            let exemplar = Exemplar {
                labels: Labels::from_pairs([("trace", first.timestamp_ms.to_string())]),
                value: 1.0,
                timestamp_ms: Some(first.timestamp_ms),
            };
            batch.exemplars.push((first.series, exemplar));
            let mut outcome = AppendOutcome::default();
            match self.db().append(&batch, &mut outcome) {
                Ok(()) => {
                    // When it is repeated the exemplar may be there already.
                    let refused = outcome
                        .refused
                        .iter()
                        .any(|(list, ..)| *list != BatchList::Exemplars);
                    assert!(!refused, "{:?}", outcome.refused);
                    return Ok(());
                }
                Err(AppendError::UnknownSeries(_)) => {}
                Err(error) => return Err(storage_error(error)),
            }
        }
    }

    fn delete(&mut self, number: i64) -> Result<(), StorageError> {
        let range = deletion(number);
        let matcher = Matcher::equal("i", "1");
        let deleted = self.db().delete(range, std::slice::from_ref(&matcher));
        if deleted.is_ok() {
            for (labels, samples) in &mut self.must {
                if matcher.matches_labels(labels) {
                    samples.retain(|t, _| !range.contains(*t));
                }
            }
        } else {
            self.deleting.push(range);
        }
        deleted
    }

    /// Everything acknowledged is in `found`, and nothing that nobody appended.
    fn check(&self, found: &Contents, what: &str) {
        let floor_ms = self.newest_ms - RETENTION_MS;
        let deleting = |t: i64| self.deleting.iter().any(|range| range.contains(t));
        for (labels, samples) in &self.must {
            for (t, value) in samples {
                let there = found.get(labels).and_then(|s| s.get(t));
                let may_go = there.is_none() && (*t < floor_ms || deleting(*t));
                assert!(
                    may_go || there == Some(value),
                    "{what}: {labels} at {t}: {there:?}"
                );
            }
        }
        for (labels, samples) in found {
            for t in samples.keys() {
                let wanted = self.must.get(labels).is_some_and(|s| s.contains_key(t));
                let known = wanted || self.may.contains(&(labels.clone(), *t));
                assert!(known, "{what}: {labels} at {t} was deleted or never there");
            }
        }
    }

    fn check_live(&self) {
        if let Some(db) = &self.db {
            self.check(&read(db, TimeRange::ALL, &everything()), "while it fails");
        }
    }

    /// The same files in another process, which uses the snapshot of the head, and in one that does not.
    fn check_restarted(&self, files: MemFiles, what: &str) {
        self.check_restarted_with(files.after_kill(), true, what);
        self.check_restarted_with(files, false, what);
    }

    fn check_restarted_with(&self, files: MemFiles, snapshots: bool, what: &str) {
        let mut other = Run::new(&files, 1);
        other.snapshots = snapshots;
        let what = &format!("{what}, snapshot of the head used: {snapshots}");
        other.reopen().expect("a restart works");
        let contents = read(other.db(), TimeRange::ALL, &everything());
        self.check(&contents, what);
        // And it goes on.
        other.append(BATCHES + 20).expect("appending goes on");
        other.db().compact().expect("compacting goes on");
        for entry in files.list(Path::new(DIR)).expect("a folder") {
            assert!(!entry.name.contains(".tmp"), "{what}: {} is left", entry.name);
        }
    }
}

/// One whole run under `faults`; the disk heals after `patience` failures of a step.
fn run(faults: &[Fault], patience: usize) -> Run {
    let files = MemFiles::new();
    for fault in faults {
        files.inject(*fault);
    }
    let mut run = Run::new(&files, patience);
    run.go();
    // Whoever only reads may fail with the disk; what is there is asked of a healthy one.
    files.heal();
    run.check_live();
    run.check_restarted(files.after_kill(), &format!("killed after {faults:?}"));
    run
}

/// How many calls, reads, syncs and bytes there are in a run without faults.
fn counts() -> (u64, u64, u64, u64) {
    let files = MemFiles::new();
    files.inject(Fault::NoSpaceAfter(1 << 40));
    let mut run = Run::new(&files, 1);
    run.go();
    assert!(run.errors.is_empty() && run.may.is_empty());
    let reads = files.reads();
    run.check_live();
    let left = files.disk_space(Path::new(DIR)).expect("limited").free_bytes;
    let counters = run.db().compaction_counters();
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let done = [
        of(&counters.head_blocks),
        of(&counters.merged_blocks),
        of(&counters.age_retentions),
        of(&run.db().head().counters.checkpoints),
    ];
    assert!(
        done.iter().all(|count| *count > 0),
        "every way of writing is gone: {done:?}"
    );
    (files.calls(), reads, files.syncs(), (1 << 40) - left)
}

/// Points to try: every one with `NARTHEX_EVERY_FAULT` (`cargo xtask crash` sets it), else so many that the tests stay quick.
fn points(all: u64, some: u64) -> impl Iterator<Item = u64> {
    let every = std::env::var_os("NARTHEX_EVERY_FAULT").is_some();
    let step = if every { 1 } else { all.div_ceil(some).max(1) };
    println!("{} of {all} points", all.div_ceil(step));
    (1..=all).step_by(step as usize)
}

#[test]
fn a_call_that_fails_once_costs_nothing() {
    let (calls, reads, _, _) = counts();
    for call in points(calls, 50) {
        run(&[Fault::Call(call)], 1);
    }
    for call in points(calls, 25) {
        run(&[Fault::ShortWrite(call)], 1);
    }
    for number in points(reads, 25) {
        run(&[Fault::Read(number)], 1);
    }
}

#[test]
fn a_disk_that_takes_nothing_for_a_while_costs_nothing() {
    let (calls, _, _, bytes) = counts();
    for call in points(calls, 20) {
        run(&[Fault::CallsFrom(call)], 4);
    }
    for space in points(bytes / 97, 20) {
        let full = run(&[Fault::NoSpaceAfter(space * 97)], 4);
        assert!(!full.errors.is_empty());
    }
}

#[test]
fn after_a_failed_sync_nothing_that_was_acknowledged_is_lost() {
    let (_, _, syncs, _) = counts();
    for sync in points(syncs, 25) {
        run(&[Fault::Sync(sync)], 1);
    }
}

#[test]
fn a_write_torn_by_the_end_of_the_process_costs_only_itself() {
    let (calls, ..) = counts();
    for call in points(calls, 30) {
        let files = MemFiles::new();
        files.inject(Fault::TornAtCall(call));
        let mut run = Run::new(&files, 1);
        let mut all = steps().into_iter();
        if run.reopen().is_ok() {
            all.all(|step| run.step(step).is_ok());
        }
        run.check_restarted(files.after_kill(), &format!("torn at call {call}"));
    }
}

#[test]
fn a_power_cut_in_the_midst_of_writes_costs_what_was_not_synced() {
    let (_, _, syncs, _) = counts();
    for sync in points(syncs, 20) {
        for seed in 0..2 {
            let files = MemFiles::new();
            files.inject(Fault::FreezeAtSync(sync));
            let mut run = Run::new(&files, 1);
            let mut synced = Contents::new();
            if run.reopen().is_ok() {
                for step in steps() {
                    if let Step::Delete(number) = step {
                        run.deleting.push(deletion(number));
                    }
                    if run.step(step).is_err() {
                        break;
                    }
                    if matches!(step, Step::Sync) {
                        synced = run.must.clone();
                        run.deleting.clear();
                    }
                }
            }
            run.must = synced;
            // What came behind the last sync may be there.
            for number in 1..=BATCHES {
                let samples = planned(number).into_iter();
                run.may.extend(samples.map(|s| (s.labels, s.timestamp_ms)));
            }
            let mut rng = Rng::new(seed ^ sync << 8);
            let cut = files.after_torn_power_loss(|n| rng.below(n));
            run.check_restarted(cut, &format!("power cut at sync {sync}, seed {seed}"));
        }
    }
}
