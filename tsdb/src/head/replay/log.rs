//! What the records of the logs do to a head that is being opened.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;

use model::labels::Labels;
use model::sample::Exemplar;
use model::storage::{SeriesRef, StorageError};

use super::super::chunk_files::MappedChunk;
use super::super::index::Index;
use super::super::ooo::{Late, LateValue};
use super::super::pages::{Page, page_of};
use super::super::series::Series;
use super::super::snapshot::State;
use super::segments::{Content, Event, ReadAhead, Record};
use super::shards::{Sample, Shards, Unknown, Value};
use super::{Found, ReplayReport};
use crate::columns::add_range;
use crate::head::Head;
use crate::wal::{
    ExemplarEntry, FloatEntry, HistogramEntry, LogDamage, REFERENCE_MAX, RecordError, RecordType,
    TombstoneEntry, decode_exemplars, decode_forgotten, decode_markers, decode_metadata, decode_tombstones,
};
use files::Result;

/// Records between two looks at the clock and at the wish to stop.
const RECORDS_BETWEEN_LOOKS: u64 = 1 << 12;

/// A replay under way.
pub(super) struct Replay<'a> {
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
    page: Option<(u64, Arc<Page>)>,
    segment: Segment,
}

/// The segment that is being replayed.
#[derive(Default)]
struct Segment {
    path: PathBuf,
    late: bool,
    len: u64,
    /// Bytes behind which it is read.
    from: u64,
    /// Where and why it is cut: a record in it is damaged, and what follows counts for nothing.
    cut: Option<(u64, String)>,
}

impl<'a> Replay<'a> {
    /// A replay of a whole log.
    pub(super) fn new(
        head: &'a Head,
        min_valid_ms: i64,
        found: Found,
        has_late_log: bool,
        report: ReplayReport,
    ) -> Self {
        Replay {
            head,
            min_valid_ms,
            found: found.in_order,
            found_late: found.late,
            forgotten: 0,
            marked: HashSet::new(),
            aliases: HashMap::new(),
            highest: 0,
            max_ms: i64::MIN,
            admitted_by_ms: i64::MIN,
            rank: 0,
            has_late_log,
            unknown: HashSet::new(),
            report,
            page: None,
            segment: Segment::default(),
        }
    }

    /// Makes it a replay of what is behind a snapshot, from which the head has its series already.
    pub(super) fn go_on_from(&mut self, state: &State, aliases: HashMap<u64, u64>) {
        self.highest = state.next_reference.clamp(1, REFERENCE_MAX) - 1;
        self.max_ms = state.max_ms;
        self.admitted_by_ms = state.max_ms;
        self.aliases = aliases;
        let head = self.head;
        self.found.retain(|reference, chunks| {
            let Some(page) = head.pages.get(page_of(*reference)) else {
                return true;
            };
            let mut page = page.lock();
            match page.get(*reference) {
                Some(mut series) => series.rejoin(std::mem::take(chunks)),
                None => return true,
            }
            false
        });
    }

