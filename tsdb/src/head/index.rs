//! Which series there are: label sets, and which series carry which label.
//!
//! Every distinct `name="value"` is a *pair* with a 32-bit id; its value lies once in an append-only arena, and the table
//! that finds it holds only ids. A label set is a slice of pair ids in another arena, four bytes a label. Series are
//! known by a 32-bit *index*: their reference minus `base`, so that postings fit 32-bit bitmaps.
//!
//! What removed series leave in the arenas is counted; [`Index::compacted`] builds a fresh index when it is much.

mod image;
mod memory;

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;
use model::labels::{Labels, LabelsPacker};
use model::packed_sets::PackedSet;
use model::storage::StorageError;
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use super::refset::RefSet;
use crate::postings::Postings;
use crate::select::{LabelIndex, NO_VALUE, Visit};

pub(crate) use image::{IndexBuilder, NO_PAIR};

/// Marks a series that does not exist.
const NO_SET: u32 = u32::MAX;
/// Series in a page of the index-to-label-set map.
const PAGE: usize = 256;
/// Garbage below this many label ids is not worth a rebuild.
const GARBAGE_MIN: usize = 1 << 18;

/// The label sets of the head's series.
pub(crate) struct Index {
    base: u64,
    /// How often the index was built anew: numbers of series and pairs are good within one generation.
    generation: u64,
    names: Vec<Name>,
    name_ids: HashMap<Box<str>, u32, foldhash::fast::FixedState>,
    pairs: Vec<Pair>,
    pair_ids: HashTable<u32>,
    values: Vec<u8>,
    /// Label sets: number of pairs, then their ids, by label name.
    sets: Vec<u32>,
    garbage: usize,
    /// Place in `sets` of each index's label set.
    set_of: Vec<Option<Box<[u32; PAGE]>>>,
    /// Upper half of the label hash, and the index.
    series: HashTable<(u32, u32)>,
    all: RoaringBitmap,
}

struct Name {
    text: Box<str>,
    /// Pairs of this name, by value.
    by_value: Mutex<ByValue>,
}

/// Pairs sorted by value, and behind them those that were added since somebody last looked.
#[derive(Default)]
struct ByValue {
    sorted: Arc<Vec<u32>>,
    fresh: Vec<u32>,
}

struct Pair {
    name: u32,
    len: u32,
    start: u64,
    series: RefSet,
}

impl Name {
    fn new(text: &str) -> Self {
        Name {
            text: text.into(),
            by_value: Mutex::default(),
        }
    }
}

fn hash_pair(name: u32, value: &str) -> u64 {
    hash_bytes(name, value.as_bytes())
}

fn hash_bytes(name: u32, value: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(value, u64::from(name))
}

