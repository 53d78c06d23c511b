//! A silence in the reference's file (`silencepb.MeshSilence`).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::protobuf::{Fields, Message};

use super::recurrence::Recurrence;
use super::{Record, Silence};
use crate::matcher::{MatchOp, Matcher, Matchers};
use crate::wire::{PutTime as _, ReadTime as _, WireError};

/// How operators are numbered.
const OPS: [MatchOp; 4] = [
    MatchOp::Equal,
    MatchOp::Regex,
    MatchOp::NotEqual,
    MatchOp::NotRegex,
];

impl Record {
    /// The message of the reference's file.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.message(true)
    }

    /// How long it is as the reference counts: without what is there for older versions only.
    pub(super) fn bytes(&self) -> usize {
        self.message(false).len()
    }

    fn message(&self, for_older: bool) -> Vec<u8> {
        let mut mesh = Message::default();
        mesh.message(1, |message| self.silence.fill(message, for_older))
            .time(2, self.expires_at);
        mesh.into_bytes()
    }

    /// Reads it.
    pub(super) fn decode(message: &[u8]) -> Result<Self, WireError> {
        let (mut silence, mut expires_at) = (None, None);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => silence = Some(Silence::decode(field.bytes())?),
                2 => expires_at = Some(field.time()?),
                _ => {}
            }
        }
        Ok(Record {
            silence: Arc::new(silence.ok_or(WireError::Missing("silence"))?),
            expires_at: expires_at.ok_or(WireError::Missing("expires_at"))?,
        })
    }
}

impl Silence {
    fn fill(&self, message: &mut Message, for_older: bool) {
        message.text(1, &self.id);
        if for_older {
            put_matchers(message, 2, self.matchers.first());
        }
        message
            .time(3, self.starts_at)
            .time(4, self.ends_at)
            .time(5, self.updated_at)
            .text(8, &self.created_by)
            .text(9, &self.comment);
        for (key, value) in &self.annotations {
            message.message(10, |pair| {
                pair.text(1, key).text(2, value);
            });
        }
        for matchers in &self.matchers {
            message.message(11, |set| put_matchers(set, 1, Some(matchers)));
        }
        message.raw(&self.unknown);
    }

    fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut silence = Silence {
            id: String::new(),
            matchers: Vec::new(),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            created_by: String::new(),
            comment: String::new(),
            annotations: BTreeMap::new(),
            recurrence: None,
            unknown: Vec::new(),
        };
        let mut older = Vec::new();
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => silence.id = field.text()?,
                2 => older.push(matcher(field.bytes())?),
                3 => silence.starts_at = field.time()?,
                4 => silence.ends_at = field.time()?,
                5 => silence.updated_at = field.time()?,
                7 => silence.take_comment(field.bytes())?,
                8 => silence.created_by = field.text()?,
                9 => silence.comment = field.text()?,
                10 => {
                    let (key, value) = pair(field.bytes())?;
                    silence.annotations.insert(key, value);
                }
                11 => silence.matchers.push(matcher_set(field.bytes())?),
                _ => silence.unknown.extend_from_slice(field.whole),
            }
        }
        if silence.matchers.is_empty() && !older.is_empty() {
            silence.matchers.push(Matchers::from(older));
        }
        silence.recurrence = match Recurrence::of(&silence.annotations) {
            Ok(recurrence) => recurrence.map(Arc::new),
            Err(error) => {
                // Another program, or another list of time zones, has let it pass.
                tracing::error!(
                    id = silence.id,
                    error,
                    "A silence does not recur as it should, and silences all the time"
                );
                None
            }
        };
        Ok(silence)
    }

    /// Versions long ago had a list of comments; the first of them is the comment.
    fn take_comment(&mut self, message: &[u8]) -> Result<(), WireError> {
        if !self.comment.is_empty() || !self.created_by.is_empty() {
            return Ok(());
        }
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => self.created_by = field.text()?,
                2 => self.comment = field.text()?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn put_matchers(message: &mut Message, field: u64, matchers: Option<&Matchers>) {
    for matcher in matchers.into_iter().flat_map(Matchers::iter) {
        let op = OPS.iter().position(|op| *op == matcher.op).unwrap_or(0);
        message.message(field, |message| {
            message
                .uint(1, op as u64)
                .text(2, &matcher.name)
                .text(3, &matcher.value);
        });
    }
}

fn matcher_set(message: &[u8]) -> Result<Matchers, WireError> {
    let mut matchers = Vec::new();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        if field.number == 1 {
            matchers.push(matcher(field.bytes())?);
        }
    }
    Ok(Matchers::from(matchers))
}

fn matcher(message: &[u8]) -> Result<Matcher, WireError> {
    let (mut op, mut name, mut value) = (0, String::new(), String::new());
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => op = field.number(),
            2 => name = field.text()?,
            3 => value = field.text()?,
            _ => {}
        }
    }
    let known = usize::try_from(op).ok().and_then(|op| OPS.get(op));
    let known = known.ok_or(WireError::Unknown("matcher type", op))?;
    Matcher::new(*known, name, value).map_err(|_| WireError::Pattern)
}

fn pair(message: &[u8]) -> Result<(String, String), WireError> {
    let (mut key, mut value) = (String::new(), String::new());
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => key = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((key, value))
}
