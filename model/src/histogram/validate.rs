//! Whether a histogram's parts agree with each other.

use std::fmt;

use crate::float::{Layout, format_general, format_precision};

use super::{
    CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, FloatHistogram, IntHistogram,
    Span, is_exponential_schema,
};

/// Which part of a histogram is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Positive buckets.
    Positive,
    /// Negative buckets.
    Negative,
    /// Custom bounds and their buckets.
    Custom,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Positive => "positive side",
            Side::Negative => "negative side",
            Side::Custom => "custom buckets",
        })
    }
}

/// What is wrong with one part of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SideFault {
    /// Spans would overlap.
    #[error("span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    NegativeOffset {
        /// Which span, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// Spans describe more or fewer buckets than there are.
    #[error(
        "spans need {described} buckets, have {present} buckets: histogram spans specify different number of buckets than provided"
    )]
    BucketsMismatch {
        /// Number of buckets that the spans describe.
        described: u64,
        /// Number of buckets.
        present: usize,
    },
    /// A bucket counts less than nothing.
    #[error(
        "bucket number {number} has observation count of {}: histogram has a bucket whose observation count is negative",
        format_general(*.count)
    )]
    NegativeBucket {
        /// Which bucket, from 1.
        number: usize,
        /// Its count.
        count: f64,
    },
    /// A custom bound is NaN.
    #[error("histogram custom bounds must not be NaN")]
    NanBound,
    /// Custom bounds do not ascend.
    #[error(
        "previous bound is {} and current is {}: histogram custom bounds must be in strictly increasing order",
        fixed(*.previous), fixed(*.current)
    )]
    UnorderedBounds {
        /// A bound.
        previous: f64,
        /// The one behind it.
        current: f64,
    },
    /// The last bucket's infinite bound is listed.
    #[error("last +Inf bound must not be explicitly defined: histogram custom bounds must be finite")]
    InfiniteBound,
    /// Spans reach behind the last custom bound.
    #[error(
        "only {bounds} custom bounds defined which is insufficient to cover total span length of {covered}: histogram custom bounds are too few"
    )]
    TooFewBounds {
        /// Number of bounds.
        bounds: usize,
        /// Number of buckets, gaps included, that the spans cover.
        covered: i64,
    },
}

/// Why a histogram is refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HistogramError {
    /// One part of it is wrong.
    #[error("{0}: {1}")]
    Side(Side, SideFault),
    /// Custom buckets beside a populated zero bucket.
    #[error("custom buckets: must have zero count of 0")]
    CustomWithZeroCount,
    /// Custom buckets beside a zero bucket.
    #[error("custom buckets: must have zero threshold of 0")]
    CustomWithZeroThreshold,
    /// Custom buckets beside negative spans.
    #[error("custom buckets: must not have negative spans")]
    CustomWithNegativeSpans,
    /// Custom buckets beside negative buckets.
    #[error("custom buckets: must not have negative buckets")]
    CustomWithNegativeBuckets,
    /// Exponential buckets with custom bounds.
    #[error("histogram with exponential schema must not have custom bounds")]
    ExponentialWithCustomBounds,
    /// The zero bucket counts less than nothing.
    #[error(
        "zero bucket has observation count of {}: histogram has a bucket whose observation count is negative",
        format_general(*.0)
    )]
    NegativeZeroCount(f64),
    /// The histogram counts less than nothing.
    #[error("observation count is  {}: histogram's observation count is negative", format_general(*.0))]
    NegativeCount(f64),
    /// Buckets hold more than all observations.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count should be at least the number of observations found in the buckets"
    )]
    CountTooSmall {
        /// Observations in buckets.
        in_buckets: u64,
        /// All observations.
        count: u64,
    },
    /// Buckets do not hold all observations, and no NaN was observed.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// Observations in buckets.
        in_buckets: u64,
        /// All observations.
        count: u64,
    },
    /// Neither an exponential schema that is supported nor custom bounds.
    #[error(
        "histogram has an invalid schema, which must be between {EXPONENTIAL_SCHEMA_MIN} and {EXPONENTIAL_SCHEMA_MAX} for exponential buckets, or {CUSTOM_BUCKETS_SCHEMA} for custom buckets, got schema {0}"
    )]
    InvalidSchema(i32),
}

/// Go's `%f`.
fn fixed(value: f64) -> String {
    format_precision(value, Layout::Plain, 6)
}

impl FloatHistogram {
    /// Checks that spans, buckets, bounds and schema fit together and that no count is negative. That the buckets add
    /// up to the count is not checked, because rounding would make valid histograms fail.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn validate(&self) -> Result<(), HistogramError> {
        if self.uses_custom_buckets() {
            self.check_custom(self.zero_count == 0.0)?;
        } else {
            self.check_exponential_spans()?;
            check_counts(Side::Negative, self.negative_buckets.iter().copied())?;
            if self.zero_count < 0.0 {
                return Err(HistogramError::NegativeZeroCount(self.zero_count));
            }
            self.check_no_custom_bounds()?;
        }
        if self.count < 0.0 {
            return Err(HistogramError::NegativeCount(self.count));
        }
        check_counts(Side::Positive, self.positive_buckets.iter().copied())
    }
}

