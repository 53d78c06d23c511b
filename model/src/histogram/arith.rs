//! Arithmetic on float histograms.

use std::sync::Arc;

use super::bounds::exponential_bound;
use super::iter::Indexed;
use super::layout::{Cell, Layout, coarser, merged};
use super::{CounterResetHint, FloatHistogram, Span};

/// What was noticed while two histograms were combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// One histogram says that it follows a counter reset, the other that it does not.
    pub resets_collide: bool,
    /// Their custom bounds differed; the result has those in common.
    pub bounds_reconciled: bool,
}

/// Why two histograms cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
pub struct IncompatibleSchemas;

impl FloatHistogram {
    /// Adds another histogram. Both are brought to the coarser schema and to a zero bucket that holds both of theirs;
    /// differing custom bounds are cut down to those in common.
    ///
    /// # Errors
    /// When one has custom bounds and the other has not; nothing has changed then.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, 1.0)
    }

    /// Subtracts another histogram; counts may get negative. See [`FloatHistogram::add`].
    ///
    /// # Errors
    /// When one has custom bounds and the other has not; nothing has changed then.
    pub fn sub(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &FloatHistogram, sign: f64) -> Result<Combined, IncompatibleSchemas> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(IncompatibleSchemas);
        }
        let mut combined = Combined {
            resets_collide: self.counter_reset_hint.combine(other.counter_reset_hint),
            bounds_reconciled: false,
        };
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        if self.uses_custom_buckets() {
            if self.bounds() == other.bounds() {
                add_side(
                    &mut self.positive_spans,
                    &mut self.positive_buckets,
                    other.positive_cells(),
                    sign,
                );
            } else {
                combined.bounds_reconciled = true;
                let (bounds, positive) = reconcile_bounds(
                    (self.bounds(), self.positive_cells()),
                    (
                        other.bounds(),
                        other.positive_cells().map(|(index, count)| (index, sign * count)),
                    ),
                );
                (self.positive_spans, self.positive_buckets) = (positive.spans, positive.buckets);
                self.custom_values = Some(bounds);
            }
            return Ok(combined);
        }
        let other_zero = self.reconcile_zero(other);
        self.zero_count += sign * other_zero;
        let schema = self.schema.min(other.schema);
        if self.schema > schema {
            self.coarsen(schema);
        }
        let threshold = self.zero_threshold;
        // What lies within the zero bucket is counted there; it must not come back in a coarser bucket.
        let side = |cells| coarser(outside(cells, other.schema, threshold), other.schema, schema);
        if other.schema == schema && other.zero_threshold == threshold && other.starts_outside_zero() {
            // The common case adds bucket to bucket.
            let (positive, negative) = (other.positive_cells(), other.negative_cells());
            add_side(
                &mut self.positive_spans,
                &mut self.positive_buckets,
                positive,
                sign,
            );
            add_side(
                &mut self.negative_spans,
                &mut self.negative_buckets,
                negative,
                sign,
            );
            return Ok(combined);
        }
        let (positive, negative) = (side(other.positive_cells()), side(other.negative_cells()));
        add_cells(
            &mut self.positive_spans,
            &mut self.positive_buckets,
            positive,
            sign,
        );
        add_cells(
            &mut self.negative_spans,
            &mut self.negative_buckets,
            negative,
            sign,
        );
        Ok(combined)
    }

    /// Multiplies all counts and the sum. A negative factor makes it a gauge.
    pub fn mul(&mut self, factor: f64) {
        self.map_counts(|count| count * factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum. A negative divisor makes it a gauge; division by zero drops all buckets.
    pub fn div(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        }
        self.map_counts(|count| count / divisor);
        if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    fn map_counts(&mut self, f: impl Fn(f64) -> f64) {
        for value in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *value = f(*value);
        }
        for bucket in self.positive_buckets.iter_mut().chain(&mut self.negative_buckets) {
            *bucket = f(*bucket);
        }
    }

    /// Whether a count, the sum or a custom bound is infinite: what sums of large histograms may come to.
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum]
            .iter()
            .chain(&self.positive_buckets)
            .chain(&self.negative_buckets)
            .chain(self.bounds())
            .any(|value| value.is_infinite())
    }

    /// Brings an exponential histogram to a coarser schema, in place.
    pub(super) fn coarsen(&mut self, schema: i32) {
        let positive = Layout::collect(coarser(self.positive_cells(), self.schema, schema));
        let negative = Layout::collect(coarser(self.negative_cells(), self.schema, schema));
        (self.positive_spans, self.positive_buckets) = (positive.spans, positive.buckets);
        (self.negative_spans, self.negative_buckets) = (negative.spans, negative.buckets);
        self.schema = schema;
    }

    /// A copy at a coarser schema; a plain copy where it is as coarse already or has custom bounds. The copy forgets
    /// its counter reset hint where buckets were merged.
    pub fn to_schema(&self, schema: i32) -> FloatHistogram {
        let mut copy = self.clone();
        if schema < self.schema && !self.uses_custom_buckets() {
            copy.coarsen(schema);
            copy.counter_reset_hint = CounterResetHint::Unknown;
        }
        copy
    }

    /// Widens the zero bucket until it holds that of `other` and ends inside no populated bucket of either. Returns
    /// what `other`'s zero bucket would hold if it were as wide.
    fn reconcile_zero(&mut self, other: &FloatHistogram) -> f64 {
        let (mut other_count, mut other_threshold) = (other.zero_count, other.zero_threshold);
        while other_threshold != self.zero_threshold {
            if self.zero_threshold > other_threshold {
                (other_count, other_threshold) = other.zero_count_within(self.zero_threshold);
            }
            if other_threshold > self.zero_threshold {
                let (count, threshold) = self.zero_count_within(other_threshold);
                self.widen_zero(count, threshold);
            } else if other_threshold.is_nan() || self.zero_threshold.is_nan() {
                break;
            }
        }
        other_count
    }

    /// What the zero bucket would hold if it were as wide as `threshold`, which is not less than its own. Where that
    /// ends inside a populated bucket, it is moved to the bucket's far end; the threshold used is returned, too.
    pub(super) fn zero_count_within(&self, threshold: f64) -> (f64, f64) {
        widened(
            self.zero_count,
            self.zero_threshold,
            self.schema,
            || self.positive_cells(),
            || self.negative_cells(),
            threshold,
        )
    }

    fn widen_zero(&mut self, count: f64, threshold: f64) {
        self.zero_count = count;
        self.zero_threshold = threshold;
        let positive = Layout::compacted(outside(self.positive_cells(), self.schema, threshold), 0);
        let negative = Layout::compacted(outside(self.negative_cells(), self.schema, threshold), 0);
        (self.positive_spans, self.positive_buckets) = (positive.spans, positive.buckets);
        (self.negative_spans, self.negative_buckets) = (negative.spans, negative.buckets);
    }

    /// Whether no bucket lies within the zero bucket.
    pub(super) fn starts_outside_zero(&self) -> bool {
        [&self.positive_spans, &self.negative_spans]
            .iter()
            .filter_map(|spans| spans.first())
            .all(|first| exponential_bound(first.offset, self.schema) > self.zero_threshold)
    }

    pub(super) fn positive_cells(&self) -> Indexed<'_, f64> {
        Indexed::new(&self.positive_spans, &self.positive_buckets)
    }

    pub(super) fn negative_cells(&self) -> Indexed<'_, f64> {
        Indexed::new(&self.negative_spans, &self.negative_buckets)
    }
}

