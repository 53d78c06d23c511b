//! The seam through which rooms touch the disk.
//!
//! [`DiskFiles`] is the real thing. [`MemFiles`] is its twin in memory for tests: it counts calls, fails on demand, and
//! remembers what would survive a killed process and what a power cut. [`Overlay`] shows other files and keeps every
//! change to itself: tools read through it. On top of them stands [`Journal`]: state that is changed in small steps and
//! must survive.
//!
//! The room knows paths and bytes and nothing of what they mean; whoever keeps state on disk takes an `Arc<dyn Files>`,
//! so that its tests can let any call fail. Every error is a [`StorageError::Io`] that names the path and the action.
//!
//! ```
//! use std::path::Path;
//! use narthex_files::{Fault, Files, MemFiles, replace_file};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let files = MemFiles::new();
//! files.create_dir_all(Path::new("data"))?;
//! replace_file(&files, Path::new("data/state"), b"old")?;
//! // The second call from now on fails, which writes to the temporary file.
//! files.inject(Fault::Call(files.calls() + 2));
//! assert!(replace_file(&files, Path::new("data/state"), b"new").is_err());
//! assert_eq!(files.read(Path::new("data/state"))?, b"old");
//! # Ok(())
//! # }
//! ```

pub mod codec;
mod disk;
pub mod journal;
mod map;
mod mem;
mod overlay;
mod replace;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use model::storage::StorageError;

pub use disk::DiskFiles;
pub use journal::Journal;
pub use map::Mapped;
pub use mem::{Fault, MemFiles};
pub use overlay::Overlay;
pub use replace::{Replacement, replace_file};

/// What file operations return.
pub type Result<T> = std::result::Result<T, StorageError>;

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the folder.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Its length in bytes; 0 for folders.
    pub len: u64,
}

/// Space on the file system that holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    /// What an ordinary process may still use, in bytes.
    pub free_bytes: u64,
}

/// The file operations of a store.
pub trait Files: Send + Sync + fmt::Debug {
    /// A new empty file, open for appending; an existing one is emptied.
    ///
    /// # Errors
    /// When it cannot be created.
    fn create(&self, path: &Path) -> Result<Arc<dyn FileWriter>>;

    /// The file open for appending at its end; created where it is missing.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn append(&self, path: &Path) -> Result<Arc<dyn FileWriter>>;

    /// The file's bytes as they are now, without reading them in. What is appended later is not part of it.
    ///
    /// # Errors
    /// When the file cannot be opened or mapped.
    fn map(&self, path: &Path) -> Result<Mapped>;

    /// The file's bytes, read in.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read(&self, path: &Path) -> Result<Vec<u8>>;

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// When there is no such file.
    fn len(&self, path: &Path) -> Result<u64>;

    /// Whether there is a file or folder at `path`.
    fn exists(&self, path: &Path) -> bool;

    /// Gives a file or folder another name; replaces a file (or an empty folder) that has it.
    ///
    /// # Errors
    /// When the system refuses.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// When `to` exists or the system refuses.
    fn hard_link(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Mappings of it stay valid.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Removes a folder with everything in it.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_dir_all(&self, path: &Path) -> Result<()>;

    /// Creates a folder and those above it; an existing one is fine.
    ///
    /// # Errors
    /// When it cannot be created.
    fn create_dir_all(&self, path: &Path) -> Result<()>;

    /// Makes creations, removals and renames in the folder durable.
    ///
    /// # Errors
    /// When the system refuses.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// Entries of a folder, sorted by name. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn list(&self, path: &Path) -> Result<Vec<Entry>>;

    /// Cuts a file to `len` bytes and makes that durable. No part beyond `len` may be mapped.
    ///
    /// # Errors
    /// When the system refuses.
    fn truncate(&self, path: &Path, len: u64) -> Result<()>;

    /// Takes the exclusive lock at `path`, creating the file; held until the result is dropped, which removes the file.
    ///
    /// # Errors
    /// Of kind [`io::ErrorKind::WouldBlock`] when another process (or another lock of this one) holds it.
    fn lock(&self, path: &Path) -> Result<FileLock>;

    /// Space on the file system of `path`, where that is known.
    fn disk_space(&self, path: &Path) -> Option<DiskSpace>;
}

/// A file open for appending, shared between the writer and whoever syncs.
pub trait FileWriter: Send + Sync {
    /// Appends all of `bytes`. One thread at a time: interleaving is the caller's to prevent.
    ///
    /// # Errors
    /// When the system refuses; a part may have been written.
    fn write_all(&self, bytes: &[u8]) -> Result<()>;

    /// Makes everything written so far durable (`fdatasync`).
    ///
    /// # Errors
    /// When the system refuses. What was written since the last success may then be lost even if a later call
    /// succeeds, so a store must not go on writing.
    fn sync(&self) -> Result<()>;

    /// Length of the file in bytes, counting what `write_all` has written.
    fn len(&self) -> u64;

    /// Whether the file is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A lock, released when dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct FileLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileLock")
    }
}

/// An I/O error with its path and action.
pub fn io_error(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    StorageError::Io {
        action,
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

/// Whether the error says that there is no such file or folder.
pub fn is_not_found(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
