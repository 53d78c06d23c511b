//! Which series there are, and when each had its newest sample: all that an agent knows of them.
//!
//! Labels are not kept. Whoever reads the log finds them there; here a label set must only be told from all others, and
//! 128 bits of it do that. They come from two keyed hashes whose keys this process draws at random: no two sets of a
//! billion have the same bits by chance (one in 10^20), and nobody can look for two that do.
//!
//! References are given out in order, and 256 consecutive ones share a page of times. The series of a target lie side by
//! side, so that a scrape finds a handful of pages and walks through memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use model::packed_sets::PackedSet;
use model::storage::{SeriesError, SeriesRef};
use parking_lot::RwLock;

use crate::wal::REFERENCE_MAX;

/// References in a page.
const PAGE_SERIES: u64 = 256;
/// The time of a reference that no series has.
const NO_SERIES: i64 = i64::MIN;
/// The time of a series without samples.
const NO_SAMPLE: i64 = i64::MIN + 1;

/// What stands for a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

const NOBODY: Identity = Identity(0, 0);

/// When the series of a page had their newest samples, in milliseconds.
#[derive(Debug)]
pub(super) struct Times([AtomicI64; PAGE_SERIES as usize]);

/// The series.
#[derive(Default)]
pub(super) struct Series {
    keys: (RandomState, RandomState),
    index: RwLock<Index>,
}

struct Index {
    /// By their numbers. A log may have references of any size, so they are no list.
    pages: HashMap<u64, Page, FixedState>,
    by_identity: HashTable<u64>,
    /// The reference that is given out next.
    next: u64,
}

struct Page {
    identities: Box<[Identity; PAGE_SERIES as usize]>,
    times: Arc<Times>,
    series: u16,
}

impl Default for Page {
    fn default() -> Self {
        Page {
            identities: Box::new([NOBODY; PAGE_SERIES as usize]),
            times: Arc::new(Times(std::array::from_fn(|_| AtomicI64::new(NO_SERIES)))),
            series: 0,
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Index {
            pages: HashMap::default(),
            by_identity: HashTable::new(),
            next: 1,
        }
    }
}

impl Series {
    /// What stands for the label set in this process.
    pub(super) fn identity(&self, labels: PackedSet<'_>) -> Identity {
        let bytes = labels.as_bytes();
        Identity(self.keys.0.hash_one(bytes), self.keys.1.hash_one(bytes))
    }

    /// Number of series.
    pub(super) fn len(&self) -> usize {
        self.index.read().by_identity.len()
    }

    /// The series of this identity.
    pub(super) fn find(&self, identity: Identity) -> Option<SeriesRef> {
        self.index.read().find(identity).map(SeriesRef)
    }

    /// Whether there is this series.
    pub(super) fn has(&self, reference: u64) -> bool {
        let times = self.times(page_of(reference));
        times.is_some_and(|times| times.of(reference).is_some())
    }

    /// The series of this identity, made where it is missing and there are fewer than `series_max` (0 for any number).
    /// `note` is told the reference of a new one before anybody else can have it.
    ///
    /// # Errors
    /// When it may not be made.
    pub(super) fn resolve(
        &self,
        identity: Identity,
        series_max: usize,
        note: impl FnOnce(u64),
    ) -> Result<SeriesRef, SeriesError> {
        if let Some(known) = self.find(identity) {
            return Ok(known);
        }
        let mut index = self.index.write();
        if let Some(known) = index.find(identity) {
            return Ok(SeriesRef(known));
        }
        let is_full = series_max > 0 && index.by_identity.len() >= series_max;
        let reference = index.next;
        if is_full || reference >= REFERENCE_MAX {
            return Err(SeriesError::LimitReached);
        }
        index.insert(reference, identity);
        note(reference);
        Ok(SeriesRef(reference))
    }

    /// Takes in a series of the log. Where its label set has another reference already, that one is returned.
    pub(super) fn take_in(&self, reference: u64, identity: Identity) -> Option<u64> {
        if reference >= REFERENCE_MAX {
            return None;
        }
        let mut index = self.index.write();
        // Also of a record that says what is known: no reference is given out twice.
        index.next = index.next.max(reference + 1);
        match index.find(identity) {
            Some(known) => (known != reference).then_some(known),
            None => {
                index.insert(reference, identity);
                None
            }
        }
    }

    /// The times of a page.
    fn times(&self, page: u64) -> Option<Arc<Times>> {
        let index = self.index.read();
        index.pages.get(&page).map(|page| Arc::clone(&page.times))
    }

