//! Transactions: check, log, apply.
//!
//! A batch is walked twice in order of its pages, so each page is locked once a pass: first every reference and every
//! sample is checked, then the log has the records, then the samples are applied. Between the passes another
//! transaction may have appended to the same series; what no longer fits then is refused (and refused again when the
//! log is replayed). Nothing is allocated for a sample: all lists are scratch space that outlives the call.

mod apply;
mod check;
mod log;

use std::sync::atomic::Ordering;

use model::labels::Labels;
use model::packed_sets::PackedSets;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, Refusal, SeriesError, SeriesRef,
};

use super::Head;
use super::admission::Bounds;
use super::change_log::Added;
use super::isolation::Transaction;
use super::late_log::LateLog;
use super::pages::{PageSet, page_of};
use super::plan::Plan;
use crate::wal::{Compressor, ExemplarEntry, HistogramEntry};
use apply::Applied;

pub(super) use apply::append_float;
#[cfg(test)]
pub(super) use apply::empty_histogram;

/// Space that a transaction works in, reused by later ones.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) compressor: Compressor,
    pages: PageSet,
    floats: Plan,
    histograms: Plan,
    record: Vec<u8>,
    exemplars: Vec<ExemplarEntry>,
    histogram_entries: Vec<HistogramEntry>,
    late: LateLog,
}

impl Scratch {
    pub(crate) fn clear(&mut self) {
        self.compressor.clear_staged();
        self.pages.clear();
        self.exemplars.clear();
        self.histogram_entries.clear();
        self.late.floats.clear();
        self.late.histograms.clear();
        self.late.markers.clear();
        self.late.records.clear();
        if self.record.capacity() > 1 << 20 {
            self.record = Vec::new();
        }
    }
}

impl Appender for Head {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        self.resolve_labels(labels)
    }

    fn find(&self, sets: &PackedSets, found: &mut Vec<Option<SeriesRef>>) {
        self.find_sets(sets, found);
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        outcome.accepted = 0;
        outcome.refused.clear();
        self.check_open()?;
        let _guard = self.poison_on_panic("appending");
        if batch.is_empty() {
            return Ok(());
        }
        let mut scratch = self.take_scratch();
        let result = {
            let _gate = self.gate.read();
            self.append_gated(batch, outcome, &mut scratch)
        };
        self.return_scratch(scratch);
        result
    }
}

impl Head {
    fn append_gated(
        &self,
        batch: &AppendBatch,
        outcome: &mut AppendOutcome,
        scratch: &mut Scratch,
    ) -> Result<(), AppendError> {
        let bounds = self.bounds(batch);
        if bounds.window_ms > 0 {
            let wbl = self.wbl_open()?;
            if wbl.failure().is_some() {
                wbl.flush()?;
            }
        }
        let mut unknown = Vec::new();
        self.check_floats(batch, bounds, scratch, outcome, &mut unknown);
        self.check_histograms(batch, bounds, scratch, outcome, &mut unknown);
        self.check_exemplars(batch, scratch, outcome, &mut unknown);
        for (series, _) in &batch.metadata {
            if !self.knows(*series) {
                unknown.push(*series);
            }
        }
        if !unknown.is_empty() {
            outcome.refused.clear();
            unknown.sort_unstable();
            unknown.dedup();
            return Err(AppendError::UnknownSeries(unknown));
        }
        let is_sample = |refused: &(BatchList, u32, Refusal)| refused.0 != BatchList::Exemplars;
        if batch.all_or_nothing && outcome.refused.iter().any(is_sample) {
            self.note_refusals(outcome);
            return Ok(());
        }
        self.log(batch, scratch).inspect_err(|_| self.note_failure())?;
        let transaction = self.isolation.begin();
        let mut ending = EndOnDrop(self, transaction, Added::ANYTHING);
        let applied = self.apply(batch, (bounds, transaction), scratch, outcome);
        let (exemplars, overtaken) = self.apply_rest(batch, scratch);
        // Before the transaction is seen: who opens a view looks where the head reaches to.
        self.note_times(&applied);
        ending.2 = applied.added();
        drop(ending);
        self.note(&applied, outcome, exemplars);
        if overtaken > 0 {
            let counter = &self.counters.exemplars_out_of_order;
            counter.fetch_add(overtaken, Ordering::Relaxed);
        }
        outcome.accepted = applied.accepted;
        if applied.late > 0 {
            self.log_late(scratch).inspect_err(|_| self.note_failure())?;
        }
        Ok(())
    }

