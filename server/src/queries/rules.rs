//! Queries of rules.

use std::sync::Arc;

use promql::engine::{CancelHandle, EvalTime, InstantVector, QueryError, QueryOptions, StandingQuestion};
use promql::value::Sample;
use rules::{Asker, EvalError, QuerySource, to_vector};
use tokio::runtime::Handle;

use super::{Origin, Queries, Question, Turn};

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

    fn ask<T>(
        &self,
        text: &str,
        at_ms: i64,
        asker: Asker<'_>,
        ask: impl FnOnce(&Turn, Question<'_>) -> Result<T, QueryError>,
    ) -> Result<T, EvalError> {
        let origin = Origin::Rule {
            file: asker.file.to_owned(),
            group: asker.group.to_owned(),
        };
        let turn = self.runtime.block_on(self.queries.turn(text, &origin, None))?;
        let question = Question {
            text,
            expr: None,
            time: EvalTime::Instant { at_ms },
            options: QueryOptions {
                cancel: self.cancel.clone(),
                ..QueryOptions::default()
            },
            origin: &origin,
            may_be_kept: false,
        };
        Ok(ask(&turn, question)?)
    }
}

impl QuerySource for RuleQueries {
    fn query(
        &self,
        standing: StandingQuestion<'_>,
        text: &str,
        asker: Asker<'_>,
    ) -> Result<InstantVector, EvalError> {
        let output = self.ask(text, standing.at_ms, asker, |turn, question| {
            self.queries.run_standing(turn, &question, standing)
        });
        Ok(output?.vector)
    }

    fn query_text(&self, text: &str, at_ms: i64, asker: Asker<'_>) -> Result<Vec<Sample>, EvalError> {
        to_vector(self.ask(text, at_ms, asker, |turn, question| {
            self.queries.run(turn, question)
        })?)
    }
}
