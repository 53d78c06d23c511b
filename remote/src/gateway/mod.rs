//! The push gateway: groups of metrics that jobs leave here for the scraper.
//!
//! Jobs that end before anybody scrapes them push what they have measured, under labels that name them; the metrics stay
//! until they are replaced, deleted, or have outlived their time. Paths, bodies, checks and words are those of the
//! reference's Pushgateway 1.11; what is ours are the time to live, bounds, and that a push which was answered is on the
//! disk.
//!
//! The one decision behind it: a push costs what it brings. It is held against an index of names and series instead of a
//! gathering of everything, written as one record, and given away as it came.
//!
//! ```
//! use std::sync::Arc;
//! use model::clock::SystemClock;
//! use narthex_remote::gateway::{Gateway, GroupKey, Options, Push};
//! let gateway = Gateway::new(Options::default(), Arc::new(SystemClock));
//! let key = GroupKey::from_path(b"job/backup/instance/db-1", Default::default())?;
//! let push = Push { body: b"last_success 1\n", replace: true, ..Push::default() };
//! gateway.push(&key, &push)?;
//! let families = gateway.families()?;
//! assert_eq!(families[0].name, "last_success");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod check;
mod error;
mod family;
mod journal;
mod key;
mod state;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use files::Files;
use files::journal::{Journal, Opened};
use model::clock::Clock;
use model::labels::NameScheme;
use model::storage::StorageError;
use parking_lot::RwLock;

pub use check::Merged;
pub use error::{BodyError, Fault, Faults, Full, PushError};
pub use family::{FAMILIES_MAX, Family, Kind, LabelSet, METRICS_MAX, Metric, Text};
pub use key::{GroupKey, KeyError};
pub use state::{Group, Stored};
pub use value::{Histogram, Value};

use state::{FAILURE_TIME, State};

/// What a gateway is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hold what is pushed against what is there.
    pub check: bool,
    /// Which letters names of metrics in text, and of labels in paths, may have.
    pub names: NameScheme,
    /// How long a group lives after its last push where that says nothing, in milliseconds.
    pub ttl_ms: Option<i64>,
    /// Most groups; 0 for no limit.
    pub groups_max: usize,
    /// Most bytes that all groups may take, about; 0 for no limit.
    pub bytes_max: usize,
    /// Most bytes of a body, inflated.
    pub body_bytes_max: usize,
    /// Metrics that are shown together with the groups': their names, by which pushed ones have to go.
    pub own: BTreeMap<String, OwnFamily>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            check: true,
            names: NameScheme::Legacy,
            ttl_ms: None,
            groups_max: 100_000,
            bytes_max: 256 << 20,
            body_bytes_max: 16 << 20,
            own: BTreeMap::new(),
        }
    }
}

/// A family of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFamily {
    /// Its kind.
    pub kind: Kind,
    /// Its help, where it is known.
    pub help: Option<String>,
}

/// What somebody pushes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Push<'p> {
    /// The body as it came.
    pub body: &'p [u8],
    /// Its `Content-Type`.
    pub content_type: &'p str,
    /// Its `Content-Encoding`.
    pub content_encoding: &'p str,
    /// Whether it replaces the whole group, or only families of the same names.
    pub replace: bool,
    /// How long the group is to live, in milliseconds: `Some(0)` for ever, nothing for what the gateway is told.
    pub ttl_ms: Option<i64>,
}

/// How much there is, and what became of what there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Groups.
    pub groups: usize,
    /// Bytes that they take, about.
    pub bytes: usize,
    /// Groups that have outlived their time, since the start.
    pub expired: u64,
    /// Length of the journal's file.
    pub journal_bytes: u64,
}

/// What opening a gateway's journal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Groups.
    pub groups: usize,
    /// What was the matter with the file.
    pub opened: Opened,
    /// Records that mean nothing to this program.
    pub unreadable: usize,
}

/// All groups. Threads may push and read at the same time.
pub struct Gateway {
    options: Options,
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    journal: Option<Journal>,
}

impl Gateway {
    /// A gateway that forgets everything at the end.
    pub fn new(options: Options, clock: Arc<dyn Clock>) -> Self {
        Gateway {
            options,
            clock,
            state: RwLock::default(),
            journal: None,
        }
    }

