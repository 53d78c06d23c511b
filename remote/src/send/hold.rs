//! How much of the log is kept for queues that are behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::log::Log;
use parking_lot::Mutex;

/// What each queue still needs.
pub(super) struct Hold {
    log: Arc<dyn Log>,
    /// Most bytes of the log that are kept for a queue.
    pub(super) bytes_max: u64,
    /// Most milliseconds since a segment ended for which it is kept for a queue.
    pub(super) age_max_ms: i64,
    needed: Mutex<BTreeMap<String, u64>>,
}

impl Hold {
    pub(super) fn new(log: Arc<dyn Log>, bytes_max: u64, age_max_ms: i64) -> Self {
        Hold {
            log,
            bytes_max,
            age_max_ms,
            needed: Mutex::default(),
        }
    }

    /// Queue `key` needs segments from `segment` on. One that has not yet looked where it stands needs all.
    pub(super) fn set(&self, key: &str, segment: u64) {
        let mut needed = self.needed.lock();
        needed.insert(key.to_owned(), segment);
        self.log.keep_from(needed.values().min().copied());
    }

    /// The queues of these keys are all there are.
    pub(super) fn retain(&self, keys: &[&str]) {
        let mut needed = self.needed.lock();
        needed.retain(|key, _| keys.contains(&key.as_str()));
        self.log.keep_from(needed.values().min().copied());
    }
}
