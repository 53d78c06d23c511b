//! The log as others may follow it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::log::{Appended, Log, LogPosition, LogReader};

use super::{Db, Shared};
use crate::head::Head;
use crate::wal::{Follower, segment_path, segments};
use files::Result;

impl Shared {
    /// First segment of the log that somebody else still reads.
    pub(super) fn log_kept_from(&self) -> Option<u64> {
        let kept = self.log_kept_from.load(Ordering::Acquire);
        (kept != u64::MAX).then_some(kept)
    }
}

/// All but [`Log::keep_from`] and [`Log::bytes_from`] wait until the head is there.
impl Log for Db {
    fn end(&self) -> LogPosition {
        let (segment, offset) = self.head().wal().written();
        LogPosition { segment, offset }
    }

    fn follow(&self, from: LogPosition) -> Result<Box<dyn LogReader>> {
        let files = Arc::clone(&self.shared.files);
        Ok(Box::new(Follower::new(files, Arc::clone(self.head()), from)?))
    }

    fn keep_from(&self, segment: Option<u64>) {
        let kept = segment.unwrap_or(u64::MAX);
        self.shared.log_kept_from.store(kept, Ordering::Release);
    }

    fn bytes_from(&self, segment: u64) -> Result<u64> {
        let (files, dir) = (&*self.shared.files, self.dir().join(Head::WAL_DIR));
        let mut bytes = 0;
        for number in segments(files, &dir)? {
            if number >= segment {
                bytes += files.len(&segment_path(&dir, number))?;
            }
        }
        Ok(bytes)
    }

    fn on_write(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        self.head().wal().on_write(hook);
    }

    fn appended(&self) -> Appended {
        let head = self.head();
        let counters = &head.counters;
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Appended {
            floats: load(&counters.floats_appended),
            histograms: load(&counters.histograms_appended),
            exemplars: load(&counters.exemplars_appended),
            newest_ms: head.max_ms().max(0),
        }
    }
}
