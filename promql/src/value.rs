//! Answers: what a query evaluates to.

use std::sync::Arc;

use model::histogram::FloatHistogram;
use model::labels::Labels;

use crate::ast::ValueType;

/// The value of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number.
    Scalar {
        /// When, in milliseconds since the epoch.
        timestamp_ms: i64,
        /// What.
        value: f64,
    },
    /// A text.
    String {
        /// When, in milliseconds since the epoch.
        timestamp_ms: i64,
        /// What.
        value: String,
    },
    /// One sample a series, all at one time, in the order that the query defines.
    Vector(Vec<Sample>),
    /// Many samples a series, sorted by labels.
    Matrix(Vec<Series>),
}

impl Value {
    /// Its type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Scalar { .. } => ValueType::Scalar,
            Value::String { .. } => ValueType::String,
            Value::Vector(_) => ValueType::Vector,
            Value::Matrix(_) => ValueType::Matrix,
        }
    }
}

/// A sample of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Whose.
    pub labels: Labels,
    /// When, in milliseconds since the epoch: the time of evaluation.
    pub timestamp_ms: i64,
    /// What.
    pub value: SampleValue,
}

/// A float or a histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// A series of a matrix.
///
/// `timestamps_ms` and `values` have the same length; histograms carry their own times. Series that have a float at
/// every step share one array of timestamps.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Whose.
    pub labels: Labels,
    /// When the floats are, in milliseconds since the epoch, ascending.
    pub timestamps_ms: Arc<[i64]>,
    /// The floats.
    pub values: Vec<f64>,
    /// The histograms with their times, ascending; no time occurs among the floats too.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

impl Series {
    /// The floats with their times.
    pub fn floats(&self) -> impl Iterator<Item = (i64, f64)> {
        self.timestamps_ms
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histograms.is_empty()
    }
}
