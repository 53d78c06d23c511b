//! The place of the lease among what lasts: there is one while the configuration says so.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Lease;

/// The place of the lease.
pub(crate) struct Seat {
    current: RwLock<Option<Arc<Lease>>>,
    /// How often it has become our turn to send.
    turns: watch::Sender<u64>,
}

/// Leave to send.
pub(crate) struct Permit {
    /// The holding that it is part of; `None` where there is no lease.
    pub(crate) term: Option<u64>,
    /// Cancelled when it ends.
    pub(crate) over: CancellationToken,
}

impl Default for Seat {
    fn default() -> Self {
        Seat {
            current: RwLock::default(),
            turns: watch::Sender::new(0),
        }
    }
}

impl Seat {
    /// Leave to send now: always where there is no lease.
    pub(crate) fn permit(&self) -> Option<Permit> {
        match &*self.current.read() {
            Some(lease) => lease.permit(),
            None => Some(Permit {
                term: None,
                over: CancellationToken::new(),
            }),
        }
    }

    /// Something is not sent from here: whether somebody is known to hold the lease, and so to send it.
    pub(crate) fn left_to_holder(&self) -> bool {
        let current = self.current.read();
        let Some(lease) = &*current else { return true };
        let is_held = lease.is_held_by_anybody();
        match is_held {
            true => lease.stats.left_to_holder.inc(),
            false => lease.stats.waiting.inc(),
        }
        is_held
    }

    /// Changes when sending has become our turn.
    pub(crate) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// It is our turn.
    pub(super) fn take_turn(&self) {
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// The lease in force.
    pub(crate) fn lease(&self) -> Option<Arc<Lease>> {
        self.current.read().clone()
    }

    /// Puts another one in force, or none; gives the one before where it is another.
    pub(crate) fn replace(&self, lease: Option<Arc<Lease>>) -> Option<Arc<Lease>> {
        let is_free = lease.is_none();
        let old = std::mem::replace(&mut *self.current.write(), lease.clone());
        let is_same = match (&old, &lease) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if is_free && old.is_some() {
            self.take_turn();
        }
        old.filter(|_| !is_same)
    }
}
