//! Files in memory, with faults on demand: what crash and fault tests run on.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DiskSpace, Entry, FileLock, FileWriter, Files, Mapped, Result, io_error};

/// What goes wrong, and when. Calls are counted from 1 over all operations that change something (`create`, `append`,
/// `write_all`, `sync`, `rename`, `hard_link`, `remove_*`, `create_dir_all`, `sync_dir`, `truncate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Call number `.0` fails with an I/O error and changes nothing.
    Call(u64),
    /// The first write at or after call number `.0` writes only half of its bytes and then fails.
    ShortWrite(u64),
    /// No space is left once this many bytes have been written since the fault was set; what fits is written.
    NoSpaceAfter(u64),
    /// Sync number `.0` (of files and folders together, counted from 1) fails; what it should have made durable is not.
    Sync(u64),
    /// Sync number `.0` succeeds, and every changing call after it fails: the machine has stopped. What is durable then
    /// is what [`MemFiles::after_power_loss`] shows.
    FreezeAtSync(u64),
    /// Call number `.0` and all changing ones after it fail: the process has been killed. What it had written is what
    /// [`MemFiles::after_kill`] shows.
    FreezeAtCall(u64),
}

type Id = usize;

/// A file system in memory. Clones share it.
#[derive(Clone)]
pub struct MemFiles(Arc<Mutex<Tree>>);

#[derive(Clone)]
struct Tree {
    nodes: Vec<Node>,
    faults: Vec<Fault>,
    calls: u64,
    syncs: u64,
    space_left: Option<u64>,
    frozen: bool,
    locked: Vec<PathBuf>,
}

#[derive(Clone)]
enum Node {
    File {
        data: Arc<Vec<u8>>,
        synced: Arc<Vec<u8>>,
    },
    Dir {
        live: BTreeMap<String, Id>,
        synced: BTreeMap<String, Id>,
    },
}

impl Node {
    fn new_file() -> Node {
        Node::File {
            data: Arc::default(),
            synced: Arc::default(),
        }
    }

    fn new_dir() -> Node {
        Node::Dir {
            live: BTreeMap::new(),
            synced: BTreeMap::new(),
        }
    }
}

const ROOT: Id = 0;

