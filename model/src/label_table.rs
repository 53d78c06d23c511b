//! Label sets as numbers: what a selection of many series is made of.
//!
//! Every distinct pair of name and value has a number, and a label set is a short list of them. Sets from head and
//! blocks then compare as integers; who writes them looks at each distinct pair once, not at the texts of each series; and a
//! set takes four bytes a label.
//!
//! ```
//! use narthex_model::label_table::{LabelPairs, LabelTable};
//! let mut pairs = LabelPairs::default();
//! let (up, api) = (pairs.number("__name__", "up"), pairs.number("job", "api"));
//! let mut table = LabelTable::new(pairs);
//! table.push(&[up, api]);
//! assert_eq!(table.labels(0).to_string(), r#"{__name__="up", job="api"}"#);
//! assert_eq!(table.pairs().get(table.set(0)[1]), ("job", "api"));
//! ```

use std::cmp::Ordering;

use hashbrown::HashTable;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::labels::{Labels, LabelsIter, LabelsPacker};

/// Distinct pairs of label name and value, numbered from 0 in order of their first appearance.
#[derive(Clone, Debug, Default)]
pub struct LabelPairs {
    /// The pairs as [`Labels`] packs them, one behind the other.
    packed: Vec<u8>,
    ends: Vec<usize>,
    numbers: HashTable<u32>,
    packer: LabelsPacker,
}

impl LabelPairs {
    /// How many there are; their numbers are below.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The number of a pair, which is added where it is new.
    ///
    /// # Panics
    /// As [`LabelsPacker::push`], and beyond 2^32 pairs.
    pub fn number(&mut self, name: &str, value: &str) -> u32 {
        self.packer.clear();
        self.packer.push(name, value);
        let (packed, ends) = (&self.packed, &self.ends);
        let pair = self.packer.as_bytes();
        let hash = xxh3_64(pair);
        if let Some(number) = self
            .numbers
            .find(hash, |number| bytes_of(packed, ends, *number) == pair)
        {
            return *number;
        }
        let number = u32::try_from(self.ends.len()).expect("fewer than 2^32 pairs");
        self.packed.extend_from_slice(pair);
        self.ends.push(self.packed.len());
        let (packed, ends) = (&self.packed, &self.ends);
        self.numbers
            .insert_unique(hash, number, |number| xxh3_64(bytes_of(packed, ends, *number)));
        number
    }

    /// Name and value of a pair.
    ///
    /// # Panics
    /// Where there is no such pair.
    pub fn get(&self, number: u32) -> (&str, &str) {
        LabelsIter::of_packed(self.packed(number))
            .next()
            .expect("a pair is packed")
    }

    fn packed(&self, number: u32) -> &[u8] {
        bytes_of(&self.packed, &self.ends, number)
    }

    /// Renumbers the pairs in order of name and value; gives the new number of each old one.
    fn sort(&mut self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.ends.len() as u32).collect();
        order.sort_unstable_by(|a, b| compare_packed(self.packed(*a), self.packed(*b)));
        let mut sorted = LabelPairs {
            packed: Vec::with_capacity(self.packed.len()),
            ends: Vec::with_capacity(self.ends.len()),
            ..LabelPairs::default()
        };
        let mut new = vec![0; order.len()];
        for (number, old) in order.iter().enumerate() {
            new[*old as usize] = number as u32;
            sorted.packed.extend_from_slice(self.packed(*old));
            sorted.ends.push(sorted.packed.len());
        }
        for number in &mut self.numbers {
            *number = new[*number as usize];
        }
        (self.packed, self.ends) = (sorted.packed, sorted.ends);
        new
    }
}

fn bytes_of<'a>(packed: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    &packed[start..ends[number]]
}

fn compare_packed(a: &[u8], b: &[u8]) -> Ordering {
    LabelsIter::of_packed(a).cmp_texts(LabelsIter::of_packed(b))
}

/// Label sets as lists of the numbers of their pairs, in order of the names.
#[derive(Clone, Debug, Default)]
pub struct LabelTable {
    pairs: LabelPairs,
    numbers: Vec<u32>,
    ends: Vec<usize>,
}

impl LabelTable {
    /// A table without sets.
    pub fn new(pairs: LabelPairs) -> Self {
        LabelTable {
            pairs,
            ..LabelTable::default()
        }
    }

