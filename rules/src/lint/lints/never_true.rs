//! NX201: a comparison that no value passes.

use promql::ast::{AggregateOp, Expr, ExprKind};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::bounds;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX201",
    name: "never-true",
    severity: Severity::Error,
    explanation: Explanation {
        what: "A comparison that can never be true.",
        why: "The values on one side cannot be what the other side asks for, so the condition never holds and the alert never \
              fires. The usual one: `count` of nothing is not 0 but nothing at all. Ask with `absent`, or write \
              `or vector(0)` behind the count.",
        wrong: "- alert: NoInstances
  expr: count(up{job=\"api\"} == 1) == 0",
        right: "- alert: NoInstances
  expr: (count(up{job=\"api\"} == 1) or vector(0)) == 0",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    rule.expr().walk(&mut |expr| {
        let ExprKind::Binary(binary) = &expr.kind else {
            return;
        };
        let (lhs, rhs) = (&binary.lhs, &binary.rhs);
        if !binary.op.is_comparison() || (is_number(lhs) && is_number(rhs)) {
            return;
        }
        let (left, right) = (bounds::of(lhs), bounds::of(rhs));
        if !left.never(binary.op, right) {
            return;
        }
        let (side, range) = if is_number(lhs) { (rhs, right) } else { (lhs, left) };
        let finding = report.add(
            rule,
            rule.place(expr.span),
            format!("this is never true: {}", range_words(range)),
        );
        if is_count(side) {
            finding.help(
                "a count of nothing is no 0, it is no result: use `absent(…)`, or `(count(…) or vector(0))`",
            );
        }
    });
}

fn range_words(range: bounds::Bounds) -> String {
    let number = |value: f64| model::float::format_float(value);
    match (range.low, range.high) {
        (low, high) if low == high => format!("what is compared is always {}", number(low)),
        (low, f64::INFINITY) => format!("what is compared is never below {}", number(low)),
        (f64::NEG_INFINITY, high) => format!("what is compared is never above {}", number(high)),
        (low, high) => format!(
            "what is compared lies between {} and {}",
            number(low),
            number(high)
        ),
    }
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr.without_parens().kind, ExprKind::Number(_))
}

fn is_count(expr: &Expr) -> bool {
    matches!(&expr.without_parens().kind, ExprKind::Aggregate(aggregate) if aggregate.op == AggregateOp::Count)
}
