//! A watch's answer: one event a line. Bytes from outside, hence bounded and without trust.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::objects::{Object, Pairs, Text};
use crate::api::null_is_default;

/// Longest event, and longest object of a list, in bytes. An API server keeps no object of more than 1.5 MiB (as protobuf;
/// the same as JSON may be some times as long).
pub(super) const OBJECT_BYTES_MAX: usize = 16 << 20;

/// Why a line, or an object of a list, is no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("an object of more than {OBJECT_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("an object without a name")]
    Nameless,
    #[error("a list that is not one: {0}")]
    List(&'static str),
}

/// Cuts what arrives into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: BytesMut,
    /// How far no end of line was found.
    scanned: usize,
    /// The line that is arriving is too long and has been said to be; the rest of it is thrown away.
    is_skipping: bool,
}

impl Lines {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
    }

    /// The next whole line that is not blank, without its end.
    ///
    /// # Errors
    /// Once for each line that is too long; the lines after it are there all the same.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Unreadable> {
        loop {
            let Some(at) = self.pending[self.scanned..]
                .iter()
                .position(|byte| *byte == b'\n')
            else {
                self.scanned = self.pending.len();
                if self.is_skipping || self.pending.len() > OBJECT_BYTES_MAX {
                    self.pending.clear();
                    self.scanned = 0;
                    return match std::mem::replace(&mut self.is_skipping, true) {
                        true => Ok(None),
                        false => Err(Unreadable::TooLong),
                    };
                }
                return Ok(None);
            };
            let line = self.pending.split_to(self.scanned + at + 1).freeze();
            self.scanned = 0;
            if std::mem::take(&mut self.is_skipping) {
                continue;
            }
            if line.len() > OBJECT_BYTES_MAX {
                return Err(Unreadable::TooLong);
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

/// An object with what is known of it from outside.
#[derive(Debug, PartialEq)]
pub(super) struct Versioned<T> {
    pub(super) object: T,
    pub(super) key: String,
    pub(super) version: Text,
}

impl<T: Object> Versioned<T> {
    /// Takes an object as it was read.
    pub(super) fn new(mut object: T) -> Result<Self, Unreadable> {
        if object.meta().name.is_empty() {
            return Err(Unreadable::Nameless);
        }
        object.trim();
        Ok(Versioned {
            key: object.meta().key(),
            version: object.meta_mut().take_version(),
            object,
        })
    }
}

/// A line of a watch.
#[derive(Debug, PartialEq)]
pub(super) enum Event<T> {
    /// Added or modified.
    Put(Versioned<T>),
    /// Deleted.
    Gone(Versioned<T>),
    /// Nothing has changed up to this version; `is_complete` ends the state that the server began with.
    Bookmark { version: Text, is_complete: bool },
    /// The watch is over.
    Error(Status),
    /// A type of event that is not known.
    Unknown,
}

/// What the API says when something went wrong.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) code: u16,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) reason: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) message: String,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

#[derive(Deserialize)]
struct Body<T> {
    object: T,
}

/// Reads a line.
pub(super) fn read_event<T: Object>(line: &[u8]) -> Result<Event<T>, Unreadable> {
    #[derive(Deserialize)]
    #[serde(bound = "")]
    struct Marked {
        #[serde(deserialize_with = "null_is_default")]
        metadata: Mark,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Mark {
        resource_version: Text,
        annotations: Pairs,
    }
    let object = || -> Result<Versioned<T>, Unreadable> {
        let body: Body<T> = serde_json::from_slice(line)?;
        Versioned::new(body.object)
    };
    Ok(match &*kind(line)? {
        "ADDED" | "MODIFIED" => Event::Put(object()?),
        "DELETED" => Event::Gone(object()?),
        "BOOKMARK" => {
            let body: Body<Marked> = serde_json::from_slice(line)?;
            let Mark {
                resource_version,
                annotations,
            } = body.object.metadata;
            Event::Bookmark {
                version: resource_version,
                is_complete: annotations.get("k8s.io/initial-events-end") == Some("true"),
            }
        }
        "ERROR" => Event::Error(serde_json::from_slice::<Body<Status>>(line)?.object),
        _ => Event::Unknown,
    })
}

/// The event's type. API servers write it first: then there is no need to go through the object for it.
fn kind(line: &[u8]) -> Result<Cow<'_, str>, Unreadable> {
    #[derive(Deserialize)]
    struct Head<'l> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'l, str>,
    }
    let first = line.strip_prefix(b"{\"type\":\"").and_then(|rest| {
        let end = rest.iter().take(16).position(|byte| *byte == b'"')?;
        let kind = std::str::from_utf8(&rest[..end]).ok()?;
        (!kind.contains('\\')).then_some(kind)
    });
    match first {
        Some(kind) => Ok(Cow::Borrowed(kind)),
        None => Ok(serde_json::from_slice::<Head<'_>>(line)?.kind),
    }
}
