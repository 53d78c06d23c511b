//! The log as others may follow it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::log::{Appended, Log, LogPosition, LogReader};

use super::Db;
use crate::head::Head;
use crate::wal::{Follower, bytes_from, end};
use files::Result;

/// All but [`Log::keep_from`] and [`Log::bytes_from`] wait until the head is there.
impl Log for Db {
    fn end(&self) -> LogPosition {
        end(self.head().wal())
    }

    fn follow(&self, from: LogPosition) -> Result<Box<dyn LogReader>> {
        let (files, wal) = (Arc::clone(&self.shared.files), Arc::clone(self.head().wal()));
        Ok(Box::new(Follower::new(files, wal, from)?))
    }

    fn keep_from(&self, segment: Option<u64>) {
        self.shared.log_kept.set(segment);
    }

    fn bytes_from(&self, segment: u64) -> Result<u64> {
        bytes_from(&*self.shared.files, &self.dir().join(Head::WAL_DIR), segment)
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
