//! Files in memory, with faults on demand: what crash and fault tests run on.

mod fault;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DiskSpace, Entry, FileLock, FileWriter, Files, Mapped, Result, io_error};
use tree::{Id, Node, Tree};

pub use fault::Fault;

/// What a disk writes as one.
const PAGE_BYTES: usize = 512;

/// A file system in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemFiles(Arc<Mutex<Tree>>);

impl fmt::Debug for MemFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemFiles")
    }
}

impl MemFiles {
    /// An empty file system.
    pub fn new() -> Self {
        MemFiles::default()
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.0.lock().faults.add(fault);
    }

    /// Removes all faults, thaws a frozen system and gives it endless space again.
    pub fn heal(&self) {
        self.0.lock().faults.heal();
    }

    /// Changing calls so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().faults.calls
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().faults.syncs
    }

    /// Reads so far.
    pub fn reads(&self) -> u64 {
        self.0.lock().faults.reads
    }

    /// Whether a freezing fault has struck.
    pub fn is_frozen(&self) -> bool {
        self.0.lock().faults.frozen
    }

    /// A copy as a new process finds it after this one was killed: everything written is there.
    pub fn after_kill(&self) -> MemFiles {
        let mut tree = self.0.lock().clone();
        tree.restart();
        MemFiles(Arc::new(Mutex::new(tree)))
    }

    /// A copy as it is found after a power cut, at its harshest: of each file what was synced, of each folder the
    /// entries that it had when it was last synced.
    pub fn after_power_loss(&self) -> MemFiles {
        let mut tree = self.0.lock().clone();
        for node in &mut tree.nodes {
            match node {
                Node::File { data, synced } => data.clone_from(synced),
                Node::Dir { live, synced } => live.clone_from(synced),
            }
        }
        tree.restart();
        MemFiles(Arc::new(Mutex::new(tree)))
    }

    /// A copy as it may be found after a power cut in the midst of things: of what was written to a file and not synced,
    /// a part, with a page of zeros in it; each folder as it is or as it was when it was last synced. `pick` chooses: it
    /// gives numbers below what it is asked for.
    pub fn after_torn_power_loss(&self, mut pick: impl FnMut(u64) -> u64) -> MemFiles {
        let mut tree = self.0.lock().clone();
        for node in &mut tree.nodes {
            match node {
                Node::File { data, synced } if data.starts_with(synced) => {
                    let fresh = (data.len() - synced.len()) as u64;
                    let kept = synced.len() + pick(fresh + 1) as usize;
                    let mut bytes = data[..kept].to_vec();
                    let torn = synced.len() + pick(fresh + 1) as usize;
                    if torn < kept {
                        let end = (torn + 1).next_multiple_of(PAGE_BYTES).min(kept);
                        bytes[torn..end].fill(0);
                    }
                    *data = Arc::new(bytes);
                }
                // Emptied and written again: either is there.
                Node::File { data, synced } => {
                    if pick(2) == 0 {
                        data.clone_from(synced);
                    }
                }
                Node::Dir { live, synced } => {
                    if pick(2) == 0 {
                        live.clone_from(synced);
                    }
                }
            }
        }
        tree.restart();
        MemFiles(Arc::new(Mutex::new(tree)))
    }

    /// Overwrites one byte by XOR with `mask`: damage for repair tests.
    ///
    /// # Errors
    /// When there is no such file or byte.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) -> Result<()> {
        let mut tree = self.0.lock();
        let data = tree.file_mut(path, "flip")?;
        let missing = || io_error("flip", path, io::ErrorKind::UnexpectedEof.into());
        *Arc::make_mut(data).get_mut(offset).ok_or_else(missing)? ^= mask;
        Ok(())
    }
}

impl Files for MemFiles {
    fn create(&self, path: &Path) -> Result<Arc<dyn FileWriter>> {
        let id = self
            .0
            .lock()
            .open(path, true)
            .map_err(|e| io_error("create", path, e))?;
        Ok(Arc::new(MemWriter::new(self, path, id)))
    }

    fn append(&self, path: &Path) -> Result<Arc<dyn FileWriter>> {
        let id = self
            .0
            .lock()
            .open(path, false)
            .map_err(|e| io_error("open", path, e))?;
        Ok(Arc::new(MemWriter::new(self, path, id)))
    }

    fn map(&self, path: &Path) -> Result<Mapped> {
        let mut tree = self.0.lock();
        tree.faults.read().map_err(|e| io_error("map", path, e))?;
        Ok(Mapped::from(Arc::clone(tree.file_mut(path, "map")?)))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let mut tree = self.0.lock();
        tree.faults.read().map_err(|e| io_error("read", path, e))?;
        Ok(tree.file_mut(path, "read")?.to_vec())
    }