impl Index {
    /// An empty index for references from `base` on.
    pub(crate) fn new(base: u64) -> Self {
        Index {
            base,
            generation: 0,
            names: Vec::new(),
            name_ids: HashMap::default(),
            pairs: Vec::new(),
            pair_ids: HashTable::new(),
            values: Vec::new(),
            sets: Vec::new(),
            garbage: 0,
            set_of: Vec::new(),
            series: HashTable::new(),
            all: RoaringBitmap::new(),
        }
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Number of pairs that a series carries.
    pub(crate) fn pairs_len(&self) -> usize {
        self.pairs.iter().filter(|p| !p.series.is_empty()).count()
    }

    /// The reference of an index.
    pub(crate) fn reference_of(&self, index: u32) -> u64 {
        self.base + u64::from(index)
    }

    /// The index of a reference, if it can have one.
    pub(crate) fn index_of(&self, reference: u64) -> Option<u32> {
        u32::try_from(reference.checked_sub(self.base)?).ok()
    }

    /// The reference of the series with these labels.
    pub(crate) fn find(&self, hash: u64, labels: PackedSet<'_>) -> Option<u64> {
        let key = (hash >> 32) as u32;
        self.series
            .find(spread(key), |(h, index)| {
                *h == key && self.has_labels(*index, labels)
            })
            .map(|(_, index)| self.reference_of(*index))
    }

    /// Whether the series with this reference has these labels; there need be none.
    pub(crate) fn is_of(&self, reference: u64, labels: PackedSet<'_>) -> bool {
        self.index_of(reference)
            .is_some_and(|index| !self.set(index).is_empty() && self.has_labels(index, labels))
    }

    fn has_labels(&self, index: u32, labels: PackedSet<'_>) -> bool {
        let mut set = self.set(index).iter();
        let equal = labels.pairs().all(|(name, value)| {
            set.next().is_some_and(|pair| {
                let pair = &self.pairs[*pair as usize];
                self.bytes_of(pair) == value && self.names[pair.name as usize].text.as_bytes() == name
            })
        });
        equal && set.next().is_none()
    }

    /// How often the index was built anew.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The pairs of a series, in order of their names; none for one that does not exist.
    pub(crate) fn set(&self, index: u32) -> &[u32] {
        let (page, slot) = (index as usize / PAGE, index as usize % PAGE);
        let at = match self.set_of.get(page) {
            Some(Some(page)) => page[slot],
            _ => NO_SET,
        };
        if at == NO_SET {
            return &[];
        }
        let at = at as usize;
        &self.sets[at + 1..at + 1 + self.sets[at] as usize]
    }

    /// Name and value of a pair.
    pub(crate) fn pair(&self, pair: u32) -> (&str, &str) {
        let pair = &self.pairs[pair as usize];
        (&self.names[pair.name as usize].text, self.value_of(pair))
    }

    fn value_of(&self, pair: &Pair) -> &str {
        std::str::from_utf8(self.bytes_of(pair)).expect("copied from &str")
    }

    fn bytes_of(&self, pair: &Pair) -> &[u8] {
        let start = pair.start as usize;
        &self.values[start..start + pair.len as usize]
    }

    /// Adds a series; false where the reference is out of the index' range or taken, or its arenas are full.
    pub(crate) fn insert(&mut self, reference: u64, hash: u64, labels: &Labels) -> bool {
        let Some(index) = self.index_of(reference) else {
            return false;
        };
        if self.all.contains(index) || self.sets.len() + labels.len() + 1 >= NO_SET as usize {
            return false;
        }
        let at = self.sets.len();
        self.sets.push(0);
        for (name, value) in labels {
            let pair = self.intern(name, value);
            self.sets.push(pair);
            self.pairs[pair as usize].series.insert(index);
        }
        self.sets[at] = (self.sets.len() - at - 1) as u32;
        self.place_set(index, at as u32);
        // The table rehashes by the stored half: the low half only chooses the bucket of a fresh entry, so spread it.
        let key = (hash >> 32) as u32;
        self.series
            .insert_unique(spread(key), (key, index), |(key, _)| spread(*key));
        self.all.insert(index);
        true
    }

    /// Notes where in `sets` the label set of a series lies.
    fn place_set(&mut self, index: u32, at: u32) {
        let (page, slot) = (index as usize / PAGE, index as usize % PAGE);
        if self.set_of.len() <= page {
            self.set_of.resize_with(page + 1, || None);
        }
        self.set_of[page].get_or_insert_with(|| Box::new([NO_SET; PAGE]))[slot] = at;
    }

    fn intern(&mut self, name: &str, value: &str) -> u32 {
        let name_id = match self.name_ids.get(name) {
            Some(id) => *id,
            None => {
                let id = self.names.len() as u32;
                self.names.push(Name::new(name));
                self.name_ids.insert(name.into(), id);
                id
            }
        };
        let hash = hash_pair(name_id, value);
        if let Some(id) = self.find_pair(hash, name_id, value) {
            return id;
        }
        let id = self.pairs.len() as u32;
        self.pairs.push(Pair {
            name: name_id,
            len: value.len() as u32,
            start: self.values.len() as u64,
            series: RefSet::Empty,
        });
        self.values.extend_from_slice(value.as_bytes());
        let (pairs, values) = (&self.pairs, &self.values);
        self.pair_ids.insert_unique(hash, id, |id| {
            let pair = &pairs[*id as usize];
            let start = pair.start as usize;
            hash_bytes(pair.name, &values[start..start + pair.len as usize])
        });
        self.names[name_id as usize].by_value.get_mut().fresh.push(id);
        id
    }

    fn find_pair(&self, hash: u64, name: u32, value: &str) -> Option<u32> {
        let same = |id: &u32| {
            let pair = &self.pairs[*id as usize];
            pair.name == name && self.value_of(pair) == value
        };
        self.pair_ids.find(hash, same).copied()
    }

    /// Removes series.
    pub(crate) fn remove(&mut self, references: &[u64]) {
        for reference in references {
            let Some(index) = self.index_of(*reference) else {
                continue;
            };
            if !self.all.remove(index) {
                continue;
            }
            let labels = self.labels(index);
            let key = (labels.hash64() >> 32) as u32;
            if let Ok(entry) = self.series.find_entry(spread(key), |(_, i)| *i == index) {
                entry.remove();
            }
            let pairs = self.set(index).to_vec();
            for pair in &pairs {
                self.pairs[*pair as usize].series.remove(index);
            }
            self.garbage += pairs.len() + 1;
            let page = &mut self.set_of[index as usize / PAGE];
            if let Some(slots) = page {
                slots[index as usize % PAGE] = NO_SET;
                if slots.iter().all(|s| *s == NO_SET) {
                    *page = None;
                }
            }
        }
    }

    /// A fresh index without garbage, if there is much of it.
    pub(crate) fn compacted(&self) -> Option<Index> {
        if self.garbage < GARBAGE_MIN || self.garbage < self.sets.len() / 2 {
            return None;
        }
        Some(self.rebuilt())
    }

    /// The same series in a fresh index.
    pub(crate) fn rebuilt(&self) -> Index {
        let first = self.all.min().map_or(self.base, |i| self.reference_of(i));
        let mut fresh = Index::new(first / PAGE as u64 * PAGE as u64);
        fresh.generation = self.generation + 1;
        for index in &self.all {
            let labels = self.labels(index);
            fresh.insert(self.reference_of(index), labels.hash64(), &labels);
        }
        fresh
    }

    /// Labels of a series; empty for one that does not exist.
    pub(crate) fn labels(&self, index: u32) -> Labels {
        self.labels_with(index, &mut LabelsPacker::default())
    }

    /// [`Index::labels`] with a packer that is kept from call to call.
    pub(crate) fn labels_with(&self, index: u32, packer: &mut LabelsPacker) -> Labels {
        for pair in self.set(index) {
            let pair = &self.pairs[*pair as usize];
            packer.push(&self.names[pair.name as usize].text, self.value_of(pair));
        }
        packer.finish()
    }

    /// Values of a label that series carry, sorted, from the first that is not below `from`, with those series.
    fn values_from(&self, name: &str, from: &str) -> impl Iterator<Item = (&str, &RefSet)> {
        let pairs = self.pairs_of(name);
        let first = self.first_from(&pairs, from);
        (first..pairs.len()).filter_map(move |i| {
            let pair = &self.pairs[pairs[i] as usize];
            (!pair.series.is_empty()).then(|| (self.value_of(pair), &pair.series))
        })
    }

    /// The pairs of a label, sorted by value; some may have no series any more.
    pub(crate) fn pairs_of(&self, name: &str) -> Arc<Vec<u32>> {
        let name = self.name_ids.get(name);
        name.map_or_else(Arc::default, |id| self.sorted(*id))
    }

    /// The place of the first of `pairs`, sorted by value, whose value is not below `from`.
    pub(crate) fn first_from(&self, pairs: &[u32], from: &str) -> usize {
        pairs.partition_point(|id| self.value_of(&self.pairs[*id as usize]) < from)
    }

    /// The series that carry a pair.
    pub(crate) fn series_of(&self, pair: u32) -> &RefSet {
        &self.pairs[pair as usize].series
    }

    fn sorted(&self, name: u32) -> Arc<Vec<u32>> {
        let mut by_value = self.names[name as usize].by_value.lock();
        if !by_value.fresh.is_empty() {
            let mut fresh = std::mem::take(&mut by_value.fresh);
            let text = |id: u32| self.value_of(&self.pairs[id as usize]);
            sort_by_text(&mut fresh, text);
            let old = std::mem::take(&mut by_value.sorted);
            let mut merged = Vec::with_capacity(old.len() + fresh.len());
            // New values are few as a rule: look for the place of each and copy what lies between.
            let mut rest = old.as_slice();
            for id in fresh {
                let value = text(id);
                let below = rest.partition_point(|old| text(*old) < value);
                merged.extend_from_slice(rest.split_off(..below).unwrap_or_default());
                merged.push(id);
            }
            merged.extend_from_slice(rest);
            by_value.sorted = Arc::new(merged);
        }
        Arc::clone(&by_value.sorted)
    }

    /// Numbers of pairs lie below this.
    pub(crate) fn pairs_end(&self) -> u32 {
        self.pairs.len() as u32
    }
}

impl LabelIndex for Index {
    fn all(&self) -> Result<Postings, StorageError> {
        Ok(self.all.clone().into())
    }

