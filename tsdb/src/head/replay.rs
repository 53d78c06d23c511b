//! Opening a head: chunk files, checkpoint, log, log of late samples.
//!
//! Samples that a mapped chunk holds are not decoded again. Damage costs what is damaged and no more: a segment is cut
//! behind its last whole record and the next one is read; whatever refers to a series whose record is lost is counted.
//! References are never given out twice, because the highest one seen anywhere counts, lost records or not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Release;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use model::clock::Clock;
use model::labels::Labels;
use model::sample::Exemplar;
use model::storage::SeriesRef;
use parking_lot::{Mutex, RwLock};

use super::chunk_files::{ChunkFileDamage, ChunkFiles, FoundChunk, MappedChunk};
use super::exemplars::ExemplarRing;
use super::index::Index;
use super::isolation::Isolation;
use super::ooo::{Late, LateValue};
use super::pages::{PAGE_SERIES, Page, Pages, page_of};
use super::replay_batch::Batch;
use super::series::Series;
use super::{Head, HeadCounters, HeadOptions, open_wbl};
use crate::columns::add_range;
use crate::files::{Files, Result};
use crate::wal::{
    FloatEntry, RecordError, RecordType, SegmentReader, Wal, decode_exemplars, decode_floats,
    decode_forgotten, decode_histograms, decode_markers, decode_metadata, decode_series, decode_tombstones,
    last_checkpoint, log_sources,
};

/// Damage found in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDamage {
    /// Which segment.
    pub path: PathBuf,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// Bytes that were cut off.
    pub lost_bytes: u64,
    /// What was wrong.
    pub what: String,
}

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
    /// Damaged log segments.
    pub damages: Vec<LogDamage>,
    /// Damage in the chunk files; what was lost there was read from the log.
    pub chunk_damage: Option<ChunkFileDamage>,
    /// How long it took.
    pub duration: Duration,
}

struct Replay<'a> {
    head: &'a Head,
    min_valid_ms: i64,
    /// In-order chunks found on disk, by series.
    found: HashMap<u64, Vec<MappedChunk>>,
    /// Late chunks found on disk, by their reference, with their series.
    found_late: BTreeMap<u64, (u64, MappedChunk)>,
    /// Late chunks up to this reference are in blocks, unless they are marked.
    forgotten: u64,
    /// Late chunks that the late log has a marker for, behind the record of what was forgotten.
    marked: HashSet<u64>,
    /// References of second records, with the reference that the series has.
    aliases: HashMap<u64, u64>,
    highest: u64,
    /// Newest in-order timestamp so far.
    max_ms: i64,
    /// The same before the transaction at hand: what its samples were admitted by.
    admitted_by_ms: i64,
    /// Place of the last record of samples among those of a transaction.
    rank: u8,
    /// Whether there is a late log: then samples of the log that were late when they were logged are passed over.
    has_late_log: bool,
    unknown: HashSet<u64>,
    report: ReplayReport,
    batch: Batch,
    buffers: Buffers,
}

