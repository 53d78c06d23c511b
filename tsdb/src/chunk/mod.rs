//! Chunks: the compressed samples of one series over a stretch of time.
//!
//! A chunk is two bytes of sample count (high byte first), then an encoding's own bit stream. Which encoding is said by
//! the byte that stands beside the chunk in its file, never guessed.

use model::columns::Columns;

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
    let _ = (bytes, min_ms, max_ms, columns);
    Err(ChunkError::UnknownEncoding(encoding))
}
