//! Opening the log of an agent: which series it names, and when each had its newest sample.
//!
//! Damage costs what is damaged and no more: a segment is cut behind its last whole record, and the next one is read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use model::labels::Labels;
use model::sample::Metadata;
use model::storage::{SeriesRef, StorageError};
use parking_lot::{Mutex, RwLock};

use super::append::hash_of;
use super::series::{Series, Walk};
use super::{SeriesLog, Shared};
use crate::wal::{
    ExemplarEntry, FloatEntry, FreshSeries, HistogramEntry, LogDamage, RecordError, RecordType,
    ReplayProgress, SegmentReader, Wal, decode_exemplars, decode_floats, decode_histograms, decode_metadata,
    decode_series, gaps, last_checkpoint, log_sources, segments,
};
use files::{Files, Result};

/// Records between two looks at the wish to stop.
const RECORDS_BETWEEN_LOOKS: u64 = 1 << 12;

/// What was found in the log when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Segments read, those of the checkpoint included.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Series.
    pub series: u64,
    /// Samples read, floats and histograms.
    pub samples: u64,
    /// Second records of a series that exists under another reference.
    pub duplicate_series: u64,
    /// Samples of series that are not known.
    pub unknown_samples: u64,
    /// Segments that are missing between others, or in the checkpoint.
    pub missing_segments: u64,
    /// Damaged segments.
    pub damages: Vec<LogDamage>,
    /// How long it took.
    pub duration: Duration,
}

impl SeriesLog {
    /// Reads the log and begins a segment behind it.
    pub(super) fn open(shared: &Shared) -> Result<SeriesLog> {
        let started = Instant::now();
        let (files, dir) = (&*shared.files, shared.wal_dir());
        let checkpoint = last_checkpoint(files, &dir)?;
        let paths = log_sources(files, &dir, checkpoint, u64::MAX)?;
        let progress = &shared.options.progress;
        begin(progress, files, &dir, checkpoint, &paths)?;
        let series = Series::default();
        let mut replay = Replay::new(&series, progress);
        replay.report.missing_segments = missing_segments(files, &dir, checkpoint)?;
        for path in &paths {
            replay.segment(files, path)?;
        }
        let Replay {
            mut report,
            aliases,
            exemplars,
            told,
            newest_ms,
            ..
        } = replay;
        let wal = Wal::open(
            Arc::clone(&shared.files),
            &dir,
            checkpoint.map_or(0, |number| number + 1),
            shared.options.wal_segment_bytes,
            shared.options.wal_compression,
        )?;
        let until = wal.segment();
        report.series = series.len() as u64;
        report.duration = started.elapsed();
        Ok(SeriesLog {
            wal: Arc::new(wal),
            report,
            series,
            fresh: FreshSeries::default(),
            gate: RwLock::new(()),
            // The log up to here may speak of them; nobody will again.
            removed: Mutex::new(aliases.into_keys().map(|alias| (alias, until)).collect()),
            exemplars: Mutex::new(exemplars),
            told: Mutex::new(told),
            newest_ms: AtomicI64::new(newest_ms),
            scratch: Mutex::default(),
        })
    }
}

/// Notes how much there is to read.
fn begin(
    progress: &ReplayProgress,
    files: &dyn Files,
    dir: &Path,
    checkpoint: Option<u64>,
    paths: &[PathBuf],
) -> Result<()> {
    let mut bytes = 0;
    for path in paths {
        bytes += files.len(path)?;
    }
    let behind = |number: &u64| checkpoint.is_none_or(|checkpoint| *number > checkpoint);
    let numbers: Vec<u64> = segments(files, dir)?.into_iter().filter(behind).collect();
    let (first, last) = (numbers.first(), numbers.last());
    progress.begin(first.copied().unwrap_or(0), last.copied().unwrap_or(0), bytes);
    Ok(())
}

/// Tells of the segments that are missing, and gives how many they are.
fn missing_segments(files: &dyn Files, dir: &Path, checkpoint: Option<u64>) -> Result<u64> {
    let missing = gaps(files, dir, checkpoint)?;
    for gap in &missing {
        tracing::error!(
            path = %gap.path.display(),
            segments = gap.segments,
            "log segments are missing, with what they held; reading goes on behind them"
        );
    }
    Ok(missing.iter().map(|gap| gap.segments).sum())
}

/// A replay under way.
struct Replay<'a> {
    series: &'a Series,
    walk: Walk<'a>,
    progress: &'a ReplayProgress,
    report: Report,
    /// Second references of series, and the ones that count.
    aliases: HashMap<u64, u64>,
    exemplars: HashMap<u64, ExemplarEntry>,
    told: HashMap<u64, u64>,
    newest_ms: i64,
    floats: Vec<FloatEntry>,
    histograms: Vec<HistogramEntry>,
    found_exemplars: Vec<ExemplarEntry>,
    metadata: Vec<(u64, Metadata)>,
}

