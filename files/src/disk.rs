//! The real file system.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{DiskSpace, Entry, FileLock, FileWriter, Files, Mapped, Result, io_error, map};

/// The machine's disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn create(&self, path: &Path) -> Result<Arc<dyn FileWriter>> {
        let file = File::create(path).map_err(|e| io_error("create", path, e))?;
        Ok(Arc::new(DiskWriter::new(file, path, 0)))
    }

    fn append(&self, path: &Path) -> Result<Arc<dyn FileWriter>> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|e| io_error("open", path, e))?;
        let len = file.metadata().map_err(|e| io_error("open", path, e))?.len();
        Ok(Arc::new(DiskWriter::new(file, path, len)))
    }

    fn map(&self, path: &Path) -> Result<Mapped> {
        let file = File::open(path).map_err(|e| io_error("open", path, e))?;
        map::map_file(&file).map_err(|e| io_error("map", path, e))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        fs::read(path).map_err(|e| io_error("read", path, e))
    }

    fn len(&self, path: &Path) -> Result<u64> {
        let meta = fs::metadata(path).map_err(|e| io_error("stat", path, e))?;
        Ok(meta.len())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|e| io_error("rename", from, e))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        fs::hard_link(from, to).map_err(|e| io_error("link", to, e))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|e| io_error("remove", path, e))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        fs::remove_dir_all(path).map_err(|e| io_error("remove", path, e))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path).map_err(|e| io_error("create", path, e))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        // The parent of a relative path of one name is the empty path.
        let dir = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|e| io_error("sync", dir, e))
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| io_error("list", path, e))? {
            let entry = entry.map_err(|e| io_error("list", path, e))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // Follows links: a block may be linked in from elsewhere.
            let Ok(meta) = fs::metadata(entry.path()) else {
                continue;
            };
            let is_dir = meta.is_dir();
            entries.push(Entry {
                name,
                is_dir,
                len: if is_dir { 0 } else { meta.len() },
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(|e| io_error("truncate", path, e))?;
        file.set_len(len).map_err(|e| io_error("truncate", path, e))?;
        file.sync_all().map_err(|e| io_error("sync", path, e))
    }

    fn lock(&self, path: &Path) -> Result<FileLock> {
        let file = loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(|e| io_error("open", path, e))?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
                .map_err(|e| io_error("lock", path, e.into()))?;
            // Whoever had it may have removed it in between: a file without a name locks nothing.
            let own = file.metadata().map_err(|e| io_error("stat", path, e))?;
            let same = |named: fs::Metadata| (named.dev(), named.ino()) == (own.dev(), own.ino());
            if fs::metadata(path).is_ok_and(same) {
                break file;
            }
        };
        // The process id is for people who look; nobody reads it.
        file.set_len(0)
            .and_then(|()| write!(&file, "{}", std::process::id()))
            .map_err(|e| io_error("write", path, e))?;
        Ok(FileLock(Box::new(DiskLock {
            file,
            path: path.to_owned(),
        })))
    }

    fn disk_space(&self, path: &Path) -> Option<DiskSpace> {
        let stat = rustix::fs::statvfs(path).ok()?;
        Some(DiskSpace {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

struct DiskLock {
    #[expect(dead_code, reason = "holds the lock until it is closed")]
    file: File,
    path: PathBuf,
}

impl Drop for DiskLock {
    /// Removed while it is still locked, so that nobody else's is.
    fn drop(&mut self) {
        // What cannot be removed is in nobody's way: the lock is the system's, not the name.
        let _ = fs::remove_file(&self.path);
    }
}

struct DiskWriter {
    file: File,
    path: PathBuf,
    len: AtomicU64,
}

impl DiskWriter {
    fn new(file: File, path: &Path, len: u64) -> Self {
        DiskWriter {
            file,
            path: path.to_owned(),
            len: AtomicU64::new(len),
        }
    }
}

impl FileWriter for DiskWriter {
    fn write_all(&self, bytes: &[u8]) -> Result<()> {
        (&self.file)
            .write_all(bytes)
            .map_err(|e| io_error("write", &self.path, e))?;
        self.len.fetch_add(bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| io_error("sync", &self.path, e))
    }

    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_once_and_leaves_nothing_behind() {
        let folder = std::env::temp_dir().join(format!("narthex-files-lock-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("lock");
        let lock = DiskFiles.lock(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        assert!(DiskFiles.lock(&path).is_err(), "it is held");
        drop(lock);
        assert!(!path.exists());
        // What a killed process has left is no hindrance.
        fs::write(&path, "4711").unwrap();
        drop(DiskFiles.lock(&path).unwrap());
        fs::remove_dir(&folder).unwrap();
    }
}