impl Default for MemFiles {
    fn default() -> Self {
        MemFiles(Arc::new(Mutex::new(Tree {
            nodes: vec![Node::new_dir()],
            faults: Vec::new(),
            calls: 0,
            syncs: 0,
            space_left: None,
            frozen: false,
            locked: Vec::new(),
        })))
    }
}

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
        let mut tree = self.0.lock();
        if let Fault::NoSpaceAfter(bytes) = fault {
            tree.space_left = Some(bytes);
        } else {
            tree.faults.push(fault);
        }
    }

    /// Removes all faults, thaws a frozen system and gives it endless space again.
    pub fn heal(&self) {
        let mut tree = self.0.lock();
        tree.faults.clear();
        tree.space_left = None;
        tree.frozen = false;
    }

    /// Changing calls so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Whether a freezing fault has struck.
    pub fn is_frozen(&self) -> bool {
        self.0.lock().frozen
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

fn names(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}

fn failure() -> io::Error {
    io::Error::other("injected fault")
}

impl Tree {
    fn restart(&mut self) {
        self.faults.clear();
        self.calls = 0;
        self.syncs = 0;
        self.space_left = None;
        self.frozen = false;
        self.locked.clear();
    }

    /// Counts a changing call, and fails it where a fault says so.
    fn step(&mut self) -> io::Result<()> {
        self.calls += 1;
        let calls = self.calls;
        if self.faults.contains(&Fault::FreezeAtCall(calls)) {
            self.frozen = true;
        }
        if self.frozen || self.faults.contains(&Fault::Call(calls)) {
            return Err(failure());
        }
        Ok(())
    }

    fn step_sync(&mut self) -> io::Result<()> {
        self.step()?;
        self.syncs += 1;
        if self.faults.contains(&Fault::Sync(self.syncs)) {
            return Err(failure());
        }
        Ok(())
    }

    fn after_sync(&mut self) {
        if self.faults.contains(&Fault::FreezeAtSync(self.syncs)) {
            self.frozen = true;
        }
    }

    fn find(&self, path: &Path) -> Option<Id> {
        names(path).try_fold(ROOT, |at, name| match &self.nodes[at] {
            Node::Dir { live, .. } => live.get(name).copied(),
            Node::File { .. } => None,
        })
    }

    fn file_mut(&mut self, path: &Path, action: &'static str) -> Result<&mut Arc<Vec<u8>>> {
        let missing = || io_error(action, path, io::ErrorKind::NotFound.into());
        let id = self.find(path).ok_or_else(missing)?;
        match &mut self.nodes[id] {
            Node::File { data, .. } => Ok(data),
            Node::Dir { .. } => Err(io_error(action, path, io::ErrorKind::IsADirectory.into())),
        }
    }

    /// Entries of the folder above `path`, and the last name of `path`.
    fn parent<'p>(&mut self, path: &'p Path) -> io::Result<(&mut BTreeMap<String, Id>, &'p str)> {
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let id = self
            .find(path.parent().unwrap_or(Path::new("")))
            .ok_or(io::ErrorKind::NotFound)?;
        match &mut self.nodes[id] {
            Node::Dir { live, .. } => Ok((live, name)),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn open(&mut self, path: &Path, empty: bool) -> io::Result<Id> {
        self.step()?;
        if let Some(id) = self.find(path) {
            match &mut self.nodes[id] {
                Node::File { data, .. } if empty => *data = Arc::default(),
                Node::File { .. } => {}
                Node::Dir { .. } => return Err(io::ErrorKind::IsADirectory.into()),
            }
            return Ok(id);
        }
        let id = self.nodes.len();
        let (entries, name) = self.parent(path)?;
        entries.insert(name.to_owned(), id);
        self.nodes.push(Node::new_file());
        Ok(id)
    }

    fn write(&mut self, id: Id, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let calls = self.calls;
        let mut fits = bytes.len();
        let mut error = None;
        if let Some(at) = self
            .faults
            .iter()
            .position(|f| matches!(f, Fault::ShortWrite(n) if *n <= calls))
        {
            self.faults.swap_remove(at);
            fits /= 2;
            error = Some(failure());
        }
        if let Some(space) = &mut self.space_left {
            if (*space as usize) < fits {
                fits = *space as usize;
                error = Some(io::ErrorKind::StorageFull.into());
            }
            *space -= fits as u64;
        }
        if let Node::File { data, .. } = &mut self.nodes[id] {
            Arc::make_mut(data).extend_from_slice(&bytes[..fits]);
        }
        error.map_or(Ok(()), Err)
    }

    fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        let mut at = ROOT;
        for name in names(path) {
            let new = self.nodes.len();
            let Node::Dir { live, .. } = &mut self.nodes[at] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = *live.entry(name.to_owned()).or_insert(new);
            if at == new {
                self.nodes.push(Node::new_dir());
            }
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let id = self.find(from).ok_or(io::ErrorKind::NotFound)?;
        if let Some(Node::Dir { live, .. }) = self.find(to).map(|id| &self.nodes[id])
            && !live.is_empty()
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (entries, name) = self.parent(to)?;
        entries.insert(name.to_owned(), id);
        let (entries, name) = self.parent(from)?;
        entries.remove(name);
        Ok(())
    }

    fn remove(&mut self, path: &Path, dir: bool) -> io::Result<()> {
        self.step()?;
        let id = self.find(path).ok_or(io::ErrorKind::NotFound)?;
        if matches!(self.nodes[id], Node::Dir { .. }) != dir {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (entries, name) = self.parent(path)?;
        entries.remove(name);
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
        Ok(Mapped::from(Arc::clone(self.0.lock().file_mut(path, "map")?)))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        Ok(self.0.lock().file_mut(path, "read")?.to_vec())
    }

    fn len(&self, path: &Path) -> Result<u64> {
        Ok(self.0.lock().file_mut(path, "stat")?.len() as u64)
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
            tree.step()?;
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
        tree.step_sync().map_err(|e| io_error("sync", path, e))?;
        let id = tree
            .find(path)
            .ok_or_else(|| io_error("sync", path, io::ErrorKind::NotFound.into()))?;
        if let Node::Dir { live, synced } = &mut tree.nodes[id] {
            synced.clone_from(live);
        }
        tree.after_sync();
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>> {
        let tree = self.0.lock();
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
        tree.step().map_err(|e| io_error("truncate", path, e))?;
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
        self.0.lock().space_left.map(|free_bytes| DiskSpace {
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
        tree.step_sync().map_err(|e| io_error("sync", &self.path, e))?;
        if let Node::File { data, synced } = &mut tree.nodes[self.id] {
            synced.clone_from(data);
        }
        tree.after_sync();
        Ok(())
    }

    fn len(&self) -> u64 {
        match &self.files.0.lock().nodes[self.id] {
            Node::File { data, .. } => data.len() as u64,
            Node::Dir { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_a_kill_everything() {
        let files = MemFiles::new();
        let (dir, a, b) = (Path::new("d"), Path::new("d/a"), Path::new("d/b"));
        files.create_dir_all(dir).unwrap();
        files.sync_dir(Path::new("")).unwrap();
        let writer = files.create(a).unwrap();
        writer.write_all(b"one").unwrap();
        writer.sync().unwrap();
        files.sync_dir(dir).unwrap();
        writer.write_all(b"two").unwrap();
        files.rename(a, b).unwrap();
        assert_eq!(files.after_kill().read(b).unwrap(), b"onetwo");
        let cut = files.after_power_loss();
        assert_eq!(cut.read(a).unwrap(), b"one");
        assert!(!cut.exists(b));
    }

    #[test]
    fn faults_strike_where_they_are_told() {
        let files = MemFiles::new();
        files.inject(Fault::Call(2));
        let writer = files.create(Path::new("f")).unwrap();
        assert!(writer.write_all(b"x").is_err());
        writer.write_all(b"abcd").unwrap();
        files.inject(Fault::ShortWrite(0));
        assert!(writer.write_all(b"efgh").is_err());
        assert_eq!(files.read(Path::new("f")).unwrap(), b"abcdef");
        files.inject(Fault::NoSpaceAfter(1));
        assert!(writer.write_all(b"gh").is_err());
        assert_eq!(writer.len(), 7);
        files.heal();
        files.inject(Fault::FreezeAtSync(1));
        writer.sync().unwrap();
        assert!(writer.write_all(b"h").is_err() && files.is_frozen());
        assert_eq!(files.map(Path::new("f")).unwrap().len(), 7);
    }

    #[test]
    fn a_lock_is_held_once() {
        let files = MemFiles::new();
        let lock = files.lock(Path::new("lock")).unwrap();
        assert!(files.lock(Path::new("lock")).is_err());
        drop(lock);
        assert!(files.lock(Path::new("lock")).is_ok());
    }
}
