//! NX103: `delta` of what only grows.

use promql::ast::{ExprKind, Span};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::kinds::Kind;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX103",
    name: "delta-of-counter",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "`delta`, `idelta` or `deriv` of a counter.",
        why: "A counter begins anew when its process restarts. These functions see a large fall then, where `increase` and \
              `rate` see a restart. `--fix` writes `increase` for `delta` and `rate` for `deriv`, which give the same as \
              long as nothing restarts.",
        wrong: "- alert: ManyErrors
  expr: delta(errors_total[10m]) > 5",
        right: "- alert: ManyErrors
  expr: increase(errors_total[10m]) > 5",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    rule.expr().walk(&mut |expr| {
        let ExprKind::Call(call) = &expr.kind else { return };
        let function = call.function.name;
        let instead = match function {
            "delta" => "increase",
            "deriv" => "rate",
            // How much it was within two samples, which no function tells of a counter.
            "idelta" => "irate",
            _ => return,
        };
        let Some(arg) = call.args.first() else { return };
        let Kind::Counter(evidence) = rule.view.kind_of(arg) else {
            return;
        };
        let name = Span {
            start: expr.span.start,
            end: expr.span.start + function.len() as u32,
        };
        let finding = report.add(
            rule,
            rule.place(expr.span),
            format!(
                "`{function}` of a counter: {}",
                evidence.says("begins anew at restarts")
            ),
        );
        finding.help(format!("`{instead}` takes restarts into account"));
        if function != "idelta" {
            finding.fix = rule.fix(name, instead);
        }
    });
}
