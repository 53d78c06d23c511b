//! How a store behaves.

use std::path::PathBuf;
use std::time::Duration;

use metrics::Registry;
use supervise::Supervisor;

use crate::head::HeadOptions;

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The head and its logs; [`HeadOptions::chunk_range_ms`] is also the length of the smallest blocks.
    pub head: HeadOptions,
    /// Length of the largest blocks. The default is 31 days; a tenth of the retention is customary where that is less.
    pub block_range_max_ms: i64,
    /// What is older than this, counted from the newest block, is removed; 0 keeps everything.
    pub retention_ms: i64,
    /// Bytes that blocks, head chunks and logs may take; 0 for no limit.
    pub retention_bytes: u64,
    /// The same as a percentage of the file system's size; goes before `retention_bytes`. 0 for no limit.
    pub retention_percent: f64,
    /// Share of stale series in the head, 0 to 1, at which they are moved into blocks early; 0 for never.
    pub stale_series_threshold: f64,
    /// How often the logs are synced; what a power cut can cost at most.
    pub wal_sync_interval: Duration,
    /// How often compaction looks for work, and for blocks that others have put into the folder; a full head wakes it
    /// earlier.
    pub compaction_interval: Duration,
    /// How often a snapshot of the head is written, where [`HeadOptions::snapshots`] is set and the logs have grown by a
    /// quarter of its length meanwhile. It bounds what a start after a crash has to replay.
    pub head_snapshot_interval: Duration,
    /// How long truncating the head waits for old views before it is put off.
    pub truncation_patience: Duration,
    /// Whether overlapping blocks are merged in the background.
    pub merge_overlapping: bool,
    /// A file that lists the blocks that were uploaded to a bucket. Where it is given, blocks of the first level wait for
    /// being in it before they are merged.
    pub uploads_file: Option<PathBuf>,
    /// Whether the data folder is locked against other processes.
    pub lock: bool,
    /// Whether background threads run. Without them [`super::Db::compact`] and [`super::Db::sync`] are the caller's.
    pub background: bool,
    /// Counts the panics of background threads; by default where nobody looks.
    pub supervisor: Supervisor,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            head: HeadOptions::default(),
            block_range_max_ms: 31 * 24 * 60 * 60 * 1000,
            retention_ms: 15 * 24 * 60 * 60 * 1000,
            retention_bytes: 0,
            retention_percent: 0.0,
            stale_series_threshold: 0.0,
            wal_sync_interval: Duration::from_secs(1),
            compaction_interval: Duration::from_secs(60),
            head_snapshot_interval: Duration::from_secs(120),
            truncation_patience: Duration::from_secs(10),
            merge_overlapping: true,
            uploads_file: None,
            lock: true,
            background: true,
            supervisor: Supervisor::new(&Registry::new()),
        }
    }
}

impl Options {
    /// Lengths of blocks by level: the smallest, and three times the one before, up to the largest.
    pub(crate) fn block_ranges_ms(&self) -> Vec<i64> {
        let first = self.head.chunk_range_ms;
        let ranges = std::iter::successors(Some(first), |range| range.checked_mul(3));
        ranges
            .take(10)
            .take_while(|range| *range == first || *range <= self.block_range_max_ms)
            .collect()
    }
}
