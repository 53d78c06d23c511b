//! What a query is, apart from the range that it is asked for: a panel of a dashboard.

use std::sync::Arc;

use model::storage::TimeRange;
use promql::ast::Expr;
use promql::engine::{Engine, EvalTime, QueryOptions, Reach};

use crate::grid::{Grid, Stretch};

/// Longest text of a query whose results are kept, in bytes.
const QUERY_BYTES_MAX: usize = 64 << 10;

/// A query over a range, as far as its results can be kept.
pub(crate) struct Panel {
    pub(crate) key: PanelKey,
    /// What its steps depend on.
    pub(crate) reach: Reach,
    /// The steps that are asked for.
    pub(crate) steps: Stretch,
    /// The query as it was written.
    pub(crate) text: Arc<str>,
}

/// What results of different ranges have in common. The engine's features are the same for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PanelKey {
    /// The query as the printer writes it: spaces and comments do not count.
    query: Arc<str>,
    pub(crate) grid: Grid,
    lookback_ms: i64,
    /// Steps of subqueries that name none: configuration may change them.
    default_steps_ms: Vec<i64>,
}

impl PanelKey {
    /// Bytes of its texts.
    pub(crate) fn bytes(&self) -> usize {
        self.query.len() + 8 * self.default_steps_ms.len()
    }
}

impl Panel {
    /// The panel of a query; nothing where results of one range say nothing of those of another, or there is one step only.
    pub(crate) fn of(
        engine: &Engine,
        expr: &Expr,
        text: &str,
        time: EvalTime,
        options: &QueryOptions,
    ) -> Option<Panel> {
        let EvalTime::Range {
            start_ms,
            end_ms,
            step_ms,
        } = time
        else {
            return None;
        };
        // A part of a range is told from a single time by its end, which lies behind its last step.
        if step_ms < 2 || end_ms < start_ms.saturating_add(step_ms) || text.len() > QUERY_BYTES_MAX {
            return None;
        }
        let reach = engine.reach(expr, time, options)?;
        let grid = Grid::at_start(start_ms, step_ms);
        Some(Panel {
            key: PanelKey {
                query: expr.to_string().into(),
                grid,
                lookback_ms: engine.lookback_ms(options),
                default_steps_ms: reach.default_steps_ms.clone(),
            },
            reach,
            steps: grid.stretch(start_ms, end_ms),
            text: text.into(),
        })
    }

    /// The range whose steps are `steps`. Never a single time, for which some functions have rules of their own.
    pub(crate) fn time_of(&self, steps: Stretch) -> EvalTime {
        let grid = self.key.grid;
        EvalTime::Range {
            start_ms: grid.time_ms(steps.first),
            end_ms: grid.time_ms(steps.last).saturating_add(1),
            step_ms: grid.step_ms,
        }
    }

    /// Samples that the results at `steps` depend on, those at fixed times apart.
    pub(crate) fn reads(&self, steps: Stretch) -> TimeRange {
        let grid = self.key.grid;
        self.reach
            .around(grid.time_ms(steps.first), grid.time_ms(steps.last))
    }

    /// Samples at fixed times that all results depend on.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = TimeRange> {
        let ranges = self.reach.pinned_ms.iter();
        ranges.map(|(min_ms, max_ms)| TimeRange::new(*min_ms, *max_ms))
    }
}
