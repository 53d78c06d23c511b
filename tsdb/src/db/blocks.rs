//! The blocks of a store: opening, exchanging, removing.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::columns::Columns;
use model::label_table::LabelPairs;
use model::matcher::Matcher;
use model::storage::{SelectHints, StorageError, TimeRange};
use ulid::Ulid;

use super::querier::{Each, Source};
use crate::block::{Block, HINT_OUT_OF_ORDER, HINT_SELECTED_SERIES, HINT_STALE_SERIES, Merger};
use crate::select::{Watched, label_names, label_values};
use files::{Files, Result};

/// Endings of folders that a crash has left; nothing in them is needed.
const LEFT_OVER: [&str; 3] = [".tmp-for-creation", ".tmp-for-deletion", ".tmp"];
/// Ending of a block's folder while it is removed.
const REMOVING: &str = ".tmp-for-deletion";

/// A block that could not be opened. It stays where it is.
#[derive(Clone, Debug)]
pub struct DamagedBlock {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong.
    pub error: StorageError,
}

/// What a folder holds.
#[derive(Default)]
pub(crate) struct Found {
    /// What is to be served, by where it begins.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Blocks that were merged into others, or marked as to be removed.
    pub(crate) superseded: Vec<Arc<Block>>,
    /// What cannot be opened.
    pub(crate) damaged: Vec<DamagedBlock>,
}

/// Opens the blocks in `dir` and clears away what crashes have left: unfinished folders, and blocks that were merged into
/// others.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn load(files: &Arc<dyn Files>, dir: &Path) -> Result<(Vec<Arc<Block>>, Vec<DamagedBlock>)> {
    for entry in files.list(dir)? {
        let stem = entry.name.split_once('.').map_or("", |(stem, _)| stem);
        let is_left_over = LEFT_OVER.iter().any(|ending| entry.name.ends_with(ending));
        if entry.is_dir && is_left_over && Ulid::from_string(stem).is_ok() {
            files.remove_dir_all(&dir.join(&entry.name))?;
        }
    }
    let mut found = find(files, dir, &[])?;
    for block in &found.superseded {
        remove(&**files, block.dir())?;
    }
    // A damaged block whose contents are in another is no loss.
    let parents = parents(found.blocks.iter().chain(&found.superseded));
    found.damaged.retain(|damaged| {
        let replaced = ulid_of(&damaged.path).is_some_and(|ulid| parents.contains(&ulid));
        !(replaced && files.remove_dir_all(&damaged.path).is_ok())
    });
    tell(&found.damaged);
    Ok((found.blocks, found.damaged))
}

/// Looks which blocks are in `dir` and opens those that are not `known` yet.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn find(files: &Arc<dyn Files>, dir: &Path, known: &[Arc<Block>]) -> Result<Found> {
    let known: HashMap<Ulid, &Arc<Block>> = known.iter().map(|b| (b.meta().ulid, b)).collect();
    let mut found = Found::default();
    for entry in files.list(dir)? {
        let path = dir.join(&entry.name);
        let Some(ulid) = ulid_of(&path).filter(|_| entry.is_dir) else {
            continue;
        };
        match known.get(&ulid) {
            Some(block) => found.blocks.push(Arc::clone(block)),
            None => match Block::open(Arc::clone(files), &path) {
                Ok(block) => found.blocks.push(Arc::new(block)),
                Err(error) => found.damaged.push(DamagedBlock { path, error }),
            },
        }
    }
    let parents = parents(&found.blocks);
    let superseded = |b: &Arc<Block>| parents.contains(&b.meta().ulid) || b.meta().compaction.deletable;
    (found.superseded, found.blocks) = found.blocks.into_iter().partition(superseded);
    sort(&mut found.blocks);
    Ok(found)
}

/// Logs what is wrong with damaged blocks.
pub(crate) fn tell<'a>(damaged: impl IntoIterator<Item = &'a DamagedBlock>) {
    for block in damaged {
        tracing::error!(path = %block.path.display(), error = %block.error, "a block is damaged and left out");
    }
}

fn ulid_of(path: &Path) -> Option<Ulid> {
    Ulid::from_string(path.file_name()?.to_str()?).ok()
}

/// What blocks were merged from.
fn parents<'a>(blocks: impl IntoIterator<Item = &'a Arc<Block>>) -> HashSet<Ulid> {
    let of_blocks = blocks
        .into_iter()
        .flat_map(|b| b.meta().compaction.parents.clone());
    of_blocks.map(|parent| parent.ulid).collect()
}

/// Sorts blocks by where they begin.
pub(crate) fn sort(blocks: &mut [Arc<Block>]) {
    blocks.sort_by_key(|b| (b.meta().min_time, b.meta().ulid));
}

/// Removes a block's folder, where there is one: renamed first, so that there is never half a block under its name.
/// Views keep reading it.
pub(crate) fn remove(files: &dyn Files, dir: &Path) -> Result<()> {
    let mut removing = dir.as_os_str().to_owned();
    removing.push(REMOVING);
    let removing = Path::new(&removing);
    if files.exists(removing) {
        files.remove_dir_all(removing)?;
    }
    if files.exists(dir) {
        files.rename(dir, removing)?;
        files.remove_dir_all(removing)?;
    }
    Ok(())
}

/// Where in-order samples of the head begin that are in no block: the end of the newest block that the whole head was
/// cut into.
pub(crate) fn in_order_end_ms(blocks: &[Arc<Block>]) -> i64 {
    let partial = [HINT_OUT_OF_ORDER, HINT_STALE_SERIES, HINT_SELECTED_SERIES];
    let metas = blocks.iter().map(|b| b.meta());
    let whole = metas.filter(|m| !partial.iter().any(|hint| m.compaction.has_hint(hint)));
    whole.map(|m| m.max_time).max().unwrap_or(i64::MIN)
}

/// A block as part of a view.
pub(crate) struct BlockSource {
    pub(crate) block: Arc<Block>,
    pub(crate) range: TimeRange,
}

impl Source for BlockSource {
    fn select(
        &self,
        hints: &SelectHints,
        matchers: &[Matcher],
        pairs: &mut LabelPairs,
        each: &mut Each<'_>,
    ) -> Result<()> {
        self.block
            .visit_in(self.range, hints, matchers, pairs, &mut |series, set| {
                each(u64::from(series), set)
            })
    }

    fn is_in_order(&self) -> bool {
        true
    }

    fn has_lasting_handles(&self) -> bool {
        false
    }

    fn read(&self, handle: u64, range: TimeRange, columns: &mut Columns) -> Result<()> {
        let series = u32::try_from(handle).map_err(|_| StorageError::Closed)?;
        self.block.read(series, range, columns)
    }

    fn pieces<'a>(&'a self, handle: u64, range: TimeRange, merger: &mut Merger<'a>) -> Result<()> {
        let series = u32::try_from(handle).map_err(|_| StorageError::Closed)?;
        self.block.pieces(series, range, merger)
    }

    fn begins_ms(&self) -> i64 {
        self.range.min_ms
    }

    fn label_names(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>> {
        label_names(&Watched::new(self.block.index(), hints), matchers, hints.limit)
    }

    fn label_values(&self, name: &str, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>> {
        label_values(
            &Watched::new(self.block.index(), hints),
            name,
            matchers,
            hints.limit,
        )
    }
}
