//! NX505: a selector without a metric.

use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX505",
    name: "selects-everything",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A selector does not say which metrics it wants.",
        why: "It reads every series that has the other labels, at each evaluation: for a job, all that its targets give. \
              Name a metric that stands for them, `up` for instance.",
        wrong: "- alert: NothingFromApi
  expr: absent({job=\"api\"})",
        right: "- alert: NothingFromApi
  expr: absent(up{job=\"api\"})",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    for (selector, span) in rule.selectors() {
        if !selector.matchers.iter().any(names_metrics) {
            report
                .add(
                    rule,
                    rule.place(span),
                    "this selects series of every metric, at each evaluation",
                )
                .help("name the metric");
        }
    }
}

/// Whether a matcher picks some metrics out of all.
fn names_metrics(matcher: &Matcher) -> bool {
    if matcher.name != METRIC_NAME {
        return false;
    }
    match (matcher.op, matcher.regex()) {
        (MatchOp::Equal, _) => true,
        (MatchOp::Regex, Some(regex)) => !regex.matches_everything() && !regex.matches_non_empty(),
        _ => false,
    }
}
