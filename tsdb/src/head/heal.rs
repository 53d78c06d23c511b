//! Healing full chunks: what a damaged chunk file held is read from the logs again and written anew.
//!
//! The logs have every sample of the head, so a chunk that cannot be read costs nothing but the reading of them. Whoever
//! reads a damaged chunk fails and leaves a note ([`ChunkFiles::is_damaged`](super::chunk_files::ChunkFiles::is_damaged));
//! the next round of compaction looks at every full chunk, reads the logs once and puts new chunks in the places of those
//! that cannot be read. Queries go on meanwhile. What the logs do not have either is left out, counted and said.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use model::columns::Columns;
use model::storage::TimeRange;

use super::Head;
use super::chunk_files::{ChunkBytes, MappedChunk};
use super::ooo::{Late, LateValue, OutOfOrder};
use super::pages::{PAGE_SERIES, page_of};
use crate::chunk::{EncodeOptions, encode};
use crate::wal::{
    FloatEntry, HistogramEntry, RecordType, SegmentReader, decode_floats, decode_histograms, last_checkpoint,
    log_sources,
};
use files::Result;

/// Chunks that are read from the logs at a time. With 120 samples of 24 bytes each they take 200 MB; the logs are read
/// once more for every further so many.
const CHUNKS_AT_A_TIME: usize = 1 << 16;

/// What healing has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// Chunks that were read from the logs and written anew.
    pub chunks: u64,
    /// Chunks of which the logs had nothing: their samples are lost.
    pub lost: u64,
}

/// A chunk that cannot be read.
#[derive(Clone, Copy, Debug)]
struct Damaged {
    series: u64,
    late: bool,
    chunk: MappedChunk,
}

/// Damaged chunks of one log with what it has of them.
struct Wanted<'a> {
    head: &'a Head,
    late: bool,
    /// Places in `samples`, by series.
    of_series: HashMap<u64, Vec<usize>>,
    chunks: Vec<Damaged>,
    samples: Vec<BTreeMap<i64, Late>>,
}

impl Head {
    /// Whether a chunk was found damaged that was not healed yet.
    pub fn is_damaged(&self) -> bool {
        self.chunk_files.is_damaged()
    }

    /// Reads full chunks that cannot be read from the logs, and writes them anew.
    ///
    /// # Errors
    /// When the logs cannot be read; nothing has changed then.
    pub fn heal(&self) -> Result<Healed> {
        let mut healed = Healed::default();
        if !self.is_damaged() {
            return Ok(healed);
        }
        // While nobody removes samples, log segments or chunk files.
        let mut on_disk = self.on_disk.lock();
        self.chunk_files.leave_missing()?;
        let damaged = self.damaged_chunks();
        // The snapshot names them too. Removed first: a crash in between costs the next start some time.
        self.remove_snapshot(&mut on_disk)?;
        for late in [false, true] {
            let of_log: Vec<Damaged> = damaged.iter().filter(|d| d.late == late).copied().collect();
            for some in of_log.chunks(CHUNKS_AT_A_TIME) {
                let wanted = self.read_logs(late, some)?;
                wanted.put_back(&mut healed);
            }
        }
        self.chunk_files.note_healed();
        // What the logs did not have is gone.
        self.note_change(TimeRange::ALL);
        self.counters
            .chunks_healed
            .fetch_add(healed.chunks, Ordering::Relaxed);
        self.counters
            .chunks_lost
            .fetch_add(healed.lost, Ordering::Relaxed);
        tracing::warn!(
            chunks = healed.chunks,
            lost = healed.lost,
            "damaged head chunks were read from the log again"
        );
        Ok(healed)
    }

    /// Bytes of a full chunk of a series.
    ///
    /// # Errors
    /// When it is not there, damaged, or another one lies in its place.
    pub(super) fn read_chunk(&self, series: u64, chunk: &MappedChunk) -> Result<ChunkBytes> {
        let bytes = self.chunk_files.read(chunk)?;
        // A chunk may have been written under a second reference of its series.
        if bytes.series != series && self.aliases.lock().get(&bytes.series) != Some(&series) {
            return Err(self
                .chunk_files
                .damage(chunk.chunk, "another series' chunk lies here"));
        }
        Ok(bytes)
    }

    /// Looks at every full chunk.
    fn damaged_chunks(&self) -> Vec<Damaged> {
        let mut all = Vec::new();
        let mut damaged = Vec::new();
        for (number, page) in self.pages.all() {
            all.clear();
            page.lock().for_each(|series| {
                let reference = number * PAGE_SERIES + u64::from(series.low());
                let found = |late: bool| {
                    move |chunk| Damaged {
                        series: reference,
                        late,
                        chunk,
                    }
                };
                all.extend(series.mapped().map(found(false)));
                let late = series.late().map_or(&[][..], |late| &late.mapped);
                all.extend(late.iter().copied().map(found(true)));
            });
            let unreadable = |d: &&Damaged| {
                // The frame may be whole and what is in it not.
                self.read_chunk(d.series, &d.chunk).map_or(true, |bytes| {
                    let mut columns = Columns::default();
                    crate::chunk::decode(bytes.encoding, &bytes, i64::MIN, i64::MAX, &mut columns).is_err()
                })
            };
            damaged.extend(all.iter().filter(unreadable));
        }
        damaged
    }

