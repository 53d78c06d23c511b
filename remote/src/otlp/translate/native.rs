//! Native histograms: exponential ones, and those with explicit bounds as custom buckets.

use std::sync::Arc;

use model::histogram::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN,
    IntHistogram, Span,
};
use model::sample::{STALE_NAN_BITS, stale_nan};

use super::super::samples::Native;
use super::super::wire::{Head, Temporality};
use super::histograms::Point;
use super::{Family, Result, Times, TranslateError, Translator, millis};

/// Buckets that a histogram may have, counting empty ones that are listed.
pub(super) const BUCKETS_MAX: usize = 1 << 16;
/// Buckets that are not there, in a gap that is closed by listing them.
const CLOSED_GAP_MAX: i64 = 2;
/// Half width of the zero bucket. Compat: what the point says of it is not looked at (payloads: exponential-zero).
const ZERO_THRESHOLD: f64 = 1e-128;

impl<'b> Translator<'_, 'b> {
    pub(super) fn exponential_histograms(
        &mut self,
        family: &Family<'_, 'b>,
        times: &mut Times,
    ) -> Result<()> {
        let request = self.request;
        let adds_up = self.adds_up(family.metric);
        let (mut positive, mut negative) = (Vec::new(), Vec::new());
        for point in &request.exponentials[family.metric.points.range()] {
            let mut point = *point;
            positive.clear();
            positive.extend_from_slice(&request.counts[point.positive.counts.range()]);
            negative.clear();
            negative.extend_from_slice(&request.counts[point.negative.counts.range()]);
            if adds_up {
                let head = point.head;
                let taken = self.add_up(&head, |streams, key| {
                    streams.exponential(key, &mut point, &mut positive, &mut negative)
                })?;
                if !taken {
                    continue;
                }
            }
            times.note(&point.head);
            if point.scale < EXPONENTIAL_SCHEMA_MIN {
                return Err(TranslateError::Scale(point.scale));
            }
            let finer = (point.scale - EXPONENTIAL_SCHEMA_MAX).max(0);
            let place = Place::Exponential { finer };
            let (positive_spans, positive_buckets) = layout(&positive, point.positive.offset, place)?;
            let (negative_spans, negative_buckets) = layout(&negative, point.negative.offset, place)?;
            let histogram = Buckets {
                counter_reset_hint: CounterResetHint::Unknown,
                schema: point.scale.min(EXPONENTIAL_SCHEMA_MAX),
                zero_threshold: ZERO_THRESHOLD,
                zero_count: point.zero_count,
                count: point.count,
                sum: point.sum.unwrap_or(0.0),
                positive_spans,
                negative_spans,
                positive_buckets,
                negative_buckets,
                custom_values: None,
            };
            self.native(family, &point.head, histogram)?;
        }
        Ok(())
    }

    pub(super) fn custom_histograms(&mut self, family: &Family<'_, 'b>, times: &mut Times) -> Result<()> {
        self.each_histogram(family, times, |translator, point: &Point<'_>| {
            let empty = point.counts.iter().take_while(|count| **count == 0).count();
            let first = i32::try_from(empty).map_err(|_| TranslateError::Buckets(empty))?;
            let (positive_spans, positive_buckets) = layout(&point.counts[empty..], first, Place::Custom)?;
            let histogram = Buckets {
                counter_reset_hint: CounterResetHint::Unknown,
                schema: CUSTOM_BUCKETS_SCHEMA,
                zero_threshold: 0.0,
                zero_count: 0,
                count: point.count,
                sum: point.sum.unwrap_or(0.0),
                positive_spans,
                negative_spans: Vec::new(),
                positive_buckets,
                negative_buckets: Vec::new(),
                custom_values: Some(point.bounds.into()),
            };
            translator.native(family, &point.head, histogram)
        })
    }

    fn native(&mut self, family: &Family<'_, 'b>, head: &Head, mut histogram: IntHistogram) -> Result<()> {
        if head.no_value() {
            histogram.sum = stale_nan();
            histogram.count = STALE_NAN_BITS;
        } else {
            let exponential = !histogram.uses_custom_buckets();
            self.note_odd_sum(exponential, histogram.count, histogram.sum);
        }
        if family.metric.temporality == Temporality::Delta && !self.adds_up(family.metric) {
            // What is counted from the point before never was reset: a gauge is what comes nearest.
            histogram.counter_reset_hint = CounterResetHint::Gauge;
        }
        histogram.validate()?;
        self.point_labels(family, head)?;
        self.read_exemplars(head)?;
        let set = self.set(&family.name, None)?;
        let (start_ms, timestamp_ms) = (millis(head.start_ns), millis(head.time_ns));
        if self.settings.zero_samples && start_ms != 0 && start_ms < timestamp_ms {
            self.samples.native_zeros.push(self.samples.natives.len() as u32);
            self.samples.natives.push(Native {
                set,
                start_ms: 0,
                timestamp_ms: start_ms,
                histogram: Arc::new(zero_of(&histogram)),
            });
        }
        self.samples.natives.push(Native {
            set,
            start_ms,
            timestamp_ms,
            histogram: Arc::new(histogram),
        });
        self.samples.without_metadata += u64::from(!family.has_metadata);
        self.add_exemplars(set, head, |_| true);
        Ok(())
    }
}

