//! Groups over restarts: a record for each change, which says what the group is since then.
//!
//! Threads may write their records in another order than that of their changes, and a whole state may have what a record
//! behind it says, or something newer. So each change has a number, and of a group the highest counts.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use files::Files;
use files::journal::{Format, Journal, Opened, Whole};
use model::clock::Clock;
use model::protobuf::{Fields, Message, WireError};

use super::error::BodyError;
use super::family::{Family, LabelSet, Text};
use super::key::GroupKey;
use super::state::{Group, State};

const FORMAT: Format = Format {
    magic: *b"NTX push",
    version: 1,
};

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// All changes up to this number are in what follows, or undone.
    Whole = 1,
    /// A group is like this.
    Group = 2,
    /// There is no such group.
    Gone = 3,
    /// There are no groups.
    Empty = 4,
    /// A group of the whole state.
    Kept = 5,
}

/// Why a record means nothing.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("it says nothing that is known")]
    Unknown,
}

/// A record that was read.
struct Record {
    says: Says,
    number: u64,
    labels: LabelSet,
    ttl_ms: Option<i64>,
    touched_ms: i64,
    families: Vec<(Family, i64)>,
}

fn record(says: Says, number: u64, key: &GroupKey) -> Message {
    let mut message = Message::default();
    message.uint(1, says as u64).uint(2, number);
    for (name, value) in &key.0 {
        message.message(3, |out| {
            out.bytes(1, name).bytes(2, value);
        });
    }
    message
}

/// The record of a change that made a group what it is.
pub(super) fn of_group(key: &GroupKey, group: &Group) -> Vec<u8> {
    group_record(Says::Group, key, group)
}

fn group_record(says: Says, key: &GroupKey, group: &Group) -> Vec<u8> {
    let mut message = record(says, group.number, key);
    if let Some(ttl_ms) = group.ttl_ms {
        message.always_uint(4, ttl_ms.unsigned_abs());
    }
    message.uint(5, group.touched_ms.unsigned_abs());
    for stored in group.families.values() {
        message.message(6, |out| {
            out.bytes(1, &stored.family.encode());
            out.uint(2, stored.pushed_ms.unsigned_abs());
        });
    }
    message.into_bytes()
}

/// The record of a group that is no more.
pub(super) fn of_gone(key: &GroupKey, number: u64) -> Vec<u8> {
    record(Says::Gone, number, key).into_bytes()
}

/// The record of no groups at all.
pub(super) fn of_empty(number: u64) -> Vec<u8> {
    record(Says::Empty, number, &GroupKey::default()).into_bytes()
}

/// The whole state.
pub(super) fn of_whole(state: &State, whole: &mut Whole<'_>) {
    whole.push(&record(Says::Whole, state.number, &GroupKey::default()).into_bytes());
    for (key, group) in &state.groups {
        whole.push(&group_record(Says::Kept, key, group));
    }
}

/// What opening found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) state: State,
    pub(super) opened: Opened,
    /// Records that were whole and mean nothing to this program.
    pub(super) unreadable: usize,
}

/// Opens the journal at `path`, and makes groups of what it holds.
///
/// # Errors
/// When its folder cannot be made, or it cannot be read.
pub(super) fn open(
    files: Arc<dyn Files>,
    clock: &Arc<dyn Clock>,
    path: &Path,
) -> files::Result<(Journal, Found)> {
    let mut replay = Replay::default();
    let mut unreadable = 0;
    let (journal, opened) = Journal::open(files, clock.clone(), path, FORMAT, |record| {
        unreadable += usize::from(replay.read(record).is_err());
    })?;
    let found = Found {
        state: replay.finish(&**clock),
        opened,
        unreadable,
    };
    Ok((journal, found))
}

#[derive(Default)]
struct Replay {
    /// The last that is known of each group: the number of the change, and the group unless it is gone.
    groups: HashMap<GroupKey, (u64, Option<Record>)>,
    /// What records say of changes up to this number is known already, or undone.
    settled: u64,
}

