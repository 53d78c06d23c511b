//! What is remembered, and its bytes.
//!
//! An event is stored as its time and a JSON text: the names of its fields are those that clients read, so that a folder can
//! be looked at with what is at hand. `notify/docs/history.md` has the layout.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Labels of an alert or a group.
pub type Pairs = BTreeMap<String, String>;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number: a later event has a higher one. Numbers are given once.
    pub id: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// An alert began to fire, or was resolved.
    Alert(AlertChange),
    /// An integration was told of a group, or was not for want of news or by a failure.
    Notification(Notified),
    /// Nobody is told of an alert.
    Suppressed(Suppression),
    /// A silence was made, changed, or is over.
    Silence(SilenceChange),
}

/// The kinds of events, for asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// [`What::Alert`]
    Alert,
    /// [`What::Notification`]
    Notification,
    /// [`What::Suppressed`]
    Suppressed,
    /// [`What::Silence`]
    Silence,
}

impl EventKind {
    /// All there are.
    pub const ALL: [EventKind; 4] = [
        EventKind::Alert,
        EventKind::Notification,
        EventKind::Suppressed,
        EventKind::Silence,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Alert => "alert",
            EventKind::Notification => "notification",
            EventKind::Suppressed => "suppressed",
            EventKind::Silence => "silence",
        }
    }
}

impl What {
    /// Which kind it is of.
    pub fn kind(&self) -> EventKind {
        match self {
            What::Alert(_) => EventKind::Alert,
            What::Notification(_) => EventKind::Notification,
            What::Suppressed(_) => EventKind::Suppressed,
            What::Silence(_) => EventKind::Silence,
        }
    }
}

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AlertState {
    /// It does.
    Firing,
    /// It has ended.
    Resolved,
}

/// A change of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertChange {
    /// What it has become.
    pub state: AlertState,
    /// Which alert.
    pub labels: Pairs,
    /// When it began to fire.
    #[serde(with = "stamp")]
    pub starts_at: Timestamp,
    /// When it ended.
    #[serde(with = "stamp::maybe", default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NotifiedResult {
    /// It was sent.
    Sent,
    /// It could not be sent.
    Failed,
    /// Nothing was sent: the integration knows all there is.
    Unchanged,
    /// Nothing was sent from here: another server holds the lease.
    Left,
    /// Nothing was sent: nobody is known to hold the lease.
    Waiting,
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notified {
    /// What became of it.
    pub result: NotifiedResult,
    /// Whom it was for.
    pub receiver: String,
    /// Kind and place of the integration.
    pub integration: String,
    /// The node of the routing tree.
    pub route: String,
    /// The group's key.
    pub group_key: String,
    /// What its alerts were grouped by.
    pub group_labels: Pairs,
    /// Why it was sent, or should have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was tried.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why one that was sent is not all that it should be: a template failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_error: Option<String>,
    /// Whether the log of notifications does not have it on the disk.
    #[serde(default, skip_serializing_if = "is_false")]
    pub not_durable: bool,
    /// How many alerts it tells of.
    pub alert_count: usize,
    /// Its alerts; of many, a part: the others are in the events before and after.
    pub alerts: Vec<ToldAlert>,
}

/// An alert of a notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldAlert {
    /// Whether it fires.
    pub state: AlertState,
    /// Which it is.
    pub labels: Pairs,
}

/// Why nobody is told of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suppression {
    /// Which alert.
    pub labels: Pairs,
    /// Who would have been told.
    pub receiver: String,
    /// The node of the routing tree.
    pub route: String,
    /// The group's key.
    pub group_key: String,
    /// Why not: the word that metrics have for it.
    pub by: String,
    /// The alert that inhibits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Pairs>,
    /// Ids of silences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silences: Vec<String>,
    /// Names of time intervals: those in which the route is mute, or outside of which it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<String>,
}

/// What became of a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SilenceFate {
    /// It was made.
    Created,
    /// It was changed.
    Updated,
    /// Somebody ended it.
    Expired,
    /// Its time is over.
    Ended,
}

/// A change of a silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SilenceChange {
    /// What became of it.
    pub change: SilenceFate,
    /// Its id.
    pub silence: String,
    /// The id of the one in whose place it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Who asked for the change, by the credentials of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whose silence it is.
    pub created_by: String,
    /// What it is for.
    pub comment: String,
    /// What alerts it is about, each as one text.
    pub matchers: Vec<String>,
    /// From when on.
    #[serde(with = "stamp")]
    pub starts_at: Timestamp,
    /// Until when.
    #[serde(with = "stamp")]
    pub ends_at: Timestamp,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(switch: &bool) -> bool {
    !*switch
}

/// Bytes of an event in front of its text.
const TIME_BYTES: usize = 8;

impl What {
    /// The event as it is stored, its number apart.
    pub(super) fn encode(&self, time: Timestamp) -> Vec<u8> {
        let mut bytes = time.as_millisecond().to_be_bytes().to_vec();
        // Maps with keys that are texts: nothing that JSON has no words for.
        bytes.extend(serde_json::to_vec(self).unwrap_or_default());
        bytes
    }
}

/// Reads what [`What::encode`] gave; `None` for what is none, or of a later version.
pub(super) fn decode(bytes: &[u8]) -> Option<(Timestamp, What)> {
    let (time, text) = bytes.split_first_chunk::<TIME_BYTES>()?;
    let time = Timestamp::from_millisecond(i64::from_be_bytes(*time)).ok()?;
    Some((time, serde_json::from_slice(text).ok()?))
}

/// The time of an event, without reading the rest.
pub(super) fn time_ms(bytes: &[u8]) -> Option<i64> {
    let (time, _) = bytes.split_first_chunk::<TIME_BYTES>()?;
    Some(i64::from_be_bytes(*time))
}

/// Times as RFC 3339.
mod stamp {
    use jiff::Timestamp;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }

    pub(super) mod maybe {
        use super::{Deserializer, Serializer, Timestamp};

        pub(in super::super) fn serialize<S: Serializer>(
            time: &Option<Timestamp>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Timestamp>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}
