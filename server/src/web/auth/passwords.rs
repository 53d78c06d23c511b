//! Comparing passwords with their bcrypt hashes, which takes some fifty milliseconds of a processor each.
//!
//! Who is right is remembered, and so is who is wrong, each apart and bounded: however many wrong passwords come, nobody
//! who was right has to be compared again. What is remembered is a keyed digest, no password. Comparisons are done one at a
//! time, by a thread that makes way for all others: an attacker gets what is left of one processor. Those who ask the same
//! at the same time (all panels of a dashboard) wait for one comparison, and each address has but a few waiting, so that
//! one address with a thousand wrong passwords keeps no other waiting for long.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use supervise::Supervisor;
use tokio::sync::OnceCell;
use yaml::Secret;

use crate::threads::Worker;
use crate::web::listener::Peer;

/// Pairs that are remembered as right, and as many as wrong. The reference remembers as many of both together.
const REMEMBERED_MAX: usize = 100;
/// Comparisons that may wait for one address.
const WAITING_OF_PEER_MAX: usize = 8;
/// Comparisons that may wait at all.
const WAITING_MAX: usize = 64;
/// How much the comparing thread makes way for others: a tenth of a busy processor is left to it.
const NICENESS: i32 = 10;

/// What a user, a hash and a password are remembered by.
type Key = [u8; 32];

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// Nothing: too many others wait.
    Busy,
}

/// Compares, and remembers.
#[derive(Debug)]
pub(in crate::web) struct Passwords {
    /// Makes keys that nobody else can make.
    secret: Key,
    state: Arc<Mutex<State>>,
    worker: Worker,
    supervisor: Supervisor,
}

#[derive(Debug, Default)]
struct State {
    right: Remembered,
    wrong: Remembered,
    /// Comparisons that somebody waits for.
    running: HashMap<Key, Weak<OnceCell<bool>>>,
    /// How many of each address.
    waiting: HashMap<Option<Peer>, usize>,
    waiting_in_all: usize,
}

/// The newest keys, up to a bound.
#[derive(Debug, Default)]
struct Remembered {
    keys: HashSet<Key>,
    oldest_first: VecDeque<Key>,
}

impl Remembered {
    fn add(&mut self, key: Key) {
        if !self.keys.insert(key) {
            return;
        }
        self.oldest_first.push_back(key);
        if self.oldest_first.len() > REMEMBERED_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }
}

impl State {
    fn known(&self, key: &Key) -> Option<Verdict> {
        if self.right.keys.contains(key) {
            return Some(Verdict::Right);
        }
        self.wrong.keys.contains(key).then_some(Verdict::Wrong)
    }
}

/// A place among those that wait.
struct Place {
    state: Arc<Mutex<State>>,
    peer: Option<Peer>,
}

impl Place {
    fn take(state: &Arc<Mutex<State>>, peer: Option<Peer>) -> Option<Self> {
        let mut locked = state.lock();
        let of_peer = locked.waiting.get(&peer).copied().unwrap_or(0);
        if of_peer >= WAITING_OF_PEER_MAX || locked.waiting_in_all >= WAITING_MAX {
            return None;
        }
        locked.waiting.insert(peer, of_peer + 1);
        locked.waiting_in_all += 1;
        drop(locked);
        Some(Place {
            state: state.clone(),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.waiting_in_all -= 1;
        let left = state.waiting.get(&self.peer).map_or(0, |count| count - 1);
        if left == 0 {
            state.waiting.remove(&self.peer);
        } else {
            state.waiting.insert(self.peer, left);
        }
    }
}

impl Passwords {
    /// # Errors
    /// When the system gives no thread, or no random bytes.
    pub(in crate::web) fn new(supervisor: Supervisor) -> io::Result<Self> {
        let mut secret = Key::default();
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut secret)
            .map_err(|_| io::Error::other("the system gives no random bytes"))?;
        supervisor.announce("password");
        Ok(Passwords {
            secret,
            state: Arc::default(),
            worker: Worker::start("passwords", NICENESS)?,
            supervisor,
        })
    }

    /// Whether `password` is the one of `hash`. For `peer`, who counts among those that wait.
    pub(super) async fn verify(
        &self,
        peer: Option<Peer>,
        user: &str,
        password: &[u8],
        hash: &Secret,
    ) -> Verdict {
        let key = self.key(user, password, hash);
        let cell = {
            let mut state = self.state.lock();
            if let Some(known) = state.known(&key) {
                return known;
            }
            let running = state.running.get(&key).and_then(Weak::upgrade);
            running.unwrap_or_else(|| {
                state.running.retain(|_, cell| cell.strong_count() > 0);
                let cell = Arc::default();
                state.running.insert(key, Arc::downgrade(&cell));
                cell
            })
        };
        // Whoever hangs up leaves the comparison to the next who waits for it.
        let compared = cell
            .get_or_try_init(|| self.compare(peer, key, password, hash))
            .await;
        match compared {
            Ok(true) => Verdict::Right,
            Ok(false) => Verdict::Wrong,
            Err(busy) => busy,
        }
    }

    async fn compare(
        &self,
        peer: Option<Peer>,
        key: Key,
        password: &[u8],
        hash: &Secret,
    ) -> Result<bool, Verdict> {
        // One whose client hung up may have come to its end meanwhile.
        if let Some(known) = self.state.lock().known(&key) {
            return Ok(known == Verdict::Right);
        }
        let place = Place::take(&self.state, peer).ok_or(Verdict::Busy)?;
        let (password, hash) = (password.to_vec(), hash.clone());
        let state = self.state.clone();
        let compared = self.worker.run(move || {
            let _place = place;
            // What is wrong with a hash was found when it was read.
            let right = bcrypt::verify(password, hash.reveal()).unwrap_or(false);
            let mut state = state.lock();
            match right {
                true => state.right.add(key),
                false => state.wrong.add(key),
            }
            right
        });
        match compared.await {
            Ok(right) => Ok(right),
            Err(panic) => {
                let _ = self.supervisor.catch("password", || panic.resume());
                Err(Verdict::Busy)
            }
        }
    }

    fn key(&self, user: &str, password: &[u8], hash: &Secret) -> Key {
        let mut hasher = Sha256::new_with_prefix(self.secret);
        for part in [user.as_bytes(), hash.reveal().as_bytes(), password] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests;
