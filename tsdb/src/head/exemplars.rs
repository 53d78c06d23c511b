//! The newest exemplars of all series, in a ring of fixed size.

use std::collections::{HashMap, VecDeque};

use crate::exemplar::check_labels;
use crate::wal::ExemplarEntry;
use model::labels::Labels;
use model::sample::Exemplar;
use model::storage::{Refusal, SeriesExemplars, TimeRange};

#[derive(Debug)]
struct Entry {
    /// Number of its owner.
    owner: u32,
    timestamp_ms: i64,
    value: f64,
    labels: Labels,
}

/// A series that has exemplars in the ring.
#[derive(Debug)]
struct Owner {
    /// The newest: a series that was removed from the head comes back under another one.
    reference: u64,
    labels: Labels,
    /// Where its exemplars lie, by time; none where the number is free.
    places: VecDeque<u32>,
}

/// A ring of exemplars.
#[derive(Debug, Default)]
pub(crate) struct ExemplarRing {
    entries: Vec<Entry>,
    /// Where the next one goes: the oldest lies there once the ring is full.
    next: usize,
    capacity: usize,
    owners: Vec<Owner>,
    /// Numbers of owners that may be given out again.
    free: Vec<u32>,
    by_reference: HashMap<u64, u32>,
    by_labels: HashMap<Labels, u32>,
}

impl ExemplarRing {
    /// A ring for `capacity` exemplars; 0 switches it off.
    pub(crate) fn new(capacity: usize) -> Self {
        ExemplarRing {
            capacity,
            ..ExemplarRing::default()
        }
    }

