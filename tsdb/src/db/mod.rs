//! The store: head and blocks as one, and the work in the background.

mod blocks;
mod changes;
mod compaction;
mod history;
mod log;
mod options;
mod plan;
mod querier;
mod read_only;
mod reload;
mod retention;
mod stale;
mod status;
mod telemetry;
mod uploads;

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::changes::Changes;
use model::clock::Clock;
use model::labels::Labels;
use model::matcher::Matcher;
use model::packed_sets::PackedSets;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, ExemplarQueryable, Querier, Queryable, SeriesError,
    SeriesExemplars, SeriesRef, StorageError, TimeRange,
};
use parking_lot::{Mutex, RwLock};
use ulid::Ulid;

use crate::block::{Block, BlockMeta};
use crate::folder::Folder;
use crate::head::{Head, ReplayReport};
use crate::setbacks::{self, JobSetbacks};
use crate::stop::Stop;
use crate::wal::{Kept, segments};
use blocks::{BlockSource, in_order_end_ms};
use compaction::{Pending, Samples};
use files::{Files, Result, io_error};
use querier::{MergedQuerier, Source};
use telemetry::Durations;

pub use blocks::DamagedBlock;
pub use compaction::CompactionCounters;
pub use options::Options;
pub use read_only::{ReadOnly, SeriesVisitor};
pub use status::{Cardinality, HeadStatus, PairCounter, Stat};

/// Longest time after which a thread that waits for full chunks looks whether it is to end.
const CHUNK_PATIENCE: Duration = Duration::from_secs(1);

/// Names of the threads in the background, and what their panics are counted under.
const WAL_SYNC: &str = "wal-sync";
const CHUNK_WRITER: &str = "chunk-writer";
const COMPACTION: &str = "compaction";
const HEAD_SNAPSHOT: &str = "head-snapshot";

/// A store in a folder. Stops its threads when closed or dropped.
pub struct Db {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    files: Arc<dyn Files>,
    dir: PathBuf,
    options: Options,
    clock: Arc<dyn Clock>,
    /// There once the logs are read.
    head: OnceLock<Arc<Head>>,
    report: OnceLock<ReplayReport>,
    state: RwLock<State>,
    damaged: Mutex<Vec<DamagedBlock>>,
    /// Before this the head had nothing when the store was opened.
    head_begins_ms: i64,
    /// Held by whoever changes the list of blocks.
    compacting: Mutex<Pending>,
    /// Age in milliseconds, bytes, percent of the disk.
    retention: Mutex<(i64, u64, f64)>,
    counters: CompactionCounters,
    /// Of compaction.
    setbacks: JobSetbacks,
    /// Share of stale series at which they leave the head, as bits.
    stale_threshold: AtomicU64,
    /// Set when metrics are registered.
    durations: OnceLock<Durations>,
    /// What of the log somebody else still reads.
    log_kept: Kept,
    stop: Stop,
    folder: Folder,
}

/// What a view is made from, exchanged as one.
struct State {
    /// By where they begin.
    blocks: Arc<[Arc<Block>]>,
    /// In-order samples before this are in blocks.
    in_order_end_ms: i64,
}

