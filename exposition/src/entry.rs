//! What a parser yields.

use std::borrow::Cow;

use model::histogram::Histogram;
use model::labels::Labels;
use model::sample::{Exemplar, MetricType};

use crate::error::{Expected, Fault};
use crate::protobuf;
use crate::scan::{self, Grammar, LabelSink};

/// The formats that scrape bodies come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text, versions 0.0.4 and 1.0.0.
    Text,
    /// OpenMetrics text, versions 0.0.1 and 1.0.0.
    OpenMetrics,
    /// Length-delimited `io.prometheus.client.MetricFamily` messages.
    Protobuf,
}

/// One line, or what would be one line if the body were text.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// Kind of a metric family.
    Type {
        /// The family's name as it stands in the body, escapes included, quotes not.
        name: &'a [u8],
        /// Its kind.
        kind: MetricType,
    },
    /// Help text of a metric family.
    Help {
        /// The family's name as it stands in the body.
        name: &'a [u8],
        /// The text, escapes resolved.
        text: Cow<'a, str>,
    },
    /// Unit of a metric family; never from [`Format::Text`].
    Unit {
        /// The family's name as it stands in the body.
        name: &'a [u8],
        /// The unit, a suffix of the name.
        unit: &'a [u8],
    },
    /// A comment that is not metadata, from its `#` on.
    Comment(&'a [u8]),
    /// A sample with a float.
    Series(Series<'a>),
    /// A sample with a native histogram.
    Histogram(HistogramSeries<'a>),
}

/// A float sample. Its labels are still text: see [`crate::parse_series`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a> {
    /// Metric name and labels as they stand in the body: equal texts mean equal labels (for one kind of family).
    pub text: &'a [u8],
    /// The value; in text every NaN has the bits of the ordinary one.
    pub value: f64,
    /// The sample's own timestamp in milliseconds, if it has one.
    pub timestamp_ms: Option<i64>,
    /// When the counter started, in milliseconds; 0 where unknown or not asked for.
    pub start_ms: i64,
    /// The sample's exemplar.
    pub exemplar: Option<ExemplarText<'a>>,
}

/// A native histogram sample.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSeries<'a> {
    /// Metric name and labels, to be read by [`crate::parse_series`].
    pub text: &'a [u8],
    /// The histogram, without empty buckets.
    pub histogram: Histogram,
    /// The sample's own timestamp in milliseconds, if it has one.
    pub timestamp_ms: Option<i64>,
    /// When the histogram started, in milliseconds; 0 where unknown.
    pub start_ms: i64,
    /// Its exemplars, in order of appearance.
    pub exemplars: Vec<ExemplarText<'a>>,
}

/// An exemplar whose labels are still text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExemplarText<'a> {
    /// Format of `text`.
    pub format: Format,
    /// The labels as they stand in the body, from brace to brace; a whole message in protobuf.
    pub text: &'a [u8],
    /// Observed value.
    pub value: f64,
    /// When it was observed, in milliseconds, if the source says so.
    pub timestamp_ms: Option<i64>,
}

impl ExemplarText<'_> {
    /// Reads the labels.
    ///
    /// # Errors
    /// When a label is not UTF-8 or longer than a label set can hold.
    pub fn parse(&self) -> Result<Exemplar, LabelsError> {
        Ok(Exemplar {
            labels: self.labels()?,
            value: self.value,
            timestamp_ms: self.timestamp_ms,
        })
    }

    fn labels(&self) -> Result<Labels, LabelsError> {
        let mut pairs = ExemplarPairs(Vec::new());
        if self.format == Format::Protobuf {
            protobuf::exemplar_labels(self.text, &mut |name, value| pairs.0.push((name, value)))
                .map_err(LabelsError::from_fault)?;
        } else {
            scan::labels(self.text, 1, Grammar::Exemplar, &mut pairs).map_err(LabelsError::from_fault)?;
        }
        let mut texts = Vec::with_capacity(pairs.0.len());
        for (name, value) in pairs.0 {
            // Compat: the reference does not resolve escapes in an exemplar's labels (`exemplars.om.txt` of our own bodies).
            texts.push((label_text(name)?, label_text(value)?));
        }
        Ok(Labels::from_pairs(texts))
    }
}

struct ExemplarPairs<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> LabelSink<'a> for ExemplarPairs<'a> {
    fn metric_name(&mut self, _: &'a [u8]) {}
    fn pair(&mut self, name: &'a [u8], value: &'a [u8]) {
        self.0.push((name, value));
    }
}

/// Why the labels of a text cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// The text is not a series text of its format.
    #[error("byte {at} of the series: expected {expected}")]
    Syntax {
        /// Bytes from the start of the series text.
        at: usize,
        /// What should be there.
        expected: Expected,
    },
    /// A name or value is not UTF-8.
    #[error("label name or value is not valid UTF-8")]
    Utf8,
    /// A name or value is longer than a label set can hold.
    #[error("label name or value is longer than {} bytes", model::labels::LABEL_BYTES_MAX)]
    TooLong,
}

impl LabelsError {
    pub(crate) fn from_fault(fault: Fault) -> Self {
        LabelsError::Syntax {
            at: fault.at,
            expected: fault.expected,
        }
    }
}

/// `bytes` as the text of a label's name or value.
pub(crate) fn label_text(bytes: &[u8]) -> Result<&str, LabelsError> {
    if bytes.len() > model::labels::LABEL_BYTES_MAX {
        return Err(LabelsError::TooLong);
    }
    std::str::from_utf8(bytes).map_err(|_| LabelsError::Utf8)
}