/// The count within a wider zero bucket, and its final threshold: populated buckets are taken in whole.
pub(super) fn widened<C: Cell + PartialEq, I: Iterator<Item = (i32, C)>>(
    zero: C,
    zero_threshold: f64,
    schema: i32,
    positive: impl Fn() -> I,
    negative: impl Fn() -> I,
    mut threshold: f64,
) -> (C, f64) {
    if threshold == zero_threshold {
        return (zero, threshold);
    }
    'again: loop {
        let mut count = zero;
        for (side, is_negative) in [(positive(), false), (negative(), true)] {
            for (index, cell) in side {
                if exponential_bound(index.wrapping_sub(1), schema) >= threshold {
                    break;
                }
                count.absorb(cell);
                let far = exponential_bound(index, schema);
                if far > threshold {
                    if !cell.is_empty() {
                        threshold = far;
                        if is_negative {
                            // The positive side has to be looked at again with the wider bucket.
                            continue 'again;
                        }
                    }
                    break;
                }
            }
        }
        return (count, threshold);
    }
}

/// Cells that do not lie within the zero bucket, whose threshold is a bound of theirs.
pub(super) fn outside<C>(
    cells: impl Iterator<Item = (i32, C)>,
    schema: i32,
    zero_threshold: f64,
) -> impl Iterator<Item = (i32, C)> {
    cells.skip_while(move |(index, _)| exponential_bound(*index, schema) <= zero_threshold)
}

