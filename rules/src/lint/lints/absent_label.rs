//! NX302: a template reads a label that `absent` does not know.

use super::dropped_label::missing_labels;
use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX302",
    name: "absent-label",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A template reads a label of `absent` or `absent_over_time` that the selector does not fix.",
        why: "What is not there has no labels. `absent` can tell those that the selector compares with `=`, and no others: \
              not those of the series that went away, and one alert stands for all of them. Name the label in the \
              selector, or compare with what should be there by `unless`.",
        wrong: "- alert: Gone
  expr: absent(up{job=\"api\"})
  annotations:
    summary: \"{{ $labels.instance }} of {{ $labels.job }} is gone\"",
        right: "- alert: Gone
  expr: absent(up{job=\"api\"})
  annotations:
    summary: \"all of {{ $labels.job }} is gone\"",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    for used in missing_labels(rule) {
        let taken = rule.result_labels().taken_by(&used.label);
        if taken.is_none_or(|taken| taken.by != "absent") {
            continue;
        }
        let place = rule.place_in_template(used.section, used.name, used.range.start, used.range.end);
        let message = format!(
            "the label `{}` is always empty here: `absent` knows the labels that its selector compares with `=`",
            used.label
        );
        let known: Vec<String> = rule
            .result_labels()
            .possible()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let help = match known.len() {
            0 => "it knows none here".to_owned(),
            _ => format!("it knows {} here", known.join(", ")),
        };
        report.add(rule, place, message).help(help);
    }
}
