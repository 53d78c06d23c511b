//! NX703: two alerts that cannot be told apart.

use promql::ast::{Expr, ExprKind};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::view::{View, grouped};

pub(super) static LINT: Lint = Lint {
    code: "NX703",
    name: "shadowed-alert",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "Two alerts have the same name and labels, and expressions that differ in numbers only.",
        why: "Both make alerts with the same labels, and whoever is notified sees one: the looser condition hides the \
              stricter one, and each resolves what the other one fires. Give them different labels, severities for \
              instance.",
        wrong: "- {alert: DiskFull, expr: disk_used_ratio > 0.8, labels: {severity: warning}}
- {alert: DiskFull, expr: disk_used_ratio > 0.9, labels: {severity: warning}}",
        right: "- {alert: DiskFull, expr: disk_used_ratio > 0.8, labels: {severity: warning}}
- {alert: DiskFull, expr: disk_used_ratio > 0.9, labels: {severity: critical}}",
        needs_server: false,
    },
    check: Check::Files(check),
};

fn check(view: &View<'_>, report: &mut Report<'_>) {
    let rules = view
        .rules()
        .filter(super::super::view::RuleView::is_alert)
        .map(|rule| {
            let key = (
                rule.rule.name.as_str(),
                rule.added_labels(),
                without_numbers(rule.expr()),
            );
            (key, rule)
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
                    format!(
                        "the alert at {} has the same name and labels, and asks for another number",
                        first.told_from(rule)
                    ),
                )
                .help("give them labels that tell them apart, a severity for instance");
        }
    }
}

/// The expression with 0 for every number.
fn without_numbers(expr: &Expr) -> String {
    let mut expr = expr.clone();
    let mut waiting = vec![&mut expr];
    while let Some(part) = waiting.pop() {
        match &mut part.kind {
            ExprKind::Number(number) => number.value = 0.0,
            ExprKind::Subquery(subquery) => waiting.push(&mut subquery.expr),
            ExprKind::Call(call) => waiting.extend(call.args.iter_mut()),
            ExprKind::Aggregate(aggregate) => waiting.push(&mut aggregate.expr),
            ExprKind::Binary(binary) => waiting.extend([&mut *binary.lhs, &mut *binary.rhs]),
            ExprKind::Unary(unary) => waiting.push(&mut unary.expr),
            ExprKind::Paren(inner) => waiting.push(inner),
            ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {}
        }
    }
    expr.to_string()
}
