//! Transactions of an agent: check, log.
//!
//! Checking a sample notes its time as its series' newest at once, so that a second one of the same moment is refused,
//! whichever transaction it is of. Notes of samples that do not get into the log are taken back, however that comes about:
//! whoever appends may try again.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use model::histogram::Histogram;
use model::sample::{Metadata, is_stale_nan};
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, BatchList, HistogramSample, Refusal, SeriesRef,
};

use super::series::{Series, Walk};
use super::{SeriesLog, Shared};
use crate::exemplar::{check_labels, timestamp_of};
use crate::wal::{Compressor, ExemplarEntry, HistogramEntry, Keep, Records};
use files::Result;

/// Scratch space kept between transactions.
const SCRATCH_KEPT: usize = 32;
/// Bytes of a record for which space is kept.
const RECORD_BYTES_KEPT: usize = 1 << 20;

/// Space that a transaction works in, reused by later ones.
#[derive(Default)]
pub(super) struct Scratch {
    compressor: Compressor,
    record: Vec<u8>,
    /// Of each float and histogram of the batch that is taken: when its series had its newest sample before.
    floats: Vec<Option<i64>>,
    histograms: Vec<Option<i64>>,
    histogram_entries: Vec<HistogramEntry>,
    exemplars: Vec<ExemplarEntry>,
}

impl Scratch {
    fn clear(&mut self) {
        self.compressor.clear_staged();
        self.floats.clear();
        self.histograms.clear();
        self.histogram_entries.clear();
        self.exemplars.clear();
        if self.record.capacity() > RECORD_BYTES_KEPT {
            self.record = Vec::new();
        }
    }
}

impl Shared {
    pub(super) fn append(
        &self,
        batch: &AppendBatch,
        outcome: &mut AppendOutcome,
    ) -> std::result::Result<(), AppendError> {
        outcome.accepted = 0;
        outcome.refused.clear();
        if batch.is_empty() {
            return Ok(());
        }
        let log = self.log();
        let mut scratch = log.scratch.lock().pop().unwrap_or_default();
        let result = {
            let _gate = log.gate.read();
            self.append_gated(log, batch, outcome, &mut scratch)
        };
        scratch.clear();
        let mut kept = log.scratch.lock();
        if kept.len() < SCRATCH_KEPT {
            kept.push(scratch);
        }
        result
    }

    fn append_gated(
        &self,
        log: &SeriesLog,
        batch: &AppendBatch,
        outcome: &mut AppendOutcome,
        scratch: &mut Scratch,
    ) -> std::result::Result<(), AppendError> {
        let window_ms = match batch.discard_out_of_order {
            true => 0,
            false => self.out_of_order_window_ms.load(Ordering::Relaxed),
        };
        let mut noted = Noted {
            series: &log.series,
            batch,
            scratch,
            is_logged: false,
        };
        let Scratch {
            floats,
            histograms,
            exemplars,
            ..
        } = &mut *noted.scratch;
        let mut unknown = Vec::new();
        let mut checking = Checking {
            series: &log.series,
            window_ms,
            unknown: &mut unknown,
            outcome,
        };
        checking.floats(batch, floats);
        checking.histograms(batch, histograms);
        checking.metadata(batch);
        log.check_exemplars(batch, exemplars, &mut checking);
        if !unknown.is_empty() {
            outcome.refused.clear();
            unknown.sort_unstable();
            unknown.dedup();
            return Err(AppendError::UnknownSeries(unknown));
        }
        let is_sample = |refused: &(BatchList, u32, Refusal)| refused.0 != BatchList::Exemplars;
        if batch.all_or_nothing && outcome.refused.iter().any(is_sample) {
            self.counters.note_refused(outcome);
            return Ok(());
        }
        log.log(batch, noted.scratch, self.options.start_timestamps)?;
        noted.is_logged = true;
        self.note(log, noted.scratch, batch, outcome);
        Ok(())
    }