    fn postings(&self, name: &str, value: &str) -> Result<Postings, StorageError> {
        let Some(name) = self.name_ids.get(name) else {
            return Ok(Postings::Empty);
        };
        let pair = self.find_pair(hash_pair(*name, value), *name, value);
        Ok(pair.map_or(Postings::Empty, |pair| {
            self.pairs[pair as usize].series.to_postings()
        }))
    }

    fn visit_values(
        &self,
        name: &str,
        from: &str,
        visit: &mut dyn FnMut(&str) -> Visit,
    ) -> Result<Vec<Postings>, StorageError> {
        let mut taken = Vec::new();
        for (value, series) in self.values_from(name, from) {
            match visit(value) {
                Visit::Take => taken.push(series.to_postings()),
                Visit::Skip => {}
                Visit::Stop => break,
            }
        }
        Ok(taken)
    }

    fn values_len(&self, name: &str, prefix: &str) -> Result<usize, StorageError> {
        let pairs = self.pairs_of(name);
        let inside = |id: &u32| {
            let value = self.value_of(&self.pairs[*id as usize]);
            value < prefix || value.starts_with(prefix)
        };
        Ok(match prefix {
            "" => pairs.len(),
            _ => pairs.partition_point(inside) - self.first_from(&pairs, prefix),
        })
    }

