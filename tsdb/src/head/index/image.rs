//! The index as a snapshot of the head keeps it: names, label pairs, and the pairs of each series; and back.
//!
//! Postings and hash tables are not kept. They are built in one go from the label sets, each with its final capacity.

use super::{Index, Name, Pair, hash_bytes, spread};
use crate::head::refset::RefSet;

/// Marks a pair that no series carries.
pub(crate) const NO_PAIR: u32 = u32::MAX;

impl Index {
    /// Label names by their number.
    pub(crate) fn name_texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|n| &*n.text)
    }

    /// Up to `most` pairs that series carry, from place `from` on: place among all pairs, number of the name, value.
    pub(crate) fn used_pairs(&self, from: usize, most: usize) -> impl Iterator<Item = (usize, u32, &str)> {
        let pairs = self.pairs.iter().enumerate().skip(from);
        let used = pairs.filter(|(_, p)| !p.series.is_empty()).take(most);
        used.map(|(place, p)| (place, p.name, self.value_of(p)))
    }

    /// Places of pairs: one more than the largest.
    pub(crate) fn pair_places(&self) -> usize {
        self.pairs.len()
    }

    /// Keys of all series in the table of label hashes, by index; 0 where there is no series.
    pub(crate) fn keys(&self) -> Vec<u32> {
        let mut keys = vec![0; self.all.max().map_or(0, |max| max as usize + 1)];
        for (key, index) in &self.series {
            keys[*index as usize] = *key;
        }
        keys
    }

    /// Up to `most` series from index `from` on: index, reference, places of the pairs.
    pub(crate) fn sets_from(&self, from: u32, most: usize) -> impl Iterator<Item = (u32, u64, &[u32])> {
        let series = self.all.range(from..).take(most);
        series.map(|index| (index, self.reference_of(index), self.set(index)))
    }
}

/// Builds an index from what a snapshot has of one.
pub(crate) struct IndexBuilder {
    index: Index,
    /// Key and index of each series, in the order of references.
    series: Vec<(u32, u32)>,
    /// Number of series of each pair.
    counts: Vec<u32>,
}

impl IndexBuilder {
    /// A builder of an index for references from `base` on.
    pub(crate) fn new(base: u64) -> Self {
        IndexBuilder {
            index: Index::new(base),
            series: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Adds the next name.
    pub(crate) fn add_name(&mut self, text: &str) {
        let id = self.index.names.len() as u32;
        self.index.names.push(Name::new(text));
        self.index.name_ids.insert(text.into(), id);
    }

    /// Adds the next pair; false where there is no such name.
    pub(crate) fn add_pair(&mut self, name: u32, value: &str) -> bool {
        let index = &mut self.index;
        let Some(of_name) = index.names.get_mut(name as usize) else {
            return false;
        };
        let id = index.pairs.len() as u32;
        of_name.by_value.get_mut().fresh.push(id);
        index.pairs.push(Pair {
            name,
            len: value.len() as u32,
            start: index.values.len() as u64,
            series: RefSet::Empty,
        });
        index.values.extend_from_slice(value.as_bytes());
        self.counts.push(0);
        true
    }

    /// Adds a series; references must ascend. False where they do not, or a pair is not there.
    pub(crate) fn add_series(&mut self, reference: u64, key: u32, pairs: &[u32]) -> bool {
        let Some(number) = self.index.index_of(reference) else {
            return false;
        };
        let ascends = self.series.last().is_none_or(|(_, last)| *last < number);
        let at = self.index.sets.len();
        if !ascends || pairs.is_empty() || at + pairs.len() + 1 >= super::NO_SET as usize {
            return false;
        }
        for pair in pairs {
            let Some(count) = self.counts.get_mut(*pair as usize) else {
                return false;
            };
            *count += 1;
        }
        self.index.sets.push(pairs.len() as u32);
        self.index.sets.extend_from_slice(pairs);
        self.index.place_set(number, at as u32);
        self.series.push((key, number));
        true
    }

    /// The index.
    pub(crate) fn finish(mut self) -> Index {
        self.build_postings();
        let index = &mut self.index;
        index.all = self.series.iter().map(|(_, number)| *number).collect();
        index.series.reserve(self.series.len(), |(key, _)| spread(*key));
        for entry in &self.series {
            index
                .series
                .insert_unique(spread(entry.0), *entry, |(key, _)| spread(*key));
        }
        let (pairs, values) = (&index.pairs, &index.values);
        let hash = |id: &u32| {
            let pair = &pairs[*id as usize];
            let start = pair.start as usize;
            hash_bytes(pair.name, &values[start..start + pair.len as usize])
        };
        index.pair_ids.reserve(pairs.len(), hash);
        for id in 0..pairs.len() as u32 {
            index.pair_ids.insert_unique(hash(&id), id, hash);
        }
        self.index
    }

    /// Sorts the series by pair, by counting, and makes a set of each pair's stretch.
    fn build_postings(&mut self) {
        let total: usize = self.counts.iter().map(|c| *c as usize).sum();
        let mut ends = Vec::with_capacity(self.counts.len());
        let mut end = 0;
        for count in &self.counts {
            ends.push(end);
            end += *count as usize;
        }
        let mut lists = vec![0u32; total];
        for (_, number) in &self.series {
            for pair in self.index.set(*number) {
                let end = &mut ends[*pair as usize];
                lists[*end] = *number;
                *end += 1;
            }
        }
        let mut start = 0;
        for (pair, end) in self.index.pairs.iter_mut().zip(ends) {
            pair.series = RefSet::from_sorted(&lists[start..end]);
            start = end;
        }
    }
}
