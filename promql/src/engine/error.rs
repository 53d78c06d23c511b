//! Why a query gave no answer.

use model::labels::Labels;
use model::storage::StorageError;

use crate::ast::Span;
use crate::kernels::KernelError;

/// Why a query gave no answer. A server answers with the status in brackets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The text is not a query (400, `bad_data`).
    #[error(transparent)]
    Parse(#[from] crate::parser::ParseError),
    /// The query cannot be evaluated as asked (400, `bad_data`).
    #[error("{message}")]
    Invalid {
        /// The reference's wording.
        message: String,
        /// Which part of the query, if it is one.
        span: Option<Span>,
    },
    /// The query makes no sense of the data that it met (422, `execution`).
    #[error("{source}")]
    Execution {
        /// What went wrong.
        source: ExecutionError,
        /// Which part of the query.
        span: Option<Span>,
    },
    /// More samples at a time than the engine allows (422, `execution`).
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples {
        /// The engine's limit.
        max_samples: usize,
    },
    /// More bytes in the query's buffers than the engine allows (422, `execution`).
    #[error("query needs more than its budget of {budget_bytes} bytes of memory")]
    TooManyBytes {
        /// The budget.
        budget_bytes: usize,
    },
    /// It took too long (503, `timeout`).
    #[error("query timed out in {during}")]
    Timeout {
        /// What it was doing.
        during: &'static str,
    },
    /// Somebody stopped it (499, `canceled`).
    #[error("query was canceled in {during}")]
    Canceled {
        /// What it was doing.
        during: &'static str,
    },
    /// The store failed (500, `internal`).
    #[error("expanding series: {0}")]
    Storage(#[from] StorageError),
}

/// What can go wrong while a query is executed; the texts are the reference's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutionError {
    /// Two series of a result have the same labels at the same step.
    #[error("vector cannot contain metrics with the same labelset")]
    SameLabelset,
    /// The one side of a join has two series for one group.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
         [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    DuplicateSeries {
        /// Labels by which series match.
        group: Labels,
        /// `left` or `right`
        side: &'static str,
        /// One of the two.
        first: String,
        /// The other.
        second: String,
    },
    /// Two series of the left side match the same series of the right.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ManyToOne,
    /// Two series of the many side give results with the same labels.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    NotUnique,
    /// `topk`, `bottomk` or `limitk` of NaN.
    #[error("Parameter value is NaN")]
    ParameterNan,
    /// `limit_ratio` of NaN.
    #[error("Ratio value is NaN")]
    RatioNan,
    /// `topk`, `bottomk` or `limitk` of a number below what 64 bits hold.
    #[error("Scalar value {} underflows int64", model::float::format_general(*.0))]
    ParameterUnderflow(f64),
    /// `topk`, `bottomk` or `limitk` of a number above what 64 bits hold.
    #[error("Scalar value {} overflows int64", model::float::format_general(*.0))]
    ParameterOverflow(f64),
    /// A scalar argument of a range function is out of its range.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The pattern of `label_replace` is not a regular expression.
    #[error("invalid regular expression in label_replace(): {0}")]
    LabelReplacePattern(String),
    /// A function refuses its arguments.
    #[error("{0}")]
    Arguments(String),
    /// Two info series of one metric match the same series.
    #[error(
        "found duplicate series for info metric: existing {existing} @ {existing_ms}, new {new} @ {new_ms}"
    )]
    DuplicateInfo {
        /// One of the two.
        existing: Labels,
        /// When its sample was taken.
        existing_ms: i64,
        /// The other.
        new: Labels,
        /// When its sample was taken.
        new_ms: i64,
    },
    /// Two info metrics have different values for one label.
    #[error("conflicting label: {0}")]
    ConflictingLabel(String),
    /// An info series holds a histogram.
    #[error("this should be an info metric, with float samples: {0}")]
    InfoHistogram(Labels),
    /// `anchored` or `smoothed` over histograms outside of a function.
    #[error("{0} modifier is not supported with histograms")]
    ExtendedHistograms(&'static str),
}

impl From<ExecutionError> for QueryError {
    fn from(source: ExecutionError) -> Self {
        QueryError::Execution { source, span: None }
    }
}

impl QueryError {
    /// The same error, about `span` unless it knows better.
    pub(crate) fn located(mut self, about: Span) -> Self {
        if let QueryError::Execution { span, .. } = &mut self {
            span.get_or_insert(about);
        }
        self
    }
}
