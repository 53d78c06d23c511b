//! Counter resets, and equality of data.

use super::arith::outside;
use super::iter::Indexed;
use super::layout::{coarser, same_spans};
use super::{Buckets, CounterResetHint, FloatHistogram, IntHistogram};

impl FloatHistogram {
    /// Whether the counter was reset between `previous` and this histogram: the hint says so, or some count is smaller
    /// than it was, a populated bucket is gone, the schema is finer, or the zero bucket is narrower. A hint that there
    /// was no reset is believed; gauges are compared as if they were counters.
    pub fn detect_reset(&self, previous: &FloatHistogram) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::Reset => return true,
            CounterResetHint::NotReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.uses_custom_buckets() {
            if !previous.uses_custom_buckets() {
                return true;
            }
            if self.bounds() == previous.bounds() {
                return side_is_reset(self.positive_cells(), previous.positive_cells());
            }
            return self.is_reset_between_common_bounds(previous);
        }
        // Custom bounds before exponential buckets are caught here, too: their schema is the lowest.
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_within(self.zero_threshold);
        // A populated bucket of before does not fit into today's zero bucket: it cannot have grown into it.
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let of = |cells, schema| {
            outside(
                coarser(cells, schema, self.schema),
                self.schema,
                self.zero_threshold,
            )
        };
        side_is_reset(
            of(self.positive_cells(), self.schema),
            of(previous.positive_cells(), previous.schema),
        ) || side_is_reset(
            of(self.negative_cells(), self.schema),
            of(previous.negative_cells(), previous.schema),
        )
    }

    /// Compares what lies between the bounds that both have.
    fn is_reset_between_common_bounds(&self, previous: &FloatHistogram) -> bool {
        let mut now = self.positive().peekable();
        let mut before = previous.positive().peekable();
        let mut below = |bound: f64| {
            let mut sums = [0.0, 0.0];
            while let Some(bucket) = now.next_if(|bucket| bucket.upper <= bound) {
                sums[0] += bucket.count;
            }
            while let Some(bucket) = before.next_if(|bucket| bucket.upper <= bound) {
                sums[1] += bucket.count;
            }
            sums[0] < sums[1]
        };
        let in_common = |bound: &&f64| previous.bounds().iter().any(|other| other == *bound);
        self.bounds().iter().filter(in_common).any(|bound| below(*bound)) || below(f64::INFINITY)
    }

    /// Whether both hold the same data: the same buckets, empty ones included, and the same counts bit for bit. Hints
    /// do not count.
    pub fn same_data(&self, other: &FloatHistogram) -> bool {
        let same_bits = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        self.same_frame(other)
            && same_bits(
                &[self.count, self.sum, self.zero_count],
                &[other.count, other.sum, other.zero_count],
            )
            && same_bits(&self.negative_buckets, &other.negative_buckets)
            && same_bits(&self.positive_buckets, &other.positive_buckets)
    }
}

impl IntHistogram {
    /// See [`FloatHistogram::same_data`].
    pub fn same_data(&self, other: &IntHistogram) -> bool {
        self.same_frame(other)
            && (self.count, self.zero_count) == (other.count, other.zero_count)
            && self.sum.to_bits() == other.sum.to_bits()
            && self.negative_buckets == other.negative_buckets
            && self.positive_buckets == other.positive_buckets
    }
}

impl<B, C> Buckets<B, C> {
    /// Whether schema, bounds, zero threshold and spans are the same.
    fn same_frame(&self, other: &Self) -> bool {
        self.schema == other.schema
            && (!self.uses_custom_buckets() || self.bounds() == other.bounds())
            && self.zero_threshold == other.zero_threshold
            && same_spans(&self.negative_spans, &other.negative_spans)
            && same_spans(&self.positive_spans, &other.positive_spans)
    }
}

/// Whether a bucket holds less than before, or a populated one is gone.
fn side_is_reset(now: impl Iterator<Item = (i32, f64)>, before: impl Iterator<Item = (i32, f64)>) -> bool {
    let mut now = now.peekable();
    for (index, count) in before {
        while now.next_if(|(at, _)| *at < index).is_some() {}
        let less = match now.peek() {
            Some((at, current)) if *at == index => *current < count,
            _ => count != 0.0,
        };
        if less {
            return true;
        }
    }
    false
}

impl<'a> Indexed<'a, f64> {
    /// Whether these are the spans it walks over; only before the first step.
    pub(super) fn has_spans(&self, spans: &[super::Span]) -> bool {
        self.spans() == spans
    }
}
