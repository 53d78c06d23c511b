//! How far a replay has come, for those who wait for it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time between two log lines about a long replay.
const LINES_APART: Duration = Duration::from_secs(5);

/// How far a replay has come. Segments are those of the log, by number; bytes are those of both logs.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    first_segment: AtomicU64,
    last_segment: AtomicU64,
    segment: AtomicU64,
    bytes: AtomicU64,
    bytes_done: AtomicU64,
    cancelled: AtomicBool,
    last_line: Mutex<Option<Instant>>,
}

impl ReplayProgress {
    /// Number of the first segment to replay, of the last one, and of the one at hand.
    pub fn segments(&self) -> (u64, u64, u64) {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (
            load(&self.first_segment),
            load(&self.last_segment),
            load(&self.segment),
        )
    }

    /// Percentage that is done, by bytes; 0 before it is known how many there are.
    pub fn percent(&self) -> f64 {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if bytes == 0 {
            return 0.0;
        }
        100.0 * self.bytes_done.load(Ordering::Relaxed) as f64 / bytes as f64
    }

    /// Makes the replay end as soon as it can: the store is not opened then.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Notes what is to be done.
    pub(crate) fn begin(&self, first_segment: u64, last_segment: u64, bytes: u64) {
        self.first_segment.store(first_segment, Ordering::Relaxed);
        self.last_segment.store(last_segment, Ordering::Relaxed);
        self.segment.store(first_segment, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.bytes_done.store(0, Ordering::Relaxed);
        *self.last_line.lock() = Some(Instant::now());
    }

    /// Notes that a segment is begun; those of checkpoints and of the late log do not count.
    pub(crate) fn enter(&self, segment: &Path) {
        let number = segment.file_name().and_then(|name| name.to_str()?.parse().ok());
        let last = self.last_segment.load(Ordering::Relaxed);
        if let Some(number) = number.filter(|n| (self.segment.load(Ordering::Relaxed)..=last).contains(n)) {
            self.segment.store(number, Ordering::Relaxed);
        }
    }

    /// Notes that so many bytes are done, and says so from time to time.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        let mut last_line = self.last_line.lock();
        if last_line.is_some_and(|at| at.elapsed() >= LINES_APART) {
            *last_line = Some(Instant::now());
            let (first, last, segment) = self.segments();
            tracing::info!(
                percent = self.percent() as u64,
                segment,
                first,
                last,
                "replaying the log"
            );
        }
    }
}
