//! NX305: a label that changes with the value.

use super::{Check, Explanation, Lint, Report, Severity};
use crate::expand::Template;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX305",
    name: "value-in-label",
    severity: Severity::Error,
    explanation: Explanation {
        what: "A label of an alert contains the value of the expression.",
        why: "Labels are what an alert is told from others by. When the value changes, another alert begins and the one \
              before ends: `for` never passes, and every evaluation may notify. Put the value into an annotation. A label \
              that only depends on a comparison of the value (`{{ if gt $value 0.9 }}…`) is not told of.",
        wrong: "- alert: QueueLong
  expr: queue_length > 100
  for: 5m
  labels:
    length: \"{{ $value }}\"",
        right: "- alert: QueueLong
  expr: queue_length > 100
  for: 5m
  annotations:
    length: \"{{ $value }}\"",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    if !rule.is_alert() {
        return;
    }
    for (section, name, text) in rule.templates().filter(|(section, ..)| *section == "labels") {
        let Ok(template) = Template::parse(&rule.rule.name, text) else {
            continue;
        };
        let uses = template.field_uses();
        let value = uses.iter().find(|used| {
            let fields: Vec<&str> = used.fields.iter().map(String::as_str).collect();
            let is_value = matches!(
                (used.variable.as_deref(), fields.as_slice()),
                (Some("$value"), []) | (None, ["Value"])
            );
            is_value && !used.is_condition
        });
        if let Some(value) = value {
            report
                .add(
                    rule,
                    rule.place_in_template(section, name, value.start, value.end),
                    format!("the label `{name}` changes with the value: each change makes another alert"),
                )
                .help("put the value into an annotation");
        }
    }
}
