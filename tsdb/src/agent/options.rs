//! How the store of an agent behaves.

use std::sync::Arc;
use std::time::Duration;

use metrics::Registry;
use supervise::Supervisor;

use crate::wal::{self, Compression, ReplayProgress};

/// How the store of an agent behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a segment of the log.
    pub wal_segment_bytes: u64,
    /// How the log is compressed.
    pub wal_compression: Compression,
    /// How often the log is synced; what a power cut can cost at most.
    pub wal_sync_interval: Duration,
    /// How often idle series are forgotten and the log is cut. A log that has grown long behind all who follow it is cut
    /// earlier.
    pub truncate_interval: Duration,
    /// Samples younger than this stay in the log when it is cut, and series that had one stay known.
    pub retention_min: Duration,
    /// How much older than its series' newest sample a late sample may be, in milliseconds; 0 refuses late samples.
    pub out_of_order_window_ms: i64,
    /// Whether start timestamps are logged.
    pub start_timestamps: bool,
    /// Series that may be known; 0 for no limit.
    pub series_max: usize,
    /// Whether the folder is locked against other processes.
    pub lock: bool,
    /// Whether background threads run. Without them [`super::Agent::truncate`] and [`super::Agent::sync`] are the caller's.
    pub background: bool,
    /// Receives how far the reading of the log has come.
    pub progress: Arc<ReplayProgress>,
    /// Counts the panics of background threads; by default where nobody looks.
    pub supervisor: Supervisor,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            wal_segment_bytes: wal::SEGMENT_BYTES,
            wal_compression: Compression::Snappy,
            wal_sync_interval: Duration::from_secs(1),
            truncate_interval: Duration::from_secs(2 * 3600),
            retention_min: Duration::from_secs(5 * 60),
            out_of_order_window_ms: 0,
            start_timestamps: false,
            series_max: 0,
            lock: true,
            background: true,
            progress: Arc::default(),
            supervisor: Supervisor::new(&Registry::new()),
        }
    }
}
