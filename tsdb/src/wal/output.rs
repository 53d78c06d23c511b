//! The end of the log: the segment that is written, and the way back when writing fails.

use std::path::Path;
use std::sync::Arc;

use super::segment_path;
use files::{FileWriter, Files, Result};

pub(super) struct Output {
    file: Arc<dyn FileWriter>,
    segment: u64,
    /// Bytes of the segment that are known to be written.
    written: u64,
    /// Full segments that were not synced yet, oldest first.
    unsynced: Vec<Arc<dyn FileWriter>>,
    /// A write has failed and may have left something behind what is known.
    torn: Option<Torn>,
    /// Emptied buffer, to be swapped with what is pending.
    pub(super) spare: Vec<u8>,
    /// All records up to this number are written.
    pub(super) ticket: u64,
}

/// Where the log ended before the write that failed.
#[derive(Clone, Copy)]
struct Torn {
    segment: u64,
    written: u64,
}

impl Output {
    pub(super) fn new(file: Arc<dyn FileWriter>, segment: u64) -> Self {
        Output {
            file,
            segment,
            written: 0,
            unsynced: Vec::new(),
            torn: None,
            spare: Vec::new(),
            ticket: 0,
        }
    }

    /// Segment and length up to which the log is known to be good.
    pub(super) fn known(&self) -> (u64, u64) {
        self.torn
            .map_or((self.segment, self.written), |torn| (torn.segment, torn.written))
    }

    /// Writes `pending`, beginning a new segment at each of `cuts`. What a failure or a panic has left of it is cut off before
    /// anything else is written.
    ///
    /// # Panics
    /// As the files do; the caller tells who waits.
    pub(super) fn write(
        &mut self,
        files: &dyn Files,
        dir: &Path,
        pending: &[u8],
        cuts: &[usize],
    ) -> Result<()> {
        let before = Torn {
            segment: self.segment,
            written: self.written,
        };
        let full = self.unsynced.len();
        self.torn = Some(before);
        let result = self.write_pieces(files, dir, pending, cuts);
        match result {
            Ok(()) => self.torn = None,
            Err(_) => self.unsynced.truncate(full),
        }
        result
    }

    fn write_pieces(&mut self, files: &dyn Files, dir: &Path, pending: &[u8], cuts: &[usize]) -> Result<()> {
        let mut start = 0;
        for cut in cuts {
            self.piece(&pending[start..*cut])?;
            start = *cut;
            let next = self.segment + 1;
            let file = files.create(&segment_path(dir, next))?;
            self.segment = next;
            self.written = 0;
            self.unsynced.push(std::mem::replace(&mut self.file, file));
        }
        self.piece(&pending[start..])
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<()> {
        if !bytes.is_empty() {
            self.file.write_all(bytes)?;
            self.written += bytes.len() as u64;
        }
        Ok(())
    }

    /// Cuts off what a failed write has left. Does nothing where none has failed.
    ///
    /// # Errors
    /// When the system refuses; to be tried again before anything else is written.
    pub(super) fn mend(&mut self, files: &dyn Files, dir: &Path) -> Result<()> {
        let Some(torn) = self.torn else {
            return Ok(());
        };
        // The newest first: there is never a gap between segments.
        for segment in (torn.segment + 1..=self.segment + 1).rev() {
            let path = segment_path(dir, segment);
            if files.exists(&path) {
                files.remove_file(&path)?;
            }
        }
        let path = segment_path(dir, torn.segment);
        files.truncate(&path, torn.written)?;
        // Opened anew: the old handle stands behind what was cut off.
        self.file = files.append(&path)?;
        self.segment = torn.segment;
        self.written = torn.written;
        self.torn = None;
        Ok(())
    }

    /// Everything that was written since this was last asked; the segment at hand is the second part.
    pub(super) fn take_unsynced(&mut self) -> (Vec<Arc<dyn FileWriter>>, Arc<dyn FileWriter>) {
        (std::mem::take(&mut self.unsynced), Arc::clone(&self.file))
    }
}