    fn value_numbers(&self, name: &str, series: &[u32]) -> Result<Vec<u32>, StorageError> {
        let Some(name) = self.name_ids.get(name) else {
            return Ok(vec![NO_VALUE; series.len()]);
        };
        let has_name = |pair: &&u32| self.pairs[**pair as usize].name == *name;
        let values = series
            .iter()
            .map(|index| self.set(*index).iter().find(has_name).copied());
        Ok(values.map(|pair| pair.unwrap_or(NO_VALUE)).collect())
    }

    fn value_text(&self, number: u32) -> Result<String, StorageError> {
        Ok(self.pair(number).1.to_owned())
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        let carried = |id: &u32| !self.series_of(*id).is_empty();
        let names = self.names.iter().filter(|name| {
            let by_value = name.by_value.lock();
            by_value.sorted.iter().any(carried) || by_value.fresh.iter().any(carried)
        });
        let mut used: Vec<String> = names.map(|name| name.text.to_string()).collect();
        used.sort_unstable();
        Ok(used)
    }

    fn names_of(&self, series: &[u32]) -> Result<Vec<String>, StorageError> {
        let mut seen = vec![false; self.names.len()];
        for index in series {
            for pair in self.set(*index) {
                seen[self.pairs[*pair as usize].name as usize] = true;
            }
        }
        let names = self.names.iter().zip(seen).filter(|(_, seen)| *seen);
        let mut names: Vec<String> = names.map(|(n, _)| n.text.to_string()).collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// Sorts ids by their texts. The eight bytes behind what all texts begin with are fetched once for each and decide nearly
/// always, so that a million texts are not looked up twenty times each.
fn sort_by_text<'t>(ids: &mut Vec<u32>, text: impl Fn(u32) -> &'t str) {
    let Some((first, rest)) = ids.split_first() else {
        return;
    };
    let first = text(*first).as_bytes();
    let common = rest.iter().fold(first.len(), |common, id| {
        let pairs = first[..common].iter().zip(text(*id).as_bytes());
        pairs.take_while(|(a, b)| a == b).count()
    });
    let key = |id: u32| {
        let tail = &text(id).as_bytes()[common..];
        let mut key = [0; 8];
        let len = tail.len().min(8);
        key[..len].copy_from_slice(&tail[..len]);
        u64::from_be_bytes(key)
    };
    let mut keyed: Vec<(u64, u32)> = ids.iter().map(|id| (key(*id), *id)).collect();
    keyed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| text(a.1).cmp(text(b.1))));
    *ids = keyed.into_iter().map(|(_, id)| id).collect();
}

