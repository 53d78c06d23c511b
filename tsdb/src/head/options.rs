//! How a head behaves.

use std::sync::Arc;

use super::ReplayProgress;
use crate::wal::{self, Compression};

/// How a head behaves.
#[derive(Clone, Debug)]
pub struct HeadOptions {
    /// Length of the blocks that the head is cut into; chunks do not cross their boundaries.
    pub chunk_range_ms: i64,
    /// Samples that a chunk should have.
    pub samples_per_chunk: u16,
    /// How much older than the head's newest sample a late sample may be; 0 refuses late samples.
    pub out_of_order_window_ms: i64,
    /// Late samples of a series that are gathered before they become a chunk.
    pub out_of_order_cap: usize,
    /// How far ahead of the clock samples may be; `None` for any distance.
    pub future_margin_ms: Option<i64>,
    /// Exemplars that are kept; 0 switches them off.
    pub exemplars_max: usize,
    /// Series that may be active; 0 for no limit.
    pub series_max: usize,
    /// Whether floats are encoded as [`Xor2`](crate::chunk::Encoding::Xor2) instead of
    /// [`Xor`](crate::chunk::Encoding::Xor).
    pub xor2_floats: bool,
    /// Whether start timestamps are stored (in the log and in chunks); floats are encoded as
    /// [`Xor2`](crate::chunk::Encoding::Xor2) then.
    pub start_timestamps: bool,
    /// Bytes of a log segment.
    pub wal_segment_bytes: u64,
    /// How the logs are compressed.
    pub wal_compression: Compression,
    /// Whether snapshots are read, and written when the head is closed. Where not, one that is there is removed.
    pub snapshots: bool,
    /// Receives how far the replay of the logs has come.
    pub progress: Arc<ReplayProgress>,
}

impl Default for HeadOptions {
    fn default() -> Self {
        HeadOptions {
            chunk_range_ms: 2 * 60 * 60 * 1000,
            samples_per_chunk: 120,
            out_of_order_window_ms: 0,
            out_of_order_cap: 32,
            future_margin_ms: None,
            exemplars_max: 0,
            series_max: 0,
            xor2_floats: false,
            start_timestamps: false,
            wal_segment_bytes: wal::SEGMENT_BYTES,
            wal_compression: Compression::Snappy,
            snapshots: true,
            progress: Arc::default(),
        }
    }
}
