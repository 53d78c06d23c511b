//! NX402: `keep_firing_for` that is over before anybody looks again.

use model::duration::format_duration;

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX402",
    name: "keep-firing-below-interval",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "`keep_firing_for` is shorter than the interval at which the group is evaluated.",
        why: "The time begins with the first evaluation at which the condition does not hold, and is over at the next one: \
              the alert goes on for one interval, whatever is written.",
        wrong: "interval: 1m
rules:
- alert: Down
  expr: up == 0
  keep_firing_for: 30s",
        right: "interval: 1m
rules:
- alert: Down
  expr: up == 0
  keep_firing_for: 5m",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    let keep_ms = rule.rule.keep_firing_for_ms;
    let interval_ms = rule
        .interval_ms()
        .filter(|interval| (1..*interval).contains(&keep_ms));
    let Some(interval_ms) = interval_ms else { return };
    let (keep, interval) = (format_duration(keep_ms), format_duration(interval_ms));
    report.add(
        rule,
        rule.place_of("keep_firing_for"),
        format!(
            "`keep_firing_for` of {keep} is shorter than the interval of {interval}: it means {interval}"
        ),
    );
}
