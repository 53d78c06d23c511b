//! The second pass: samples, exemplars and metadata are put into their series.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::histogram::{Buckets, CounterResetHint, Histogram};
use model::labels::Labels;
use model::sample::is_stale_nan;
use model::storage::{AppendBatch, AppendOutcome, BatchList, Refusal};

use super::Scratch;
use crate::head::Head;
use crate::head::admission::{Bounds, Verdict};
use crate::head::change_log::Added;
use crate::head::isolation::Transaction;
use crate::head::late_log::LateLog;
use crate::head::ooo::{Inserted, Late, LateValue};
use crate::head::open::ChunkRules;
use crate::head::pages::page_of;
use crate::head::plan::Plan;
use crate::head::series::{Last, Series};
use crate::wal::{FloatEntry, HistogramEntry, MarkerEntry};

/// What a transaction has changed.
pub(super) struct Applied {
    pub(super) accepted: u64,
    pub(super) floats: u64,
    pub(super) histograms: u64,
    pub(super) late: u64,
    pub(super) late_histograms: u64,
    pub(super) in_order: (i64, i64),
    pub(super) late_range: (i64, i64),
}

impl Applied {
    pub(super) fn added(&self) -> Added {
        Added {
            from_ms: self.in_order.0,
            late: self.late_range,
        }
    }

    #[inline]
    fn in_order(&mut self, timestamp_ms: i64) {
        self.accepted += 1;
        self.in_order = (
            self.in_order.0.min(timestamp_ms),
            self.in_order.1.max(timestamp_ms),
        );
    }
}

impl Head {
    pub(super) fn apply(
        &self,
        batch: &AppendBatch,
        (bounds, transaction): (Bounds, Transaction),
        scratch: &mut Scratch,
        outcome: &mut AppendOutcome,
    ) -> Applied {
        let mut applied = Applied {
            accepted: 0,
            floats: 0,
            histograms: 0,
            late: 0,
            late_histograms: 0,
            in_order: (i64::MAX, i64::MIN),
            late_range: (i64::MAX, i64::MIN),
        };
        self.apply_floats(batch, (bounds, transaction), scratch, outcome, &mut applied);
        self.apply_histograms(batch, (bounds, transaction), scratch, outcome, &mut applied);
        applied
    }

    fn apply_floats(
        &self,
        batch: &AppendBatch,
        (bounds, transaction): (Bounds, Transaction),
        scratch: &mut Scratch,
        outcome: &mut AppendOutcome,
        applied: &mut Applied,
    ) {
        let rules = self.rules();
        let (pages, late) = (&scratch.pages, &mut scratch.late);
        let plan = &scratch.floats;
        let reference = |i: usize| batch.floats[i].series.0;
        Plan::visit(&plan.order, &plan.places, pages, reference, |i, series| {
            let sample = &batch.floats[i];
            let start_ms = batch.float_starts_ms.get(i).copied().unwrap_or(0);
            let (reference, timestamp_ms) = (sample.series.0, sample.timestamp_ms);
            let (Some(mut series), verdict) = (series, plan.verdicts[i]) else {
                return;
            };
            match verdict {
                Verdict::Refused => return,
                Verdict::Known => {
                    applied.accepted += 1;
                    return;
                }
                Verdict::InOrder => {
                    let entry = (start_ms, timestamp_ms, sample.value);
                    let becomes_histogram = is_stale_nan(sample.value) && has_histograms(&series);
                    if append_float(&mut series, rules, Some(transaction), reference, entry) {
                        applied.in_order(timestamp_ms);
                        applied.floats += u64::from(!becomes_histogram);
                        applied.histograms += u64::from(becomes_histogram);
                        return;
                    }
                    // Others have overtaken it; it may still be late.
                    let again = bounds.check_float(timestamp_ms, sample.value, &series);
                    if !is_late(again, (BatchList::Floats, i as u32), outcome, applied) {
                        return;
                    }
                }
                Verdict::Late => {}
            }
            let value = LateValue::Float(sample.value);
            let sample = Late {
                start_ms,
                timestamp_ms,
                value,
            };
            self.insert_late(&mut series, rules, reference, sample, late, applied);
        });
    }

