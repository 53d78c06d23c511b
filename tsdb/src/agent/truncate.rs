//! Cutting the log: behind whoever follows it, and no further.
//!
//! What is cut off is replaced by a checkpoint, which names the series that the rest of the log may speak of, and keeps the
//! youngest samples: a start finds there when series had their newest ones. Series that have had none for a while are
//! forgotten before. The log may still have samples of them; their names stay in checkpoints until it has none.

use std::time::{Duration, Instant};

use super::{SeriesLog, Shared, WAL_TRUNCATION};
use crate::wal::{remove_superseded, segments, write_checkpoint};
use files::Result;
use model::storage::StorageError;

/// How often the background looks whether the log has grown long.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Segments that nobody needs any more after which the log is cut before its time.
const SEGMENTS_DUE: u64 = 8;

/// What cutting the log has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncated {
    /// Series that were forgotten.
    pub series: u64,
    /// Segments that were replaced by a checkpoint.
    pub segments: u64,
}

impl Shared {
    pub(super) fn truncate_loop(&self) {
        let mut due = Instant::now() + self.options.truncate_interval;
        while !self
            .stop
            .wait(LOOK_INTERVAL.min(self.options.truncate_interval), false)
        {
            if Instant::now() < due && !self.is_long() {
                continue;
            }
            let done = self.options.supervisor.catch(WAL_TRUNCATION, || self.truncate());
            let done = done.unwrap_or_else(|panicked| Err(StorageError::Other(panicked.to_string())));
            let mut setbacks = self.setbacks.lock();
            setbacks.note("cutting the log", &done);
            due = Instant::now() + setbacks.pause().unwrap_or(self.options.truncate_interval);
        }
    }

    /// Whether many segments wait for being cut off.
    fn is_long(&self) -> bool {
        let current = self.log().wal.segment();
        let needed = self.kept.get().map_or(current, |kept| kept.min(current));
        let first = segments(&*self.files, &self.wal_dir());
        let first = first.ok().and_then(|numbers| numbers.first().copied());
        first.is_some_and(|first| needed.saturating_sub(first) >= SEGMENTS_DUE)
    }

    pub(super) fn truncate(&self) -> Result<Truncated> {
        let started = Instant::now();
        let log = self.log();
        let young_ms = self.clock.now_ms() - self.options.retention_min.as_millis() as i64;
        let gone = log.forget_idle(young_ms);
        let numbers = segments(&*self.files, log.wal.dir())?;
        let current = log.wal.next_segment()?;
        let upto = self
            .kept
            .get()
            .map_or(current, |kept| kept.min(current))
            .checked_sub(1);
        let mut truncated = Truncated {
            series: gone,
            segments: 0,
        };
        let Some(upto) = upto.filter(|upto| numbers.first().is_some_and(|first| first <= upto)) else {
            return Ok(truncated);
        };
        let named = |series: u64| {
            log.series.has(series) || log.removed.lock().get(&series).is_some_and(|until| *until > upto)
        };
        let written = write_checkpoint(&self.files, &log.wal, upto, young_ms, named);
        self.counters.note_checkpoint(&written);
        written?;
        log.removed.lock().retain(|_, until| *until > upto);
        let removed = remove_superseded(&*self.files, &log.wal, upto);
        self.counters.note_removal(&removed);
        truncated.segments = numbers.iter().filter(|number| **number <= upto).count() as u64;
        self.counters.observe_truncation(started.elapsed());
        tracing::info!(
            series = truncated.series,
            segments = truncated.segments,
            up_to = upto,
            took_ms = started.elapsed().as_millis() as u64,
            "The log was cut"
        );
        removed.map(|()| truncated)
    }
}

impl SeriesLog {
    /// Forgets series without a sample since `since_ms`; gives how many they were.
    fn forget_idle(&self, since_ms: i64) -> u64 {
        let _gate = self.gate.write();
        let gone = self.series.remove_idle(since_ms);
        // What transactions have logged of them lies in no later segment.
        let until = self.wal.segment();
        let (mut exemplars, mut told) = (self.exemplars.lock(), self.told.lock());
        for reference in &gone {
            exemplars.remove(reference);
            told.remove(reference);
        }
        let count = gone.len() as u64;
        let gone = gone.into_iter().map(|reference| (reference, until));
        self.removed.lock().extend(gone);
        count
    }
}