    fn len(&self, path: &Path) -> Result<u64> {
        let mut tree = self.0.lock();
        tree.faults.read().map_err(|e| io_error("stat", path, e))?;
        Ok(tree.file_mut(path, "stat")?.len() as u64)
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.lock().find(path).is_some()
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.0
            .lock()
            .rename(from, to)
            .map_err(|e| io_error("rename", from, e))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        let mut tree = self.0.lock();
        let link = |tree: &mut Tree| -> io::Result<()> {
            tree.faults.change()?;
            let id = tree.find(from).ok_or(io::ErrorKind::NotFound)?;
            if tree.find(to).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let (entries, name) = tree.parent(to)?;
            entries.insert(name.to_owned(), id);
            Ok(())
        };
        link(&mut tree).map_err(|e| io_error("link", to, e))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.0
            .lock()
            .remove(path, false)
            .map_err(|e| io_error("remove", path, e))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.0
            .lock()
            .remove(path, true)
            .map_err(|e| io_error("remove", path, e))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.0
            .lock()
            .create_dir_all(path)
            .map_err(|e| io_error("create", path, e))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let mut tree = self.0.lock();
        let named = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        tree.faults.sync().map_err(|e| io_error("sync", named, e))?;
        let id = tree
            .find(path)
            .ok_or_else(|| io_error("sync", path, io::ErrorKind::NotFound.into()))?;
        if let Node::Dir { live, synced } = &mut tree.nodes[id] {
            synced.clone_from(live);
        }
        tree.faults.after_sync();
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>> {
        let mut tree = self.0.lock();
        tree.faults.read().map_err(|e| io_error("list", path, e))?;
        let Some(Node::Dir { live, .. }) = tree.find(path).map(|id| &tree.nodes[id]) else {
            return Err(io_error("list", path, io::ErrorKind::NotFound.into()));
        };
        let entry = |(name, id): (&String, &Id)| {
            let (is_dir, len) = match &tree.nodes[*id] {
                Node::File { data, .. } => (false, data.len() as u64),
                Node::Dir { .. } => (true, 0),
            };
            Entry {
                name: name.clone(),
                is_dir,
                len,
            }
        };
        Ok(live.iter().map(entry).collect())
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        let mut tree = self.0.lock();
        tree.faults.change().map_err(|e| io_error("truncate", path, e))?;
        tree.file_mut(path, "truncate")?;
        if let Some(id) = tree.find(path)
            && let Node::File { data, synced } = &mut tree.nodes[id]
        {
            Arc::make_mut(data).resize(len as usize, 0);
            synced.clone_from(data);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<FileLock> {
        let mut tree = self.0.lock();
        if tree.locked.iter().any(|p| p == path) {
            return Err(io_error("lock", path, io::ErrorKind::WouldBlock.into()));
        }
        tree.locked.push(path.to_owned());
        Ok(FileLock(Box::new(MemLock {
            files: self.clone(),
            path: path.to_owned(),
        })))
    }

    fn disk_space(&self, _path: &Path) -> Option<DiskSpace> {
        self.0.lock().faults.space_left.map(|free_bytes| DiskSpace {
            total_bytes: 1 << 40,
            free_bytes,
        })
    }
}

struct MemLock {
    files: MemFiles,
    path: PathBuf,
}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.files.0.lock().locked.retain(|p| *p != self.path);
    }
}

struct MemWriter {
    files: MemFiles,
    path: PathBuf,
    id: Id,
}

impl MemWriter {
    fn new(files: &MemFiles, path: &Path, id: Id) -> Self {
        MemWriter {
            files: files.clone(),
            path: path.to_owned(),
            id,
        }
    }
}

impl FileWriter for MemWriter {
    fn write_all(&self, bytes: &[u8]) -> Result<()> {
        self.files
            .0
            .lock()
            .write(self.id, bytes)
            .map_err(|e| io_error("write", &self.path, e))
    }

    fn sync(&self) -> Result<()> {
        let mut tree = self.files.0.lock();
        tree.faults.sync().map_err(|e| io_error("sync", &self.path, e))?;
        if let Node::File { data, synced } = &mut tree.nodes[self.id] {
            synced.clone_from(data);
        }
        tree.faults.after_sync();
        Ok(())
    }

    fn len(&self) -> u64 {
        match &self.files.0.lock().nodes[self.id] {
            Node::File { data, .. } => data.len() as u64,
            Node::Dir { .. } => 0,
        }
    }
}
