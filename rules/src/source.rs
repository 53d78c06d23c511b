//! Where rules get the values of their expressions.

use std::sync::Arc;

use model::labels::Labels;
use model::storage::Queryable;
use promql::ast::Expr;
use promql::engine::{CancelHandle, Engine, EvalTime, QueryOptions, QueryOutput};
use promql::value::{Sample, SampleValue, Value};

use crate::error::EvalError;

/// Evaluates expressions. Called from blocking threads.
pub trait QuerySource: Send + Sync {
    /// The vector that a rule's expression gives at `at_ms`; a scalar counts as one element without labels.
    ///
    /// # Errors
    /// When the query fails, or gives neither a vector nor a scalar.
    fn query(&self, expr: &Expr, at_ms: i64) -> Result<Vec<Sample>, EvalError>;

    /// The same for the text of a query, as templates have it.
    ///
    /// # Errors
    /// As [`QuerySource::query`], and when the text is no query.
    fn query_text(&self, text: &str, at_ms: i64) -> Result<Vec<Sample>, EvalError>;
}

/// An engine over a store.
pub struct EngineSource {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The store.
    pub storage: Arc<dyn Queryable>,
    /// Ends queries under way when the server stops.
    pub cancel: CancelHandle,
}

impl EngineSource {
    fn options(&self) -> QueryOptions {
        QueryOptions {
            cancel: self.cancel.clone(),
            ..QueryOptions::default()
        }
    }
}

impl QuerySource for EngineSource {
    fn query(&self, expr: &Expr, at_ms: i64) -> Result<Vec<Sample>, EvalError> {
        let time = EvalTime::Instant { at_ms };
        to_vector(
            self.engine
                .evaluate(&*self.storage, expr, time, &self.options())?,
        )
    }

    fn query_text(&self, text: &str, at_ms: i64) -> Result<Vec<Sample>, EvalError> {
        to_vector(
            self.engine
                .instant(&*self.storage, text, at_ms, &self.options())?,
        )
    }
}

fn to_vector(output: QueryOutput) -> Result<Vec<Sample>, EvalError> {
    match output.value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar { timestamp_ms, value } => Ok(vec![Sample {
            labels: Labels::empty(),
            timestamp_ms,
            value: SampleValue::Float(value),
        }]),
        Value::String { .. } | Value::Matrix(_) => Err(EvalError::NotAVector),
    }
}
