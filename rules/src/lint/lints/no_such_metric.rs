//! NX501: a metric of which the server has no series.

use std::collections::HashSet;

use model::nearest::nearest;
use promql::ast::{Expr, ExprKind};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::facts::metric_name;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX501",
    name: "no-such-metric",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A rule selects a metric of which the server has no series.",
        why: "Such a rule gives nothing, and an alert on it never fires: a slip, a metric that was renamed, an exporter that \
              is not there. Metrics that appear only once something has happened are told of as well; turn the lint off for \
              those. Names that other rules of the files record are not told of, nor what stands in `absent`. (The example \
              is with a server that knows `http_requests_total`.)",
        wrong: "- record: job:requests:rate5m
  expr: sum by (job) (rate(http_request_total[5m]))",
        right: "- record: job:requests:rate5m
  expr: sum by (job) (rate(http_requests_total[5m]))",
        needs_server: true,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    let Some(facts) = rule.view.facts else { return };
    let absent = below_absent(rule.expr());
    let mut told: HashSet<&str> = HashSet::new();
    rule.expr().walk(&mut |expr| {
        let (selector, span) = match &expr.kind {
            ExprKind::Vector(selector) => (selector, expr.span),
            ExprKind::Matrix(matrix) => (&matrix.selector, matrix.selector_span),
            _ => return,
        };
        let Some(name) = metric_name(selector) else { return };
        let is_known = facts.names.contains(name)
            || rule.view.recorded.contains(name)
            || matches!(name, "ALERTS" | "ALERTS_FOR_STATE");
        if is_known || absent.contains(&std::ptr::from_ref(expr)) || !told.insert(name) {
            return;
        }
        let finding = report.add(
            rule,
            rule.place(span),
            format!("the server has no series of `{name}`"),
        );
        if let Some(near) = nearest(name, facts.names.iter().map(String::as_str)) {
            finding.help(format!("did you mean `{near}`?"));
        }
    });
}

/// The parts of `expr` that are asked for by `absent`.
pub(super) fn below_absent(expr: &Expr) -> HashSet<*const Expr> {
    let mut below = HashSet::new();
    expr.walk(&mut |part| {
        if let ExprKind::Call(call) = &part.kind
            && matches!(call.function.name, "absent" | "absent_over_time")
        {
            for arg in &call.args {
                arg.walk(&mut |part| {
                    below.insert(std::ptr::from_ref(part));
                });
            }
        }
    });
    below
}
