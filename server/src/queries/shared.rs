//! Questions that several ask at the same time.

use std::sync::Arc;
use std::time::Duration;

use frontend::flights;
use model::changes::Mark;
use promql::engine::{EvalTime, QueryError, QueryOutput};

use super::{Queries, Question, Turn};

/// What questions have in common whose answers are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SameQuestion {
    text: String,
    time: EvalTime,
    lookback_ms: Option<i64>,
    timeout: Option<Duration>,
}

/// Evaluations under way.
pub(crate) type Flights = flights::Flights<SameQuestion, Landed>;

/// What brings one to its end.
pub(crate) type Landing = flights::Landing<SameQuestion, Landed>;

/// What became of one.
pub(crate) struct Landed {
    pub(crate) result: Result<Arc<QueryOutput>, QueryError>,
    /// From before its view was opened; none where storage cannot tell.
    mark: Option<Mark>,
}

impl Landed {
    /// It did not come as far as being evaluated.
    pub(crate) fn failed(error: QueryError) -> Self {
        Landed {
            result: Err(error),
            mark: None,
        }
    }
}

impl Question<'_> {
    /// What it has in common with others.
    pub(crate) fn same(&self) -> SameQuestion {
        SameQuestion {
            text: self.text.to_owned(),
            time: self.time,
            lookback_ms: self.options.lookback_delta_ms,
            timeout: self.options.timeout,
        }
    }
}

impl Queries {
    /// Evaluates a question for all who ask it.
    pub(crate) fn run_shared(&self, turn: &Turn, question: Question<'_>) -> Landed {
        let mark = self.storage.changes().map(model::changes::Changes::mark);
        Landed {
            result: self.run(turn, question).map(Arc::new),
            mark,
        }
    }

    /// Whether an evaluation may have missed something that is stored now.
    pub(crate) fn has_changed_since(&self, landed: &Landed) -> bool {
        let changed = self.storage.changes().zip(landed.mark);
        changed.is_none_or(|(changes, mark)| changes.changed_since(mark).iter().next().is_some())
    }
}
