//! State that survives: one file of records, each there for good once it was written.
//!
//! Whoever keeps state in memory that changes in small steps appends a record for each step, and gives the whole state
//! when the file has outgrown it. What records mean is the keeper's: they must say how things are, not how they changed,
//! since after a whole the file may tell a step again.
//!
//! The one decision behind it: a write or sync that failed is never built upon. The next write makes a new file of the
//! whole state, so that a full or failing disk costs durability while it is full or failing, and nothing afterwards.
//!
//! The bytes stand in `files/docs/journal.md`.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use model::clock::SystemClock;
//! use narthex_files::journal::{Format, Journal};
//! use narthex_files::MemFiles;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! const FORMAT: Format = Format { magic: *b"NTX test", version: 1 };
//! let (files, clock) = (Arc::new(MemFiles::new()), Arc::new(SystemClock));
//! let path = Path::new("data/journal");
//! let (journal, _) = Journal::open(files.clone(), clock.clone(), path, FORMAT, |_| {})?;
//! journal.write(b"one", |whole| whole.push(b"one"))?;
//! journal.write(b"two", |whole| { whole.push(b"one"); whole.push(b"two") })?;
//! let mut found = Vec::new();
//! Journal::open(files, clock, path, FORMAT, |record| found.push(record.to_vec()))?;
//! assert_eq!(found, [b"one", b"two"]);
//! # Ok(())
//! # }
//! ```

mod frame;
mod open;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::clock::Clock;
use model::storage::StorageError;
use parking_lot::Mutex;

use crate::replace::temporary;
use crate::{FileWriter, Files, Replacement, Result};
use frame::Frame;

pub use open::{Damage, Opened, look};

/// A file shorter than this many bytes is not written anew for its length: whoever keeps records rather than a state
/// begins another file before.
pub const SHORT_BYTES: u64 = 1 << 20;
/// A longer one is once it has grown to so many times what the whole state took.
const GROWTH_MAX: u64 = 2;
/// Most bytes of records that are written as one.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// Bytes of a whole state that are gathered before they are written.
const WHOLE_FRAME_BYTES: usize = 1 << 20;
/// After a failed attempt, so many times its duration go by before the next: at most a tenth of the time is spent on
/// a disk that takes nothing.
const PAUSE_FACTOR: u32 = 9;

/// What a journal's file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Whose state it holds.
    pub magic: [u8; 8],
    /// How its records are read; other versions are refused.
    pub version: u32,
}