    /// Whether the head has this series.
    pub(crate) fn knows(&self, series: SeriesRef) -> bool {
        self.pages
            .get(page_of(series.0))
            .is_some_and(|page| page.lock().get(series.0).is_some())
    }

    fn bounds(&self, batch: &AppendBatch) -> Bounds {
        // Compat: the first one that is the source's own (remote-write: start-timestamp/float-ct-zero).
        let float = batch
            .floats
            .get(usize::from(batch.start_floats.first() == Some(&0)));
        let histogram = batch
            .histograms
            .get(usize::from(batch.start_histograms.first() == Some(&0)));
        let first = float.map(|s| s.timestamp_ms);
        if let Some(first_ms) = first.or(histogram.map(|s| s.timestamp_ms)) {
            // An empty head begins where its first sample lies.
            let fresh = self
                .max_ms
                .compare_exchange(i64::MIN, first_ms, Ordering::AcqRel, Ordering::Acquire);
            if fresh.is_ok() {
                self.min_ms.fetch_min(first_ms, Ordering::AcqRel);
            }
        }
        let head_max_ms = self.max_ms();
        let recent = head_max_ms.saturating_sub(self.options.chunk_range_ms / 2);
        Bounds {
            head_max_ms,
            min_valid_ms: recent.max(self.min_valid_ms.load(Ordering::Acquire)),
            window_ms: self.out_of_order_window_ms.load(Ordering::Relaxed),
            future_max_ms: self
                .options
                .future_margin_ms
                .map_or(i64::MAX, |margin| self.clock.now_ms().saturating_add(margin)),
            discard_late: batch.discard_out_of_order,
        }
    }

    fn note_times(&self, applied: &Applied) {
        let (in_order, late) = (applied.in_order, applied.late_range);
        if in_order.0 <= in_order.1 {
            // Most transactions move only the end.
            if in_order.0 < self.min_ms.load(Ordering::Relaxed) {
                self.min_ms.fetch_min(in_order.0, Ordering::AcqRel);
            }
            self.max_ms.fetch_max(in_order.1, Ordering::AcqRel);
        }
        if late.0 <= late.1 {
            self.late_min_ms.fetch_min(late.0, Ordering::AcqRel);
            self.late_max_ms.fetch_max(late.1, Ordering::AcqRel);
        }
    }

    fn note(&self, applied: &Applied, outcome: &AppendOutcome, exemplars: u64) {
        let counters = &self.counters;
        counters
            .floats_appended
            .fetch_add(applied.floats, Ordering::Relaxed);
        if applied.histograms > 0 {
            counters
                .histograms_appended
                .fetch_add(applied.histograms, Ordering::Relaxed);
        }
        if applied.late > 0 {
            counters.late_appended.fetch_add(applied.late, Ordering::Relaxed);
            counters
                .late_histograms_appended
                .fetch_add(applied.late_histograms, Ordering::Relaxed);
        }
        if exemplars > 0 {
            counters
                .exemplars_appended
                .fetch_add(exemplars, Ordering::Relaxed);
        }
        self.note_refusals(outcome);
    }

    fn note_refusals(&self, outcome: &AppendOutcome) {
        let counters = &self.counters;
        for (list, _, refusal) in &outcome.refused {
            let by_type = match refusal {
                Refusal::OutOfOrder | Refusal::Overtaken => &counters.out_of_order,
                Refusal::OutOfBounds => &counters.out_of_bounds,
                Refusal::TooOld => &counters.too_old,
                Refusal::OutOfOrderExemplar => {
                    counters.exemplars_out_of_order.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                _ => continue,
            };
            let counter = match list {
                BatchList::Histograms => &by_type.histograms,
                _ => &by_type.floats,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Ends a transaction even when applying it panics: readers must not wait for it for ever.
struct EndOnDrop<'a>(&'a Head, Transaction, Added);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.isolation.end(self.1, self.2);
    }
}
