//! The silences in memory, and which of them an alert may meet.
//!
//! Most silences ask for one value of some label. They are found by it: an alert looks at those under its own labels, and
//! at the few that ask otherwise.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use files::journal::Format;
use jiff::Timestamp;
use model::labels::Labels;

use super::{Record, Silence};
use crate::ledger::Book;
use crate::matcher::{MatchOp, Matchers};
use crate::wire::WireError;

/// Silences by their id, and in the order in which they came to be.
#[derive(Default)]
pub(crate) struct Shelf {
    by_id: HashMap<String, (u64, Record)>,
    /// By the version of the shelf in which they were new: who has seen a version looks at what is behind it.
    by_version: BTreeMap<u64, String>,
    version: u64,
    /// Versions of those that ask for this value of this label.
    by_value: HashMap<(String, String), BTreeSet<u64>>,
    /// Versions of the others.
    others: BTreeSet<u64>,
}

impl Book for Shelf {
    type Entry = Record;

    const NAME: &'static str = "silences";
    const FORMAT: Format = Format {
        magic: *b"NTXsilen",
        version: 1,
    };
    const TASK: &'static str = "silences";

    fn encode(record: &Record) -> Vec<u8> {
        record.encode()
    }

    fn decode(message: &[u8]) -> Result<Record, WireError> {
        Record::decode(message)
    }

    fn enter(&mut self, record: Record) {
        let id = record.silence.id.clone();
        let known = self
            .by_id
            .get(&id)
            .map(|(version, known)| (*version, known.silence.clone()));
        let version = match known {
            Some((version, known)) if known.matchers == record.silence.matchers => version,
            known => {
                // Silences keep their matchers, unless another program has thought otherwise.
                if let Some((version, known)) = known {
                    self.by_version.remove(&version);
                    self.unindex(version, &known);
                }
                self.version += 1;
                self.by_version.insert(self.version, id.clone());
                self.index(self.version, &record.silence);
                self.version
            }
        };
        self.by_id.insert(id, (version, record));
    }

    fn enter_unless_older(&mut self, record: Record) {
        let known = self.get(&record.silence.id);
        if known.is_none_or(|known| known.silence.updated_at <= record.silence.updated_at) {
            self.enter(record);
        }
    }

    fn is_news(&self, record: &Record) -> bool {
        let known = self.get(&record.silence.id);
        known.is_none_or(|known| known.silence.updated_at < record.silence.updated_at)
    }

    fn part_key(record: &Record) -> u64 {
        xxhash_rust::xxh64::xxh64(record.silence.id.as_bytes(), 0)
    }

    fn made_at(record: &Record) -> Timestamp {
        record.silence.updated_at
    }

    fn expires_at(record: &Record) -> Timestamp {
        record.expires_at
    }

    fn entries(&self) -> Box<dyn Iterator<Item = &Record> + '_> {
        Box::new(self.by_version.values().filter_map(|id| self.get(id)))
    }
}

impl Shelf {
    /// The silence of this id.
    pub(super) fn get(&self, id: &str) -> Option<&Record> {
        self.by_id.get(id).map(|(_, record)| record)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The version of the shelf: higher with every silence that is new.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Ids of the silences that were new after `version` and are about an alert with these labels, oldest first; and at
    /// how many it had to look.
    pub(super) fn meeting(&self, labels: &Labels, version: u64) -> (Vec<String>, usize) {
        let new = (Bound::Excluded(version), Bound::Unbounded);
        let mut candidates: Vec<u64> = self.others.range(new).copied().collect();
        if !self.by_value.is_empty() {
            for (name, value) in labels {
                let asking = self.by_value.get(&(name.to_owned(), value.to_owned()));
                candidates.extend(asking.into_iter().flat_map(|versions| versions.range(new)));
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        let looked_at = candidates.len();
        let ids = candidates
            .into_iter()
            .filter_map(|version| self.by_version.get(&version));
        let meets = |id: &&String| self.get(id).is_some_and(|record| record.silence.matches(labels));
        (ids.filter(meets).cloned().collect(), looked_at)
    }

    /// Forgets what may be forgotten at `now`.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let gone = self.by_id.extract_if(|_, (_, record)| record.expires_at <= now);
        for (version, record) in gone.map(|(_, gone)| gone).collect::<Vec<_>>() {
            self.by_version.remove(&version);
            self.unindex(version, &record.silence);
        }
    }

    fn index(&mut self, version: u64, silence: &Silence) {
        match values(silence) {
            Some(values) => {
                for value in values {
                    self.by_value.entry(value).or_default().insert(version);
                }
            }
            None => drop(self.others.insert(version)),
        }
    }

    fn unindex(&mut self, version: u64, silence: &Silence) {
        self.others.remove(&version);
        for value in values(silence).into_iter().flatten() {
            if let Some(versions) = self.by_value.get_mut(&value) {
                versions.remove(&version);
                if versions.is_empty() {
                    self.by_value.remove(&value);
                }
            }
        }
    }
}

/// Labels with values of which an alert must have one to meet the silence; `None` where there is no such list.
fn values(silence: &Silence) -> Option<Vec<(String, String)>> {
    let value = |matchers: &Matchers| {
        let mut wanted = matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal);
        let wanted = wanted.find(|matcher| !matcher.value.is_empty())?;
        Some((wanted.name.clone(), wanted.value.clone()))
    };
    silence.matchers.iter().map(value).collect()
}
