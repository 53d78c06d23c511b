//! NX401: `for` that is over before anybody looks again.

use model::duration::format_duration;

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX401",
    name: "for-below-interval",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "`for` is shorter than the interval at which the group is evaluated.",
        why: "Between two evaluations nobody looks: such a `for` means one interval, whatever is written. The interval is \
              known from the group, from `evaluation_interval` in the configuration of the linter, or from a server.",
        wrong: "interval: 1m
rules:
- alert: Down
  expr: up == 0
  for: 30s",
        right: "interval: 1m
rules:
- alert: Down
  expr: up == 0
  for: 2m",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    let for_ms = rule.rule.for_ms;
    let Some(interval_ms) = rule
        .interval_ms()
        .filter(|interval| (1..*interval).contains(&for_ms))
    else {
        return;
    };
    let (for_text, interval) = (format_duration(for_ms), format_duration(interval_ms));
    report.add(
        rule,
        rule.place_of("for"),
        format!("`for` of {for_text} is shorter than the interval of {interval}: it means {interval}"),
    );
}
