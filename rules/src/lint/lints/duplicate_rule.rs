//! NX701: the same rule twice.

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::{View, grouped};

pub(super) static LINT: Lint = Lint {
    code: "NX701",
    name: "duplicate-rule",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "Two rules have the same name, labels and expression.",
        why: "The second one gives what the first one gives: series are written twice, which is refused where the values \
              differ, and alerts have two states. Take one of them away.",
        wrong: "- record: job:requests:rate5m
  expr: sum by (job) (rate(requests_total[5m]))
- record: job:requests:rate5m
  expr: sum by (job) (rate(requests_total[5m]))",
        right: "- record: job:requests:rate5m
  expr: sum by (job) (rate(requests_total[5m]))",
        needs_server: false,
    },
    check: Check::Files(check),
};

fn check(view: &View<'_>, report: &mut Report<'_>) {
    let rules = view.rules().map(|rule| {
        let key = (
            rule.is_alert(),
            rule.rule.name.as_str(),
            rule.added_labels(),
            rule.expr().to_string(),
        );
        (key, rule)
    });
    for (_, rules) in grouped(rules) {
        let [first, others @ ..] = rules.as_slice() else {
            continue;
        };
        for rule in others {
            report.add(
                rule,
                rule.place_of_name(),
                format!("the same rule stands at {}", first.told_from(rule)),
            );
        }
    }
}
