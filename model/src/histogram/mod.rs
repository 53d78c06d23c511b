//! Native histograms: exponential buckets of schemas -4 to 8, and custom bounds (schema -53).
//!
//! Format: <https://prometheus.io/docs/specs/native_histograms/>.
//!
//! A bucket is known by its index: bucket `i` of schema `n` ends at `2^(i / 2^n)`, in absolute value, and includes that
//! end. Spans say which indices are there. What is computed with a histogram (sums, differences, resets, trimming) goes
//! over its cells, pairs of index and count in ascending order, and builds the spans anew; the result has one span for
//! each run of adjacent buckets.

mod aggregate;
mod arith;
mod bounds;
mod bounds_table;
mod compact;
mod convert;
mod iter;
pub mod kahan;
mod layout;
mod reset;
mod text;
mod trim;
mod validate;

pub use aggregate::{HistogramMean, HistogramSum};
pub use arith::{Combined, IncompatibleSchemas};
pub use bounds::bound;
pub use compact::ReduceError;
pub use iter::{AllBuckets, Bucket, SideBuckets};
pub use trim::Keep;
pub use validate::{HistogramError, Side, SideFault};

use std::sync::Arc;

/// Schema number of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// Coarsest exponential schema in use: each bucket spans a factor of 65,536.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;
/// Finest exponential schema in use.
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;

/// Whether `schema` is an exponential one that is in use. The format reserves -9 to 52; sources that send finer ones
/// than [`EXPONENTIAL_SCHEMA_MAX`] have their histograms reduced.
pub fn is_exponential_schema(schema: i32) -> bool {
    (EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX).contains(&schema)
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Gap to the end of the previous span; for the first span, the index of its first bucket.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// What is known about a counter reset between a histogram and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CounterResetHint {
    /// Nothing is known; compare the buckets.
    #[default]
    Unknown,
    /// There was a reset.
    Reset,
    /// There was none.
    NotReset,
    /// The histogram is a gauge; resets make no sense.
    Gauge,
}

/// Bucket layout and counts shared by integer and float histograms.
///
/// `B` is the stored bucket (`i64`: difference to the previous bucket; `f64`: absolute count), `C` the count.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets<B, C> {
    /// What is known about a counter reset before this histogram.
    pub counter_reset_hint: CounterResetHint,
    /// Resolution: each power of two is divided into `2^schema` buckets; or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Half width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: C,
    /// All observations.
    pub count: C,
    /// Sum of observations; the staleness marker when the histogram stands for one.
    pub sum: f64,
    /// Which positive buckets are present.
    pub positive_spans: Vec<Span>,
    /// Which negative buckets are present.
    pub negative_spans: Vec<Span>,
    /// Positive buckets in order of the spans.
    pub positive_buckets: Vec<B>,
    /// Negative buckets in order of the spans.
    pub negative_buckets: Vec<B>,
    /// Upper bounds of custom buckets, shared between the samples of a series; `None` for exponential schemas.
    pub custom_values: Option<Arc<[f64]>>,
}

/// A histogram as most sources send it: whole counts, buckets as differences.
pub type IntHistogram = Buckets<i64, u64>;
/// A histogram as PromQL computes with it: float counts, absolute buckets.
pub type FloatHistogram = Buckets<f64, f64>;

/// A stored histogram of either kind, shared: passing it on counts a reference.
#[derive(Clone, Debug, PartialEq)]
pub enum Histogram {
    /// Whole counts.
    Int(Arc<IntHistogram>),
    /// Float counts.
    Float(Arc<FloatHistogram>),
}

impl<B, C> Buckets<B, C> {
    /// Whether the buckets' bounds are custom ones.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// The custom bounds; empty where there are none.
    pub fn bounds(&self) -> &[f64] {
        self.custom_values.as_deref().unwrap_or_default()
    }

    /// Number of spans, buckets and bounds, each of 8 bytes.
    fn parts(&self) -> usize {
        self.positive_spans.len()
            + self.negative_spans.len()
            + self.positive_buckets.len()
            + self.negative_buckets.len()
            + self.bounds().len()
    }
}

impl FloatHistogram {
    /// Size in bytes as the reference counts it: what limits and statistics of queries are made of, not what this
    /// program needs.
    pub fn size_bytes(&self) -> usize {
        /// The reference's structure without what it points to.
        const FIXED: usize = 168;
        FIXED + 8 * self.parts()
    }

    /// How many samples of 16 bytes the histogram counts for in a query's statistics and sample limit.
    pub fn sample_weight(&self) -> usize {
        (self.size_bytes() + 8) / 16
    }
}

impl Histogram {
    /// The histogram with float counts; shared where it has them already.
    pub fn to_float(&self) -> Arc<FloatHistogram> {
        match self {
            Histogram::Int(histogram) => Arc::new(histogram.to_float()),
            Histogram::Float(histogram) => Arc::clone(histogram),
        }
    }

    /// Sum of observations; the staleness marker when the histogram stands for one.
    pub fn sum(&self) -> f64 {
        match self {
            Histogram::Int(histogram) => histogram.sum,
            Histogram::Float(histogram) => histogram.sum,
        }
    }
}

#[cfg(test)]
mod tests;
