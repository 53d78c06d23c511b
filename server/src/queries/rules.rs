//! Queries of rules.

use std::sync::Arc;

use promql::ast::Expr;
use promql::engine::{CancelHandle, EvalTime, QueryOptions};
use promql::value::Sample;
use rules::{Asker, EvalError, QuerySource, to_vector};
use tokio::runtime::Handle;

use super::{Origin, Queries, Question};

/// Where rules get their values.
pub(crate) struct RuleQueries {
    queries: Arc<Queries>,
    /// Ends queries under way when the server stops.
    cancel: CancelHandle,
    /// Where slots are waited for: rules are evaluated on blocking threads.
    runtime: Handle,
}

impl RuleQueries {
    /// Made within a runtime.
    pub(crate) fn new(queries: Arc<Queries>, cancel: CancelHandle) -> Self {
        RuleQueries {
            queries,
            cancel,
            runtime: Handle::current(),
        }
    }

    fn run(
        &self,
        text: &str,
        expr: Option<&Expr>,
        at_ms: i64,
        asker: Asker<'_>,
    ) -> Result<Vec<Sample>, EvalError> {
        let origin = Origin::Rule {
            file: asker.file.to_owned(),
            group: asker.group.to_owned(),
        };
        let turn = self.runtime.block_on(self.queries.turn(text, &origin, None))?;
        let question = Question {
            text,
            expr,
            time: EvalTime::Instant { at_ms },
            options: QueryOptions {
                cancel: self.cancel.clone(),
                ..QueryOptions::default()
            },
            origin: &origin,
        };
        to_vector(self.queries.run(&turn, question)?)
    }
}

impl QuerySource for RuleQueries {
    fn query(&self, expr: &Expr, text: &str, at_ms: i64, asker: Asker<'_>) -> Result<Vec<Sample>, EvalError> {
        self.run(text, Some(expr), at_ms, asker)
    }

    fn query_text(&self, text: &str, at_ms: i64, asker: Asker<'_>) -> Result<Vec<Sample>, EvalError> {
        self.run(text, None, at_ms, asker)
    }
}
