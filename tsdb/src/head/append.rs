//! Transactions: check, log, apply.
//!
//! A batch is walked twice in order of its pages, so each page is locked once a pass: first every reference and every
//! sample is checked, then the log has the records, then the samples are applied. Between the passes another
//! transaction may have appended to the same series; what no longer fits then is refused (and refused again when the
//! log is replayed). Nothing is allocated for a sample: all lists are scratch space that outlives the call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::histogram::{Buckets, CounterResetHint, Histogram};
use model::labels::Labels;
use model::sample::is_stale_nan;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, Refusal, SeriesError, SeriesRef,
    StorageError,
};

use super::Head;
use super::admission::{Bounds, Verdict};
use super::isolation::Transaction;
use super::late_log::LateLog;
use super::ooo::{Inserted, Late, LateValue};
use super::open::ChunkRules;
use super::pages::PageSet;
use super::plan::Plan;
use super::series::{Last, Series};
use crate::wal::{
    Compressor, ExemplarEntry, FloatEntry, HistogramEntry, Keep, MarkerEntry, encode_exemplars,
    encode_floats, encode_floats_with_start, encode_histograms, encode_metadata,
};

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

/// What a transaction has changed.
struct Applied {
    accepted: u64,
    floats: u64,
    histograms: u64,
    late: u64,
    late_histograms: u64,
    in_order: (i64, i64),
    late_range: (i64, i64),
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

/// The staleness marker as a histogram of the kind that the series holds.
fn stale_like(last: &Histogram, value: f64) -> Histogram {
    match last {
        Histogram::Int(_) => Histogram::Int(Arc::new(empty_histogram(value))),
        Histogram::Float(_) => Histogram::Float(Arc::new(empty_histogram(value))),
    }
}

pub(super) fn empty_histogram<B, C: Default>(sum: f64) -> Buckets<B, C> {
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

impl Appender for Head {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        self.resolve_labels(labels)
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
        self.log(batch, scratch).inspect_err(|_| self.note_failure())?;
        let transaction = self.isolation.begin();
        let ended = EndOnDrop(self, transaction);
        let applied = self.apply(batch, transaction, scratch, outcome);
        let exemplars = self.apply_rest(batch, scratch);
        drop(ended);
        self.note(&applied, outcome, exemplars);
        outcome.accepted = applied.accepted;
        if applied.late > 0 {
            self.log_late(scratch).inspect_err(|_| self.note_failure())?;
        }
        Ok(())
    }

    /// Whether the head has this series.
    pub(crate) fn knows(&self, series: SeriesRef) -> bool {
        self.pages
            .get(super::pages::page_of(series.0))
            .is_some_and(|page| page.lock().get(series.0).is_some())
    }

    fn bounds(&self, batch: &AppendBatch) -> Bounds {
        let first = batch.floats.first().map(|s| s.timestamp_ms);
        if let Some(first_ms) = first.or(batch.histograms.first().map(|s| s.timestamp_ms)) {
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

    fn check_floats(
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
            match bounds.check_float(sample.timestamp_ms, sample.value, &series) {
                Ok(verdict) => verdicts[i] = verdict,
                Err(refusal) => outcome.refused.push((BatchList::Floats, i as u32, refusal)),
            }
        });
        std::hint::black_box(touched);
    }

    fn check_histograms(
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
                Ok(verdict) => verdicts[i] = verdict,
                Err(refusal) => outcome.refused.push((BatchList::Histograms, i as u32, refusal)),
            }
        });
    }

    fn check_exemplars(
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
            // Without a timestamp of its own an exemplar has its sample's.
            let of_sample = || {
                let float = batch
                    .floats
                    .iter()
                    .find(|s| s.series == *series)
                    .map(|s| s.timestamp_ms);
                float.or_else(|| {
                    let histogram = batch.histograms.iter().find(|s| s.series == *series);
                    histogram.map(|s| s.timestamp_ms)
                })
            };
            let Some(timestamp_ms) = exemplar.timestamp_ms.or_else(of_sample) else {
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

    /// Writes what was accepted to the log.
    fn log(&self, batch: &AppendBatch, scratch: &mut Scratch) -> Result<(), StorageError> {
        self.queue_fresh_series(scratch);
        let taken = |v: &Verdict| matches!(v, Verdict::InOrder | Verdict::Late);
        let with_start = self.options.start_timestamps;
        let (compressor, compression) = (&mut scratch.compressor, self.wal.compression());
        if !batch.metadata.is_empty() {
            encode_metadata(&mut scratch.record, batch.metadata.iter().map(|(s, m)| (s.0, m)));
            compressor.stage(compression, &scratch.record);
        }
        if scratch.floats.verdicts.iter().any(taken) {
            let floats = batch.floats.iter().zip(&scratch.floats.verdicts).enumerate();
            let entries = floats
                .filter(|(_, (_, v))| taken(v))
                .map(|(i, (s, _))| FloatEntry {
                    series: s.series.0,
                    start_ms: batch.float_starts_ms.get(i).copied().unwrap_or(0),
                    timestamp_ms: s.timestamp_ms,
                    value: s.value,
                });
            if with_start {
                encode_floats_with_start(&mut scratch.record, entries);
            } else {
                encode_floats(&mut scratch.record, entries);
            }
            compressor.stage(compression, &scratch.record);
        }
        if scratch.histograms.verdicts.iter().any(taken) {
            let histograms = batch
                .histograms
                .iter()
                .zip(&scratch.histograms.verdicts)
                .enumerate();
            let entries = histograms.filter(|(_, (_, v))| taken(v));
            scratch.histogram_entries.clear();
            scratch
                .histogram_entries
                .extend(entries.map(|(i, (s, _))| HistogramEntry {
                    series: s.series.0,
                    start_ms: batch.histogram_starts_ms.get(i).copied().unwrap_or(0),
                    timestamp_ms: s.timestamp_ms,
                    histogram: s.histogram.clone(),
                }));
            let (record, entries) = (&mut scratch.record, &scratch.histogram_entries);
            encode_histograms(record, entries, with_start, |record| {
                compressor.stage(compression, record);
                Ok::<(), StorageError>(())
            })?;
        }
        if !scratch.exemplars.is_empty() {
            encode_exemplars(&mut scratch.record, &scratch.exemplars);
            compressor.stage(compression, &scratch.record);
        }
        // Together: a transaction is in the log whole or not at all.
        self.wal.commit(compressor, Keep::No)
    }

    fn apply(
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
                    self.insert_late(&mut series, rules, reference, sample, late, &mut applied);
                }
            }
        });
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
                    self.insert_late(&mut series, rules, reference, sample, late, &mut applied);
                }
            }
        });
        applied
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
    fn apply_rest(&self, batch: &AppendBatch, scratch: &Scratch) -> u64 {
        for (series, metadata) in &batch.metadata {
            if let Some(page) = self.pages.get(super::pages::page_of(series.0))
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

    fn log_late(&self, scratch: &mut Scratch) -> Result<(), StorageError> {
        let wbl = self.wbl_open()?;
        scratch.late.cut(self.options.start_timestamps);
        // Compat: the reference takes samples before a marker for being in the chunk that it names as soon as there is any
        // newer chunk. After a kill there must be no marker without its chunk.
        if scratch.late.has_markers() && self.chunk_files.flush().is_err() {
            scratch.late.drop_markers();
        }
        for record in &scratch.late.records {
            scratch.compressor.stage(wbl.compression(), record);
        }
        // The samples are applied already; until they are logged, no other transaction is taken.
        wbl.commit(&mut scratch.compressor, Keep::Yes)
    }

    fn note(&self, applied: &Applied, outcome: &AppendOutcome, exemplars: u64) {
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

/// Adds a float to the end of a series; a staleness marker for a series of histograms becomes one of their kind.
pub(crate) fn append_float(
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

/// Ends a transaction even when applying it panics: readers must not wait for it for ever.
struct EndOnDrop<'a>(&'a Head, Transaction);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.isolation.end(self.1);
    }
}
