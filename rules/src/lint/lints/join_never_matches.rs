//! NX602: a join on a label that one side lacks.

use model::labels::METRIC_NAME;
use promql::ast::{BinaryOp, ExprKind, VectorMatching};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::labels::{self, LabelSet, Presence};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX602",
    name: "join-never-matches",
    severity: Severity::Error,
    explanation: Explanation {
        what: "Two vectors are matched by a label that one side has and the other cannot have.",
        why: "Series match where the labels have the same values; a label that is missing has the empty value. Where an \
              aggregation has dropped the label on one side only, nothing matches: the result is empty (and with `unless` \
              it is everything). Match by the labels that both sides have, or keep the label on both.",
        wrong: "- record: errors:share
  expr: sum by (job, code) (rate(errors_total[5m])) / sum by (job) (rate(requests_total[5m]))",
        right: "- record: errors:share
  expr: sum by (job, code) (rate(errors_total[5m])) / on (job) group_left sum by (job) (rate(requests_total[5m]))",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    rule.expr().walk(&mut |expr| {
        let ExprKind::Binary(binary) = &expr.kind else {
            return;
        };
        let Some(matching) = &binary.matching else { return };
        // Nothing has to match.
        if binary.op == BinaryOp::Or {
            return;
        }
        let (left, right) = (labels::of(&binary.lhs), labels::of(&binary.rhs));
        let one_sided = one_sided(&left, &right, matching)
            .map(|name| (name, "right"))
            .or_else(|| Some((one_sided(&right, &left, matching)?, "left")));
        let Some((name, side)) = one_sided else { return };
        let message = match binary.op {
            BinaryOp::Unless => format!("nothing is taken away: the {side} side has no label `{name}`"),
            _ => format!("nothing matches: the {side} side has no label `{name}`"),
        };
        report.add(rule, rule.place(expr.span), message).help(
            "match by labels that both sides have: `on (…)`, with `group_left` where one side has more",
        );
    });
}

/// A matched label that series of `has` have, and no series of `lacks`.
fn one_sided(has: &LabelSet, lacks: &LabelSet, matching: &VectorMatching) -> Option<String> {
    let is_there = |name: &str| has.presence(name) >= Presence::Named;
    let is_one_sided =
        |name: &&str| *name != METRIC_NAME && is_there(name) && lacks.presence(name) == Presence::Never;
    if matching.on {
        let mut names = matching.labels.iter().map(String::as_str);
        return names.find(is_one_sided).map(str::to_owned);
    }
    let ignored = |name: &str| matching.labels.iter().any(|label| label == name);
    let mut names = has.possible().map(|(name, _)| name).filter(|name| !ignored(name));
    names.find(is_one_sided).map(str::to_owned)
}
