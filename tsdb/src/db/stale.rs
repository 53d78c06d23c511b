//! Stale series leave the head early: where many have ended (a deployment replaced all its pods), waiting for their two
//! hours to become a block would keep their memory for nothing.
//!
//! They are written into blocks of their own, one for each range, with a hint that says so: such a block does not tell up
//! to when the head as a whole is in blocks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use model::storage::{StorageError, TimeRange};

use super::compaction::{Pending, range_end};
use super::{COMPACTION, Db, Shared};
use crate::block::{BlockMeta, HINT_STALE_SERIES};
use crate::head::{HeadExport, HeadSeries, StaleSeries};
use files::Result;

/// The next block of the whole head must be further away than this.
const SOON_MS: i64 = 10 * 60 * 1000;

impl Db {
    /// Changes the share of stale series in the head (0 to 1) at which they are moved into blocks; 0 for never.
    pub fn set_stale_series_threshold(&self, share: f64) {
        self.shared
            .stale_threshold
            .store(share.to_bits(), Ordering::Relaxed);
    }

    /// Moves stale series from the head into blocks if they are enough (see [`Db::set_stale_series_threshold`]); returns
    /// how many left. In the background this happens with every round of compaction.
    ///
    /// # Errors
    /// When files cannot be read or written; the series stay in the head then.
    pub fn compact_stale_series(&self) -> Result<u64> {
        self.shared.compact_stale()
    }
}

impl Shared {
    pub(super) fn compact_stale(&self) -> Result<u64> {
        let threshold = f64::from_bits(self.stale_threshold.load(Ordering::Relaxed));
        if threshold <= 0.0 || self.head().poisoned().is_some() {
            return Ok(0);
        }
        self.survive(COMPACTION, || {
            let _guard = self.head().poison_on_panic("moving stale series into blocks");
            self.move_stale_from(threshold)
        })
    }

    fn move_stale_from(&self, threshold: f64) -> Result<u64> {
        let mut pending = self.compacting.lock();
        self.remove_stray(&mut pending)?;
        if !self.settle(&mut pending)? || self.head_block_is_soon() {
            return Ok(0);
        }
        let (series, share) = self.head().stale_series();
        if share < threshold || series.is_empty() {
            return Ok(0);
        }
        let started = Instant::now();
        self.counters.stale_rounds.fetch_add(1, Ordering::Relaxed);
        let before = self.head().series_len();
        let moved = self.move_stale(series, &mut pending);
        let failed = u64::from(moved.is_err());
        self.counters.stale_failed.fetch_add(failed, Ordering::Relaxed);
        self.setbacks
            .stale
            .lock()
            .note("moving stale series into blocks", &moved);
        let moved = moved?;
        self.observe(|d| d.stale_series.observe(started.elapsed().as_secs_f64()));
        tracing::info!(
            series = moved,
            of = before,
            took_ms = started.elapsed().as_millis() as u64,
            "moved stale series into blocks"
        );
        Ok(moved)
    }

    /// Whether the head as a whole is about to become a block anyway.
    fn head_block_is_soon(&self) -> bool {
        let (min_ms, max_ms) = (self.head().min_ms(), self.head().max_ms());
        let range_ms = self.options.head.chunk_range_ms;
        max_ms
            .saturating_sub(min_ms)
            .saturating_add(SOON_MS.min(range_ms / 2))
            > range_ms / 2 * 3
    }

    fn move_stale(&self, series: Vec<StaleSeries>, pending: &mut Pending) -> Result<u64> {
        let (min_ms, max_ms) = (self.head().min_ms(), self.head().max_ms());
        let range_ms = self.options.head.chunk_range_ms;
        let mut fresh = Vec::new();
        let mut end_ms = range_end(min_ms, range_ms);
        while end_ms - range_ms <= max_ms {
            let mut meta = BlockMeta::of_head(self.stray_ulid(pending), end_ms - range_ms, end_ms);
            meta.compaction.add_hint(HINT_STALE_SERIES);
            fresh.extend(self.write_stale(&series, meta)?.map(|meta| meta.ulid));
            end_ms += range_ms;
        }
        self.add_blocks(pending, &fresh, &[])?;
        pending.evict = series;
        let before = self.head().series_len();
        self.settle(pending)?;
        Ok(before.saturating_sub(self.head().series_len()) as u64)
    }

    /// Writes the samples of these series that lie in the block's range.
    fn write_stale(&self, series: &[StaleSeries], meta: BlockMeta) -> Result<Option<BlockMeta>> {
        let range = TimeRange::new(meta.min_time, meta.max_time - 1);
        let view = self.head().view(range, i64::MIN);
        let chosen = |own: HeadSeries| {
            let reference = own.reference();
            series.binary_search_by_key(&reference, |s| s.reference).is_ok()
        };
        let mut export = HeadExport::new(&view, Arc::clone(&self.files), &self.dir, meta, chosen)?;
        for index in 0..export.len() {
            if self.stop.is_stopping() {
                return Err(StorageError::Closed);
            }
            export.write_in_order(index)?;
        }
        export.finish()
    }
}
