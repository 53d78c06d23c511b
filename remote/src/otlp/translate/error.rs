//! What is wrong with a metric, with a resource, with a request.

use model::histogram::HistogramError;

use super::super::delta::DeltaError;
use super::super::labels::LabelsError;
use super::super::names::NameError;
use super::super::receiver::Verdict;
use super::super::samples::TooMuch;
use super::native;

/// How many things that are wrong with a request are told; the others are counted.
const ERRORS_SHOWN_MAX: usize = 10;

/// What is wrong with a metric, or with a whole resource. Compat: the words are the reference's, clients log them.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// A metric without data.
    #[error("could not get aggregation temporality for {0} as it has unsupported metric type Empty")]
    NoData(String),
    /// Delta where it is not taken, or a temporality that means nothing.
    #[error("invalid temporality and type combination for metric {}", quoted(.0))]
    Temporality(String),
    /// A name cannot be had.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Attributes are no label set.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// Buckets wider than any schema has.
    #[error("cannot convert exponential to native histogram. Scale must be >= -4, was {0}")]
    Scale(i32),
    /// Buckets beyond all numbers.
    #[error("cannot convert exponential to native histogram. The buckets from {0} on lie beyond all floats")]
    Offset(i32),
    /// A histogram with too many buckets.
    #[error("a histogram has {0} buckets, at most {max} can be stored", max = native::BUCKETS_MAX)]
    Buckets(usize),
    /// A histogram whose parts contradict each other.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    /// An exemplar of nothing.
    #[error("unsupported exemplar value type: Empty")]
    ExemplarWithoutValue,
    /// More than a request may ask for.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// What was added up cannot be kept.
    #[error(transparent)]
    Delta(#[from] DeltaError),
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = model::labels::write_quoted(&mut out, text);
    out
}

/// Everything that is wrong with a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranslateErrors {
    shown: Vec<TranslateError>,
    others: usize,
}

impl TranslateErrors {
    pub(super) fn push(&mut self, error: TranslateError) {
        if self.shown.len() < ERRORS_SHOWN_MAX {
            self.shown.push(error);
        } else {
            self.others += 1;
        }
    }

    /// What the sender is to do. Compat: most is told as an error of ours, which it is not; what asks for too much is
    /// told as what it is, since the reference has no such limits.
    pub(in crate::otlp) fn verdict(&self) -> Verdict {
        let limit = |error: &TranslateError| match error {
            TranslateError::Delta(DeltaError::TooManyStreams) => Some(Verdict::Full),
            TranslateError::TooMuch(_) | TranslateError::Buckets(_) | TranslateError::Offset(_) => {
                Some(Verdict::Malformed)
            }
            TranslateError::Labels(LabelsError::TooLong(_)) => Some(Verdict::Malformed),
            _ => None,
        };
        self.shown
            .iter()
            .find_map(limit)
            .unwrap_or(Verdict::Untranslatable)
    }

    /// The first ones.
    pub fn shown(&self) -> &[TranslateError] {
        &self.shown
    }
}

impl std::fmt::Display for TranslateErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, error) in self.shown.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        if self.others > 0 {
            write!(f, "\nand {} more like these", self.others)?;
        }
        Ok(())
    }
}

impl std::error::Error for TranslateErrors {}
