//! Label sets on their way in: borrowed bytes, packed to be looked up, before anybody has looked into them.

use crate::labels::{LABEL_BYTES_MAX, Labels, LabelsIter, LabelsPacker, push_packed};

/// Label sets one behind the other, each packed as [`Labels`] are; reusable. Whoever packs sorts the pairs by name and
/// leaves empty values out. Texts need not be UTF-8: a set that is known is, and others are checked by
/// [`PackedSet::to_labels`].
#[derive(Clone, Debug, Default)]
pub struct PackedSets {
    bytes: Vec<u8>,
    /// Where each set ends.
    ends: Vec<usize>,
}

/// A label set, packed. Its bytes are pairs of texts, and may be nothing more.
#[derive(Clone, Copy, Debug)]
pub struct PackedSet<'a> {
    bytes: &'a [u8],
}

/// A text is longer than [`LABEL_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a label of {bytes} bytes is more than can be stored, which is {LABEL_BYTES_MAX} bytes")]
pub struct TextTooLong {
    /// How long it is.
    pub bytes: usize,
}

impl PackedSets {
    /// Adds a pair to the set that is being packed. Nothing is added of a pair that cannot be.
    ///
    /// # Errors
    /// When a text is too long for any label.
    #[inline]
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), TextTooLong> {
        let bytes = name.len().max(value.len());
        if bytes > LABEL_BYTES_MAX {
            return Err(TextTooLong { bytes });
        }
        push_packed(&mut self.bytes, name);
        push_packed(&mut self.bytes, value);
        Ok(())
    }

    /// The set is complete: gives its number.
    pub fn finish(&mut self) -> usize {
        self.ends.push(self.bytes.len());
        self.ends.len() - 1
    }

    /// Adds a whole set: gives its number.
    pub fn push_set(&mut self, set: PackedSet<'_>) -> usize {
        self.abandon();
        self.bytes.extend_from_slice(set.bytes);
        self.finish()
    }

    /// Forgets the pairs of the set that is being packed.
    pub fn abandon(&mut self) {
        self.bytes.truncate(self.end());
    }

    /// Forgets the last set.
    pub fn remove_last(&mut self) {
        self.ends.pop();
        self.abandon();
    }

    /// Number of sets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all sets.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The set of that number.
    pub fn get(&self, number: usize) -> PackedSet<'_> {
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        PackedSet {
            bytes: &self.bytes[begin..self.ends[number]],
        }
    }

    /// All sets.
    pub fn iter(&self) -> impl Iterator<Item = PackedSet<'_>> {
        (0..self.len()).map(|number| self.get(number))
    }

    /// Empties the list and keeps its buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn end(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

impl<'a> PackedSet<'a> {
    /// What [`Labels::hash64`] gives for these labels.
    pub fn hash64(self) -> u64 {
        xxhash_rust::xxh64::xxh64(self.bytes, 0)
    }

    /// The pairs, in the order in which they were packed.
    pub fn pairs(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        LabelsIter::of_packed(self.bytes).raw()
    }

    /// Its bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The label set, if all texts of it are UTF-8.
    pub fn to_labels(self) -> Option<Labels> {
        let is_text = |text| std::str::from_utf8(text).is_ok();
        let are_texts = self.pairs().all(|(name, value)| is_text(name) && is_text(value));
        are_texts.then(|| Labels::of_packed(self.bytes))
    }
}

impl Labels {
    /// The set as it lies in a list of packed ones.
    pub fn packed(&self) -> PackedSet<'_> {
        PackedSet {
            bytes: self.as_bytes(),
        }
    }
}

impl LabelsPacker {
    /// The pairs so far as they lie in a list of packed sets.
    pub fn packed(&self) -> PackedSet<'_> {
        PackedSet {
            bytes: self.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_packed_as_labels_are() {
        let long = "v".repeat(300);
        let wanted = [
            Labels::from_pairs([("__name__", "m"), ("a", long.as_str())]),
            Labels::empty(),
            Labels::from_pairs([("b", "ü")]),
        ];
        let mut sets = PackedSets::default();
        for labels in &wanted {
            sets.push(b"half", b"done").expect("fits");
            sets.abandon();
            for (name, value) in labels {
                sets.push(name.as_bytes(), value.as_bytes()).expect("fits");
            }
            sets.finish();
        }
        assert_eq!(sets.len(), 3);
        for (set, labels) in sets.iter().zip(&wanted) {
            assert_eq!(set.as_bytes(), labels.as_bytes());
            assert_eq!(set.hash64(), labels.hash64());
            assert_eq!(set.to_labels().as_ref(), Some(labels));
        }
        let mut packer = LabelsPacker::default();
        packer.push("a", "b");
        let number = sets.push_set(packer.packed());
        assert_eq!(sets.get(number).to_labels(), Some(packer.finish()));
        sets.clear();
        assert!(sets.is_empty() && sets.bytes() == 0);
    }

    #[test]
    fn what_is_no_text_is_no_label_set() {
        let mut sets = PackedSets::default();
        sets.push(b"a", b"\xff").expect("fits");
        sets.finish();
        assert_eq!(sets.get(0).to_labels(), None);
        assert_eq!(sets.get(0).pairs().count(), 1);
        let long = vec![b'x'; LABEL_BYTES_MAX + 1];
        assert_eq!(sets.push(b"a", &long), Err(TextTooLong { bytes: long.len() }));
        assert_eq!(sets.bytes(), 4);
    }
}
