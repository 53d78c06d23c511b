//! The write-ahead log: every transaction is in it before it is acknowledged.
//!
//! A log is a folder of numbered segments; a checkpoint beside them stands for the segments that it replaced. The same
//! format serves the out-of-order log. Layouts, and what a reader does about each kind of damage: `tsdb/docs/wal.md`.
//!
//! Commits are grouped: a thread frames its records into a shared buffer under a short lock, then whoever gets the
//! file writes all that has gathered, and the others find theirs written. Encoding and compressing happen before, in
//! the caller's own buffers. Nothing waits for the disk: [`Wal::sync`] is called in the background.
//!
//! The records of a transaction are framed together, so one write has them all or none. A write that fails is undone: the
//! segment is cut back to where it was, the transactions concerned are told, and the next one tries again. After a sync
//! that failed nobody knows what the disk holds, and the log is closed for good.

mod checkpoint;
mod follow;
mod fresh;
mod output;
mod page;
mod progress;
mod record;
mod telemetry;
mod transaction;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::storage::StorageError;
use parking_lot::Mutex;

use files::{Files, Result};
use output::Output;
use page::{PAGE_BYTES, frame, framed_len};

pub use checkpoint::{
    CheckpointStats, checkpoint_path, last_checkpoint, remove_superseded, write_checkpoint,
};
pub(crate) use checkpoint::{gaps, log_sources};
pub(crate) use follow::{Follower, Kept, bytes_from, end};
pub use fresh::LABELS_BYTES_MAX;
pub(crate) use fresh::{FreshSeries, REFERENCE_MAX, check_labels};
pub(crate) use page::Compressor;
pub use page::{Compression, Damage, SegmentReader};
pub use progress::ReplayProgress;
pub use record::*;
pub(crate) use record::{decode_forgotten, encode_forgotten};
pub(crate) use transaction::Records;

/// Bytes after which a segment is full, unless a single record is longer.
pub const SEGMENT_BYTES: u64 = 128 << 20;

/// Damage found in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDamage {
    /// Which segment.
    pub path: PathBuf,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// Bytes that were cut off.
    pub lost_bytes: u64,
    /// What was wrong.
    pub what: String,
}

/// An open log.
pub struct Wal {
    files: Arc<dyn Files>,
    dir: PathBuf,
    compression: Compression,
    segment_bytes: u64,
    queue: Mutex<Queue>,
    output: Mutex<Output>,
    poisoned: AtomicBool,
    /// Whether the last write failed.
    failing: AtomicBool,
    written_bytes: AtomicU64,
    appended_records: AtomicU64,
    failed_writes: AtomicU64,
    /// Segment and length up to which whole records are written.
    written: Mutex<(u64, u64)>,
    /// Called after each write.
    on_write: Mutex<Option<Hook>>,
}

/// Tells whoever follows the log that there is more of it.
type Hook = Arc<dyn Fn() + Send + Sync>;

/// What is framed and not yet written.
struct Queue {
    pending: Vec<u8>,
    /// Places in `pending` where a new segment starts.
    cuts: Vec<usize>,
    /// Bytes of the segment that the end of `pending` belongs to.
    segment_len: u64,
    segment: u64,
    /// Number of the last record framed.
    ticket: u64,
    /// Records that must be written even if the transaction that brought them fails, with their tickets.
    kept: Vec<(u64, Compression, Vec<u8>)>,
    /// How often a write has failed and what was pending was dropped; with the last reason.
    failures: u64,
    reason: Option<StorageError>,
}

/// What a transaction waits for.
#[derive(Clone, Copy)]
struct Mark {
    ticket: u64,
    failures: u64,
}

/// Whether records outlive a failed write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// They are dropped, and the transaction fails.
    No,
    /// They are written as soon as writing works again: what they tell is true already.
    Yes,
}

