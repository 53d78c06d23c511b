//! Why a query gave no answer.

use model::storage::StorageError;

use crate::ast::Span;

/// Why a query gave no answer. A server answers with the status in brackets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The text is not a query, or it cannot be evaluated as asked (400, `bad_data`).
    #[error("{message}")]
    Invalid {
        /// The reference's wording.
        message: String,
        /// Which part of the query, if it is one.
        span: Option<Span>,
    },
    /// The query makes no sense of the data that it met (422, `execution`).
    #[error("{message}")]
    Execution {
        /// The reference's wording.
        message: String,
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
    /// Not written yet.
    #[error("not written yet")]
    Unfinished,
}