    /// Changes the capacity; the newest exemplars stay.
    pub(crate) fn resize(&mut self, capacity: usize) {
        if capacity == self.capacity {
            return;
        }
        let old = std::mem::replace(self, ExemplarRing::new(capacity));
        let kept: Vec<&Entry> = old.in_order().collect();
        for entry in &kept[kept.len().saturating_sub(capacity)..] {
            let owner = &old.owners[entry.owner as usize];
            let number = self.owner(owner.reference, || owner.labels.clone());
            self.push(Entry {
                owner: number,
                labels: entry.labels.clone(),
                ..**entry
            });
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Series that have exemplars in the ring.
    pub(crate) fn series_len(&self) -> usize {
        self.by_labels.len()
    }

    /// Timestamp of the exemplar that has been in the ring for longest.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.in_order().next().map(|entry| entry.timestamp_ms)
    }

    /// All entries in the order in which they came.
    fn in_order(&self) -> impl Iterator<Item = &Entry> {
        let full = self.entries.len() == self.capacity;
        let (late, early) = self.entries.split_at(if full { self.next } else { 0 });
        early.iter().chain(late)
    }

    /// All exemplars in the order in which they came.
    pub(crate) fn entries(&self) -> Vec<ExemplarEntry> {
        let entry = |entry: &Entry| ExemplarEntry {
            series: self.owners[entry.owner as usize].reference,
            timestamp_ms: entry.timestamp_ms,
            value: entry.value,
            labels: entry.labels.clone(),
        };
        self.in_order().map(entry).collect()
    }

    /// Whether the exemplar may be added to the series. One that is `window_ms` older than the series' newest is too late.
    pub(crate) fn check(
        &self,
        series: u64,
        exemplar: &Exemplar,
        timestamp_ms: i64,
        window_ms: i64,
    ) -> Result<(), Refusal> {
        if self.capacity == 0 {
            return Err(Refusal::ExemplarsDisabled);
        }
        check_labels(exemplar)?;
        match self.by_reference.get(&series) {
            Some(owner) => self.check_newest(*owner, exemplar, timestamp_ms, window_ms),
            None => Ok(()),
        }
    }

    fn check_newest(
        &self,
        owner: u32,
        exemplar: &Exemplar,
        timestamp_ms: i64,
        window_ms: i64,
    ) -> Result<(), Refusal> {
        let Some(newest) = self.owners[owner as usize].places.back() else {
            return Ok(());
        };
        let newest = &self.entries[*newest as usize];
        let same_value = newest.value.to_bits() == exemplar.value.to_bits();
        if newest.timestamp_ms == timestamp_ms && same_value && newest.labels == exemplar.labels {
            return Err(Refusal::DuplicateExemplar);
        }
        // Exemplars of one moment are ordered by value and labels: the buckets of a histogram can all have theirs, and
        // what is scraped again is known again.
        let older = if timestamp_ms == newest.timestamp_ms {
            exemplar.value < newest.value || (same_value && exemplar.labels < newest.labels)
        } else {
            timestamp_ms < newest.timestamp_ms
                && timestamp_ms <= newest.timestamp_ms.saturating_sub(window_ms)
        };
        if older {
            return Err(Refusal::OutOfOrderExemplar);
        }
        Ok(())
    }

    /// Adds an exemplar that was checked, unless another one has come since that forbids it; `series_labels` is asked
    /// when the series has none yet. Says whether it was added.
    ///
    /// # Errors
    /// What forbids it.
    pub(crate) fn add(
        &mut self,
        series: u64,
        exemplar: &Exemplar,
        timestamp_ms: i64,
        window_ms: i64,
        series_labels: impl FnOnce() -> Labels,
    ) -> Result<bool, Refusal> {
        if self.capacity == 0 {
            return Ok(false);
        }
        let owner = self.owner(series, series_labels);
        self.check_newest(owner, exemplar, timestamp_ms, window_ms)?;
        if self.is_known_late(owner, timestamp_ms) {
            return Ok(false);
        }
        self.push(Entry {
            owner,
            timestamp_ms,
            value: exemplar.value,
            labels: exemplar.labels.clone(),
        });
        Ok(true)
    }

    /// Whether the series has newer exemplars, and one of this time.
    ///
    /// Compat: late ones are told apart by their time alone, since a native histogram brings several again and again
    /// (late_ones_within_the_window_find_their_place).
    fn is_known_late(&self, owner: u32, timestamp_ms: i64) -> bool {
        let times = self.owners[owner as usize].places.iter().rev();
        let mut times = times.map(|place| self.entries[*place as usize].timestamp_ms);
        times.next().is_some_and(|newest_ms| newest_ms > timestamp_ms)
            && times.find(|t| *t <= timestamp_ms) == Some(timestamp_ms)
    }

    /// Number of the owner that a series is, or becomes.
    fn owner(&mut self, reference: u64, labels: impl FnOnce() -> Labels) -> u32 {
        if let Some(number) = self.by_reference.get(&reference) {
            return *number;
        }
        let labels = labels();
        let number = if let Some(number) = self.by_labels.get(&labels) {
            let owner = &mut self.owners[*number as usize];
            self.by_reference.remove(&owner.reference);
            owner.reference = reference;
            *number
        } else {
            let owner = Owner {
                reference,
                labels: labels.clone(),
                places: VecDeque::new(),
            };
            let number = match self.free.pop() {
                Some(number) => {
                    self.owners[number as usize] = owner;
                    number
                }
                None => {
                    self.owners.push(owner);
                    self.owners.len() as u32 - 1
                }
            };
            self.by_labels.insert(labels, number);
            number
        };
        self.by_reference.insert(reference, number);
        number
    }

    fn push(&mut self, entry: Entry) {
        let (place, owner, timestamp_ms) = (self.next, entry.owner, entry.timestamp_ms);
        self.next = (place + 1) % self.capacity;
        if place == self.entries.len() {
            self.entries.push(entry);
        } else {
            let loser = std::mem::replace(&mut self.entries[place], entry).owner;
            let places = &mut self.owners[loser as usize].places;
            if let Some(at) = places.iter().position(|p| *p as usize == place) {
                places.remove(at);
            }
            if places.is_empty() && loser != owner {
                let gone = &self.owners[loser as usize];
                self.by_reference.remove(&gone.reference);
                self.by_labels.remove(&gone.labels);
                self.free.push(loser);
            }
        }
        let places = &mut self.owners[owner as usize].places;
        let newer = |p: &&u32| self.entries[**p as usize].timestamp_ms > timestamp_ms;
        let at = places.len() - places.iter().rev().take_while(newer).count();
        places.insert(at, place as u32);
    }

    /// Exemplars in `range` of the series for which `wanted` holds, by series labels and time.
    pub(crate) fn select(&self, range: TimeRange, wanted: impl Fn(&Labels) -> bool) -> Vec<SeriesExemplars> {
        let owners = self
            .owners
            .iter()
            .filter(|o| !o.places.is_empty() && wanted(&o.labels));
        let exemplars = |owner: &Owner| -> Vec<Exemplar> {
            let entries = owner.places.iter().map(|place| &self.entries[*place as usize]);
            entries
                .filter(|entry| range.contains(entry.timestamp_ms))
                .map(|entry| Exemplar {
                    labels: entry.labels.clone(),
                    value: entry.value,
                    timestamp_ms: Some(entry.timestamp_ms),
                })
                .collect()
        };
        let mut result: Vec<SeriesExemplars> = owners
            .map(|owner| SeriesExemplars {
                series: owner.labels.clone(),
                exemplars: exemplars(owner),
            })
            .filter(|series| !series.exemplars.is_empty())
            .collect();
        result.sort_by(|a, b| a.series.cmp(&b.series));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(value: f64) -> Exemplar {
        Exemplar {
            labels: Labels::from_pairs([("trace_id", "t")]),
            value,
            timestamp_ms: None,
        }
    }

    fn values(ring: &ExemplarRing) -> Vec<(String, Vec<i64>)> {
        ring.select(TimeRange::ALL, |_| true)
            .into_iter()
            .map(|s| {
                let times = s.exemplars.iter().filter_map(|e| e.timestamp_ms).collect();
                (s.series.value("s").to_owned(), times)
            })
            .collect()
    }

    fn add(ring: &mut ExemplarRing, (reference, name): (u64, u64), timestamp_ms: i64, value: f64) -> bool {
        let labels = || Labels::from_pairs([("s", name.to_string())]);
        ring.add(reference, &exemplar(value), timestamp_ms, WINDOW_MS, labels) == Ok(true)
    }

    /// What is more than this older than the newest is too late.
    const WINDOW_MS: i64 = 10;

    #[test]
    fn the_ring_keeps_the_newest_and_forgets_series_without_any() {
        let mut ring = ExemplarRing::new(3);
        for t in 0..5 {
            let series = t as u64 % 2;
            assert_eq!(ring.check(series, &exemplar(1.0), t, 0), Ok(()));
            assert!(add(&mut ring, (series, series), t, 1.0));
        }
        assert_eq!(
            values(&ring),
            [("0".to_owned(), vec![2, 4]), ("1".to_owned(), vec![3])]
        );
        assert_eq!(
            ring.check(0, &exemplar(1.0), 4, 0),
            Err(Refusal::DuplicateExemplar)
        );
        assert_eq!(
            ring.check(0, &exemplar(2.0), 3, 0),
            Err(Refusal::OutOfOrderExemplar)
        );
        assert_eq!(ring.oldest_ms(), Some(2));
        ring.resize(2);
        assert_eq!(
            values(&ring),
            [("0".to_owned(), vec![4]), ("1".to_owned(), vec![3])]
        );
        ring.resize(4);
        assert!(add(&mut ring, (7, 7), 9, 1.0));
        assert_eq!(ring.len(), 3);
        let long = Exemplar {
            labels: Labels::from_pairs([("x", "é".repeat(128))]),
            ..exemplar(1.0)
        };
        assert_eq!(ring.check(7, &long, 10, 0), Err(Refusal::ExemplarLabelsTooLong));
    }

    #[test]
    fn late_ones_within_the_window_find_their_place() {
        let mut ring = ExemplarRing::new(4);
        for (t, taken) in [
            (20, true),
            (30, true),
            (25, true),
            (25, false),
            (20, false),
            (21, true),
        ] {
            assert_eq!(add(&mut ring, (1, 1), t, 1.0), taken, "{t}");
        }
        assert_eq!(values(&ring), [("1".to_owned(), vec![20, 21, 25, 30])]);
        // The first that came goes first, wherever it lies.
        assert!(add(&mut ring, (1, 1), 31, 1.0) && add(&mut ring, (1, 1), 22, 1.0));
        assert_eq!(values(&ring), [("1".to_owned(), vec![21, 22, 25, 31])]);
    }

    #[test]
    fn a_series_that_comes_back_under_another_reference_has_its_exemplars_still() {
        let mut ring = ExemplarRing::new(4);
        assert!(add(&mut ring, (1, 5), 20, 1.0));
        assert!(!add(&mut ring, (2, 5), 20, 1.0));
        assert!(!add(&mut ring, (2, 5), 3, 1.0));
        assert!(add(&mut ring, (2, 5), 21, 1.0));
        assert_eq!(values(&ring), [("5".to_owned(), vec![20, 21])]);
        assert_eq!(ring.series_len(), 1);
        assert!(ring.entries().iter().all(|entry| entry.series == 2));
    }

    #[test]
    fn exemplars_of_one_moment_are_known_again() {
        let mut ring = ExemplarRing::new(9);
        let labels = |trace: &str| Exemplar {
            labels: Labels::from_pairs([("trace_id", trace)]),
            ..exemplar(1.0)
        };
        for round in 0..3 {
            for one in [labels("a"), labels("b")] {
                let added = ring.add(1, &one, 7, 0, || Labels::from_pairs([("s", "1")]));
                assert_eq!(added == Ok(true), round == 0);
            }
        }
    }
}
