//! Checks a store's folder, every byte of it that a reader will trust, and heals what can be healed.
//!
//! Checking never writes and needs no lock. Healing moves what is damaged out of the way, into [`QUARANTINE_DIR`], rather
//! than removing it: blocks as they are, the ends of logs as files of their own.

mod block;
mod logs;
mod repair;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::storage::StorageError;
use ulid::Ulid;

use crate::block::{Block, BlockMeta};
use crate::head::Head;
use files::{Files, Result};

pub use repair::{QUARANTINE_DIR, repair};

/// Endings of folders that a crash has left.
const LEFT_OVER: [&str; 3] = [".tmp-for-creation", ".tmp-for-deletion", ".tmp"];

/// What is to be done about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The block is moved out of the way; its samples are lost where no other block has them.
    Quarantine(PathBuf),
    /// The log's segment is cut to `len` bytes; records behind are lost.
    CutLog {
        /// Which segment.
        path: PathBuf,
        /// Bytes that stay.
        len: u64,
    },
    /// The file of head chunks is cut to `len` bytes and later ones are moved out of the way; the log has their samples.
    CutChunks {
        /// Which file.
        path: PathBuf,
        /// Bytes that stay.
        len: u64,
    },
    /// The block's tombstones are moved out of the way: what was deleted in the block comes back.
    DropTombstones(PathBuf),
    /// The folder is removed; nothing in it is needed.
    Remove(PathBuf),
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which file or folder.
    pub path: PathBuf,
    /// At which byte, where there is one.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// Whether samples are lost, or answers wrong; else the next start gets past it without loss.
    pub is_damage: bool,
    /// What would heal it.
    pub remedy: Option<Remedy>,
}

/// What became of one block, log or folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The block's folder, the segment, the file.
    pub path: PathBuf,
    /// What is in it, in a few words.
    pub holds: String,
    /// What was found; empty where all is well.
    pub findings: Vec<Finding>,
}

/// Called with each thing as it has been checked; false ends the checking.
pub type CheckedVisitor<'a> = dyn FnMut(Checked) -> bool + 'a;

impl Remedy {
    /// Whether something that may be samples is lost by it.
    pub fn loses(&self) -> bool {
        !matches!(self, Remedy::Remove(_))
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::Quarantine(path) => write!(f, "move {} to {QUARANTINE_DIR}/", path.display()),
            Remedy::CutLog { path, len } => write!(
                f,
                "cut {} to {len} bytes, and keep the rest in {QUARANTINE_DIR}/",
                path.display()
            ),
            Remedy::CutChunks { path, len } => write!(
                f,
                "cut {} to {len} bytes and move later files to {QUARANTINE_DIR}/; the log has their samples",
                path.display()
            ),
            Remedy::DropTombstones(path) => write!(
                f,
                "move {} to {QUARANTINE_DIR}/: what was deleted in this block comes back",
                path.display()
            ),
            Remedy::Remove(path) => write!(f, "remove {}", path.display()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{} at byte {offset}: {}", self.path.display(), self.what),
            None => write!(f, "{}: {}", self.path.display(), self.what),
        }
    }
}

impl Finding {
    /// Damage of which an error speaks.
    fn of_error(path: &Path, error: &StorageError, remedy: Remedy) -> Self {
        let (path, offset, what) = match error {
            StorageError::Corrupt { path, offset, what } => (path.as_path(), Some(*offset), what.clone()),
            error => (path, None, error.to_string()),
        };
        Finding {
            path: path.to_owned(),
            offset,
            what,
            is_damage: true,
            remedy: Some(remedy),
        }
    }
}

/// Whether a folder looks like that of a store: it has a block, or one of the folders that a store makes at its first
/// start.
///
/// # Errors
/// When the folder cannot be read.
pub fn is_store(files: &dyn Files, dir: &Path) -> Result<bool> {
    let own = [Head::WAL_DIR, Head::WBL_DIR, Head::CHUNKS_DIR];
    let has_own = files
        .list(dir)?
        .iter()
        .any(|entry| entry.is_dir && own.contains(&entry.name.as_str()));
    Ok(has_own || !crate::db::ReadOnly::block_dirs(files, dir)?.is_empty())
}

/// What there is to be checked in a folder, for a progress bar: its blocks and the files of its logs.
///
/// # Errors
/// When the folder cannot be read.
pub fn count(files: &dyn Files, dir: &Path) -> Result<u64> {
    let blocks = crate::db::ReadOnly::block_dirs(files, dir)?.len();
    Ok((blocks + logs::sources(files, dir)?.len()) as u64)
}

/// Checks the folder `dir` and tells `each` about every block, every segment of a log and every file of head chunks.
/// Files that a running server removes meanwhile are passed over.
///
/// # Errors
/// When the folder cannot be read. What is wrong with files is a finding, not an error.
pub fn verify(files: &Arc<dyn Files>, dir: &Path, each: &mut CheckedVisitor<'_>) -> Result<()> {
    let dirs = crate::db::ReadOnly::block_dirs(&**files, dir)?;
    let metas = dirs.iter().filter_map(|dir| BlockMeta::read(&**files, dir).ok());
    let parents: BTreeSet<Ulid> = metas
        .flat_map(|meta| meta.compaction.parents)
        .map(|parent| parent.ulid)
        .collect();
    for dir in &dirs {
        let mut checked = block::check(files, dir);
        if !files.exists(dir) {
            continue;
        }
        let ulid = dir
            .file_name()
            .and_then(|name| name.to_str())
            .map(Ulid::from_string);
        if matches!(ulid, Some(Ok(ulid)) if parents.contains(&ulid)) {
            replaced(&mut checked, dir);
        }
        if !each(checked) {
            return Ok(());
        }
    }
    for entry in files.list(dir)? {
        let is_left = LEFT_OVER.iter().any(|ending| entry.name.ends_with(ending));
        if entry.is_dir && is_left && !each(left_over(&dir.join(entry.name))) {
            return Ok(());
        }
    }
    logs::check(&**files, dir, each)
}

/// A block whose samples are in a later one is no loss, whatever is wrong with it.
fn replaced(checked: &mut Checked, dir: &Path) {
    checked.findings.clear();
    checked.findings.push(Finding {
        path: dir.to_owned(),
        offset: None,
        what: "was merged into another block; the next start removes it".to_owned(),
        is_damage: false,
        remedy: Some(Remedy::Remove(dir.to_owned())),
    });
}

fn left_over(path: &Path) -> Checked {
    Checked {
        path: path.to_owned(),
        holds: "unfinished work".to_owned(),
        findings: vec![Finding {
            path: path.to_owned(),
            offset: None,
            what: "left by a crash, or at work right now; the next start removes it".to_owned(),
            is_damage: false,
            remedy: Some(Remedy::Remove(path.to_owned())),
        }],
    }
}

/// The folders of the store's logs, below its own.
fn log_dirs(dir: &Path) -> [PathBuf; 2] {
    [dir.join(Head::WAL_DIR), dir.join(Head::WBL_DIR)]
}

/// Opens a block for its contents; kept apart so that both checks and repairs read it alike.
fn open_block(files: &Arc<dyn Files>, dir: &Path) -> Result<Block> {
    Block::open(Arc::clone(files), dir)
}
