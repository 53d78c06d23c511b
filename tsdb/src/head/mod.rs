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
mod chunk_files;
mod chunk_queue;
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

use model::clock::Clock;
use model::labels::Labels;
use model::sample::Metadata;
use model::storage::{SeriesError, SeriesRef, StorageError};
use parking_lot::{Mutex, RwLock};

use crate::chunk::Encoding;
use crate::wal::{self, Compression, Keep, RecordType, Wal};
use append::Scratch;
use chunk_files::ChunkFiles;
use exemplars::ExemplarRing;
use files::{Files, Result};
use index::Index;
use isolation::Isolation;
use open::ChunkRules;
use pages::{Pages, page_of};
use snapshot::OnDisk;

pub use chunk_files::{ChunkFileCheck, ChunkFileDamage, check_chunk_file};
pub(crate) use export::{HeadExport, LateCut};
pub use heal::Healed;
pub use read::{HeadSeries, HeadView};
pub use replay::{LogDamage, ReplayProgress, ReplayReport};
pub use snapshot::{SnapshotRefusal, SnapshotStats, SnapshotUse, check_snapshot};
pub(crate) use stale::StaleSeries;
pub use truncate::Truncated;

/// References must stay below this: chunk references of the reference pack them into 40 bits.
const REFERENCE_MAX: u64 = 1 << 40;
/// Bytes that the texts of a label set may have together. A set is written in one piece to the log, whose readers take
/// records of 512 MiB at most.
pub const LABELS_BYTES_MAX: usize = 64 << 20;
/// Bytes of new series after which their record is queued without waiting for a transaction.
const FRESH_SERIES_BYTES: usize = 1 << 20;
/// Scratch space kept between transactions.
const SCRATCH_KEPT: usize = 32;

/// How a head behaves.
#[derive(Clone, Debug)]
pub struct HeadOptions {
    /// Length of the blocks that the head is cut into; chunks do not cross their boundaries.
    pub chunk_range_ms: i64,
    /// Samples that a chunk should have.
    pub samples_per_chunk: u16,
    /// How much older than the head's newest sample a late sample may be; 0 refuses late samples.
    pub out_of_order_window_ms: i64,
    /// Late samples of a series that are gathered before they become a chunk.
    pub out_of_order_cap: usize,
    /// How far ahead of the clock samples may be; `None` for any distance.
    pub future_margin_ms: Option<i64>,
    /// Exemplars that are kept; 0 switches them off.
    pub exemplars_max: usize,
    /// Series that may be active; 0 for no limit.
    pub series_max: usize,
    /// Whether floats are encoded as [`Encoding::Xor2`] instead of [`Encoding::Xor`].
    pub xor2_floats: bool,
    /// Whether start timestamps are stored (in the log and in chunks); floats are encoded as [`Encoding::Xor2`] then.
    pub start_timestamps: bool,
    /// Bytes of a log segment.
    pub wal_segment_bytes: u64,
    /// How the logs are compressed.
    pub wal_compression: Compression,
    /// Whether snapshots are read, and written when the head is closed. Where not, one that is there is removed.
    pub snapshots: bool,
    /// Told how far the replay of the logs has come.
    pub progress: Arc<ReplayProgress>,
}

impl Default for HeadOptions {
    fn default() -> Self {
        HeadOptions {
            chunk_range_ms: 2 * 60 * 60 * 1000,
            samples_per_chunk: 120,
            out_of_order_window_ms: 0,
            out_of_order_cap: 32,
            future_margin_ms: None,
            exemplars_max: 0,
            series_max: 0,
            xor2_floats: false,
            start_timestamps: false,
            wal_segment_bytes: wal::SEGMENT_BYTES,
            wal_compression: Compression::Snappy,
            snapshots: true,
            progress: Arc::default(),
        }
    }
}

/// A count of floats and one of histograms.
#[derive(Debug, Default)]
pub struct ByType {
    /// Floats.
    pub floats: AtomicU64,
    /// Histograms, native ones.
    pub histograms: AtomicU64,
}

impl ByType {
    /// Both together.
    pub fn all(&self) -> u64 {
        self.floats.load(Ordering::Relaxed) + self.histograms.load(Ordering::Relaxed)
    }
}

