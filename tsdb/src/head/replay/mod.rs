//! Opening a head: snapshot, chunk files, checkpoint, log, log of late samples.
//!
//! With a snapshot only what is behind its positions is read of the logs. Samples that a mapped chunk holds are not
//! decoded again. Damage costs what is damaged and no more: a segment is cut behind its last whole record and the next one
//! is read; whatever refers to a series whose record is lost is counted. References are never given out twice, because
//! the highest one seen anywhere counts, lost records or not.
//!
//! One thread reads ahead ([`segments`]), one puts what it reads in order ([`log`]), and one for each core applies samples
//! to the pages that are its own ([`shards`]).

mod log;
mod segments;
mod shards;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Release;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use model::clock::Clock;
use parking_lot::{Mutex, RwLock};

use super::chunk_files::{ChunkFileDamage, ChunkFiles, FoundChunk, MappedChunk};
use super::exemplars::ExemplarRing;
use super::index::Index;
use super::isolation::Isolation;
use super::ooo::OutOfOrder;
use super::pages::{PAGE_SERIES, Pages};
use super::snapshot::{self, Loaded, OnDisk, SnapshotRefusal, SnapshotUse};
use super::{Head, HeadCounters, HeadOptions, open_wbl};
use crate::wal::{
    ExemplarEntry, FreshSeries, LogDamage, TombstoneEntry, Wal, gaps, last_checkpoint, log_sources,
    segment_path,
};
use files::{Files, Result};
use log::Replay;
use segments::{ReadAhead, Source};
use shards::Shards;

/// What was found when a head was opened.
#[derive(Clone, Debug, Default)]
pub struct ReplayReport {
    /// Segments read, those of checkpoint and late log included.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Series in the head afterwards.
    pub series: u64,
    /// Samples read, floats and histograms.
    pub samples: u64,
    /// Late samples read.
    pub late_samples: u64,
    /// Full chunks that were mapped.
    pub mapped_chunks: u64,
    /// Second records of a series that exists under another reference.
    pub duplicate_series: u64,
    /// Series that are referred to and not known.
    pub unknown_series: u64,
    /// Samples, exemplars, tombstones and metadata of such series.
    pub unknown_entries: u64,
    /// Records that are of no known kind or hold histograms of unknown schemas.
    pub skipped_records: u64,
    /// Log segments that are missing between others, or in the checkpoint.
    pub missing_segments: u64,
    /// Damaged log segments.
    pub damages: Vec<LogDamage>,
    /// Damage in the chunk files; what was lost there was read from the log.
    pub chunk_damage: Option<ChunkFileDamage>,
    /// What became of the snapshot.
    pub snapshot: SnapshotUse,
    /// How long it took.
    pub duration: Duration,
}

/// Tells of the gaps in both logs; gives how many segments they are. What they held is lost, and reading goes on behind
/// them.
fn missing_segments(files: &dyn Files, dir: &Path, checkpoint: Option<u64>) -> Result<u64> {
    let mut missing = gaps(files, &dir.join(Head::WAL_DIR), checkpoint)?;
    missing.extend(gaps(files, &dir.join(Head::WBL_DIR), None)?);
    for gap in &missing {
        tracing::error!(
            path = %gap.path.display(),
            segments = gap.segments,
            "log segments are missing, with what they held; reading goes on behind them"
        );
    }
    Ok(missing.iter().map(|gap| gap.segments).sum())
}

