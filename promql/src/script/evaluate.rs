//! What answers the queries of a script.

use std::error::Error;

use model::storage::Queryable;

use crate::annotations::{Annotation, Annotations, Severity};
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

/// An annotation as clients see it: with its kind in front and its place behind.
pub(super) fn annotation_text(annotation: &Annotation, query: &str) -> String {
    let kind = match annotation.severity {
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    let place = annotation.span.map_or_else(String::new, |span| {
        let before = query.get(..span.start as usize).unwrap_or(query);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        format!(
            " ({}:{})",
            1 + before.matches('\n').count(),
            1 + before.len() - line_start
        )
    });
    format!("PromQL {kind}: {}{place}", annotation.message)
}
