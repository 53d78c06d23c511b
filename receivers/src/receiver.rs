//! The door.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::Notification;

/// Sends notifications of one integration. Tries once; see [`Failure::retry`].
pub trait Receiver: Send + Sync {
    /// Sends it. `memory` is what the receiver remembered when it last told of the group (empty at the first
    /// notification); it is kept in the log of notifications when sending was a success. `deadline` is when whoever waits
    /// gives up; a receiver that waits for a network ends by itself then.
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// What a receiver remembers of a group from one notification to the next, by key.
pub type Memory = BTreeMap<String, MemoryValue>;

/// A remembered value, of the types that the reference's log of notifications has.
#[derive(Clone, Debug, PartialEq)]
pub enum MemoryValue {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text.
    Text(String),
}

/// Why a notification did not go out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Whether trying again may help.
    pub retry: bool,
    /// What it is counted under.
    pub reason: FailureReason,
    /// What happened, without secrets.
    pub message: String,
}

impl Failure {
    /// One that trying again does not heal.
    pub(crate) fn last(message: impl Into<String>) -> Self {
        Failure {
            retry: false,
            reason: FailureReason::Other,
            message: message.into(),
        }
    }

    /// One that may heal.
    pub(crate) fn again(message: impl Into<String>) -> Self {
        Failure {
            retry: true,
            ..Failure::last(message)
        }
    }

    /// The same with another reason.
    pub(crate) fn counted_as(self, reason: FailureReason) -> Self {
        Failure { reason, ..self }
    }

    /// The same, beginning with what was being done.
    pub(crate) fn within(self, what: impl fmt::Display) -> Self {
        Failure {
            message: format!("{what}{}", self.message),
            ..self
        }
    }
}

/// What failures are counted under: the label `reason` of `alertmanager_notifications_failed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureReason {
    /// Anything else.
    Other,
    /// An answer of 400 to 499.
    ClientError,
    /// An answer of 500 to 599.
    ServerError,
    /// The notification was given up because the server stops or is configured anew.
    ContextCanceled,
    /// No answer in time.
    ContextDeadlineExceeded,
    /// An answer of 401 or 403.
    AuthError,
    /// Too many requests.
    RateLimited,
}

impl FailureReason {
    /// What an answer of this status is counted under.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => FailureReason::AuthError,
            429 => FailureReason::RateLimited,
            400..=499 => FailureReason::ClientError,
            500..=599 => FailureReason::ServerError,
            _ => FailureReason::Other,
        }
    }

    /// All there are: the label's values.
    pub const ALL: [FailureReason; 7] = [
        FailureReason::Other,
        FailureReason::ClientError,
        FailureReason::ServerError,
        FailureReason::ContextCanceled,
        FailureReason::ContextDeadlineExceeded,
        FailureReason::AuthError,
        FailureReason::RateLimited,
    ];
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureReason::Other => "other",
            FailureReason::ClientError => "clientError",
            FailureReason::ServerError => "serverError",
            FailureReason::ContextCanceled => "contextCanceled",
            FailureReason::ContextDeadlineExceeded => "contextDeadlineExceeded",
            FailureReason::AuthError => "authError",
            FailureReason::RateLimited => "rateLimited",
        })
    }
}
