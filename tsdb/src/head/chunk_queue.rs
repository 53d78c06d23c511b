//! Full chunks on their way into the files of `chunks_head`.
//!
//! Who appends copies a chunk into a buffer and goes on. Full buffers wait for the thread that writes them; where there
//! is no such thread, or it is far behind, whoever filled the buffer writes. Until then chunks are read from here. What
//! the disk refuses waits until it does not.
//!
//! Lock order: the disk, then the buffers; the buffers are never held while something is written.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::storage::StorageError;
use parking_lot::{Condvar, Mutex};

use super::chunk_files::file_path;
use files::{FileWriter, Files, Result};

/// Bytes after which a file is full.
const FILE_BYTES_MAX: u64 = 128 << 20;
/// Bytes of a buffer.
const BUFFER_BYTES: usize = 128 << 10;
/// Full buffers that may wait for the thread that writes them.
const WAITING_MAX: usize = 64;
/// Full buffers that may wait for a disk that refuses: 64 MiB.
const STUCK_MAX: usize = 512;

/// What is to be written, and what is being written.
pub(super) struct ChunkQueue {
    files: Arc<dyn Files>,
    dir: PathBuf,
    buffers: Mutex<Buffers>,
    disk: Mutex<Disk>,
    /// There is a full buffer, or nobody needs to wait for one any longer.
    work: Condvar,
    has_writer: AtomicBool,
    /// More waits for a disk that refuses than should.
    stuck: AtomicBool,
}

struct Buffers {
    /// Number of the file that is being filled, and where in it `filling` begins.
    number: u32,
    start: u64,
    filling: Vec<u8>,
    /// Full ones, oldest first. One leaves when it is in its file.
    full: VecDeque<Buffer>,
    /// Why the last write failed.
    failed: Option<StorageError>,
}

#[derive(Clone)]
struct Buffer {
    number: u32,
    start: u64,
    bytes: Arc<Vec<u8>>,
}

#[derive(Default)]
struct Disk {
    current: Option<(u32, Arc<dyn FileWriter>)>,
    /// The last write has failed; a part of its buffer may be in the file.
    torn: bool,
    /// Full files that were not synced yet.
    unsynced: Vec<(u32, Arc<dyn FileWriter>)>,
}

impl Buffers {
    /// Where the next byte goes.
    fn end(&self) -> u64 {
        self.start + self.filling.len() as u64
    }

    /// Ends the buffer that is being filled.
    fn seal(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        let (number, start, end) = (self.number, self.start, self.end());
        let bytes = Arc::new(std::mem::take(&mut self.filling));
        self.full.push_back(Buffer { number, start, bytes });
        self.start = end;
    }

    /// Ends the file that is being filled, unless it is empty.
    fn end_file(&mut self) {
        self.seal();
        if self.start > 0 && self.failed.is_none() {
            self.number += 1;
            self.start = 0;
        }
    }
}

impl ChunkQueue {
    /// A queue whose first file has this number.
    pub(super) fn new(files: Arc<dyn Files>, dir: PathBuf, number: u32) -> Self {
        ChunkQueue {
            files,
            dir,
            buffers: Mutex::new(Buffers {
                number,
                start: 0,
                filling: Vec::new(),
                full: VecDeque::new(),
                failed: None,
            }),
            disk: Mutex::default(),
            work: Condvar::new(),
            has_writer: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
        }
    }

    /// Adds a frame of at most `len_max` bytes, which `put` appends to the buffer; a file begins with `header`. Gives
    /// number of the file and place in it. Never fails: see [`ChunkQueue::failure`].
    pub(super) fn push(&self, header: &[u8], len_max: usize, put: impl FnOnce(&mut Vec<u8>)) -> (u32, u64) {
        let mut buffers = self.buffers.lock();
        if buffers.end() + len_max as u64 > FILE_BYTES_MAX {
            buffers.end_file();
        }
        if buffers.filling.is_empty() {
            buffers.filling.reserve_exact(BUFFER_BYTES + len_max);
        }
        if buffers.end() == 0 {
            buffers.filling.extend_from_slice(header);
        }
        let place = (buffers.number, buffers.end());
        put(&mut buffers.filling);
        if buffers.filling.len() >= BUFFER_BYTES {
            buffers.seal();
            let keeps_up = self.has_writer.load(Ordering::Relaxed) && buffers.full.len() <= WAITING_MAX;
            let failed = buffers.failed.is_some();
            if failed && buffers.full.len() > STUCK_MAX {
                self.stuck.store(true, Ordering::Release);
            }
            drop(buffers);
            if keeps_up {
                self.work.notify_one();
            } else if !failed {
                self.drain();
            }
        }
        place
    }

    /// Says that a thread calls [`ChunkQueue::write_next`] from now on, or no longer does.
    pub(super) fn set_has_writer(&self, has_writer: bool) {
        // Under the lock, or the thread might begin to wait just now and not hear of it.
        let _buffers = self.buffers.lock();
        self.has_writer.store(has_writer, Ordering::Relaxed);
        self.work.notify_all();
    }

