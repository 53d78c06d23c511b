//! Selectors and subqueries: from modifiers to points in time.

use crate::ast::{At, MatrixSelector, Modifiers, Span, Subquery, VectorSelector};
use crate::kernels::{Extension, InstantOutput};
use crate::row::{Steps, Windows};

use super::lower::{Grid, HistogramUse, Lowering};
use super::{
    CountedSubquery, Counting, Distinct, InstantSelect, NodeId, NodeKind, PlanError, SampleSelect, Spans,
    duration, naming,
};

/// Times are kept this far from the ends of what 64 bits hold, so that windows around them do not overflow.
const TIME_MAX_MS: i64 = i64::MAX / 8;

impl Lowering<'_> {
    /// The times at which something modified by `modifiers` is looked at, for the steps of `steps`.
    pub(super) fn times(&self, modifiers: &Modifiers, steps: Steps) -> Result<Steps, PlanError> {
        let offset_ms = match &modifiers.offset {
            Some(offset) => duration::resolve(offset, self.context, true)?,
            None => 0,
        };
        let bound = |time_ms: i64| time_ms.clamp(-TIME_MAX_MS, TIME_MAX_MS);
        let pinned = match modifiers.at {
            None => {
                return Ok(Steps {
                    start_ms: bound(steps.start_ms.saturating_sub(offset_ms)),
                    ..steps
                });
            }
            Some(At::Timestamp(time_ms)) => time_ms,
            Some(At::Start) => self.context.start_ms,
            Some(At::End) => self.context.end_ms,
        };
        Ok(Steps {
            start_ms: bound(pinned.saturating_sub(offset_ms)),
            // Any step at all would do for one time; several are all the same.
            step_ms: if steps.count > 1 { 0 } else { steps.step_ms },
            count: steps.count,
        })
    }

    /// Lowers an instant selector.
    pub(super) fn select(
        &mut self,
        selector: &VectorSelector,
        span: Span,
        grid: Grid,
    ) -> Result<NodeId, PlanError> {
        let spans = Spans {
            whole: span,
            input: span,
            param: span,
        };
        let select = self.instant_select(selector, grid, InstantOutput::Value)?;
        let naming = naming::of_selector(&selector.matchers, self.context.features.type_and_unit_labels);
        Ok(self.add(NodeKind::Select(select), grid, naming, spans))
    }

    /// Lowers `timestamp(selector)` and `start_timestamp(selector)`.
    pub(super) fn select_time(
        &mut self,
        selector: &VectorSelector,
        output: InstantOutput,
        spans: Spans,
        grid: Grid,
    ) -> Result<NodeId, PlanError> {
        let mut select = self.instant_select(selector, grid, output)?;
        select.smoothed = false;
        let naming = naming::of_selector(&selector.matchers, self.context.features.type_and_unit_labels);
        Ok(self.add_unnamed(NodeKind::Select(select), grid, naming, Distinct::Merge, spans))
    }

    fn instant_select(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
        output: InstantOutput,
    ) -> Result<InstantSelect, PlanError> {
        let select = InstantSelect {
            matchers: selector.matchers.clone(),
            times: self.times(&selector.modifiers, grid.steps)?,
            lookback_ms: self.context.lookback_ms,
            output,
            smoothed: selector.smoothed,
            statistics_only: grid.histograms.statistics_only(),
            counting: grid.counting,
        };
        self.reads(select.range());
        Ok(select)
    }

    /// Lowers a range selector.
    pub(super) fn samples(&mut self, matrix: &MatrixSelector, grid: Grid) -> Result<SampleSelect, PlanError> {
        let selector = &matrix.selector;
        let select = SampleSelect {
            matchers: selector.matchers.clone(),
            windows: Windows {
                ends: self.times(&selector.modifiers, grid.steps)?,
                range_ms: duration::resolve(&matrix.range, self.context, false)?,
            },
            extension: match (selector.anchored, selector.smoothed) {
                (true, _) => Extension::Anchored,
                (false, true) => Extension::Smoothed,
                (false, false) => Extension::None,
            },
            lookback_ms: self.context.lookback_ms,
            statistics_only: grid.histograms.statistics_only(),
        };
        self.reads(select.range());
        Ok(select)
    }

    /// Lowers the expression of a subquery at the subquery's own steps, and gives the windows over them. `consumed`
    /// says that a range function looks at the result.
    pub(super) fn subquery(
        &mut self,
        subquery: &Subquery,
        grid: Grid,
        consumed: bool,
    ) -> Result<(NodeId, Windows), PlanError> {
        let range_ms = duration::resolve(&subquery.range, self.context, false)?;
        let step_ms = match &subquery.step {
            Some(step) => duration::resolve(step, self.context, false)?,
            None => (self.context.default_subquery_step)(range_ms),
        }
        .max(1);
        let ends = self.times(&subquery.modifiers, grid.steps)?;
        let steps = subquery_steps(ends, range_ms, step_ms);
        let offset_ms = match &subquery.modifiers.offset {
            Some(offset) => duration::resolve(offset, self.context, true)?,
            None => 0,
        };
        self.subqueries.push(CountedSubquery {
            parent: grid.counting.subquery,
            steps: grid.steps,
            offset_ms: if consumed { offset_ms } else { 0 },
            range_ms: consumed.then_some(range_ms),
        });
        let inner = Grid {
            steps,
            one_time: steps.start_ms == ends.last_ms(),
            histograms: HistogramUse::Whole,
            counting: Counting {
                subquery: Some(self.subqueries.len() as u32 - 1),
                ..grid.counting
            },
        };
        let child = self.vector(&subquery.expr, inner)?;
        Ok((child, Windows { ends, range_ms }))
    }
}

/// The steps of a subquery over windows that end at `ends`: multiples of `step_ms` behind the first window's start.
fn subquery_steps(ends: Steps, range_ms: i64, step_ms: i64) -> Steps {
    let before = ends.start_ms.saturating_sub(range_ms);
    let mut start_ms = before / step_ms * step_ms;
    if start_ms <= before {
        start_ms += step_ms;
    }
    let count = match ends.count {
        0 => 0,
        _ if ends.last_ms() < start_ms => 0,
        _ => (ends.last_ms() - start_ms) / step_ms + 1,
    };
    Steps {
        start_ms,
        step_ms,
        count: usize::try_from(count).unwrap_or(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(start_ms: i64, step_ms: i64, count: usize) -> Steps {
        Steps {
            start_ms,
            step_ms,
            count,
        }
    }

    #[test]
    fn subquery_steps_are_multiples_and_left_open() {
        // (0, 60]: 10, 20 … 60
        assert_eq!(subquery_steps(steps(60, 1, 1), 60, 10), steps(10, 10, 6));
        // (5, 65]: 10 … 60
        assert_eq!(subquery_steps(steps(65, 1, 1), 60, 10), steps(10, 10, 6));
        // Several windows, the last ending at 100: 10 … 100
        assert_eq!(subquery_steps(steps(60, 20, 3), 60, 10), steps(10, 10, 10));
        // Division rounds towards zero, and the correction upwards is asked for once.
        assert_eq!(subquery_steps(steps(0, 1, 1), 25, 10), steps(-20, 10, 3));
        assert_eq!(subquery_steps(steps(0, 1, 1), 5, 10), steps(0, 10, 1));
        assert_eq!(subquery_steps(steps(3, 1, 1), 2, 10).count, 0);
    }
}