    /// Removes the series that have had no sample since `since_ms`; returns their references. Nobody may append meanwhile.
    pub(super) fn remove_idle(&self, since_ms: i64) -> Vec<u64> {
        let mut index = self.index.write();
        let mut gone = Vec::new();
        for (number, page) in &index.pages {
            for (time, reference) in page.times.0.iter().zip(number * PAGE_SERIES..) {
                let time_ms = time.load(Ordering::Relaxed);
                if time_ms != NO_SERIES && time_ms < since_ms {
                    gone.push(reference);
                }
            }
        }
        gone.iter().for_each(|reference| index.remove(*reference));
        index.drop_empty();
        gone
    }
}

/// Number of the page of a reference.
fn page_of(reference: u64) -> u64 {
    reference / PAGE_SERIES
}

fn slot_of(reference: u64) -> usize {
    (reference % PAGE_SERIES) as usize
}

/// Where the table of identities has a reference.
fn place(pages: &HashMap<u64, Page, FixedState>, reference: u64) -> u64 {
    identity_of(pages, reference).0
}

fn identity_of(pages: &HashMap<u64, Page, FixedState>, reference: u64) -> Identity {
    let page = pages.get(&page_of(reference));
    page.map_or(NOBODY, |page| page.identities[slot_of(reference)])
}

impl Index {
    fn find(&self, identity: Identity) -> Option<u64> {
        let is_it = |reference: &u64| identity_of(&self.pages, *reference) == identity;
        self.by_identity.find(identity.0, is_it).copied()
    }

    fn insert(&mut self, reference: u64, identity: Identity) {
        self.next = self.next.max(reference + 1);
        let page = self.pages.entry(page_of(reference)).or_default();
        page.identities[slot_of(reference)] = identity;
        page.times.0[slot_of(reference)].store(NO_SAMPLE, Ordering::Relaxed);
        page.series += 1;
        let pages = &self.pages;
        self.by_identity
            .insert_unique(identity.0, reference, |other| place(pages, *other));
    }

    fn remove(&mut self, reference: u64) {
        let at = place(&self.pages, reference);
        let Ok(found) = self.by_identity.find_entry(at, |other| *other == reference) else {
            return;
        };
        found.remove();
        if let Some(page) = self.pages.get_mut(&page_of(reference)) {
            page.times.0[slot_of(reference)].store(NO_SERIES, Ordering::Relaxed);
            page.series -= 1;
        }
    }

    /// Gives the memory of empty pages back.
    fn drop_empty(&mut self) {
        self.pages.retain(|_, page| page.series > 0);
        self.pages.shrink_to_fit();
        let pages = &self.pages;
        self.by_identity.shrink_to(0, |other| place(pages, *other));
    }
}

impl Times {
    fn of(&self, reference: u64) -> Option<Time<'_>> {
        let time = &self.0[slot_of(reference)];
        (time.load(Ordering::Relaxed) != NO_SERIES).then_some(Time(time))
    }
}

/// When a series had its newest sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time<'t>(&'t AtomicI64);

impl Time<'_> {
    /// Notes a sample that may be `window_ms` older than the newest, but for the last of these milliseconds; gives the time
    /// before it. `None`, and nothing is noted, where the sample is older.
    pub(super) fn note(self, timestamp_ms: i64, window_ms: i64) -> Option<i64> {
        let newest_ms = self.0.load(Ordering::Relaxed);
        if timestamp_ms <= newest_ms.saturating_sub(window_ms) {
            return None;
        }
        Some(self.0.fetch_max(timestamp_ms, Ordering::Relaxed))
    }

    /// Takes a note back, unless another sample has been noted since.
    pub(super) fn take_back(self, timestamp_ms: i64, before_ms: i64) {
        let noted = timestamp_ms.max(before_ms);
        // It has failed where there is a newer one.
        let _ = self
            .0
            .compare_exchange(noted, before_ms, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Finds times page by page.
pub(super) struct Walk<'s> {
    series: &'s Series,
    page: Option<(u64, Arc<Times>)>,
}

impl<'s> Walk<'s> {
    pub(super) fn new(series: &'s Series) -> Self {
        Walk { series, page: None }
    }

    /// The time of this series, where it is known.
    pub(super) fn time(&mut self, reference: SeriesRef) -> Option<Time<'_>> {
        let number = page_of(reference.0);
        if self.page.as_ref().is_none_or(|(page, _)| *page != number) {
            self.page = Some((number, self.series.times(number)?));
        }
        self.page.as_ref()?.1.of(reference.0)
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