    /// A gateway that keeps its groups in the file `path`.
    ///
    /// # Errors
    /// When the folder cannot be made, or the file not be read.
    pub fn open(
        options: Options,
        clock: Arc<dyn Clock>,
        files: Arc<dyn Files>,
        path: &Path,
    ) -> files::Result<(Self, Recovered)> {
        let (journal, found) = journal::open(files, &clock, path)?;
        let recovered = Recovered {
            groups: found.state.groups.len(),
            opened: found.opened,
            unreadable: found.unreadable,
        };
        let gateway = Gateway {
            options,
            clock,
            state: RwLock::new(found.state),
            journal: Some(journal),
        };
        Ok((gateway, recovered))
    }

    /// What it was told.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Takes a push over. When this returns `Ok`, it is on the disk, if the gateway has one.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push(&self, key: &GroupKey, push: &Push<'_>) -> Result<(), PushError> {
        let families = body::read(
            push.body,
            push.content_type,
            push.content_encoding,
            self.options.names,
            self.options.body_bytes_max,
        )?;
        let (record, refused) = self.change(key, push, families)?;
        self.write(&record)?;
        refused.map_or(Ok(()), |faults| Err(PushError::Invalid(faults)))
    }

    /// Changes the state. Gives the change's record, and why it is another change than what was asked for.
    fn change(
        &self,
        key: &GroupKey,
        push: &Push<'_>,
        families: BTreeMap<String, Family>,
    ) -> Result<(Vec<u8>, Option<Faults>), Full> {
        let (now_ms, elapsed) = (self.clock.now_ms(), self.clock.elapsed());
        let ttl_ms = match push.ttl_ms {
            Some(ttl_ms) => Some(ttl_ms).filter(|ttl_ms| *ttl_ms > 0),
            None => self.options.ttl_ms,
        };
        let mut state = self.state.write();
        state.expire(elapsed);
        let is_new = !state.groups.contains_key(key);
        if is_new && self.options.groups_max > 0 && state.groups.len() >= self.options.groups_max {
            return Err(Full::Groups(self.options.groups_max));
        }
        let mut metrics = families.values().flat_map(|family| &family.metrics);
        let has_timestamps = metrics.any(Metric::has_timestamp);
        let families = families
            .into_values()
            .filter(|family| family.name != state::PUSH_TIME);
        let mut stored: Vec<Arc<Stored>> = families.map(|family| state.store(family, key, now_ms)).collect();
        stored.push(state.push_time(key, Some(now_ms), now_ms));
        let group = state.groups.get(key);
        let knows_failures = group.is_some_and(|group| group.families.contains_key(FAILURE_TIME));
        if !knows_failures && stored.iter().all(|stored| stored.family.name != FAILURE_TIME) {
            stored.push(state.failure_time(key, None, now_ms));
        }
        self.check_room(&state, key, &stored, push.replace)?;
        let faults = match has_timestamps {
            true => vec![Fault::Timestamp],
            false => self.faults(&mut state, key, &stored, push.replace),
        };
        if faults.is_empty() {
            state.put(key, stored, push.replace);
            state.let_live(key, ttl_ms, now_ms, elapsed);
            state.suspect |= !self.options.check;
        } else {
            self.note_failure(&mut state, key, now_ms);
            if is_new {
                state.let_live(key, ttl_ms, now_ms, elapsed);
            }
        }
        let record = match state.groups.get(key) {
            Some(group) if self.journal.is_some() => journal::of_group(key, group),
            _ => Vec::new(),
        };
        // Compat: what is wrong with a push that is not checked is not told (`unchecked/timestamps`).
        let refused = (!faults.is_empty() && self.options.check).then_some(Faults(faults));
        Ok((record, refused))
    }

    fn faults(&self, state: &mut State, key: &GroupKey, stored: &[Arc<Stored>], replace: bool) -> Vec<Fault> {
        if !self.options.check {
            return Vec::new();
        }
        let faults = state.faults_of_push(&self.options.own, key, stored, replace);
        if !faults.is_empty() || !state.suspect {
            return faults;
        }
        // Compat: while anything does not fit, nothing that is pushed does (push/pushgateway `utf8-on/escaped-reserved`).
        match state.faults_after(&self.options.own, key, stored, replace) {
            Ok(()) => {
                state.suspect = false;
                Vec::new()
            }
            Err(Faults(faults)) => faults,
        }
    }

    /// Notes that a push failed; a group that is not there is made for that.
    fn note_failure(&self, state: &mut State, key: &GroupKey, now_ms: i64) {
        let mut stored = vec![state.failure_time(key, Some(now_ms), now_ms)];
        let group = state.groups.get(key);
        if !group.is_some_and(|group| group.families.contains_key(state::PUSH_TIME)) {
            stored.push(state.push_time(key, None, now_ms));
        }
        // Compat: they are kept even where they fit nowhere (push/pushgateway `push-time-pushed`).
        let fits = state
            .faults_of_push(&self.options.own, key, &stored, false)
            .is_empty();
        state.suspect |= !fits;
        state.put(key, stored, false);
    }

    fn check_room(
        &self,
        state: &State,
        key: &GroupKey,
        stored: &[Arc<Stored>],
        replace: bool,
    ) -> Result<(), Full> {
        let empty = Group::default();
        let group = state.groups.get(key).unwrap_or(&empty);
        let before = match replace {
            true => group.bytes,
            false => {
                let replaced = stored
                    .iter()
                    .filter_map(|stored| group.families.get(&stored.family.name));
                replaced.map(|stored| stored.bytes).sum()
            }
        };
        let added: usize = stored.iter().map(|stored| stored.bytes).sum();
        let needed = state.bytes - before + added;
        let max = self.options.bytes_max;
        if max > 0 && needed > max && added > before {
            return Err(Full::Bytes { needed, max });
        }
        let fresh = stored
            .iter()
            .filter(|stored| !group.families.contains_key(&stored.family.name));
        let kept = if replace { 0 } else { group.families.len() };
        if kept + fresh.count() > FAMILIES_MAX + 2 {
            return Err(Full::Families);
        }
        Ok(())
    }

    /// Deletes a group; one that is not there is gone already.
    ///
    /// # Errors
    /// When the disk refuses: after a restart it may be there again.
    pub fn delete(&self, key: &GroupKey) -> Result<(), StorageError> {
        let record = {
            let mut state = self.state.write();
            state.expire(self.clock.elapsed());
            if !state.remove(key) {
                return Ok(());
            }
            state.number += 1;
            journal::of_gone(key, state.number)
        };
        self.write(&record)
    }

    /// Deletes all groups.
    ///
    /// # Errors
    /// When the disk refuses: after a restart they may be there again.
    pub fn wipe(&self) -> Result<(), StorageError> {
        let record = {
            let mut state = self.state.write();
            state.clear();
            state.number += 1;
            journal::of_empty(state.number)
        };
        self.write(&record)
    }

    fn write(&self, record: &[u8]) -> Result<(), StorageError> {
        match &self.journal {
            Some(journal) => journal.write(record, |whole| journal::of_whole(&self.state.read(), whole)),
            None => Ok(()),
        }
    }

    /// All families by name, those of different groups put together: what a scrape sees.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn families(&self) -> Result<Vec<Merged>, Faults> {
        self.settle();
        let (merged, looked_at) = {
            let state = self.state.read();
            let looked_at = state.suspect.then_some(state.number);
            if state.suspect {
                state.all_faults(&self.options.own)?;
            }
            (state.merged(&self.options.own), looked_at)
        };
        if let Some(number) = looked_at {
            // Nobody need look again until something changes that nobody looks at.
            let mut state = self.state.write();
            state.suspect &= state.number != number || !self.options.check;
        }
        Ok(merged)
    }

    /// All groups with their labels, sorted by them.
    pub fn groups(&self) -> Vec<(GroupKey, Group)> {
        self.settle();
        let state = self.state.read();
        let groups = state.groups.iter();
        groups.map(|(key, group)| (key.clone(), group.clone())).collect()
    }

    /// How much there is.
    pub fn statistics(&self) -> Statistics {
        self.settle();
        let state = self.state.read();
        Statistics {
            groups: state.groups.len(),
            bytes: state.bytes,
            expired: state.expired,
            journal_bytes: self.journal.as_ref().map_or(0, Journal::file_bytes),
        }
    }

    /// Lets go what has come to its end. The journal need not know: who reads it finds out the same.
    fn settle(&self) {
        let elapsed = self.clock.elapsed();
        let has_ended = self.state.read().has_ended(elapsed);
        if has_ended {
            self.state.write().expire(elapsed);
        }
    }
}
