//! Silences: what alerts must be like that nobody is told of, from when to when.
//!
//! A silence is pending, active or expired by the clock alone; it is never deleted by anybody, only forgotten some time
//! after it has expired. One that recurs is active at certain times only, and pending in between (`recurrence`). Changing one keeps its past: where that would be rewritten, the old one expires and a new one
//! takes its place ([`Silences::put`]). A change is durable before it is answered.

mod mute;
mod record;
mod recurrence;
mod rules;
mod shelf;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use files::Files;
use jiff::Timestamp;
use model::clock::Clock;
use model::storage::StorageError;
use supervise::Supervisor;

use crate::lease::Shared;
use crate::ledger::{Book as _, CommitError, Ledger, Recovery};
use crate::log::after;
use crate::matcher::{MatchOp, Matchers};
use crate::stats::LedgerStats;
pub(crate) use mute::MuteCache;
pub use recurrence::{RECURRENCE, check_recurrence};
pub use rules::SilenceError;
use shelf::Shelf;

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// A UUID.
    pub id: String,
    /// What alerts must be like: as one of these says. Silences that are made here have one.
    pub matchers: Vec<Matchers>,
    /// From when on.
    pub starts_at: Timestamp,
    /// Until when, that moment included.
    pub ends_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// What else is known of it.
    pub annotations: BTreeMap<String, String>,
    /// When it silences between its beginning and its end, as an annotation says; all the time without.
    pub(crate) recurrence: Option<Arc<recurrence::Recurrence>>,
    /// Fields that later versions of the reference gave it, as they were read.
    pub(crate) unknown: Vec<u8>,
}

/// A silence that somebody wants.
#[derive(Clone, Debug, Default)]
pub struct PostedSilence {
    /// Which one is to be changed; empty for a new one.
    pub id: String,
    /// What alerts must be like: all of this.
    pub matchers: Vec<PostedMatcher>,
    /// From when on; `None` for now.
    pub starts_at: Option<Timestamp>,
    /// Until when.
    pub ends_at: Option<Timestamp>,
    /// Who makes it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// What else is to be known of it.
    pub annotations: BTreeMap<String, String>,
}

/// A matcher that nobody has looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedMatcher {
    /// Label.
    pub name: String,
    /// How it is compared.
    pub op: MatchOp,
    /// Value or pattern.
    pub value: String,
}

/// Where a silence is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SilenceState {
    /// It silences.
    Active,
    /// It has not begun, or recurs and waits for its next time.
    Pending,
    /// It is over.
    Expired,
}

impl SilenceState {
    /// All there are.
    pub const ALL: [SilenceState; 3] = [SilenceState::Active, SilenceState::Pending, SilenceState::Expired];

    /// The word that the API and metrics have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            SilenceState::Active => "active",
            SilenceState::Pending => "pending",
            SilenceState::Expired => "expired",
        }
    }
}

impl Silence {
    /// Where it is in its life at `now`.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        let waits = || self.recurrence.as_ref().is_some_and(|times| !times.contains(now));
        match self.life(now) {
            SilenceState::Active if waits() => SilenceState::Pending,
            state => state,
        }
    }

    /// The same, whether or not it is one of the times at which it recurs.
    pub(crate) fn life(&self, now: Timestamp) -> SilenceState {
        if now < self.starts_at {
            SilenceState::Pending
        } else if now > self.ends_at {
            SilenceState::Expired
        } else {
            SilenceState::Active
        }
    }
}

/// How many silences there may be, and how long.
#[derive(Clone, Copy, Debug, Default)]
pub struct SilenceLimits {
    /// Silences, expired ones among them; 0 for any number.
    pub count_max: usize,
    /// Bytes of one as it is stored; 0 for any number.
    pub bytes_max: usize,
}

/// A silence as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) silence: Arc<Silence>,
    /// When it may be forgotten.
    pub(crate) expires_at: Timestamp,
}

/// All silences.
pub(crate) struct Silences {
    ledger: Arc<Ledger<Shelf>>,
    /// One change at a time: what it is checked against must still hold when it is entered.
    changing: tokio::sync::Mutex<()>,
    retention: Duration,
    limits: SilenceLimits,
    pub(crate) stats: LedgerStats,
}

impl Silences {
    /// Opens the silences in `folder`; they are kept for `retention` after their end.
    ///
    /// # Errors
    /// When their files cannot be read or written.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        folder: &Path,
        retention: Duration,
        limits: SilenceLimits,
        supervisor: Supervisor,
        stats: LedgerStats,
    ) -> Result<(Self, Recovery), StorageError> {
        let (ledger, recovery) = Ledger::open(files, clock, folder, supervisor)?;
        let silences = Silences {
            ledger: Arc::new(ledger),
            changing: tokio::sync::Mutex::new(()),
            retention,
            limits,
            stats,
        };
        Ok((silences, recovery))
    }

    /// Silences as a book that can lie beside a lease.
    pub(crate) fn shared(&self) -> Arc<dyn Shared> {
        Arc::new(self.ledger.clone())
    }

    /// The silence of this id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Silence>> {
        self.stats.query(|| {
            self.ledger
                .read(|shelf| shelf.get(id).map(|record| record.silence.clone()))
        })
    }

    /// Those that `keep` wants, oldest first.
    pub(crate) fn list(&self, mut keep: impl FnMut(&Silence) -> bool) -> Vec<Arc<Silence>> {
        self.stats.query(|| {
            self.ledger.read(|shelf| {
                let all = shelf.entries().map(|record| &record.silence);
                all.filter(|silence| keep(silence)).cloned().collect()
            })
        })
    }

    /// How many there are in a state, and in all.
    pub(crate) fn count(&self, state: SilenceState, now: Timestamp) -> usize {
        self.ledger.read(|shelf| {
            shelf
                .entries()
                .filter(|record| record.silence.state(now) == state)
                .count()
        })
    }

    /// Number of all silences.
    pub(crate) fn len(&self) -> usize {
        self.ledger.read(Shelf::len)
    }

    /// Forgets what is over, and writes the snapshot. Not for the network's threads.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn maintain(&self, now: Timestamp) -> Result<(), StorageError> {
        self.stats.maintenance(|stats| {
            stats.gc(|| self.ledger.edit(|shelf| shelf.forget(now)));
            stats.snapshot(|| self.ledger.snapshot())
        })
    }

    async fn commit(&self, silences: Vec<Silence>) -> Result<(), CommitError> {
        let records = silences.into_iter().map(|silence| self.record(silence)).collect();
        self.ledger.commit(records).await
    }

    fn record(&self, silence: Silence) -> Record {
        Record {
            expires_at: after(silence.ends_at, self.retention),
            silence: Arc::new(silence),
        }
    }
}

#[cfg(test)]
mod tests;
