//! What is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::labels::Labels;

/// An alert as a notifier holds it. Times have the nanoseconds that clients send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Labels that identify it.
    pub labels: Labels,
    /// What a person reads. Unlike a label, an annotation may be empty and still be there.
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it ended. In a [`Notification`] only resolved alerts have one: what is told does not change its mind while
    /// it is being told.
    pub ends_at: Option<Timestamp>,
    /// Page that shows its expression; may be empty.
    pub generator_url: String,
}

impl Alert {
    /// Whether it is resolved at `now`.
    pub fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }
}

/// The number that the reference knows a label set by: FNV-1a over names and values, each ended by the byte 255.
pub fn fingerprint(labels: &Labels) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (name, value) in labels {
        for part in [name, value] {
            for byte in part.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    hash
}

/// Why a group is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotifyReason {
    /// The group was not told of yet, or all of it had been resolved.
    First,
    /// Alerts fire that were not told of.
    NewAlerts,
    /// Alerts are resolved that were told of as firing.
    NewResolved,
    /// None fires any more.
    AllResolved,
    /// The repeat interval has gone by.
    Repeat,
}

impl NotifyReason {
    /// The words that templates and webhooks see.
    pub fn as_str(self) -> &'static str {
        match self {
            NotifyReason::First => "first notification",
            NotifyReason::NewAlerts => "new alerts added",
            NotifyReason::NewResolved => "some alerts resolved",
            NotifyReason::AllResolved => "all alerts resolved",
            NotifyReason::Repeat => "repeat interval elapsed",
        }
    }
}

/// What one integration is told of one group.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Name of the receiver.
    pub receiver: String,
    /// The group's key, as the reference writes it: `{}/{team="db"}:{alertname="A"}`.
    pub group_key: String,
    /// The labels that the group's alerts have in common because they were grouped by them.
    pub group_labels: Labels,
    /// Labels that the route adds, rendered (see [`crate::Templates::route_labels`]); empty ones are there, too.
    pub route_labels: BTreeMap<String, String>,
    /// The alerts in the order in which they are told; never empty.
    pub alerts: Arc<Vec<Alert>>,
    /// Why.
    pub reason: NotifyReason,
    /// When the group was looked at.
    pub now: Timestamp,
    /// How often the group is told of again.
    pub repeat_interval: std::time::Duration,
}

impl Notification {
    /// Whether one of its alerts fires.
    pub fn is_firing(&self) -> bool {
        self.alerts.iter().any(|alert| alert.ends_at.is_none())
    }
}
