//! The first pass: which references are known, and which samples are taken.

use std::sync::atomic::Ordering;

use model::histogram::Histogram;
use model::sample::is_stale_nan;
use model::storage::{AppendBatch, AppendOutcome, BatchList, Refusal, SeriesRef};

use super::Scratch;
use crate::exemplar::timestamp_of;
use crate::head::Head;
use crate::head::admission::{Bounds, Verdict};
use crate::head::plan::Plan;
use crate::wal::ExemplarEntry;

impl Head {
    pub(super) fn check_floats(
        &self,
        batch: &AppendBatch,
        bounds: Bounds,
        scratch: &mut Scratch,
        outcome: &mut AppendOutcome,
        unknown: &mut Vec<SeriesRef>,
    ) {
        let (plan, pages) = (&mut scratch.floats, &mut scratch.pages);
        plan.locate(
            &self.pages,
            pages,
            batch.floats.iter().map(|s| s.series.0),
            unknown,
        );
        if !unknown.is_empty() {
            return;
        }
        let verdicts = &mut plan.verdicts;
        let mut touched = 0;
        let reference = |i: usize| batch.floats[i].series.0;
        Plan::visit(&plan.order, &plan.places, pages, reference, |i, series| {
            let sample = &batch.floats[i];
            let Some(series) = series else {
                unknown.push(sample.series);
                return;
            };
            touched ^= series.touch();
            let checked = bounds.check_float(sample.timestamp_ms, sample.value, &series);
            match checked {
                _ if is_start(&batch.start_floats, i) => verdicts[i] = at_end_only(checked),
                Ok(verdict) => verdicts[i] = verdict,
                Err(refusal) => outcome.refused.push((BatchList::Floats, i as u32, refusal)),
            }
        });
        std::hint::black_box(touched);
    }

    pub(super) fn check_histograms(
        &self,
        batch: &AppendBatch,
        bounds: Bounds,
        scratch: &mut Scratch,
        outcome: &mut AppendOutcome,
        unknown: &mut Vec<SeriesRef>,
    ) {
        let (plan, pages) = (&mut scratch.histograms, &mut scratch.pages);
        plan.locate(
            &self.pages,
            pages,
            batch.histograms.iter().map(|s| s.series.0),
            unknown,
        );
        if !unknown.is_empty() {
            return;
        }
        let verdicts = &mut plan.verdicts;
        let reference = |i: usize| batch.histograms[i].series.0;
        Plan::visit(&plan.order, &plan.places, pages, reference, |i, series| {
            let sample = &batch.histograms[i];
            let Some(series) = series else {
                unknown.push(sample.series);
                return;
            };
            let valid = match &sample.histogram {
                Histogram::Int(h) => is_stale_nan(h.sum) || h.validate().is_ok(),
                Histogram::Float(h) => is_stale_nan(h.sum) || h.validate().is_ok(),
            };
            let checked = if valid {
                bounds.check_histogram(sample.timestamp_ms, &sample.histogram, &series)
            } else {
                Err(Refusal::InvalidHistogram)
            };
            match checked {
                _ if is_start(&batch.start_histograms, i) => verdicts[i] = at_end_only(checked),
                Ok(verdict) => verdicts[i] = verdict,
                Err(refusal) => outcome.refused.push((BatchList::Histograms, i as u32, refusal)),
            }
        });
    }

    pub(super) fn check_exemplars(
        &self,
        batch: &AppendBatch,
        scratch: &mut Scratch,
        outcome: &mut AppendOutcome,
        unknown: &mut Vec<SeriesRef>,
    ) {
        if batch.exemplars.is_empty() {
            return;
        }
        let window_ms = self.out_of_order_window_ms.load(Ordering::Relaxed);
        let ring = self.exemplars.lock();
        for (i, (series, exemplar)) in batch.exemplars.iter().enumerate() {
            if !self.knows(*series) {
                unknown.push(*series);
                continue;
            }
            let Some(timestamp_ms) = timestamp_of(exemplar, *series, batch) else {
                outcome
                    .refused
                    .push((BatchList::Exemplars, i as u32, Refusal::OutOfOrderExemplar));
                continue;
            };
            match ring.check(series.0, exemplar, timestamp_ms, window_ms) {
                Ok(()) => scratch.exemplars.push(ExemplarEntry {
                    series: series.0,
                    timestamp_ms,
                    value: exemplar.value,
                    labels: exemplar.labels.clone(),
                }),
                Err(refusal) => outcome.refused.push((BatchList::Exemplars, i as u32, refusal)),
            }
        }
    }
}

/// Whether a sample says that something begins there.
#[inline]
fn is_start(starts: &[u32], i: usize) -> bool {
    !starts.is_empty() && starts.binary_search(&(i as u32)).is_ok()
}

/// Lets a sample pass that goes to the end of its series, and drops any other without a word.
fn at_end_only(checked: Result<Verdict, Refusal>) -> Verdict {
    match checked {
        Ok(verdict @ (Verdict::InOrder | Verdict::Known)) => verdict,
        _ => Verdict::Refused,
    }
}
