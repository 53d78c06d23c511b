//! NX502: a label value that no series of the metric has.

use model::labels::METRIC_NAME;
use model::matcher::MatchOp;
use model::nearest::nearest;
use promql::ast::ExprKind;

use super::no_such_metric::below_absent;
use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::facts::metric_name;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX502",
    name: "no-such-value",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A selector compares a label with a value that no series of the metric has on the server.",
        why: "The selector gives nothing. Either the value is a slip, or the label is called otherwise, or what it speaks of \
              has not happened yet; turn the lint off in the last case. (The example is with a server whose \
              `http_requests_total` has the jobs `api` and `web`.)",
        wrong: "- record: api:requests:rate5m
  expr: sum(rate(http_requests_total{job=\"apo\"}[5m]))",
        right: "- record: api:requests:rate5m
  expr: sum(rate(http_requests_total{job=\"api\"}[5m]))",
        needs_server: true,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    let Some(facts) = rule.view.facts else { return };
    let absent = below_absent(rule.expr());
    rule.expr().walk(&mut |expr| {
        let (selector, span) = match &expr.kind {
            ExprKind::Vector(selector) => (selector, expr.span),
            ExprKind::Matrix(matrix) => (&matrix.selector, matrix.selector_span),
            _ => return,
        };
        let Some(name) = metric_name(selector).filter(|name| facts.names.contains(*name)) else {
            return;
        };
        if absent.contains(&std::ptr::from_ref(expr)) {
            return;
        }
        for matcher in &selector.matchers {
            if matcher.op != MatchOp::Equal || matcher.name == METRIC_NAME || matcher.value.is_empty() {
                continue;
            }
            let key = (name.to_owned(), matcher.name.clone());
            let Some(values) = facts
                .values
                .get(&key)
                .filter(|values| !values.contains(&matcher.value))
            else {
                continue;
            };
            let message = if values.is_empty() {
                format!("no series of `{name}` has the label `{}`", matcher.name)
            } else {
                format!("no series of `{name}` has {}=\"{}\"", matcher.name, matcher.value)
            };
            let finding = report.add(rule, rule.place(span), message);
            if let Some(near) = nearest(&matcher.value, values.iter().map(String::as_str)) {
                finding.help(format!("did you mean `{near}`?"));
            }
        }
    });
}
