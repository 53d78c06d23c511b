//! Between the passes: what was accepted goes to the log; behind them, what came late goes to its own.

use model::storage::{AppendBatch, StorageError};

use super::Scratch;
use crate::head::Head;
use crate::head::admission::Verdict;
use crate::wal::{
    FloatEntry, HistogramEntry, Keep, encode_exemplars, encode_floats, encode_floats_with_start,
    encode_histograms, encode_metadata,
};

impl Head {
    /// Writes what was accepted to the log.
    pub(super) fn log(&self, batch: &AppendBatch, scratch: &mut Scratch) -> Result<(), StorageError> {
        self.queue_fresh_series(scratch);
        let taken = |v: &Verdict| matches!(v, Verdict::InOrder | Verdict::Late);
        let with_start = self.options.start_timestamps;
        let (compressor, compression) = (&mut scratch.compressor, self.wal.compression());
        // Some sources say with each sample what they have said before.
        let told = batch
            .metadata
            .iter()
            .filter(|(series, told)| !self.has_metadata(*series, told));
        let mut told = told.map(|(series, told)| (series.0, told)).peekable();
        if told.peek().is_some() {
            encode_metadata(&mut scratch.record, told);
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

    pub(super) fn log_late(&self, scratch: &mut Scratch) -> Result<(), StorageError> {
        let wbl = self.wbl_open()?;
        scratch.late.cut(self.options.start_timestamps);
        // Compat: the reference takes samples before a marker for being in the chunk that it names as soon as there is any
        // newer chunk. After a kill there must be no marker without its chunk (tests/it/store.rs,
        // a_late_chunk_is_in_its_file_before_the_log_says_so).
        if scratch.late.has_markers() && self.chunk_files.flush().is_err() {
            scratch.late.drop_markers();
        }
        for record in &scratch.late.records {
            scratch.compressor.stage(wbl.compression(), record);
        }
        // The samples are applied already; until they are logged, no other transaction is taken.
        wbl.commit(&mut scratch.compressor, Keep::Yes)
    }
}
