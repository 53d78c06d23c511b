//! NX202: a condition that every value passes.

use promql::ast::{AggregateOp, BinaryOp, Expr, ExprKind};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::bounds;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX202",
    name: "always-true",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "An alert whose comparison every value passes.",
        why: "The values cannot be anything else than what is asked for, so the alert fires as long as there is a series. \
              Counts are not told of: `count(…) > 0` asks whether there is something, and says so.",
        wrong: "- alert: Errors
  expr: rate(errors_total[5m]) >= 0",
        right: "- alert: Errors
  expr: rate(errors_total[5m]) > 0",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    let expr = rule.expr().without_parens();
    let ExprKind::Binary(binary) = &expr.kind else {
        return;
    };
    if !rule.is_alert() || binary.matching.is_some() || asks_whether_there_is_something(expr) {
        return;
    }
    let (left, right) = (bounds::of(&binary.lhs), bounds::of(&binary.rhs));
    let is_point = |bounds: bounds::Bounds| bounds.low == bounds.high;
    if left.always(binary.op, right) && !(is_point(left) && is_point(right)) {
        report.add(
            rule,
            rule.place(expr.span),
            "every value passes this comparison: the alert fires as long as there is a series",
        );
    }
}

/// Whether something below decides which series there are, or how many.
fn asks_whether_there_is_something(expr: &Expr) -> bool {
    let mut found = false;
    let mut is_outermost = true;
    expr.walk(&mut |part| {
        found |= match &part.kind {
            ExprKind::Binary(binary) => {
                let filters = binary.op.is_comparison() && !binary.return_bool && !is_outermost;
                filters || matches!(binary.op, BinaryOp::And | BinaryOp::Unless)
            }
            ExprKind::Aggregate(aggregate) => matches!(
                aggregate.op,
                AggregateOp::Count | AggregateOp::CountValues | AggregateOp::Group
            ),
            ExprKind::Call(call) => matches!(
                call.function.name,
                "absent" | "absent_over_time" | "present_over_time" | "count_over_time"
            ),
            _ => false,
        };
        is_outermost = false;
    });
    found
}
