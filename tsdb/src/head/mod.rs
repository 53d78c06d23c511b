//! The head: the newest samples of every series, in memory and in the logs.
//!
//! * [`index`](self) knows which series there are; only resolving new series and selecting touch it.
//! * Pages hold the series; appending touches nothing else but the log.
//! * Full chunks go to `chunks_head` and are mapped back.
//!
//! Lock order: snapshot, gate, index, page directory, page, then the leaves (log, chunk files, exemplars, isolation).
//! Invariant: appending holds the gate shared and removing series holds it alone, so a series that a transaction has
//! checked is there when the transaction is applied.

mod admission;
mod append;
mod arena;
mod census;
mod change_log;
mod chunk_files;
mod chunk_queue;
mod closing;
mod counters;
mod creation;
mod exemplars;
mod export;
mod heal;
mod histograms;
mod image;
mod index;
mod isolation;
mod late_log;
mod mapped;
mod ooo;
mod open;
mod options;
mod pages;
mod plan;
mod read;
mod refset;
mod replay;
mod select;
mod series;
mod snapshot;
mod stale;
mod stepped;
mod truncate;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::changes::{ChangedTimes, Mark};
use model::clock::Clock;
use model::sample::Metadata;
use model::storage::{SeriesRef, TimeRange};
use parking_lot::{Mutex, RwLock};

use crate::chunk::Encoding;
use crate::wal::{FreshSeries, Wal};
use append::Scratch;
use chunk_files::ChunkFiles;
use exemplars::ExemplarRing;
use files::{Files, Result};
use index::Index;
use isolation::Isolation;
use open::ChunkRules;
use pages::{Pages, page_of};
use snapshot::OnDisk;

pub use crate::wal::{LABELS_BYTES_MAX, LogDamage, ReplayProgress};
pub use census::Census;
pub use chunk_files::{ChunkFileCheck, ChunkFileDamage, check_chunk_file};
pub use counters::{ByType, HeadCounters};
pub(crate) use export::{HeadExport, LateCut};
pub use heal::Healed;
pub use options::HeadOptions;
pub use read::{HeadSeries, HeadView};
pub use replay::ReplayReport;
pub use snapshot::{SnapshotRefusal, SnapshotStats, SnapshotUse, check_snapshot};
pub(crate) use stale::StaleSeries;
pub use truncate::Truncated;

/// Scratch space kept between transactions.
const SCRATCH_KEPT: usize = 32;

/// The newest samples of every series.
pub struct Head {
    files: Arc<dyn Files>,
    dir: PathBuf,
    options: HeadOptions,
    clock: Arc<dyn Clock>,
    gate: RwLock<()>,
    index: RwLock<Index>,
    pages: Pages,
    next_reference: AtomicU64,
    isolation: Isolation,
    chunk_files: ChunkFiles,
    wal: Arc<Wal>,
    wbl: OnceLock<Wal>,
    fresh_series: FreshSeries,
    exemplars: Mutex<ExemplarRing>,
    /// Deleted ranges of series, sorted and without overlap.
    tombstones: RwLock<HashMap<u64, Vec<(i64, i64)>>>,
    min_ms: AtomicI64,
    max_ms: AtomicI64,
    late_min_ms: AtomicI64,
    late_max_ms: AtomicI64,
    min_valid_ms: AtomicI64,
    out_of_order_window_ms: AtomicI64,
    series_max: AtomicUsize,
    xor2_floats: AtomicBool,
    /// References of removed series whose records the log must keep, and until what time.
    wal_keep: Mutex<HashMap<u64, i64>>,
    wal_truncated_ms: AtomicI64,
    #[expect(clippy::vec_box, reason = "moved in and out by every transaction, and large")]
    scratch: Mutex<Vec<Box<Scratch>>>,
    poisoned: OnceLock<String>,
    /// Second references of series that the logs know.
    aliases: Mutex<HashMap<u64, u64>>,
    /// The snapshot. Held while one is written and by whatever removes series or samples, which a snapshot must not see
    /// half of; taken before all other locks.
    on_disk: Mutex<OnDisk>,
    /// What happened so far.
    pub counters: HeadCounters,
}

