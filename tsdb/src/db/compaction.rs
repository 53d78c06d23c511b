//! The work in the background: head into blocks, late samples into blocks, blocks into larger ones, old ones away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use model::columns::Columns;
use model::storage::{StorageError, TimeRange};
use ulid::Ulid;

use super::blocks::{self, in_order_end_ms};
use super::plan::plan;
use super::retention::{Limits, expired};
use super::telemetry::Durations;
use super::{COMPACTION, Shared, random_ulid};
use crate::block::{self, Block, BlockMeta, HINT_OUT_OF_ORDER};
use crate::head::{HeadExport, LateCut, StaleSeries};
use files::Result;

/// What compaction has done since the store was opened.
#[derive(Debug, Default)]
pub struct CompactionCounters {
    /// Rounds that found work or not.
    pub rounds: AtomicU64,
    /// Rounds that failed.
    pub failed: AtomicU64,
    /// Blocks written from the head.
    pub head_blocks: AtomicU64,
    /// Blocks written from other blocks.
    pub merged_blocks: AtomicU64,
    /// Of these, such whose parts overlapped.
    pub overlapping_merges: AtomicU64,
    /// Times that age made blocks go.
    pub age_retentions: AtomicU64,
    /// Times that size made blocks go.
    pub size_retentions: AtomicU64,
    /// Times that stale series were moved into blocks, or should have been.
    pub stale_rounds: AtomicU64,
    /// Times that this failed.
    pub stale_failed: AtomicU64,
    /// Times that a truncation was put off because of old views.
    pub put_off: AtomicU64,
    /// Times that the folder was looked through for blocks.
    pub reloads: AtomicU64,
    /// Times that this failed.
    pub reloads_failed: AtomicU64,
}

/// Work of a round that had to be put off.
#[derive(Default)]
pub(super) struct Pending {
    /// The head is in blocks up to here and not truncated yet.
    truncate_ms: Option<i64>,
    /// Late samples that are in blocks and not forgotten yet.
    forget: Option<LateCut>,
    /// Stale series that are in blocks and not out of the head yet.
    pub(super) evict: Vec<StaleSeries>,
    /// Blocks whose folders must be gone before anything else is changed: written and not taken in because something
    /// failed, or taken out and not removed. A restart would take them in, with what was deleted meanwhile.
    pub(super) stray: Vec<Ulid>,
}

/// Which samples of the head a block takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Samples {
    /// What came in order: late samples go to blocks of their own.
    InOrder,
    /// Everything.
    All,
}

impl Shared {
    /// One round. Fails at the first error; the next round takes up where this one left.
    pub(super) fn compact(&self) -> Result<()> {
        let mut pending = self.compacting.lock();
        self.counters.rounds.fetch_add(1, Ordering::Relaxed);
        let result = self.survive(COMPACTION, || {
            let _guard = self.head().poison_on_panic("compaction");
            self.round(&mut pending)
        });
        if !matches!(result, Err(StorageError::Closed)) {
            let failed = u64::from(result.is_err());
            self.counters.failed.fetch_add(failed, Ordering::Relaxed);
            self.setbacks.compaction.lock().note("compaction", &result);
        }
        result
    }

    fn round(&self, pending: &mut Pending) -> Result<()> {
        self.remove_stray(pending)?;
        // What a panic has left half done is not built upon: such a head is left alone until the next start.
        let cut = match self.head().poisoned() {
            Some(_) => Ok(true),
            None => self.head().heal().and_then(|_| self.cut_head(pending)),
        };
        // A head that cannot be cut is no reason to let the disk run full.
        self.remove_expired(pending)?;
        if !cut? {
            return Ok(());
        }
        self.merge_blocks(pending)?;
        self.remove_expired(pending)
    }

