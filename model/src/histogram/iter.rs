//! Walking over buckets.

use std::iter::FusedIterator;

use super::bounds::bound;
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to the bucket.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to the bucket.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

impl Bucket {
    /// Which bounds belong to the bucket, as the HTTP API codes it: 0 the upper, 1 the lower, 2 neither, 3 both.
    pub fn boundaries(&self) -> u8 {
        match (self.lower_inclusive, self.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        }
    }

    /// Which part of the bucket lies below `value`, which must be inside finite bounds: by distance where `linear`
    /// (custom buckets, the zero bucket), else by distance of logarithms.
    pub fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper) = (self.lower.abs().log2(), self.upper.abs().log2());
        let value_log = value.abs().log2();
        if value > 0.0 {
            (value_log - lower) / (upper - lower)
        } else {
            1.0 - (value_log - upper) / (lower - upper)
        }
    }
}

/// The buckets of one side with their indices, in order of the spans. Stops at the shorter of spans and buckets.
#[derive(Clone, Debug)]
pub(super) struct Indexed<'a, C> {
    spans: &'a [Span],
    buckets: &'a [C],
    /// Index of the next bucket from the front, and how many of its span are left.
    front: i32,
    front_left: u32,
    /// Index behind the next bucket from the back, and how many of its span are left.
    back: i32,
    back_left: u32,
}

impl<'a, C: Copy> Indexed<'a, C> {
    pub(super) fn new(spans: &'a [Span], buckets: &'a [C]) -> Self {
        let described: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        let end = spans.iter().fold(0_i32, |at, span| {
            at.wrapping_add(span.offset).wrapping_add(span.length as i32)
        });
        // Contradicting lengths come from broken data only; the spans then tell where from, the buckets how many.
        let buckets = &buckets[..buckets
            .len()
            .min(usize::try_from(described).unwrap_or(usize::MAX))];
        let missing = described - buckets.len() as u64;
        let mut indexed = Indexed {
            spans,
            buckets,
            front: spans.first().map_or(0, |span| span.offset),
            front_left: spans.first().map_or(0, |span| span.length),
            back: end,
            back_left: spans.last().map_or(0, |span| span.length),
        };
        indexed.skip_back(missing);
        indexed
    }

    /// The spans that are left, the current ones included.
    pub(super) fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// Leaves out `count` buckets at the back that the spans describe and that are not there.
    fn skip_back(&mut self, mut count: u64) {
        while count > 0 {
            self.open_back_span();
            let here = u64::from(self.back_left).min(count);
            self.back = self.back.wrapping_sub(here as i32);
            self.back_left -= here as u32;
            count -= here;
        }
    }

    fn open_back_span(&mut self) {
        while self.back_left == 0 {
            let [before @ .., last] = self.spans else {
                return;
            };
            self.back = self.back.wrapping_sub(last.offset);
            self.back_left = before.last().map_or(0, |span| span.length);
            self.spans = before;
        }
    }
}

impl<C: Copy> Iterator for Indexed<'_, C> {
    type Item = (i32, C);

    fn next(&mut self) -> Option<Self::Item> {
        let [bucket, rest @ ..] = self.buckets else {
            return None;
        };
        while self.front_left == 0 {
            let [_, next, ..] = self.spans else {
                return None;
            };
            self.front = self.front.wrapping_add(next.offset);
            self.front_left = next.length;
            self.spans = &self.spans[1..];
        }
        let index = self.front;
        self.buckets = rest;
        self.front = index.wrapping_add(1);
        self.front_left -= 1;
        Some((index, *bucket))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.buckets.len(), Some(self.buckets.len()))
    }
}

impl<C: Copy> DoubleEndedIterator for Indexed<'_, C> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let [rest @ .., bucket] = self.buckets else {
            return None;
        };
        self.open_back_span();
        self.buckets = rest;
        self.back = self.back.wrapping_sub(1);
        self.back_left = self.back_left.saturating_sub(1);
        Some((self.back, *bucket))
    }
}