impl<'a> Replay<'a> {
    fn new(series: &'a Series, progress: &'a ReplayProgress) -> Self {
        Replay {
            series,
            walk: Walk::new(series),
            progress,
            report: Report::default(),
            aliases: HashMap::new(),
            exemplars: HashMap::new(),
            told: HashMap::new(),
            newest_ms: i64::MIN,
            floats: Vec::new(),
            histograms: Vec::new(),
            found_exemplars: Vec::new(),
            metadata: Vec::new(),
        }
    }

    fn segment(&mut self, files: &dyn Files, path: &Path) -> Result<()> {
        self.progress.enter(path);
        self.report.segments += 1;
        let bytes = files.map(path)?;
        let len = bytes.len() as u64;
        let mut reader = SegmentReader::new(&bytes);
        let damage = loop {
            let at = reader.good_bytes();
            match reader.read() {
                Ok(None) => break None,
                Ok(Some(record)) => {
                    if let Err(error) = self.record(record) {
                        break Some((at, error.to_string()));
                    }
                }
                Err(damage) => break Some((damage.good_bytes, damage.what.to_owned())),
            }
            self.report.records += 1;
            if self.report.records.is_multiple_of(RECORDS_BETWEEN_LOOKS) && self.progress.is_cancelled() {
                return Err(StorageError::Closed);
            }
        };
        drop(bytes);
        self.progress.advance(len);
        let Some((offset, what)) = damage else {
            return Ok(());
        };
        let damage = LogDamage {
            path: path.to_owned(),
            offset,
            lost_bytes: len - offset,
            what,
        };
        tracing::warn!(
            path = %damage.path.display(),
            offset = damage.offset,
            lost_bytes = damage.lost_bytes,
            what = damage.what,
            "damaged log segment was cut; reading goes on behind it"
        );
        files.truncate(path, offset)?;
        self.report.damages.push(damage);
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        match RecordType::of(record) {
            Some(RecordType::Series) => self.series(record)?,
            Some(RecordType::Samples | RecordType::SamplesWithStart) => {
                let mut floats = std::mem::take(&mut self.floats);
                floats.clear();
                decode_floats(record, &mut floats)?;
                let times = floats.iter().map(|entry| (entry.series, entry.timestamp_ms));
                self.samples(times);
                self.floats = floats;
            }
            Some(RecordType::Exemplars) => {
                self.found_exemplars.clear();
                decode_exemplars(record, &mut self.found_exemplars)?;
                for mut exemplar in self.found_exemplars.drain(..) {
                    exemplar.series = *self.aliases.get(&exemplar.series).unwrap_or(&exemplar.series);
                    self.exemplars.insert(exemplar.series, exemplar);
                }
            }
            Some(RecordType::Metadata) => {
                self.metadata.clear();
                decode_metadata(record, &mut self.metadata)?;
                for (series, metadata) in self.metadata.drain(..) {
                    let series = *self.aliases.get(&series).unwrap_or(&series);
                    self.told.insert(series, hash_of(&metadata));
                }
            }
            // Nothing of an agent's, or of a version to come.
            None | Some(RecordType::Tombstones | RecordType::MmapMarkers) => {}
            Some(_) => {
                let mut histograms = std::mem::take(&mut self.histograms);
                histograms.clear();
                decode_histograms(record, &mut histograms)?;
                let times = histograms.iter().map(|entry| (entry.series, entry.timestamp_ms));
                self.samples(times);
                self.histograms = histograms;
            }
        }
        Ok(())
    }

    fn series(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        let (series, aliases, report) = (self.series, &mut self.aliases, &mut self.report);
        decode_series(record, |reference, pairs| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            if let Some(known) = series.take_in(reference, series.identity(labels.packed())) {
                aliases.insert(reference, known);
                report.duplicate_series += 1;
            }
        })
    }

    fn samples(&mut self, samples: impl Iterator<Item = (u64, i64)>) {
        for (mut reference, timestamp_ms) in samples {
            self.report.samples += 1;
            self.newest_ms = self.newest_ms.max(timestamp_ms);
            if !self.aliases.is_empty() {
                reference = *self.aliases.get(&reference).unwrap_or(&reference);
            }
            match self.walk.time(SeriesRef(reference)) {
                Some(time) => {
                    time.note(timestamp_ms, 0);
                }
                None => self.report.unknown_samples += 1,
            }
        }
    }
}