    /// Waits for full buffers, `patience` at most, and writes them.
    pub(super) fn write_next(&self, patience: Duration) {
        {
            let mut buffers = self.buffers.lock();
            let idle = |b: &Buffers| b.full.is_empty() || b.failed.is_some();
            if idle(&buffers) && self.has_writer.load(Ordering::Relaxed) {
                self.work.wait_for(&mut buffers, patience);
            }
        }
        self.drain();
    }

    /// Writes all full buffers.
    fn drain(&self) {
        let mut disk = self.disk.lock();
        loop {
            let next = self.buffers.lock().full.front().cloned();
            let Some(buffer) = next else { return };
            let written = disk.write(&self.files, &self.dir, &buffer);
            let mut buffers = self.buffers.lock();
            match written {
                Ok(()) => {
                    buffers.full.pop_front();
                    buffers.failed = None;
                    self.stuck.store(false, Ordering::Release);
                }
                Err(error) => {
                    if buffers.failed.is_none() {
                        tracing::error!(%error, "head chunks cannot be written; they are kept in memory");
                    }
                    buffers.failed = Some(error);
                    return;
                }
            }
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// When a write fails.
    pub(super) fn flush(&self) -> Result<()> {
        self.buffers.lock().seal();
        self.drain();
        self.failure().map_or(Ok(()), Err)
    }

    /// Writes everything and makes it survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn sync(&self) -> Result<()> {
        self.flush()?;
        let (full, current) = {
            let mut disk = self.disk.lock();
            (std::mem::take(&mut disk.unsynced), disk.current.clone())
        };
        full.iter()
            .chain(&current)
            .try_for_each(|(_, file)| file.sync())?;
        self.files.sync_dir(&self.dir)
    }

    /// Tries again to write what could not be written.
    ///
    /// # Errors
    /// When it fails again.
    pub(super) fn retry(&self) -> Result<()> {
        if self.failure().is_some() {
            self.drain();
        }
        self.failure().map_or(Ok(()), Err)
    }

    /// Whether more waits for a disk that refuses than should.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    /// Why the last write failed, until one succeeds.
    pub(super) fn failure(&self) -> Option<StorageError> {
        self.buffers.lock().failed.clone()
    }

    /// Number of the file and place in it that the next chunk gets, unless it begins a file.
    pub(super) fn position(&self) -> (u32, u64) {
        let buffers = self.buffers.lock();
        (buffers.number, buffers.end())
    }

    /// Ends files whose numbers are below `number`, and writes them; gives the lowest number that is left.
    pub(super) fn end_before(&self, number: u32) -> u32 {
        let current = {
            let mut buffers = self.buffers.lock();
            if number > buffers.number {
                buffers.end_file();
            }
            buffers.number
        };
        self.drain();
        let number = number.min(current);
        let mut disk = self.disk.lock();
        disk.unsynced.retain(|(n, _)| *n >= number);
        if disk.current.as_ref().is_some_and(|(n, _)| *n < number) {
            disk.current = None;
        }
        // What could not be written to them is not needed any more.
        let mut buffers = self.buffers.lock();
        buffers.full.retain(|buffer| buffer.number >= number);
        if buffers.full.is_empty() {
            buffers.failed = None;
        }
        number
    }

    /// Goes on with a new file where the one that is being filled has been written to and is not there any more; tells
    /// whether that was so.
    pub(super) fn leave_missing(&self, is_there: impl Fn(u32) -> bool) -> bool {
        // While nothing is written: the file comes to be with its first buffer.
        let disk = self.disk.lock();
        let written = disk.current.as_ref().map(|(number, _)| *number);
        let mut buffers = self.buffers.lock();
        let missing = written == Some(buffers.number) && !is_there(buffers.number);
        if missing {
            buffers.end_file();
        }
        missing
    }

    /// Hands the bytes from a place on to `parse`, if they are still here.
    pub(super) fn read<T>(&self, number: u32, offset: u64, parse: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let buffers = self.buffers.lock();
        if number == buffers.number && offset >= buffers.start {
            return Some(parse(buffers.filling.get((offset - buffers.start) as usize..)?));
        }
        let holds =
            |b: &&Buffer| b.number == number && offset >= b.start && offset < b.start + b.bytes.len() as u64;
        let buffer = buffers.full.iter().find(holds)?.clone();
        drop(buffers);
        Some(parse(&buffer.bytes[(offset - buffer.start) as usize..]))
    }
}

impl Disk {
    fn write(&mut self, files: &Arc<dyn Files>, dir: &Path, buffer: &Buffer) -> Result<()> {
        let path = file_path(dir, buffer.number);
        let torn = std::mem::replace(&mut self.torn, true);
        let mut there = 0;
        let file = match &self.current {
            Some((number, file)) if *number == buffer.number => {
                if torn {
                    // The file may be mapped over what a failed write has left, so it is not cut: what is there is how
                    // the buffer begins.
                    there = files.len(&path)?.saturating_sub(buffer.start);
                }
                file
            }
            _ => {
                let file = files.create(&path)?;
                let before = self.current.replace((buffer.number, file));
                self.unsynced.extend(before);
                &self.current.as_ref().expect("just set").1
            }
        };
        let rest = usize::try_from(there)
            .ok()
            .and_then(|there| buffer.bytes.get(there..));
        file.write_all(rest.unwrap_or_default())?;
        self.torn = false;
        Ok(())
    }
}
