//! Alerts as rules hand them to whoever notifies.

use crate::labels::Labels;

/// An alert to be sent: firing until `ends_at_ms`, or resolved since then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Labels that identify it; `alertname` among them.
    pub labels: Labels,
    /// What a person reads. Values may be empty.
    pub annotations: Labels,
    /// When it began to fire, in milliseconds since the epoch.
    pub starts_at_ms: i64,
    /// When it was resolved; for a firing one, the moment from which silence means that it is resolved.
    pub ends_at_ms: i64,
    /// Page that shows the expression.
    pub generator_url: String,
}

impl Alert {
    /// Whether it is resolved at `now_ms`.
    pub fn is_resolved(&self, now_ms: i64) -> bool {
        self.ends_at_ms <= now_ms
    }
}

/// Takes alerts off the rules' hands. Must not block: an evaluation waits for it.
pub trait AlertSink: Send + Sync {
    /// Queues alerts for sending.
    fn send(&self, alerts: Vec<Alert>);
}