/// Adds `sign` times the cells of an equally fine side.
fn add_side(spans: &mut Vec<Span>, buckets: &mut Vec<f64>, other: Indexed<'_, f64>, sign: f64) {
    if other.has_spans(spans) && other.len() == buckets.len() {
        for (bucket, (_, count)) in buckets.iter_mut().zip(other) {
            *bucket += sign * count;
        }
    } else {
        add_cells(spans, buckets, other, sign);
    }
}

fn add_cells(
    spans: &mut Vec<Span>,
    buckets: &mut Vec<f64>,
    other: impl Iterator<Item = (i32, f64)>,
    sign: f64,
) {
    let other = other.map(|(index, count)| (index, sign * count));
    let sum = Layout::collect(merged(Indexed::new(spans, buckets), other));
    (*spans, *buckets) = (sum.spans, sum.buckets);
}

/// Bounds in common, and both histograms' buckets added up between them. Buckets that stay empty are left out.
pub(super) fn reconcile_bounds<C: Cell>(
    (left_bounds, left): (&[f64], impl Iterator<Item = (i32, C)>),
    (right_bounds, right): (&[f64], impl Iterator<Item = (i32, C)>),
) -> (Arc<[f64]>, Layout<C>) {
    let common = common_bounds(left_bounds, right_bounds);
    let mut totals = vec![C::default(); common.len() + 1];
    let mut place = |bounds: &[f64], cells: &mut dyn Iterator<Item = (i32, C)>| {
        let mut at = 0;
        for (index, cell) in cells {
            let bound = usize::try_from(index).ok().and_then(|index| bounds.get(index));
            match bound {
                Some(bound) => at += common[at..].iter().take_while(|other| *other < bound).count(),
                None => at = common.len(),
            }
            totals[at].absorb(cell);
        }
    };
    place(left_bounds, &mut { left });
    place(right_bounds, &mut { right });
    let cells = (0..).zip(totals).filter(|(_, cell)| !cell.is_empty());
    (common, Layout::collect(cells))
}

/// The bounds that both ascending lists have.
fn common_bounds(left: &[f64], right: &[f64]) -> Arc<[f64]> {
    let mut right = right.iter().peekable();
    left.iter()
        .copied()
        .filter(|bound| {
            while right.next_if(|other| *other < bound).is_some() {}
            right.next_if(|other| *other == bound).is_some()
        })
        .collect()
}

impl CounterResetHint {
    /// Makes it the hint of a sum or difference; whether the two contradicted each other.
    pub(super) fn combine(&mut self, other: CounterResetHint) -> bool {
        use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
        let (hint, collide) = match (*self, other) {
            (a, b) if a == b => (a, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Reset, NotReset) | (NotReset, Reset) => (Unknown, true),
            _ => (Unknown, false),
        };
        *self = hint;
        collide
    }
}