    fn read_logs(&self, late: bool, chunks: &[Damaged]) -> Result<Wanted<'_>> {
        let mut wanted = Wanted {
            head: self,
            late,
            of_series: HashMap::new(),
            chunks: chunks.to_vec(),
            samples: chunks.iter().map(|_| BTreeMap::new()).collect(),
        };
        for (place, damaged) in chunks.iter().enumerate() {
            wanted.of_series.entry(damaged.series).or_default().push(place);
        }
        let paths: Vec<PathBuf> = match (late, self.wbl()) {
            (false, _) => {
                self.wal.flush()?;
                let checkpoint = last_checkpoint(&*self.files, self.wal.dir())?;
                log_sources(&*self.files, self.wal.dir(), checkpoint, u64::MAX)?
            }
            (true, Some(wbl)) => {
                wbl.flush()?;
                log_sources(&*self.files, wbl.dir(), None, u64::MAX)?
            }
            (true, None) => Vec::new(),
        };
        for path in paths {
            wanted.read_segment(&self.files.map(&path)?);
        }
        Ok(wanted)
    }
}

impl Wanted<'_> {
    /// Takes what a segment has of the chunks. Damage ends it, as it does in a start: the next segment may go on.
    fn read_segment(&mut self, segment: &[u8]) {
        let mut reader = SegmentReader::new(segment);
        let aliases = self.head.aliases.lock().clone();
        let (mut floats, mut histograms): (Vec<FloatEntry>, Vec<HistogramEntry>) = Default::default();
        while let Ok(Some(record)) = reader.read() {
            floats.clear();
            histograms.clear();
            // What stands before damage in a record counts.
            match RecordType::of(record) {
                Some(RecordType::Samples | RecordType::SamplesWithStart) => {
                    let _ = decode_floats(record, &mut floats);
                }
                Some(
                    RecordType::Histograms
                    | RecordType::FloatHistograms
                    | RecordType::CustomHistograms
                    | RecordType::CustomFloatHistograms
                    | RecordType::HistogramsWithStart
                    | RecordType::FloatHistogramsWithStart,
                ) => {
                    let _ = decode_histograms(record, &mut histograms);
                }
                _ => continue,
            }
            let target = |series: u64| aliases.get(&series).copied().unwrap_or(series);
            for entry in &floats {
                let value = || LateValue::Float(entry.value);
                self.take(target(entry.series), entry.start_ms, entry.timestamp_ms, value);
            }
            for entry in &histograms {
                let value = || LateValue::Histogram(entry.histogram.clone());
                self.take(target(entry.series), entry.start_ms, entry.timestamp_ms, value);
            }
        }
    }

    fn take(&mut self, series: u64, start_ms: i64, timestamp_ms: i64, value: impl Fn() -> LateValue) {
        for place in self.of_series.get(&series).map_or(&[][..], Vec::as_slice) {
            let chunk = self.chunks[*place].chunk;
            let samples = &mut self.samples[*place];
            if timestamp_ms < chunk.min_ms || timestamp_ms > chunk.max_ms {
                continue;
            }
            // The log has late samples among the others, which its own chunks have.
            let newer = samples
                .last_key_value()
                .is_none_or(|(last, _)| timestamp_ms > *last);
            if newer || (self.late && !samples.contains_key(&timestamp_ms)) {
                let sample = Late {
                    start_ms,
                    timestamp_ms,
                    value: value(),
                };
                samples.insert(timestamp_ms, sample);
            }
        }
    }

    /// Writes new chunks and puts them in the places of the damaged ones.
    fn put_back(self, healed: &mut Healed) {
        let mut fresh: HashMap<u64, Vec<(MappedChunk, Vec<MappedChunk>)>> = HashMap::new();
        let rules = self.head.rules();
        let options = EncodeOptions {
            floats: rules.floats,
            ..EncodeOptions::default()
        };
        for (damaged, samples) in self.chunks.iter().zip(self.samples) {
            let samples: Vec<Late> = samples.into_values().collect();
            let mut columns = Columns::default();
            OutOfOrder::read_open(&samples, i64::MIN, i64::MAX, &mut columns);
            let written: Vec<MappedChunk> = encode(&columns, &options)
                .iter()
                .map(|chunk| {
                    let times = (chunk.min_ms, chunk.max_ms);
                    let encoding = chunk.encoding as u8;
                    rules.files.write(
                        damaged.series,
                        times.0,
                        times.1,
                        encoding,
                        damaged.late,
                        &chunk.bytes,
                    )
                })
                .collect();
            match written.is_empty() {
                true => healed.lost += 1,
                false => healed.chunks += 1,
            }
            fresh
                .entry(damaged.series)
                .or_default()
                .push((damaged.chunk, written));
        }
        for (reference, changes) in fresh {
            let Some(page) = self.head.pages.get(page_of(reference)) else {
                continue;
            };
            let mut page = page.lock();
            let Some(mut series) = page.get(reference) else {
                continue;
            };
            let exchange = |chunk: MappedChunk| match changes.iter().find(|(old, _)| *old == chunk) {
                Some((_, new)) => new.clone(),
                None => vec![chunk],
            };
            match (self.late, series.late_mut()) {
                (false, _) => series.exchange_mapped(exchange),
                (true, Some(late)) => {
                    late.mapped = std::mem::take(&mut late.mapped)
                        .into_iter()
                        .flat_map(exchange)
                        .collect();
                }
                (true, None) => {}
            }
        }
    }
}
