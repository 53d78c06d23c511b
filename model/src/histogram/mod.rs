//! Native histograms: exponential buckets of schemas -4 to 8, and custom bounds (schema -53).
//!
//! Format: <https://prometheus.io/docs/specs/native_histograms/>.

mod convert;

use std::sync::Arc;

/// Schema number of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

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
