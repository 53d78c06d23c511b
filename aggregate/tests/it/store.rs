//! A store that remembers what it was given, with the thinner in front and a clock that is moved by hand.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use files::MemFiles;
use model::clock::ManualClock;
use model::labels::Labels;
use model::packed_sets::{PackedSet, PackedSets};
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, FloatSample, SeriesError, SeriesRef, StorageError,
};
use narthex_aggregate::{Config, Thinner};
use parking_lot::Mutex;
use promql::parser::parse_metric;

/// A sample as it was stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) timestamp_ms: i64,
    pub(crate) labels: String,
    pub(crate) value: f64,
}

#[derive(Default)]
pub(crate) struct Store(pub(crate) Mutex<Inside>);

#[derive(Default)]
pub(crate) struct Inside {
    by_labels: HashMap<Labels, u64>,
    series: BTreeMap<u64, Labels>,
    next: u64,
    pub(crate) floats: Vec<Stored>,
    pub(crate) starts: Vec<(String, i64)>,
    pub(crate) histograms: Vec<(String, i64)>,
    pub(crate) exemplars: usize,
    pub(crate) metadata: usize,
    pub(crate) appends: usize,
    /// Refuses everything.
    pub(crate) is_closed: bool,
}

impl Store {
    /// Forgets every series, as a store does that has had no sample of it for long.
    pub(crate) fn forget(&self) {
        let mut inside = self.0.lock();
        inside.by_labels.clear();
        inside.series.clear();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().series.values().map(text_of).collect()
    }

    pub(crate) fn take(&self) -> Vec<Stored> {
        std::mem::take(&mut self.0.lock().floats)
    }
}

impl Appender for Store {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        let mut inside = self.0.lock();
        if let Some(series) = inside.by_labels.get(labels) {
            return Ok(SeriesRef(*series));
        }
        inside.next += 1;
        let series = inside.next;
        inside.by_labels.insert(labels.clone(), series);
        inside.series.insert(series, labels.clone());
        Ok(SeriesRef(series))
    }

    fn find(&self, sets: &PackedSets, found: &mut Vec<Option<SeriesRef>>) {
        let inside = self.0.lock();
        found.clear();
        let labels = sets.iter().map(PackedSet::to_labels);
        found.extend(labels.map(|labels| inside.by_labels.get(&labels?).map(|series| SeriesRef(*series))));
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        let mut inside = self.0.lock();
        if inside.is_closed {
            return Err(AppendError::Storage(StorageError::Closed));
        }
        let all = batch.floats.iter().map(|sample| sample.series);
        let all = all.chain(batch.histograms.iter().map(|sample| sample.series));
        let all = all.chain(batch.exemplars.iter().map(|(series, _)| *series));
        let all: HashSet<SeriesRef> = all
            .chain(batch.metadata.iter().map(|(series, _)| *series))
            .collect();
        let unknown: Vec<SeriesRef> = all
            .into_iter()
            .filter(|series| !inside.series.contains_key(&series.0))
            .collect();
        if !unknown.is_empty() {
            return Err(AppendError::UnknownSeries(unknown));
        }
        outcome.refused.clear();
        outcome.accepted = (batch.floats.len() + batch.histograms.len()) as u64;
        inside.appends += 1;
        for (place, sample) in batch.floats.iter().enumerate() {
            let labels = text_of(&inside.series[&sample.series.0]);
            if let Some(start_ms) = batch
                .float_starts_ms
                .get(place)
                .filter(|start_ms| **start_ms != 0)
            {
                inside.starts.push((labels.clone(), *start_ms));
            }
            inside.floats.push(Stored {
                timestamp_ms: sample.timestamp_ms,
                labels,
                value: sample.value,
            });
        }
        for sample in &batch.histograms {
            let labels = text_of(&inside.series[&sample.series.0]);
            inside.histograms.push((labels, sample.timestamp_ms));
        }
        inside.exemplars += batch.exemplars.len();
        inside.metadata += batch.metadata.len();
        Ok(())
    }
}

/// `name{label="value"}`.
pub(crate) fn text_of(labels: &Labels) -> String {
    let rest = labels.without(|name| name == "__name__").to_string();
    format!(
        "{}{}",
        labels.metric_name(),
        if rest == "{}" { "" } else { &rest }
    )
}

/// A thinner in front of a store.
pub(crate) struct Bench {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) thinner: Arc<Thinner>,
    pub(crate) files: MemFiles,
}

pub(crate) fn journal() -> PathBuf {
    PathBuf::from("data/aggregation")
}

impl Bench {
    pub(crate) fn new(config: &str, now_ms: i64) -> Self {
        let bench = Bench::over(MemFiles::new(), now_ms);
        bench.configure(config);
        bench
    }

    /// With nothing in force, over what a run before has left.
    pub(crate) fn over(files: MemFiles, now_ms: i64) -> Self {
        let (store, clock) = (Arc::new(Store::default()), Arc::new(ManualClock::new(now_ms)));
        let place = (Arc::new(files.clone()) as Arc<dyn files::Files>, journal());
        let thinner = Arc::new(Thinner::new(store.clone(), clock.clone(), Some(place)));
        Bench {
            store,
            clock,
            thinner,
            files,
        }
    }

    /// Puts a section in force.
    pub(crate) fn configure(&self, section: &str) {
        let config = read(section);
        let prepared = self.thinner.prepare(config).expect("a journal that can be read");
        self.thinner.apply(prepared);
    }

    /// Lets time go by, second by second.
    pub(crate) fn until(&self, now_ms: i64) {
        use model::clock::Clock as _;
        while self.clock.now_ms() < now_ms {
            self.clock.set((self.clock.now_ms() + 1000).min(now_ms));
            self.thinner.tick();
        }
    }

    pub(crate) fn push(&self, series: &str, timestamp_ms: i64, value: f64) {
        let labels = parse_metric(series).expect("a series");
        let series = self.thinner.resolve(&labels).expect("room");
        let mut batch = AppendBatch::default();
        batch.floats.push(FloatSample {
            series,
            timestamp_ms,
            value,
        });
        self.thinner
            .append(&batch, &mut AppendOutcome::default())
            .expect("taken");
    }

    /// What was stored since this was last asked, in lines, sorted.
    pub(crate) fn stored(&self) -> Vec<String> {
        let mut stored = self.store.take();
        stored.sort_by(|a, b| (a.timestamp_ms, &a.labels).cmp(&(b.timestamp_ms, &b.labels)));
        let line = |stored: &Stored| {
            let value = if model::sample::is_stale_nan(stored.value) {
                "stale".to_owned()
            } else {
                stored.value.to_string()
            };
            format!(
                "{}s {} {value}",
                stored.timestamp_ms as f64 / 1000.0,
                stored.labels
            )
        };
        stored.iter().map(line).collect()
    }
}

/// Reads a section.
pub(crate) fn read(section: &str) -> Config {
    let document = yaml::parse("case", section).expect("YAML");
    Config::read(document.root()).unwrap_or_else(|error| panic!("{}", error.render(false)))
}
