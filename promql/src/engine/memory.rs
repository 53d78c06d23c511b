//! Memory that queries share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::exec::Held;

/// What all queries of an engine hold together, and how much that may be.
#[derive(Debug)]
pub struct MemoryPool {
    max_bytes: usize,
    held_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
    /// What may be held as the process's memory stands: [`MemoryPool::leave`].
    standing_bytes: AtomicUsize,
}

impl MemoryPool {
    /// Nothing held yet of at most `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        MemoryPool {
            max_bytes,
            held_bytes: AtomicUsize::new(0),
            peak_bytes: AtomicUsize::new(0),
            standing_bytes: AtomicUsize::new(usize::MAX),
        }
    }

    /// Says that the process can take `free_bytes` more, as seen from outside: queries may hold no more than that beyond
    /// what they hold now. To be said again and again, as memory that queries do not know of comes and goes.
    pub fn leave(&self, free_bytes: usize) {
        let standing = self.held_bytes().saturating_add(free_bytes);
        self.standing_bytes.store(standing, Ordering::Relaxed);
    }

    /// Most bytes that queries may hold together as the process's memory stands.
    pub(crate) fn standing_bytes(&self) -> usize {
        self.standing_bytes.load(Ordering::Relaxed)
    }

    /// Most bytes that queries may hold together.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Bytes that queries, and answers that are still being sent, hold now.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Most bytes held at a time so far.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    /// Adds `bytes`; the new sum.
    pub(crate) fn add(&self, bytes: usize) -> usize {
        let sum = self
            .held_bytes
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        // What goes over is given back at once: it was never there.
        if sum <= self.max_bytes {
            self.peak_bytes.fetch_max(sum, Ordering::Relaxed);
        }
        sum
    }

    pub(crate) fn remove(&self, bytes: usize) {
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Which limit a query has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryLimit {
    /// That of one query.
    Query,
    /// That of all queries together.
    AllQueries,
    /// That of the machine or container: others than queries need the rest.
    Process,
}

impl MemoryLimit {
    /// Who sets it: the server's flag, or the machine.
    pub fn setter(self) -> &'static str {
        match self {
            MemoryLimit::Query => "--query.max-memory",
            MemoryLimit::AllQueries => "--query.max-total-memory",
            MemoryLimit::Process => "the memory of this machine or container",
        }
    }
}

/// Memory that an answer takes, accounted for until the last clone is dropped.
#[derive(Clone, Debug, Default)]
pub struct Reservation(Option<Arc<Held>>);

impl Reservation {
    pub(crate) fn new(held: Held) -> Self {
        Reservation(Some(Arc::new(held)))
    }

    /// How much that is.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.bytes())
    }
}

/// A number of bytes as people read it: `1.5GiB`.
pub(crate) struct HumanBytes(pub(crate) usize);

impl fmt::Display for HumanBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let (mut value, mut unit) = (self.0 as f64, 0);
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        match unit {
            0 => write!(f, "{}B", self.0),
            _ => write!(f, "{value:.1}{}", UNITS[unit]),
        }
    }
}
