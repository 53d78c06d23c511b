//! An entry, and its form in the reference's file (`nflogpb.MeshEntry`).

use jiff::Timestamp;
use model::protobuf::{Field, Fields, Message, Value};
use receivers::{Memory, MemoryValue};

use crate::wire::{PutTime as _, ReadTime as _, WireError};

/// Which integration was told of which group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LogKey {
    /// The group's key.
    pub(crate) group: String,
    /// Name of the receiver.
    pub(crate) receiver: String,
    /// Kind of the integration.
    pub(crate) kind: String,
    /// Its place among those of its kind.
    pub(crate) index: u32,
}

/// What it was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Of which group, and who.
    pub(crate) key: LogKey,
    /// When.
    pub(crate) timestamp: Timestamp,
    /// Numbers of the alerts that fired.
    pub(crate) firing: Vec<u64>,
    /// Numbers of those that were resolved.
    pub(crate) resolved: Vec<u64>,
    /// What the receiver remembers.
    pub(crate) memory: Memory,
    /// When it may be forgotten.
    pub(crate) expires_at: Timestamp,
    /// The holding of a lease that it was told in; 0 where there never was one. Of two entries that of the later term
    /// counts, whatever clocks say.
    pub(crate) term: u64,
}

/// The field of the term in an entry: ours, and beyond what the reference will ever number.
const TERM: u64 = 7_000;

impl Entry {
    /// The message of the reference's file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut mesh = Message::default();
        mesh.message(1, |entry| {
            entry.bytes(1, self.key.group.as_bytes()).message(2, |receiver| {
                receiver
                    .text(1, &self.key.receiver)
                    .text(2, &self.key.kind)
                    .uint(3, u64::from(self.key.index));
            });
            entry
                .time(5, self.timestamp)
                .uints(6, &self.firing)
                .uints(7, &self.resolved);
            for (key, value) in &self.memory {
                entry.message(8, |pair| {
                    pair.text(1, key).message(2, |data| put_value(data, value));
                });
            }
        });
        mesh.time(2, self.expires_at).uint(TERM, self.term);
        mesh.into_bytes()
    }

    /// What makes one newer than another.
    pub(super) fn age(&self) -> (u64, Timestamp) {
        (self.term, self.timestamp)
    }

    /// Reads it.
    pub(super) fn decode(message: &[u8]) -> Result<Self, WireError> {
        let (mut entry, mut expires_at, mut term) = (None, None, 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => entry = Some(Entry::inner(field.bytes())?),
                2 => expires_at = Some(field.time()?),
                TERM => term = field.number(),
                _ => {}
            }
        }
        let mut entry = entry.ok_or(WireError::Missing("entry"))?;
        entry.term = term;
        entry.expires_at = expires_at.ok_or(WireError::Missing("expires_at"))?;
        Ok(entry)
    }

    fn inner(message: &[u8]) -> Result<Self, WireError> {
        let mut key = LogKey {
            group: String::new(),
            receiver: String::new(),
            kind: String::new(),
            index: 0,
        };
        let (mut timestamp, mut has_receiver) = (None, false);
        let (mut firing, mut resolved, mut memory) = (Vec::new(), Vec::new(), Memory::new());
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => key.group = field.text()?,
                2 => {
                    has_receiver = true;
                    read_receiver(&mut key, &field)?;
                }
                5 => timestamp = Some(field.time()?),
                6 => field.numbers(&mut firing)?,
                7 => field.numbers(&mut resolved)?,
                8 => {
                    let (name, value) = pair(field.bytes())?;
                    memory.extend(value.map(|value| (name, value)));
                }
                _ => {}
            }
        }
        if !has_receiver {
            return Err(WireError::Missing("receiver"));
        }
        Ok(Entry {
            key,
            timestamp: timestamp.ok_or(WireError::Missing("timestamp"))?,
            firing,
            resolved,
            memory,
            expires_at: Timestamp::UNIX_EPOCH,
            term: 0,
        })
    }
}

fn read_receiver(key: &mut LogKey, field: &Field<'_>) -> Result<(), WireError> {
    let mut fields = Fields::new(field.bytes());
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => key.receiver = field.text()?,
            2 => key.kind = field.text()?,
            3 => key.index = field.number() as u32,
            _ => {}
        }
    }
    Ok(())
}

fn put_value(data: &mut Message, value: &MemoryValue) {
    match value {
        MemoryValue::Text(text) => data.bytes(1, text.as_bytes()),
        MemoryValue::Int(number) => data.always_uint(2, *number as u64),
        MemoryValue::Float(number) => data.always_double(3, *number),
    };
}

/// A remembered value and its key; a value of no known type is nothing.
fn pair(message: &[u8]) -> Result<(String, Option<MemoryValue>), WireError> {
    let (mut key, mut value) = (String::new(), None);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => key = field.text()?,
            2 => {
                let mut fields = Fields::new(field.bytes());
                while let Some(field) = fields.next_field()? {
                    value = match (field.number, field.value) {
                        (1, _) => Some(MemoryValue::Text(field.text()?)),
                        (2, _) => Some(MemoryValue::Int(field.number() as i64)),
                        (3, Value::Fixed64(bits)) => Some(MemoryValue::Float(f64::from_bits(bits))),
                        _ => value,
                    };
                }
            }
            _ => {}
        }
    }
    Ok((key, value))
}
