//! Checkpoints: what is still needed of old segments, written as a small log of its own.
//!
//! `checkpoint.N` holds what segments up to N said of series that live on and of samples that are in no block yet. It is
//! written under a temporary name and renamed when it is whole, so there is never half of one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::labels::Labels;
use model::sample::Metadata;
use model::storage::StorageError;

use super::page::Compressor;
use super::record::{
    FloatEntry, HistogramEntry, RecordError, RecordType, begin, decode_exemplars, decode_floats,
    decode_histograms, decode_metadata, decode_series, decode_tombstones, encode_exemplars, encode_floats,
    encode_floats_with_start, encode_histograms, encode_metadata, encode_tombstones, put_series,
    times_of_floats,
};
use super::{Keep, SEGMENT_BYTES, SegmentReader, Wal, segment_path, segments};
use files::{Files, Result};

const PREFIX: &str = "checkpoint.";
const TEMPORARY: &str = ".tmp";
/// Series that share one record.
const SERIES_RECORD_BYTES: usize = 1 << 20;
/// What is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// What a checkpoint took over, and what it left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStats {
    /// Series records kept.
    pub series: u64,
    /// Series records dropped.
    pub series_dropped: u64,
    /// Samples kept, floats and histograms.
    pub samples: u64,
    /// Samples dropped.
    pub samples_dropped: u64,
}

/// Path of the checkpoint that stands for the segments up to number `segment`.
pub fn checkpoint_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{segment:08}"))
}

/// Number of the newest checkpoint in `dir`.
///
/// # Errors
/// When the folder cannot be listed.
pub fn last_checkpoint(files: &dyn Files, dir: &Path) -> Result<Option<u64>> {
    Ok(checkpoints(files, dir)?.last().copied())
}

fn checkpoints(files: &dyn Files, dir: &Path) -> Result<Vec<u64>> {
    if !files.exists(dir) {
        return Ok(Vec::new());
    }
    let mut numbers: Vec<u64> = files
        .list(dir)?
        .iter()
        .filter(|e| e.is_dir)
        .filter_map(|e| e.name.strip_prefix(PREFIX)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Writes the checkpoint that stands for the log's segments up to `last`, the previous checkpoint included, and then
/// removes what it replaces.
///
/// Kept are series for which `keep` holds, samples and exemplars from `min_ms` on, tombstones that reach `min_ms`, and the
/// newest metadata of each kept series.
///
/// # Errors
/// When the old segments are damaged or the disk refuses; the log is then as it was.
pub fn write_checkpoint(
    files: &Arc<dyn Files>,
    wal: &Wal,
    last: u64,
    min_ms: i64,
    keep: impl Fn(u64) -> bool,
) -> Result<CheckpointStats> {
    let dir = wal.dir();
    let previous = last_checkpoint(&**files, dir)?;
    let temporary = checkpoint_path(dir, last).with_extension(format!("{last:08}{TEMPORARY}"));
    remove_temporary(&**files, dir)?;
    let out = Wal::open(Arc::clone(files), &temporary, 0, SEGMENT_BYTES, wal.compression())?;
    let mut filter = Filter {
        keep,
        min_ms,
        out,
        compressor: Compressor::default(),
        record: Vec::new(),
        series: Vec::new(),
        metadata: HashMap::new(),
        stats: CheckpointStats::default(),
    };
    for path in log_sources(&**files, dir, previous, last)? {
        filter.segment(&**files, &path)?;
    }
    let stats = filter.finish()?;
    files.sync_dir(&temporary)?;
    files.rename(&temporary, &checkpoint_path(dir, last))?;
    files.sync_dir(dir)?;
    Ok(stats)
}

/// Removes the segments and the older checkpoints that checkpoint `last` stands for. What a crash leaves of them, the
/// next one removes.
///
/// # Errors
/// When the disk refuses: the files are superfluous all the same.
pub fn remove_superseded(files: &dyn Files, wal: &Wal, last: u64) -> Result<()> {
    wal.remove_before(last + 1)?;
    for old in checkpoints(files, wal.dir())? {
        if old < last {
            files.remove_dir_all(&checkpoint_path(wal.dir(), old))?;
        }
    }
    Ok(())
}

/// Removes what crashed checkpoints left.
fn remove_temporary(files: &dyn Files, dir: &Path) -> Result<()> {
    for entry in files.list(dir)? {
        if entry.is_dir && entry.name.starts_with(PREFIX) && entry.name.ends_with(TEMPORARY) {
            files.remove_dir_all(&dir.join(entry.name))?;
        }
    }
    Ok(())
}

/// Segments to read: those of the previous checkpoint, then those of the log behind it.
pub(crate) fn log_sources(
    files: &dyn Files,
    dir: &Path,
    checkpoint: Option<u64>,
    last: u64,
) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    if let Some(number) = checkpoint {
        let inside = checkpoint_path(dir, number);
        paths.extend(
            segments(files, &inside)?
                .into_iter()
                .map(|s| segment_path(&inside, s)),
        );
    }
    let behind = |s: &u64| checkpoint.is_none_or(|c| *s > c) && *s <= last;
    paths.extend(
        segments(files, dir)?
            .into_iter()
            .filter(behind)
            .map(|s| segment_path(dir, s)),
    );
    Ok(paths)
}

/// Segments that are missing: the first of a gap, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first segment that is not there.
    pub(crate) path: PathBuf,
    /// How many in a row.
    pub(crate) segments: u64,
}