/// Counters of what the head has done since it was opened.
#[derive(Debug, Default)]
pub struct HeadCounters {
    /// Floats taken.
    pub floats_appended: AtomicU64,
    /// Histograms taken.
    pub histograms_appended: AtomicU64,
    /// Late samples taken.
    pub late_appended: AtomicU64,
    /// Those of them that are histograms.
    pub late_histograms_appended: AtomicU64,
    /// Samples refused because a newer one is stored.
    pub out_of_order: ByType,
    /// Samples refused because they are older than what the head takes.
    pub out_of_bounds: ByType,
    /// Samples refused because they are older than the out-of-order window.
    pub too_old: ByType,
    /// Exemplars taken.
    pub exemplars_appended: AtomicU64,
    /// Exemplars refused as older than the newest.
    pub exemplars_out_of_order: AtomicU64,
    /// Times that a series was refused because there were as many as there may be.
    pub series_refused: AtomicU64,
    /// Series created.
    pub series_created: AtomicU64,
    /// Series removed.
    pub series_removed: AtomicU64,
    /// Chunks removed.
    pub chunks_removed: AtomicU64,
    /// Truncations of the head.
    pub truncations: AtomicU64,
    /// Checkpoints written.
    pub checkpoints: AtomicU64,
    /// Checkpoints that failed.
    pub checkpoints_failed: AtomicU64,
    /// Checkpoints whose superseded files could not be removed.
    pub checkpoint_removals_failed: AtomicU64,
    /// Damaged chunks that were read from the logs again.
    pub chunks_healed: AtomicU64,
    /// Damaged chunks that the logs had nothing of.
    pub chunks_lost: AtomicU64,
}