    /// What is in the log now.
    fn note(&self, log: &SeriesLog, scratch: &Scratch, batch: &AppendBatch, outcome: &mut AppendOutcome) {
        let taken = |list: &[Option<i64>]| list.iter().flatten().count() as u64;
        let (floats, histograms) = (taken(&scratch.floats), taken(&scratch.histograms));
        outcome.accepted = floats + histograms;
        let exemplars = scratch.exemplars.len() as u64;
        self.counters.note_taken(floats, histograms, exemplars);
        self.counters.note_refused(outcome);
        let times = batch.floats.iter().map(|sample| sample.timestamp_ms);
        let times = times.zip(&scratch.floats).filter(|(_, taken)| taken.is_some());
        let of_histograms = batch.histograms.iter().map(|sample| sample.timestamp_ms);
        let of_histograms = of_histograms
            .zip(&scratch.histograms)
            .filter(|(_, taken)| taken.is_some());
        if let Some(newest_ms) = times.chain(of_histograms).map(|(ms, _)| ms).max() {
            log.newest_ms.fetch_max(newest_ms, Ordering::Relaxed);
        }
        if !scratch.exemplars.is_empty() {
            let newest = scratch.exemplars.iter().cloned();
            log.exemplars
                .lock()
                .extend(newest.map(|exemplar| (exemplar.series, exemplar)));
        }
        if !batch.metadata.is_empty() {
            let told = batch.metadata.iter();
            log.told
                .lock()
                .extend(told.map(|(series, metadata)| (series.0, hash_of(metadata))));
        }
    }
}

impl SeriesLog {
    /// Queues the record of series that are not in the log yet.
    pub(super) fn queue_fresh(&self) {
        self.fresh.queue(&self.wal, &mut Compressor::default());
    }

    fn check_exemplars(
        &self,
        batch: &AppendBatch,
        taken: &mut Vec<ExemplarEntry>,
        checking: &mut Checking<'_>,
    ) {
        if batch.exemplars.is_empty() {
            return;
        }
        let newest = self.exemplars.lock();
        for (i, (series, exemplar)) in batch.exemplars.iter().enumerate() {
            if !self.series.has(series.0) {
                checking.unknown.push(*series);
                continue;
            }
            let mut refuse = |refusal| {
                let refused = (BatchList::Exemplars, i as u32, refusal);
                checking.outcome.refused.push(refused);
            };
            let Some(timestamp_ms) = timestamp_of(exemplar, *series, batch) else {
                refuse(Refusal::OutOfOrderExemplar);
                continue;
            };
            if let Err(refusal) = check_labels(exemplar) {
                refuse(refusal);
                continue;
            }
            let entry = ExemplarEntry {
                series: series.0,
                timestamp_ms,
                value: exemplar.value,
                labels: exemplar.labels.clone(),
            };
            let before = taken.last().filter(|other| other.series == series.0);
            if before
                .or_else(|| newest.get(&series.0))
                .is_some_and(|other| same(other, &entry))
            {
                refuse(Refusal::DuplicateExemplar);
                continue;
            }
            taken.push(entry);
        }
    }

    /// Writes what was taken to the log.
    fn log(&self, batch: &AppendBatch, scratch: &mut Scratch, with_start: bool) -> Result<()> {
        let Scratch {
            compressor,
            record,
            floats,
            histograms,
            histogram_entries,
            exemplars,
        } = scratch;
        self.fresh.queue(&self.wal, compressor);
        let mut records = Records {
            compressor,
            compression: self.wal.compression(),
            with_start,
            record,
            histograms: histogram_entries,
        };
        if !batch.metadata.is_empty() {
            // Some sources say with each sample what they have said before.
            let told = self.told.lock();
            let is_new =
                |(series, metadata): &&(SeriesRef, Metadata)| told.get(&series.0) != Some(&hash_of(metadata));
            let fresh = batch.metadata.iter().filter(is_new);
            records.metadata(fresh.map(|(series, metadata)| (series.0, metadata)));
        }
        records.floats(batch, |i| floats[i].is_some());
        records.histograms(batch, |i| histograms[i].is_some());
        records.exemplars(exemplars);
        self.wal.commit(compressor, Keep::No)
    }
}