impl Head {
    /// Opens the head in `dir`. Samples before `min_valid_ms` are in blocks and are passed over.
    ///
    /// # Errors
    /// When files cannot be read or the new segment cannot be written. Damaged files are no error: see the report.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        options: HeadOptions,
        clock: Arc<dyn Clock>,
        min_valid_ms: i64,
    ) -> Result<(Head, ReplayReport)> {
        let started = Instant::now();
        let OnOpening {
            loaded,
            snapshot,
            covered,
            found,
            chunk_files,
            chunk_damage,
        } = OnOpening::read(&files, dir, &options, min_valid_ms)?;
        let checkpoint = last_checkpoint(&*files, &dir.join(Self::WAL_DIR))?;
        let sources = Sources::find(&*files, dir, checkpoint, loaded.as_ref())?;
        options.progress.begin(sources.first, sources.last, sources.bytes);
        let mut head = Head::empty(&files, dir, options, clock, min_valid_ms, chunk_files, checkpoint)?;
        let report = ReplayReport {
            chunk_damage,
            mapped_chunks: found.all,
            missing_segments: missing_segments(&*files, dir, checkpoint)?,
            snapshot,
            ..ReplayReport::default()
        };
        let rest = loaded.map(|loaded| head.take_in(loaded, sources.bytes));
        let mut replay = Replay::new(&head, min_valid_ms, found, sources.has_late, report);
        if let Some(rest) = rest {
            replay.go_on_from(&rest.state, rest.aliases);
            replay.tombstones(&rest.tombstones, true);
            replay.exemplars(rest.exemplars);
        }
        let has_wbl = files.exists(&dir.join(Self::WBL_DIR));
        let mut inherited: Vec<PathBuf> = sources.all.iter().map(|s| s.path.clone()).collect();
        inherited.extend(head.chunk_files.uncovered(&covered)?);
        let unknown = std::thread::scope(|scope| -> Result<_> {
            let events = ReadAhead::start(scope, Arc::clone(&files), sources.all);
            let mut shards = Shards::start(scope, &head);
            replay.run(&events, &mut shards)?;
            Ok(shards.finish())
        })?;
        let mut report = replay.finish(unknown);
        if has_wbl || head.options.out_of_order_window_ms > 0 {
            let wbl = open_wbl(&files, dir, &head.options)?;
            let _ = head.wbl.set(wbl);
        }
        head.settle(min_valid_ms)?;
        head.on_disk.lock().inherited = inherited;
        report.series = head.series_len() as u64;
        report.duration = started.elapsed();
        Ok((head, report))
    }

    /// Takes in what a snapshot has; what replay takes in is left in it. The logs have `behind_bytes` behind it.
    fn take_in(&mut self, mut loaded: Loaded, behind_bytes: u64) -> Rest {
        *self.index.get_mut() = loaded.index;
        self.pages = loaded.pages;
        *self.wal_keep.get_mut() = std::mem::take(&mut loaded.kept);
        *self.on_disk.get_mut() = OnDisk {
            bytes: loaded.bytes,
            behind_bytes,
            ..OnDisk::default()
        };
        Rest {
            state: loaded.state,
            aliases: loaded.aliases,
            tombstones: loaded.tombstones,
            exemplars: loaded.exemplars,
        }
    }

    fn empty(
        files: &Arc<dyn Files>,
        dir: &Path,
        options: HeadOptions,
        clock: Arc<dyn Clock>,
        min_valid_ms: i64,
        chunk_files: ChunkFiles,
        checkpoint: Option<u64>,
    ) -> Result<Head> {
        // A log whose segments are all gone goes on behind its checkpoint.
        let wal = Wal::open(
            Arc::clone(files),
            &dir.join(Self::WAL_DIR),
            checkpoint.map_or(0, |c| c + 1),
            options.wal_segment_bytes,
            options.wal_compression,
        )?;
        Ok(Head {
            files: Arc::clone(files),
            dir: dir.to_owned(),
            clock,
            gate: RwLock::new(()),
            index: RwLock::new(Index::new(0)),
            pages: Pages::default(),
            next_reference: AtomicU64::new(1),
            isolation: Isolation::default(),
            chunk_files,
            wal: Arc::new(wal),
            wbl: OnceLock::new(),
            fresh_series: FreshSeries::default(),
            exemplars: Mutex::new(ExemplarRing::new(options.exemplars_max)),
            tombstones: RwLock::default(),
            min_ms: AtomicI64::new(i64::MAX),
            max_ms: AtomicI64::new(i64::MIN),
            late_min_ms: AtomicI64::new(i64::MAX),
            late_max_ms: AtomicI64::new(i64::MIN),
            min_valid_ms: AtomicI64::new(min_valid_ms),
            out_of_order_window_ms: AtomicI64::new(options.out_of_order_window_ms),
            series_max: AtomicUsize::new(options.series_max),
            xor2_floats: AtomicBool::new(options.xor2_floats),
            wal_keep: Mutex::default(),
            wal_truncated_ms: AtomicI64::new(i64::MIN),
            scratch: Mutex::default(),
            poisoned: OnceLock::new(),
            aliases: Mutex::default(),
            on_disk: Mutex::default(),
            counters: HeadCounters::default(),
            options,
        })
    }

    /// Removes what replay has brought up and blocks hold already, and sets the head's range to what there is.
    fn settle(&self, min_valid_ms: i64) -> Result<()> {
        let join = |all: &mut (i64, i64), (a, b): (i64, i64)| *all = (all.0.min(a), all.1.max(b));
        let (mut in_order, mut late) = ((i64::MAX, i64::MIN), (i64::MAX, i64::MIN));
        for (number, page) in self.pages.all() {
            page.lock().for_each(|mut series| {
                let reference = number * PAGE_SERIES + u64::from(series.low());
                series.catch_up(&self.chunk_files, reference, i64::MAX);
                series.truncate(min_valid_ms);
                if let Some(range) = series.in_order_range() {
                    join(&mut in_order, range);
                }
                if let Some(range) = series.late().and_then(OutOfOrder::range) {
                    join(&mut late, range);
                }
            });
        }
        self.late_min_ms.store(late.0, Release);
        self.late_max_ms.store(late.1, Release);
        self.collect_garbage(min_valid_ms)?;
        if in_order.0 <= in_order.1 {
            self.min_ms.store(in_order.0.max(min_valid_ms), Release);
            self.max_ms.store(in_order.1, Release);
        }
        Ok(())
    }
}

