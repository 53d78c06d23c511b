//! Log records: what happened to the head, one kind of thing a record. Layouts: `tsdb/docs/wal.md`.

mod decode;
mod encode;

use model::histogram::Histogram;
use model::labels::Labels;

pub use decode::*;
pub(crate) use decode::{decode_forgotten, times_of_floats};
pub(crate) use encode::encode_forgotten;
pub use encode::*;
pub use files::codec::RecordError;

/// Kind of a record; the number is its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordType {
    /// New series: reference and labels.
    Series = 1,
    /// Floats.
    Samples = 2,
    /// Deleted ranges.
    Tombstones = 3,
    /// Exemplars.
    Exemplars = 4,
    /// Out-of-order log only: which chunk a series' samples so far went to.
    MmapMarkers = 5,
    /// Type, unit, help.
    Metadata = 6,
    /// Integer histograms with exponential buckets.
    Histograms = 7,
    /// Float histograms with exponential buckets.
    FloatHistograms = 8,
    /// Integer histograms, custom buckets among them.
    CustomHistograms = 9,
    /// Float histograms, custom buckets among them.
    CustomFloatHistograms = 10,
    /// Floats with start timestamps.
    SamplesWithStart = 11,
    /// Integer histograms of any schema with start timestamps.
    HistogramsWithStart = 12,
    /// Float histograms of any schema with start timestamps.
    FloatHistogramsWithStart = 13,
}

impl RecordType {
    /// The kind of `record`, unless this version does not know it.
    pub fn of(record: &[u8]) -> Option<RecordType> {
        Some(match record.first()? {
            1 => RecordType::Series,
            2 => RecordType::Samples,
            3 => RecordType::Tombstones,
            4 => RecordType::Exemplars,
            5 => RecordType::MmapMarkers,
            6 => RecordType::Metadata,
            7 => RecordType::Histograms,
            8 => RecordType::FloatHistograms,
            9 => RecordType::CustomHistograms,
            10 => RecordType::CustomFloatHistograms,
            11 => RecordType::SamplesWithStart,
            12 => RecordType::HistogramsWithStart,
            13 => RecordType::FloatHistogramsWithStart,
            _ => return None,
        })
    }
}

/// A float in a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatEntry {
    /// Whose.
    pub series: u64,
    /// When its counter started, 0 where unknown.
    pub start_ms: i64,
    /// When.
    pub timestamp_ms: i64,
    /// What.
    pub value: f64,
}

/// A histogram in a record.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramEntry {
    /// Whose.
    pub series: u64,
    /// When its counter started, 0 where unknown.
    pub start_ms: i64,
    /// When.
    pub timestamp_ms: i64,
    /// What.
    pub histogram: Histogram,
}

/// A deleted range in a record; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstoneEntry {
    /// Whose.
    pub series: u64,
    /// First deleted millisecond.
    pub min_ms: i64,
    /// Last deleted millisecond.
    pub max_ms: i64,
}

/// An exemplar in a record.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarEntry {
    /// Whose.
    pub series: u64,
    /// When.
    pub timestamp_ms: i64,
    /// What.
    pub value: f64,
    /// The exemplar's own labels.
    pub labels: Labels,
}

/// Says that the samples of a series that stand before it in the log are in a head chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerEntry {
    /// Whose.
    pub series: u64,
    /// Reference of the chunk; 0 where none was written yet.
    pub chunk: u64,
}

/// First byte of a record of our own in the log of late samples: chunks up to a reference are in blocks, and were
/// forgotten. The reference passes over kinds that it does not know; without the record (in its own folders) all chunks
/// of late samples on disk count again after a restart.
const FORGOTTEN: u8 = 200;

/// Largest exponential schema that is stored.
const SCHEMA_MAX: i32 = 8;
/// Start timestamp markers of the kinds from 11 on.
const NO_START: u8 = 0;
const SAME_START: u8 = 1;
const EXPLICIT_START: u8 = 2;

/// Reference, timestamp and start of the records from kind 11 on: the first entry whole, later ones as differences.
#[derive(Default)]
struct StartDeltas {
    first: Option<(i64, i64)>,
    previous: (u64, i64),
}

fn schema_of(histogram: &Histogram) -> i32 {
    match histogram {
        Histogram::Int(h) => h.schema,
        Histogram::Float(h) => h.schema,
    }
}

#[cfg(test)]
mod tests;
