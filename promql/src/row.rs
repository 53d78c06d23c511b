//! Steps, windows and rows: the shapes that operators and kernels hand to each other.

use std::sync::Arc;

use model::histogram::FloatHistogram;

/// The points in time at which a query, or a subquery, is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Steps {
    /// First step, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Distance, in milliseconds; positive even when there is one step only.
    pub step_ms: i64,
    /// Number of steps.
    pub count: usize,
}

impl Steps {
    /// Time of step `index`.
    #[inline]
    pub fn at(&self, index: usize) -> i64 {
        self.start_ms + self.step_ms * index as i64
    }

    /// Time of the last step; of the first where there is none.
    pub fn last_ms(&self) -> i64 {
        self.at(self.count.max(1) - 1)
    }
}

/// The windows that a range function sees: one a step, `(end - range_ms, end]`, left-open.
///
/// `ends` are already moved by `offset`; a selector pinned by `@` has `ends.count == 1` and its single result is
/// repeated by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Right ends of the windows.
    pub ends: Steps,
    /// Length, in milliseconds.
    pub range_ms: i64,
}

/// One series' results over all steps: a float or a histogram or nothing a step.
///
/// `values` and `present` have one entry a step. A step whose `present` bit is unset has no result (and `values` holds
/// 0 there); a step that has an entry in `histograms` is a histogram (its bit is set, and `values` holds 0).
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Float of each step.
    pub values: Vec<f64>,
    /// Which steps have a result.
    pub present: Bits,
    /// Steps whose result is a histogram, ascending.
    pub histograms: Vec<(u32, Arc<FloatHistogram>)>,
}

impl Row {
    /// Makes the row one of `steps` absent results, keeping its buffers.
    pub fn reset(&mut self, steps: usize) {
        self.values.clear();
        self.values.resize(steps, 0.0);
        self.present.reset(steps);
        self.histograms.clear();
    }

    /// Sets step `index` to a float.
    #[inline]
    pub fn set(&mut self, index: usize, value: f64) {
        self.values[index] = value;
        self.present.set(index);
    }

    /// Sets step `index`, which must lie behind all histograms so far, to a histogram.
    pub fn push_histogram(&mut self, index: usize, histogram: Arc<FloatHistogram>) {
        debug_assert!(
            self.histograms
                .last()
                .is_none_or(|(last, _)| (*last as usize) < index)
        );
        self.present.set(index);
        self.histograms.push((index as u32, histogram));
    }

    /// The float of step `index`, if the step has one. Not for rows with histograms.
    #[inline]
    pub fn get(&self, index: usize) -> Option<f64> {
        self.present.get(index).then(|| self.values[index])
    }

    /// The histogram of step `index`, if the step has one.
    pub fn histogram(&self, index: usize) -> Option<&Arc<FloatHistogram>> {
        let at = self
            .histograms
            .binary_search_by_key(&(index as u32), |(step, _)| *step)
            .ok()?;
        Some(&self.histograms[at].1)
    }

    /// Whether the last step has a result.
    pub(crate) fn has_last(&self) -> bool {
        let last = self.present.len().checked_sub(1);
        last.is_some_and(|last| self.present.get(last))
    }

    /// Whether no step has a result.
    pub fn is_empty(&self) -> bool {
        self.present.none()
    }
}

/// A bitmap of fixed length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// Makes it `len` unset bits.
    pub fn reset(&mut self, len: usize) {
        self.words.clear();
        self.words.resize(len.div_ceil(64), 0);
        self.len = len;
    }

    /// Number of bits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bits at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets a bit.
    #[inline]
    pub fn set(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Unsets a bit.
    #[inline]
    pub fn unset(&mut self, index: usize) {
        self.words[index / 64] &= !(1 << (index % 64));
    }

    /// Whether a bit is set.
    #[inline]
    pub fn get(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Whether no bit is set.
    pub fn none(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Number of set bits.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Hands each set bit's index to `f`, ascending.
    #[inline]
    pub fn for_each_set(&self, mut f: impl FnMut(usize)) {
        for (index, word) in self.words.iter().enumerate() {
            let mut word = *word;
            while word != 0 {
                f(index * 64 + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
    }

    /// The words, low bit first; bits behind `len` are unset.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The words, to be changed; bits behind `len` must stay unset.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }
}