    /// How many sets there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The pairs that sets are made of; not all of them need be in a set.
    pub fn pairs(&self) -> &LabelPairs {
        &self.pairs
    }

    /// The pairs, to number those of the next set.
    pub fn pairs_mut(&mut self) -> &mut LabelPairs {
        &mut self.pairs
    }

    /// Adds a set: numbers of pairs in order of their names.
    pub fn push(&mut self, set: &[u32]) {
        self.numbers.extend_from_slice(set);
        self.ends.push(self.numbers.len());
    }

    /// The numbers of a set's pairs, in order of their names. Two sets of the table are equal where these are.
    ///
    /// # Panics
    /// Where there is no such set; so for the other methods that take one.
    #[inline]
    pub fn set(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.numbers[start..self.ends[index]]
    }

    /// The labels of a set.
    pub fn labels(&self, index: usize) -> Labels {
        let mut packed = SmallVec::<[u8; 512]>::new();
        for number in self.set(index) {
            packed.extend_from_slice(self.pairs.packed(*number));
        }
        Labels::of_packed(&packed)
    }

    /// Puts the sets in order of their labels and keeps the first `limit` of them; gives, for each that is kept, what
    /// its place was before.
    pub fn sort(&mut self, limit: usize) -> Vec<usize> {
        let new = self.pairs.sort();
        for number in &mut self.numbers {
            *number = new[*number as usize];
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        // Pairs are numbered in order of name and value now. The stable sort makes use of sorted stretches, as sets of
        // one block are.
        order.sort_by(|a, b| self.set(*a).cmp(self.set(*b)));
        order.truncate(limit);
        let mut sorted = LabelTable {
            numbers: Vec::with_capacity(self.numbers.len()),
            ends: Vec::with_capacity(order.len()),
            ..LabelTable::default()
        };
        for index in &order {
            sorted.push(self.set(*index));
        }
        (self.numbers, self.ends) = (sorted.numbers, sorted.ends);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> Vec<Labels> {
        let long = "x".repeat(300);
        let mut sets = vec![
            Labels::from_pairs([("b", "1")]),
            Labels::from_pairs([("a", "10"), ("b", "1")]),
            Labels::from_pairs([("a", "10")]),
            Labels::from_pairs([("a", "9"), ("b", long.as_str())]),
            Labels::empty(),
            Labels::from_pairs([("a", "ü"), ("long", long.as_str())]),
            Labels::from_pairs([("aa", "0"), ("b", "1")]),
        ];
        sets.extend((0..100).map(|i| Labels::from_pairs([("i", i.to_string()), ("z", (i % 7).to_string())])));
        sets
    }

    fn table(sets: &[Labels]) -> LabelTable {
        let mut table = LabelTable::default();
        for labels in sets {
            let set: Vec<u32> = labels
                .iter()
                .map(|(name, value)| table.pairs_mut().number(name, value))
                .collect();
            table.push(&set);
        }
        table
    }

    #[test]
    fn sets_come_out_as_they_went_in() {
        let sets = sets();
        let table = table(&sets);
        for (index, labels) in sets.iter().enumerate() {
            assert_eq!(table.labels(index), *labels);
            let pairs = table.set(index).iter().map(|pair| table.pairs().get(*pair));
            assert!(pairs.eq(labels.iter()));
        }
        let distinct: std::collections::BTreeSet<_> = sets.iter().flatten().collect();
        assert_eq!(table.pairs().len(), distinct.len());
    }

    #[test]
    fn sorting_is_by_labels_and_pairs_are_still_found() {
        let mut sets = sets();
        let mut sorted = table(&sets);
        let order = sorted.sort(usize::MAX);
        let before = sets.clone();
        sets.sort();
        for (index, labels) in sets.iter().enumerate() {
            assert_eq!(sorted.labels(index), *labels);
            assert_eq!(before[order[index]], *labels);
        }
        let known = sorted.pairs().len();
        let (name, value) = before[3].iter().next().expect("has labels");
        let number = sorted.pairs_mut().number(name, value);
        assert_eq!(sorted.pairs().get(number), (name, value));
        assert_eq!(sorted.pairs().len(), known);
        let mut few = table(&before);
        assert_eq!(few.sort(5), order[..5]);
        assert_eq!(few.len(), 5);
    }
}
