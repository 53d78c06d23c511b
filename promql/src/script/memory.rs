//! A store for tests: sorted maps, nothing clever.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::columns::Columns;
use model::histogram::{CounterResetHint, FloatHistogram, Histogram};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::is_stale_nan;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, Querier, Queryable, Refusal, SelectHints,
    SeriesError, SeriesKey, SeriesRef, SeriesSet, StorageError, TimeRange,
};
use parking_lot::RwLock;

/// A value that was appended.
#[derive(Clone, Debug, PartialEq)]
enum Stored {
    Float(f64),
    Histogram(Histogram),
}

/// The samples of a series by their time, each with the start timestamp that came with it.
type Samples = BTreeMap<i64, (Stored, i64)>;

#[derive(Clone, Debug, Default)]
struct Contents {
    /// By reference.
    labels: Vec<Labels>,
    /// The references.
    places: HashMap<Labels, usize>,
    series: BTreeMap<Labels, Samples>,
}

/// A store in memory that takes samples in any order and keeps them for ever.
///
/// Views are copies: what is appended later is not seen. Metadata and exemplars are dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: RwLock<Arc<Contents>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.contents.write() = Arc::default();
    }
}

impl Appender for MemoryStore {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        if labels.is_empty() {
            return Err(SeriesError::Empty);
        }
        let mut guard = self.contents.write();
        let contents = Arc::make_mut(&mut guard);
        let next = contents.labels.len();
        let at = *contents.places.entry(labels.clone()).or_insert(next);
        if at == next {
            contents.labels.push(labels.clone());
        }
        Ok(SeriesRef(at as u64))
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        *outcome = AppendOutcome::default();
        let mut guard = self.contents.write();
        let floats = batch.floats.iter().map(|sample| sample.series);
        let all = floats.chain(batch.histograms.iter().map(|sample| sample.series));
        let unknown: Vec<SeriesRef> = all
            .filter(|series| series.0 as usize >= guard.labels.len())
            .collect();
        if !unknown.is_empty() {
            return Err(AppendError::UnknownSeries(unknown));
        }
        let contents = Arc::make_mut(&mut guard);
        let mut put = |list, index: usize, series: SeriesRef, timestamp_ms, value, start_ms| {
            let labels = contents.labels[series.0 as usize].clone();
            let samples = contents.series.entry(labels).or_default();
            let newest = samples.last_key_value().map(|(newest, _)| *newest);
            let refusal = match samples.get(&timestamp_ms) {
                Some((old, _)) if same(old, &value) => None,
                Some(_) => Some(Refusal::DuplicateTimestamp),
                None if batch.discard_out_of_order && newest.is_some_and(|newest| timestamp_ms < newest) => {
                    Some(Refusal::OutOfOrder)
                }
                None => None,
            };
            match refusal {
                Some(refusal) => outcome.refused.push((list, index as u32, refusal)),
                None => {
                    samples.insert(timestamp_ms, (value, start_ms));
                    outcome.accepted += 1;
                }
            }
        };
        for (i, sample) in batch.floats.iter().enumerate() {
            let start_ms = batch.float_starts_ms.get(i).copied().unwrap_or(0);
            let value = Stored::Float(sample.value);
            put(
                BatchList::Floats,
                i,
                sample.series,
                sample.timestamp_ms,
                value,
                start_ms,
            );
        }
        for (i, sample) in batch.histograms.iter().enumerate() {
            let start_ms = batch.histogram_starts_ms.get(i).copied().unwrap_or(0);
            let value = Stored::Histogram(sample.histogram.clone());
            put(
                BatchList::Histograms,
                i,
                sample.series,
                sample.timestamp_ms,
                value,
                start_ms,
            );
        }
        Ok(())
    }
}

