//! What is known of a connection, and until when it must have done something.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::address::Peer;
use super::heads::Targets;

/// How long a client may take none of its answer before the connection is cut. The reference waits for ever.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take, unless `--web.read-timeout` is shorter. The reference knows the latter only.
pub(super) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection must have said nothing, or taken none of its answer, before it makes room for another.
const IDLE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a body must not have come on before its connection makes room for another. `--web.read-timeout` is the bound
/// where there is room.
pub(super) const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// What a client has to take within those times, or send, in bytes, to be no client that does nothing.
pub(super) const PROGRESS_BYTES_MIN: u64 = 4096;
/// Bytes of an answer that wait to be written to a connection of HTTP/1, beside those that its writer holds.
const UNWRITTEN_BYTES_MAX: u64 = 128 << 10;

/// Why a connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cut {
    #[error("no request came within --web.read-timeout, or no handshake within ten seconds")]
    Silent,
    #[error("the client took nothing of its answer for a minute")]
    NotReading,
    #[error("others needed its place")]
    Evicted,
    #[error("the server stops")]
    Stopping,
}

/// Why a connection is of no use. Where several are, the first goes: it loses least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Useless {
    /// Nothing is asked.
    Silent,
    /// What was asked does not come whole.
    NotSending,
    /// What was answered is not taken.
    NotReading,
}

impl Useless {
    /// How long that is borne where others need the place.
    fn patience(self) -> Duration {
        match self {
            Useless::Silent | Useless::NotReading => IDLE_PATIENCE,
            Useless::NotSending => BODY_PATIENCE,
        }
    }
}

/// A connection, as the tasks that serve it and the list of all connections see it.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: Peer,
    pub(super) targets: Targets,
    read_timeout: Duration,
    times: Mutex<Times>,
    /// Bytes of bodies that were handed to the library, and bytes that the system took, since the last request began.
    handed: AtomicU64,
    written: AtomicU64,
    /// The body that waits until more is written.
    room: Mutex<Option<Waker>>,
    /// Set to cut it.
    cut: CancellationToken,
    why: Mutex<Option<Cut>>,
    /// What lies in the system's buffers is to be dropped with it.
    resets: AtomicBool,
}

#[derive(Debug)]
struct Times {
    /// TLS is not agreed upon yet.
    in_handshake: bool,
    /// Requests whose answers are not yet handed on whole.
    running: usize,
    /// Number of the next one.
    next: u64,
    /// Of those that wait for their client, by number: for what, and since when.
    waiting: BTreeMap<u64, (Useless, Instant)>,
    /// Since when there is none.
    idle_since: Instant,
    /// When the first bytes of the head came that is not yet whole.
    head_since: Option<Instant>,
    /// Since when the system takes no more.
    stuck_since: Option<Instant>,
    /// What it took since.
    taken_bytes: u64,
}

impl Conn {
    pub(super) fn new(peer: Peer, read_timeout: Duration) -> Self {
        Conn {
            peer,
            targets: Targets::new(),
            read_timeout,
            times: Mutex::new(Times {
                in_handshake: false,
                running: 0,
                next: 0,
                waiting: BTreeMap::new(),
                idle_since: Instant::now(),
                head_since: None,
                stuck_since: None,
                taken_bytes: 0,
            }),
            handed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            room: Mutex::default(),
            cut: CancellationToken::new(),
            why: Mutex::default(),
            resets: AtomicBool::new(false),
        }
    }

    /// TLS is to be agreed upon.
    pub(super) fn handshake_began(&self) {
        self.times.lock().in_handshake = true;
    }

    /// It was.
    pub(super) fn handshake_ended(&self) {
        let mut times = self.times.lock();
        times.in_handshake = false;
        times.idle_since = Instant::now();
    }

    /// A request's head is whole. Returns its number, and by when its body must be.
    pub(super) fn request_began(&self) -> (u64, Instant) {
        let now = Instant::now();
        let mut times = self.times.lock();
        if times.running == 0 {
            self.handed.store(0, Ordering::Relaxed);
            self.written.store(0, Ordering::Relaxed);
        }
        times.running += 1;
        times.next += 1;
        // Compat: the time for a request is counted from its first byte, the body included.
        let until = times.head_since.take().unwrap_or(now) + self.read_timeout;
        (times.next, until)
    }

    /// From now on the request waits for its client, unless it does so already.
    pub(super) fn waits(&self, request: u64, what: Useless) {
        let mut times = self.times.lock();
        times.waiting.entry(request).or_insert((what, Instant::now()));
    }

    /// The client has done something.
    pub(super) fn waits_no_more(&self, request: u64) {
        self.times.lock().waiting.remove(&request);
    }