impl IntHistogram {
    /// Checks that spans, buckets, bounds and schema fit together, that no bucket is negative, and that the buckets add
    /// up to the count; where a NaN was observed, which is in no bucket, that they hold no more.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let mut in_buckets = self.zero_count;
        if self.uses_custom_buckets() {
            self.check_custom(self.zero_count == 0)?;
        } else {
            self.check_exponential_spans()?;
            add_deltas(Side::Negative, &self.negative_buckets, &mut in_buckets)?;
            self.check_no_custom_bounds()?;
        }
        add_deltas(Side::Positive, &self.positive_buckets, &mut in_buckets)?;
        let count = self.count;
        if self.sum.is_nan() {
            if in_buckets > count {
                return Err(HistogramError::CountTooSmall { in_buckets, count });
            }
        } else if in_buckets != count {
            return Err(HistogramError::CountMismatch { in_buckets, count });
        }
        Ok(())
    }
}

impl<B, C> super::Buckets<B, C> {
    fn check_custom(&self, zero_is_empty: bool) -> Result<(), HistogramError> {
        check_bounds(self.bounds(), &self.positive_spans, self.positive_buckets.len())
            .map_err(|fault| HistogramError::Side(Side::Custom, fault))?;
        if !zero_is_empty {
            return Err(HistogramError::CustomWithZeroCount);
        }
        if self.zero_threshold != 0.0 {
            return Err(HistogramError::CustomWithZeroThreshold);
        }
        if !self.negative_spans.is_empty() {
            return Err(HistogramError::CustomWithNegativeSpans);
        }
        if !self.negative_buckets.is_empty() {
            return Err(HistogramError::CustomWithNegativeBuckets);
        }
        Ok(())
    }

    fn check_exponential_spans(&self) -> Result<(), HistogramError> {
        if !is_exponential_schema(self.schema) {
            return Err(HistogramError::InvalidSchema(self.schema));
        }
        check_spans(&self.positive_spans, self.positive_buckets.len())
            .map_err(|fault| HistogramError::Side(Side::Positive, fault))?;
        check_spans(&self.negative_spans, self.negative_buckets.len())
            .map_err(|fault| HistogramError::Side(Side::Negative, fault))
    }

    fn check_no_custom_bounds(&self) -> Result<(), HistogramError> {
        match self.custom_values {
            Some(_) => Err(HistogramError::ExponentialWithCustomBounds),
            None => Ok(()),
        }
    }
}

/// Whether spans ascend and describe `buckets` buckets.
pub(super) fn check_spans(spans: &[Span], buckets: usize) -> Result<(), SideFault> {
    for (i, span) in spans.iter().enumerate().skip(1) {
        check_offset(i, span)?;
    }
    check_bucket_number(spans, buckets)
}

fn check_offset(i: usize, span: &Span) -> Result<(), SideFault> {
    if span.offset < 0 {
        return Err(SideFault::NegativeOffset {
            number: i + 1,
            offset: span.offset,
        });
    }
    Ok(())
}

fn check_bucket_number(spans: &[Span], present: usize) -> Result<(), SideFault> {
    let described: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if described != present as u64 {
        return Err(SideFault::BucketsMismatch { described, present });
    }
    Ok(())
}

fn check_bounds(bounds: &[f64], spans: &[Span], buckets: usize) -> Result<(), SideFault> {
    let mut previous = None;
    for current in bounds.iter().copied() {
        if current.is_nan() {
            return Err(SideFault::NanBound);
        }
        if let Some(previous) = previous
            && current <= previous
        {
            return Err(SideFault::UnorderedBounds { previous, current });
        }
        previous = Some(current);
    }
    if previous == Some(f64::INFINITY) {
        return Err(SideFault::InfiniteBound);
    }
    for (i, span) in spans.iter().enumerate() {
        check_offset(i, span)?;
    }
    check_bucket_number(spans, buckets)?;
    let covered: i64 = spans
        .iter()
        .map(|span| i64::from(span.length) + i64::from(span.offset))
        .sum();
    if (bounds.len() as i64) + 1 < covered {
        return Err(SideFault::TooFewBounds {
            bounds: bounds.len(),
            covered,
        });
    }
    Ok(())
}

fn check_counts(side: Side, counts: impl Iterator<Item = f64>) -> Result<(), HistogramError> {
    for (i, count) in counts.enumerate() {
        if count < 0.0 {
            return Err(HistogramError::Side(
                side,
                SideFault::NegativeBucket { number: i + 1, count },
            ));
        }
    }
    Ok(())
}

fn add_deltas(side: Side, deltas: &[i64], total: &mut u64) -> Result<(), HistogramError> {
    for (i, count) in super::layout::absolute(deltas).into_iter().enumerate() {
        let Ok(count) = u64::try_from(count) else {
            let fault = SideFault::NegativeBucket {
                number: i + 1,
                count: count as f64,
            };
            return Err(HistogramError::Side(side, fault));
        };
        *total = total.wrapping_add(count);
    }
    Ok(())
}
