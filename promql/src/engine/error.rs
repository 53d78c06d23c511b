//! Why a query gave no answer.

use model::labels::Labels;
use model::storage::StorageError;

use crate::ast::{Expr, Span};
use crate::kernels::KernelError;

use super::memory::{HumanBytes, MemoryLimit};

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
    /// More bytes in buffers than the engine allows (422, `execution`).
    #[error("{}", too_many_bytes(operator, *needed_bytes, *limit_bytes, *limit))]
    TooManyBytes {
        /// Where it went over: the text of that part of the query.
        operator: String,
        /// The same as a place.
        span: Option<Span>,
        /// What would have been held with what it asked for: by the query, or by all queries.
        needed_bytes: usize,
        /// What may be held.
        limit_bytes: usize,
        /// By whom.
        limit: MemoryLimit,
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
    /// Its evaluation panicked, which is a defect of the engine (500, `internal`).
    #[error("query evaluation panicked: {message}")]
    Panicked {
        /// The panic's words.
        message: String,
    },
    /// The store failed (500, `internal`).
    #[error("expanding series: {0}")]
    Storage(#[from] StorageError),
}

/// What can go wrong while a query is executed; the texts are the reference's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutionError {
    /// A query that must give a vector or a scalar gives a text or a range.
    #[error("rule result is not a vector or scalar")]
    NotAVector,
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
    /// The patterns of `label_replace` take too much.
    #[error(
        "the regular expressions of label_replace() would take more than {} when compiled",
        HumanBytes(*.0)
    )]
    LabelReplacePatternsTooLarge(usize),
    /// `label_replace` or `label_join` made a text that no label can hold.
    #[error(transparent)]
    LabelTooLong(model::labels::LabelTooLong),
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

/// Longest text of an operator in a message, in characters.
const OPERATOR_CHARS_MAX: usize = 200;

fn too_many_bytes(operator: &str, needed_bytes: usize, limit_bytes: usize, limit: MemoryLimit) -> String {
    // A search of the index has no operators.
    let (at, tick, behind) = if operator.is_empty() {
        ("", "", "")
    } else {
        ("at ", "`", " ")
    };
    let short: String = operator.chars().take(OPERATOR_CHARS_MAX).collect();
    let dots = if short.len() < operator.len() { "..." } else { "" };
    let holder = match limit {
        MemoryLimit::Query => "the query",
        MemoryLimit::AllQueries | MemoryLimit::Process => "all running queries together",
    };
    let (needed, limit_text, setter) = (HumanBytes(needed_bytes), HumanBytes(limit_bytes), limit.setter());
    format!(
        "query processing would take too much memory: {at}{tick}{short}{dots}{tick}{behind}{holder} would need {needed}, \
         and {setter} allows {limit_text}"
    )
}

impl From<ExecutionError> for QueryError {
    fn from(source: ExecutionError) -> Self {
        QueryError::Execution { source, span: None }
    }
}

impl QueryError {
    /// The same error, about `span` unless it knows better.
    pub(crate) fn located(mut self, about: Span) -> Self {
        if let QueryError::Execution { span, .. } | QueryError::TooManyBytes { span, .. } = &mut self {
            span.get_or_insert(about);
        }
        self
    }

    /// The same error, which names its place in words: the part of `expr` that stands there.
    pub(crate) fn worded(mut self, expr: &Expr) -> Self {
        if let QueryError::TooManyBytes { operator, span, .. } = &mut self {
            *operator = span
                .and_then(|span| expr.part_at(span))
                .unwrap_or(expr)
                .to_string();
        }
        self
    }
}
