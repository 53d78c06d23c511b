//! The log of notifications: what each integration was last told of each group.
//!
//! It decides whether a group is told of again, and why; and it outlives restarts, so that one begins where the last one
//! ended. One entry a group and integration, the newest. An entry is durable before its notification counts as sent.
//!
//! Two groups may have the same key, and a reload may build a group anew while its old self still sends. Whoever wants to
//! tell an integration of a group therefore claims the key first ([`NotificationLog::claim`]), looks, sends and enters
//! while holding the claim.

mod entry;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use files::Files;
use files::journal::Format;
use jiff::Timestamp;
use model::clock::Clock;
use model::labels::Labels;
use model::storage::StorageError;
use parking_lot::Mutex;
use receivers::NotifyReason;
use supervise::Supervisor;
use tokio::sync::OwnedMutexGuard;

use crate::lease::Shared;
use crate::ledger::{Book, CommitError, Ledger, Recovery};
use crate::stats::LedgerStats;
use crate::wire::WireError;
pub(crate) use entry::{Entry, LogKey};

/// A repeated notification is remembered for so many repeat intervals.
const REPEATS_REMEMBERED: u32 = 2;

/// The log.
pub(crate) struct NotificationLog {
    ledger: Arc<Ledger<Entries>>,
    claims: Mutex<HashMap<LogKey, Arc<tokio::sync::Mutex<()>>>>,
    retention: Duration,
    stats: LedgerStats,
}

/// Entries by their key.
#[derive(Default)]
pub(crate) struct Entries(HashMap<LogKey, Arc<Entry>>);

impl Book for Entries {
    type Entry = Arc<Entry>;

    const NAME: &'static str = "nflog";
    const FORMAT: Format = Format {
        magic: *b"NTXnflog",
        version: 1,
    };
    const TASK: &'static str = "notification-log";

    fn encode(entry: &Arc<Entry>) -> Vec<u8> {
        entry.encode()
    }

    fn decode(message: &[u8]) -> Result<Arc<Entry>, WireError> {
        Entry::decode(message).map(Arc::new)
    }

    fn enter(&mut self, entry: Arc<Entry>) {
        let known = self.0.get(&entry.key);
        // What was on its way when somebody else took over is no news.
        if known.is_none_or(|known| known.term <= entry.term) {
            self.0.insert(entry.key.clone(), entry);
        }
    }

    fn enter_unless_older(&mut self, entry: Arc<Entry>) {
        let known = self.0.get(&entry.key);
        if known.is_none_or(|known| known.age() <= entry.age()) {
            self.enter(entry);
        }
    }

    fn is_news(&self, entry: &Arc<Entry>) -> bool {
        let known = self.0.get(&entry.key);
        known.is_none_or(|known| known.age() < entry.age())
    }

    fn part_key(entry: &Arc<Entry>) -> u64 {
        let LogKey {
            group,
            receiver,
            kind,
            index,
        } = &entry.key;
        let text = format!("{group}\u{0}{receiver}\u{0}{kind}\u{0}{index}");
        xxhash_rust::xxh64::xxh64(text.as_bytes(), 0)
    }

    fn made_at(entry: &Arc<Entry>) -> Timestamp {
        entry.timestamp
    }

    fn expires_at(entry: &Arc<Entry>) -> Timestamp {
        entry.expires_at
    }

    fn entries(&self) -> Box<dyn Iterator<Item = &Arc<Entry>> + '_> {
        Box::new(self.0.values())
    }
}

/// What one integration is to be told of a group: numbers of its alerts, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Those that fire.
    pub(crate) firing: Vec<u64>,
    /// Those that are resolved.
    pub(crate) resolved: Vec<u64>,
}

/// The right to tell an integration of a group, until it is dropped.
pub(crate) struct Claim {
    _guard: OwnedMutexGuard<()>,
}

