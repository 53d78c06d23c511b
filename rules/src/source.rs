//! Where rules get the values of their expressions.

use std::sync::Arc;

use model::labels::Labels;
use model::storage::Queryable;
use promql::engine::{CancelHandle, Engine, InstantVector, QueryOptions, QueryOutput, StandingQuestion};
use promql::value::{Sample, SampleValue, Value};

use crate::error::EvalError;

/// Which group asks: for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker<'a> {
    /// The file that the group stands in.
    pub file: &'a str,
    /// Its name.
    pub group: &'a str,
}

/// Evaluates expressions. Called from blocking threads.
pub trait QuerySource: Send + Sync {
    /// The vector that a rule's expression gives; a scalar counts as one element without labels. `text` is the expression
    /// as logs show it: printing it at each evaluation may take longer than evaluating it.
    ///
    /// # Errors
    /// When the query fails, or gives neither a vector nor a scalar.
    fn query(
        &self,
        question: StandingQuestion<'_>,
        text: &str,
        asker: Asker<'_>,
    ) -> Result<InstantVector, EvalError>;

    /// The samples that the text of a query gives at `at_ms`, as templates have it.
    ///
    /// # Errors
    /// As [`QuerySource::query`], and when the text is not a query.
    fn query_text(&self, text: &str, at_ms: i64, asker: Asker<'_>) -> Result<Vec<Sample>, EvalError>;
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
    /// One whose queries nobody ends.
    pub(crate) fn new(engine: Arc<Engine>, storage: Arc<dyn Queryable>) -> Self {
        EngineSource {
            engine,
            storage,
            cancel: CancelHandle::new(),
        }
    }

    fn options(&self) -> QueryOptions {
        QueryOptions {
            cancel: self.cancel.clone(),
            ..QueryOptions::default()
        }
    }
}

impl QuerySource for EngineSource {
    fn query(
        &self,
        question: StandingQuestion<'_>,
        _: &str,
        _: Asker<'_>,
    ) -> Result<InstantVector, EvalError> {
        let evaluated = self
            .engine
            .evaluate_standing(&*self.storage, question, &self.options());
        Ok(evaluated.result?.vector)
    }

    fn query_text(&self, text: &str, at_ms: i64, _: Asker<'_>) -> Result<Vec<Sample>, EvalError> {
        to_vector(
            self.engine
                .instant(&*self.storage, text, at_ms, &self.options())?,
        )
    }
}

/// A vector as rules want it; a scalar is one element without labels.
///
/// # Errors
/// When the value is of another type.
pub fn to_vector(output: QueryOutput) -> Result<Vec<Sample>, EvalError> {
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
