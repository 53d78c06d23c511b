//! What is stored about a series besides its labels: values, exemplars, metadata.

use crate::labels::Labels;

/// The bit pattern that marks a series as gone from this moment on. Every other NaN is a value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
/// The bit pattern of an ordinary NaN as the reference writes it.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The staleness marker as a float.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker, bit for bit.
#[inline]
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// An example observation attached to a series, usually with a trace id.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The exemplar's own labels, not the series'.
    pub labels: Labels,
    /// Observed value.
    pub value: f64,
    /// When it was observed, if the source said so; the sample's timestamp otherwise.
    pub timestamp_ms: Option<i64>,
}

/// Kind of a metric family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricType {
    /// Only goes up, but for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, classic or native.
    Histogram,
    /// Buckets that are not cumulative over time.
    GaugeHistogram,
    /// Precomputed quantiles.
    Summary,
    /// Constant 1 with information in labels.
    Info,
    /// One series a state.
    StateSet,
    /// Not known.
    #[default]
    Unknown,
}

impl MetricType {
    /// The word used in exposition formats and in the HTTP API.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
            MetricType::Unknown => "unknown",
        }
    }
}

/// What a source says about a metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// Kind of the family.
    pub metric_type: MetricType,
    /// Unit, usually the last word of the name.
    pub unit: String,
    /// Free text.
    pub help: String,
}
