//! A view of other files that takes changes and never passes them on.
//!
//! Tools open a store through it: what replaying a log would cut, write or remove on disk happens here in memory, so a
//! folder is read without write permission, without its lock, and beside a running server.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DiskSpace, Entry, FileLock, FileWriter, Files, Mapped, Result, io_error};

/// Other files, with changes on top that stay in memory.
#[derive(Debug)]
pub struct Overlay {
    below: Arc<dyn Files>,
    changes: Mutex<BTreeMap<PathBuf, Change>>,
}

/// What became of a path.
#[derive(Clone, Debug)]
enum Change {
    /// A file that was written here.
    Written(Arc<Written>),
    /// A file from below under a new name.
    Moved(PathBuf),
    /// A folder that was created here; nothing of what lies below shows through.
    Folder,
    /// Removed, with everything in it.
    Gone,
}

#[derive(Debug, Default)]
struct Written(Mutex<Arc<Vec<u8>>>);

/// Where a path leads.
enum Place {
    Below(PathBuf),
    Written(Arc<Written>),
    Folder,
    Nowhere,
}

impl Overlay {
    /// A view of `below`.
    pub fn new(below: Arc<dyn Files>) -> Self {
        Overlay {
            below,
            changes: Mutex::default(),
        }
    }

    fn place(&self, path: &Path) -> Place {
        let changes = self.changes.lock();
        match changes.get(path) {
            Some(Change::Written(file)) => return Place::Written(Arc::clone(file)),
            Some(Change::Moved(below)) => return Place::Below(below.clone()),
            Some(Change::Folder) => return Place::Folder,
            Some(Change::Gone) => return Place::Nowhere,
            None => {}
        }
        let hidden = path
            .ancestors()
            .any(|above| matches!(changes.get(above), Some(Change::Folder | Change::Gone)));
        if hidden {
            Place::Nowhere
        } else {
            Place::Below(path.to_owned())
        }
    }

    fn change(&self, path: &Path, change: Change) {
        self.changes.lock().insert(path.to_owned(), change);
    }

    fn not_found(action: &'static str, path: &Path) -> model::storage::StorageError {
        io_error(action, path, io::ErrorKind::NotFound.into())
    }

    /// Makes `path` a file of `bytes`, in a folder that exists.
    fn write(&self, path: &Path, bytes: Vec<u8>) -> Result<Arc<Written>> {
        if let Some(folder) = path.parent()
            && !folder.as_os_str().is_empty()
            && !self.exists(folder)
        {
            return Err(Self::not_found("create", path));
        }
        let file = Arc::new(Written(Mutex::new(Arc::new(bytes))));
        self.change(path, Change::Written(Arc::clone(&file)));
        Ok(file)
    }

    fn is_folder(&self, path: &Path) -> bool {
        match self.place(path) {
            Place::Folder => true,
            // A file cannot be listed.
            Place::Below(below) => self.below.list(&below).is_ok(),
            Place::Written(_) | Place::Nowhere => false,
        }
    }
}

impl FileWriter for Written {
    fn write_all(&self, bytes: &[u8]) -> Result<()> {
        Arc::make_mut(&mut *self.0.lock()).extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.0.lock().len() as u64
    }
}

impl Files for Overlay {
    fn create(&self, path: &Path) -> Result<Arc<dyn FileWriter>> {
        Ok(self.write(path, Vec::new())?)
    }

    fn append(&self, path: &Path) -> Result<Arc<dyn FileWriter>> {
        match self.place(path) {
            Place::Written(file) => Ok(file),
            Place::Below(below) if self.below.exists(&below) => {
                Ok(self.write(path, self.below.read(&below)?)?)
            }
            Place::Below(_) | Place::Nowhere => self.create(path),
            Place::Folder => Err(io_error("open", path, io::ErrorKind::IsADirectory.into())),
        }
    }

    fn map(&self, path: &Path) -> Result<Mapped> {
        match self.place(path) {
            Place::Written(file) => Ok(Mapped::from(Arc::clone(&*file.0.lock()))),
            Place::Below(below) => self.below.map(&below),
            Place::Folder | Place::Nowhere => Err(Self::not_found("open", path)),
        }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match self.place(path) {
            Place::Written(file) => Ok(file.0.lock().to_vec()),
            Place::Below(below) => self.below.read(&below),
            Place::Folder | Place::Nowhere => Err(Self::not_found("read", path)),
        }
    }