/// What is in the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Series.
    pub series: usize,
    /// Chunks, open ones included.
    pub chunks: usize,
    /// Series whose newest sample is a staleness marker.
    pub stale: usize,
    /// Series whose newest sample is a histogram.
    pub histograms: usize,
    /// Bytes of memory that series take: structs, buffers and lists, without the index.
    pub bytes: usize,
}

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
    wal: Wal,
    wbl: OnceLock<Wal>,
    /// Series record under construction: series that no transaction has logged yet.
    fresh_series: Mutex<Vec<u8>>,
    has_fresh_series: AtomicBool,
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
    pub fn wal(&self) -> &Wal {
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
            let _ = self.write_snapshot();
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

    /// Closes appending should the thread panic while the guard lives: what it was about may be half done.
    pub(crate) fn poison_on_panic(&self, what: &'static str) -> PoisonOnPanic<'_> {
        PoisonOnPanic { head: self, what }
    }

    /// Why appending is closed, if it is.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.get().map(String::as_str)
    }

    /// Why nothing can be written at present: closed for good ([`Head::poisoned`]), or a disk that refuses and may take
    /// what comes next.
    pub fn write_failure(&self) -> Option<String> {
        if let Some(why) = self.poisoned() {
            return Some(why.to_owned());
        }
        let of_logs = self
            .wal
            .failure()
            .or_else(|| self.wbl.get().and_then(Wal::failure));
        let failure = of_logs.or_else(|| self.chunk_files.failure());
        failure.map(|error| error.to_string())
    }

    /// Closes appending where a log has closed itself.
    fn note_failure(&self) {
        let closed = [Some(&self.wal), self.wbl.get()].into_iter().flatten();
        let Some(error) = closed.filter(|log| log.is_closed()).find_map(Wal::failure) else {
            return;
        };
        if self.poisoned.set(error.to_string()).is_ok() {
            tracing::error!(%error, "the write path failed; appending is closed until a restart");
        }
    }

    fn check_open(&self) -> Result<()> {
        if let Some(why) = self.poisoned.get() {
            return Err(StorageError::Poisoned(why.clone()));
        }
        // What is in memory alone is in the log too, but there must be an end to it.
        if self.chunk_files.is_stuck()
            && let Some(error) = self.chunk_files.failure()
        {
            return Err(error);
        }
        Ok(())
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

    fn resolve_labels(&self, labels: &Labels) -> std::result::Result<SeriesRef, SeriesError> {
        let _guard = self.poison_on_panic("the head");
        if labels.is_empty() {
            return Err(SeriesError::Empty);
        }
        let bytes = labels.as_bytes().len();
        if bytes > LABELS_BYTES_MAX {
            let max = LABELS_BYTES_MAX;
            return Err(SeriesError::TooLong { bytes, max });
        }
        let hash = labels.hash64();
        if let Some(reference) = self.index.read().find(hash, labels) {
            return Ok(SeriesRef(reference));
        }
        let mut index = self.index.write();
        if let Some(reference) = index.find(hash, labels) {
            return Ok(SeriesRef(reference));
        }
        let limit = self.series_max.load(Ordering::Relaxed);
        if limit > 0 && index.len() >= limit {
            drop(index);
            self.note_refused(labels, limit);
            return Err(SeriesError::LimitReached);
        }
        let reference = self.next_reference.load(Ordering::Relaxed);
        if reference >= REFERENCE_MAX || !index.insert(reference, hash, labels) {
            return Err(SeriesError::LimitReached);
        }
        self.next_reference.store(reference + 1, Ordering::Relaxed);
        self.pages
            .get_or_create(page_of(reference))
            .lock()
            .insert(reference);
        // Under the index' lock, so that records stand in the log in the order of references.
        let mut fresh = self.fresh_series.lock();
        if fresh.is_empty() {
            wal::begin(&mut fresh, RecordType::Series);
        }
        wal::put_series(&mut fresh, reference, labels);
        let full = fresh.len() > FRESH_SERIES_BYTES;
        self.has_fresh_series.store(true, Ordering::Release);
        drop(fresh);
        drop(index);
        self.counters.series_created.fetch_add(1, Ordering::Relaxed);
        if full {
            let mut scratch = self.take_scratch();
            self.queue_fresh_series(&mut scratch);
            self.return_scratch(scratch);
        }
        Ok(SeriesRef(reference))
    }

    /// Counts a series that is one too many, and names some of them: the first, the second, the fourth…
    #[cold]
    fn note_refused(&self, labels: &Labels, limit: usize) {
        let refused = self.counters.series_refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused.is_power_of_two() {
            tracing::warn!(
                series = %labels,
                limit,
                refused,
                "a new series was refused: there are as many as --storage.tsdb.max-series allows"
            );
        }
    }

    /// Queues the record of series that are not in the log yet: it goes out before whatever is logged next.
    fn queue_fresh_series(&self, scratch: &mut Scratch) {
        if !self.has_fresh_series.load(Ordering::Acquire) {
            return;
        }
        // Held while queueing: whoever finds the record empty must find it in the queue.
        let mut fresh = self.fresh_series.lock();
        if !fresh.is_empty() {
            // Kept: whoever fails next, the series exist from now on.
            self.wal.enqueue(&mut scratch.compressor, &fresh, Keep::Yes);
            fresh.clear();
            fresh.shrink_to(FRESH_SERIES_BYTES);
        }
        self.has_fresh_series.store(false, Ordering::Release);
    }

    /// The log of late samples, opened at its first use.
    fn wbl_open(&self) -> Result<&Wal> {
        if let Some(wbl) = self.wbl.get() {
            return Ok(wbl);
        }
        let wbl = open_wbl(&self.files, &self.dir, &self.options)?;
        Ok(self.wbl.get_or_init(|| wbl))
    }

    /// Counts what is in the head; visits every series.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for (_, page) in self.pages.all() {
            let mut page = page.lock();
            census.bytes += page.bytes().0;
            page.for_each(|series| {
                census.series += 1;
                census.chunks += series.chunks();
                census.stale += usize::from(series.is_stale());
                census.histograms += usize::from(series.open() == series::Open::Histograms);
                census.bytes += series.rest_bytes();
            });
        }
        census
    }

    /// Parts of the head and the bytes of memory allocated for each; visits every series. The log's and the files' buffers
    /// are not among them.
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        let (mut shared, mut used, mut rest) = (0, 0, 0);
        for (_, page) in self.pages.all() {
            let mut page = page.lock();
            let (page_bytes, page_used) = page.bytes();
            shared += page_bytes;
            used += page_used;
            page.for_each(|series| rest += series.rest_bytes());
        }
        let mut parts = vec![
            ("chunks", used),
            ("series, room behind chunks", shared - used),
            ("histograms, late samples, metadata", rest),
        ];
        parts.extend(self.index.read().memory());
        parts
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

    /// Transactions in progress and open views.
    pub fn activity(&self) -> (usize, usize) {
        self.isolation.counts()
    }
}

/// See [`Head::poison_on_panic`].
pub(crate) struct PoisonOnPanic<'a> {
    head: &'a Head,
    what: &'static str,
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let why = format!("{} of the store has panicked", self.what);
        if self.head.poisoned.set(why).is_ok() {
            tracing::error!(
                what = self.what,
                "the store has panicked; appending is closed until a restart"
            );
        }
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