    /// An answer was handed on whole, or nobody waits for it.
    pub(super) fn request_ended(&self, request: u64) {
        let mut times = self.times.lock();
        times.waiting.remove(&request);
        times.running = times.running.saturating_sub(1);
        times.idle_since = Instant::now();
    }

    /// Whether a request is being answered.
    pub(super) fn is_running(&self) -> bool {
        self.times.lock().running > 0
    }

    /// Whether some of an answer is on its way since the last request began.
    pub(super) fn is_answering(&self) -> bool {
        self.handed.load(Ordering::Relaxed) > 0
    }

    /// Bytes came.
    pub(super) fn read(&self) {
        let mut times = self.times.lock();
        if times.running == 0 && times.head_since.is_none() {
            times.head_since = Some(Instant::now());
        }
    }

    /// The system took `bytes` of what was to be written, or `all` of it.
    pub(super) fn wrote(&self, bytes: u64, all: bool) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
        let mut times = self.times.lock();
        times.taken_bytes += bytes;
        if all || times.taken_bytes >= PROGRESS_BYTES_MIN {
            times.stuck_since = None;
        }
        if times.running == 0 {
            // The end of an answer on its way.
            times.idle_since = Instant::now();
        }
        drop(times);
        if let Some(waiting) = self.room.lock().take() {
            waiting.wake();
        }
    }

    /// The system takes no more for now.
    pub(super) fn stuck(&self) {
        let mut times = self.times.lock();
        if times.stuck_since.is_none() {
            times.stuck_since = Some(Instant::now());
            times.taken_bytes = 0;
        }
    }

    /// A part of an answer was handed to the library.
    pub(super) fn handed(&self, bytes: u64) {
        self.handed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits until most of what was handed on is written: the library itself would collect far more.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut room = self.room.lock();
        let handed = self.handed.load(Ordering::Relaxed);
        if handed.saturating_sub(self.written.load(Ordering::Relaxed)) < UNWRITTEN_BYTES_MAX {
            return Poll::Ready(());
        }
        *room = Some(context.waker().clone());
        Poll::Pending
    }

    /// Until when something must have happened, and what became of it if not.
    pub(super) fn deadline(&self) -> Option<(Instant, Cut)> {
        let times = self.times.lock();
        let stuck = times
            .stuck_since
            .map(|since| (since + WRITE_PATIENCE, Cut::NotReading));
        let since = times.head_since.unwrap_or(times.idle_since);
        let patience = match times.in_handshake {
            true => self.read_timeout.min(HANDSHAKE_PATIENCE),
            false => self.read_timeout,
        };
        let silent = (times.running == 0).then_some((since + patience, Cut::Silent));
        // The end of an answer may still be on its way when its request counts as done.
        stuck.or(silent)
    }

    /// How soon a deadline may come that is not known yet.
    pub(super) fn soonest(&self) -> Duration {
        let soonest = self.read_timeout.min(WRITE_PATIENCE);
        match self.times.lock().in_handshake {
            true => soonest.min(HANDSHAKE_PATIENCE),
            false => soonest,
        }
    }

    /// Whether it may make room for another: why, and since when it is of no use. One request that is being answered, or a
    /// body that comes on, keeps it.
    pub(super) fn useless(&self) -> Option<(Useless, Instant)> {
        let times = self.times.lock();
        let stuck = times.stuck_since.map(|since| (Useless::NotReading, since));
        let idle = match times.running {
            0 => Some((Useless::Silent, times.idle_since)),
            running if times.waiting.len() == running => {
                times.waiting.values().copied().max_by_key(|(_, since)| *since)
            }
            _ => None,
        };
        stuck
            .or(idle)
            .filter(|(why, since)| since.elapsed() >= why.patience())
    }

    /// Ends it.
    pub(super) fn cut(&self, why: Cut) {
        self.why.lock().get_or_insert(why);
        if why != Cut::Silent {
            self.reset();
        }
        self.cut.cancel();
    }

    /// It has ended: its streams end too.
    pub(super) fn ended(&self) {
        self.cut.cancel();
    }

    /// Why it was ended.
    pub(super) fn why(&self) -> Option<Cut> {
        *self.why.lock()
    }

    /// Until somebody ends it.
    pub(super) async fn is_cut(&self) {
        self.cut.cancelled().await;
    }

    /// Lets its end be no clean one: the client must not take what it has for the whole.
    pub(super) fn reset(&self) {
        self.resets.store(true, Ordering::Relaxed);
    }

    pub(super) fn resets(&self) -> bool {
        self.resets.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
