//! NX503: a star that repeats a letter.

use model::matcher::{MatchOp, Matcher};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX503",
    name: "glob-in-regex",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A regular expression is written like a file pattern: `node-*`.",
        why: "In a regular expression `*` repeats what stands in front of it: `node-*` matches `node`, `node-` and `node--`, \
              and not `node-1`. Anything is `.*`.",
        wrong: "- alert: NodeDown
  expr: up{instance=~\"node-*\"} == 0",
        right: "- alert: NodeDown
  expr: up{instance=~\"node-.*\"} == 0",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    for (selector, span) in rule.selectors() {
        for matcher in selector.matchers.iter().filter(|matcher| is_glob(matcher)) {
            report
                .add(
                    rule,
                    rule.place_of_matcher(span, matcher),
                    format!(
                        "`*` repeats the character in front of it: {}\"{}\" does not mean \"begins with\"",
                        matcher.op.as_str(),
                        matcher.value
                    ),
                )
                .help("anything is `.*`");
        }
    }
}

/// A letter, digit or dash and a star, at the end of an alternative, in a pattern that is plain otherwise.
fn is_glob(matcher: &Matcher) -> bool {
    if !matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex) {
        return false;
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_/:@ ".contains(c);
    let mut alternatives = matcher.value.split('|');
    alternatives.any(|alternative| {
        let begin = alternative.strip_suffix('*').filter(|begin| !begin.is_empty());
        begin.is_some_and(|begin| begin.chars().all(is_plain))
    })
}