/// The gaps in the log in `dir`: a checkpoint's segments count from 0, the log's from behind the checkpoint.
///
/// # Errors
/// When the folder cannot be listed.
pub(crate) fn gaps(files: &dyn Files, dir: &Path, checkpoint: Option<u64>) -> Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    if let Some(number) = checkpoint {
        let inside = checkpoint_path(dir, number);
        let numbers = segments(files, &inside)?;
        gaps_between(&inside, Some(0), &numbers, &mut gaps);
        if numbers.is_empty() {
            let path = segment_path(&inside, 0);
            gaps.push(Gap { path, segments: 1 });
        }
    }
    let mut numbers = segments(files, dir)?;
    numbers.retain(|number| checkpoint.is_none_or(|c| *number > c));
    gaps_between(dir, checkpoint.map(|c| c + 1), &numbers, &mut gaps);
    Ok(gaps)
}

fn gaps_between(dir: &Path, first: Option<u64>, numbers: &[u64], gaps: &mut Vec<Gap>) {
    let mut expected = first.or(numbers.first().copied()).unwrap_or(0);
    for number in numbers {
        if *number > expected {
            let path = segment_path(dir, expected);
            gaps.push(Gap {
                path,
                segments: number - expected,
            });
        }
        expected = number.saturating_add(1);
    }
}

struct Filter<K> {
    keep: K,
    min_ms: i64,
    out: Wal,
    compressor: Compressor,
    record: Vec<u8>,
    /// Series record under construction.
    series: Vec<u8>,
    metadata: HashMap<u64, Metadata>,
    stats: CheckpointStats,
}

impl<K: Fn(u64) -> bool> Filter<K> {
    fn segment(&mut self, files: &dyn Files, path: &Path) -> Result<()> {
        let bytes = files.map(path)?;
        let mut reader = SegmentReader::new(&bytes);
        loop {
            let at = reader.good_bytes();
            let corrupt = |offset: u64, what: String| StorageError::Corrupt {
                path: path.to_owned(),
                offset,
                what,
            };
            let whole = match reader.read() {
                Ok(Some(record)) => self.record(record).map_err(|e| corrupt(at, e.to_string()))?,
                Ok(None) => return Ok(()),
                Err(damage) => return Err(corrupt(damage.good_bytes, damage.what.to_owned())),
            };
            if whole {
                self.flush_series();
                let (compression, stored) = reader.stored();
                self.out.enqueue_stored(&mut self.compressor, compression, stored);
            }
            self.out.flush_from(WRITE_BYTES)?;
        }
    }

    /// Takes what is to be kept of a record; true where that is all of it, and it can be copied as it is stored.
    fn record(&mut self, record: &[u8]) -> std::result::Result<bool, RecordError> {
        let Some(kind) = RecordType::of(record) else {
            return Ok(false);
        };
        if kind == RecordType::Samples {
            return self.plain_floats(record);
        }
        self.part_of(record, kind).map(|()| false)
    }