/// Full chunks found on disk.
#[derive(Default)]
struct Found {
    /// In order, by series.
    in_order: HashMap<u64, Vec<MappedChunk>>,
    /// Late ones, by their reference, with their series.
    late: BTreeMap<u64, (u64, MappedChunk)>,
    /// How many.
    all: u64,
}

impl Found {
    fn add(&mut self, chunk: FoundChunk, min_valid_ms: i64) {
        if chunk.out_of_order {
            self.late.insert(chunk.meta.chunk, (chunk.series, chunk.meta));
        } else if chunk.meta.max_ms >= min_valid_ms {
            self.in_order.entry(chunk.series).or_default().push(chunk.meta);
        }
        self.all += 1;
    }
}

/// What there is besides the logs.
struct OnOpening {
    loaded: Option<Loaded>,
    snapshot: SnapshotUse,
    /// What of the chunk files the snapshot has.
    covered: BTreeMap<u32, u64>,
    found: Found,
    chunk_files: ChunkFiles,
    chunk_damage: Option<ChunkFileDamage>,
}

impl OnOpening {
    /// Reads snapshot and chunk files. A snapshot that has chunks of a file that turns out to be lost is refused like one
    /// that does not fit: its series would refer to what is no longer there, or to what comes in its place.
    fn read(files: &Arc<dyn Files>, dir: &Path, options: &HeadOptions, min_valid_ms: i64) -> Result<Self> {
        let (loaded, snapshot) = take_snapshot(&**files, dir, options)?;
        let covered = loaded.as_ref().map(|l| l.state.covered()).unwrap_or_default();
        let chunks_dir = dir.join(Head::CHUNKS_DIR);
        let mut found = Found::default();
        let each = |chunk| found.add(chunk, min_valid_ms);
        let (chunk_files, chunk_damage) = ChunkFiles::open(Arc::clone(files), &chunks_dir, &covered, each)?;
        let Some(lost) = chunk_files.first_lost(&covered) else {
            return Ok(OnOpening {
                loaded,
                snapshot,
                covered,
                found,
                chunk_files,
                chunk_damage,
            });
        };
        let snapshot = refuse_snapshot(&**files, dir, SnapshotRefusal::ChunkFile(lost))?;
        let covered = BTreeMap::new();
        let mut found = Found::default();
        let each = |chunk| found.add(chunk, min_valid_ms);
        let (chunk_files, more) = ChunkFiles::open(Arc::clone(files), &chunks_dir, &covered, each)?;
        Ok(OnOpening {
            loaded: None,
            snapshot,
            covered,
            found,
            chunk_files,
            chunk_damage: chunk_damage.or(more),
        })
    }
}