impl Db {
    /// Opens the store in `dir`, creating it where it is missing.
    ///
    /// # Errors
    /// When another process holds the folder, or files cannot be read or written. Damaged files are no error: see
    /// [`Db::replay_report`] and [`Db::damaged_blocks`].
    pub fn open(files: Arc<dyn Files>, dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Db> {
        let db = Db::open_blocks(files, dir, options, clock)?;
        db.open_head()?;
        Ok(db)
    }

    /// Opens the store as far as its blocks go. Until [`Db::open_head`] has been called, views of what they hold can be
    /// had ([`StorageError::NotReady`] where the head is needed); everything else waits for the head.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_blocks(
        files: Arc<dyn Files>,
        dir: &Path,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Db> {
        let folder = Folder::open(&*files, dir, options.lock)?;
        let (blocks, damaged) = blocks::load(&files, dir)?;
        let in_order_end_ms = in_order_end_ms(&blocks);
        // Late samples lie where blocks are.
        let has_late = !segments(&*files, &dir.join(Head::WBL_DIR))?.is_empty();
        let retention = (
            options.retention_ms,
            options.retention_bytes,
            options.retention_percent,
        );
        let stale_threshold = AtomicU64::new(options.stale_series_threshold.to_bits());
        let shared = Arc::new(Shared {
            files,
            dir: dir.to_owned(),
            options,
            clock,
            head: OnceLock::new(),
            report: OnceLock::new(),
            state: RwLock::new(State {
                blocks: blocks.into(),
                in_order_end_ms,
            }),
            damaged: Mutex::new(damaged),
            head_begins_ms: if has_late { i64::MIN } else { in_order_end_ms },
            compacting: Mutex::default(),
            retention: Mutex::new(retention),
            stale_threshold,
            counters: CompactionCounters::default(),
            setbacks: JobSetbacks::default(),
            durations: OnceLock::new(),
            log_kept: Kept::default(),
            stop: Stop::default(),
            folder,
        });
        Ok(Db {
            shared,
            threads: Mutex::default(),
        })
    }

    /// Reads the logs and starts the work in the background: the second half of [`Db::open`]. Once for each store.
    ///
    /// # Errors
    /// As [`Db::open`]; the store is then of no further use.
    pub fn open_head(&self) -> Result<()> {
        let shared = &self.shared;
        let min_valid_ms = shared.state.read().in_order_end_ms;
        let (head, report) = Head::open(
            Arc::clone(&shared.files),
            &shared.dir,
            shared.options.head.clone(),
            Arc::clone(&shared.clock),
            min_valid_ms,
        )?;
        // Nobody else sets them.
        let _ = shared.report.set(report);
        let _ = shared.head.set(Arc::new(head));
        if shared.options.background {
            self.threads.lock().extend(start(shared)?);
        }
        Ok(())
    }

    /// Whether the logs are read.
    pub fn is_ready(&self) -> bool {
        self.shared.head.get().is_some()
    }

    /// What was found in the logs when the store was opened.
    pub fn replay_report(&self) -> &ReplayReport {
        self.shared.report.wait()
    }

    /// Blocks that could not be opened; everything else is served.
    pub fn damaged_blocks(&self) -> Vec<DamagedBlock> {
        self.shared.damaged.lock().clone()
    }

    /// The head.
    pub fn head(&self) -> &Arc<Head> {
        self.shared.head()
    }

    /// The blocks, by where they begin.
    pub fn blocks(&self) -> Arc<[Arc<Block>]> {
        self.shared.blocks()
    }

    /// Folder of the store.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// How it was opened.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// What compaction has done.
    pub fn compaction_counters(&self) -> &CompactionCounters {
        &self.shared.counters
    }

    /// First and last timestamp of everything stored; `None` while there is nothing.
    pub fn time_range(&self) -> Option<TimeRange> {
        let head = self.shared.head();
        let in_head = (head.min_ms() <= head.max_ms()).then(|| (head.min_ms(), head.max_ms()));
        let blocks = self.blocks();
        let of_blocks = blocks.iter().map(|b| (b.range().min_ms, b.range().max_ms));
        let all = of_blocks.chain(in_head).chain(head.late_range_ms());
        all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .map(|(min_ms, max_ms)| TimeRange::new(min_ms, max_ms))
    }

    /// Changes the retention: age in milliseconds, bytes, percent of the disk; 0 for no limit.
    pub fn set_retention(&self, age_ms: i64, bytes: u64, percent: f64) {
        let limits = (age_ms, bytes, percent);
        let before = std::mem::replace(&mut *self.shared.retention.lock(), limits);
        // A start tells them again: compaction would begin while the server has the most to do.
        if before != limits {
            self.shared.stop.wake();
        }
    }

    /// Makes everything committed so far survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses; appending is closed from then on.
    pub fn sync(&self) -> Result<()> {
        self.shared.head().sync()
    }

    /// Takes in blocks that somebody has put into the folder, and forgets those that somebody has taken away.
    ///
    /// # Errors
    /// When the folder cannot be read, or what was merged into others cannot be removed.
    pub fn reload_blocks(&self) -> Result<()> {
        self.shared.reload_blocks()
    }

    /// One round of compaction, retention included.
    ///
    /// # Errors
    /// When files cannot be read or written; the next round takes up where this one left.
    pub fn compact(&self) -> Result<()> {
        self.shared.compact()
    }

    /// Marks the samples in `range` of the series that satisfy all matchers as deleted.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn delete(&self, range: TimeRange, matchers: &[Matcher]) -> Result<()> {
        let mut pending = self.shared.compacting.lock();
        self.shared.remove_stray(&mut pending)?;
        let deleted = self.delete_in(range, matchers);
        // Even of what failed some may be gone.
        self.shared.note_change(range);
        deleted
    }