    fn part_of(&mut self, record: &[u8], kind: RecordType) -> std::result::Result<(), RecordError> {
        match kind {
            RecordType::Series => self.series(record),
            RecordType::Samples | RecordType::SamplesWithStart => self.floats(record),
            RecordType::Tombstones => {
                let mut entries = Vec::new();
                decode_tombstones(record, &mut entries)?;
                entries.retain(|e| e.max_ms >= self.min_ms && (self.keep)(e.series));
                encode_tombstones(&mut self.record, entries.iter().copied());
                self.emit(entries.is_empty());
                Ok(())
            }
            RecordType::Exemplars => {
                let mut entries = Vec::new();
                decode_exemplars(record, &mut entries)?;
                entries.retain(|e| e.timestamp_ms >= self.min_ms);
                encode_exemplars(&mut self.record, &entries);
                self.emit(entries.is_empty());
                Ok(())
            }
            RecordType::Metadata => {
                let mut entries = Vec::new();
                decode_metadata(record, &mut entries)?;
                entries.retain(|(series, _)| (self.keep)(*series));
                self.metadata.extend(entries);
                Ok(())
            }
            RecordType::MmapMarkers => Ok(()),
            _ => self.histograms(record, kind),
        }
    }

    fn emit(&mut self, empty: bool) {
        if !empty {
            self.flush_series();
            self.out.enqueue(&mut self.compressor, &self.record, Keep::No);
        }
    }

    fn series(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        if self.series.is_empty() {
            begin(&mut self.series, RecordType::Series);
        }
        let (keep, series, stats) = (&self.keep, &mut self.series, &mut self.stats);
        decode_series(record, |reference, pairs| {
            if keep(reference) {
                put_series(series, reference, &Labels::from_pairs(pairs.iter().copied()));
                stats.series += 1;
            } else {
                stats.series_dropped += 1;
            }
        })?;
        if self.series.len() > SERIES_RECORD_BYTES {
            self.flush_series();
        }
        Ok(())
    }

    fn flush_series(&mut self) {
        if self.series.len() > 1 {
            self.out.enqueue(&mut self.compressor, &self.series, Keep::No);
        }
        self.series.clear();
    }

    /// Floats of a scrape have one timestamp as a rule: their record is kept or dropped as a whole.
    fn plain_floats(&mut self, record: &[u8]) -> std::result::Result<bool, RecordError> {
        let Some(times) = times_of_floats(record)? else {
            return Ok(false);
        };
        if times.max_ms < self.min_ms {
            self.stats.samples_dropped += times.samples;
            return Ok(false);
        }
        if times.min_ms >= self.min_ms {
            self.stats.samples += times.samples;
            return Ok(true);
        }
        self.floats(record).map(|()| false)
    }

    fn floats(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        let mut entries: Vec<FloatEntry> = Vec::new();
        decode_floats(record, &mut entries)?;
        let all = entries.len();
        entries.retain(|e| e.timestamp_ms >= self.min_ms);
        self.stats.samples += entries.len() as u64;
        self.stats.samples_dropped += (all - entries.len()) as u64;
        if record[0] == RecordType::SamplesWithStart as u8 {
            encode_floats_with_start(&mut self.record, entries.iter().copied());
        } else {
            encode_floats(&mut self.record, entries.iter().copied());
        }
        self.emit(entries.is_empty());
        Ok(())
    }

    fn histograms(&mut self, record: &[u8], kind: RecordType) -> std::result::Result<(), RecordError> {
        let mut entries: Vec<HistogramEntry> = Vec::new();
        let skipped = decode_histograms(record, &mut entries)?;
        let all = entries.len() as u64 + skipped;
        entries.retain(|e| e.timestamp_ms >= self.min_ms);
        self.stats.samples += entries.len() as u64;
        self.stats.samples_dropped += all - entries.len() as u64;
        if entries.is_empty() {
            return Ok(());
        }
        let with_start = matches!(
            kind,
            RecordType::HistogramsWithStart | RecordType::FloatHistogramsWithStart
        );
        self.flush_series();
        let (out, compressor) = (&self.out, &mut self.compressor);
        encode_histograms(&mut self.record, &entries, with_start, |record| {
            out.enqueue(compressor, record, Keep::No);
            Ok(())
        })
    }

    fn finish(mut self) -> Result<CheckpointStats> {
        self.flush_series();
        if !self.metadata.is_empty() {
            let mut metadata: Vec<(u64, &Metadata)> = self.metadata.iter().map(|(s, m)| (*s, m)).collect();
            metadata.sort_by_key(|(series, _)| *series);
            encode_metadata(&mut self.record, metadata);
            self.out.enqueue(&mut self.compressor, &self.record, Keep::No);
        }
        self.out.sync()?;
        Ok(self.stats)
    }
}
