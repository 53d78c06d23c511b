//! Blocks that come and go by other hands while the store is open: backfilled, restored, removed, taken away to a bucket.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ulid::Ulid;

use super::blocks::{self, DamagedBlock, Found};
use super::{COMPACTION, Shared, uploads};
use crate::block::Block;
use files::Result;

impl Shared {
    /// Makes the list of blocks what the folder holds.
    pub(super) fn reload_blocks(&self) -> Result<()> {
        self.counters.reloads.fetch_add(1, Ordering::Relaxed);
        let result = self.survive(COMPACTION, || self.reload());
        let failed = u64::from(result.is_err());
        self.counters.reloads_failed.fetch_add(failed, Ordering::Relaxed);
        self.setbacks
            .reload
            .lock()
            .note("looking for new blocks", &result);
        result
    }

    fn reload(&self) -> Result<()> {
        let mut pending = self.compacting.lock();
        self.remove_stray(&mut pending)?;
        let before = self.blocks();
        let Found {
            blocks,
            superseded,
            damaged,
        } = blocks::find(&self.files, &self.dir, &before)?;
        self.note_damaged(damaged);
        let (old, new) = (ulids(&before), ulids(&blocks));
        if old != new {
            let names = |of: &HashSet<Ulid>, without: &HashSet<Ulid>| -> Vec<String> {
                of.difference(without).map(Ulid::to_string).collect()
            };
            tracing::info!(
                new = ?names(&new, &old), gone = ?names(&old, &new),
                "blocks were put into the data folder or taken out of it"
            );
            // How far the head is in blocks is for its own blocks to say: one that was put there from elsewhere may reach
            // into what the head alone holds.
            let mut state = self.state.write();
            // History is brought in by others meanwhile, perhaps after the folder was looked through.
            let is_since = |b: &&Arc<Block>| !old.contains(&b.meta().ulid) && !new.contains(&b.meta().ulid);
            let since = state.blocks.iter().filter(is_since).cloned();
            let mut list: Vec<Arc<Block>> = blocks.into_iter().chain(since).collect();
            blocks::sort(&mut list);
            self.note_changed_blocks(&state.blocks, &list);
            state.blocks = list.into();
        }
        pending.stray.extend(superseded.iter().map(|b| b.meta().ulid));
        self.remove_stray(&mut pending)
    }

    /// Logs damage once. A block that is still being copied into the folder looks damaged until it is whole.
    fn note_damaged(&self, found: Vec<DamagedBlock>) {
        let mut damaged = self.damaged.lock();
        let told: HashSet<PathBuf> = damaged.iter().map(|d| d.path.clone()).collect();
        blocks::tell(found.iter().filter(|d| !told.contains(&d.path)));
        *damaged = found;
    }

    /// `blocks` up to the first that waits for being uploaded. Those behind it wait too: merging them would leave single
    /// blocks behind.
    pub(super) fn mergeable(&self, mut blocks: Vec<Arc<Block>>) -> Vec<Arc<Block>> {
        if let Some(path) = &self.options.uploads_file
            && let Some(uploaded) = uploads::read(&*self.files, path)
        {
            let waits = |b: &Arc<Block>| b.meta().compaction.level <= 1 && !uploaded.contains(&b.meta().ulid);
            let end = blocks.iter().position(waits).unwrap_or(blocks.len());
            blocks.truncate(end);
        }
        blocks
    }
}

fn ulids(blocks: &[Arc<Block>]) -> HashSet<Ulid> {
    blocks.iter().map(|b| b.meta().ulid).collect()
}