impl Head {
    /// Folder of the log below the data folder.
    pub const WAL_DIR: &'static str = "wal";
    /// Folder of the log of late samples below the data folder.
    pub const WBL_DIR: &'static str = "wbl";
    /// Folder of full chunks below the data folder.
    pub const CHUNKS_DIR: &'static str = "chunks_head";

    /// First timestamp in the head; `i64::MAX` while it is empty.
    pub fn min_ms(&self) -> i64 {
        self.min_ms.load(Ordering::Acquire)
    }

    /// Last timestamp in the head; `i64::MIN` while it is empty.
    pub fn max_ms(&self) -> i64 {
        self.max_ms.load(Ordering::Acquire)
    }

    /// In-order samples before this are in blocks, and not taken.
    pub(crate) fn min_valid_ms(&self) -> i64 {
        self.min_valid_ms.load(Ordering::Acquire)
    }

    /// First and last timestamp of late samples, where there are any.
    pub fn late_range_ms(&self) -> Option<(i64, i64)> {
        let range = (
            self.late_min_ms.load(Ordering::Acquire),
            self.late_max_ms.load(Ordering::Acquire),
        );
        (range.0 <= range.1).then_some(range)
    }

    /// Whether the head holds so much that its oldest range should become a block.
    pub fn is_compactable(&self) -> bool {
        let (min_ms, max_ms) = (self.min_ms(), self.max_ms());
        min_ms <= max_ms && max_ms.saturating_sub(min_ms) > self.options.chunk_range_ms / 2 * 3
    }

    /// Number of series.
    pub fn series_len(&self) -> usize {
        self.index.read().len()
    }

    /// How it behaves.
    pub fn options(&self) -> &HeadOptions {
        &self.options
    }

    /// The log.
    pub fn wal(&self) -> &Arc<Wal> {
        &self.wal
    }

    /// The log of late samples, once there were any.
    pub fn wbl(&self) -> Option<&Wal> {
        self.wbl.get()
    }

    /// Changes how late samples may be, in milliseconds; 0 refuses them.
    pub fn set_out_of_order_window(&self, window_ms: i64) {
        self.out_of_order_window_ms.store(window_ms, Ordering::Relaxed);
    }

    /// Changes how floats are encoded; open chunks are filled as they began.
    pub fn set_xor2_floats(&self, xor2: bool) {
        self.xor2_floats.store(xor2, Ordering::Relaxed);
    }

    /// Changes how many exemplars are kept.
    pub fn set_exemplars_max(&self, exemplars: usize) {
        self.exemplars.lock().resize(exemplars);
    }

    /// Exemplar storage: capacity, exemplars, series with exemplars, oldest timestamp.
    pub fn exemplar_stats(&self) -> (usize, usize, usize, Option<i64>) {
        let ring = self.exemplars.lock();
        (ring.capacity(), ring.len(), ring.series_len(), ring.oldest_ms())
    }

    /// Changes how many series may be active; 0 for no limit.
    pub fn set_series_max(&self, series: usize) {
        self.series_max.store(series, Ordering::Relaxed);
    }

    /// Metadata of a series.
    pub fn metadata(&self, reference: SeriesRef) -> Option<Metadata> {
        let page = self.pages.get(page_of(reference.0))?;
        let mut page = page.lock();
        let series = page.get(reference.0)?;
        series.rest()?.metadata.as_deref().cloned()
    }

    /// Whether a series has this metadata already.
    pub(crate) fn has_metadata(&self, reference: SeriesRef, metadata: &Metadata) -> bool {
        self.pages.get(page_of(reference.0)).is_some_and(|page| {
            let mut page = page.lock();
            let series = page.get(reference.0);
            series.is_some_and(|series| {
                series.rest().and_then(|rest| rest.metadata.as_deref()) == Some(metadata)
            })
        })
    }

    /// Makes everything committed so far survive a power cut. Called in the background, about every second.
    ///
    /// # Errors
    /// When the disk refuses; where what it holds is no longer known, appending is closed from then on.
    pub fn sync(&self) -> Result<()> {
        let _guard = self.poison_on_panic("syncing the logs");
        let synced = self
            .wal
            .sync()
            .and_then(|()| self.wbl.get().map_or(Ok(()), Wal::sync))
            .and_then(|()| self.chunk_files.retry());
        synced.inspect_err(|_| self.note_failure())
    }

