//! Alerts as the Alertmanager holds them, and in which order it tells of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use jiff::tz::Offset;
use model::go::Quoted;
use model::labels::Labels;
use receivers::fingerprint;

use crate::log::after;
use crate::matcher::Syntax;

/// Labels that alerts of a group are sorted by before any other.
const SORTED_BY_FIRST: [&str; 2] = ["job", "instance"];

/// An alert that somebody tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostedAlert {
    /// Labels that identify it.
    pub labels: Labels,
    /// What a person reads.
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire; `None` for now.
    pub starts_at: Option<Timestamp>,
    /// When it ended or will have ended; `None` where that is not known.
    pub ends_at: Option<Timestamp>,
    /// Page that shows its expression; may be empty.
    pub generator_url: String,
    /// In which offsets from UTC these times were written.
    pub offsets: Offsets,
}

/// Offsets from UTC in which somebody wrote an alert's times: the API shows them as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// Of the beginning.
    pub starts_at: Offset,
    /// Of the end.
    pub ends_at: Offset,
}

impl Default for Offsets {
    fn default() -> Self {
        Offsets {
            starts_at: Offset::UTC,
            ends_at: Offset::UTC,
        }
    }
}

/// An alert that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAlert {
    /// Labels that identify it.
    pub labels: Labels,
    /// What a person reads.
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// From when on it counts as resolved.
    pub ends_at: Timestamp,
    /// Whether that moment is only the patience with somebody who gave no end.
    pub times_out: bool,
    /// Page that shows its expression; may be empty.
    pub generator_url: String,
    /// In which offsets from UTC its times were written.
    pub offsets: Offsets,
    /// When it was last told of.
    pub updated_at: Timestamp,
    /// The number that the reference knows its labels by.
    pub fingerprint: u64,
}

/// What is wrong with an alert, in the reference's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAlert {
    /// It ends before it begins.
    #[error("start time must be before end time")]
    UpsideDown,
    /// Nothing identifies it.
    #[error("at least one label pair required")]
    NoLabels,
    /// A label may not be called so.
    #[error("invalid label set: invalid name {}", Quoted(.0))]
    LabelName(String),
    /// An annotation may not be called so.
    #[error("invalid annotations: invalid name {}", Quoted(.0))]
    AnnotationName(String),
}

/// Alerts of a post that were not taken; the others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostError(pub Vec<InvalidAlert>);

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for PostError {}

impl PostedAlert {
    /// The alert as it is held from `now` on; without an end it counts as resolved after `resolve_timeout`.
    pub(crate) fn stored(mut self, now: Timestamp, resolve_timeout: std::time::Duration) -> StoredAlert {
        if self.starts_at.is_none() {
            self.offsets.starts_at = self.offsets.ends_at;
        }
        StoredAlert {
            fingerprint: fingerprint(&self.labels),
            labels: self.labels,
            annotations: self.annotations,
            starts_at: self.starts_at.or(self.ends_at).unwrap_or(now),
            ends_at: self.ends_at.unwrap_or_else(|| after(now, resolve_timeout)),
            times_out: self.ends_at.is_none(),
            generator_url: self.generator_url,
            offsets: self.offsets,
            updated_at: now,
        }
    }
}

impl StoredAlert {
    /// Whether it is resolved at `now`.
    pub fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }

    /// Says whether it can be held.
    pub(crate) fn check(&self, syntax: Syntax) -> Result<(), InvalidAlert> {
        let is_wrong = |name: &&str| !syntax.is_label_name(name);
        if self.ends_at < self.starts_at {
            return Err(InvalidAlert::UpsideDown);
        }
        if self.labels.is_empty() {
            return Err(InvalidAlert::NoLabels);
        }
        if let Some(name) = self.labels.iter().map(|(name, _)| name).find(is_wrong) {
            return Err(InvalidAlert::LabelName(name.to_owned()));
        }
        match self.annotations.keys().map(String::as_str).find(is_wrong) {
            Some(name) => Err(InvalidAlert::AnnotationName(name.to_owned())),
            None => Ok(()),
        }
    }

    /// What is held once an alert that is held already is told of again: where the two overlap, the earlier beginning
    /// counts, and an end that somebody named counts more than one that comes of patience.
    pub(crate) fn follow(mut self, held: &StoredAlert, now: Timestamp) -> StoredAlert {
        let inside = |time: Timestamp| time > held.starts_at && time < held.ends_at;
        if !inside(self.ends_at) && !inside(self.starts_at) {
            return self;
        }
        if held.starts_at < self.starts_at {
            self.starts_at = held.starts_at;
            self.offsets.starts_at = held.offsets.starts_at;
        }
        let later = held.ends_at > self.ends_at;
        let held_counts = if self.is_resolved(now) {
            held.is_resolved(now)
        } else {
            !held.times_out
        };
        if later && held_counts {
            self.ends_at = held.ends_at;
            self.offsets.ends_at = held.offsets.ends_at;
        }
        self
    }

    /// As receivers are told of it at `now`: one that is not resolved has no end, so that it does not change its mind
    /// while it is being told.
    pub(crate) fn told(&self, now: Timestamp) -> receivers::Alert {
        receivers::Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: self.starts_at,
            ends_at: self.is_resolved(now).then_some(self.ends_at),
            generator_url: self.generator_url.clone(),
        }
    }
}

/// The order of alerts within a group: by job, by instance, then by all labels; those without come last.
pub(crate) fn by_job(a: &Labels, b: &Labels) -> Ordering {
    for name in SORTED_BY_FIRST {
        let order = match (a.get(name), b.get(name)) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        if order.is_ne() {
            return order;
        }
    }
    by_labels(a, b)
}

/// The reference's order of label sets: fewer labels first; then, where names differ, the set that has the later name,
/// and where values differ, the one with the smaller.
pub(crate) fn by_labels(a: &Labels, b: &Labels) -> Ordering {
    let order = a.len().cmp(&b.len());
    if order.is_ne() {
        return order;
    }
    for ((a_name, a_value), (b_name, b_value)) in a.iter().zip(b.iter()) {
        let order = b_name.cmp(a_name).then_with(|| a_value.cmp(b_value));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests;
