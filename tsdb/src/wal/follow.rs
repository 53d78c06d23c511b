//! Reading the log behind its writer.
//!
//! The writer tells how far whole records are written ([`Wal::written`]), and nothing beyond that place is looked at: what
//! is being written is "not yet", and never looks torn. In the segments of earlier lives, which nobody writes any more, a
//! damaged place is damage: the rest of that segment is left out, as a replay leaves it out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::labels::Labels;
use model::log::{LogFloat, LogHistogram, LogPosition, LogReader, LogRecord, LogStep};
use model::sample::Exemplar;
use model::storage::{SeriesRef, StorageError};

use super::record::{
    ExemplarEntry, FloatEntry, HistogramEntry, RecordError, RecordType, decode_exemplars, decode_floats,
    decode_histograms, decode_metadata, decode_series,
};
use super::{SegmentReader, Wal, checkpoint_path, last_checkpoint, segment_path, segments};
use files::{Files, Mapped, Result, is_not_found};

/// From where on somebody else still needs the log.
#[derive(Debug)]
pub(crate) struct Kept(AtomicU64);

impl Default for Kept {
    fn default() -> Self {
        Kept(AtomicU64::new(Kept::NOTHING))
    }
}

impl Kept {
    const NOTHING: u64 = u64::MAX;

    /// Segment `segment` and those behind it are needed; `None` for none.
    pub(crate) fn set(&self, segment: Option<u64>) {
        self.0.store(segment.unwrap_or(Kept::NOTHING), Ordering::Release);
    }

    /// The first segment that is needed.
    pub(crate) fn get(&self) -> Option<u64> {
        let kept = self.0.load(Ordering::Acquire);
        (kept != Kept::NOTHING).then_some(kept)
    }
}

/// Behind the last record that is written.
pub(crate) fn end(wal: &Wal) -> LogPosition {
    let (segment, offset) = wal.written();
    LogPosition { segment, offset }
}

/// Bytes on disk of segment `segment` of the log in `dir` and of those behind it.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn bytes_from(files: &dyn Files, dir: &Path, segment: u64) -> Result<u64> {
    let mut bytes = 0;
    for number in segments(files, dir)? {
        if number >= segment {
            bytes += files.len(&segment_path(dir, number))?;
        }
    }
    Ok(bytes)
}

/// Follows a log; see [`LogReader`].
pub(crate) struct Follower {
    files: Arc<dyn Files>,
    wal: Arc<Wal>,
    /// The place that was asked for.
    from: LogPosition,
    /// Segments before the place that was asked for, the newest first; only what they say of series counts.
    before: Vec<(PathBuf, Option<u64>)>,
    /// The segment at hand.
    open: Option<Open>,
    at: LogPosition,
    checkpoint: Option<u64>,
    scratch: Scratch,
}

/// A segment under the reader.
struct Open {
    path: PathBuf,
    bytes: Mapped,
    /// Where whole records end.
    len: usize,
    at: u64,
    /// Of those before the place that was asked for: where that place is.
    is_before: bool,
}

#[derive(Default)]
struct Scratch {
    floats: Vec<FloatEntry>,
    histograms: Vec<HistogramEntry>,
    exemplars: Vec<ExemplarEntry>,
    metadata: Vec<(u64, model::sample::Metadata)>,
}

impl Follower {
    pub(crate) fn new(files: Arc<dyn Files>, wal: Arc<Wal>, from: LogPosition) -> Result<Self> {
        let mut follower = Follower {
            files,
            wal,
            from,
            before: Vec::new(),
            open: None,
            at: from,
            checkpoint: None,
            scratch: Scratch::default(),
        };
        follower.find_before()?;
        Ok(follower)
    }

