//! Native histograms as they are sent, to those of `model`: checked, and without empty buckets.

use std::sync::Arc;

use model::histogram::{Buckets, CounterResetHint, Histogram, Span};

use super::message::{Metric, Side};
use crate::error::Expected;

/// The native histogram of `metric`.
pub(super) fn native(metric: &Metric<'_>, gauge: bool) -> Result<Histogram, Expected> {
    let native = &metric.native;
    let counter_reset_hint = if gauge {
        CounterResetHint::Gauge
    } else {
        CounterResetHint::Unknown
    };
    if native.is_float() {
        let (positive_spans, positive_buckets) = floats(&native.positive)?;
        let (negative_spans, negative_buckets) = floats(&native.negative)?;
        return Ok(Histogram::Float(Arc::new(Buckets {
            counter_reset_hint,
            schema: native.schema,
            zero_threshold: native.zero_threshold,
            zero_count: native.zero_count_float,
            count: native.count_float,
            sum: metric.sum,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: None,
        })));
    }
    let (positive_spans, positive_buckets) = ints(&native.positive)?;
    let (negative_spans, negative_buckets) = ints(&native.negative)?;
    Ok(Histogram::Int(Arc::new(Buckets {
        counter_reset_hint,
        schema: native.schema,
        zero_threshold: native.zero_threshold,
        zero_count: native.zero_count,
        count: native.count,
        sum: metric.sum,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values: None,
    })))
}

fn floats(side: &Side) -> Result<(Vec<Span>, Vec<f64>), Expected> {
    let mut spans = Spans::default();
    let mut buckets = Vec::with_capacity(side.counts.len());
    for (index, count) in indices(&side.spans, side.counts.len())?.zip(&side.counts) {
        if *count != 0.0 {
            spans.push(index)?;
            buckets.push(*count);
        }
    }
    Ok((spans.spans, buckets))
}

fn ints(side: &Side) -> Result<(Vec<Span>, Vec<i64>), Expected> {
    let mut spans = Spans::default();
    let mut buckets = Vec::with_capacity(side.deltas.len());
    let (mut count, mut written) = (0i64, 0i64);
    for (index, delta) in indices(&side.spans, side.deltas.len())?.zip(&side.deltas) {
        count = count.wrapping_add(*delta);
        if count != 0 {
            spans.push(index)?;
            buckets.push(count.wrapping_sub(written));
            written = count;
        }
    }
    Ok((spans.spans, buckets))
}

/// Indices of the buckets that `spans` describe; there must be `buckets` of them.
fn indices(spans: &[Span], buckets: usize) -> Result<impl Iterator<Item = i64> + '_, Expected> {
    let described: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if described != buckets as u64 {
        return Err(Expected::BucketsOfSpans);
    }
    let mut next = 0i64;
    Ok(spans.iter().flat_map(move |span| {
        let first = next.saturating_add(i64::from(span.offset));
        next = first.saturating_add(i64::from(span.length));
        first..next
    }))
}

/// Builds spans from ascending bucket indices.
#[derive(Default)]
struct Spans {
    spans: Vec<Span>,
    /// Index after the last bucket.
    next: i64,
}

impl Spans {
    fn push(&mut self, index: i64) -> Result<(), Expected> {
        match self.spans.last_mut() {
            Some(last) if index == self.next => last.length += 1,
            _ => {
                let offset = i32::try_from(index - self.next).map_err(|_| Expected::BucketsOfSpans)?;
                self.spans.push(Span { offset, length: 1 });
            }
        }
        self.next = index + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_buckets_and_spans_go() {
        let side = Side {
            spans: vec![
                Span {
                    offset: -2,
                    length: 2,
                },
                Span { offset: 0, length: 3 },
                Span { offset: 5, length: 0 },
                Span { offset: 1, length: 1 },
            ],
            // 0, 3, 3, 0, 1 and after a gap of six 4
            deltas: vec![0, 3, 0, -3, 1, 3],
            counts: vec![0.0, 3.0, 3.0, 0.0, 1.0, 4.0],
        };
        let spans = vec![
            Span {
                offset: -1,
                length: 2,
            },
            Span { offset: 1, length: 1 },
            Span { offset: 6, length: 1 },
        ];
        assert_eq!(ints(&side), Ok((spans.clone(), vec![3, 0, -2, 3])));
        assert_eq!(floats(&side), Ok((spans, vec![3.0, 3.0, 1.0, 4.0])));
    }

    #[test]
    fn spans_must_agree_with_buckets() {
        let side = Side {
            spans: vec![Span {
                offset: 0,
                length: u32::MAX,
            }],
            deltas: vec![1],
            counts: vec![],
        };
        assert_eq!(ints(&side), Err(Expected::BucketsOfSpans));
        assert_eq!(floats(&side), Err(Expected::BucketsOfSpans));
    }
}