impl Replay {
    fn read(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let record = read(bytes)?;
        let number = record.number;
        match record.says {
            Says::Whole => {
                self.groups.clear();
                self.settled = number;
            }
            Says::Kept => {
                self.groups.insert(
                    GroupKey::from_labels(record.labels.clone()),
                    (number, Some(record)),
                );
            }
            Says::Empty => {
                self.groups.retain(|_, (known, _)| *known > number);
                self.settled = self.settled.max(number);
            }
            Says::Group | Says::Gone => {
                let key = GroupKey::from_labels(record.labels.clone());
                let known = self.groups.get(&key).map_or(0, |(known, _)| *known);
                if number > self.settled && number > known {
                    let is_gone = record.says == Says::Gone;
                    self.groups.insert(key, (number, (!is_gone).then_some(record)));
                }
            }
        }
        Ok(())
    }

    /// The groups that have not come to their end meanwhile.
    fn finish(self, clock: &dyn Clock) -> State {
        let mut state = State::default();
        let (now_ms, elapsed) = (clock.now_ms(), clock.elapsed());
        let last = self.groups.values().map(|(number, _)| *number).max();
        for (key, (number, record)) in self.groups {
            let Some(record) = record else { continue };
            // A clock that was set back makes nobody live longer than he may.
            let lived_ms = now_ms.saturating_sub(record.touched_ms).max(0);
            let left_ms = record.ttl_ms.map(|ttl_ms| ttl_ms - lived_ms);
            if left_ms.is_some_and(|left_ms| left_ms <= 0) {
                continue;
            }
            let families = record.families.into_iter();
            let families = families.map(|(family, pushed_ms)| state.store(family, &key, pushed_ms));
            let families = families.collect();
            state.put(&key, families, true);
            state.let_live(&key, left_ms, record.touched_ms, elapsed);
            if let Some(group) = state.groups.get_mut(&key) {
                group.ttl_ms = record.ttl_ms;
                group.number = number;
            }
        }
        state.number = self.settled.max(last.unwrap_or(0));
        // They may have been pushed without a look at each other.
        state.suspect = true;
        state
    }
}

fn read(bytes: &[u8]) -> Result<Record, RecordError> {
    let mut record = Record {
        says: Says::Whole,
        number: 0,
        labels: LabelSet::new(),
        ttl_ms: None,
        touched_ms: 0,
        families: Vec::new(),
    };
    let mut says = 0;
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => says = field.number(),
            2 => record.number = field.number(),
            3 => record.labels.push(pair(field.bytes())?),
            4 => record.ttl_ms = Some(i64::try_from(field.number()).unwrap_or(i64::MAX)),
            5 => record.touched_ms = i64::try_from(field.number()).unwrap_or(i64::MAX),
            6 => record.families.push(family(field.bytes())?),
            _ => {}
        }
    }
    let all = [Says::Whole, Says::Group, Says::Gone, Says::Empty, Says::Kept];
    let known = all.into_iter().find(|known| *known as u64 == says);
    record.says = known.ok_or(RecordError::Unknown)?;
    Ok(record)
}

fn pair(message: &[u8]) -> Result<(Text, Text), RecordError> {
    let (mut name, mut value) = (Text::default(), Text::default());
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => name = field.bytes().into(),
            2 => value = field.bytes().into(),
            _ => {}
        }
    }
    Ok((name, value))
}

fn family(message: &[u8]) -> Result<(Family, i64), RecordError> {
    let (mut family, mut pushed_ms) = (Family::default(), 0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => family = Family::decode(field.bytes(), &mut usize::MAX.clone())?,
            2 => pushed_ms = i64::try_from(field.number()).unwrap_or(i64::MAX),
            _ => {}
        }
    }
    Ok((family, pushed_ms))
}
