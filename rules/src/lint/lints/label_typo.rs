//! NX507: a label that is called nearly like one that everybody else uses.

use std::collections::BTreeMap;

use model::labels::METRIC_NAME;
use model::nearest::distance;
use promql::ast::ExprKind;
use yaml::Position;

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::{RuleView, View};

pub(super) static LINT: Lint = Lint {
    code: "NX507",
    name: "label-typo",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A label's name, or a severity, is one letter away from one that the other rules use.",
        why: "A route that looks for `severity` does not see `severty`, and a selector on `instnace` selects nothing: neither \
              is an error. Told of is what occurs once where its neighbour occurs three times or more.",
        wrong: "- {alert: A, expr: up == 0, labels: {severity: page}}
- {alert: B, expr: up == 0, labels: {severity: page}}
- {alert: C, expr: up == 0, labels: {severity: page}}
- {alert: D, expr: up == 0, labels: {severty: page}}",
        right: "- {alert: A, expr: up == 0, labels: {severity: page}}
- {alert: B, expr: up == 0, labels: {severity: page}}
- {alert: C, expr: up == 0, labels: {severity: page}}
- {alert: D, expr: up == 0, labels: {severity: page}}",
        needs_server: false,
    },
    check: Check::Files(check),
};

/// Shortest word that a slip is seen in: short ones are near to each other anyhow.
const LETTERS_MIN: usize = 5;
/// How often a word must occur to be one that everybody uses.
const COMMON_MIN: usize = 3;
/// Words that are looked at; each is compared with each.
const WORDS_MAX: usize = 2_000;

/// Labels whose values come from a short list.
const LISTED: [&str; 2] = ["severity", "priority"];

/// Words by how often they occur, with the last place of each.
type Words<'v> = BTreeMap<&'v str, (usize, RuleView<'v>, Position)>;

fn check(view: &View<'_>, report: &mut Report<'_>) {
    let (mut added, mut selected, mut values) = (Words::new(), Words::new(), Words::new());
    for rule in view.rules() {
        for (name, value) in &rule.rule.labels {
            count(&mut added, name, rule, || rule.place_of_label(name));
            if LISTED.contains(&name.as_str()) && !value.contains("{{") {
                count(&mut values, value, rule, || rule.place_of_label(name));
            }
        }
        let mut found: BTreeMap<&str, promql::ast::Span> = BTreeMap::new();
        rule.expr().walk(&mut |expr| {
            let (matchers, span) = match &expr.kind {
                ExprKind::Vector(selector) => (&selector.matchers, expr.span),
                ExprKind::Matrix(matrix) => (&matrix.selector.matchers, matrix.selector_span),
                ExprKind::Aggregate(aggregate) => {
                    let labels = aggregate.grouping.iter().flat_map(|grouping| &grouping.labels);
                    found.extend(labels.map(|label| (label.as_str(), expr.span)));
                    return;
                }
                _ => return,
            };
            let names = matchers.iter().map(|matcher| matcher.name.as_str());
            found.extend(names.filter(|name| *name != METRIC_NAME).map(|name| (name, span)));
        });
        for (name, span) in found {
            count(&mut selected, name, rule, || rule.place(span));
        }
    }
    for (words, what) in [(&added, "label"), (&selected, "label"), (&values, "value")] {
        tell(words, what, report);
    }
}

fn count<'v>(words: &mut Words<'v>, word: &'v str, rule: RuleView<'v>, place: impl FnOnce() -> Position) {
    match words.get_mut(word) {
        Some((times, ..)) => *times += 1,
        None => {
            words.insert(word, (1, rule, place()));
        }
    }
}

fn tell(words: &Words<'_>, what: &str, report: &mut Report<'_>) {
    let common = || {
        words
            .iter()
            .filter(|(_, (times, ..))| *times >= COMMON_MIN)
            .take(WORDS_MAX)
    };
    let rare = words.iter().filter(|(_, (times, ..))| *times == 1);
    for (word, (_, rule, place)) in rare.take(WORDS_MAX) {
        if let Some((meant, (times, ..))) = common().find(|(common, _)| is_slip(word, common)) {
            report
                .add(
                    rule,
                    *place,
                    format!("the {what} `{word}` occurs once, and `{meant}` {times} times"),
                )
                .help(format!("did you mean `{meant}`?"));
        }
    }
}

/// One letter is another, missing, doubled or at its neighbour's place; numbers and plurals are meant.
fn is_slip(word: &str, common: &str) -> bool {
    let is_plural = |a: &str, b: &str| a.strip_suffix('s') == Some(b);
    let letters = |word: &str| word.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    word.len() >= LETTERS_MIN
        && word.len().abs_diff(common.len()) <= 1
        && distance(word, common) == 1
        && !is_plural(word, common)
        && !is_plural(common, word)
        && letters(word) != letters(common)
}
