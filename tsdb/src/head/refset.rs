//! Sets of series: nearly all are tiny, a few are huge.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::postings::Postings;

/// Above this a sorted list costs more than a bitmap.
const FEW_MAX: usize = 64;

/// A set of series indexes (see [`super::index::Index`]).
#[derive(Clone, Debug, Default)]
pub(crate) enum RefSet {
    #[default]
    Empty,
    One(u32),
    /// Sorted.
    Few(Vec<u32>),
    Many(Arc<RoaringBitmap>),
}

impl RefSet {
    /// The set of these indexes, which ascend.
    pub(crate) fn from_sorted(indexes: &[u32]) -> Self {
        match indexes {
            [] => RefSet::Empty,
            [one] => RefSet::One(*one),
            few if few.len() <= FEW_MAX => RefSet::Few(few.to_vec()),
            many => RefSet::Many(Arc::new(many.iter().copied().collect())),
        }
    }

    /// Adds an index; nearly always the largest so far.
    pub(crate) fn insert(&mut self, index: u32) {
        match self {
            RefSet::Empty => *self = RefSet::One(index),
            RefSet::One(old) if *old == index => {}
            RefSet::One(old) => {
                let (a, b) = (index.min(*old), index.max(*old));
                *self = RefSet::Few(vec![a, b]);
            }
            RefSet::Few(few) => {
                match few.last() {
                    Some(last) if *last < index => few.push(index),
                    _ => {
                        let Err(at) = few.binary_search(&index) else {
                            return;
                        };
                        few.insert(at, index);
                    }
                }
                if few.len() > FEW_MAX {
                    let bitmap: RoaringBitmap = few.iter().copied().collect();
                    *self = RefSet::Many(Arc::new(bitmap));
                }
            }
            RefSet::Many(bitmap) => {
                Arc::make_mut(bitmap).insert(index);
            }
        }
    }

    pub(crate) fn remove(&mut self, index: u32) {
        match self {
            RefSet::Empty => {}
            RefSet::One(old) => {
                if *old == index {
                    *self = RefSet::Empty;
                }
            }
            RefSet::Few(few) => {
                few.retain(|i| *i != index);
                match few.as_slice() {
                    [] => *self = RefSet::Empty,
                    [one] => *self = RefSet::One(*one),
                    _ => {}
                }
            }
            RefSet::Many(bitmap) => {
                Arc::make_mut(bitmap).remove(index);
                if bitmap.len() <= FEW_MAX as u64 / 2 {
                    *self = RefSet::Few(bitmap.iter().collect());
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            RefSet::Empty => 0,
            RefSet::One(_) => 1,
            RefSet::Few(few) => few.len(),
            RefSet::Many(bitmap) => bitmap.len() as usize,
        }
    }

    /// Bytes of memory besides the set itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            RefSet::Empty | RefSet::One(_) => 0,
            RefSet::Few(few) => few.capacity() * std::mem::size_of::<u32>(),
            // Containers hold what they would hold in a file, with a header each.
            RefSet::Many(bitmap) => std::mem::size_of_val(&**bitmap) + bitmap.serialized_size(),
        }
    }

    /// As the select module wants it.
    pub(crate) fn to_postings(&self) -> Postings {
        match self {
            RefSet::Empty => Postings::Empty,
            RefSet::One(one) => Postings::One(*one),
            RefSet::Few(few) => Postings::List(Arc::from(few.as_slice())),
            RefSet::Many(bitmap) => Postings::Bitmap(Arc::clone(bitmap)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_grows_and_shrinks_through_all_its_forms() {
        let mut set = RefSet::default();
        let order: Vec<u32> = (0..300).map(|i| i * 37 % 301).collect();
        for (n, i) in order.iter().enumerate() {
            set.insert(*i);
            set.insert(*i);
            assert_eq!(set.len(), n + 1);
        }
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(set.to_postings().to_vec(), sorted);
        for (n, i) in order.iter().enumerate() {
            set.remove(*i);
            set.remove(*i);
            assert_eq!(set.len(), order.len() - n - 1);
            assert!(!set.to_postings().to_vec().contains(i));
        }
        assert!(set.is_empty());
    }

    #[test]
    fn a_set_is_made_of_a_sorted_list() {
        for n in [0, 1, 2, 64, 65, 1000] {
            let list: Vec<u32> = (0..n).map(|i| i * 3).collect();
            assert_eq!(RefSet::from_sorted(&list).to_postings().to_vec(), list);
        }
    }
}
