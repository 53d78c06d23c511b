//! Classic histograms to native ones with custom bucket bounds.

use std::sync::Arc;

use model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, Span};

/// Empty buckets between two filled ones up to this number are stored rather than skipped.
const EMPTY_BUCKETS_KEPT: usize = 2;

/// Collects the parts of one classic histogram, in any order.
#[derive(Clone, Debug, Default)]
pub struct ClassicHistogram {
    /// Upper bounds and cumulative counts, ascending by bound.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    /// Something contradicted itself.
    broken: bool,
}

impl ClassicHistogram {
    /// Forgets everything and keeps the buffer.
    pub fn clear(&mut self) {
        self.buckets.clear();
        self.count = None;
        self.sum = 0.0;
        self.broken = false;
    }

    /// Sets the number of observations.
    pub fn set_count(&mut self, count: f64) {
        self.broken |= count < 0.0;
        self.count = Some(count);
    }

    /// Sets the sum of observations.
    pub fn set_sum(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// Adds the bucket with this upper bound and cumulative count. A bound that is there already is passed over.
    pub fn set_bucket(&mut self, bound: f64, count: f64) {
        if bound.is_nan() || count < 0.0 {
            self.broken = true;
            return;
        }
        let at = self.buckets.partition_point(|(b, _)| *b < bound);
        if self.buckets.get(at).is_some_and(|(b, _)| *b == bound) {
            return;
        }
        let below = at.checked_sub(1).map(|i| self.buckets[i].1);
        let above = self.buckets.get(at).map(|(_, c)| *c);
        self.broken |= below.is_some_and(|c| count < c) || above.is_some_and(|c| count > c);
        self.buckets.insert(at, (bound, count));
    }

    /// The native histogram; `None` where the parts contradict each other. Counts are whole if all of them are.
    pub fn convert(&self, gauge: bool) -> Option<Histogram> {
        if self.broken {
            return None;
        }
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        let closed = last.is_some_and(|(bound, _)| bound == f64::INFINITY);
        let implied = (!closed).then_some((f64::INFINITY, count));
        let cumulative: Vec<f64> = self
            .buckets
            .iter()
            .chain(&implied)
            .map(|(_, count)| *count)
            .collect();
        // The last bucket counts everything.
        if cumulative.last() != Some(&count) {
            return None;
        }
        let bounds: Arc<[f64]> = self
            .buckets
            .iter()
            .map(|(b, _)| *b)
            .filter(|b| *b != f64::INFINITY)
            .collect();
        let hint = if gauge {
            CounterResetHint::Gauge
        } else {
            CounterResetHint::Unknown
        };
        let is_whole = |v: &f64| *v == v.round() && v.abs() < 9.0e18;
        if cumulative.iter().all(is_whole) {
            return Some(whole(&cumulative, self.sum, bounds, hint));
        }
        Some(fractional(&cumulative, self.sum, bounds, hint))
    }
}

/// Spans over the buckets that are not empty, with gaps of up to `kept` filled; and the buckets they cover.
fn spans<T: Copy>(counts: &[T], kept: usize, is_empty: impl Fn(&T) -> bool) -> (Vec<Span>, Vec<T>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut covered = Vec::with_capacity(counts.len());
    let mut next = 0;
    for (index, count) in counts.iter().enumerate().filter(|(_, count)| !is_empty(count)) {
        let gap = index - next;
        match spans.last_mut() {
            Some(last) if gap <= kept => {
                covered.extend_from_slice(&counts[next..index]);
                last.length += gap as u32 + 1;
            }
            _ => spans.push(Span {
                offset: gap as i32,
                length: 1,
            }),
        }
        covered.push(*count);
        next = index + 1;
    }
    (spans, covered)
}

fn whole(cumulative: &[f64], sum: f64, bounds: Arc<[f64]>, hint: CounterResetHint) -> Histogram {
    let mut before = 0;
    let counts: Vec<i64> = cumulative
        .iter()
        .map(|c| {
            let total = *c as i64;
            let own = total - before;
            before = total;
            own
        })
        .collect();
    let (positive_spans, covered) = spans(&counts, EMPTY_BUCKETS_KEPT, |c| *c == 0);
    let mut previous = 0;
    let positive_buckets = covered
        .iter()
        .map(|c| {
            let delta = *c - previous;
            previous = *c;
            delta
        })
        .collect();
    Histogram::Int(Arc::new(Buckets {
        counter_reset_hint: hint,
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        zero_count: 0,
        count: before as u64,
        sum,
        positive_spans,
        negative_spans: Vec::new(),
        positive_buckets,
        negative_buckets: Vec::new(),
        custom_values: Some(bounds),
    }))
}

fn fractional(cumulative: &[f64], sum: f64, bounds: Arc<[f64]>, hint: CounterResetHint) -> Histogram {
    let mut before = 0.0;
    let counts: Vec<f64> = cumulative
        .iter()
        .map(|c| {
            let own = *c - before;
            before = *c;
            own
        })
        .collect();
    let (positive_spans, positive_buckets) = spans(&counts, 0, |c| *c == 0.0);
    Histogram::Float(Arc::new(Buckets {
        counter_reset_hint: hint,
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: before,
        sum,
        positive_spans,
        negative_spans: Vec::new(),
        positive_buckets,
        negative_buckets: Vec::new(),
        custom_values: Some(bounds),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(buckets: &[(f64, f64)], count: Option<f64>) -> Option<Histogram> {
        let mut classic = ClassicHistogram::default();
        for (bound, cumulative) in buckets {
            classic.set_bucket(*bound, *cumulative);
        }
        if let Some(count) = count {
            classic.set_count(count);
        }
        classic.set_sum(2.5);
        classic.convert(false)
    }

    #[test]
    fn whole_counts() {
        let Some(Histogram::Int(h)) = convert(&[(1.0, 2.0), (f64::INFINITY, 9.0), (0.5, 2.0)], Some(9.0))
        else {
            panic!("not whole")
        };
        assert_eq!(h.custom_values.as_deref(), Some(&[0.5, 1.0][..]));
        assert_eq!(h.positive_spans, [Span { offset: 0, length: 3 }]);
        assert_eq!(h.positive_buckets, [2, -2, 7]);
        assert_eq!((h.count, h.sum), (9, 2.5));
    }

    #[test]
    fn fractional_counts_and_implied_last_bucket() {
        let Some(Histogram::Float(h)) = convert(&[(1.0, 0.5)], Some(2.0)) else {
            panic!("not fractional")
        };
        assert_eq!(h.positive_buckets, [0.5, 1.5]);
        assert_eq!(h.count, 2.0);
    }

    #[test]
    fn contradictions() {
        assert_eq!(convert(&[(1.0, 5.0), (2.0, 4.0)], None), None);
        assert_eq!(convert(&[(2.0, 4.0), (1.0, 5.0)], None), None);
        assert_eq!(convert(&[(1.0, -1.0)], None), None);
        assert_eq!(convert(&[(f64::INFINITY, 3.0)], Some(4.0)), None);
        assert_eq!(convert(&[], Some(-1.0)), None);
    }
}
