//! Where series lie: 256 consecutive references share a page, and the page's lock.
//!
//! References are given out in order, so the series of one target lie side by side: a scrape takes a handful of locks
//! and walks memory forwards. The place of a series follows from its reference without any table; a page that lost
//! series is searched by bisection.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::arena::{Arena, MOVED_ROOM};
use super::series::{Series, State};

/// References in a page.
pub(crate) const PAGE_SERIES: u64 = 256;

/// A page.
#[derive(Debug, Default)]
pub(crate) struct Page(Mutex<Contents>);

/// What is in a page.
#[derive(Debug, Default)]
struct Contents {
    series: Vec<State>,
    /// Has as many strings as there are series.
    arena: Arena,
}

/// The series of a page, locked.
pub(crate) struct Locked<'a>(MutexGuard<'a, Contents>);

impl Page {
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked(self.0.lock())
    }
}

impl Locked<'_> {
    /// The series with this reference, whose page this is.
    #[inline]
    pub(crate) fn get(&mut self, reference: u64) -> Option<Series<'_>> {
        let at = self.position(reference)?;
        let Contents { series, arena } = &mut *self.0;
        let state = series.get_mut(at)?;
        Some(Series { state, arena, at })
    }

    #[inline]
    fn position(&self, reference: u64) -> Option<usize> {
        let low = reference as u8;
        let series = &self.0.series;
        match series.get(usize::from(low)) {
            Some(state) if state.low == low => Some(usize::from(low)),
            _ => series.binary_search_by_key(&low, |s| s.low).ok(),
        }
    }

    /// Adds a series; nothing happens where there is one.
    pub(crate) fn insert(&mut self, reference: u64) {
        let low = reference as u8;
        let Contents { series, arena } = &mut *self.0;
        if let Err(at) = series.binary_search_by_key(&low, |s| s.low) {
            if series.capacity() == 0 {
                series.reserve_exact(PAGE_SERIES as usize);
                arena.reserve_places(PAGE_SERIES as usize);
            }
            series.insert(at, State::new(low));
            arena.insert(at);
        }
    }

    /// Makes room for strings of so many bytes together, `strings` in number; [`Locked::end_filling`] gives back what they
    /// do not take.
    pub(crate) fn begin_filling(&mut self, strings: usize, bytes: usize) {
        self.0.arena.reserve_block(bytes + strings * MOVED_ROOM);
    }

    /// See [`Locked::begin_filling`].
    pub(crate) fn end_filling(&mut self) {
        self.0.arena.settle();
    }

    /// Hands all series of the page to `each`.
    pub(crate) fn for_each(&mut self, mut each: impl FnMut(Series<'_>)) {
        let Contents { series, arena } = &mut *self.0;
        for (at, state) in series.iter_mut().enumerate() {
            each(Series { state, arena, at });
        }
    }

    /// Removes the series for which `keep` does not hold, and gives their memory back.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Series<'_>) -> bool) {
        let Contents { series, arena } = &mut *self.0;
        let mut kept = Vec::with_capacity(series.len());
        for (at, state) in series.iter_mut().enumerate() {
            kept.push(keep(&Series { state, arena, at }));
        }
        arena.retain(|at| kept[at]);
        let mut kept = kept.into_iter();
        series.retain(|_| kept.next().unwrap_or(true));
        series.shrink_to_fit();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.series.is_empty()
    }

    /// Bytes of memory that all series take alike: structs and arena; and of these what chunks and lists really hold.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let Contents { series, arena } = &*self.0;
        let states = series.capacity() * std::mem::size_of::<State>();
        (states + arena.allocated_bytes(), arena.used_bytes())
    }
}

/// The pages, by number (reference divided by [`PAGE_SERIES`]).
#[derive(Debug, Default)]
pub(crate) struct Pages(RwLock<Directory>);

#[derive(Debug, Default)]
struct Directory {
    /// Number of the first page.
    base: u64,
    pages: Vec<Option<Arc<Page>>>,
}

/// Number of the page of a reference.
#[inline]
pub(crate) fn page_of(reference: u64) -> u64 {
    reference / PAGE_SERIES
}

impl Pages {
    /// The page with this number.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<Page>> {
        let directory = self.0.read();
        let at = usize::try_from(number.checked_sub(directory.base)?).ok()?;
        directory.pages.get(at)?.clone()
    }

    /// The page with this number, created where it is missing.
    pub(crate) fn get_or_create(&self, number: u64) -> Arc<Page> {
        if let Some(page) = self.get(number) {
            return page;
        }
        let mut directory = self.0.write();
        if directory.pages.is_empty() {
            directory.base = number;
        }
        if number < directory.base {
            let missing = (directory.base - number) as usize;
            directory
                .pages
                .splice(0..0, std::iter::repeat_with(|| None).take(missing));
            directory.base = number;
        }
        let at = (number - directory.base) as usize;
        if directory.pages.len() <= at {
            directory.pages.resize(at + 1, None);
        }
        Arc::clone(directory.pages[at].get_or_insert_default())
    }

    /// All pages with their numbers, ascending.
    pub(crate) fn all(&self) -> Vec<(u64, Arc<Page>)> {
        let directory = self.0.read();
        let numbered = directory.pages.iter().zip(directory.base..);
        numbered
            .filter_map(|(page, number)| Some((number, Arc::clone(page.as_ref()?))))
            .collect()
    }

    /// Drops empty pages, but for the one with number `keep`, to which series are being added.
    pub(crate) fn drop_empty(&self, keep: u64) {
        let mut directory = self.0.write();
        let base = directory.base;
        for (page, number) in directory.pages.iter_mut().zip(base..) {
            if number != keep && page.as_ref().is_some_and(|p| p.lock().is_empty()) {
                *page = None;
            }
        }
        let empty = directory.pages.iter().take_while(|p| p.is_none()).count();
        directory.pages.drain(..empty);
        directory.base += empty as u64;
    }
}

/// The pages that a batch touches, looked up once each.
#[derive(Debug, Default)]
pub(crate) struct PageSet {
    pages: Vec<Arc<Page>>,
    places: BTreeMap<u64, u32>,
    last: Option<(u64, u32)>,
}

impl PageSet {
    /// Place of the page of `reference` in the set; `None` where there is no such page.
    #[inline]
    pub(crate) fn place(&mut self, pages: &Pages, reference: u64) -> Option<u32> {
        let number = page_of(reference);
        match self.last {
            Some((last, place)) if last == number => Some(place),
            _ => {
                let place = self.look_up(pages, number)?;
                self.last = Some((number, place));
                Some(place)
            }
        }
    }

    fn look_up(&mut self, pages: &Pages, number: u64) -> Option<u32> {
        if let Some(place) = self.places.get(&number) {
            return Some(*place);
        }
        let place = self.pages.len() as u32;
        self.pages.push(pages.get(number)?);
        self.places.insert(number, place);
        Some(place)
    }

    /// The page at a place.
    pub(crate) fn page(&self, place: u32) -> &Page {
        &self.pages[place as usize]
    }

    /// Forgets all pages and keeps the buffers.
    pub(crate) fn clear(&mut self) {
        self.pages.clear();
        self.places.clear();
        self.last = None;
    }
}
