//! NX504: a regular expression that is compared as text.

use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX504",
    name: "regex-in-equality",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A label is compared by `=` or `!=` with what looks like a regular expression.",
        why: "`=` compares letter by letter: `job=\"api|web\"` selects series whose job is called `api|web`. Regular \
              expressions are compared by `=~` and `!~`.",
        wrong: "- alert: Down
  expr: up{job=\"api|web\"} == 0",
        right: "- alert: Down
  expr: up{job=~\"api|web\"} == 0",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    for (selector, span) in rule.selectors() {
        for matcher in selector.matchers.iter().filter(|matcher| is_regex(matcher)) {
            let (op, instead) = match matcher.op {
                MatchOp::Equal => ("=", "=~"),
                _ => ("!=", "!~"),
            };
            report
                .add(
                    rule,
                    rule.place_of_matcher(span, matcher),
                    format!("`{op}` compares \"{}\" letter by letter", matcher.value),
                )
                .help(format!("a regular expression is compared by `{instead}`"));
        }
    }
}

fn is_regex(matcher: &Matcher) -> bool {
    if !matches!(matcher.op, MatchOp::Equal | MatchOp::NotEqual) || matcher.name == METRIC_NAME {
        return false;
    }
    let value = &matcher.value;
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let is_list = value.contains('|') && value.split('|').all(is_word);
    is_list || value.contains(".*") || value.contains(".+")
}
