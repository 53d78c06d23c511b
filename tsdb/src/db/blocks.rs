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
use crate::block::{Block, HINT_OUT_OF_ORDER, HINT_SELECTED_SERIES, HINT_STALE_SERIES};
use crate::files::{Files, Result};
use crate::select::{Watched, label_names, label_values};

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

/// Opens the blocks in `dir`, sorted by where they begin, and clears away what crashes have left: unfinished folders,
/// and blocks that were merged into others.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn load(files: &Arc<dyn Files>, dir: &Path) -> Result<(Vec<Arc<Block>>, Vec<DamagedBlock>)> {
    let (mut blocks, mut damaged) = (HashMap::new(), Vec::new());
    for entry in files.list(dir)? {
        let path = dir.join(&entry.name);
        let stem = entry
            .name
            .split_once('.')
            .map_or(entry.name.as_str(), |(stem, _)| stem);
        if !entry.is_dir || Ulid::from_string(stem).is_err() {
            continue;
        }
        if LEFT_OVER.iter().any(|ending| entry.name.ends_with(ending)) {
            files.remove_dir_all(&path)?;
            continue;
        }
        if stem != entry.name {
            continue;
        }
        match Block::open(Arc::clone(files), &path) {
            Ok(block) => {
                blocks.insert(block.meta().ulid, Arc::new(block));
            }
            Err(error) => damaged.push(DamagedBlock { path, error }),
        }
    }
    let parents: HashSet<Ulid> = blocks
        .values()
        .flat_map(|b| b.meta().compaction.parents.clone())
        .map(|p| p.ulid)
        .collect();
    let superseded = |b: &Block| parents.contains(&b.meta().ulid) || b.meta().compaction.deletable;
    let (old, mut kept): (Vec<_>, Vec<_>) = blocks.into_values().partition(|b| superseded(b));
    for block in old {
        remove(&**files, block.dir())?;
    }
    // A damaged block whose contents are in another is no loss.
    damaged.retain(|d| {
        let name = d.path.file_name().and_then(|n| n.to_str());
        let replaced = name
            .and_then(|n| Ulid::from_string(n).ok())
            .is_some_and(|u| parents.contains(&u));
        !(replaced && files.remove_dir_all(&d.path).is_ok())
    });
    for block in &damaged {
        tracing::error!(path = %block.path.display(), error = %block.error, "a block is damaged and left out");
    }
    sort(&mut kept);
    Ok((kept, damaged))
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

    fn read(&self, handle: u64, range: TimeRange, columns: &mut Columns) -> Result<()> {
        let series = u32::try_from(handle).map_err(|_| StorageError::Closed)?;
        self.block.read(series, range, columns)
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