impl<C: Copy> ExactSizeIterator for Indexed<'_, C> {}
impl<C: Copy> FusedIterator for Indexed<'_, C> {}

/// The buckets of one side, from the zero bucket outwards.
#[derive(Clone, Debug)]
pub struct SideBuckets<'a> {
    indexed: Indexed<'a, f64>,
    schema: i32,
    custom_values: &'a [f64],
    positive: bool,
}

impl SideBuckets<'_> {
    fn bucket(&self, index: i32, count: f64) -> Bucket {
        let far = bound(index, self.schema, self.custom_values);
        let near = bound(index.wrapping_sub(1), self.schema, self.custom_values);
        let (lower, upper) = if self.positive { (near, far) } else { (-far, -near) };
        let (lower_inclusive, upper_inclusive) = if self.schema == CUSTOM_BUCKETS_SCHEMA {
            (index == 0, true)
        } else {
            (lower < 0.0, upper > 0.0)
        };
        Bucket {
            lower,
            upper,
            lower_inclusive,
            upper_inclusive,
            count,
        }
    }
}

impl Iterator for SideBuckets<'_> {
    type Item = Bucket;

    fn next(&mut self) -> Option<Bucket> {
        self.indexed
            .next()
            .map(|(index, count)| self.bucket(index, count))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indexed.size_hint()
    }
}

impl DoubleEndedIterator for SideBuckets<'_> {
    fn next_back(&mut self) -> Option<Bucket> {
        self.indexed
            .next_back()
            .map(|(index, count)| self.bucket(index, count))
    }
}

impl FusedIterator for SideBuckets<'_> {}

/// All buckets in ascending order: the negative ones, the zero bucket if it has observations, the positive ones.
/// Buckets that reach into the zero bucket are cut off at its threshold.
#[derive(Clone, Debug)]
pub struct AllBuckets<'a> {
    negative: SideBuckets<'a>,
    zero: Option<Bucket>,
    positive: SideBuckets<'a>,
    zero_threshold: f64,
}

impl AllBuckets<'_> {
    fn cut(&self, mut bucket: Bucket) -> Bucket {
        if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
            bucket.upper = -self.zero_threshold;
        }
        if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
            bucket.lower = self.zero_threshold;
        }
        bucket
    }
}

impl Iterator for AllBuckets<'_> {
    type Item = Bucket;

    fn next(&mut self) -> Option<Bucket> {
        if let Some(bucket) = self.negative.next_back() {
            return Some(self.cut(bucket));
        }
        self.zero
            .take()
            .or_else(|| self.positive.next().map(|bucket| self.cut(bucket)))
    }
}

impl DoubleEndedIterator for AllBuckets<'_> {
    fn next_back(&mut self) -> Option<Bucket> {
        if let Some(bucket) = self.positive.next_back() {
            return Some(self.cut(bucket));
        }
        self.zero
            .take()
            .or_else(|| self.negative.next().map(|bucket| self.cut(bucket)))
    }
}

impl FusedIterator for AllBuckets<'_> {}

impl FloatHistogram {
    /// Positive buckets, ascending.
    pub fn positive(&self) -> SideBuckets<'_> {
        SideBuckets {
            indexed: Indexed::new(&self.positive_spans, &self.positive_buckets),
            schema: self.schema,
            custom_values: self.bounds(),
            positive: true,
        }
    }

    /// Negative buckets, descending: from the zero bucket outwards.
    pub fn negative(&self) -> SideBuckets<'_> {
        SideBuckets {
            indexed: Indexed::new(&self.negative_spans, &self.negative_buckets),
            schema: self.schema,
            custom_values: &[],
            positive: false,
        }
    }

    /// The zero bucket, whether or not it has observations.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets, ascending; `.rev()` gives them descending.
    pub fn buckets(&self) -> AllBuckets<'_> {
        AllBuckets {
            negative: self.negative(),
            zero: (self.zero_count > 0.0).then(|| self.zero_bucket()),
            positive: self.positive(),
            zero_threshold: self.zero_threshold,
        }
    }
}
