//! Compensated sums of histograms: what `sum`, `avg` and their `_over_time` forms use.

use std::sync::Arc;

use super::arith::{Combined, IncompatibleSchemas, outside, reconcile_bounds, widened};
use super::iter::Indexed;
use super::kahan::Kahan;
use super::layout::{Cell, Layout, coarser, merged};
use super::{CounterResetHint, FloatHistogram};

/// A sum of histograms that keeps what rounding took from each count. Combines schemas, zero buckets and custom bounds
/// as [`FloatHistogram::add`] does.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSum {
    counter_reset_hint: CounterResetHint,
    schema: i32,
    zero_threshold: f64,
    zero_count: Kahan,
    count: Kahan,
    sum: Kahan,
    positive: Layout<Kahan>,
    negative: Layout<Kahan>,
    custom_values: Option<Arc<[f64]>>,
}

/// The mean of histograms, added one after the other: by way of their sum, and where that overflows as a running mean
/// from there on.
#[derive(Clone, Debug)]
pub struct HistogramMean {
    /// Sum, or the mean so far once `running`.
    sum: HistogramSum,
    count: f64,
    running: bool,
}

fn with_compensation(cells: Indexed<'_, f64>) -> impl Iterator<Item = (i32, Kahan)> {
    cells.map(|(index, count)| (index, Kahan::new(count)))
}

impl HistogramSum {
    /// A sum that starts at `first`.
    pub fn new(first: &FloatHistogram) -> Self {
        let layout = |spans: &[_], buckets: &[f64]| Layout {
            spans: spans.to_vec(),
            buckets: buckets.iter().copied().map(Kahan::new).collect(),
        };
        HistogramSum {
            counter_reset_hint: first.counter_reset_hint,
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            zero_count: Kahan::new(first.zero_count),
            count: Kahan::new(first.count),
            sum: Kahan::new(first.sum),
            positive: layout(&first.positive_spans, &first.positive_buckets),
            negative: layout(&first.negative_spans, &first.negative_buckets),
            custom_values: first.custom_values.clone(),
        }
    }

    /// Whether the buckets' bounds are custom ones.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == super::CUSTOM_BUCKETS_SCHEMA
    }

    /// Adds another histogram.
    ///
    /// # Errors
    /// When one has custom bounds and the other has not; nothing has changed then.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(IncompatibleSchemas);
        }
        let mut combined = Combined {
            resets_collide: self.counter_reset_hint.combine(other.counter_reset_hint),
            bounds_reconciled: false,
        };
        self.count.add(other.count);
        self.sum.add(other.sum);
        if self.uses_custom_buckets() {
            let bounds = self.custom_values.as_deref().unwrap_or_default();
            if bounds == other.bounds() {
                add_side(&mut self.positive, other.positive_cells());
            } else {
                combined.bounds_reconciled = true;
                let (bounds, positive) = reconcile_bounds(
                    (bounds, self.positive.indexed()),
                    (other.bounds(), with_compensation(other.positive_cells())),
                );
                self.positive = positive;
                self.custom_values = Some(bounds);
            }
            return Ok(combined);
        }
        let other_zero = self.reconcile_zero(other);
        self.zero_count.add(other_zero);
        let schema = self.schema.min(other.schema);
        if self.schema > schema {
            self.positive = Layout::collect(coarser(self.positive.indexed(), self.schema, schema));
            self.negative = Layout::collect(coarser(self.negative.indexed(), self.schema, schema));
            self.schema = schema;
        }
        if other.schema == schema
            && other.zero_threshold == self.zero_threshold
            && other.starts_outside_zero()
        {
            add_side(&mut self.positive, other.positive_cells());
            add_side(&mut self.negative, other.negative_cells());
            return Ok(combined);
        }
        let threshold = self.zero_threshold;
        let side = |cells| {
            let outside = outside(with_compensation(cells), other.schema, threshold);
            coarser(outside, other.schema, schema)
        };
        let (positive, negative) = (side(other.positive_cells()), side(other.negative_cells()));
        self.positive = Layout::collect(merged(self.positive.indexed(), positive));
        self.negative = Layout::collect(merged(self.negative.indexed(), negative));
        Ok(combined)
    }

    /// As for histograms without compensation.
    fn reconcile_zero(&mut self, other: &FloatHistogram) -> f64 {
        let (mut other_count, mut other_threshold) = (other.zero_count, other.zero_threshold);
        while other_threshold != self.zero_threshold {
            if self.zero_threshold > other_threshold {
                (other_count, other_threshold) = other.zero_count_within(self.zero_threshold);
            }
            if other_threshold > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = widened(
                    self.zero_count,
                    self.zero_threshold,
                    self.schema,
                    || self.positive.indexed(),
                    || self.negative.indexed(),
                    other_threshold,
                );
                let (schema, threshold) = (self.schema, self.zero_threshold);
                for side in [&mut self.positive, &mut self.negative] {
                    *side = Layout::compacted(outside(side.indexed(), schema, threshold), 0);
                }
            } else if other_threshold.is_nan() || self.zero_threshold.is_nan() {
                break;
            }
        }
        other_count
    }

    /// The sum, rounded to plain counts.
    pub fn finish(&self) -> FloatHistogram {
        self.rounded(Kahan::total)
    }

    /// The sum divided by `count`.
    pub fn mean(&self, count: f64) -> FloatHistogram {
        self.rounded(|cell| cell.sum / count + cell.compensation / count)
    }

    fn rounded(&self, f: impl Fn(&Kahan) -> f64) -> FloatHistogram {
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: f(&self.zero_count),
            count: f(&self.count),
            sum: f(&self.sum),
            positive_spans: self.positive.spans.clone(),
            negative_spans: self.negative.spans.clone(),
            positive_buckets: self.positive.buckets.iter().map(&f).collect(),
            negative_buckets: self.negative.buckets.iter().map(&f).collect(),
            custom_values: self.custom_values.clone(),
        }
    }

    fn cells_mut(&mut self) -> impl Iterator<Item = &mut Kahan> {
        [&mut self.zero_count, &mut self.count, &mut self.sum]
            .into_iter()
            .chain(&mut self.positive.buckets)
            .chain(&mut self.negative.buckets)
    }

    fn has_overflow(&self) -> bool {
        [&self.zero_count, &self.count, &self.sum]
            .into_iter()
            .chain(&self.positive.buckets)
            .chain(&self.negative.buckets)
            .any(|cell| cell.sum.is_infinite())
            || self
                .custom_values
                .iter()
                .flat_map(|bounds| bounds.iter())
                .any(|bound| bound.is_infinite())
    }

    fn scale(&mut self, f: impl Fn(f64) -> f64) {
        for cell in self.cells_mut() {
            cell.sum = f(cell.sum);
            cell.compensation = f(cell.compensation);
        }
    }
}

