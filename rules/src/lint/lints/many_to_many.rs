//! NX601: a join whose one side is many.

use model::labels::METRIC_NAME;
use promql::ast::{Binary, Cardinality, Expr, ExprKind, VectorMatching};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::labels::{self, Presence};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX601",
    name: "many-to-many",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A side of a join that may have one series for each match has several.",
        why: "Where both sides have several series with the same matching labels, the evaluation fails (\"many-to-many \
              matching not allowed\"), and the rule gives nothing from then on. Told of are sides that were aggregated by \
              labels which the join does not match. Aggregate that side by the labels of `on`, match more labels, or say \
              with `group_left` or `group_right` which side is many.",
        wrong: "- record: pod:cpu:owned
  expr: pod_cpu * on (pod) group_left (owner) sum by (pod, owner, uid) (pod_owner)",
        right: "- record: pod:cpu:owned
  expr: pod_cpu * on (pod, uid) group_left (owner) max by (pod, uid, owner) (pod_owner)",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    rule.expr().walk(&mut |expr| {
        let ExprKind::Binary(binary) = &expr.kind else { return };
        let Some(matching) = &binary.matching else { return };
        for side in one_sides(binary, matching) {
            let more = labels_beyond(side, matching);
            if more.is_empty() {
                continue;
            }
            let names: Vec<String> = more.iter().map(|name| format!("`{name}`")).collect();
            report
                .add(
                    rule,
                    rule.place(side.span),
                    format!(
                        "this side may have several series for a match: it has {}, which the join does not look at",
                        names.join(", ")
                    ),
                )
                .help("aggregate it by the labels that are matched, or match these too");
        }
    });
}

/// The sides of which a match may have one series.
fn one_sides<'e>(binary: &'e Binary, matching: &VectorMatching) -> Vec<&'e Expr> {
    match matching.cardinality {
        Cardinality::OneToOne => vec![&binary.lhs, &binary.rhs],
        Cardinality::ManyToOne => vec![&binary.rhs],
        Cardinality::OneToMany => vec![&binary.lhs],
        Cardinality::ManyToMany => Vec::new(),
    }
}

/// Labels by which series of `side` differ and that are not matched. None where it is not known which labels it has.
fn labels_beyond(side: &Expr, matching: &VectorMatching) -> Vec<String> {
    let labels = labels::of(side);
    if !labels.is_closed() {
        return Vec::new();
    }
    let is_matched = |name: &str| matching.labels.iter().any(|label| label == name) == matching.on;
    // A label that the join takes over is there because it differs, and belongs to what is matched: one pod has one owner.
    let is_taken_over = |name: &str| matching.include.iter().any(|label| label == name);
    labels
        .possible()
        .filter(|(name, presence)| *presence != Presence::Constant && *name != METRIC_NAME)
        .filter(|(name, _)| !is_matched(name) && !is_taken_over(name))
        .map(|(name, _)| name.to_owned())
        .collect()
}
