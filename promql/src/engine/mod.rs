//! The engine: runs queries over a store, within limits.
//!
//! ```text
//! text -> syntax tree -> plan (time ranges, folded, shared) -> operators over series x steps -> Value
//! ```

mod cancel;
mod error;
mod options;
mod stats;

pub use cancel::CancelHandle;
pub use error::QueryError;
pub use options::{DefaultSubqueryStep, EngineOptions, Features, QueryOptions};
pub use stats::{QueryStats, StepSamples};

use model::storage::Queryable;

use crate::annotations::Annotations;
use crate::ast::Expr;
use crate::value::Value;

/// What a query gives.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    /// The answer.
    pub value: Value,
    /// Warnings and infos beside it.
    pub annotations: Annotations,
    /// What it took.
    pub stats: QueryStats,
}

/// The times at which a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalTime {
    /// Once; the answer is of the query's own type.
    Instant {
        /// When, in milliseconds since the epoch.
        at_ms: i64,
    },
    /// At every step from `start_ms` to `end_ms`, both included; the answer is a matrix.
    Range {
        /// First step, in milliseconds since the epoch.
        start_ms: i64,
        /// No step is later than this; `@ end()` means exactly this time.
        end_ms: i64,
        /// Distance of the steps, in milliseconds; positive.
        step_ms: i64,
    },
}

/// Runs queries. Cheap to share; holds the thread pool that all queries use.
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    /// An engine.
    pub fn new(options: EngineOptions) -> Self {
        Engine { options }
    }

    /// The options it was made with.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Evaluates `query` at one point in time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(
        &self,
        storage: &dyn Queryable,
        query: &str,
        at_ms: i64,
        options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        let _ = (storage, query, at_ms, options);
        Err(QueryError::Unfinished)
    }

    /// Evaluates `query` at every step from `start_ms` to `end_ms`, both included.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn range(
        &self,
        storage: &dyn Queryable,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        let _ = (storage, query, start_ms, end_ms, step_ms, options);
        Err(QueryError::Unfinished)
    }

    /// Evaluates a parsed expression: rules parse once and evaluate often.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn evaluate(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        time: EvalTime,
        options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        let _ = (storage, expr, time, options);
        Err(QueryError::Unfinished)
    }
}