    fn apply_histograms(
        &self,
        batch: &AppendBatch,
        (bounds, transaction): (Bounds, Transaction),
        scratch: &mut Scratch,
        outcome: &mut AppendOutcome,
        applied: &mut Applied,
    ) {
        let rules = self.rules();
        let (pages, late) = (&scratch.pages, &mut scratch.late);
        let plan = &scratch.histograms;
        let reference = |i: usize| batch.histograms[i].series.0;
        Plan::visit(&plan.order, &plan.places, pages, reference, |i, series| {
            let sample = &batch.histograms[i];
            let start_ms = batch.histogram_starts_ms.get(i).copied().unwrap_or(0);
            let (reference, timestamp_ms) = (sample.series.0, sample.timestamp_ms);
            let (Some(mut series), verdict) = (series, plan.verdicts[i]) else {
                return;
            };
            match verdict {
                Verdict::Refused => return,
                Verdict::Known => {
                    applied.accepted += 1;
                    return;
                }
                Verdict::InOrder => {
                    let entry = (start_ms, timestamp_ms, &sample.histogram);
                    if series.append_histogram(rules, Some(transaction), reference, entry) {
                        applied.in_order(timestamp_ms);
                        applied.histograms += 1;
                        return;
                    }
                    let again = bounds.check_histogram(timestamp_ms, &sample.histogram, &series);
                    if !is_late(again, (BatchList::Histograms, i as u32), outcome, applied) {
                        return;
                    }
                }
                Verdict::Late => {}
            }
            let value = LateValue::Histogram(without_hint(&sample.histogram));
            let sample = Late {
                start_ms,
                timestamp_ms,
                value,
            };
            self.insert_late(&mut series, rules, reference, sample, late, applied);
        });
    }

    fn insert_late(
        &self,
        series: &mut Series<'_>,
        rules: ChunkRules<'_>,
        reference: u64,
        sample: Late,
        log: &mut LateLog,
        applied: &mut Applied,
    ) {
        let ooo = series.rest_mut().ooo.get_or_insert_default();
        let entry = sample.clone();
        let Inserted::Added(written) = ooo.insert(rules, reference, self.options.out_of_order_cap, sample)
        else {
            applied.accepted += 1;
            return;
        };
        let range = &mut applied.late_range;
        *range = (range.0.min(entry.timestamp_ms), range.1.max(entry.timestamp_ms));
        applied.late += 1;
        applied.accepted += 1;
        if !written.is_empty() {
            // The marker must stand behind the samples that the chunks hold and before the new one.
            log.cut(rules.start_timestamps);
            log.markers.extend(written.into_iter().map(|chunk| MarkerEntry {
                series: reference,
                chunk,
            }));
        }
        match entry.value {
            LateValue::Float(value) => {
                applied.floats += 1;
                log.floats.push(FloatEntry {
                    series: reference,
                    start_ms: entry.start_ms,
                    timestamp_ms: entry.timestamp_ms,
                    value,
                });
            }
            LateValue::Histogram(histogram) => {
                applied.histograms += 1;
                applied.late_histograms += 1;
                log.histograms.push(HistogramEntry {
                    series: reference,
                    start_ms: entry.start_ms,
                    timestamp_ms: entry.timestamp_ms,
                    histogram,
                });
            }
        }
    }

