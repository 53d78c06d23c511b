//! The newest exemplars of all series, in a ring of fixed size.

use std::collections::HashMap;

use crate::wal::ExemplarEntry;
use model::labels::Labels;
use model::sample::Exemplar;
use model::storage::{Refusal, SeriesExemplars, TimeRange};

/// Most characters that the names and values of an exemplar's labels may have together.
const LABEL_CHARS_MAX: usize = 128;

#[derive(Debug)]
struct Entry {
    series: u64,
    timestamp_ms: i64,
    value: f64,
    labels: Labels,
}

/// What the ring knows of a series that has exemplars in it.
#[derive(Debug)]
struct SeriesEntry {
    labels: Labels,
    /// Place of the newest exemplar.
    newest: usize,
    /// Exemplars in the ring.
    count: usize,
}

/// A ring of exemplars.
#[derive(Debug, Default)]
pub(crate) struct ExemplarRing {
    entries: Vec<Entry>,
    next: usize,
    capacity: usize,
    series: HashMap<u64, SeriesEntry>,
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
        let mut old = std::mem::replace(self, ExemplarRing::new(capacity));
        let next = old.next;
        if !old.entries.is_empty() && old.entries.len() == old.capacity {
            old.entries.rotate_left(next);
        }
        let skip = old.entries.len().saturating_sub(capacity);
        for entry in old.entries.into_iter().skip(skip) {
            if let Some(series) = old.series.get(&entry.series) {
                let labels = series.labels.clone();
                self.push(entry, || labels);
            }
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
        self.series.len()
    }

    /// Timestamp of the oldest exemplar in the ring.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        let oldest = if self.entries.len() < self.capacity {
            0
        } else {
            self.next
        };
        self.entries.get(oldest).map(|e| e.timestamp_ms)
    }

    /// All exemplars, oldest first.
    pub(crate) fn entries(&self) -> Vec<ExemplarEntry> {
        let start = if self.entries.len() < self.capacity {
            0
        } else {
            self.next
        };
        let (late, early) = self.entries.split_at(start);
        let entry = |entry: &Entry| ExemplarEntry {
            series: entry.series,
            timestamp_ms: entry.timestamp_ms,
            value: entry.value,
            labels: entry.labels.clone(),
        };
        early.iter().chain(late).map(entry).collect()
    }

    /// Whether the exemplar may be added to the series.
    pub(crate) fn check(&self, series: u64, exemplar: &Exemplar, timestamp_ms: i64) -> Result<(), Refusal> {
        if self.capacity == 0 {
            return Err(Refusal::ExemplarsDisabled);
        }
        let chars: usize = exemplar
            .labels
            .iter()
            .map(|(n, v)| n.chars().count() + v.chars().count())
            .sum();
        if chars > LABEL_CHARS_MAX {
            return Err(Refusal::ExemplarLabelsTooLong);
        }
        let Some(newest) = self.series.get(&series).map(|s| &self.entries[s.newest]) else {
            return Ok(());
        };
        if newest.timestamp_ms == timestamp_ms
            && newest.value.to_bits() == exemplar.value.to_bits()
            && newest.labels == exemplar.labels
        {
            return Err(Refusal::DuplicateExemplar);
        }
        // Exemplars of one moment are ordered by value, so that a scrape's buckets can all have theirs.
        let older = timestamp_ms < newest.timestamp_ms
            || (timestamp_ms == newest.timestamp_ms && exemplar.value < newest.value);
        if older {
            return Err(Refusal::OutOfOrderExemplar);
        }
        Ok(())
    }

    /// Adds an exemplar that was checked; `series_labels` is asked when the series has none yet.
    pub(crate) fn add(
        &mut self,
        series: u64,
        exemplar: &Exemplar,
        timestamp_ms: i64,
        series_labels: impl FnOnce() -> Labels,
    ) {
        let entry = Entry {
            series,
            timestamp_ms,
            value: exemplar.value,
            labels: exemplar.labels.clone(),
        };
        self.push(entry, series_labels);
    }

    fn push(&mut self, entry: Entry, series_labels: impl FnOnce() -> Labels) {
        if self.capacity == 0 {
            return;
        }
        let (at, series) = (self.next, entry.series);
        self.next = (at + 1) % self.capacity;
        if at == self.entries.len() {
            self.entries.push(entry);
        } else {
            let old = std::mem::replace(&mut self.entries[at], entry).series;
            if let Some(owner) = self.series.get_mut(&old) {
                owner.count -= 1;
                if owner.count == 0 && old != series {
                    self.series.remove(&old);
                }
            }
        }
        let owner = self.series.entry(series).or_insert_with(|| SeriesEntry {
            labels: series_labels(),
            newest: at,
            count: 0,
        });
        owner.newest = at;
        owner.count += 1;
    }

    /// Exemplars in `range` of the series for which `wanted` holds, by series labels and time.
    pub(crate) fn select(&self, range: TimeRange, wanted: impl Fn(&Labels) -> bool) -> Vec<SeriesExemplars> {
        let mut found: HashMap<u64, SeriesExemplars> = self
            .series
            .iter()
            .filter(|(_, s)| wanted(&s.labels))
            .map(|(reference, s)| {
                let empty = SeriesExemplars {
                    series: s.labels.clone(),
                    exemplars: Vec::new(),
                };
                (*reference, empty)
            })
            .collect();
        let start = if self.entries.len() < self.capacity {
            0
        } else {
            self.next
        };
        let (late, early) = self.entries.split_at(start);
        for entry in early.iter().chain(late) {
            if let Some(series) = found.get_mut(&entry.series)
                && range.contains(entry.timestamp_ms)
            {
                series.exemplars.push(Exemplar {
                    labels: entry.labels.clone(),
                    value: entry.value,
                    timestamp_ms: Some(entry.timestamp_ms),
                });
            }
        }
        let mut result: Vec<SeriesExemplars> =
            found.into_values().filter(|s| !s.exemplars.is_empty()).collect();
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

    #[test]
    fn the_ring_keeps_the_newest_and_forgets_series_without_any() {
        let mut ring = ExemplarRing::new(3);
        for t in 0..5 {
            let series = t as u64 % 2;
            let labels = || Labels::from_pairs([("s", series.to_string())]);
            assert_eq!(ring.check(series, &exemplar(1.0), t), Ok(()));
            ring.add(series, &exemplar(1.0), t, labels);
        }
        assert_eq!(
            values(&ring),
            [("0".to_owned(), vec![2, 4]), ("1".to_owned(), vec![3])]
        );
        assert_eq!(ring.check(0, &exemplar(1.0), 4), Err(Refusal::DuplicateExemplar));
        assert_eq!(ring.check(0, &exemplar(2.0), 3), Err(Refusal::OutOfOrderExemplar));
        assert_eq!(ring.oldest_ms(), Some(2));
        ring.resize(2);
        assert_eq!(
            values(&ring),
            [("0".to_owned(), vec![4]), ("1".to_owned(), vec![3])]
        );
        ring.resize(4);
        ring.add(7, &exemplar(1.0), 9, || Labels::from_pairs([("s", "7")]));
        assert_eq!(ring.len(), 3);
        let long = Exemplar {
            labels: Labels::from_pairs([("x", "é".repeat(128))]),
            ..exemplar(1.0)
        };
        assert_eq!(ring.check(7, &long, 10), Err(Refusal::ExemplarLabelsTooLong));
    }
}
