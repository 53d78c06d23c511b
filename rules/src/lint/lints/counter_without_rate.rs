//! NX104: how much there has ever been, compared.

use model::stack::deep;
use promql::ast::{BinaryOp, Expr, ExprKind};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::kinds::{Evidence, Kind};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX104",
    name: "counter-without-rate",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "An alert asks whether a counter is above a number.",
        why: "A counter tells how much there has been since its process started. Once above the number it stays there until \
              a restart, however quiet it is by then. Ask for `rate` or `increase` over a time. A counter on the right of \
              `and` or `unless` only guards another condition, and is not told of.",
        wrong: "- alert: ManyErrors
  expr: errors_total > 100",
        right: "- alert: ManyErrors
  expr: increase(errors_total[1h]) > 100",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    if rule.is_alert() {
        visit(rule, rule.expr(), false, report);
    }
}

/// Looks at the comparisons that make the alert; `is_guarded` says that there are other conditions beside.
fn visit(rule: &RuleView<'_>, expr: &Expr, is_guarded: bool, report: &mut Report<'_>) {
    // Whether there has ever been one is a fair question, where something else is asked as well.
    let counts = |number: &Expr| number_of(number).is_some_and(|value| !is_guarded || value != 0.0);
    deep(|| match &expr.kind {
        ExprKind::Paren(inner) => visit(rule, inner, is_guarded, report),
        ExprKind::Aggregate(aggregate) => visit(rule, &aggregate.expr, is_guarded, report),
        ExprKind::Binary(binary) => match binary.op {
            BinaryOp::And | BinaryOp::Unless => visit(rule, &binary.lhs, true, report),
            BinaryOp::Or => {
                visit(rule, &binary.lhs, is_guarded, report);
                visit(rule, &binary.rhs, is_guarded, report);
            }
            BinaryOp::Greater | BinaryOp::GreaterEqual if counts(&binary.rhs) => {
                compared(rule, expr, &binary.lhs, report);
            }
            BinaryOp::Less | BinaryOp::LessEqual if counts(&binary.lhs) => {
                compared(rule, expr, &binary.rhs, report);
            }
            _ => {}
        },
        _ => {}
    });
}

fn compared(rule: &RuleView<'_>, comparison: &Expr, counter: &Expr, report: &mut Report<'_>) {
    let evidence = match rule.view.kind_of(counter) {
        Kind::Counter(evidence) => evidence,
        Kind::Together => Evidence::Name,
        _ => return,
    };
    report
        .add(
            rule,
            rule.place(comparison.span),
            format!(
                "a counter is compared: {}, so the alert ends with the next restart",
                evidence.says("only grows")
            ),
        )
        .help("ask how much it grew: `increase(…[1h])`, or how fast: `rate(…[5m])`");
}

fn number_of(expr: &Expr) -> Option<f64> {
    match &expr.without_parens().kind {
        ExprKind::Number(number) => Some(number.value),
        _ => None,
    }
}