    fn delete_in(&self, range: TimeRange, matchers: &[Matcher]) -> Result<()> {
        for block in self.blocks().iter().filter(|b| b.range().overlaps(&range)) {
            block.delete(range, matchers)?;
        }
        self.shared.head().delete(range.min_ms, range.max_ms, matchers)?;
        Ok(())
    }

    /// Rewrites blocks so that deleted samples no longer take space.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn clean_tombstones(&self) -> Result<()> {
        self.shared.clean_tombstones()
    }

    /// Puts a copy of all blocks into folder `dir`, by links, and where `with_head` is set the head as another block.
    ///
    /// # Errors
    /// When files cannot be linked or written.
    pub fn snapshot(&self, dir: &Path, with_head: bool) -> Result<()> {
        let shared = &self.shared;
        let _compacting = shared.compacting.lock();
        let files = &*shared.files;
        files.create_dir_all(dir)?;
        for block in self.blocks().iter() {
            link_block(files, block.dir(), &dir.join(block.meta().ulid.to_string()))?;
        }
        let head = shared.head();
        let in_order = (head.min_ms() <= head.max_ms()).then(|| (head.min_ms(), head.max_ms()));
        let of_head = in_order.into_iter().chain(head.late_range_ms());
        let range = of_head.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        if with_head && let Some((min_ms, max_ms)) = range {
            let meta = BlockMeta::of_head(shared.new_ulid(), min_ms, max_ms + 1);
            shared.write_head(dir, meta, TimeRange::new(min_ms, max_ms), Samples::All)?;
        }
        files.sync_dir(dir)
    }

    /// Stops the background threads, writes out what is in buffers and gives the folder free.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(&self) -> Result<()> {
        self.shared.stop.stop();
        let head = self.shared.head.get();
        if let Some(head) = head {
            head.set_chunk_writer(false);
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a background thread of the store has panicked");
            }
        }
        let closed = head.map_or(Ok(()), |head| head.close());
        self.shared.folder.give_free();
        closed
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.shared.stop.stop();
    }
}

/// Links a block's files into folder `to`; tombstones and meta are copied, since they can change.
fn link_block(files: &dyn Files, from: &Path, to: &Path) -> Result<()> {
    files.create_dir_all(to)?;
    for entry in files.list(from)? {
        let (old, new) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            link_block(files, &old, &new)?;
        } else if entry.name == crate::block::META_FILE || entry.name == crate::block::TOMBSTONES_FILE {
            files::replace_file(files, &new, &files.read(&old)?)?;
        } else {
            files.hard_link(&old, &new)?;
        }
    }
    files.sync_dir(to)
}

fn start(shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>> {
    let spawn = |task: &'static str, work: fn(&Shared)| {
        let of_thread = Arc::clone(shared);
        shared.options.supervisor.announce(task);
        std::thread::Builder::new()
            .name(task.to_owned())
            .spawn(move || of_thread.outlive(task, work))
            .map_err(|e| io_error("start a thread for", &shared.dir, e))
    };
    shared.head().set_chunk_writer(true);
    let mut threads = vec![
        spawn(WAL_SYNC, Shared::sync_loop)?,
        spawn(CHUNK_WRITER, Shared::chunk_loop)?,
        spawn(COMPACTION, Shared::compaction_loop)?,
    ];
    if shared.options.head.snapshots {
        threads.push(spawn(HEAD_SNAPSHOT, Shared::snapshot_loop)?);
    }
    Ok(threads)
}

/// A name for a block that is unique and sorts by time.
pub fn random_ulid(now_ms: i64) -> Ulid {
    let half = || RandomState::new().hash_one(now_ms);
    let random = u128::from(half()) << 64 | u128::from(half());
    Ulid::from_parts(now_ms.max(0) as u64, random)
}

impl Shared {
    /// The head; waits until the logs are read.
    fn head(&self) -> &Arc<Head> {
        self.head.wait()
    }

    fn blocks(&self) -> Arc<[Arc<Block>]> {
        Arc::clone(&self.state.read().blocks)
    }

    /// Writes a snapshot of the head, where there are to be any.
    fn head_snapshot(&self) {
        if self.options.head.snapshots {
            let started = Instant::now();
            // It reads the head and changes nothing of it, so that a panic costs this snapshot only.
            let written = self.survive(HEAD_SNAPSHOT, || {
                self.head()
                    .write_snapshot()?
                    .ok_or_else(|| StorageError::Other("damaged head chunks are not healed yet".to_owned()))
            });
            // Without one the next start takes longer, no more.
            self.setbacks
                .snapshot
                .lock()
                .note("writing a snapshot of the head", &written);
            if written.is_ok() {
                self.observe(|d| d.head_snapshot.observe(started.elapsed().as_secs_f64()));
            }
        }
    }