    fn len(&self, path: &Path) -> Result<u64> {
        match self.place(path) {
            Place::Written(file) => Ok(file.len()),
            Place::Below(below) => self.below.len(&below),
            Place::Folder | Place::Nowhere => Err(Self::not_found("stat", path)),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        match self.place(path) {
            Place::Written(_) | Place::Folder => true,
            Place::Below(below) => self.below.exists(&below),
            Place::Nowhere => false,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        if self.is_folder(from) {
            self.create_dir_all(to)?;
            for entry in self.list(from)? {
                self.rename(&from.join(&entry.name), &to.join(&entry.name))?;
            }
            return self.remove_dir_all(from);
        }
        match self.place(from) {
            Place::Written(file) => self.change(to, Change::Written(file)),
            Place::Below(below) if self.below.exists(&below) => self.change(to, Change::Moved(below)),
            _ => return Err(Self::not_found("rename", from)),
        }
        self.change(from, Change::Gone);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        match self.place(from) {
            _ if self.exists(to) => Err(io_error("link", to, io::ErrorKind::AlreadyExists.into())),
            Place::Written(file) => {
                self.change(to, Change::Written(file));
                Ok(())
            }
            Place::Below(below) if self.below.exists(&below) => {
                self.change(to, Change::Moved(below));
                Ok(())
            }
            _ => Err(Self::not_found("link", from)),
        }
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        if !self.exists(path) {
            return Err(Self::not_found("remove", path));
        }
        self.change(path, Change::Gone);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        if !self.exists(path) {
            return Err(Self::not_found("remove", path));
        }
        let mut changes = self.changes.lock();
        changes.retain(|changed, _| !changed.starts_with(path));
        changes.insert(path.to_owned(), Change::Gone);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        for folder in path.ancestors() {
            if folder.as_os_str().is_empty() || self.exists(folder) {
                break;
            }
            self.change(folder, Change::Folder);
        }
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>> {
        let mut entries: BTreeMap<String, Entry> = match self.place(path) {
            Place::Below(below) => {
                let entries = self.below.list(&below)?;
                entries.into_iter().map(|e| (e.name.clone(), e)).collect()
            }
            Place::Folder => BTreeMap::new(),
            Place::Written(_) | Place::Nowhere => return Err(Self::not_found("list", path)),
        };
        let changes: Vec<(PathBuf, Change)> = {
            let changes = self.changes.lock();
            let inside = changes
                .iter()
                .filter(|(changed, _)| changed.parent() == Some(path));
            inside.map(|(p, c)| (p.clone(), c.clone())).collect()
        };
        for (changed, change) in changes {
            let Some(name) = changed.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if matches!(change, Change::Gone) {
                entries.remove(name);
                continue;
            }
            let is_dir = matches!(change, Change::Folder);
            let entry = Entry {
                name: name.to_owned(),
                is_dir,
                len: if is_dir { 0 } else { self.len(&changed)? },
            };
            entries.insert(name.to_owned(), entry);
        }
        Ok(entries.into_values().collect())
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        let bytes = self.map(path)?;
        let kept = usize::try_from(len).map_or(bytes.len(), |len| len.min(bytes.len()));
        self.write(path, bytes[..kept].to_vec())?;
        Ok(())
    }

    /// Nobody else can write through this view: there is nothing to lock.
    fn lock(&self, _: &Path) -> Result<FileLock> {
        Ok(FileLock(Box::new(())))
    }

    fn disk_space(&self, path: &Path) -> Option<DiskSpace> {
        self.below.disk_space(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemFiles;

    fn put(files: &dyn Files, path: &str, bytes: &[u8]) {
        files.create(Path::new(path)).unwrap().write_all(bytes).unwrap();
    }

    fn names(files: &dyn Files, path: &str) -> Vec<String> {
        let entries = files.list(Path::new(path)).unwrap();
        entries.into_iter().map(|e| e.name).collect()
    }

    fn read(files: &dyn Files, path: &str) -> Option<Vec<u8>> {
        files.read(Path::new(path)).ok()
    }

    #[test]
    fn changes_show_here_and_not_below() {
        let below = Arc::new(MemFiles::new());
        below.create_dir_all(Path::new("d/block")).unwrap();
        put(&*below, "d/log", b"0123456789");
        put(&*below, "d/other", b"x");
        put(&*below, "d/block/index", b"i");
        let calls = below.calls();
        let over = Overlay::new(Arc::clone(&below) as Arc<dyn Files>);

        over.truncate(Path::new("d/log"), 4).unwrap();
        over.append(Path::new("d/log")).unwrap().write_all(b"ab").unwrap();
        over.append(Path::new("d/other"))
            .unwrap()
            .write_all(b"y")
            .unwrap();
        put(&over, "d/new", b"n");
        over.rename(Path::new("d/block"), Path::new("d/gone")).unwrap();
        assert_eq!(names(&over, "d"), ["gone", "log", "new", "other"]);
        assert_eq!(read(&over, "d/log").unwrap(), b"0123ab");
        assert_eq!(&*over.map(Path::new("d/other")).unwrap(), b"xy");
        assert_eq!(read(&over, "d/gone/index").unwrap(), b"i");
        assert_eq!(read(&over, "d/block/index"), None);

        over.remove_dir_all(Path::new("d/gone")).unwrap();
        over.create_dir_all(Path::new("d/block/chunks")).unwrap();
        assert!(names(&over, "d/block") == ["chunks"] && !over.exists(Path::new("d/block/index")));
        over.remove_file(Path::new("d/new")).unwrap();
        assert!(over.remove_file(Path::new("d/new")).is_err());
        assert!(over.create(Path::new("nowhere/file")).is_err());
        assert!(over.lock(Path::new("d/lock")).is_ok() && !over.exists(Path::new("d/lock")));

        assert_eq!(below.calls(), calls, "nothing was changed below");
        assert_eq!(names(&*below, "d"), ["block", "log", "other"]);
        assert_eq!(read(&*below, "d/log").unwrap(), b"0123456789");
    }

    #[test]
    fn a_mapping_keeps_what_it_saw() {
        let over = Overlay::new(Arc::new(MemFiles::new()));
        let file = over.create(Path::new("f")).unwrap();
        file.write_all(b"one").unwrap();
        let before = over.map(Path::new("f")).unwrap();
        file.write_all(b"two").unwrap();
        assert_eq!(
            (&*before, &*over.map(Path::new("f")).unwrap()),
            (&b"one"[..], &b"onetwo"[..])
        );
    }
}