    /// Finds the segments that name series before the place that was asked for.
    fn find_before(&mut self) -> Result<()> {
        let (files, from) = (&*self.files, self.from);
        self.checkpoint = last_checkpoint(files, self.wal.dir())?;
        self.before.clear();
        if let Some(number) = self.checkpoint.filter(|number| *number < from.segment) {
            let inside = checkpoint_path(self.wal.dir(), number);
            let numbers = segments(files, &inside)?;
            let paths = numbers.into_iter().map(|s| (segment_path(&inside, s), None));
            self.before.extend(paths);
        }
        let first = self.checkpoint.map_or(0, |number| number + 1);
        for number in segments(files, self.wal.dir())? {
            if (first..=from.segment).contains(&number) {
                let until = (number == from.segment).then_some(from.offset);
                self.before.push((segment_path(self.wal.dir(), number), until));
            }
        }
        self.before.reverse();
        Ok(())
    }

    fn dir(&self) -> &Path {
        self.wal.dir()
    }

    /// Opens the next of the segments before; false where they are all read.
    fn open_before(&mut self) -> Result<bool> {
        while let Some((path, until)) = self.before.last() {
            let bytes = match self.files.map(path) {
                Ok(bytes) => bytes,
                // A new checkpoint has replaced it, and names the series that it named: names are read once more.
                Err(error) if is_not_found(&error) => {
                    self.find_before()?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let len = until.map_or(bytes.len(), |until| bytes.len().min(until as usize));
            self.open = Some(Open {
                path: path.clone(),
                bytes,
                len,
                at: 0,
                is_before: true,
            });
            self.before.pop();
            return Ok(true);
        }
        Ok(false)
    }

    /// Opens the segment at hand as far as it is written; what there is to say instead of a record.
    fn open_at(&mut self) -> Result<Option<LogStep>> {
        let written = self.wal.written();
        let path = segment_path(self.dir(), self.at.segment);
        let is_current = self.at.segment == written.0;
        if self.at.segment > written.0 || (is_current && self.at.offset >= written.1) {
            return Ok(Some(LogStep::End));
        }
        let bytes = match self.files.map(&path) {
            Ok(bytes) => bytes,
            Err(error) if is_not_found(&error) => return self.pass_gap(written.0).map(Some),
            Err(error) => return Err(error),
        };
        let len = if is_current {
            written.1 as usize
        } else {
            bytes.len()
        };
        if (len as u64) <= self.at.offset {
            // Cut back at a start, or read to its end: the next one goes on.
            self.at = LogPosition {
                segment: self.at.segment + 1,
                offset: 0,
            };
            return self.open_at();
        }
        self.open = Some(Open {
            len: len.min(bytes.len()),
            path,
            bytes,
            at: self.at.offset,
            is_before: false,
        });
        Ok(None)
    }

    /// Goes to the first segment that is there.
    fn pass_gap(&mut self, last: u64) -> Result<LogStep> {
        let numbers = segments(&*self.files, self.dir())?;
        let next = numbers.into_iter().find(|number| *number > self.at.segment);
        let next = next.unwrap_or(last).max(self.at.segment + 1);
        let step = LogStep::Gone {
            segments: next - self.at.segment,
        };
        self.at = LogPosition {
            segment: next,
            offset: 0,
        };
        Ok(step)
    }

    /// What the segment under the reader says next; `None` at its end.
    fn step(&mut self, record: &mut LogRecord) -> Result<Option<LogStep>> {
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        let bytes = open.bytes.clone();
        let mut reader = SegmentReader::from(&bytes[..open.len], open.at);
        loop {
            let read = match reader.read() {
                Ok(Some(bytes)) => {
                    take(bytes, record, &mut self.scratch, open.is_before).map_err(|error| error.to_string())
                }
                Ok(None) => {
                    self.open = None;
                    return Ok(None);
                }
                Err(damage) => Err(damage.what.to_owned()),
            };
            match read {
                Ok(wanted) => {
                    open.at = reader.good_bytes();
                    if !open.is_before {
                        self.at.offset = open.at;
                        return Ok(Some(LogStep::Record));
                    }
                    if wanted {
                        return Ok(Some(LogStep::Before));
                    }
                }
                Err(what) => {
                    tracing::error!(path = %open.path.display(), offset = open.at, what, "a segment of the log cannot be read on; the rest of it is left out");
                    let torn = LogStep::Torn {
                        segment: self.at.segment,
                        offset: open.at,
                    };
                    let is_before = open.is_before;
                    self.open = None;
                    if is_before {
                        return Ok(None);
                    }
                    self.at = LogPosition {
                        segment: self.at.segment + 1,
                        offset: 0,
                    };
                    return Ok(Some(torn));
                }
            }
        }
    }
}

/// Takes what a record says; false where that is nothing of interest.
fn take(
    bytes: &[u8],
    record: &mut LogRecord,
    scratch: &mut Scratch,
    names_only: bool,
) -> std::result::Result<bool, RecordError> {
    let Some(kind) = RecordType::of(bytes) else {
        return Ok(false);
    };
    match kind {
        RecordType::Series => decode_series(bytes, |reference, pairs| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            record.series.push((SeriesRef(reference), labels));
        })?,
        RecordType::Metadata => {
            decode_metadata(bytes, &mut scratch.metadata)?;
            let entries = scratch.metadata.drain(..);
            record
                .metadata
                .extend(entries.map(|(series, metadata)| (SeriesRef(series), metadata)));
        }
        RecordType::Tombstones | RecordType::MmapMarkers => return Ok(false),
        _ if names_only => return Ok(false),
        RecordType::Samples | RecordType::SamplesWithStart => {
            scratch.floats.clear();
            decode_floats(bytes, &mut scratch.floats)?;
            record.floats.extend(scratch.floats.iter().map(|entry| LogFloat {
                series: SeriesRef(entry.series),
                start_ms: entry.start_ms,
                timestamp_ms: entry.timestamp_ms,
                value: entry.value,
            }));
        }
        RecordType::Exemplars => {
            decode_exemplars(bytes, &mut scratch.exemplars)?;
            record.exemplars.extend(scratch.exemplars.drain(..).map(|entry| {
                let exemplar = Exemplar {
                    labels: entry.labels,
                    value: entry.value,
                    timestamp_ms: Some(entry.timestamp_ms),
                };
                (SeriesRef(entry.series), exemplar)
            }));
        }
        _ => {
            decode_histograms(bytes, &mut scratch.histograms)?;
            record
                .histograms
                .extend(scratch.histograms.drain(..).map(|entry| LogHistogram {
                    series: SeriesRef(entry.series),
                    start_ms: entry.start_ms,
                    timestamp_ms: entry.timestamp_ms,
                    histogram: entry.histogram,
                }));
        }
    }
    Ok(true)
}

impl LogReader for Follower {
    fn read(&mut self, record: &mut LogRecord) -> Result<LogStep> {
        record.clear();
        loop {
            if let Some(step) = self.step(record)? {
                return Ok(step);
            }
            record.clear();
            if self.open_before()? {
                continue;
            }
            if let Some(step) = self.open_at()? {
                return Ok(step);
            }
        }
    }

    fn position(&self) -> LogPosition {
        self.at
    }

    fn checkpoint(&mut self, living: &mut dyn FnMut(SeriesRef)) -> Result<Option<u64>> {
        let Some(number) = last_checkpoint(&*self.files, self.dir())? else {
            return Ok(None);
        };
        if self.checkpoint == Some(number) || number >= self.at.segment {
            return Ok(None);
        }
        let inside = checkpoint_path(self.dir(), number);
        for segment in segments(&*self.files, &inside)? {
            let path = segment_path(&inside, segment);
            let bytes = self.files.map(&path)?;
            let mut reader = SegmentReader::new(&bytes);
            let corrupt = |offset: u64, what: String| StorageError::Corrupt {
                path: path.clone(),
                offset,
                what,
            };
            loop {
                let at = reader.good_bytes();
                match reader.read() {
                    Ok(Some(bytes)) if RecordType::of(bytes) == Some(RecordType::Series) => {
                        decode_series(bytes, |reference, _| living(SeriesRef(reference)))
                            .map_err(|error| corrupt(at, error.to_string()))?;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(damage) => return Err(corrupt(damage.good_bytes, damage.what.to_owned())),
                }
            }
        }
        self.checkpoint = Some(number);
        Ok(Some(number))
    }
}
