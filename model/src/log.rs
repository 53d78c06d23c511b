//! The third door of storage: following what is appended, in the order in which it was.
//!
//! A store with a log of its transactions lets others read that log behind it ([`Log::follow`]), from a place that they
//! have written down, across restarts of both. Records come as plain data into buffers that are reused.

use std::sync::Arc;

use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::sample::{Exemplar, Metadata};
use crate::storage::{SeriesRef, StorageError};

/// A place in the log, between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Number of the segment.
    pub segment: u64,
    /// Bytes from its start.
    pub offset: u64,
}

/// A float of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogFloat {
    /// Whose.
    pub series: SeriesRef,
    /// When its counter started, 0 where unknown.
    pub start_ms: i64,
    /// When.
    pub timestamp_ms: i64,
    /// What.
    pub value: f64,
}

/// A histogram of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogHistogram {
    /// Whose.
    pub series: SeriesRef,
    /// When its counter started, 0 where unknown.
    pub start_ms: i64,
    /// When.
    pub timestamp_ms: i64,
    /// What.
    pub histogram: Histogram,
}

/// What one record says; one kind of thing, the other lists are empty.
#[derive(Clone, Debug, Default)]
pub struct LogRecord {
    /// New series, and those that a checkpoint repeats.
    pub series: Vec<(SeriesRef, Labels)>,
    /// Floats.
    pub floats: Vec<LogFloat>,
    /// Histograms.
    pub histograms: Vec<LogHistogram>,
    /// Exemplars.
    pub exemplars: Vec<(SeriesRef, Exemplar)>,
    /// Metadata.
    pub metadata: Vec<(SeriesRef, Metadata)>,
}

impl LogRecord {
    /// Empties the lists and keeps their buffers.
    pub fn clear(&mut self) {
        self.series.clear();
        self.floats.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata.clear();
    }
}

/// What reading on has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStep {
    /// A record from before the place that was asked for: series and metadata only, so that what follows can be named.
    Before,
    /// The next record.
    Record,
    /// That is all for now: more will come.
    End,
    /// Segments that are no longer there were left out.
    Gone {
        /// How many.
        segments: u64,
    },
    /// The rest of a segment cannot be read and was left out.
    Torn {
        /// Which.
        segment: u64,
        /// End of what could be read, in bytes.
        offset: u64,
    },
}

/// What was taken since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Floats.
    pub floats: u64,
    /// Histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// The newest timestamp, 0 where there is nothing.
    pub newest_ms: i64,
}

/// A log that can be followed.
pub trait Log: Send + Sync {
    /// Behind the last record that is written.
    fn end(&self) -> LogPosition;

    /// A reader that goes on at `from`, after the names of the series that were written before it.
    ///
    /// # Errors
    /// When the log's folder cannot be read.
    fn follow(&self, from: LogPosition) -> Result<Box<dyn LogReader>, StorageError>;

    /// Keeps segment `segment` and those behind it although the store has no use for them; `None` keeps nothing.
    fn keep_from(&self, segment: Option<u64>);

    /// Bytes on disk of segment `segment` and those behind it.
    ///
    /// # Errors
    /// When the log's folder cannot be read.
    fn bytes_from(&self, segment: u64) -> Result<u64, StorageError>;

    /// Calls `hook` after each write, from the thread that writes, in the place of the one before: it must be quick and
    /// must not wait.
    fn on_write(&self, hook: Arc<dyn Fn() + Send + Sync>);

    /// What was taken so far.
    fn appended(&self) -> Appended;
}

/// Reads a log behind its writer.
pub trait LogReader: Send {
    /// Reads the next record into `record`, which is emptied first.
    ///
    /// # Errors
    /// When a file cannot be read; the next call tries again.
    fn read(&mut self, record: &mut LogRecord) -> Result<LogStep, StorageError>;

    /// Behind the record that was read last.
    fn position(&self) -> LogPosition;

    /// Where there is a new checkpoint behind which the reader already is: its number, after `living` was told the series
    /// that it still knows. Series that were named in segments up to that number and are not among them are gone.
    ///
    /// # Errors
    /// When the checkpoint cannot be read.
    fn checkpoint(&mut self, living: &mut dyn FnMut(SeriesRef)) -> Result<Option<u64>, StorageError>;
}
