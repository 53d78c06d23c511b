//! A store in memory that records transactions and refuses what a real one refuses.

use std::collections::HashMap;

use model::labels::Labels;
use model::sample::is_stale_nan;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, Refusal, SeriesError, SeriesRef,
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// See the module's description.
#[derive(Debug)]
pub(super) struct MemoryStore {
    inner: Mutex<Inner>,
    appended: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Inner {
    by_labels: HashMap<Labels, SeriesRef>,
    by_ref: HashMap<SeriesRef, Labels>,
    next: u64,
    newest: HashMap<SeriesRef, (i64, u64)>,
    /// Transactions, each as lines of text in order.
    batches: Vec<Vec<String>>,
    resolved: usize,
    series_max: Option<usize>,
    newest_exemplar: HashMap<SeriesRef, i64>,
    /// How many calls are yet to panic.
    panics: usize,
}

impl Inner {
    fn panic_if_told(&mut self) {
        if self.panics > 0 {
            self.panics -= 1;
            panic!("told to");
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore {
            inner: Mutex::default(),
            appended: watch::Sender::new(0),
        }
    }
}

impl MemoryStore {
    /// Takes the last transaction, as `labels value @timestamp` lines without those of the report.
    pub(super) fn last(&self) -> Vec<String> {
        let batch = self.inner.lock().batches.last().cloned().unwrap_or_default();
        batch.into_iter().filter(|line| !is_report(line)).collect()
    }

    /// The value of a report series in the last transaction.
    pub(super) fn report(&self, name: &str) -> Option<String> {
        let inner = self.inner.lock();
        let start = format!("{{__name__=\"{name}\"");
        let line = inner
            .batches
            .last()?
            .iter()
            .find(|line| line.starts_with(&start))?
            .clone();
        line.rsplit(' ').nth(1).map(str::to_owned)
    }

    /// All transactions.
    pub(super) fn batches(&self) -> Vec<Vec<String>> {
        self.inner.lock().batches.clone()
    }

    /// How often a series was asked for.
    pub(super) fn resolved(&self) -> usize {
        self.inner.lock().resolved
    }

    /// Creates no more series than this.
    pub(super) fn limit(&self, series_max: usize) {
        self.inner.lock().series_max = Some(series_max);
    }

    /// Lets the next `calls` calls panic.
    pub(super) fn panic(&self, calls: usize) {
        self.inner.lock().panics = calls;
    }

    /// Forgets all series, as a store does that has not seen them for long.
    pub(super) fn forget_all(&self) {
        let mut inner = self.inner.lock();
        inner.by_labels.clear();
        inner.by_ref.clear();
        inner.newest.clear();
    }

    /// Waits until there are `count` transactions.
    pub(super) async fn wait_for(&self, count: usize) {
        let mut appended = self.appended.subscribe();
        appended.wait_for(|n| *n >= count).await.unwrap();
    }
}

fn is_report(line: &str) -> bool {
    line.starts_with("{__name__=\"up\"") || line.starts_with("{__name__=\"scrape_")
}

fn show(value: f64) -> String {
    if is_stale_nan(value) {
        "stale".to_owned()
    } else {
        model::float::format_general(value)
    }
}

impl Appender for MemoryStore {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        let mut inner = self.inner.lock();
        inner.panic_if_told();
        inner.resolved += 1;
        if let Some(series) = inner.by_labels.get(labels) {
            return Ok(*series);
        }
        if inner.series_max.is_some_and(|max| inner.by_labels.len() >= max) {
            return Err(SeriesError::LimitReached);
        }
        inner.next += 1;
        let series = SeriesRef(inner.next);
        inner.by_labels.insert(labels.clone(), series);
        inner.by_ref.insert(series, labels.clone());
        Ok(series)
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        let mut inner = self.inner.lock();
        outcome.refused.clear();
        let all = batch
            .floats
            .iter()
            .map(|s| s.series)
            .chain(batch.histograms.iter().map(|s| s.series));
        let unknown: Vec<SeriesRef> = all.filter(|series| !inner.by_ref.contains_key(series)).collect();
        if !unknown.is_empty() {
            return Err(AppendError::UnknownSeries(unknown));
        }
        inner.panic_if_told();
        let mut lines = Vec::new();
        let mut in_batch = std::collections::HashSet::new();
        for (i, sample) in batch.floats.iter().enumerate() {
            let bits = sample.value.to_bits();
            let refusal = match inner.newest.get(&sample.series) {
                Some((newest, _)) if *newest >= sample.timestamp_ms && in_batch.contains(&sample.series) => {
                    Some(Refusal::Overtaken)
                }
                Some((newest, _)) if *newest > sample.timestamp_ms => Some(Refusal::OutOfOrder),
                Some((newest, value)) if *newest == sample.timestamp_ms && *value != bits => {
                    Some(Refusal::DuplicateTimestamp)
                }
                _ => None,
            };
            if let Some(refusal) = refusal {
                outcome.refused.push((BatchList::Floats, i as u32, refusal));
                continue;
            }
            in_batch.insert(sample.series);
            inner.newest.insert(sample.series, (sample.timestamp_ms, bits));
            let labels = &inner.by_ref[&sample.series];
            let start = batch.float_starts_ms.get(i).filter(|ms| **ms != 0);
            let start = start.map_or_else(String::new, |ms| format!(" since {ms}"));
            lines.push(format!(
                "{labels} {} @{}{start}",
                show(sample.value),
                sample.timestamp_ms
            ));
        }
        for sample in &batch.histograms {
            let labels = &inner.by_ref[&sample.series];
            let histogram = if is_stale_nan(sample.histogram.sum()) {
                "stale histogram".to_owned()
            } else {
                let float = sample.histogram.to_float();
                format!(
                    "histogram schema {} count {} sum {}",
                    float.schema, float.count, float.sum
                )
            };
            lines.push(format!("{labels} {histogram} @{}", sample.timestamp_ms));
        }
        for (i, (series, exemplar)) in batch.exemplars.iter().enumerate() {
            let time = exemplar.timestamp_ms.unwrap_or(-1);
            if let Some(newest) = inner.newest_exemplar.insert(*series, time)
                && newest >= time
            {
                inner.newest_exemplar.insert(*series, newest);
                let refusal = match newest == time {
                    true => Refusal::DuplicateExemplar,
                    false => Refusal::OutOfOrderExemplar,
                };
                outcome.refused.push((BatchList::Exemplars, i as u32, refusal));
                continue;
            }
            let labels = &inner.by_ref[series];
            lines.push(format!(
                "{labels} exemplar {} {} @{time}",
                exemplar.labels, exemplar.value
            ));
        }
        for (series, metadata) in &batch.metadata {
            let labels = &inner.by_ref[series];
            lines.push(format!(
                "{labels} metadata {} {:?}",
                metadata.metric_type.as_str(),
                metadata.help
            ));
        }
        inner.batches.push(lines);
        self.appended.send_replace(inner.batches.len());
        Ok(())
    }
}