impl HistogramMean {
    /// A mean of `first` alone.
    pub fn new(first: &FloatHistogram) -> Self {
        HistogramMean {
            sum: HistogramSum::new(first),
            count: 1.0,
            running: false,
        }
    }

    /// Adds another histogram.
    ///
    /// # Errors
    /// When one has custom bounds and the other has not.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        let count = self.count + 1.0;
        if !self.running {
            let before = self.might_overflow(other).then(|| self.sum.clone());
            let combined = self.sum.add(other)?;
            match before {
                Some(before) if self.sum.has_overflow() => {
                    self.sum = before;
                    self.sum.scale(|value| value / self.count);
                    self.running = true;
                }
                _ => {
                    self.count = count;
                    return Ok(combined);
                }
            }
        }
        let kept = (count - 1.0) / count;
        self.sum.scale(|value| value * kept);
        let mut part = other.clone();
        part.div(count);
        let combined = self.sum.add(&part)?;
        self.count = count;
        Ok(combined)
    }

    /// Whether adding `other` could overflow. No bucket holds more than all of them, so that the largest parts decide.
    fn might_overflow(&self, other: &FloatHistogram) -> bool {
        /// Far from the largest float, and far above any count of something.
        const SAFE: f64 = 1e300;
        let safe = |value: f64| value.abs() < SAFE;
        let ours = [&self.sum.zero_count, &self.sum.count, &self.sum.sum]
            .into_iter()
            .chain(&self.sum.positive.buckets)
            .chain(&self.sum.negative.buckets)
            .all(|cell| safe(cell.sum));
        let theirs = [other.zero_count, other.count, other.sum]
            .iter()
            .chain(&other.positive_buckets)
            .chain(&other.negative_buckets)
            .all(|value| safe(*value));
        !(ours && theirs)
    }

    /// The mean.
    pub fn finish(&self) -> FloatHistogram {
        if self.running {
            self.sum.finish()
        } else {
            self.sum.mean(self.count)
        }
    }
}

fn add_side(side: &mut Layout<Kahan>, other: Indexed<'_, f64>) {
    if other.has_spans(&side.spans) && other.len() == side.buckets.len() {
        for (cell, (_, count)) in side.buckets.iter_mut().zip(other) {
            cell.absorb(Kahan::new(count));
        }
    } else {
        *side = Layout::collect(merged(side.indexed(), with_compensation(other)));
    }
}