/// Equal to the bit, so that NaN equals itself.
fn same(a: &Stored, b: &Stored) -> bool {
    match (a, b) {
        (Stored::Float(a), Stored::Float(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}

impl Queryable for MemoryStore {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        let contents = self.contents.read().clone();
        Ok(Arc::new(View { contents, range }))
    }
}

/// The contents as they were at one moment, cut to a range.
struct View {
    contents: Arc<Contents>,
    range: TimeRange,
}

impl View {
    /// Series with a sample in the range that satisfy all matchers, sorted by labels.
    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = (&'a Labels, &'a Samples)> {
        let TimeRange { min_ms, max_ms } = self.range;
        self.contents.series.iter().filter(move |(labels, samples)| {
            min_ms <= max_ms
                && samples.range(min_ms..=max_ms).next().is_some()
                && matchers.iter().all(|matcher| matcher.matches_labels(labels))
        })
    }
}

fn limited(texts: BTreeSet<String>, limit: usize) -> Vec<String> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    texts.into_iter().take(limit).collect()
}

impl Querier for View {
    fn select(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, StorageError> {
        let limit = if hints.limit == 0 { usize::MAX } else { hints.limit };
        let selected = self.matching(matchers).take(limit);
        let mut series = Vec::new();
        for (labels, samples) in selected {
            hints.took(labels.as_bytes().len() + size_of::<(Labels, Samples)>())?;
            let place = self.contents.places.get(labels).copied();
            series.push((labels.clone(), samples.clone(), place));
        }
        Ok(Arc::new(Selected {
            series,
            range: self.range,
        }))
    }

    fn label_names(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>, StorageError> {
        let names = self.matching(matchers).flat_map(|(labels, _)| labels.iter());
        Ok(limited(
            names.map(|(name, _)| name.to_owned()).collect(),
            hints.limit,
        ))
    }

    fn label_values(
        &self,
        name: &str,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        let values = self.matching(matchers).filter_map(|(labels, _)| labels.get(name));
        Ok(limited(values.map(str::to_owned).collect(), hints.limit))
    }
}

struct Selected {
    /// With the places of their labels in the store.
    series: Vec<(Labels, Samples, Option<usize>)>,
    range: TimeRange,
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.series[index].0.clone()
    }

    fn key(&self, index: usize) -> Option<SeriesKey> {
        self.series[index].2.map(|place| SeriesKey(place as u64))
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        columns.clear();
        let (min_ms, max_ms) = (
            range.min_ms.max(self.range.min_ms),
            range.max_ms.min(self.range.max_ms),
        );
        if min_ms > max_ms {
            return Ok(());
        }
        let samples = &self.series[index].1;
        // What a histogram knows of the one before it does not depend on the range that is read.
        let mut previous = samples.range(..min_ms).next_back().map(|(_, (value, _))| value);
        for (timestamp_ms, (value, start_ms)) in samples.range(min_ms..=max_ms) {
            match value {
                Stored::Float(value) => columns.push(*timestamp_ms, *value),
                Stored::Histogram(histogram) => {
                    columns.push_histogram(*timestamp_ms, with_known_hint(histogram, previous));
                }
            }
            columns.set_last_start(*start_ms);
            previous = Some(value);
        }
        Ok(())
    }
}

/// The histogram with the hint that a store gives it: `NotReset` where it continues the counter of the sample before,
/// `Unknown` where a counter starts anew. Gauges stay gauges.
fn with_known_hint(histogram: &Histogram, previous: Option<&Stored>) -> Histogram {
    let mut current = to_float(histogram);
    if current.counter_reset_hint == CounterResetHint::Gauge {
        return histogram.clone();
    }
    let told = std::mem::take(&mut current.counter_reset_hint) == CounterResetHint::Reset;
    let continues = match (histogram, previous) {
        (Histogram::Int(_), Some(Stored::Histogram(previous @ Histogram::Int(_))))
        | (Histogram::Float(_), Some(Stored::Histogram(previous @ Histogram::Float(_)))) => {
            let previous = to_float(previous);
            previous.counter_reset_hint != CounterResetHint::Gauge
                && !is_stale_nan(previous.sum)
                && previous.schema == current.schema
                && previous.zero_threshold == current.zero_threshold
                && previous.custom_values == current.custom_values
                && !current.detect_reset(&previous)
        }
        _ => false,
    };
    let hint = if continues && !told {
        CounterResetHint::NotReset
    } else {
        CounterResetHint::Unknown
    };
    match histogram {
        Histogram::Int(histogram) => {
            let mut histogram = (**histogram).clone();
            histogram.counter_reset_hint = hint;
            Histogram::Int(Arc::new(histogram))
        }
        Histogram::Float(_) => {
            current.counter_reset_hint = hint;
            Histogram::Float(Arc::new(current))
        }
    }
}

fn to_float(histogram: &Histogram) -> FloatHistogram {
    match histogram {
        Histogram::Int(histogram) => histogram.to_float(),
        Histogram::Float(histogram) => (**histogram).clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::storage::FloatSample;

    fn append(store: &MemoryStore, labels: &Labels, samples: &[(i64, f64)]) -> AppendOutcome {
        let series = store.resolve(labels).expect("series");
        let floats = samples
            .iter()
            .map(|(timestamp_ms, value)| FloatSample {
                series,
                timestamp_ms: *timestamp_ms,
                value: *value,
            })
            .collect();
        let mut outcome = AppendOutcome::default();
        let batch = AppendBatch {
            floats,
            ..AppendBatch::default()
        };
        store.append(&batch, &mut outcome).expect("append");
        outcome
    }

    #[test]
    fn views_do_not_change() {
        let store = MemoryStore::new();
        let labels = Labels::from_pairs([("__name__", "a")]);
        append(&store, &labels, &[(3, 3.0), (1, 1.0)]);
        let querier = store.querier(TimeRange::new(1, 5)).expect("view");
        let outcome = append(&store, &labels, &[(2, 2.0), (1, 9.0)]);
        assert_eq!(outcome.accepted, 1);
        assert_eq!(
            outcome.refused,
            [(BatchList::Floats, 1, Refusal::DuplicateTimestamp)]
        );
        let set = querier.select(&SelectHints::default(), &[]).expect("series");
        let mut columns = Columns::default();
        set.read(0, TimeRange::ALL, &mut columns).expect("samples");
        assert_eq!(columns.timestamps_ms, [1, 3]);
        set.read(0, TimeRange::new(2, 9), &mut columns).expect("samples");
        assert_eq!(columns.values, [3.0]);
        let later = store.querier(TimeRange::new(4, 5)).expect("view");
        assert!(
            later
                .select(&SelectHints::default(), &[])
                .expect("series")
                .is_empty()
        );
    }
}