fn spread(key: u32) -> u64 {
    // hashbrown takes the bucket from the low bits and the tag from the top seven.
    u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(i: u32) -> Labels {
        Labels::from_pairs([
            ("__name__", "m".to_owned()),
            ("i", i.to_string()),
            ("mod", (i % 7).to_string()),
        ])
    }

    fn built(n: u32) -> Index {
        let mut index = Index::new(256);
        for i in 0..n {
            let l = labels(i);
            assert!(index.find(l.hash64(), l.packed()).is_none());
            assert!(index.insert(256 + u64::from(i), l.hash64(), &l));
        }
        index
    }

    #[test]
    fn series_are_found_by_labels_pairs_and_sorted_values() {
        let index = built(1000);
        for i in 0..1000 {
            let l = labels(i);
            assert_eq!(index.find(l.hash64(), l.packed()), Some(256 + u64::from(i)));
            assert_eq!(index.labels(i), l);
        }
        assert_eq!(index.postings("mod", "3").unwrap().len(), 143);
        let values: Vec<&str> = index.values_from("i", "").map(|(v, _)| v).collect();
        assert!(values.is_sorted() && values.len() == 1000);
    }

    #[test]
    fn removed_series_leave_nothing_behind() {
        let mut index = built(500);
        let gone: Vec<u64> = (0..500).filter(|i| i % 7 == 3).map(|i| 256 + i).collect();
        index.remove(&gone);
        assert!(index.postings("mod", "3").unwrap().is_empty());
        assert_eq!(index.values_from("mod", "").count(), 6);
        assert_eq!(index.len(), 500 - gone.len());
        let l = labels(3);
        assert!(index.find(l.hash64(), l.packed()).is_none());
        assert!(index.insert(9000, l.hash64(), &l));
        assert_eq!(index.find(l.hash64(), l.packed()), Some(9000));
        assert_eq!(index.values_from("mod", "").count(), 7);
    }

    #[test]
    fn an_index_is_built_from_its_image() {
        let mut index = built(500);
        index.remove(
            &(0..500)
                .filter(|i| i % 7 == 3)
                .map(|i| 256 + i)
                .collect::<Vec<u64>>(),
        );
        let mut builder = IndexBuilder::new(256);
        index.name_texts().for_each(|name| builder.add_name(name));
        let mut new_places = vec![NO_PAIR; index.pair_places()];
        for (new, (place, name, value)) in index.used_pairs(0, 9999).enumerate() {
            new_places[place] = new as u32;
            assert!(builder.add_pair(name, value));
        }
        let keys = index.keys();
        for (number, reference, set) in index.sets_from(0, 1000) {
            let set: Vec<u32> = set.iter().map(|p| new_places[*p as usize]).collect();
            assert!(builder.add_series(reference, keys[number as usize], &set));
        }
        assert!(!builder.add_series(256, 0, &[0]), "references ascend");
        assert!(!builder.add_series(9999, 0, &[NO_PAIR]), "no such pair");
        let mut copy = builder.finish();
        assert_eq!((copy.len(), copy.pairs_len()), (index.len(), index.pairs_len()));
        for i in 0..500 {
            let l = labels(i);
            assert_eq!(
                copy.find(l.hash64(), l.packed()),
                index.find(l.hash64(), l.packed())
            );
            assert_eq!(copy.labels(i), index.labels(i));
        }
        for (name, value) in [("mod", "2"), ("i", "7"), ("__name__", "m"), ("mod", "3")] {
            let both = [&copy, &index].map(|i| i.postings(name, value).unwrap().to_vec());
            assert_eq!(both[0], both[1]);
        }
        assert_eq!(
            copy.values_from("i", "").count(),
            index.values_from("i", "").count()
        );
        let l = labels(3);
        assert!(copy.insert(9000, l.hash64(), &l));
        assert_eq!(copy.find(l.hash64(), l.packed()), Some(9000));
    }
}
