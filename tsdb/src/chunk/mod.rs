//! Chunks: the compressed samples of one series over a stretch of time.
//!
//! A chunk is two bytes of sample count (high byte first), then an encoding's own bit stream. Which encoding is said by
//! the byte that stands beside the chunk in its file, never guessed.

mod bits;
mod encode;
mod encode_floats;
mod float_read;
mod histogram;
mod lanes;
mod lanes_x86;
mod st;
#[cfg(test)]
pub(crate) mod testing;
#[doc(hidden)]
pub mod workload;
mod xor;
mod xor2;

use model::columns::Columns;

pub use encode::{CHUNK_SAMPLES, EncodeOptions, EncodedChunk, encode};
pub use histogram::{Appended, CounterReset, Float, HistogramAppender, Int, Kind};
pub(crate) use st::StartTrack;
pub(crate) use xor::Window;
pub use xor::{XOR_SAMPLE_BYTES_MAX, XorAppender};
pub use xor2::{XOR2_SAMPLE_BYTES_MAX, Xor2Appender};

/// Bytes of the sample count at the start of every chunk.
const COUNT_BYTES: usize = 2;

/// How a chunk is encoded; the number is the byte in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// Gorilla: delta-of-delta timestamps, XORed floats.
    Xor = 1,
    /// Integer native histograms.
    Histogram = 2,
    /// Float native histograms.
    FloatHistogram = 3,
    /// Floats with joint control bits and optional start timestamps.
    Xor2 = 4,
    /// Integer native histograms with start timestamps.
    HistogramSt = 5,
    /// Float native histograms with start timestamps.
    FloatHistogramSt = 6,
}

impl Encoding {
    /// The encoding of a file's byte.
    ///
    /// # Errors
    /// [`ChunkError::UnknownEncoding`] for bytes that this version does not know.
    pub fn from_byte(byte: u8) -> Result<Self, ChunkError> {
        Ok(match byte {
            1 => Encoding::Xor,
            2 => Encoding::Histogram,
            3 => Encoding::FloatHistogram,
            4 => Encoding::Xor2,
            5 => Encoding::HistogramSt,
            6 => Encoding::FloatHistogramSt,
            other => return Err(ChunkError::UnknownEncoding(other)),
        })
    }

    /// Number of samples in a chunk of this encoding, by its header.
    ///
    /// # Errors
    /// When there is no header.
    pub fn samples(self, chunk: &[u8]) -> Result<u16, ChunkError> {
        let count = sample_count(chunk)?;
        Ok(match self {
            Encoding::HistogramSt | Encoding::FloatHistogramSt => count & histogram::ST_COUNT_MASK,
            _ => count,
        })
    }

    /// Whether samples are histograms.
    pub fn is_histogram(self) -> bool {
        !matches!(self, Encoding::Xor | Encoding::Xor2)
    }
}

/// Why a chunk could not be decoded. The caller knows the file and adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The bit stream ends before the last sample.
    #[error("chunk ends at bit {at_bit}, in sample {sample} of {samples}")]
    Short {
        /// Bits read so far.
        at_bit: u64,
        /// Sample that could not be read.
        sample: u16,
        /// Samples the header promises.
        samples: u16,
    },
    /// An encoding byte that this version does not know.
    #[error("chunk encoding {0} is not known to this version")]
    UnknownEncoding(u8),
    /// Contents that no writer produces.
    #[error("chunk is damaged: {0}")]
    Corrupt(&'static str),
}

/// Why a sample was not added to a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkFull {
    /// The buffer is too small.
    #[error("chunk needs {needed} bytes")]
    Bytes {
        /// Length of the chunk with the sample.
        needed: usize,
    },
    /// The sample count has reached its limit.
    #[error("chunk holds {} samples", u16::MAX)]
    Samples,
}

/// The first two bytes of a chunk: the sample count, below two bits of other meaning in some encodings.
pub(crate) fn sample_count(chunk: &[u8]) -> Result<u16, ChunkError> {
    match chunk.first_chunk() {
        Some(count) => Ok(u16::from_be_bytes(*count)),
        None => Err(ChunkError::Corrupt("chunk has no sample count")),
    }
}

/// A chunk's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkData<'a> {
    /// How it is encoded; any byte, since it is read as it is.
    pub encoding: u8,
    /// Sample count and bit stream.
    pub bytes: &'a [u8],
}

/// Appends to `columns` the samples in `min_ms..=max_ms` of chunks that follow each other in a series: several at a time
/// where that is faster (see `lanes`).
///
/// # Errors
/// When one is no chunk of its encoding or does not begin behind the one before it, or behind the rows that were there:
/// its place in `chunks`, and why. `columns` may then hold the samples before the damage.
pub fn decode_all(
    chunks: &[ChunkData<'_>],
    min_ms: i64,
    max_ms: i64,
    columns: &mut Columns,
) -> Result<(), (usize, ChunkError)> {
    let mut at = 0;
    while at < chunks.len() {
        let encoding = chunks[at].encoding;
        let mut together: [&[u8]; lanes::LANES] = [&[]; lanes::LANES];
        let mut count = 0;
        for (slot, chunk) in together.iter_mut().zip(&chunks[at..]) {
            if chunk.encoding != encoding || !float_read::takes_turns(encoding, chunk.bytes) {
                break;
            }
            *slot = chunk.bytes;
            count += 1;
        }
        let before = columns.len();
        let done = match &together[..count] {
            [] | [_] => Err(lanes::Odd),
            chunks if encoding == Encoding::Xor2 as u8 => {
                float_read::decode_together::<true>(chunks, min_ms, max_ms, columns)
            }
            chunks => float_read::decode_together::<false>(chunks, min_ms, max_ms, columns),
        };
        if done.is_err() {
            decode(encoding, chunks[at].bytes, min_ms, max_ms, columns).map_err(|e| (at, e))?;
            count = 1;
        }
        let rows = &columns.timestamps_ms;
        if before > 0 && rows.get(before).is_some_and(|first| *first <= rows[before - 1]) {
            return Err((
                at,
                ChunkError::Corrupt("it begins before the end of the one before it"),
            ));
        }
        at += count;
    }
    Ok(())
}

/// Appends to `columns` the samples of a chunk whose timestamps lie in `min_ms..=max_ms`.
///
/// # Errors
/// When the bytes are no chunk of that encoding; `columns` may then hold the samples before the damage.
pub fn decode(
    encoding: u8,
    bytes: &[u8],
    min_ms: i64,
    max_ms: i64,
    columns: &mut Columns,
) -> Result<(), ChunkError> {
    match Encoding::from_byte(encoding)? {
        Encoding::Xor => float_read::decode::<false>(bytes, min_ms, max_ms, columns),
        Encoding::Xor2 => float_read::decode::<true>(bytes, min_ms, max_ms, columns),
        Encoding::Histogram => histogram::decode::<Int>(bytes, false, min_ms, max_ms, columns),
        Encoding::HistogramSt => histogram::decode::<Int>(bytes, true, min_ms, max_ms, columns),
        Encoding::FloatHistogram => histogram::decode::<Float>(bytes, false, min_ms, max_ms, columns),
        Encoding::FloatHistogramSt => histogram::decode::<Float>(bytes, true, min_ms, max_ms, columns),
    }
}
