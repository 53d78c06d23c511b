//! A store's folder: there, and nobody else's.

use std::io;
use std::path::Path;

use files::{FileLock, Files, Result};
use model::storage::StorageError;
use parking_lot::Mutex;

/// Name of the file that says that a process has the store open.
const LOCK: &str = "lock";

/// A folder that is in use by this process alone, as long as it is asked to lock it.
pub(crate) struct Folder {
    lock: Mutex<Option<FileLock>>,
    /// Whether nobody left a lock behind; `None` without locks.
    clean_start: Option<bool>,
}

impl Folder {
    /// Makes folder `dir` where it is missing, and locks it where `lock` is set.
    ///
    /// # Errors
    /// When another process holds it, or the disk refuses.
    pub(crate) fn open(files: &dyn Files, dir: &Path, lock: bool) -> Result<Folder> {
        if !files.exists(dir) {
            files.create_dir_all(dir)?;
            files.sync_dir(dir.parent().unwrap_or(Path::new("")))?;
        }
        // An orderly end removes it.
        let clean_start = lock.then(|| !files.exists(&dir.join(LOCK)));
        let lock = lock.then(|| lock_dir(files, dir)).transpose()?;
        Ok(Folder {
            lock: Mutex::new(lock),
            clean_start,
        })
    }

    /// Lets others have it.
    pub(crate) fn give_free(&self) {
        self.lock.lock().take();
    }

    /// What metrics say of the last end: 1 if it was in good order, 0 if it left its lock behind, -1 without locks.
    pub(crate) fn clean_start(&self) -> f64 {
        match self.clean_start {
            None => -1.0,
            Some(clean) => f64::from(u8::from(clean)),
        }
    }
}

fn lock_dir(files: &dyn Files, dir: &Path) -> Result<FileLock> {
    files.lock(&dir.join(LOCK)).map_err(|error| match &error {
        StorageError::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
            StorageError::Other(format!("{} is in use by another process", dir.display()))
        }
        _ => error,
    })
}
