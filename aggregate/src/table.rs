//! Series as whoever appends knows them, and what is to be done with their samples.
//!
//! A reference that is handed out takes 40 bits, as any does. Its highest bit set, it is the number and serial of a
//! [`Slot`]: a series that a rule takes, a replica sends or deduplication holds. Otherwise it is the store's own, of a
//! series that nothing is done to. Those that were asked for since the configuration is in force are noted; others are of
//! before, and unknown.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use foldhash::HashMap;
use hashbrown::HashTable;
use model::labels::Labels;
use model::packed_sets::PackedSet;
use model::storage::SeriesRef;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::hold::Hold;
use crate::replicas::Member;
use crate::slab::{Id, Slab};

/// Says that a reference is a slot's.
const SLOT: u64 = 1 << 39;
/// Numbers of slots take so many bits, serials what is left.
const NUMBER_BITS: u32 = 24;
const SERIAL_MAX: u32 = (1 << (39 - NUMBER_BITS)) - 1;
/// Most series that something is done to. The numbers behind it stay free: neighbours give the highest references
/// meanings of their own.
pub(crate) const SLOTS_MAX: usize = (1 << NUMBER_BITS) - 256;
/// Series of the store are noted in pages of so many.
const PAGE_SERIES: u64 = 4096;
/// No series of the store.
const NONE: u64 = u64::MAX;

/// What a reference says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Slot(Id),
    /// A series of the store that nothing is done to.
    Plain(SeriesRef),
    /// It was handed out before the configuration was in force.
    Old,
}

/// A series that something is done to.
#[derive(Debug)]
pub(crate) struct Slot {
    /// As it is sent.
    pub(crate) labels: Labels,
    /// The store's series: where samples are kept, or histograms were seen.
    series: AtomicU64,
    /// Whether its samples are stored.
    pub(crate) is_kept: bool,
    /// The rules that take it, and its number with each.
    pub(crate) takes: SmallVec<[(u16, Id); 2]>,
    pub(crate) member: Option<Member>,
    pub(crate) hold: Option<Mutex<Hold>>,
    pub(crate) seen_ms: AtomicI64,
}

impl Slot {
    pub(crate) fn new(labels: Labels, series: Option<SeriesRef>, now_ms: i64) -> Self {
        Slot {
            labels,
            series: AtomicU64::new(series.map_or(NONE, |series| series.0)),
            is_kept: false,
            takes: SmallVec::new(),
            member: None,
            hold: None,
            seen_ms: AtomicI64::new(now_ms),
        }
    }

    pub(crate) fn series(&self) -> Option<SeriesRef> {
        match self.series.load(Ordering::Acquire) {
            NONE => None,
            series => Some(SeriesRef(series)),
        }
    }

    pub(crate) fn set_series(&self, series: Option<SeriesRef>) {
        self.series
            .store(series.map_or(NONE, |series| series.0), Ordering::Release);
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) slots: Slab<Slot>,
    by_labels: HashTable<Id>,
    plain: Plain,
}

/// Series of the store that were asked for and that nothing is done to: a bit for each, by page.
#[derive(Debug, Default)]
struct Plain(HashMap<u64, Box<[u64; PAGE_SERIES as usize / 64]>>);

impl Plain {
    fn place(series: SeriesRef) -> (u64, usize, u64) {
        let within = series.0 % PAGE_SERIES;
        (series.0 / PAGE_SERIES, (within / 64) as usize, 1 << (within % 64))
    }

    fn insert(&mut self, series: SeriesRef) {
        let (page, word, bit) = Plain::place(series);
        self.0.entry(page).or_insert_with(|| Box::new([0; _]))[word] |= bit;
    }

    fn remove(&mut self, series: SeriesRef) {
        let (number, word, bit) = Plain::place(series);
        if let Some(page) = self.0.get_mut(&number) {
            page[word] &= !bit;
            if page.iter().all(|word| *word == 0) {
                self.0.remove(&number);
            }
        }
    }

