//! What can be wrong with a request, with a series of it, with a sample.

use std::fmt;

use model::histogram::{HistogramError, ReduceError};
use model::packed_sets::TextTooLong;
use model::protobuf::WireError;
use model::storage::{AHEAD_MAX_MS, AppendError, Refusal, SeriesError, StorageError};

use super::REQUEST_BYTES_MAX;
use super::labels::{LABELS_MAX, Shown};
use super::negotiate::MessageError;
use crate::inflate::NoRoom;

/// Faults that are told one by one; of others, how many there are.
const FAULTS_SHOWN: usize = 10;

/// Why a request was not stored, not even in part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Its headers name no message that is taken.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// It is not compressed as it should be.
    #[error("the body is no snappy block: {0}")]
    Snappy(#[source] snap::Error),
    /// It would be too large.
    #[error("decoded size of {bytes} bytes exceeds the {REQUEST_BYTES_MAX} bytes limit")]
    TooLarge {
        /// Size that it declares.
        bytes: usize,
    },
    /// Others take all memory that there is for requests.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// It is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The store does not take anything.
    #[error("{0}")]
    Append(#[from] AppendError),
}

impl WriteError {
    /// The HTTP status: below 500 where the same request would fail again.
    pub fn status(&self) -> u16 {
        match self {
            WriteError::Message(_) => 415,
            WriteError::Snappy(_) | WriteError::TooLarge { .. } | WriteError::Decode(_) => 400,
            WriteError::NoRoom(_) | WriteError::Append(AppendError::Storage(StorageError::NotReady)) => 503,
            WriteError::Append(_) => 500,
        }
    }
}

/// Why bytes are no message, or one that asks for too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They are no message.
    #[error("the body is no remote write message: {0}")]
    Wire(#[from] WireError),
    /// There are more symbols than a table may have.
    #[error("the table of symbols has more than {max} entries; send less in one request")]
    Symbols {
        /// How many there may be.
        max: usize,
    },
    /// What a few bytes stand for takes too much memory.
    #[error("the request's {what} take more than {max} bytes of memory; send less in one request")]
    Memory {
        /// What of it.
        what: &'static str,
        /// How much it may be.
        max: usize,
    },
}

/// What is wrong with a series, or with something of it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    #[error("invalid metric name or labels: {0}")]
    Labels(#[from] LabelFault),
    #[error("{0}")]
    References(#[from] ReferenceFault),
    #[error("TimeSeries must contain at least one sample or histogram")]
    NoSamples,
    #[error("the exemplar's labels cannot be read: {0}")]
    Exemplar(ReferenceFault),
    #[error("out of bounds: the timestamp {timestamp_ms} is more than {} minutes in the future", AHEAD_MAX_MS / 60_000)]
    Future { timestamp_ms: i64 },
    #[error("{refusal} at {timestamp_ms}")]
    Refused { refusal: Refusal, timestamp_ms: i64 },
    #[error("{error} at {timestamp_ms}")]
    Histogram {
        error: HistogramError,
        timestamp_ms: i64,
    },
    #[error("{0}")]
    Reduce(#[from] ReduceError),
    #[error("the series is new and cannot be created: {0}")]
    Series(#[from] SeriesError),
}

/// What is wrong with labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LabelFault {
    #[error("there is no metric name")]
    NoName,
    #[error("a label has no name")]
    EmptyName,
    #[error("a label is there twice")]
    Duplicate,
    #[error("a name or value is not UTF-8")]
    NotUtf8,
    #[error(transparent)]
    TooLong(#[from] TextTooLong),
    #[error("there are more than {LABELS_MAX} labels")]
    TooMany,
}

/// What is wrong with references to symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReferenceFault {
    #[error("labels are pairs of references, and there are {count}")]
    Odd { count: usize },
    #[error("the reference {reference} is outside of the table of symbols, which has {symbols} entries")]
    Outside { reference: u32, symbols: usize },
}

/// What is wrong, to be told: the first faults, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Faults {
    shown: Vec<String>,
    count: usize,
}

impl Faults {
    /// Notes a fault of the series that `labels` gives.
    pub(super) fn note<'l>(&mut self, fault: &Fault, labels: impl FnOnce() -> Shown<'l>) {
        self.count += 1;
        if self.shown.len() < FAULTS_SHOWN {
            self.shown.push(format!("{fault} for series {}", labels()));
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join("\n"))?;
        match self.count - self.shown.len() {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}
