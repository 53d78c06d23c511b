//! Native histograms in chunks: whole counts or floats, with or without start timestamps.
//!
//! A chunk has one bucket layout, written before the first sample; every sample then has a number for each bucket
//! (layout with hex examples: `tsdb/docs/chunks.md`). A histogram with other buckets either makes the chunk be rewritten
//! with more (empty) buckets, or starts a new chunk; [`HistogramAppender::append`] decides that as the reference does.

mod append;
mod cells;
mod layout;
mod read;

use std::sync::Arc;

use model::columns::Columns;
use model::histogram::{Buckets, Histogram};

use super::{ChunkError, Encoding};
use cells::{Cell, CountCell, DeltaCell, XorCell};

pub use append::{Appended, HistogramAppender};

/// Bytes in front of the bit stream: sample count and one byte of flags (counter reset, or start timestamps).
const HEADER_BYTES: usize = 3;
/// Sample count of a chunk with start timestamps: the two bits above it hold the counter reset header.
pub(super) const ST_COUNT_MASK: u16 = 0x3fff;

/// What a chunk's header says about a counter reset before its first sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CounterReset {
    /// Nothing is known.
    #[default]
    Unknown = 0b0000_0000,
    /// The chunk was started because of a reset.
    Reset = 0b1000_0000,
    /// The chunk was started for another reason; there was no reset.
    NotReset = 0b0100_0000,
    /// The chunk holds gauge histograms.
    Gauge = 0b1100_0000,
}

impl CounterReset {
    const MASK: u8 = 0b1100_0000;

    /// The header of a chunk; the byte that holds it depends on the encoding.
    ///
    /// # Errors
    /// When the chunk is shorter than its header.
    pub fn of_chunk(encoding: Encoding, chunk: &[u8]) -> Result<Self, ChunkError> {
        let at = match encoding {
            Encoding::HistogramSt | Encoding::FloatHistogramSt => 0,
            _ => HEADER_BYTES - 1,
        };
        if chunk.len() < HEADER_BYTES {
            return Err(ChunkError::Corrupt("histogram chunk has no header"));
        }
        Ok(Self::from_byte(chunk[at]))
    }

    fn from_byte(byte: u8) -> Self {
        match byte & Self::MASK {
            0b1000_0000 => CounterReset::Reset,
            0b0100_0000 => CounterReset::NotReset,
            0b1100_0000 => CounterReset::Gauge,
            _ => CounterReset::Unknown,
        }
    }
}

/// The two kinds of histograms, as far as chunks are concerned.
pub trait Kind: Sized + 'static {
    /// A count of observations.
    type Count: Copy + Default + PartialOrd;
    /// A stored bucket.
    type Bucket: Copy + Default;
    /// Absolute contents of a bucket.
    type Absolute: Copy + Default + PartialOrd;
    #[doc(hidden)]
    type CountCell: Cell<Value = Self::Count>;
    #[doc(hidden)]
    type BucketCell: Cell<Value = Self::Bucket>;
    /// Encoding without start timestamps.
    const ENCODING: Encoding;
    /// Encoding with start timestamps.
    const ST_ENCODING: Encoding;
    /// Whether floats are stored.
    const FLOAT: bool;

    /// The bucket's contents, given those of the bucket before it.
    fn absolute(before: Self::Absolute, bucket: Self::Bucket) -> Self::Absolute;
    /// The stored form of a bucket, given the contents of the bucket before it.
    fn stored(before: Self::Absolute, bucket: Self::Absolute) -> Self::Bucket;
    /// The sum of two buckets' contents.
    fn add(a: Self::Absolute, b: Self::Absolute) -> Self::Absolute;
    /// Wraps a finished histogram.
    fn wrap(histogram: Buckets<Self::Bucket, Self::Count>) -> Histogram;
    /// The histogram if it is of this kind.
    fn of(histogram: &Histogram) -> Option<&Buckets<Self::Bucket, Self::Count>>;
}

/// Whole counts.
#[derive(Clone, Copy, Debug)]
pub enum Int {}

/// Float counts.
#[derive(Clone, Copy, Debug)]
pub enum Float {}

impl Kind for Int {
    type Count = u64;
    type Bucket = i64;
    type Absolute = i64;
    type CountCell = CountCell;
    type BucketCell = DeltaCell;
    const ENCODING: Encoding = Encoding::Histogram;
    const ST_ENCODING: Encoding = Encoding::HistogramSt;
    const FLOAT: bool = false;

    fn absolute(before: i64, bucket: i64) -> i64 {
        before.wrapping_add(bucket)
    }

    fn stored(before: i64, bucket: i64) -> i64 {
        bucket.wrapping_sub(before)
    }

    fn add(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    fn wrap(histogram: Buckets<i64, u64>) -> Histogram {
        Histogram::Int(Arc::new(histogram))
    }

    fn of(histogram: &Histogram) -> Option<&Buckets<i64, u64>> {
        match histogram {
            Histogram::Int(histogram) => Some(histogram),
            Histogram::Float(_) => None,
        }
    }
}

impl Kind for Float {
    type Count = f64;
    type Bucket = f64;
    type Absolute = f64;
    type CountCell = XorCell;
    type BucketCell = XorCell;
    const ENCODING: Encoding = Encoding::FloatHistogram;
    const ST_ENCODING: Encoding = Encoding::FloatHistogramSt;
    const FLOAT: bool = true;

    fn absolute(_before: f64, bucket: f64) -> f64 {
        bucket
    }

    fn stored(_before: f64, bucket: f64) -> f64 {
        bucket
    }

    fn add(a: f64, b: f64) -> f64 {
        a + b
    }

    fn wrap(histogram: Buckets<f64, f64>) -> Histogram {
        Histogram::Float(Arc::new(histogram))
    }

    fn of(histogram: &Histogram) -> Option<&Buckets<f64, f64>> {
        match histogram {
            Histogram::Float(histogram) => Some(histogram),
            Histogram::Int(_) => None,
        }
    }
}

/// Appends the samples in `min_ms..=max_ms` of the chunk to `columns`.
pub(super) fn decode<K: Kind>(
    chunk: &[u8],
    start_timestamps: bool,
    min_ms: i64,
    max_ms: i64,
    columns: &mut Columns,
) -> Result<(), ChunkError> {
    let mut reader = read::Reader::<K>::new(chunk, start_timestamps)?;
    let has_starts = start_timestamps && chunk[HEADER_BYTES - 1] != 0;
    let mut previous_ms = None;
    while let Some(t) = reader.next()? {
        if previous_ms.replace(t).is_some_and(|before| t <= before) {
            return Err(ChunkError::Corrupt("timestamps do not ascend"));
        }
        if t > max_ms {
            break;
        }
        if t >= min_ms {
            columns.push_histogram(t, K::wrap(reader.histogram()));
            if has_starts {
                columns.set_last_start(reader.start_ms());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
