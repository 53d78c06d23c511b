//! What a transaction says, as records.

use std::convert::Infallible;

use model::sample::Metadata;
use model::storage::AppendBatch;

use super::record::{
    ExemplarEntry, FloatEntry, HistogramEntry, encode_exemplars, encode_floats, encode_floats_with_start,
    encode_histograms, encode_metadata,
};
use super::{Compression, Compressor};

/// Stages the records of a transaction, to be written together: it is in the log whole or not at all.
pub(crate) struct Records<'a> {
    pub(crate) compressor: &'a mut Compressor,
    pub(crate) compression: Compression,
    /// Whether start timestamps are stored.
    pub(crate) with_start: bool,
    /// Space for a record.
    pub(crate) record: &'a mut Vec<u8>,
    /// Space for histograms.
    pub(crate) histograms: &'a mut Vec<HistogramEntry>,
}

impl Records<'_> {
    fn stage(&mut self) {
        self.compressor.stage(self.compression, self.record);
    }

    pub(crate) fn metadata<'m>(&mut self, told: impl Iterator<Item = (u64, &'m Metadata)>) {
        let mut told = told.peekable();
        if told.peek().is_some() {
            encode_metadata(self.record, told);
            self.stage();
        }
    }

    /// The floats of those places for which `taken` holds.
    pub(crate) fn floats(&mut self, batch: &AppendBatch, taken: impl Fn(usize) -> bool) {
        let entries = batch.floats.iter().enumerate().filter(|(i, _)| taken(*i));
        let mut entries = entries
            .map(|(i, sample)| FloatEntry {
                series: sample.series.0,
                start_ms: batch.float_starts_ms.get(i).copied().unwrap_or(0),
                timestamp_ms: sample.timestamp_ms,
                value: sample.value,
            })
            .peekable();
        if entries.peek().is_none() {
            return;
        }
        if self.with_start {
            encode_floats_with_start(self.record, entries);
        } else {
            encode_floats(self.record, entries);
        }
        self.stage();
    }

    /// The histograms of those places for which `taken` holds.
    pub(crate) fn histograms(&mut self, batch: &AppendBatch, taken: impl Fn(usize) -> bool) {
        let entries = batch.histograms.iter().enumerate().filter(|(i, _)| taken(*i));
        self.histograms.clear();
        self.histograms.extend(entries.map(|(i, sample)| HistogramEntry {
            series: sample.series.0,
            start_ms: batch.histogram_starts_ms.get(i).copied().unwrap_or(0),
            timestamp_ms: sample.timestamp_ms,
            histogram: sample.histogram.clone(),
        }));
        if self.histograms.is_empty() {
            return;
        }
        let (compressor, compression) = (&mut *self.compressor, self.compression);
        let Ok(()) = encode_histograms(self.record, &*self.histograms, self.with_start, |record| {
            compressor.stage(compression, record);
            Ok::<(), Infallible>(())
        });
    }

    pub(crate) fn exemplars(&mut self, exemplars: &[ExemplarEntry]) {
        if !exemplars.is_empty() {
            encode_exemplars(self.record, exemplars);
            self.stage();
        }
    }
}
