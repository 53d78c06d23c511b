//! NX204: a number in another unit than what it is compared with.

use promql::ast::{BinaryOp, Expr, ExprKind};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::units;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX204",
    name: "wrong-unit",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A comparison with a number that looks like another unit than the metric's name says.",
        why: "`_seconds` above 5000 is an hour and a half; `_ratio` above 80 never is. Told of are round numbers that make \
              sense in the other unit only: milliseconds for latencies in seconds, percentages for ratios and for quotients \
              of bytes, ratios for percentages, megabytes for bytes, lengths of time for timestamps.",
        wrong: "- alert: Slow
  expr: histogram_quantile(0.99, sum by (le) (rate(request_duration_seconds_bucket[5m]))) > 500",
        right: "- alert: Slow
  expr: histogram_quantile(0.99, sum by (le) (rate(request_duration_seconds_bucket[5m]))) > 0.5",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    rule.expr().walk(&mut |expr| {
        let ExprKind::Binary(binary) = &expr.kind else {
            return;
        };
        if !binary.op.is_comparison() {
            return;
        }
        let compared = match (number(&binary.lhs), number(&binary.rhs)) {
            (None, Some(value)) => Some((&binary.lhs, binary.op, value)),
            (Some(value), None) => turned(binary.op).map(|op| (&binary.rhs, op, value)),
            _ => None,
        };
        let Some((side, op, value)) = compared else { return };
        let mistaken = units::of(side).and_then(|unit| unit.mistaken(op, value));
        if let Some((looks, help)) = mistaken {
            report
                .add(rule, rule.place(expr.span), format!("this compares {looks}"))
                .help(help);
        }
    });
}

fn number(expr: &Expr) -> Option<f64> {
    match &expr.without_parens().kind {
        // A duration says its unit.
        ExprKind::Number(number) if !number.is_duration => Some(number.value),
        _ => None,
    }
}

/// The operator when the sides are exchanged.
fn turned(op: BinaryOp) -> Option<BinaryOp> {
    match op {
        BinaryOp::Greater => Some(BinaryOp::Less),
        BinaryOp::GreaterEqual => Some(BinaryOp::LessEqual),
        BinaryOp::Less => Some(BinaryOp::Greater),
        BinaryOp::LessEqual => Some(BinaryOp::GreaterEqual),
        _ => None,
    }
}
