//! NX301: a template reads a label that the expression has dropped.

use std::ops::Range;

use model::nearest::distance;
use template::FieldUse;

use super::{Check, Explanation, Lint, Report, Severity};
use crate::expand::Template;
use crate::lint::labels::{LabelSet, Presence};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX301",
    name: "dropped-label",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A template reads a label that the expression's result cannot have.",
        why: "`by`, `without`, `on` and functions take labels away. A template that reads such a label gets nothing: \
              \"disk full on \" is what arrives. Keep the label in the expression, or leave it out of the text. Labels that \
              the rule itself adds, such as `severity`, are not in `$labels` either. A label that the template asks for \
              with `if` or `with` may be missing. `--fix` corrects a slip of one letter where only one label can be meant.",
        wrong: "- alert: ManyErrors
  expr: sum by (job) (rate(errors_total[5m])) > 1
  annotations:
    summary: errors on {{ $labels.instance }}",
        right: "- alert: ManyErrors
  expr: sum by (job, instance) (rate(errors_total[5m])) > 1
  annotations:
    summary: errors on {{ $labels.instance }}",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    for used in missing_labels(rule) {
        let labels = rule.result_labels();
        let taken = labels.taken_by(&used.label);
        if taken.is_some_and(|taken| taken.by == "absent") {
            continue;
        }
        let by = taken.map_or_else(
            || "the result of the expression has no labels".to_owned(),
            |taken| {
                let place = rule.place(taken.span);
                let by = if taken.by.contains(' ') {
                    taken.by.to_owned()
                } else {
                    format!("`{}`", taken.by)
                };
                format!("{by} at line {}, column {} drops it", place.line, place.column)
            },
        );
        let message = format!("the label `{}` is always empty here: {by}", used.label);
        let place = rule.place_in_template(used.section, used.name, used.range.start, used.range.end);
        let finding = report.add(rule, place, message);
        if rule.added_labels().contains_key(used.label.as_str()) {
            finding.help("the rule adds it itself, and templates see only what the expression gives");
        } else if let Some(meant) = meant(&used.label, labels) {
            finding.help(format!("did you mean `{meant}`?"));
            let text = used.text.get(used.range.clone()).unwrap_or("");
            if let Some(at) = text.rfind(used.label.as_str()) {
                let start = used.range.start + at;
                let word = start..start + used.label.len();
                finding.fix = rule.fix_template(used.section, used.name, word, meant);
            }
        } else {
            finding.help("keep the label in the expression, or leave it out of the text");
        }
    }
}

/// The one label that is a slip away.
fn meant<'l>(label: &str, labels: &'l LabelSet) -> Option<&'l str> {
    let mut near = labels
        .possible()
        .map(|(name, _)| name)
        .filter(|name| name.len() >= 4 && distance(label, name) == 1);
    near.next().filter(|_| near.next().is_none())
}

/// A place where a template reads a label that is never there.
pub(super) struct MissingLabel<'v> {
    pub(super) label: String,
    /// `labels` or `annotations`, and the entry in it.
    pub(super) section: &'static str,
    pub(super) name: &'v str,
    pub(super) text: &'v str,
    pub(super) range: Range<usize>,
}

/// All of them, each label once a template.
pub(super) fn missing_labels<'v>(rule: &RuleView<'v>) -> Vec<MissingLabel<'v>> {
    let mut missing: Vec<MissingLabel<'v>> = Vec::new();
    if !rule.is_alert() {
        return missing;
    }
    for (section, name, text) in rule.templates() {
        let Ok(template) = Template::parse(&rule.rule.name, text) else {
            continue;
        };
        let uses = template.field_uses();
        let is_asked_for = |label: &str| {
            let mut conditions = uses.iter().filter(|used| used.is_condition);
            conditions.any(|used| label_of(used) == Some(label))
        };
        let first = missing.len();
        for used in &uses {
            let Some(label) = label_of(used) else { continue };
            let is_told = missing[first..].iter().any(|missing| missing.label == label);
            if rule.result_labels().presence(label) == Presence::Never && !is_told && !is_asked_for(label) {
                missing.push(MissingLabel {
                    label: label.to_owned(),
                    section,
                    name,
                    text,
                    range: used.start..used.end,
                });
            }
        }
    }
    missing
}

/// The label that a template reads here: `$labels.x`, `.Labels.x`.
pub(super) fn label_of(used: &FieldUse) -> Option<&str> {
    match (used.variable.as_deref(), used.fields.as_slice()) {
        (Some("$labels"), [label]) => Some(label),
        (None, [labels, label]) if labels == "Labels" => Some(label),
        _ => None,
    }
}