/// The histogram before anything was observed, with the same layout as far as there is one.
fn zero_of(histogram: &IntHistogram) -> IntHistogram {
    Buckets {
        counter_reset_hint: CounterResetHint::Reset,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: 0,
        count: 0,
        sum: 0.0,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        positive_buckets: Vec::new(),
        negative_buckets: Vec::new(),
        custom_values: histogram.custom_values.clone(),
    }
}

/// What the index of a bucket is.
#[derive(Clone, Copy)]
enum Place {
    /// That of a bucket that begins where ours, with the same index, ends; `finer` is how often two become one.
    Exponential { finer: i32 },
    /// The same as ours.
    Custom,
}

impl Place {
    fn index(self, offset: i32, bucket: usize) -> i64 {
        let index = i64::from(offset) + bucket as i64;
        match self {
            Place::Exponential { finer } => (index >> finer.min(63)) + 1,
            Place::Custom => index,
        }
    }
}

/// Spans and differences of a dense list of buckets, the first of which is number `offset`. Small gaps are closed, and
/// the last bucket is there even when it is empty, as sources of native histograms have it.
fn layout(counts: &[u64], offset: i32, place: Place) -> Result<(Vec<Span>, Vec<i64>)> {
    let Some(last) = counts.len().checked_sub(1) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let (first_index, last_index) = (place.index(offset, 0), place.index(offset, last));
    let to_i32 = |index: i64| i32::try_from(index).map_err(|_| TranslateError::Offset(offset));
    to_i32(last_index)?;
    let mut spans = vec![Span {
        offset: to_i32(first_index)?,
        length: 0,
    }];
    let mut deltas = Vec::new();
    let mut previous = 0_i64;
    // The index behind the last bucket that is listed.
    let mut behind = first_index;
    let mut bucket = 0;
    while bucket <= last {
        let index = place.index(offset, bucket);
        let mut count = 0_i64;
        while bucket <= last && place.index(offset, bucket) == index {
            count = count.wrapping_add(counts[bucket] as i64);
            bucket += 1;
        }
        if count == 0 && index != last_index {
            continue;
        }
        let gap = index - behind;
        if gap > CLOSED_GAP_MAX {
            spans.push(Span {
                offset: to_i32(gap)?,
                length: 0,
            });
        }
        let listed = if gap > CLOSED_GAP_MAX { 1 } else { gap + 1 };
        if deltas.len() + listed as usize > BUCKETS_MAX {
            return Err(TranslateError::Buckets(counts.len()));
        }
        for of_these in (0..listed).rev() {
            let count = if of_these == 0 { count } else { 0 };
            deltas.push(count.wrapping_sub(previous));
            previous = count;
        }
        if let Some(span) = spans.last_mut() {
            span.length += listed as u32;
        }
        behind = index + 1;
    }
    Ok((spans, deltas))
}