    /// Writes out what is gathered in buffers and syncs the logs: the last thing before the process ends.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(&self) -> Result<()> {
        {
            let mut scratch = self.take_scratch();
            self.queue_fresh_series(&mut scratch);
            self.return_scratch(scratch);
        }
        self.chunk_files.flush()?;
        self.sync()?;
        if self.options.snapshots {
            // The logs have everything: without a snapshot the next start takes longer, no more.
            match self.write_snapshot() {
                Ok(Some(_)) => {}
                Ok(None) => tracing::warn!(
                    "no snapshot of the head, whose damaged chunks are not healed yet; the next start reads the whole log"
                ),
                Err(error) => tracing::warn!(%error, "no snapshot of the head; the next start takes longer"),
            }
        }
        Ok(())
    }

    /// Says that a thread calls [`Head::write_chunks`] again and again from now on, so that who appends need not write
    /// full chunks to disk; or that it no longer does, and wakes it.
    pub fn set_chunk_writer(&self, is_there: bool) {
        self.chunk_files.queue().set_has_writer(is_there);
    }

    /// Waits for full chunks, `patience` at most, and writes them. What fails shows in [`Head::sync`].
    pub fn write_chunks(&self, patience: Duration) {
        self.chunk_files.queue().write_next(patience);
    }

    fn rules(&self) -> ChunkRules<'_> {
        ChunkRules {
            files: &self.chunk_files,
            range_ms: self.options.chunk_range_ms,
            samples: self.options.samples_per_chunk,
            floats: self.float_encoding(),
            start_timestamps: self.options.start_timestamps,
        }
    }

    /// How new chunks of floats are encoded.
    pub(crate) fn float_encoding(&self) -> Encoding {
        if self.options.start_timestamps || self.xor2_floats.load(Ordering::Relaxed) {
            Encoding::Xor2
        } else {
            Encoding::Xor
        }
    }

    fn take_scratch(&self) -> Box<Scratch> {
        self.scratch.lock().pop().unwrap_or_default()
    }

    fn return_scratch(&self, mut scratch: Box<Scratch>) {
        scratch.clear();
        let mut kept = self.scratch.lock();
        if kept.len() < SCRATCH_KEPT {
            kept.push(scratch);
        }
    }

    /// The log of late samples, opened at its first use.
    fn wbl_open(&self) -> Result<&Wal> {
        if let Some(wbl) = self.wbl.get() {
            return Ok(wbl);
        }
        let wbl = open_wbl(&self.files, &self.dir, &self.options)?;
        Ok(self.wbl.get_or_init(|| wbl))
    }

    /// Number of the newest transaction, and the lowest that some view may not see.
    pub fn watermarks(&self) -> (u64, u64) {
        self.isolation.watermarks()
    }

    /// Bytes of `chunks_head` on disk.
    pub fn chunk_files_bytes(&self) -> u64 {
        self.chunk_files.disk_bytes()
    }

    /// Number of label pairs.
    pub fn pairs_len(&self) -> usize {
        self.index.read().pairs_len()
    }

    /// See [`model::changes::Changes::mark`].
    pub fn mark(&self) -> Mark {
        self.isolation.mark()
    }

    /// See [`model::changes::Changes::changed_since`].
    pub fn changed_since(&self, mark: Mark) -> ChangedTimes {
        self.isolation.changed_since(mark)
    }

    /// Notes that something in `range` is not what it was, otherwise than by a transaction.
    pub(crate) fn note_change(&self, range: TimeRange) {
        self.isolation.change(range);
    }

    /// Transactions in progress and open views.
    pub fn activity(&self) -> (usize, usize) {
        self.isolation.counts()
    }
}

fn open_wbl(files: &Arc<dyn Files>, dir: &Path, options: &HeadOptions) -> Result<Wal> {
    Wal::open(
        Arc::clone(files),
        &dir.join(Head::WBL_DIR),
        0,
        options.wal_segment_bytes,
        options.wal_compression,
    )
}
