//! What answers the queries of a script.

use std::error::Error;

use model::storage::Queryable;

use crate::annotations::Annotations;
use crate::engine::{Engine, QueryOptions};
use crate::value::Value;

/// What a query gave.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its value.
    pub value: Value,
    /// Warnings and infos beside it.
    pub annotations: Annotations,
}

/// Answers queries.
pub trait Evaluate {
    /// Evaluates `query` at one time, in milliseconds since the epoch.
    ///
    /// # Errors
    /// When there is no answer; the message is compared.
    fn instant(
        &self,
        store: &dyn Queryable,
        query: &str,
        at_ms: i64,
    ) -> Result<Answer, Box<dyn Error + Send + Sync>>;

    /// Evaluates `query` at every step, times in milliseconds since the epoch.
    ///
    /// # Errors
    /// When there is no answer; the message is compared.
    fn range(
        &self,
        store: &dyn Queryable,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Answer, Box<dyn Error + Send + Sync>>;
}

impl Evaluate for Engine {
    fn instant(
        &self,
        store: &dyn Queryable,
        query: &str,
        at_ms: i64,
    ) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        let output = Engine::instant(self, store, query, at_ms, &QueryOptions::default())?;
        Ok(Answer {
            value: output.value,
            annotations: output.annotations,
        })
    }

    fn range(
        &self,
        store: &dyn Queryable,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        let options = QueryOptions::default();
        let output = Engine::range(self, store, query, start_ms, end_ms, step_ms, &options)?;
        Ok(Answer {
            value: output.value,
            annotations: output.annotations,
        })
    }
}