impl Wal {
    /// Opens the log in `dir` and starts a new segment behind those that exist. `first` is the number of the first
    /// segment of an empty log.
    ///
    /// # Errors
    /// When the folder or the segment cannot be created.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        first: u64,
        segment_bytes: u64,
        compression: Compression,
    ) -> Result<Wal> {
        if !files.exists(dir) {
            files.create_dir_all(dir)?;
            files.sync_dir(dir.parent().unwrap_or(Path::new("")))?;
        }
        let segment = segments(&*files, dir)?.last().map_or(first, |last| last + 1);
        let file = files.create(&segment_path(dir, segment))?;
        files.sync_dir(dir)?;
        Ok(Wal {
            files,
            dir: dir.to_owned(),
            compression,
            segment_bytes: segment_bytes.next_multiple_of(PAGE_BYTES as u64),
            queue: Mutex::new(Queue {
                pending: Vec::new(),
                cuts: Vec::new(),
                segment_len: 0,
                segment,
                ticket: 0,
                kept: Vec::new(),
                failures: 0,
                reason: None,
            }),
            output: Mutex::new(Output::new(file, segment)),
            poisoned: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            written_bytes: AtomicU64::new(0),
            appended_records: AtomicU64::new(0),
            failed_writes: AtomicU64::new(0),
            written: Mutex::new((segment, 0)),
            on_write: Mutex::default(),
        })
    }

    /// Folder of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How its records are compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Bytes written since it was opened.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Records framed since it was opened.
    pub fn appended_records(&self) -> u64 {
        self.appended_records.load(Ordering::Relaxed)
    }

    /// Whether an earlier failure has closed it.
    pub fn is_closed(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }

    /// Why the last write failed, until one succeeds.
    pub fn failure(&self) -> Option<StorageError> {
        let failing = self.failing.load(Ordering::Acquire) || self.is_closed();
        failing.then(|| self.queue.lock().reason())
    }

    /// Writes and syncs that failed since the log was opened.
    pub fn failed_writes(&self) -> u64 {
        self.failed_writes.load(Ordering::Relaxed)
    }

    /// Number of the segment that is being written.
    pub fn segment(&self) -> u64 {
        self.queue.lock().segment
    }

    /// Where the next record begins: number of the segment, and bytes from its start. What is queued counts as written.
    pub(crate) fn position(&self) -> (u64, u64) {
        let queue = self.queue.lock();
        (queue.segment, queue.segment_len)
    }

    /// Segment and length up to which whole records are handed to the operating system: what a reader beside the writer may
    /// look at.
    pub fn written(&self) -> (u64, u64) {
        *self.written.lock()
    }

    /// Calls `hook` after each write, from the thread that writes, in the place of the one before.
    pub(crate) fn on_write(&self, hook: Hook) {
        *self.on_write.lock() = Some(hook);
    }

    /// Adds a record to the queue without writing it: it goes out before any record that is framed later.
    pub(crate) fn enqueue(&self, compressor: &mut Compressor, record: &[u8], keep: Keep) {
        compressor.stage(self.compression, record);
        self.frame_staged(compressor, keep);
    }

    /// Adds a record that is compressed already: see [`Wal::enqueue`].
    pub(crate) fn enqueue_stored(
        &self,
        compressor: &mut Compressor,
        compression: Compression,
        stored: &[u8],
    ) {
        compressor.stage_stored(compression, stored);
        self.frame_staged(compressor, Keep::No);
    }

    /// Writes what is queued if it is `bytes` or more.
    ///
    /// # Errors
    /// When the write fails.
    pub(crate) fn flush_from(&self, bytes: usize) -> Result<()> {
        if self.queue.lock().pending.len() < bytes {
            return Ok(());
        }
        self.flush()
    }

    /// Adds records and returns when they and everything before them are handed to the operating system: they survive
    /// the end of the process.
    ///
    /// # Errors
    /// As [`Wal::commit`].
    pub(crate) fn log(&self, compressor: &mut Compressor, records: &[&[u8]]) -> Result<()> {
        for record in records {
            compressor.stage(self.compression, record);
        }
        self.commit(compressor, Keep::No)
    }

    /// Adds the staged records, to be written together, and returns when they and everything before them are handed to
    /// the operating system: they survive the end of the process.
    ///
    /// # Errors
    /// When the write fails; none of the records is in the log then, unless they are to be kept.
    pub(crate) fn commit(&self, compressor: &mut Compressor, keep: Keep) -> Result<()> {
        let mark = self.frame_staged(compressor, keep);
        self.flush_to(mark)
    }

    /// Frames the staged records behind one another.
    fn frame_staged(&self, compressor: &mut Compressor, keep: Keep) -> Mark {
        let mut queue = self.queue.lock();
        let mut end = queue.segment_len;
        let mut records = 0;
        for (_, stored) in compressor.staged() {
            end += framed_len((end % PAGE_BYTES as u64) as usize, stored.len()) as u64;
            records += 1;
        }
        // A new segment before the first of them: a write that is cut between segments would have half a transaction.
        if queue.segment_len > 0 && end > self.segment_bytes {
            queue.cut();
        }
        for (compression, stored) in compressor.staged() {
            self.frame(&mut queue, compression, stored);
            if keep == Keep::Yes {
                let ticket = queue.ticket;
                queue.kept.push((ticket, compression, stored.to_vec()));
            }
        }
        let mark = queue.mark();
        drop(queue);
        compressor.clear_staged();
        self.appended_records.fetch_add(records, Ordering::Relaxed);
        mark
    }

    fn frame(&self, queue: &mut Queue, compression: Compression, stored: &[u8]) {
        let used = (queue.segment_len % PAGE_BYTES as u64) as usize;
        let len = framed_len(used, stored.len()) as u64;
        if queue.segment_len > 0 && queue.segment_len + len > self.segment_bytes {
            queue.cut();
        }
        let used = (queue.segment_len % PAGE_BYTES as u64) as usize;
        let before = queue.pending.len();
        frame(&mut queue.pending, used, compression, stored);
        queue.segment_len += (queue.pending.len() - before) as u64;
        queue.ticket += 1;
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// When the write fails.
    pub fn flush(&self) -> Result<()> {
        let mark = self.queue.lock().mark();
        self.flush_to(mark)
    }

    fn flush_to(&self, mark: Mark) -> Result<()> {
        let mut output = self.output.lock();
        self.check()?;
        {
            let queue = self.queue.lock();
            if queue.failures != mark.failures {
                return Err(queue.reason());
            }
        }
        if output.ticket >= mark.ticket {
            return Ok(());
        }
        if let Err(error) = output.mend(&*self.files, &self.dir) {
            self.fail(&mut output, &error);
            return Err(error);
        }
        let spare = std::mem::take(&mut output.spare);
        let (mut pending, cuts, ticket) = {
            let mut queue = self.queue.lock();
            let pending = std::mem::replace(&mut queue.pending, spare);
            (pending, std::mem::take(&mut queue.cuts), queue.ticket)
        };
        let written = catch_unwind(AssertUnwindSafe(|| {
            output.write(&*self.files, &self.dir, &pending, &cuts)
        }));
        // What was taken from the queue is nowhere else: whoever waits for it hears of the panic too.
        let result = written.unwrap_or_else(|payload| {
            let why = "a write of the log panicked".to_owned();
            self.fail(&mut output, &StorageError::Other(why));
            resume_unwind(payload)
        });
        let bytes = pending.len() as u64;
        pending.clear();
        pending.shrink_to(1 << 20);
        output.spare = pending;
        match &result {
            Ok(()) => {
                output.ticket = ticket;
                self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
                *self.written.lock() = output.known();
                if let Some(hook) = &*self.on_write.lock() {
                    hook();
                }
                self.succeeded(ticket);
            }
            Err(error) => {
                self.fail(&mut output, error);
                // At once, so that a crash finds no torn end; what fails here is tried again before the next write.
                if let Err(error) = output.mend(&*self.files, &self.dir) {
                    self.note_mending(&error);
                }
            }
        }
        result
    }

    fn succeeded(&self, ticket: u64) {
        let mut queue = self.queue.lock();
        if !queue.kept.is_empty() {
            queue.kept.retain(|(of, ..)| *of > ticket);
        }
        drop(queue);
        if self.failing.swap(false, Ordering::AcqRel) {
            tracing::info!(dir = %self.dir.display(), "the log can be written again");
        }
    }

    /// Drops what is queued but for what must be kept, and goes back to what is known to be written.
    fn fail(&self, output: &mut Output, error: &StorageError) {
        self.failed_writes.fetch_add(1, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        queue.pending.clear();
        queue.cuts.clear();
        (queue.segment, queue.segment_len) = output.known();
        queue.failures += 1;
        queue.reason = Some(error.clone());
        output.ticket = queue.ticket;
        for (_, compression, stored) in std::mem::take(&mut queue.kept) {
            self.frame(&mut queue, compression, &stored);
            let ticket = queue.ticket;
            queue.kept.push((ticket, compression, stored));
        }
        drop(queue);
        self.note_mending(error);
        if !self.failing.swap(true, Ordering::AcqRel) {
            tracing::error!(dir = %self.dir.display(), %error, "the log cannot be written; it is tried again with every transaction");
        }
    }

    /// A sync that failed while the log's end was cut back leaves no way to go on.
    fn note_mending(&self, error: &StorageError) {
        if matches!(error, StorageError::Io { action: "sync", .. }) {
            self.poisoned.store(true, Ordering::SeqCst);
        }
    }

    fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::SeqCst) {
            return Err(StorageError::Poisoned(
                "the write-ahead log could not be written".into(),
            ));
        }
        Ok(())
    }

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses; the log is then closed for good, because what it holds is no longer known.
    pub fn sync(&self) -> Result<()> {
        self.flush()?;
        let (mut full, current) = self.output.lock().take_unsynced();
        let new_segments = !full.is_empty();
        full.push(current);
        let synced = full.iter().try_for_each(|file| file.sync()).and_then(|()| {
            if new_segments {
                self.files.sync_dir(&self.dir)
            } else {
                Ok(())
            }
        });
        if let Err(error) = &synced {
            self.failed_writes.fetch_add(1, Ordering::Relaxed);
            self.queue.lock().reason = Some(error.clone());
            self.poisoned.store(true, Ordering::SeqCst);
        }
        synced
    }

    /// Ends the current segment, unless it is empty, and returns the number of the new one.
    ///
    /// # Errors
    /// When the write fails.
    pub fn next_segment(&self) -> Result<u64> {
        let (segment, mark) = {
            let mut queue = self.queue.lock();
            if queue.segment_len > 0 {
                queue.cut();
                // A cut counts as a record, so that the flush below does not find itself done.
                queue.ticket += 1;
            }
            (queue.segment, queue.mark())
        };
        self.flush_to(mark)?;
        Ok(segment)
    }

    /// Removes the segments before number `segment`.
    ///
    /// # Errors
    /// When a file cannot be removed; those before it are gone.
    pub fn remove_before(&self, segment: u64) -> Result<()> {
        for old in segments(&*self.files, &self.dir)? {
            if old < segment {
                self.files.remove_file(&segment_path(&self.dir, old))?;
            }
        }
        Ok(())
    }

    /// Bytes that the log's segments and checkpoints take on disk.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn disk_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for entry in self.files.list(&self.dir)? {
            bytes += if entry.is_dir {
                let inside = self.files.list(&self.dir.join(&entry.name))?;
                inside.iter().map(|e| e.len).sum()
            } else {
                entry.len
            };
        }
        Ok(bytes)
    }
}

impl Queue {
    fn mark(&self) -> Mark {
        Mark {
            ticket: self.ticket,
            failures: self.failures,
        }
    }

    fn reason(&self) -> StorageError {
        let unknown = || StorageError::Poisoned("the write-ahead log could not be written".into());
        self.reason.clone().unwrap_or_else(unknown)
    }

    fn cut(&mut self) {
        self.cuts.push(self.pending.len());
        self.segment += 1;
        self.segment_len = 0;
    }
}

/// Path of segment number `segment`.
pub fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:08}"))
}

/// Numbers of the segments in `dir`, ascending; none where the folder is missing.
///
/// # Errors
/// When the folder cannot be listed.
pub fn segments(files: &dyn Files, dir: &Path) -> Result<Vec<u64>> {
    if !files.exists(dir) {
        return Ok(Vec::new());
    }
    let mut numbers: Vec<u64> = files
        .list(dir)?
        .iter()
        .filter(|e| !e.is_dir && e.name.bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|e| e.name.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
#[path = "wal_tests.rs"]
mod tests;
