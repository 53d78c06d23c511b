//! NX101: `rate` of what goes up and down.

use promql::ast::ExprKind;

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::kinds::Kind;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX101",
    name: "rate-of-gauge",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "`rate`, `irate` or `increase` of a gauge.",
        why: "These functions take every fall for the restart of a counter and add what was there before: of a gauge they \
              make numbers that are far too large. Use `deriv` or `delta` for how a gauge changes, or take the rate of the \
              counter behind it. That something is a gauge is known from its name, from the function that it comes from, \
              or with `--server` from its metadata.",
        wrong: "- alert: MemoryGrows
  expr: rate(process_resident_memory_bytes[1h]) > 1e6",
        right: "- alert: MemoryGrows
  expr: deriv(process_resident_memory_bytes[1h]) > 1e6",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    rule.expr().walk(&mut |expr| {
        let ExprKind::Call(call) = &expr.kind else { return };
        let function = call.function.name;
        if !matches!(function, "rate" | "irate" | "increase") {
            return;
        }
        let Some(arg) = call.args.first() else { return };
        if let Kind::Gauge(evidence) = rule.view.kind_of(arg) {
            let instead = if function == "increase" { "delta" } else { "deriv" };
            report
                .add(
                    rule,
                    rule.place(expr.span),
                    format!("`{function}` of a gauge: {}", evidence.says("goes up and down")),
                )
                .help(format!(
                    "falls count as restarts of a counter here; `{instead}` tells how a gauge changes"
                ));
        }
    });
}