    #[inline]
    fn contains(&self, series: SeriesRef) -> bool {
        let (page, word, bit) = Plain::place(series);
        self.0.get(&page).is_some_and(|page| page[word] & bit != 0)
    }
}

/// Reads references, of which neighbours mostly come together.
pub(crate) struct Reading<'t> {
    pub(crate) table: &'t Table,
    /// The page of the last series of the store.
    page: Option<(u64, &'t [u64; PAGE_SERIES as usize / 64])>,
}

impl Reading<'_> {
    /// What a reference says.
    #[inline]
    pub(crate) fn read(&mut self, series: SeriesRef) -> Meaning {
        if series.0 & SLOT != 0 {
            return Meaning::Slot(Id {
                number: (series.0 & ((1 << NUMBER_BITS) - 1)) as u32,
                serial: ((series.0 & !SLOT) >> NUMBER_BITS) as u32,
            });
        }
        let (number, word, bit) = Plain::place(series);
        if self.page.is_none_or(|(last, _)| last != number) {
            self.page = self.table.plain.0.get(&number).map(|page| (number, &**page));
        }
        match self.page {
            Some((_, page)) if page[word] & bit != 0 => Meaning::Plain(series),
            _ => Meaning::Old,
        }
    }
}

impl Table {
    /// An empty one, to which references of `before` mean nothing.
    pub(crate) fn following(before: Option<&Table>) -> Self {
        Table {
            slots: before.map_or_else(
                || Slab::with_serials(SERIAL_MAX),
                |before| before.slots.successor(),
            ),
            by_labels: HashTable::new(),
            plain: Plain::default(),
        }
    }

    pub(crate) fn reading(&self) -> Reading<'_> {
        Reading {
            table: self,
            page: None,
        }
    }

    /// What is handed out for a slot.
    pub(crate) fn of_slot(id: Id) -> SeriesRef {
        SeriesRef(SLOT | u64::from(id.serial) << NUMBER_BITS | u64::from(id.number))
    }

    /// Whether another slot can be made.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.len() < SLOTS_MAX
    }

    pub(crate) fn find(&self, set: PackedSet<'_>) -> Option<Id> {
        let same = |id: &Id| {
            self.slots
                .get(*id)
                .is_some_and(|slot| slot.labels.as_bytes() == set.as_bytes())
        };
        self.by_labels.find(set.hash64(), same).copied()
    }

    pub(crate) fn insert(&mut self, slot: Slot) -> Id {
        let hash = slot.labels.hash64();
        let id = self.slots.insert(slot);
        let Table { slots, by_labels, .. } = self;
        let hash_of = |id: &Id| slots.get(*id).map_or(0, |slot| slot.labels.hash64());
        by_labels.insert_unique(hash, id, hash_of);
        id
    }

    /// Notes that a series of the store was asked for; `false` where its reference could be a slot's.
    pub(crate) fn note_plain(&mut self, series: SeriesRef) -> bool {
        let is_fit = series.0 < SLOT;
        if is_fit {
            self.plain.insert(series);
        }
        is_fit
    }

    pub(crate) fn is_plain(&self, series: SeriesRef) -> bool {
        self.plain.contains(series)
    }

    pub(crate) fn forget_plain(&mut self, series: SeriesRef) {
        self.plain.remove(series);
    }

    /// Forgets slots that nobody has sent anything for since `since_ms`, unless they hold something.
    pub(crate) fn sweep(&mut self, since_ms: i64) {
        let idle = |slot: &Slot| {
            let holds = slot.hold.as_ref().is_some_and(|hold| !hold.lock().is_empty());
            slot.seen_ms.load(Ordering::Relaxed) < since_ms && !holds
        };
        let idle: Vec<Id> = self
            .slots
            .iter()
            .filter(|(_, slot)| idle(slot))
            .map(|(id, _)| id)
            .collect();
        for id in idle {
            if let Some(slot) = self.slots.remove(id)
                && let Ok(entry) = self
                    .by_labels
                    .find_entry(slot.labels.hash64(), |other| *other == id)
            {
                entry.remove();
            }
        }
    }
}
