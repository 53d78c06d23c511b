//! What was decided, and why: the one place where it is told.

use jiff::Timestamp;
use model::labels::Labels;
use receivers::{Alert, Failure, NotifyReason};

/// Is told every decision, in the thread that made it. Must not block.
pub trait Observer: Send + Sync {
    /// Takes note.
    fn decided(&self, decision: &Decision<'_>);
}

/// A decision about a group that was looked at.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// When the group was looked at.
    pub at: Timestamp,
    /// The group's key.
    pub group_key: &'a str,
    /// What its alerts were grouped by.
    pub group_labels: &'a Labels,
    /// The node of the routing tree, by its unique id.
    pub route_id: &'a str,
    /// Whom it tells.
    pub receiver: &'a str,
    /// What was decided.
    pub outcome: Outcome<'a>,
}

/// What was decided.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// An integration was told.
    Sent {
        /// Kind and place of the integration: `webhook[0]`.
        integration: &'a str,
        /// Why.
        reason: NotifyReason,
        /// How often it was tried; never, where only resolved alerts were left for one that is not told of those.
        attempts: u32,
        /// What it was told.
        alerts: &'a [Alert],
        /// Why that is not all that it should be: a template failed.
        template_error: Option<&'a str>,
        /// Whether the log of notifications has it on the disk.
        is_durable: bool,
    },
    /// An integration could not be told.
    Failed {
        /// Kind and place of the integration.
        integration: &'a str,
        /// Why it should have been.
        reason: NotifyReason,
        /// How often it was tried.
        attempts: u32,
        /// What it should have been told.
        alerts: &'a [Alert],
        /// The last failure.
        failure: &'a Failure,
    },
    /// An integration knows all there is.
    Known {
        /// Kind and place of the integration.
        integration: &'a str,
        /// What it knows.
        alerts: &'a [Alert],
    },
    /// An integration is to be told by whoever holds the lease: not from here.
    LeftToHolder {
        /// Kind and place of the integration.
        integration: &'a str,
        /// Whether anybody is known to hold it; else nobody may tell the integration.
        is_holder_known: bool,
        /// Why it is to be told.
        reason: NotifyReason,
        /// Of what.
        alerts: &'a [Alert],
    },
    /// Nobody is told of an alert.
    Suppressed {
        /// Which.
        alert: &'a Labels,
        /// Why not.
        by: Suppressor<'a>,
    },
}

/// Why nobody is told of an alert.
#[derive(Clone, Debug)]
pub enum Suppressor<'a> {
    /// Another alert inhibits it.
    Inhibition {
        /// The other one's labels.
        source: &'a Labels,
    },
    /// It is silenced.
    Silences {
        /// Ids of the silences.
        ids: &'a [String],
    },
    /// The route is mute.
    Muted {
        /// Names of the intervals.
        intervals: &'a [String],
    },
    /// The route is not active.
    Inactive {
        /// Names of the intervals in which it would be.
        intervals: &'a [String],
    },
}

impl Suppressor<'_> {
    /// The word that metrics have for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Suppressor::Inhibition { .. } => "inhibition",
            Suppressor::Silences { .. } => "silence",
            Suppressor::Muted { .. } => "mute_time_interval",
            Suppressor::Inactive { .. } => "active_time_interval",
        }
    }
}
