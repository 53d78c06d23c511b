//! NX102: `rate` of counters that were added up.

use promql::ast::ExprKind;

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::kinds::Kind;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX102",
    name: "rate-of-aggregate",
    severity: Severity::Error,
    explanation: Explanation {
        what: "`rate`, `irate` or `increase` of counters that were aggregated first.",
        why: "When one of the counters restarts or disappears, the sum falls by all that it had counted. `rate` takes that \
              for a restart of the whole and adds everything again: a spike that never was. Take the rate first, then the \
              sum. The aggregation may stand in a recording rule of its own.",
        wrong: "- record: job:requests:rate5m
  expr: rate(sum by (job) (requests_total)[5m:])",
        right: "- record: job:requests:rate5m
  expr: sum by (job) (rate(requests_total[5m]))",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    rule.expr().walk(&mut |expr| {
        let ExprKind::Call(call) = &expr.kind else { return };
        let function = call.function.name;
        let Some(arg) = call.args.first() else { return };
        if matches!(function, "rate" | "irate" | "increase") && rule.view.kind_of(arg) == Kind::Together {
            let from = match &arg.without_parens().kind {
                ExprKind::Matrix(matrix) => format!(", as `{}` records them", matrix.selector.name),
                _ => String::new(),
            };
            report
                .add(
                    rule,
                    rule.place(expr.span),
                    format!("`{function}` of counters that have been aggregated{from}"),
                )
                .help(format!(
                    "where one of them restarts, the whole seems to: take `{function}` first and aggregate then"
                ));
        }
    });
}