#[derive(Default)]
struct Buffers {
    floats: Vec<FloatEntry>,
    histograms: Vec<crate::wal::HistogramEntry>,
    page: Option<(u64, Arc<Page>)>,
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
        let mut found: HashMap<u64, Vec<MappedChunk>> = HashMap::new();
        let mut found_late = BTreeMap::new();
        let mut mapped_chunks = 0;
        let each = |chunk: FoundChunk| {
            if chunk.out_of_order {
                found_late.insert(chunk.meta.chunk, (chunk.series, chunk.meta));
            } else if chunk.meta.max_ms >= min_valid_ms {
                found.entry(chunk.series).or_default().push(chunk.meta);
            }
            mapped_chunks += 1;
        };
        let (chunk_files, chunk_damage) =
            ChunkFiles::open(Arc::clone(&files), &dir.join(Self::CHUNKS_DIR), each)?;
        let wal_dir = dir.join(Self::WAL_DIR);
        let checkpoint = last_checkpoint(&*files, &wal_dir)?;
        let sources = log_sources(&*files, &wal_dir, checkpoint, u64::MAX)?;
        let wbl_dir = dir.join(Self::WBL_DIR);
        let late_sources = log_sources(&*files, &wbl_dir, None, u64::MAX)?;
        let head = Head::empty(&files, dir, options, clock, min_valid_ms, chunk_files, checkpoint)?;
        let mut replay = Replay {
            head: &head,
            min_valid_ms,
            found,
            found_late,
            forgotten: 0,
            marked: HashSet::new(),
            aliases: HashMap::new(),
            highest: 0,
            max_ms: i64::MIN,
            admitted_by_ms: i64::MIN,
            rank: 0,
            has_late_log: !late_sources.is_empty(),
            unknown: HashSet::new(),
            report: ReplayReport {
                chunk_damage,
                mapped_chunks,
                ..ReplayReport::default()
            },
            batch: Batch::new(),
            buffers: Buffers::default(),
        };
        for path in &sources {
            replay.segment(&*files, path, false)?;
        }
        replay.flush();
        for path in &late_sources {
            replay.segment(&*files, path, true)?;
        }
        if files.exists(&wbl_dir) || head.options.out_of_order_window_ms > 0 {
            let wbl = open_wbl(&files, dir, &head.options)?;
            let _ = head.wbl.set(wbl);
        }
        let mut report = replay.finish();
        head.settle(min_valid_ms)?;
        report.series = head.series_len() as u64;
        report.duration = started.elapsed();
        Ok((head, report))
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
            wal,
            wbl: OnceLock::new(),
            fresh_series: Mutex::default(),
            has_fresh_series: AtomicBool::new(false),
            exemplars: Mutex::new(ExemplarRing::new(options.exemplars_max)),
            tombstones: RwLock::default(),
            min_ms: AtomicI64::new(i64::MAX),
            max_ms: AtomicI64::new(i64::MIN),
            late_min_ms: AtomicI64::new(i64::MAX),
            late_max_ms: AtomicI64::new(i64::MIN),
            min_valid_ms: AtomicI64::new(min_valid_ms),
            out_of_order_window_ms: AtomicI64::new(options.out_of_order_window_ms),
            series_max: AtomicUsize::new(options.series_max),
            wal_keep: Mutex::default(),
            wal_truncated_ms: AtomicI64::new(i64::MIN),
            scratch: Mutex::default(),
            poisoned: OnceLock::new(),
            counters: HeadCounters::default(),
            options,
        })
    }

    /// Removes what replay has brought up and blocks hold already, and sets the head's range to what there is.
    fn settle(&self, min_valid_ms: i64) -> Result<()> {
        let join = |all: &mut (i64, i64), (a, b): (i64, i64)| *all = (all.0.min(a), all.1.max(b));
        let (mut in_order, mut late) = ((i64::MAX, i64::MIN), (i64::MAX, i64::MIN));
        for (number, page) in self.pages.all() {
            for series in page.lock().iter_mut() {
                let reference = number * PAGE_SERIES + u64::from(series.low);
                series.catch_up(&self.chunk_files, reference, i64::MAX);
                series.truncate(min_valid_ms);
                if let Some(range) = series.in_order_range() {
                    join(&mut in_order, range);
                }
                if let Some(range) = series.late_mut().and_then(|o| o.range()) {
                    join(&mut late, range);
                }
            }
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

impl Replay<'_> {
    fn segment(&mut self, files: &dyn Files, path: &Path, late: bool) -> Result<()> {
        self.report.segments += 1;
        let damage = {
            let bytes = files.map(path)?;
            let mut reader = SegmentReader::new(&bytes);
            loop {
                let at = reader.good_bytes();
                let (offset, what) = match reader.read() {
                    Ok(None) => break None,
                    Ok(Some(record)) => match self.record(record, late) {
                        Ok(()) => continue,
                        Err(error) => (at, error.to_string()),
                    },
                    Err(damage) => (damage.good_bytes, damage.what.to_owned()),
                };
                break Some(LogDamage {
                    path: path.to_owned(),
                    offset,
                    lost_bytes: bytes.len() as u64 - offset,
                    what,
                });
            }
        };
        if let Some(damage) = damage {
            tracing::warn!(
                path = %damage.path.display(),
                offset = damage.offset,
                lost_bytes = damage.lost_bytes,
                what = damage.what,
                "damaged log segment was cut; reading goes on behind it"
            );
            files.truncate(path, damage.offset)?;
            self.report.damages.push(damage);
        }
        Ok(())
    }

    fn record(&mut self, record: &[u8], late: bool) -> std::result::Result<(), RecordError> {
        self.report.records += 1;
        let Some(kind) = RecordType::of(record) else {
            match decode_forgotten(record) {
                Some(chunk) if late => {
                    self.forgotten = chunk;
                    self.marked.retain(|marked| *marked > chunk);
                }
                _ => self.report.skipped_records += 1,
            }
            return Ok(());
        };
        match kind {
            RecordType::Series => self.series(record),
            RecordType::Samples | RecordType::SamplesWithStart => self.floats(record, late),
            RecordType::Tombstones => self.tombstones(record, late),
            RecordType::Exemplars => self.exemplars(record),
            RecordType::MmapMarkers => self.markers(record),
            RecordType::Metadata => self.metadata(record),
            RecordType::Histograms
            | RecordType::FloatHistograms
            | RecordType::CustomHistograms
            | RecordType::CustomFloatHistograms
            | RecordType::HistogramsWithStart
            | RecordType::FloatHistogramsWithStart => self.histograms(record, late),
        }
    }

    fn series(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        let mut all = Vec::new();
        decode_series(record, |reference, pairs| {
            all.push((reference, Labels::from_pairs(pairs.iter().copied())));
        })?;
        let head = self.head;
        for (reference, labels) in all {
            self.highest = self.highest.max(reference);
            let hash = labels.hash64();
            let mut index = head.index.write();
            if index.len() == 0 && reference > u64::from(u32::MAX / 2) {
                // Old stores have used up the first billions of references.
                *index = Index::new(reference - u64::from(u32::MAX / 2));
            }
            let known = index.find(hash, &labels);
            let target = known.unwrap_or(reference);
            if known.is_none() && !index.insert(reference, hash, &labels) {
                self.report.skipped_records += 1;
                continue;
            }
            drop(index);
            if known.is_some_and(|known| known != reference) {
                self.aliases.insert(reference, target);
                self.report.duplicate_series += 1;
            }
            let page = head.pages.get_or_create(page_of(target));
            let mut page = page.lock();
            page.insert(target);
            if let Some(found) = self.found.remove(&reference)
                && let Some(series) = page.get(target)
            {
                series.await_chunks(found);
            }
        }
        Ok(())
    }

    /// The reference under which a series is known; samples of a second record keep that record in the log.
    fn target(&mut self, reference: u64, until_ms: i64) -> u64 {
        self.highest = self.highest.max(reference);
        if self.aliases.is_empty() {
            return reference;
        }
        let Some(target) = self.aliases.get(&reference) else {
            return reference;
        };
        let mut keep = self.head.wal_keep.lock();
        let until = keep.entry(reference).or_insert(until_ms);
        *until = until_ms.max(*until);
        *target
    }

    /// Runs `apply` on a series; counts the entry where there is no such series.
    fn with_series(&mut self, reference: u64, apply: impl FnOnce(&Head, &mut Series)) {
        let number = page_of(reference);
        if self.buffers.page.as_ref().is_none_or(|(n, _)| *n != number) {
            self.buffers.page = self.head.pages.get(number).map(|page| (number, page));
        }
        if let Some((_, page)) = &self.buffers.page
            && let Some(series) = page.lock().get(reference)
        {
            apply(self.head, series);
            return;
        }
        self.unknown.insert(reference);
        self.report.unknown_entries += 1;
    }

    /// What is older than this was not taken in order when the record was written. Such samples stand in the log as well
    /// as in the late log; some would fit at the end of their series now, and could bring back what was deleted since.
    fn in_order_from_ms(&mut self, kind: u8) -> i64 {
        if !self.has_late_log {
            return self.min_valid_ms;
        }
        // Records of a transaction come in this order; where it is broken, another transaction begins.
        let rank = [2, 11, 7, 9, 12, 8, 10, 13]
            .iter()
            .position(|k| *k == kind)
            .unwrap_or(0) as u8;
        if rank <= self.rank {
            self.admitted_by_ms = self.max_ms;
        }
        self.rank = rank;
        let recent = self
            .admitted_by_ms
            .saturating_sub(self.head.options.chunk_range_ms / 2);
        recent.max(self.min_valid_ms)
    }

    /// Applies the floats that have gathered, before anything that depends on them.
    fn flush(&mut self) {
        let unknown = self.batch.flush(self.head);
        self.unknown.extend(unknown.series);
        self.report.unknown_entries += unknown.entries;
    }

    fn floats(&mut self, record: &[u8], late: bool) -> std::result::Result<(), RecordError> {
        let mut entries = std::mem::take(&mut self.buffers.floats);
        entries.clear();
        let decoded = decode_floats(record, &mut entries);
        let from_ms = self.in_order_from_ms(record[0]);
        for entry in &entries {
            let reference = self.target(entry.series, entry.timestamp_ms);
            if late {
                self.late(
                    reference,
                    entry.start_ms,
                    entry.timestamp_ms,
                    LateValue::Float(entry.value),
                );
            } else if entry.timestamp_ms >= from_ms {
                self.max_ms = self.max_ms.max(entry.timestamp_ms);
                self.batch.push(FloatEntry {
                    series: reference,
                    ..*entry
                });
            }
        }
        if self.batch.is_full() {
            self.flush();
        }
        self.report.samples += entries.len() as u64;
        self.buffers.floats = entries;
        decoded
    }

    fn histograms(&mut self, record: &[u8], late: bool) -> std::result::Result<(), RecordError> {
        self.flush();
        let mut entries = std::mem::take(&mut self.buffers.histograms);
        entries.clear();
        let decoded = decode_histograms(record, &mut entries);
        let from_ms = self.in_order_from_ms(record[0]);
        for entry in &entries {
            let reference = self.target(entry.series, entry.timestamp_ms);
            if late {
                let value = LateValue::Histogram(entry.histogram.clone());
                self.late(reference, entry.start_ms, entry.timestamp_ms, value);
            } else if entry.timestamp_ms >= from_ms {
                self.max_ms = self.max_ms.max(entry.timestamp_ms);
                self.with_series(reference, |head, series| {
                    let sample = (entry.start_ms, entry.timestamp_ms, &entry.histogram);
                    series.catch_up(&head.chunk_files, reference, entry.timestamp_ms);
                    series.append_histogram(head.rules(), None, reference, sample);
                });
            }
        }
        self.report.samples += entries.len() as u64;
        entries.clear();
        self.buffers.histograms = entries;
        self.report.skipped_records += decoded?;
        Ok(())
    }

    fn late(&mut self, reference: u64, start_ms: i64, timestamp_ms: i64, value: LateValue) {
        let sample = Late {
            start_ms,
            timestamp_ms,
            value,
        };
        self.report.late_samples += 1;
        self.with_series(reference, |head, series| {
            let ooo = series.rest_mut().ooo.get_or_insert_default();
            ooo.insert(head.rules(), reference, head.options.out_of_order_cap, sample);
        });
    }

    /// Late samples in front of a marker are in its chunk, if that has reached the disk.
    fn markers(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        let mut entries = Vec::new();
        decode_markers(record, &mut entries)?;
        for entry in entries {
            if self
                .found_late
                .get(&entry.chunk)
                .is_some_and(|(owner, _)| *owner == entry.series)
            {
                self.marked.insert(entry.chunk);
                let reference = self.target(entry.series, i64::MIN);
                self.with_series(reference, |_, series| {
                    if let Some(ooo) = series.late_mut() {
                        ooo.open.clear();
                    }
                });
            }
        }
        Ok(())
    }

    fn tombstones(&mut self, record: &[u8], late: bool) -> std::result::Result<(), RecordError> {
        self.flush();
        let mut entries = Vec::new();
        decode_tombstones(record, &mut entries)?;
        for entry in entries {
            let reference = self.target(entry.series, entry.max_ms);
            if (entry.min_ms, entry.max_ms) == (i64::MIN, i64::MAX) {
                // Compat: a range over all of time means that the reference removed the series from its head here.
                self.remove(reference);
            } else if late || entry.max_ms >= self.min_valid_ms {
                // Compat: the reference passes over deletions in the log that concern nothing but late samples; ours stand
                // in the late log too, which it does not read them from.
                self.with_series(reference, |head, _| {
                    let mut tombstones = head.tombstones.write();
                    add_range(
                        tombstones.entry(reference).or_default(),
                        (entry.min_ms, entry.max_ms),
                    );
                });
            }
        }
        Ok(())
    }

    fn remove(&mut self, reference: u64) {
        if let Some(page) = self.head.pages.get(page_of(reference)) {
            page.lock().retain(|s| s.low != reference as u8);
            self.head.index.write().remove(&[reference]);
        }
    }

    fn exemplars(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        let mut entries = Vec::new();
        decode_exemplars(record, &mut entries)?;
        for entry in entries {
            if entry.timestamp_ms < self.min_valid_ms {
                continue;
            }
            let reference = self.target(entry.series, entry.timestamp_ms);
            let exemplar = Exemplar {
                labels: entry.labels,
                value: entry.value,
                timestamp_ms: Some(entry.timestamp_ms),
            };
            self.with_series(reference, |head, _| {
                let index = head.index.read();
                let mut ring = head.exemplars.lock();
                if ring.check(reference, &exemplar, entry.timestamp_ms).is_ok() {
                    ring.add(reference, &exemplar, entry.timestamp_ms, || {
                        index
                            .index_of(reference)
                            .map_or_else(Labels::empty, |i| index.labels(i))
                    });
                }
            });
        }
        Ok(())
    }

    fn metadata(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        let mut entries = Vec::new();
        decode_metadata(record, &mut entries)?;
        for (reference, metadata) in entries {
            let reference = self.target(reference, i64::MIN);
            self.with_series(reference, |_, series| {
                series.rest_mut().metadata = Some(Box::new(metadata));
            });
        }
        Ok(())
    }

    fn finish(mut self) -> ReplayReport {
        let late = self.found_late.values().map(|(series, _)| *series);
        let next = late
            .chain(self.found.keys().copied())
            .fold(self.highest, u64::max)
            + 1;
        self.head.next_reference.store(next, Release);
        for (chunk, (series, meta)) in std::mem::take(&mut self.found_late) {
            let reference = self.target(series, i64::MIN);
            let counts = chunk > self.forgotten || self.marked.contains(&chunk);
            if counts && self.head.knows(SeriesRef(reference)) {
                self.with_series(reference, |_, series| {
                    series.rest_mut().ooo.get_or_insert_default().mapped.push(meta);
                });
            }
        }
        self.report.unknown_series = self.unknown.len() as u64;
        if self.report.unknown_entries > 0 {
            tracing::warn!(
                series = self.report.unknown_series,
                entries = self.report.unknown_entries,
                "the log refers to series that it does not describe"
            );
        }
        self.report
    }
}