/// A file of records. Threads may write at the same time; those who wait for the disk are served together.
pub struct Journal {
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    format: Format,
    /// Records that the next thread to write takes along. Never held while the disk is waited for.
    waiting: Mutex<Waiting>,
    output: Mutex<Output>,
    file_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

struct Waiting {
    frame: Frame,
    /// The number of the last record of it, or of all.
    last: u64,
}

struct Output {
    /// The file, as long as everything about it went well; without, a whole is written next.
    writer: Option<Arc<dyn FileWriter>>,
    /// What the whole state took when it was last written.
    whole_bytes: u64,
    /// Records up to this number are on disk.
    durable: u64,
    /// An attempt was made for records up to this number.
    tried: u64,
    failure: Option<Failure>,
}

/// Why the last attempt failed.
struct Failure {
    error: StorageError,
    /// When the next is made, in time of [`Clock::elapsed`].
    again_at: Duration,
}

impl Journal {
    /// Appends `record` and returns once it is on disk. Where the file has outgrown its state, or something failed before,
    /// a new one is written from what `whole` pushes instead; it must include what `record` says, and whatever other
    /// threads are writing at the time: change the state first, then write, and hold no lock meanwhile that `whole` or
    /// another writer takes.
    ///
    /// # Errors
    /// When the disk refuses: the record may or may not be there after a crash. Soon after a failure the disk is left
    /// alone and the same error given again.
    pub fn write(&self, record: &[u8], whole: impl FnOnce(&mut Whole<'_>)) -> Result<()> {
        let number = self.line_up(record)?;
        let mut output = self.output.lock();
        if output.durable >= number {
            return Ok(());
        }
        if let Some(failure) = output.failure.as_ref().filter(|_| output.tried >= number) {
            return Err(failure.error.clone());
        }
        let (frame, last) = {
            let mut waiting = self.waiting.lock();
            (std::mem::take(&mut waiting.frame), waiting.last)
        };
        output.tried = last;
        let began = self.clock.elapsed();
        let outgrown = output.is_outgrown();
        // Whatever goes wrong from here on, a panic of `whole` among it, leaves no writer behind.
        let result = match output.writer.take().filter(|_| !outgrown) {
            Some(writer) => self.append(&*writer, frame).map(|()| writer),
            None => match output.failure.as_ref().filter(|failure| began < failure.again_at) {
                Some(failure) => return Err(failure.error.clone()),
                None => self
                    .rewrite(whole)
                    .inspect(|writer| output.whole_bytes = writer.len()),
            },
        };
        match result {
            Ok(writer) => {
                self.file_bytes.store(writer.len(), Ordering::Relaxed);
                output.writer = Some(writer);
                output.durable = last;
                output.failure = None;
                Ok(())
            }
            Err(error) => {
                let now = self.clock.elapsed();
                output.failure = Some(Failure {
                    error: error.clone(),
                    again_at: now + PAUSE_FACTOR * now.saturating_sub(began),
                });
                Err(error)
            }
        }
    }

    /// Length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// Bytes written since it was opened.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Puts a record where the next thread to write finds it; gives its number.
    fn line_up(&self, record: &[u8]) -> Result<u64> {
        let mut waiting = self.waiting.lock();
        if record.len().saturating_add(waiting.frame.len()) > FRAME_BYTES_MAX {
            let len = record.len();
            return Err(StorageError::Other(format!(
                "a record of {len} bytes is too long"
            )));
        }
        waiting.frame.push(record);
        waiting.last += 1;
        Ok(waiting.last)
    }

    fn append(&self, writer: &dyn FileWriter, frame: Frame) -> Result<()> {
        writer.write_all(&self.counted(frame))?;
        writer.sync()
    }

    /// Writes the whole state to a new file, which takes the place of the old one.
    fn rewrite(&self, whole: impl FnOnce(&mut Whole<'_>)) -> Result<Arc<dyn FileWriter>> {
        let attempt = || {
            let replacement = Replacement::create(&*self.files, &self.path)?;
            replacement.write_all(&self.format.header())?;
            let mut pushed = Whole {
                journal: self,
                replacement: &replacement,
                frame: Frame::default(),
                result: Ok(()),
            };
            whole(&mut pushed);
            pushed.flush();
            pushed.result?;
            replacement.commit()
        };
        attempt().inspect_err(|_| {
            // What is left of the attempt must not fill the disk; where that fails too, the next attempt overwrites it.
            let _ = self.files.remove_file(&temporary(&self.path));
        })
    }

    fn counted(&self, frame: Frame) -> Vec<u8> {
        let bytes = frame.finish();
        self.written_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        bytes
    }
}

impl Output {
    fn is_outgrown(&self) -> bool {
        let bytes = self.writer.as_ref().map_or(0, |writer| writer.len());
        bytes > SHORT_BYTES && bytes > self.whole_bytes.saturating_mul(GROWTH_MAX)
    }
}

/// Takes the records of a whole state.
pub struct Whole<'a> {
    journal: &'a Journal,
    replacement: &'a Replacement<'a>,
    frame: Frame,
    result: Result<()>,
}

impl Whole<'_> {
    /// Adds a record. What goes wrong is told by [`Journal::write`].
    pub fn push(&mut self, record: &[u8]) {
        self.frame.push(record);
        if self.frame.len() >= WHOLE_FRAME_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let frame = std::mem::take(&mut self.frame);
        if self.result.is_ok() && !frame.is_empty() {
            self.result = self.replacement.write_all(&self.journal.counted(frame));
        }
    }
}
