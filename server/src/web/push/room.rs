//! Room that senders share.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use axum::extract::Request;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::web::auth::scope::Caller;
use crate::web::listener::Peer;

/// Known senders from which on those are forgotten who have no request under way.
const SENDERS_KEPT: usize = 1024;

/// Who sends: by a token, else from an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sender {
    Token(Arc<str>),
    Peer(Option<Peer>),
}

impl Sender {
    pub(super) fn of(request: &Request) -> Self {
        let extensions = request.extensions();
        match extensions.get::<Caller>() {
            Some(caller) => Sender::Token(caller.name.clone()),
            None => Sender::Peer(extensions.get().copied()),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Token(name) => f.write_str(name),
            Sender::Peer(Some(peer)) => write!(f, "{peer}"),
            Sender::Peer(None) => f.write_str("unknown"),
        }
    }
}

/// Places, half of which a sender may have at the same time: beyond that its requests wait for each other, and so stand in
/// nobody's way. Who waits gets a place in order.
pub(super) struct Room {
    places: Arc<Semaphore>,
    share: usize,
    senders: Mutex<HashMap<Sender, Weak<Semaphore>>>,
}

/// Places taken; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Places {
    _all: Option<OwnedSemaphorePermit>,
    _own: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(places: usize) -> Self {
        Room {
            places: Arc::new(Semaphore::new(places)),
            share: places.div_ceil(2),
            senders: Mutex::default(),
        }
    }

    /// Takes `count` places, at most a sender's share of them.
    pub(super) async fn take(&self, sender: &Sender, count: usize) -> Places {
        let count = count.min(self.share) as u32;
        let own = self.of(sender).acquire_many_owned(count).await;
        let all = self.places.clone().acquire_many_owned(count).await;
        // Neither is ever closed.
        Places {
            _all: all.ok(),
            _own: own.ok(),
        }
    }

    fn of(&self, sender: &Sender) -> Arc<Semaphore> {
        let mut senders = self.senders.lock();
        if let Some(known) = senders.get(sender).and_then(Weak::upgrade) {
            return known;
        }
        if senders.len() >= SENDERS_KEPT {
            senders.retain(|_, places| places.strong_count() > 0);
        }
        let places = Arc::new(Semaphore::new(self.share));
        senders.insert(sender.clone(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use futures_util::FutureExt as _;

    use super::*;

    fn token(name: &str) -> Sender {
        Sender::Token(name.into())
    }

    #[tokio::test]
    async fn who_sends_much_waits_for_itself_alone() {
        let room = Room::new(4);
        let (greedy, modest) = (token("greedy"), token("modest"));
        let taken = [room.take(&greedy, 1).await, room.take(&greedy, 1).await];
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(room.take(&greedy, 1))).collect();
        for more in &mut waiting {
            assert!(more.now_or_never().is_none());
        }
        let others = room.take(&modest, 9).await;
        assert!(
            room.take(&token("third"), 1).now_or_never().is_none(),
            "no place is left"
        );
        drop((taken, others));
        assert!(room.take(&token("third"), 1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn senders_are_forgotten() {
        let room = Room::new(4);
        let stays = room.take(&token("stays"), 1).await;
        for n in 0..3 * SENDERS_KEPT as u32 {
            let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::from_bits(n)));
            drop(room.take(&Sender::Peer(Some(peer)), 1).await);
            assert!(room.senders.lock().len() <= SENDERS_KEPT);
        }
        let known = room.senders.lock().get(&token("stays")).map(Weak::strong_count);
        assert_eq!(known, Some(1));
        drop(stays);
    }
}
