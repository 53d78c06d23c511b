//! Between the passes: what was accepted goes to the log; behind them, what came late goes to its own.

use model::storage::{AppendBatch, StorageError};

use super::Scratch;
use crate::head::Head;
use crate::head::admission::Verdict;
use crate::wal::{Keep, Records};

impl Head {
    /// Writes what was accepted to the log.
    pub(super) fn log(&self, batch: &AppendBatch, scratch: &mut Scratch) -> Result<(), StorageError> {
        self.queue_fresh_series(scratch);
        let Scratch {
            compressor,
            record,
            histogram_entries,
            floats,
            histograms,
            exemplars,
            ..
        } = &mut *scratch;
        let mut records = Records {
            compressor,
            compression: self.wal.compression(),
            with_start: self.options.start_timestamps,
            record,
            histograms: histogram_entries,
        };
        // Some sources say with each sample what they have said before.
        let told = batch.metadata.iter();
        let told = told.filter(|(series, told)| !self.has_metadata(*series, told));
        records.metadata(told.map(|(series, told)| (series.0, told)));
        let taken = |v: Verdict| matches!(v, Verdict::InOrder | Verdict::Late);
        records.floats(batch, |i| taken(floats.verdicts[i]));
        records.histograms(batch, |i| taken(histograms.verdicts[i]));
        records.exemplars(exemplars);
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