fn same(a: &ExemplarEntry, b: &ExemplarEntry) -> bool {
    a.timestamp_ms == b.timestamp_ms && a.value.to_bits() == b.value.to_bits() && a.labels == b.labels
}

pub(super) fn hash_of(metadata: &Metadata) -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(metadata)
}

/// Looks at the samples of a batch and notes the times of those that may be taken.
struct Checking<'a> {
    series: &'a Series,
    window_ms: i64,
    unknown: &'a mut Vec<SeriesRef>,
    outcome: &'a mut AppendOutcome,
}

impl Checking<'_> {
    fn floats(&mut self, batch: &AppendBatch, noted: &mut Vec<Option<i64>>) {
        let samples = batch.floats.iter();
        let samples = samples.map(|sample| (sample.series, sample.timestamp_ms, true));
        self.samples(BatchList::Floats, samples, &batch.start_floats, noted);
    }

    fn histograms(&mut self, batch: &AppendBatch, noted: &mut Vec<Option<i64>>) {
        let valid = |sample: &HistogramSample| match &sample.histogram {
            Histogram::Int(h) => is_stale_nan(h.sum) || h.validate().is_ok(),
            Histogram::Float(h) => is_stale_nan(h.sum) || h.validate().is_ok(),
        };
        let samples = batch.histograms.iter();
        let samples = samples.map(|sample| (sample.series, sample.timestamp_ms, valid(sample)));
        self.samples(BatchList::Histograms, samples, &batch.start_histograms, noted);
    }

    /// Samples with their series, times, and whether they can be stored at all. Those of `starts` are only ever added to
    /// the end of a series, and nobody is told of one that is not.
    fn samples(
        &mut self,
        list: BatchList,
        samples: impl Iterator<Item = (SeriesRef, i64, bool)>,
        starts: &[u32],
        noted: &mut Vec<Option<i64>>,
    ) {
        let mut walk = Walk::new(self.series);
        for (i, (series, timestamp_ms, is_valid)) in samples.enumerate() {
            let Some(time) = walk.time(series) else {
                self.unknown.push(series);
                noted.push(None);
                continue;
            };
            let is_start = !starts.is_empty() && starts.binary_search(&(i as u32)).is_ok();
            let before_ms = match is_valid {
                true => time.note(timestamp_ms, if is_start { 0 } else { self.window_ms }),
                false => None,
            };
            noted.push(before_ms);
            if before_ms.is_none() && !is_start {
                let refusal = match is_valid {
                    true => Refusal::OutOfOrder,
                    false => Refusal::InvalidHistogram,
                };
                self.outcome.refused.push((list, i as u32, refusal));
            }
        }
    }

    fn metadata(&mut self, batch: &AppendBatch) {
        let told = batch.metadata.iter().map(|(series, _)| *series);
        self.unknown
            .extend(told.filter(|series| !self.series.has(series.0)));
    }
}

/// Times that were noted for samples; taken back unless these get into the log.
struct Noted<'a> {
    series: &'a Series,
    batch: &'a AppendBatch,
    scratch: &'a mut Scratch,
    is_logged: bool,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if self.is_logged {
            return;
        }
        let mut walk = Walk::new(self.series);
        let mut take_back = |series, timestamp_ms, before_ms: &Option<i64>| {
            if let (Some(time), Some(before_ms)) = (walk.time(series), before_ms) {
                time.take_back(timestamp_ms, *before_ms);
            }
        };
        // The last one first: a series may have several.
        for (sample, before_ms) in self.batch.histograms.iter().zip(&self.scratch.histograms).rev() {
            take_back(sample.series, sample.timestamp_ms, before_ms);
        }
        for (sample, before_ms) in self.batch.floats.iter().zip(&self.scratch.floats).rev() {
            take_back(sample.series, sample.timestamp_ms, before_ms);
        }
    }
}