    /// Applies exemplars and metadata; returns how many exemplars were taken, and how many others of the transaction had
    /// overtaken.
    pub(super) fn apply_rest(&self, batch: &AppendBatch, scratch: &Scratch) -> (u64, u64) {
        for (series, metadata) in &batch.metadata {
            if let Some(page) = self.pages.get(page_of(series.0))
                && let Some(mut series) = page.lock().get(series.0)
                && series.rest().and_then(|rest| rest.metadata.as_deref()) != Some(metadata)
            {
                series.rest_mut().metadata = Some(Box::new(metadata.clone()));
            }
        }
        if scratch.exemplars.is_empty() {
            return (0, 0);
        }
        let window_ms = self.out_of_order_window_ms.load(Ordering::Relaxed);
        let index = self.index.read();
        let mut ring = self.exemplars.lock();
        let (mut added, mut overtaken) = (0, 0);
        for entry in &scratch.exemplars {
            let exemplar = model::sample::Exemplar {
                labels: entry.labels.clone(),
                value: entry.value,
                timestamp_ms: Some(entry.timestamp_ms),
            };
            let done = ring.add(entry.series, &exemplar, entry.timestamp_ms, window_ms, || {
                let place = index.index_of(entry.series);
                place.map_or_else(Labels::empty, |i| index.labels(i))
            });
            added += u64::from(done == Ok(true));
            overtaken += u64::from(done == Err(Refusal::OutOfOrderExemplar));
        }
        (added, overtaken)
    }
}

/// Whether the newest sample of a series is a histogram.
fn has_histograms(series: &Series<'_>) -> bool {
    matches!(series.last(), Last::Histogram(..))
}

/// What is known of the sample in front of a histogram says nothing of the one that it will be put behind.
fn without_hint(histogram: &Histogram) -> Histogram {
    fn clear<B: Clone, C: Clone>(buckets: &Arc<Buckets<B, C>>) -> Arc<Buckets<B, C>> {
        match buckets.counter_reset_hint {
            CounterResetHint::Unknown | CounterResetHint::Gauge => Arc::clone(buckets),
            CounterResetHint::Reset | CounterResetHint::NotReset => {
                let mut cleared = Buckets::clone(buckets);
                cleared.counter_reset_hint = CounterResetHint::Unknown;
                Arc::new(cleared)
            }
        }
    }
    match histogram {
        Histogram::Int(buckets) => Histogram::Int(clear(buckets)),
        Histogram::Float(buckets) => Histogram::Float(clear(buckets)),
    }
}

/// Whether a sample that others of the same time have overtaken is late; where it is not, notes what it is.
fn is_late(
    again: Result<Verdict, Refusal>,
    (list, index): (BatchList, u32),
    outcome: &mut AppendOutcome,
    applied: &mut Applied,
) -> bool {
    let refusal = match again {
        Ok(Verdict::Late) => return true,
        Ok(Verdict::Known) => {
            applied.accepted += 1;
            return false;
        }
        Err(Refusal::DuplicateTimestamp) => Refusal::Doubled,
        _ => Refusal::Overtaken,
    };
    outcome.refused.push((list, index, refusal));
    false
}

/// Adds a float to the end of a series; a staleness marker for a series of histograms becomes one of their kind.
pub(in crate::head) fn append_float(
    series: &mut Series<'_>,
    rules: ChunkRules<'_>,
    transaction: Option<Transaction>,
    reference: u64,
    (start_ms, timestamp_ms, value): (i64, i64, f64),
) -> bool {
    if is_stale_nan(value)
        && let Last::Histogram(_, last) = series.last()
    {
        let marker = stale_like(last, value);
        return series.append_histogram(rules, transaction, reference, (start_ms, timestamp_ms, &marker));
    }
    series.append_float(rules, transaction, reference, (start_ms, timestamp_ms, value))
}

/// The staleness marker as a histogram of the kind that the series holds.
fn stale_like(last: &Histogram, value: f64) -> Histogram {
    match last {
        Histogram::Int(_) => Histogram::Int(Arc::new(empty_histogram(value))),
        Histogram::Float(_) => Histogram::Float(Arc::new(empty_histogram(value))),
    }
}

pub(in crate::head) fn empty_histogram<B, C: Default>(sum: f64) -> Buckets<B, C> {
    Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        zero_count: C::default(),
        count: C::default(),
        sum,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        positive_buckets: Vec::new(),
        negative_buckets: Vec::new(),
        custom_values: None,
    }
}
