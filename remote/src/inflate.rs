//! Bodies that come compressed, inflated within a bound.

use std::io::Read;

/// Why a body does not inflate: nothing else can happen, and each way in has a word of its own for both.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// It is not compressed in the way that it is said to be.
    #[error(transparent)]
    Malformed(#[from] std::io::Error),
    /// There is more than may be.
    #[error("more than {bytes_max} bytes once it is inflated")]
    TooLong {
        /// How much there may be.
        bytes_max: usize,
    },
}

/// All that `decoder` gives, which is never asked for more than `bytes_max` and one.
///
/// # Errors
/// See [`InflateError`].
pub fn inflate(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    let mut inflated = Vec::new();
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut inflated)?;
    match inflated.len() > bytes_max {
        true => Err(InflateError::TooLong { bytes_max }),
        false => Ok(inflated),
    }
}

/// The same of gzip, all its members.
///
/// # Errors
/// See [`InflateError`].
pub fn gunzip(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    inflate(flate2::bufread::MultiGzDecoder::new(body), bytes_max)
}
