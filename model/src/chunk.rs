//! Samples as they are encoded where they lie.

/// The encoded samples of one series over a stretch of time. What the bytes mean is told by whoever wrote them
/// (`tsdb/docs/chunks.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// First sample, in milliseconds since the epoch.
    pub min_ms: i64,
    /// Last sample.
    pub max_ms: i64,
    /// How it is encoded: the byte that stands beside it in files.
    pub encoding: u8,
    /// Sample count and bit stream.
    pub bytes: Vec<u8>,
}
