//! How far from a step lie the samples that its result depends on.
//!
//! A range query whose steps depend on the samples around them and on nothing else can be answered in pieces, and a piece
//! is good as long as nothing has changed around its steps. What looks at the range that is asked for (`@ start()`,
//! `range()`), or at its first step for all others, cannot.

use model::stack::deep;
use model::storage::TimeRange;

use crate::ast::{
    AggregateOp, At, Duration, DurationExpr, DurationExprKind, Expr, ExprKind, Modifiers, VectorSelector,
};
use crate::kernels::{Extension, RangeInput};

use super::facts::Facts;
use super::{Distinct, Plan, PlanContext, duration};

/// What the result at each step of a range query depends on: the samples in `[step - before, step + after]`, those at
/// fixed times, and nothing else that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reach {
    /// How far back, in milliseconds. Negative where only what lies ahead counts.
    pub before_ms: i64,
    /// How far ahead, in milliseconds. Negative where only what lies further back counts.
    pub after_ms: i64,
    /// First and last millisecond of what selectors read that `@` pins.
    pub pinned_ms: Vec<(i64, i64)>,
    /// The steps of subqueries that name none, in milliseconds: what the configuration says, in the order of the query.
    pub default_steps_ms: Vec<i64>,
}

impl Reach {
    /// The samples that the results of the steps from `first_ms` to `last_ms` depend on, those at fixed times apart.
    pub fn around(&self, first_ms: i64, last_ms: i64) -> TimeRange {
        TimeRange::new(
            first_ms.saturating_sub(self.before_ms),
            last_ms.saturating_add(self.after_ms),
        )
    }
}

/// Functions that look at more than the samples around a step.
const OF_THE_RANGE: [&str; 5] = ["start", "end", "range", "step", "info"];

/// The reach of `expr`, whose plan is `plan`; `None` where a step's result depends on more than samples around it.
pub(crate) fn reach_of(expr: &Expr, plan: &Plan, context: &PlanContext<'_>) -> Option<Reach> {
    // Whether names go at the end is settled for a series, not for a step.
    if context.features.delayed_name_removal {
        return None;
    }
    // Series that become equal are an error even where they do not meet at any step.
    if plan.nodes.iter().any(|node| node.distinct == Distinct::Refuse) {
        return None;
    }
    let mut found = Finding {
        context,
        facts: Facts::of(expr),
        step_ms: context.step_ms,
        reach: Reach {
            before_ms: i64::MIN,
            after_ms: i64::MIN,
            ..Reach::default()
        },
    };
    found.visit(
        expr,
        Times::Around {
            back_ms: 0,
            ahead_ms: 0,
        },
    )?;
    let mut reach = found.reach;
    if reach.before_ms == i64::MIN {
        // Nothing is read around the steps.
        (reach.before_ms, reach.after_ms) = (0, 0);
    }
    Some(reach)
}

/// When a part of the query is evaluated.
#[derive(Clone, Copy, Debug)]
enum Times {
    /// Between `step - back` and `step + ahead`.
    Around { back_ms: i64, ahead_ms: i64 },
    /// Somewhere in a fixed stretch.
    Fixed { min_ms: i64, max_ms: i64 },
}

impl Times {
    /// The same, and what lies so far before and behind.
    fn widened(self, before_ms: i64, after_ms: i64) -> Self {
        match self {
            Times::Around { back_ms, ahead_ms } => Times::Around {
                back_ms: back_ms.saturating_add(before_ms),
                ahead_ms: ahead_ms.saturating_add(after_ms),
            },
            Times::Fixed { min_ms, max_ms } => Times::Fixed {
                min_ms: min_ms.saturating_sub(before_ms),
                max_ms: max_ms.saturating_add(after_ms),
            },
        }
    }
}

struct Finding<'a> {
    context: &'a PlanContext<'a>,
    facts: Facts,
    /// Distance of the times at which the part at hand is evaluated.
    step_ms: i64,
    reach: Reach,
}

