//! The second pass: samples, exemplars and metadata are put into their series.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::histogram::{Buckets, CounterResetHint, Histogram};
use model::labels::Labels;
use model::sample::is_stale_nan;
use model::storage::{AppendBatch, AppendOutcome, BatchList, Refusal};

use super::Scratch;
use crate::head::Head;
use crate::head::admission::Verdict;
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
        transaction: Transaction,
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
        self.apply_floats(batch, transaction, scratch, outcome, &mut applied);
        self.apply_histograms(batch, transaction, scratch, outcome, &mut applied);
        applied
    }

    fn apply_floats(
        &self,
        batch: &AppendBatch,
        transaction: Transaction,
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
                Verdict::Refused => {}
                Verdict::Known => applied.accepted += 1,
                Verdict::InOrder => {
                    let added = self.append_in_order(
                        &mut series,
                        transaction,
                        reference,
                        start_ms,
                        timestamp_ms,
                        sample.value,
                    );
                    if added {
                        applied.in_order(timestamp_ms);
                        applied.floats += 1;
                    } else {
                        outcome
                            .refused
                            .push((BatchList::Floats, i as u32, Refusal::Overtaken));
                    }
                }
                Verdict::Late => {
                    let value = LateValue::Float(sample.value);
                    let sample = Late {
                        start_ms,
                        timestamp_ms,
                        value,
                    };
                    self.insert_late(&mut series, rules, reference, sample, late, applied);
                }
            }
        });
    }

    fn apply_histograms(
        &self,
        batch: &AppendBatch,
        transaction: Transaction,
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
                Verdict::Refused => {}
                Verdict::Known => applied.accepted += 1,
                Verdict::InOrder => {
                    let entry = (start_ms, timestamp_ms, &sample.histogram);
                    if series.append_histogram(rules, Some(transaction), reference, entry) {
                        applied.in_order(timestamp_ms);
                        applied.histograms += 1;
                    } else {
                        outcome
                            .refused
                            .push((BatchList::Histograms, i as u32, Refusal::Overtaken));
                    }
                }
                Verdict::Late => {
                    let value = LateValue::Histogram(sample.histogram.clone());
                    let sample = Late {
                        start_ms,
                        timestamp_ms,
                        value,
                    };
                    self.insert_late(&mut series, rules, reference, sample, late, applied);
                }
            }
        });
    }

    /// Adds a float to the end of its series; a staleness marker takes the kind of the series.
    #[inline]
    fn append_in_order(
        &self,
        series: &mut Series<'_>,
        transaction: Transaction,
        reference: u64,
        start_ms: i64,
        timestamp_ms: i64,
        value: f64,
    ) -> bool {
        append_float(
            series,
            self.rules(),
            Some(transaction),
            reference,
            (start_ms, timestamp_ms, value),
        )
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

    /// Applies exemplars and metadata; returns how many exemplars were taken.
    pub(super) fn apply_rest(&self, batch: &AppendBatch, scratch: &Scratch) -> u64 {
        for (series, metadata) in &batch.metadata {
            if let Some(page) = self.pages.get(page_of(series.0))
                && let Some(mut series) = page.lock().get(series.0)
            {
                series.rest_mut().metadata = Some(Box::new(metadata.clone()));
            }
        }
        if scratch.exemplars.is_empty() {
            return 0;
        }
        let window_ms = self.out_of_order_window_ms.load(Ordering::Relaxed);
        let index = self.index.read();
        let mut ring = self.exemplars.lock();
        let added = scratch.exemplars.iter().filter(|entry| {
            let exemplar = model::sample::Exemplar {
                labels: entry.labels.clone(),
                value: entry.value,
                timestamp_ms: Some(entry.timestamp_ms),
            };
            ring.add(entry.series, &exemplar, entry.timestamp_ms, window_ms, || {
                let place = index.index_of(entry.series);
                place.map_or_else(Labels::empty, |i| index.labels(i))
            })
        });
        added.count() as u64
    }
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
