//! What a backtest's rules write, in front of what is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::columns::Columns;
use model::histogram::{CounterResetHint, Histogram};
use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, Querier, Queryable, Refusal, SelectHints,
    SeriesError, SeriesRef, SeriesSet, StorageError, TimeRange,
};
use parking_lot::RwLock;

use super::given::Given;

/// Series between two words to whoever watches a selection.
const WATCHED_EACH: usize = 256;

/// A store, and in front of it what rules write. A series that the rules give is theirs alone: what is stored under its
/// name comes from rules as they were.
///
/// Rules are evaluated one after the other and write behind their queries, so selections are as of when they are made.
pub(super) struct Replayed {
    stored: Arc<dyn Queryable>,
    given: Arc<Given>,
    written: Arc<RwLock<Written>>,
}

#[derive(Default)]
struct Written {
    /// By reference.
    series: Vec<Arc<Series>>,
    references: HashMap<Labels, usize>,
    /// By metric name.
    names: BTreeMap<String, Vec<Arc<Series>>>,
    num_samples: usize,
}

struct Series {
    labels: Labels,
    samples: RwLock<Columns>,
}

impl Replayed {
    pub(super) fn new(stored: Arc<dyn Queryable>, given: Arc<Given>) -> Self {
        Replayed {
            stored,
            given,
            written: Arc::default(),
        }
    }

    /// How many samples the rules have written.
    pub(super) fn num_samples(&self) -> usize {
        self.written.read().num_samples
    }
}

impl Appender for Replayed {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        if labels.is_empty() {
            return Err(SeriesError::Empty);
        }
        let written = &mut *self.written.write();
        let next = written.series.len();
        let number = *written.references.entry(labels.clone()).or_insert(next);
        if number == next {
            let series = Arc::new(Series {
                labels: labels.clone(),
                samples: RwLock::default(),
            });
            let name = labels.metric_name().to_owned();
            written.names.entry(name).or_default().push(series.clone());
            written.series.push(series);
        }
        Ok(SeriesRef(number as u64))
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        *outcome = AppendOutcome::default();
        let written = &mut *self.written.write();
        let floats = batch.floats.iter().map(|sample| sample.series);
        let all = floats.chain(batch.histograms.iter().map(|sample| sample.series));
        let unknown: Vec<SeriesRef> = all
            .filter(|series| series.0 as usize >= written.series.len())
            .collect();
        if !unknown.is_empty() {
            return Err(AppendError::UnknownSeries(unknown));
        }
        for (index, sample) in batch.floats.iter().enumerate() {
            let samples = &mut *written.series[sample.series.0 as usize].samples.write();
            let repeats = samples
                .values
                .last()
                .is_some_and(|v| v.to_bits() == sample.value.to_bits());
            match place(samples, sample.timestamp_ms, repeats) {
                Ok(true) => samples.push(sample.timestamp_ms, sample.value),
                Ok(false) => continue,
                Err(refusal) => {
                    let refused = (BatchList::Floats, index as u32, refusal);
                    outcome.refused.push(refused);
                    continue;
                }
            }
            outcome.accepted += 1;
        }
        for (index, sample) in batch.histograms.iter().enumerate() {
            let samples = &mut *written.series[sample.series.0 as usize].samples.write();
            match place(samples, sample.timestamp_ms, false) {
                Ok(_) => samples.push_histogram(sample.timestamp_ms, without_hint(&sample.histogram)),
                Err(refusal) => {
                    let refused = (BatchList::Histograms, index as u32, refusal);
                    outcome.refused.push(refused);
                    continue;
                }
            }
            outcome.accepted += 1;
        }
        written.num_samples += outcome.accepted as usize;
        Ok(())
    }
}

/// Whether a sample of this time is new; not where it is there already.
fn place(samples: &Columns, timestamp_ms: i64, repeats: bool) -> Result<bool, Refusal> {
    match samples.timestamps_ms.last() {
        Some(newest) if timestamp_ms < *newest => Err(Refusal::OutOfOrder),
        Some(newest) if timestamp_ms == *newest && repeats => Ok(false),
        Some(newest) if timestamp_ms == *newest => Err(Refusal::DuplicateTimestamp),
        _ => Ok(true),
    }
}

/// The histogram without a word on whether its counter goes on: whoever reads it compares.
fn without_hint(histogram: &Histogram) -> Histogram {
    let is_gauge = |hint| hint == CounterResetHint::Gauge;
    match histogram {
        Histogram::Int(histogram) if !is_gauge(histogram.counter_reset_hint) => {
            let mut histogram = (**histogram).clone();
            histogram.counter_reset_hint = CounterResetHint::Unknown;
            Histogram::Int(Arc::new(histogram))
        }
        Histogram::Float(histogram) if !is_gauge(histogram.counter_reset_hint) => {
            let mut histogram = (**histogram).clone();
            histogram.counter_reset_hint = CounterResetHint::Unknown;
            Histogram::Float(Arc::new(histogram))
        }
        gauge => gauge.clone(),
    }
}