impl Finding<'_> {
    fn visit(&mut self, expr: &Expr, times: Times) -> Option<()> {
        deep(|| self.visit_here(expr, times))
    }

    fn visit_here(&mut self, expr: &Expr, times: Times) -> Option<()> {
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Paren(inner) => self.visit(inner, times)?,
            ExprKind::Unary(unary) => self.visit(&unary.expr, times)?,
            ExprKind::Binary(binary) => {
                self.visit(&binary.lhs, times)?;
                self.visit(&binary.rhs, times)?;
            }
            ExprKind::Vector(selector) => {
                let after_ms = if selector.smoothed {
                    self.context.lookback_ms
                } else {
                    0
                };
                let times = self.modified(&selector.modifiers, times)?;
                self.reads(times.widened(self.context.lookback_ms, after_ms));
            }
            ExprKind::Matrix(matrix) => {
                let times = self.modified(&matrix.selector.modifiers, times)?;
                let range_ms = self.duration(&matrix.range, false)?;
                let (before_ms, after_ms) =
                    RangeInput::reach_ms(extension(&matrix.selector), self.context.lookback_ms);
                self.reads(times.widened(range_ms.saturating_add(before_ms), after_ms));
            }
            ExprKind::Subquery(subquery) => {
                let times = self.modified(&subquery.modifiers, times)?;
                let range_ms = self.duration(&subquery.range, false)?;
                // It is evaluated between its windows, too, and may find an error there.
                if matches!(times, Times::Around { .. }) && range_ms < self.step_ms {
                    return None;
                }
                let step_ms = match &subquery.step {
                    Some(step) => self.duration(step, false)?,
                    None => {
                        let step_ms = (self.context.default_subquery_step)(range_ms);
                        self.reach.default_steps_ms.push(step_ms);
                        step_ms
                    }
                };
                let outer_ms = std::mem::replace(&mut self.step_ms, step_ms.max(1));
                self.visit(&subquery.expr, times.widened(range_ms, 0))?;
                self.step_ms = outer_ms;
            }
            ExprKind::Aggregate(aggregate) => {
                if aggregate.op == AggregateOp::LimitK {
                    // The first series that storage lists.
                    return None;
                }
                if let Some(param) = &aggregate.param {
                    // What is pinned takes its parameter from the first step.
                    if self.facts.is_invariant(&aggregate.expr) && !self.facts.is_invariant(param) {
                        return None;
                    }
                    self.visit(param, times)?;
                }
                self.visit(&aggregate.expr, times)?;
            }
            ExprKind::Call(call) => {
                if OF_THE_RANGE.contains(&call.function.name) {
                    return None;
                }
                for arg in &call.args {
                    self.visit(arg, times)?;
                }
            }
        }
        Some(())
    }

    fn modified(&self, modifiers: &Modifiers, times: Times) -> Option<Times> {
        let times = match modifiers.at {
            None => times,
            Some(At::Timestamp(at_ms)) => Times::Fixed {
                min_ms: at_ms,
                max_ms: at_ms,
            },
            Some(At::Start | At::End) => return None,
        };
        match &modifiers.offset {
            Some(offset) => {
                let offset_ms = self.duration(offset, true)?;
                Some(times.widened(offset_ms, offset_ms.saturating_neg()))
            }
            None => Some(times),
        }
    }

    /// The value of a duration, unless it depends on the range.
    fn duration(&self, duration: &Duration, signed: bool) -> Option<i64> {
        if let Duration::Expr(expr) = duration
            && is_of_range(expr)
        {
            return None;
        }
        duration::resolve(duration, self.context, signed).ok()
    }

    fn reads(&mut self, times: Times) {
        match times {
            Times::Around { back_ms, ahead_ms } => {
                self.reach.before_ms = self.reach.before_ms.max(back_ms);
                self.reach.after_ms = self.reach.after_ms.max(ahead_ms);
            }
            Times::Fixed { min_ms, max_ms } => self.reach.pinned_ms.push((min_ms, max_ms)),
        }
    }
}

fn extension(selector: &VectorSelector) -> Extension {
    match (selector.anchored, selector.smoothed) {
        (true, _) => Extension::Anchored,
        (false, true) => Extension::Smoothed,
        (false, false) => Extension::None,
    }
}

