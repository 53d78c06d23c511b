//! NX304: a template where there are none.

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX304",
    name: "template-in-recording-rule",
    severity: Severity::Error,
    explanation: Explanation {
        what: "A label of a recording rule is written as a template.",
        why: "Only labels and annotations of alerts are templates. A recording rule stores the braces as they stand: every \
              series gets the label `{{ $labels.x }}` by value. Use `label_replace` in the expression.",
        wrong: "- record: host:cpu:rate5m
  expr: rate(cpu_seconds_total[5m])
  labels:
    host: \"{{ $labels.instance }}\"",
        right: "- record: host:cpu:rate5m
  expr: label_replace(rate(cpu_seconds_total[5m]), \"host\", \"$1\", \"instance\", \"(.*)\")",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    if rule.is_alert() {
        return;
    }
    for (name, text) in rule.added_labels() {
        if text.contains("{{") && text.contains("}}") {
            report
                .add(
                    rule,
                    rule.place_of_label(name),
                    format!("the label `{name}` is no template here: its value will be `{text}`"),
                )
                .help("use `label_replace` in the expression");
        }
    }
}
