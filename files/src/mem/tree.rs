//! Files and folders in memory: what is there, and what would be there after a power cut.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::fault::Faults;
use crate::{Result, io_error};

pub(super) type Id = usize;

#[derive(Clone)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) faults: Faults,
    pub(super) locked: Vec<PathBuf>,
}

#[derive(Clone)]
pub(super) enum Node {
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

impl Default for Tree {
    fn default() -> Self {
        Tree {
            nodes: vec![Node::new_dir()],
            faults: Faults::default(),
            locked: Vec::new(),
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}

impl Tree {
    pub(super) fn restart(&mut self) {
        self.faults = Faults::default();
        self.locked.clear();
    }

    pub(super) fn find(&self, path: &Path) -> Option<Id> {
        names(path).try_fold(ROOT, |at, name| match &self.nodes[at] {
            Node::Dir { live, .. } => live.get(name).copied(),
            Node::File { .. } => None,
        })
    }

    pub(super) fn file_mut(&mut self, path: &Path, action: &'static str) -> Result<&mut Arc<Vec<u8>>> {
        let missing = || io_error(action, path, io::ErrorKind::NotFound.into());
        let id = self.find(path).ok_or_else(missing)?;
        match &mut self.nodes[id] {
            Node::File { data, .. } => Ok(data),
            Node::Dir { .. } => Err(io_error(action, path, io::ErrorKind::IsADirectory.into())),
        }
    }

    /// Entries of the folder above `path`, and the last name of `path`.
    pub(super) fn parent<'p>(&mut self, path: &'p Path) -> io::Result<(&mut BTreeMap<String, Id>, &'p str)> {
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

    pub(super) fn open(&mut self, path: &Path, empty: bool) -> io::Result<Id> {
        self.faults.change()?;
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

    pub(super) fn write(&mut self, id: Id, bytes: &[u8]) -> io::Result<()> {
        let (fits, result) = self.faults.write(bytes.len());
        if let Node::File { data, .. } = &mut self.nodes[id]
            && fits > 0
        {
            Arc::make_mut(data).extend_from_slice(&bytes[..fits]);
        }
        result
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        self.faults.change()?;
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

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.change()?;
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

    pub(super) fn remove(&mut self, path: &Path, dir: bool) -> io::Result<()> {
        self.faults.change()?;
        let id = self.find(path).ok_or(io::ErrorKind::NotFound)?;
        if matches!(self.nodes[id], Node::Dir { .. }) != dir {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (entries, name) = self.parent(path)?;
        entries.remove(name);
        Ok(())
    }
}
