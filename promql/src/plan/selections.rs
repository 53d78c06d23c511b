//! What a query will select, and what for: told to stores elsewhere before anything is read.
//!
//! Compat: ranges, steps and functions are those that the reference tells them (push: `remote-read/client`), and may reach
//! further back than what is read: of a subquery's steps the plan knows the first one.

use model::matcher::Matcher;
use model::purpose::{SelectPurpose, Selection};
use model::stack::deep;
use model::storage::TimeRange;

use super::{PlanContext, PlanError, duration};
use crate::ast::{At, Duration, Expr, ExprKind, Grouping, Modifiers, VectorSelector};

/// The selections of `expr`, each list of matchers once.
///
/// # Errors
/// When a duration has no usable value.
pub(crate) fn selections(expr: &Expr, context: &PlanContext<'_>) -> Result<Vec<Selection>, PlanError> {
    let mut collect = Collect {
        context,
        found: Vec::new(),
    };
    let around = Around {
        range: TimeRange::new(context.start_ms, context.end_ms),
        step_ms: context.step_ms,
        function: "",
        grouping: None,
    };
    collect.visit(expr, around)?;
    let mut found = collect.found;
    let query = found.iter().map(|selection| selection.purpose.range);
    if let Some(query) = query.reduce(|all, range| all.hull(&range)) {
        for selection in &mut found {
            selection.purpose.query = query;
        }
    }
    Ok(found)
}

/// What stands around a part of the query.
#[derive(Clone, Copy)]
struct Around<'e> {
    /// First and last time at which it is evaluated.
    range: TimeRange,
    step_ms: i64,
    function: &'e str,
    /// Of the aggregation right around it.
    grouping: Option<Grouped<'e>>,
}

/// By nothing, where the aggregation does not say how.
type Grouped<'e> = Option<&'e Grouping>;

struct Collect<'a> {
    context: &'a PlanContext<'a>,
    found: Vec<Selection>,
}

impl Collect<'_> {
    fn visit(&mut self, expr: &Expr, around: Around<'_>) -> Result<(), PlanError> {
        deep(|| self.visit_here(expr, around))
    }

    fn visit_here(&mut self, expr: &Expr, around: Around<'_>) -> Result<(), PlanError> {
        let inside = Around {
            grouping: None,
            ..around
        };
        match &expr.kind {
            ExprKind::Vector(selector) => self.note(selector, 0, around),
            ExprKind::Matrix(matrix) => {
                let window_ms = duration::resolve(&matrix.range, self.context, false)?;
                self.note(&matrix.selector, window_ms, inside)
            }
            ExprKind::Subquery(subquery) => {
                let range_ms = duration::resolve(&subquery.range, self.context, false)?;
                let step_ms = match &subquery.step {
                    Some(step) => duration::resolve(step, self.context, false)?,
                    None => (self.context.default_subquery_step)(range_ms),
                };
                let range = self.moved(&subquery.modifiers, around.range)?;
                let steps = Around {
                    range: TimeRange::new(range.min_ms.saturating_sub(range_ms), range.max_ms),
                    step_ms,
                    ..inside
                };
                self.visit(&subquery.expr, steps)
            }
            ExprKind::Paren(inner) => self.visit(inner, inside),
            ExprKind::Unary(unary) => self.visit(&unary.expr, inside),
            ExprKind::Binary(binary) => {
                let side = Around {
                    function: "",
                    ..inside
                };
                self.visit(&binary.lhs, side)?;
                self.visit(&binary.rhs, side)
            }
            ExprKind::Aggregate(aggregate) => {
                let grouped = Around {
                    function: aggregate.op.as_str(),
                    grouping: Some(aggregate.grouping.as_ref()),
                    ..around
                };
                for part in aggregate.param.iter().chain([&aggregate.expr]) {
                    self.visit(part, grouped)?;
                }
                Ok(())
            }
            ExprKind::Call(call) => {
                let arg = Around {
                    function: call.function.name,
                    ..inside
                };
                call.args.iter().try_for_each(|part| self.visit(part, arg))
            }
            ExprKind::Number(_) | ExprKind::String(_) => Ok(()),
        }
    }

    fn note(
        &mut self,
        selector: &VectorSelector,
        window_ms: i64,
        around: Around<'_>,
    ) -> Result<(), PlanError> {
        let lookback_ms = self.context.lookback_ms;
        let times = self.moved(&selector.modifiers, around.range)?;
        let before_ms = match window_ms {
            0 => lookback_ms,
            _ if selector.anchored || selector.smoothed => lookback_ms.saturating_add(window_ms),
            _ => window_ms,
        };
        let after_ms = if selector.smoothed { lookback_ms } else { 0 };
        let range = TimeRange::new(
            times.min_ms.saturating_sub(before_ms).saturating_add(1),
            times.max_ms.saturating_add(after_ms),
        );
        let grouping = around.grouping.flatten();
        self.add(
            &selector.matchers,
            SelectPurpose {
                step_ms: around.step_ms,
                window_ms,
                grouping: grouping.map_or_else(Vec::new, |grouping| grouping.labels.clone()),
                by: around.grouping.is_some() && !grouping.is_some_and(|grouping| grouping.without),
                ..SelectPurpose::of(around.function, range)
            },
        );
        Ok(())
    }

    fn add(&mut self, matchers: &[Matcher], purpose: SelectPurpose) {
        match self.found.iter_mut().find(|known| known.matchers == matchers) {
            Some(known) => known.purpose.join(purpose),
            None => self.found.push(Selection {
                matchers: matchers.to_vec(),
                purpose,
            }),
        }
    }

    /// The times at which something modified by `modifiers` is looked at.
    fn moved(&self, modifiers: &Modifiers, times: TimeRange) -> Result<TimeRange, PlanError> {
        let offset = modifiers.offset.as_ref();
        let resolve = |offset: &Duration| duration::resolve(offset, self.context, true);
        let offset_ms = offset.map(resolve).transpose()?.unwrap_or(0);
        let pinned = |at_ms| TimeRange::new(at_ms, at_ms);
        let times = match modifiers.at {
            None => times,
            Some(At::Timestamp(at_ms)) => pinned(at_ms),
            Some(At::Start) => pinned(self.context.start_ms),
            Some(At::End) => pinned(self.context.end_ms),
        };
        Ok(TimeRange::new(
            times.min_ms.saturating_sub(offset_ms),
            times.max_ms.saturating_sub(offset_ms),
        ))
    }
}
