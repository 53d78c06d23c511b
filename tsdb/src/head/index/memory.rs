//! What the index takes, part by part.

use super::{Index, Name, PAGE, Pair};
use crate::head::refset::RefSet;

impl Index {
    /// Parts of the index and the bytes allocated for each.
    pub(crate) fn memory(&self) -> [(&'static str, usize); 5] {
        let size = |len: usize, of: usize| len * of;
        let pages = self.set_of.iter().flatten().count();
        let sorted: usize = self
            .names
            .iter()
            .map(|name| {
                let by_value = name.by_value.lock();
                by_value.sorted.capacity() + by_value.fresh.capacity()
            })
            .sum();
        let pairs = size(self.pairs.capacity(), std::mem::size_of::<Pair>())
            + self.pair_ids.allocation_size()
            + self.values.capacity()
            + size(self.names.capacity(), std::mem::size_of::<Name>())
            + size(sorted, 4);
        let postings = self.pairs.iter().map(|pair| pair.series.heap_bytes());
        let all = RefSet::Many(std::sync::Arc::new(self.all.clone())).heap_bytes();
        [
            ("label sets", size(self.sets.capacity(), 4)),
            (
                "label sets by series",
                size(pages * PAGE, 4) + size(self.set_of.capacity(), 8),
            ),
            ("series by labels", self.series.allocation_size()),
            ("label pairs", pairs),
            ("postings", postings.sum::<usize>() + all),
        ]
    }
}
