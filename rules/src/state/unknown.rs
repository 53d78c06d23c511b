//! Alerts that are told to be unknown: that they are, and until when.

use std::sync::Arc;

use super::{Absence, ActiveAlert, AlertState, RESOLVED_RETENTION_NS};

/// An alert is told to be unknown. Times are in nanoseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Why nobody can tell.
    pub because: Arc<str>,
    /// Since when.
    pub since_ns: i64,
    /// Until when; after [`RESOLVED_RETENTION_NS`] it is forgotten.
    pub ended_at_ns: Option<i64>,
    /// When it was last sent.
    pub last_sent_at_ns: Option<i64>,
}

impl ActiveAlert {
    /// Whether it is told to be unknown.
    pub fn is_unknown(&self) -> bool {
        self.unknown
            .as_ref()
            .is_some_and(|unknown| unknown.ended_at_ns.is_none())
    }

    /// Its state as it is told.
    pub fn shown_state(&self) -> AlertState {
        match self.is_unknown() {
            true => AlertState::Unknown,
            false => self.state,
        }
    }

    /// Begins or ends that it is told to be unknown.
    pub(super) fn tell_unknown(&mut self, now_ns: i64, absence: Absence) {
        match (absence, &mut self.unknown) {
            (Absence::Unknown(because), Some(unknown)) if unknown.ended_at_ns.is_none() => {
                unknown.because = because;
            }
            (Absence::Unknown(because), unknown) => {
                *unknown = Some(Box::new(Unknown {
                    because,
                    since_ns: now_ns,
                    ended_at_ns: None,
                    last_sent_at_ns: None,
                }));
            }
            (Absence::Gone | Absence::Missing, Some(unknown)) => {
                let ended_at_ns = *unknown.ended_at_ns.get_or_insert(now_ns);
                if now_ns.saturating_sub(ended_at_ns) > RESOLVED_RETENTION_NS {
                    self.unknown = None;
                }
            }
            (Absence::Gone | Absence::Missing, None) => {}
        }
    }
}

impl Unknown {
    /// Whether it, or its end if it was told, is to be sent at `now_ns`.
    pub(super) fn needs_sending(&self, now_ns: i64, resend_delay_ns: i64) -> bool {
        match (self.ended_at_ns, self.last_sent_at_ns) {
            (None, None) => true,
            (Some(_), None) => false,
            (ended_at_ns, Some(sent)) => {
                ended_at_ns.is_some_and(|ended| ended > sent) || sent.saturating_add(resend_delay_ns) < now_ns
            }
        }
    }
}