impl NotificationLog {
    /// Opens the log in `folder`; entries are kept for `retention` at most.
    ///
    /// # Errors
    /// When its files cannot be read or written.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        folder: &Path,
        retention: Duration,
        supervisor: Supervisor,
        stats: LedgerStats,
    ) -> Result<(Self, Recovery), StorageError> {
        let (ledger, recovery) = Ledger::open(files, clock, folder, supervisor)?;
        let log = NotificationLog {
            ledger: Arc::new(ledger),
            claims: Mutex::default(),
            retention,
            stats,
        };
        Ok((log, recovery))
    }

    /// Waits until nobody else tells the integration of the group.
    pub(crate) async fn claim(&self, key: &LogKey) -> Claim {
        let turn = self.claims.lock().entry(key.clone()).or_default().clone();
        let guard = turn.lock_owned().await;
        Claim { _guard: guard }
    }

    /// The log as a book that can lie beside a lease.
    pub(crate) fn shared(&self) -> Arc<dyn Shared> {
        Arc::new(self.ledger.clone())
    }

    /// What the integration was last told of the group.
    pub(crate) fn last(&self, key: &LogKey) -> Option<Arc<Entry>> {
        self.stats
            .query(|| self.ledger.read(|entries| entries.0.get(key).cloned()))
    }

    /// Enters that the integration was told; done when it is durable.
    ///
    /// # Errors
    /// When the disk does not take it. The log knows it nevertheless, as long as the process lives.
    pub(crate) async fn enter(&self, mut entry: Entry, repeat_interval: Duration) -> Result<(), CommitError> {
        let kept = self
            .retention
            .min(repeat_interval.saturating_mul(REPEATS_REMEMBERED));
        entry.expires_at = after(entry.timestamp, kept);
        let entry = Arc::new(entry);
        // It has been told, whatever the disk says: this process tells nothing twice.
        self.ledger.edit(|entries| entries.enter(entry.clone()));
        self.ledger.commit(vec![entry]).await
    }

    /// Forgets what is over, and writes the snapshot. Not for the network's threads.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn maintain(&self, now: Timestamp) -> Result<(), StorageError> {
        self.stats.maintenance(|stats| {
            stats.gc(|| {
                self.ledger
                    .edit(|entries| entries.0.retain(|_, entry| entry.expires_at > now));
                // A claim that nobody holds or waits for is in this list alone.
                self.claims.lock().retain(|_, turn| Arc::strong_count(turn) > 1);
            });
            stats.snapshot(|| self.ledger.snapshot())
        })
    }
}

/// A moment after `time`; the last one there is where that is beyond it.
pub(crate) fn after(time: Timestamp, span: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(span)
        .ok()
        .and_then(|span| time.checked_add(span).ok())
        .unwrap_or(Timestamp::MAX)
}

/// A moment before `time`; the first one there is where that is beyond it.
pub(crate) fn before(time: Timestamp, span: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(span)
        .ok()
        .and_then(|span| time.checked_sub(span).ok())
        .unwrap_or(Timestamp::MIN)
}

/// The number that the log knows an alert by.
pub(crate) fn alert_number(labels: &Labels) -> u64 {
    let mut bytes = Vec::with_capacity(labels.as_bytes().len() + 2);
    for (name, value) in labels {
        for text in [name, value] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0xff);
        }
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0)
}

/// Why an integration has to be told of a group that is now as `told` says; `None` where it has not. `last` is what it was
/// told before, `now` when the group was looked at.
pub(crate) fn reason(
    last: Option<&Entry>,
    told: &Told,
    send_resolved: bool,
    repeat_interval: Duration,
    now: Timestamp,
) -> Option<NotifyReason> {
    let Some(last) = last else {
        return (!told.firing.is_empty()).then_some(NotifyReason::First);
    };
    if !is_subset(&told.firing, &last.firing) {
        // All of it had been resolved: this is a new story.
        let first = last.firing.is_empty();
        return Some(if first {
            NotifyReason::First
        } else {
            NotifyReason::NewAlerts
        });
    }
    if told.firing.is_empty() {
        // Said to those, too, who are not told of resolved alerts: the log forgets what fired. What fired and was
        // resolved between two looks was never told of.
        return (!last.firing.is_empty()).then_some(NotifyReason::AllResolved);
    }
    if send_resolved && !is_subset(&told.resolved, &last.resolved) {
        return Some(NotifyReason::NewResolved);
    }
    (last.timestamp < before(now, repeat_interval)).then_some(NotifyReason::Repeat)
}

fn is_subset(part: &[u64], whole: &[u64]) -> bool {
    let whole: std::collections::HashSet<&u64> = whole.iter().collect();
    part.iter().all(|number| whole.contains(number))
}

#[cfg(test)]
mod tests;