fn is_of_range(duration: &DurationExpr) -> bool {
    deep(|| match &duration.kind {
        DurationExprKind::Range => true,
        DurationExprKind::Number(_) | DurationExprKind::Step => false,
        DurationExprKind::MinMax { args, .. } => args.iter().any(|arg| is_of_range(arg)),
        DurationExprKind::Unary { expr, .. } | DurationExprKind::Paren(expr) => is_of_range(expr),
        DurationExprKind::Binary { lhs, rhs, .. } => is_of_range(lhs) || is_of_range(rhs),
    })
}

#[cfg(test)]
mod tests {
    use crate::engine::{Engine, EngineOptions, EvalTime, Features, QueryOptions};

    use super::*;

    const MINUTE: i64 = 60_000;

    fn asked(query: &str) -> Option<Reach> {
        let engine = Engine::new(EngineOptions {
            features: Features::all_syntax(),
            ..EngineOptions::default()
        });
        let time = EvalTime::Range {
            start_ms: 100 * MINUTE,
            end_ms: 200 * MINUTE,
            step_ms: MINUTE,
        };
        let expr = engine.parse(query).expect(query);
        engine.reach(&expr, time, &QueryOptions::default())
    }

    #[test]
    fn steps_reach_as_far_as_their_selectors() {
        for (query, before_min, after_min) in [
            ("up", 5, 0),
            ("up offset 1m", 6, -1),
            ("up offset -1m", 4, 1),
            ("rate(x[10m])", 10, 0),
            ("rate(x[10m] anchored)", 15, 0),
            ("rate(x[10m] smoothed)", 15, 5),
            ("x smoothed", 5, 5),
            ("max_over_time(rate(x[2m])[10m:1m] offset 3m)", 15, -3),
            ("max_over_time((x offset -8m)[10m:1m])", 7, 8),
            ("rate(x[1m]) / on (a) group_left () rate(y[3m] offset 1h)", 63, 0),
            ("topk(scalar(up), rate(x[20m]))", 20, 0),
            ("time() + 1", 0, 0),
            ("rate(x[step() * 3])", 3, 0),
            ("sort(up)", 5, 0),
        ] {
            let reach = asked(query).expect(query);
            let expected = (before_min * MINUTE, after_min * MINUTE);
            assert_eq!((reach.before_ms, reach.after_ms), expected, "{query}");
            assert!(reach.pinned_ms.is_empty(), "{query}");
        }
    }

    #[test]
    fn pinned_selectors_are_read_at_their_time() {
        let reach = asked("up - on () group_left () sum(rate(x[5m] @ 6000 offset 1m))").expect("movable");
        assert_eq!((reach.before_ms, reach.after_ms), (5 * MINUTE, 0));
        assert_eq!(reach.pinned_ms, [(94 * MINUTE, 99 * MINUTE)]);
        let reach = asked("max_over_time((x offset 1m)[10m:1m] @ 6000)").expect("movable");
        assert_eq!((reach.before_ms, reach.after_ms), (0, 0));
        assert_eq!(reach.pinned_ms, [(84 * MINUTE, 99 * MINUTE)]);
    }

    #[test]
    fn steps_that_the_configuration_names_are_told() {
        let reach = asked("max_over_time(x[10m:]) + max_over_time(x[10m:5m])").expect("movable");
        assert_eq!(reach.default_steps_ms, [MINUTE]);
    }

    #[test]
    fn what_looks_at_the_range_has_no_reach() {
        for query in [
            "x @ start()",
            "rate(x[5m] @ end())",
            "max_over_time(x[5m:1m] @ end())",
            "x + end()",
            "x * step()",
            "rate(x[range()])",
            "x offset (range() / 2)",
            "limitk(2, x)",
            "topk(scalar(y), x @ 6000)",
            "rate({a=\"b\"}[5m])",
            "info(x)",
            // There are times between the windows.
            "max_over_time(x[30s:10s])",
            "max_over_time(max_over_time(x[1m:10s])[10m:2m])",
        ] {
            assert_eq!(asked(query), None, "{query}");
        }
    }
}