    /// Writes what of the head is due as blocks; false where old views hinder it.
    fn cut_head(&self, pending: &mut Pending) -> Result<bool> {
        if !self.settle(pending)? {
            return Ok(false);
        }
        let mut cut_head = false;
        while self.head().is_compactable() && !self.stop.is_stopping() {
            let begin_ms = self.head().min_ms();
            let end_ms = range_end(begin_ms, self.options.head.chunk_range_ms);
            self.head_block(pending, begin_ms, end_ms)?;
            cut_head = true;
            pending.truncate_ms = Some(end_ms);
            if !self.settle(pending)? {
                return Ok(false);
            }
        }
        if cut_head {
            self.late_blocks(pending)?;
            // The one before is of no use: a checkpoint was written, or late samples were forgotten.
            self.head_snapshot();
        }
        Ok(true)
    }

    /// Finishes what was put off; false where old views still hinder it.
    pub(super) fn settle(&self, pending: &mut Pending) -> Result<bool> {
        if let Some(min_ms) = pending.truncate_ms {
            let started = Instant::now();
            if self
                .head()
                .truncate(min_ms, self.options.truncation_patience)?
                .is_none()
            {
                self.counters.put_off.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
            pending.truncate_ms = None;
            self.observe(|d| d.garbage_collection.observe(started.elapsed().as_secs_f64()));
            let started = Instant::now();
            // Where it fails the log stays as it is, only longer; the next truncation tries again.
            let written = self.head().truncate_wal_before(min_ms, self.log_kept.get());
            self.setbacks
                .checkpoint
                .lock()
                .note("writing a checkpoint", &written);
            self.observe(|d| d.wal_truncation.observe(started.elapsed().as_secs_f64()));
        }
        if let Some(cut) = pending.forget {
            if !self.head().wait_for_views(self.options.truncation_patience) {
                self.counters.put_off.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
            let forgotten = self.head().forget_late(cut);
            self.note_change(TimeRange::new(cut.range.0, cut.range.1));
            forgotten?;
            pending.forget = None;
        }
        if !pending.evict.is_empty() {
            if !self.head().wait_for_views(self.options.truncation_patience) {
                self.counters.put_off.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
            let evicted = self.head().evict(&std::mem::take(&mut pending.evict));
            self.note_change(TimeRange::new(self.head().min_ms(), self.head().max_ms()));
            evicted?;
        }
        Ok(true)
    }

    /// Writes the head's in-order samples in `begin_ms..end_ms` as a block.
    fn head_block(&self, pending: &mut Pending, begin_ms: i64, end_ms: i64) -> Result<()> {
        let started = Instant::now();
        // What is older than half a range is not taken any more, so only transactions under way can still add to it.
        tracing::debug!(begin_ms, end_ms, "cutting the head");
        self.head().wait_for_transactions();
        let meta = BlockMeta::of_head(self.stray_ulid(pending), begin_ms, end_ms);
        let written = self.write_head(
            &self.dir,
            meta,
            TimeRange::new(begin_ms, end_ms - 1),
            Samples::InOrder,
        )?;
        let Some(meta) = written else {
            return Ok(());
        };
        self.add_blocks(pending, &[meta.ulid], &[])?;
        self.counters.head_blocks.fetch_add(1, Ordering::Relaxed);
        self.observe(|d| d.compaction.observe(started.elapsed().as_secs_f64()));
        tracing::info!(
            block = %meta.ulid, min_time = meta.min_time, max_time = meta.max_time,
            series = meta.stats.num_series, samples = meta.stats.num_samples,
            took_ms = started.elapsed().as_millis() as u64, "wrote a block from the head"
        );
        Ok(())
    }

    /// Writes samples of the head in `range` as a block in folder `parent`.
    pub(super) fn write_head(
        &self,
        parent: &std::path::Path,
        meta: BlockMeta,
        range: TimeRange,
        samples: Samples,
    ) -> Result<Option<BlockMeta>> {
        let view = self.head().view(range, i64::MIN);
        let mut export = HeadExport::new(&view, Arc::clone(&self.files), parent, meta, |_| true)?;
        for index in 0..export.len() {
            if self.stop.is_stopping() {
                return Err(StorageError::Closed);
            }
            match samples {
                Samples::InOrder => export.write_in_order(index)?,
                Samples::All => export.write_all(index)?,
            }
        }
        export.finish()
    }

    /// Writes the late samples as blocks, one for each range that has some.
    fn late_blocks(&self, pending: &mut Pending) -> Result<()> {
        let Some(cut) = self.head().cut_late()? else {
            return Ok(());
        };
        tracing::debug!(range = ?cut.range, "writing late samples");
        let range_ms = self.options.head.chunk_range_ms;
        let mut fresh = Vec::new();
        let mut begin_ms = cut.range.0.div_euclid(range_ms) * range_ms;
        while begin_ms <= cut.range.1 {
            let mut meta = BlockMeta::of_head(self.stray_ulid(pending), begin_ms, begin_ms + range_ms);
            meta.compaction.add_hint(HINT_OUT_OF_ORDER);
            if let Some(meta) = self.late_block(meta, cut)? {
                fresh.push(meta.ulid);
            }
            begin_ms += range_ms;
        }
        self.add_blocks(pending, &fresh, &[])?;
        pending.forget = Some(cut);
        self.settle(pending)?;
        Ok(())
    }

    fn late_block(&self, meta: BlockMeta, cut: LateCut) -> Result<Option<BlockMeta>> {
        let range = TimeRange::new(meta.min_time, meta.max_time - 1);
        let view = self.head().view(range, i64::MAX);
        let mut export = HeadExport::new(&view, Arc::clone(&self.files), &self.dir, meta, |_| true)?;
        let mut columns = Columns::default();
        let mut spare = (Columns::default(), Columns::default());
        for index in 0..export.len() {
            columns.clear();
            self.head()
                .read_late(export.series(index), range, cut.chunk, &mut columns, &mut spare)?;
            export.write_samples(index, &columns)?;
        }
        export.finish()
    }

    /// Merges blocks until the plan is empty, or the head needs attention.
    fn merge_blocks(&self, pending: &mut Pending) -> Result<()> {
        let ranges_ms = self.options.block_ranges_ms();
        loop {
            if self.head().is_compactable() || self.stop.is_stopping() {
                return Ok(());
            }
            let (settled, late) = self.settled_and_late();
            let mut parents = self.choose(settled, &ranges_ms);
            if parents.is_empty() {
                // Only where they overlap: their time is not over.
                parents = self.choose(late, &[]);
            }
            if parents.is_empty() {
                return Ok(());
            }
            self.merge(pending, &parents)?;
        }
    }

    /// Blocks whose time is over for the head, and blocks of late samples that reach into what only the head holds in order.
    /// Merged with the former, the latter would lose their hint, and the log of that time would be taken for written out;
    /// among themselves they keep it. Where the head has written nothing yet, such blocks are all that may be merged.
    fn settled_and_late(&self) -> (Vec<Arc<Block>>, Vec<Arc<Block>>) {
        let state = self.state.read();
        let is_late = |block: &Arc<Block>| block.meta().compaction.has_hint(HINT_OUT_OF_ORDER);
        let is_settled = |block: &Arc<Block>| match state.in_order_end_ms {
            i64::MIN => is_late(block),
            end_ms => block.meta().max_time <= end_ms,
        };
        let (settled, mut late): (Vec<_>, Vec<_>) = state.blocks.iter().cloned().partition(is_settled);
        late.retain(is_late);
        (settled, late)
    }

    /// What of `blocks` is to be merged next.
    fn choose(&self, blocks: Vec<Arc<Block>>, ranges_ms: &[i64]) -> Vec<Arc<Block>> {
        let current = self.mergeable(blocks);
        let metas: Vec<Arc<BlockMeta>> = current.iter().map(|b| b.meta()).collect();
        let metas: Vec<&BlockMeta> = metas.iter().map(|m| &**m).collect();
        let chosen = plan(&metas, ranges_ms, self.options.merge_overlapping);
        chosen.into_iter().map(|i| Arc::clone(&current[i])).collect()
    }

    /// Replaces `parents` by one block.
    pub(super) fn merge(&self, pending: &mut Pending, parents: &[Arc<Block>]) -> Result<()> {
        tracing::debug!(blocks = parents.len(), "merging blocks");
        let started = Instant::now();
        let go_on = || !self.stop.is_stopping();
        let floats = self.head().float_encoding();
        let ulid = self.stray_ulid(pending);
        let merged = block::compact(&self.files, &self.dir, parents, ulid, floats, &go_on);
        let merged = match merged {
            Ok(merged) => merged,
            Err(StorageError::Closed) => return Err(StorageError::Closed),
            Err(error) => {
                // Marked, so that the next round does not fail at the same place and leaves all others undone. A disk
                // that refuses is no fault of the blocks.
                if matches!(error, StorageError::Corrupt { .. }) {
                    for parent in parents {
                        parent.change_meta(|meta| meta.compaction.failed = true)?;
                    }
                }
                return Err(error);
            }
        };
        let fresh: Vec<Ulid> = merged.iter().map(|m| m.ulid).collect();
        if fresh.is_empty() {
            // Nothing is left of them. The mark tells so should removing them be interrupted.
            for parent in parents {
                parent.change_meta(|meta| meta.compaction.deletable = true)?;
            }
        }
        self.add_blocks(pending, &fresh, parents)?;
        self.counters.merged_blocks.fetch_add(1, Ordering::Relaxed);
        let overlap = u64::from(overlap(parents));
        self.counters
            .overlapping_merges
            .fetch_add(overlap, Ordering::Relaxed);
        self.observe(|d| d.compaction.observe(started.elapsed().as_secs_f64()));
        tracing::info!(
            blocks = parents.len(), merged = ?merged.map(|m| m.ulid.to_string()),
            took_ms = started.elapsed().as_millis() as u64, "merged blocks"
        );
        Ok(())
    }

    /// Takes new blocks into the list and removes those that they replace.
    pub(super) fn add_blocks(
        &self,
        pending: &mut Pending,
        fresh: &[Ulid],
        replaced: &[Arc<Block>],
    ) -> Result<()> {
        let gone: Vec<Ulid> = replaced.iter().map(|b| b.meta().ulid).collect();
        self.list_blocks(fresh, &gone)?;
        pending.stray.retain(|ulid| !fresh.contains(ulid));
        pending.stray.extend(gone);
        self.remove_stray(pending)
    }

    /// Makes the list of blocks one with `fresh` and without `gone`. Who brings blocks that replace none need not hold
    /// `compacting` for it.
    pub(super) fn list_blocks(&self, fresh: &[Ulid], gone: &[Ulid]) -> Result<()> {
        let mut opened = Vec::new();
        for ulid in fresh {
            let dir = self.dir.join(ulid.to_string());
            opened.push(Arc::new(Block::open(Arc::clone(&self.files), &dir)?));
        }
        let mut state = self.state.write();
        // Whoever looked through the folder meanwhile may have found them already.
        let stays = |ulid: &Ulid| !gone.contains(ulid) && !fresh.contains(ulid);
        let kept = state.blocks.iter().filter(|b| stays(&b.meta().ulid));
        let mut list: Vec<Arc<Block>> = kept.cloned().chain(opened).collect();
        blocks::sort(&mut list);
        state.in_order_end_ms = state.in_order_end_ms.max(in_order_end_ms(&list));
        self.note_changed_blocks(&state.blocks, &list);
        state.blocks = list.into();
        Ok(())
    }

    /// Removes the folders of blocks that are not in the list.
    ///
    /// # Errors
    /// When the disk refuses; to be tried again before blocks are written or samples deleted.
    pub(super) fn remove_stray(&self, pending: &mut Pending) -> Result<()> {
        while let Some(ulid) = pending.stray.last() {
            blocks::remove(&*self.files, &self.dir.join(ulid.to_string()))?;
            pending.stray.pop();
        }
        Ok(())
    }

    /// A name for a block that is stray until [`Shared::add_blocks`] takes it in.
    pub(super) fn stray_ulid(&self, pending: &mut Pending) -> Ulid {
        let ulid = self.new_ulid();
        pending.stray.push(ulid);
        ulid
    }

    /// Removes blocks beyond the retention limits.
    fn remove_expired(&self, pending: &mut Pending) -> Result<()> {
        let current = self.blocks();
        let (age_ms, mut bytes, percent) = *self.retention.lock();
        if percent > 0.0
            && let Some(space) = self.files.disk_space(&self.dir)
        {
            bytes = (space.total_bytes as f64 * percent / 100.0) as u64;
        }
        if age_ms == 0 && bytes == 0 {
            return Ok(());
        }
        let other_bytes = self.head().wal().disk_bytes()? + self.head().chunk_files_bytes();
        let metas: Vec<Arc<BlockMeta>> = current.iter().map(|b| b.meta()).collect();
        let sized: Vec<(&BlockMeta, u64)> = metas
            .iter()
            .zip(&*current)
            .map(|(m, b)| (&**m, b.size_bytes()))
            .collect();
        let limits = Limits {
            age_ms,
            bytes,
            other_bytes,
        };
        let (gone, [by_age, by_size]) = expired(&sized, limits);
        self.counters
            .age_retentions
            .fetch_add(u64::from(by_age), Ordering::Relaxed);
        self.counters
            .size_retentions
            .fetch_add(u64::from(by_size), Ordering::Relaxed);
        if gone.is_empty() {
            return Ok(());
        }
        let gone: Vec<Arc<Block>> = gone.into_iter().map(|i| Arc::clone(&current[i])).collect();
        for block in &gone {
            let meta = block.meta();
            tracing::info!(block = %meta.ulid, min_time = meta.min_time, max_time = meta.max_time, "removing an expired block");
        }
        self.add_blocks(pending, &[], &gone)
    }

    /// A name for a new block.
    pub(super) fn new_ulid(&self) -> Ulid {
        random_ulid(self.clock.now_ms())
    }

    pub(super) fn compaction_loop(&self) {
        loop {
            let pause = self.setbacks.pause_of_compaction();
            // Whoever appends wakes this thread as long as the head is due; after a failure that does not count.
            let (pause, wakeable) = pause.map_or((self.options.compaction_interval, true), |p| (p, false));
            if self.stop.wait(pause, wakeable) {
                return;
            }
            // Logged and counted where it happens; the next round tries again.
            let _ = self.reload_blocks();
            let _ = self.compact();
            let _ = self.compact_stale();
        }
    }

    /// Rewrites every block of which something is deleted without what is deleted.
    pub(super) fn clean_tombstones(&self) -> Result<()> {
        let mut pending = self.compacting.lock();
        self.remove_stray(&mut pending)?;
        let started = Instant::now();
        for block in &*self.blocks() {
            if !block.tombstones().is_empty() {
                self.merge(&mut pending, std::slice::from_ref(block))?;
            }
        }
        self.observe(|d| d.tombstone_cleanup.observe(started.elapsed().as_secs_f64()));
        Ok(())
    }

    pub(super) fn observe(&self, observe: impl FnOnce(&Durations)) {
        if let Some(durations) = self.durations.get() {
            observe(durations);
        }
    }
}

/// End of the aligned range that holds `timestamp_ms`.
pub(super) fn range_end(timestamp_ms: i64, range_ms: i64) -> i64 {
    (timestamp_ms / range_ms) * range_ms + range_ms
}

/// Whether some of them reach into others.
fn overlap(blocks: &[Arc<Block>]) -> bool {
    let mut ranges: Vec<(i64, i64)> = blocks
        .iter()
        .map(|block| (block.meta().min_time, block.meta().max_time))
        .collect();
    ranges.sort_unstable();
    ranges.windows(2).any(|two| two[1].0 < two[0].1)
}