    /// Replays everything that is read ahead.
    ///
    /// # Errors
    /// When a segment cannot be read or cut, or whoever opens the head has changed its mind.
    pub(super) fn run(&mut self, events: &ReadAhead, shards: &mut Shards<'_>) -> Result<()> {
        let progress = Arc::clone(&self.head.options.progress);
        while let Some(event) = events.next() {
            match event {
                Event::Segment(source, len) => {
                    self.report.segments += 1;
                    if source.late && !self.segment.late {
                        shards.settle();
                    }
                    progress.enter(&source.path);
                    self.segment = Segment {
                        path: source.path,
                        late: source.late,
                        len,
                        from: source.from,
                        cut: None,
                    };
                }
                Event::Record(record) => {
                    if self.segment.cut.is_none() {
                        self.record(record, events, shards);
                        if self.report.records.is_multiple_of(RECORDS_BETWEEN_LOOKS)
                            && progress.is_cancelled()
                        {
                            return Err(StorageError::Closed);
                        }
                    }
                }
                Event::End(damage) => {
                    progress.advance(self.segment.len - self.segment.from.min(self.segment.len));
                    self.end_segment(damage)?;
                }
                Event::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn end_segment(&mut self, damage: Option<(u64, &'static str)>) -> Result<()> {
        let segment = std::mem::take(&mut self.segment);
        let cut = segment
            .cut
            .or(damage.map(|(offset, what)| (offset, what.to_owned())));
        self.segment.late = segment.late;
        let Some((offset, what)) = cut else {
            return Ok(());
        };
        let damage = LogDamage {
            lost_bytes: segment.len - offset,
            path: segment.path,
            offset,
            what,
        };
        tracing::warn!(
            path = %damage.path.display(),
            offset = damage.offset,
            lost_bytes = damage.lost_bytes,
            what = damage.what,
            "damaged log segment was cut; reading goes on behind it"
        );
        self.head.files.truncate(&damage.path, damage.offset)?;
        self.report.damages.push(damage);
        Ok(())
    }

    fn record(&mut self, record: Record, events: &ReadAhead, shards: &mut Shards<'_>) {
        self.report.records += 1;
        let late = self.segment.late;
        let applied = match record.content {
            Content::Series(series) => {
                if record.error.is_none() {
                    self.series(series, shards);
                }
                Ok(())
            }
            Content::Floats(entries) => {
                self.floats(record.kind, &entries, shards);
                events.give_back(entries);
                Ok(())
            }
            Content::Histograms(entries, skipped) => {
                self.histograms(record.kind, entries, shards);
                self.report.skipped_records += skipped;
                Ok(())
            }
            Content::Other(bytes) => self.other(&bytes, late, shards),
        };
        if let Some(error) = record.error.or(applied.err()) {
            self.segment.cut = Some((record.offset, error.to_string()));
        }
    }

    fn other(
        &mut self,
        record: &[u8],
        late: bool,
        shards: &mut Shards<'_>,
    ) -> std::result::Result<(), RecordError> {
        match RecordType::of(record) {
            Some(RecordType::Tombstones) => {
                shards.settle();
                let mut entries = Vec::new();
                decode_tombstones(record, &mut entries)?;
                self.tombstones(&entries, late);
            }
            Some(RecordType::Exemplars) => {
                let mut entries = Vec::new();
                decode_exemplars(record, &mut entries)?;
                self.exemplars(entries);
            }
            Some(RecordType::MmapMarkers) => self.markers(record)?,
            Some(RecordType::Metadata) => self.metadata(record)?,
            _ => match decode_forgotten(record) {
                Some(chunk) if late => {
                    self.forgotten = chunk;
                    self.marked.retain(|marked| *marked > chunk);
                }
                _ => self.report.skipped_records += 1,
            },
        }
        Ok(())
    }

    fn series(&mut self, all: Vec<(u64, u64, Labels)>, shards: &mut Shards<'_>) {
        let head = self.head;
        for (reference, hash, labels) in all {
            if reference >= REFERENCE_MAX {
                self.report.skipped_records += 1;
                continue;
            }
            self.highest = self.highest.max(reference);
            let mut index = head.index.write();
            if index.len() == 0 && reference > u64::from(u32::MAX / 2) {
                // Old stores have used up the first billions of references.
                *index = Index::new(reference - u64::from(u32::MAX / 2));
            }
            let known = index.find(hash, labels.packed());
            let target = known.unwrap_or(reference);
            if known.is_none() && !index.insert(reference, hash, &labels) {
                self.report.skipped_records += 1;
                continue;
            }
            drop(index);
            let found = self.found.remove(&reference);
            if known.is_some_and(|known| known != reference) {
                self.aliases.insert(reference, target);
                self.report.duplicate_series += 1;
                if found.is_some() {
                    // The series has samples under way that are older than these chunks.
                    shards.settle();
                }
            }
            let page = head.pages.get_or_create(page_of(target));
            let mut page = page.lock();
            page.insert(target);
            if let Some(found) = found
                && let Some(mut series) = page.get(target)
            {
                series.await_chunks(found);
            }
        }
    }

    /// The reference under which a series is known; samples of a second record keep that record in the log.
    fn target(&mut self, reference: u64, until_ms: i64) -> u64 {
        if reference < REFERENCE_MAX {
            self.highest = self.highest.max(reference);
        }
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
    fn with_series(&mut self, reference: u64, apply: impl FnOnce(&Head, &mut Series<'_>)) {
        let number = page_of(reference);
        if self.page.as_ref().is_none_or(|(n, _)| *n != number) {
            self.page = self.head.pages.get(number).map(|page| (number, page));
        }
        if let Some((_, page)) = &self.page
            && let Some(mut series) = page.lock().get(reference)
        {
            apply(self.head, &mut series);
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

    fn floats(&mut self, kind: u8, entries: &[FloatEntry], shards: &mut Shards<'_>) {
        let from_ms = self.in_order_from_ms(kind);
        for entry in entries {
            let series = self.target(entry.series, entry.timestamp_ms);
            if self.segment.late {
                let value = LateValue::Float(entry.value);
                self.late(series, entry.start_ms, entry.timestamp_ms, value);
            } else if entry.timestamp_ms >= from_ms {
                self.max_ms = self.max_ms.max(entry.timestamp_ms);
                shards.push(Sample {
                    series,
                    start_ms: entry.start_ms,
                    timestamp_ms: entry.timestamp_ms,
                    value: Value::Float(entry.value),
                });
            }
        }
        self.report.samples += entries.len() as u64;
    }

    fn histograms(&mut self, kind: u8, entries: Vec<HistogramEntry>, shards: &mut Shards<'_>) {
        let from_ms = self.in_order_from_ms(kind);
        self.report.samples += entries.len() as u64;
        for entry in entries {
            let series = self.target(entry.series, entry.timestamp_ms);
            if self.segment.late {
                let value = LateValue::Histogram(entry.histogram);
                self.late(series, entry.start_ms, entry.timestamp_ms, value);
            } else if entry.timestamp_ms >= from_ms {
                self.max_ms = self.max_ms.max(entry.timestamp_ms);
                shards.push(Sample {
                    series,
                    start_ms: entry.start_ms,
                    timestamp_ms: entry.timestamp_ms,
                    value: Value::Histogram(Box::new(entry.histogram)),
                });
            }
        }
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

    /// Late samples in front of a marker are in its chunk, if that has reached the disk. A list that became several chunks
    /// has a marker for each, and each has its own part of the time.
    fn markers(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        let mut entries = Vec::new();
        decode_markers(record, &mut entries)?;
        for entry in entries {
            let found = self.found_late.get(&entry.chunk);
            let Some((_, chunk)) = found.filter(|(owner, _)| *owner == entry.series) else {
                continue;
            };
            let in_chunk = chunk.min_ms..=chunk.max_ms;
            self.marked.insert(entry.chunk);
            let reference = self.target(entry.series, i64::MIN);
            self.with_series(reference, |_, series| {
                if let Some(ooo) = series.late_mut() {
                    ooo.open.retain(|late| !in_chunk.contains(&late.timestamp_ms));
                }
            });
        }
        Ok(())
    }

    /// Notes deletions.
    pub(super) fn tombstones(&mut self, entries: &[TombstoneEntry], late: bool) {
        for entry in entries {
            let reference = self.target(entry.series, entry.max_ms);
            if (entry.min_ms, entry.max_ms) == (i64::MIN, i64::MAX) {
                // Compat: a range over all of time means that the reference removed the series from its head here
                // (tests/it/stale.rs, stale_series_leave_the_head_and_stay_readable).
                self.remove(reference);
            } else if late || entry.max_ms >= self.min_valid_ms {
                // Compat: the reference passes over deletions in the log that concern nothing but late samples; ours stand
                // in the late log too, which it does not read them from (tests/it/model_test, late_samples_are_told_too).
                self.with_series(reference, |head, _| {
                    let mut tombstones = head.tombstones.write();
                    add_range(
                        tombstones.entry(reference).or_default(),
                        (entry.min_ms, entry.max_ms),
                    );
                });
            }
        }
    }

    fn remove(&mut self, reference: u64) {
        if let Some(page) = self.head.pages.get(page_of(reference)) {
            page.lock().retain(|s| s.low() != reference as u8);
            self.head.index.write().remove(&[reference]);
        }
    }

    /// Takes exemplars in.
    pub(super) fn exemplars(&mut self, entries: Vec<ExemplarEntry>) {
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
                let window_ms = head.options.out_of_order_window_ms;
                let index = head.index.read();
                let mut ring = head.exemplars.lock();
                // What was refused at the time is refused again.
                let _ = ring.add(reference, &exemplar, entry.timestamp_ms, window_ms, || {
                    let place = index.index_of(reference);
                    place.map_or_else(Labels::empty, |i| index.labels(i))
                });
            });
        }
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

    /// Takes in the late chunks that count, and tells what was found.
    pub(super) fn finish(mut self, unknown: Unknown) -> ReplayReport {
        self.unknown.extend(unknown.series);
        self.report.unknown_entries += unknown.entries;
        let late = self.found_late.values().map(|(series, _)| *series);
        let of_chunks = late.chain(self.found.keys().copied());
        let possible = of_chunks.filter(|reference| *reference < REFERENCE_MAX);
        let next = possible.fold(self.highest, u64::max) + 1;
        self.head.next_reference.store(next, Release);
        for (chunk, (series, meta)) in std::mem::take(&mut self.found_late) {
            let reference = self.target(series, i64::MIN);
            let counts = chunk > self.forgotten || self.marked.contains(&chunk);
            if counts && self.head.knows(SeriesRef(reference)) {
                self.with_series(reference, |_, series| {
                    let mapped = &mut series.rest_mut().ooo.get_or_insert_default().mapped;
                    // A snapshot may have it already.
                    if !mapped.iter().any(|c| c.chunk == chunk) {
                        mapped.push(meta);
                    }
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
        *self.head.aliases.lock() = self.aliases;
        self.report
    }
}