    /// Does a loop of the background until it returns. A panic costs the round that it happens in, and a rest.
    fn outlive(&self, task: &'static str, work: fn(&Shared)) {
        while self.options.supervisor.catch(task, || work(self)).is_err() {
            if self.stop.wait(setbacks::PAUSE_MIN, false) {
                return;
            }
        }
    }

    /// Does one piece of background work; its panic is counted, and an error like others.
    fn survive<T>(&self, task: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = self.options.supervisor.catch(task, work);
        done.unwrap_or_else(|panicked| Err(StorageError::Other(panicked.to_string())))
    }

    fn snapshot_loop(&self) {
        loop {
            if self.head().is_snapshot_due() {
                self.head_snapshot();
            }
            let pause = self.setbacks.snapshot.lock().pause().unwrap_or_default();
            if self
                .stop
                .wait(self.options.head_snapshot_interval.max(pause), false)
            {
                return;
            }
        }
    }

    fn chunk_loop(&self) {
        let _guard = self.head().poison_on_panic("writing head chunks");
        while !self.stop.is_stopping() {
            self.head().write_chunks(CHUNK_PATIENCE);
            if self.head().is_damaged() {
                // Healed by the next round of compaction.
                self.stop.wake();
            }
        }
    }

    fn sync_loop(&self) {
        while !self.stop.wait(self.options.wal_sync_interval, false) {
            let started = Instant::now();
            // The head notes a failure and closes appending; there is nobody here to tell.
            let _ = self.head().sync();
            self.observe(|d| d.wal_sync.observe(started.elapsed().as_secs_f64()));
        }
    }
}

impl Appender for Db {
    fn resolve(&self, labels: &Labels) -> std::result::Result<SeriesRef, SeriesError> {
        self.shared.head().resolve(labels)
    }

    fn find(&self, sets: &PackedSets, found: &mut Vec<Option<SeriesRef>>) {
        self.shared.head().find(sets, found);
    }

    fn append(
        &self,
        batch: &AppendBatch,
        outcome: &mut AppendOutcome,
    ) -> std::result::Result<(), AppendError> {
        let appended = self.shared.head().append(batch, outcome);
        if self.shared.options.background && self.shared.head().is_compactable() {
            self.shared.stop.wake();
        }
        appended
    }
}

impl Queryable for Db {
    fn querier(&self, range: TimeRange) -> std::result::Result<Arc<dyn Querier>, StorageError> {
        // Under one lock: whoever sees the old list of blocks is known to the head before the head is truncated.
        let state = self.shared.state.read();
        let overlapping = state.blocks.iter().filter(|b| b.range().overlaps(&range));
        let mut sources: Vec<Arc<dyn Source>> = overlapping
            .map(|block| -> Arc<dyn Source> {
                let own = block.range();
                Arc::new(BlockSource {
                    block: Arc::clone(block),
                    range: TimeRange::new(own.min_ms.max(range.min_ms), own.max_ms.min(range.max_ms)),
                })
            })
            .collect();
        match self.shared.head.get() {
            Some(head) => {
                let late = head
                    .late_range_ms()
                    .is_some_and(|(a, b)| a <= range.max_ms && b >= range.min_ms);
                // Compat: names and values of labels are those of a head that the range touches, not of each series in it
                // (label_names_and_values_are_those_of_the_range).
                let in_order = TimeRange::new(head.min_ms().max(state.in_order_end_ms), head.max_ms());
                if late || in_order.overlaps(&range) {
                    sources.push(Arc::new(head.view(range, state.in_order_end_ms)));
                }
            }
            None if range.max_ms >= self.shared.head_begins_ms => return Err(StorageError::NotReady),
            None => {}
        }
        Ok(Arc::new(MergedQuerier {
            sources: sources.into(),
            range,
        }))
    }

    fn changes(&self) -> Option<&dyn Changes> {
        // Until the logs are read, nobody can say what is missing.
        self.is_ready().then_some(self)
    }
}

impl ExemplarQueryable for Db {
    fn exemplars(
        &self,
        range: TimeRange,
        selectors: &[Vec<Matcher>],
    ) -> std::result::Result<Vec<SeriesExemplars>, StorageError> {
        let head = self.shared.head.get().ok_or(StorageError::NotReady)?;
        head.exemplars(range, selectors)
    }
}