impl Queryable for Replayed {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(View {
            stored: self.stored.querier(range)?,
            given: self.given.clone(),
            written: self.written.clone(),
            range,
        }))
    }
}

struct View {
    stored: Arc<dyn Querier>,
    given: Arc<Given>,
    written: Arc<RwLock<Written>>,
    range: TimeRange,
}

impl View {
    /// Labels of all series that satisfy every matcher.
    fn labels(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<Labels>, StorageError> {
        let all = SelectHints {
            limit: 0,
            ..hints.clone()
        };
        let set = self.select(&all, matchers)?;
        Ok((0..set.len()).map(|index| set.labels(index)).collect())
    }
}

impl Querier for View {
    fn select(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, StorageError> {
        if !self.given.may_match(matchers) {
            return self.stored.select(hints, matchers);
        }
        let all = SelectHints {
            limit: 0,
            ..hints.clone()
        };
        let stored = self.stored.select(&all, matchers)?;
        let mut rows = Vec::new();
        for index in 0..stored.len() {
            let labels = stored.labels(index);
            if !self.given.has(&labels) {
                let place = Place::Stored(index);
                rows.push(Row { labels, place });
            }
        }
        let of_name = matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
        let names = &self.written.read().names;
        let found = names
            .iter()
            .filter(|(name, _)| of_name.clone().all(|matcher| matcher.matches(name)))
            .flat_map(|(_, series)| series);
        for (number, series) in found.enumerate() {
            if number % WATCHED_EACH == 0 {
                hints.took(WATCHED_EACH * size_of::<Row>())?;
            }
            let len = series.len_if_within(self.range);
            if let Some(len) = len.filter(|_| matchers.iter().all(|m| m.matches_labels(&series.labels))) {
                rows.push(Row {
                    labels: series.labels.clone(),
                    place: Place::Written(series.clone(), len),
                });
            }
        }
        if hints.sorted {
            rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        if hints.limit > 0 {
            rows.truncate(hints.limit);
        }
        let range = self.range;
        Ok(Arc::new(Selected { stored, rows, range }))
    }

    fn label_names(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>, StorageError> {
        let found = self.labels(hints, matchers)?;
        let names = found.iter().flat_map(Labels::iter);
        Ok(limited(names.map(|(name, _)| name).collect(), hints.limit))
    }

    fn label_values(
        &self,
        name: &str,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        let found = self.labels(hints, matchers)?;
        let values = found.iter().filter_map(|labels| labels.get(name));
        Ok(limited(values.collect(), hints.limit))
    }
}

fn limited(texts: BTreeSet<&str>, limit: usize) -> Vec<String> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    texts.into_iter().take(limit).map(str::to_owned).collect()
}

impl Series {
    /// How many samples there are, if some of them may lie in `range`.
    fn len_if_within(&self, range: TimeRange) -> Option<usize> {
        let samples = self.samples.read();
        let (first, last) = (samples.timestamps_ms.first()?, samples.timestamps_ms.last()?);
        let all = TimeRange::new(*first, *last);
        all.overlaps(&range).then_some(samples.len())
    }

    /// The samples in `range` among the first `len`.
    fn read(&self, len: usize, range: TimeRange, columns: &mut Columns) {
        columns.clear();
        let samples = self.samples.read();
        let times = &samples.timestamps_ms[..len];
        let from = times.partition_point(|at| *at < range.min_ms);
        let until = times.partition_point(|at| *at <= range.max_ms).max(from);
        columns.timestamps_ms.extend_from_slice(&times[from..until]);
        columns.values.extend_from_slice(&samples.values[from..until]);
        let first = samples
            .histograms
            .partition_point(|(row, _)| (*row as usize) < from);
        let histograms = samples.histograms[first..].iter();
        let histograms = histograms.take_while(|(row, _)| (*row as usize) < until);
        columns
            .histograms
            .extend(histograms.map(|(row, histogram)| (row - from as u32, histogram.clone())));
    }
}

/// Series of both.
struct Selected {
    stored: Arc<dyn SeriesSet>,
    rows: Vec<Row>,
    range: TimeRange,
}

struct Row {
    labels: Labels,
    place: Place,
}

/// Where a series' samples are.
enum Place {
    /// In the store, under this number.
    Stored(usize),
    /// Written by rules: the first so many.
    Written(Arc<Series>, usize),
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.rows[index].labels.clone()
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        match &self.rows[index].place {
            Place::Stored(index) => self.stored.read(*index, range, columns),
            Place::Written(series, len) => {
                let min_ms = range.min_ms.max(self.range.min_ms);
                let max_ms = range.max_ms.min(self.range.max_ms);
                series.read(*len, TimeRange::new(min_ms, max_ms), columns);
                Ok(())
            }
        }
    }
}
