//! A store in memory: what rules write, and what they look up after a restart.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use files::MemFiles;
use model::columns::Columns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, Querier, Queryable, Refusal, SelectHints,
    SeriesError, SeriesRef, SeriesSet, StorageError, TimeRange,
};

#[derive(Clone)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) samples: Vec<(i64, f64)>,
}

#[derive(Default)]
struct Inner {
    series: Vec<Series>,
    forgotten: HashSet<u64>,
    poisoned: bool,
    panics: bool,
    dies_with: Option<MemFiles>,
}

#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<Inner>>);

impl Store {
    /// A store that takes nothing any more once `files` are frozen: the process has ended.
    pub(crate) fn dying_with(files: Option<MemFiles>) -> Self {
        let store = Store::default();
        store.die_with(files);
        store
    }

    pub(crate) fn die_with(&self, files: Option<MemFiles>) {
        self.lock().dies_with = files;
    }

    /// Samples of the one series whose text is `labels`; none where there is no such series.
    pub(crate) fn samples(&self, labels: &str) -> Vec<(i64, f64)> {
        let inner = self.lock();
        let found = inner.series.iter().filter(|s| s.labels.to_string() == labels);
        found.flat_map(|s| s.samples.clone()).collect()
    }

    /// Texts of all series, sorted.
    pub(crate) fn series(&self) -> Vec<String> {
        let inner = self.lock();
        let mut all: Vec<String> = inner.series.iter().map(|s| s.labels.to_string()).collect();
        all.sort();
        all
    }

    /// Makes all references of now unknown, as a store does that has dropped idle series.
    pub(crate) fn forget_references(&self) {
        let mut inner = self.lock();
        let known = inner.series.len() as u64;
        inner.forgotten.extend(0..known);
        // The series get new references at the end.
        let again = inner.series.clone();
        for old in &mut inner.series {
            old.labels = Labels::from_pairs([("forgotten", "yes")]);
            old.samples.clear();
        }
        inner.series.extend(again);
    }

    /// Makes the next append panic.
    pub(crate) fn panic_once(&self) {
        self.lock().panics = true;
    }

    /// Also after a panic.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn poison(&self, poisoned: bool) {
        self.lock().poisoned = poisoned;
    }
}

impl Appender for Store {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        let mut inner = self.lock();
        if labels.is_empty() {
            return Err(SeriesError::Empty);
        }
        if let Some(at) = inner.series.iter().position(|s| s.labels == *labels) {
            return Ok(SeriesRef(at as u64));
        }
        inner.series.push(Series {
            labels: labels.clone(),
            samples: Vec::new(),
        });
        Ok(SeriesRef(inner.series.len() as u64 - 1))
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        assert!(batch.discard_out_of_order);
        let mut inner = self.lock();
        assert!(!std::mem::take(&mut inner.panics), "the store panics as prepared");
        if inner.dies_with.as_ref().is_some_and(MemFiles::is_frozen) {
            return Err(StorageError::Closed.into());
        }
        if inner.poisoned {
            return Err(StorageError::Poisoned("disk full".to_owned()).into());
        }
        let unknown = batch
            .floats
            .iter()
            .map(|f| f.series)
            .filter(|s| inner.forgotten.contains(&s.0));
        let unknown: Vec<SeriesRef> = unknown.collect();
        if !unknown.is_empty() {
            return Err(AppendError::UnknownSeries(unknown));
        }
        for (index, float) in batch.floats.iter().enumerate() {
            let samples = &mut inner.series[float.series.0 as usize].samples;
            let refusal = match samples.last() {
                Some((at, _)) if *at > float.timestamp_ms => Some(Refusal::OutOfOrder),
                Some((at, value))
                    if *at == float.timestamp_ms && value.to_bits() != float.value.to_bits() =>
                {
                    Some(Refusal::DuplicateTimestamp)
                }
                _ => None,
            };
            match refusal {
                Some(refusal) => outcome.refused.push((BatchList::Floats, index as u32, refusal)),
                None => samples.push((float.timestamp_ms, float.value)),
            }
        }
        Ok(())
    }
}

impl Queryable for Store {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        let series = self.lock().series.clone();
        Ok(Arc::new(View { series, range }))
    }
}

struct View {
    series: Vec<Series>,
    range: TimeRange,
}

impl Querier for View {
    fn select(&self, _hints: &SelectHints, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, StorageError> {
        let matches = |s: &&Series| matchers.iter().all(|m| m.matches(s.labels.value(&m.name)));
        let series = self.series.iter().filter(matches).cloned().collect();
        Ok(Arc::new(View {
            series,
            range: self.range,
        }))
    }

    fn label_names(&self, _: &SelectHints, _: &[Matcher]) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &SelectHints, _: &[Matcher]) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }
}

impl SeriesSet for View {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.series[index].labels.clone()
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        columns.clear();
        for (at, value) in &self.series[index].samples {
            if range.contains(*at) && self.range.contains(*at) {
                columns.push(*at, *value);
            }
        }
        Ok(())
    }
}
