//! NX702: two recording rules that write the same series.

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::labels::{LabelSet, Presence};
use crate::lint::view::{View, grouped};

pub(super) static LINT: Lint = Lint {
    code: "NX702",
    name: "same-output",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "Two recording rules with different expressions write series with the same name and the same labels.",
        why: "Both write to one series: the second sample of a time is refused, or the series jumps between the two. Give \
              them different names, or labels that tell them apart. Told of are expressions that are aggregated by the \
              same labels; of others it is not known which series they give.",
        wrong: "- record: job:traffic:rate5m
  expr: sum by (job) (rate(received_bytes_total[5m]))
- record: job:traffic:rate5m
  expr: sum by (job) (rate(sent_bytes_total[5m]))",
        right: "- record: job:traffic:rate5m
  expr: sum by (job) (rate(received_bytes_total[5m]))
  labels: {direction: in}
- record: job:traffic:rate5m
  expr: sum by (job) (rate(sent_bytes_total[5m]))
  labels: {direction: out}",
        needs_server: false,
    },
    check: Check::Files(check),
};

fn check(view: &View<'_>, report: &mut Report<'_>) {
    let rules = view.rules().filter(|rule| !rule.is_alert()).filter_map(|rule| {
        let labels = by_labels(rule.result_labels())?;
        Some(((rule.rule.name.as_str(), rule.added_labels(), labels), rule))
    });
    for (_, rules) in grouped(rules) {
        let [first, others @ ..] = rules.as_slice() else {
            continue;
        };
        let text = first.expr().to_string();
        for rule in others.iter().filter(|rule| rule.expr().to_string() != text) {
            report
                .add(
                    rule,
                    rule.place_of_name(),
                    format!("the rule at {} writes the same series", first.told_from(rule)),
                )
                .help("give them different names, or labels that tell them apart");
        }
    }
}

/// The labels by which series of a result differ, where it is known that there are no others.
fn by_labels(labels: &LabelSet) -> Option<Vec<&str>> {
    let is_constant = |(_, presence): (&str, Presence)| presence == Presence::Constant;
    let is_known = labels.is_closed() && !labels.possible().any(is_constant);
    is_known.then(|| labels.possible().map(|(name, _)| name).collect())
}