/// What a snapshot has that replay takes in.
struct Rest {
    state: snapshot::State,
    aliases: HashMap<u64, u64>,
    tombstones: Vec<TombstoneEntry>,
    exemplars: Vec<ExemplarEntry>,
}

/// Reads the snapshot, if there is one that can be used; removes one that cannot.
fn take_snapshot(
    files: &dyn Files,
    dir: &Path,
    options: &HeadOptions,
) -> Result<(Option<Loaded>, SnapshotUse)> {
    let path = dir.join(Head::SNAPSHOT_FILE);
    // What a crash has left of the writing of one.
    let unfinished = snapshot::temporary(&path);
    if files.exists(&unfinished) {
        files.remove_file(&unfinished)?;
    }
    let used = if !options.snapshots {
        SnapshotUse::Off
    } else {
        match snapshot::load(files, dir) {
            Ok(Some(loaded)) => return Ok((Some(loaded), SnapshotUse::Used)),
            Ok(None) => SnapshotUse::Missing,
            Err(refusal) => return Ok((None, refuse_snapshot(files, dir, refusal)?)),
        }
    };
    if files.exists(&path) {
        files.remove_file(&path)?;
    }
    Ok((None, used))
}

/// Removes a snapshot that must not be used, and says why.
fn refuse_snapshot(files: &dyn Files, dir: &Path, refusal: SnapshotRefusal) -> Result<SnapshotUse> {
    let path = dir.join(Head::SNAPSHOT_FILE);
    tracing::warn!(
        path = %path.display(),
        why = %refusal,
        "the snapshot of the head is of no use; reading the whole log"
    );
    if files.exists(&path) {
        files.remove_file(&path)?;
    }
    Ok(SnapshotUse::Refused(refusal))
}

/// The segments to replay.
struct Sources {
    all: Vec<Source>,
    /// Whether there is a log of late samples.
    has_late: bool,
    /// Number of the first and last segment of the log.
    first: u64,
    last: u64,
    /// How much there is to read.
    bytes: u64,
}

impl Sources {
    fn find(files: &dyn Files, dir: &Path, checkpoint: Option<u64>, loaded: Option<&Loaded>) -> Result<Self> {
        let (wal, wbl) = (dir.join(Head::WAL_DIR), dir.join(Head::WBL_DIR));
        let mut all = Vec::new();
        let late = log_sources(files, &wbl, None, u64::MAX)?;
        let positions = [
            (
                log_sources(files, &wal, checkpoint, u64::MAX)?,
                &wal,
                loaded.map(|l| l.state.wal),
                false,
            ),
            (late.clone(), &wbl, loaded.and_then(|l| l.state.wbl), true),
        ];
        let mut bytes = 0;
        for (paths, dir, position, late) in positions {
            for path in paths {
                let from = match position {
                    // What the checkpoint stands for is before every position.
                    Some(_) if path.parent() != Some(dir) => continue,
                    Some(p) => match path.cmp(&segment_path(dir, p.segment)) {
                        std::cmp::Ordering::Less => continue,
                        std::cmp::Ordering::Equal => p.offset,
                        std::cmp::Ordering::Greater => 0,
                    },
                    None => 0,
                };
                bytes += files.len(&path)?.saturating_sub(from);
                all.push(Source { path, from, late });
            }
        }
        let number = |source: &Source| source.path.file_name()?.to_str()?.parse().ok();
        let numbers = all
            .iter()
            .filter(|s| !s.late && s.path.parent() == Some(&wal))
            .filter_map(number);
        let (first, last) = numbers.fold((u64::MAX, 0), |(a, b): (u64, u64), n: u64| (a.min(n), b.max(n)));
        Ok(Sources {
            all,
            has_late: !late.is_empty(),
            first: first.min(last),
            last,
            bytes,
        })
    }
}
