//! NX203: an alert that fires for whatever there is.

use model::matcher::{MatchOp, Matcher};
use model::stack::deep;
use promql::ast::{BinaryOp, Expr, ExprKind, Span, ValueType, VectorSelector};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::facts::metric_name;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX203",
    name: "alert-without-condition",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "An alert whose expression does not compare anything.",
        why: "An alert fires for every series of its result, whatever the value is, be it 0. Without a comparison, that is \
              for every series that there is. A comparison with `bool` does not filter either: it gives 0 and 1, and both \
              fire; `--fix` takes such a `bool` away. Selectors with a regular expression ask whether there \
              is such a series, and are not told of. What is meant to fire always says so with `vector(1)`.",
        wrong: "- alert: UnitFailed
  expr: node_systemd_unit_state{state=\"failed\"}",
        right: "- alert: UnitFailed
  expr: node_systemd_unit_state{state=\"failed\"} == 1",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    if !rule.is_alert() || is_constant(rule.expr()) {
        return;
    }
    let mut found = Vec::new();
    unconditional(rule, rule.expr(), &mut found);
    let Some(part) = found.first() else { return };
    let bool_of = found.iter().find_map(|part| bool_span(part, rule.expr_text()));
    let is_whole = part.span == rule.expr().without_parens().span;
    let message = match (bool_of, is_whole) {
        (Some(_), _) => "`bool` makes this comparison give 0 or 1, and the alert fires for both",
        (None, true) => "nothing is compared: the alert fires for every series that there is",
        (None, false) => "this side of `or` compares nothing: the alert fires for every series that it has",
    };
    let finding = report.add(rule, rule.place(part.span), message);
    match bool_of {
        Some(span) => {
            finding.help("leave out `bool`: only what passes is left then");
            finding.fix = rule.fix(span, "");
        }
        None => {
            finding.help("compare it with something: `… > 0`");
        }
    }
}

/// `vector(1)`: what is meant to fire always.
fn is_constant(expr: &Expr) -> bool {
    match &expr.without_parens().kind {
        ExprKind::Number(_) => true,
        ExprKind::Call(call) if call.function.name == "vector" => call.args.iter().all(is_constant),
        _ => false,
    }
}

/// The parts that give a series whatever its value.
fn unconditional<'e>(rule: &RuleView<'_>, expr: &'e Expr, found: &mut Vec<&'e Expr>) {
    deep(|| match &expr.kind {
        ExprKind::Paren(inner) => unconditional(rule, inner, found),
        ExprKind::Binary(binary) if binary.op == BinaryOp::Or => {
            unconditional(rule, &binary.lhs, found);
            unconditional(rule, &binary.rhs, found);
        }
        _ if !is_conditional(rule, expr) => found.push(expr),
        _ => {}
    });
}

fn is_conditional(rule: &RuleView<'_>, expr: &Expr) -> bool {
    deep(|| match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => false,
        ExprKind::Vector(selector) => selects_conditions(rule, selector),
        ExprKind::Matrix(matrix) => selects_conditions(rule, &matrix.selector),
        ExprKind::Subquery(subquery) => is_conditional(rule, &subquery.expr),
        ExprKind::Paren(inner) => is_conditional(rule, inner),
        ExprKind::Unary(unary) => is_conditional(rule, &unary.expr),
        ExprKind::Aggregate(aggregate) => is_conditional(rule, &aggregate.expr),
        ExprKind::Call(call) => match call.function.name {
            "absent" | "absent_over_time" | "present_over_time" => true,
            _ => {
                let is_vector =
                    |arg: &&Expr| matches!(arg.value_type(), ValueType::Vector | ValueType::Matrix);
                let arg = call.args.iter().find(is_vector).or(call.args.first());
                arg.is_some_and(|arg| is_conditional(rule, arg))
            }
        },
        ExprKind::Binary(binary) => match binary.op {
            op if op.is_comparison() && !binary.return_bool => true,
            BinaryOp::And | BinaryOp::Unless => true,
            _ => {
                let sides = [&binary.lhs, &binary.rhs];
                let vectors = sides.iter().filter(|side| side.value_type() != ValueType::Scalar);
                vectors.into_iter().any(|side| is_conditional(rule, side))
            }
        },
    })
}

/// Series that are there only while something is the case: alerts, what recording rules have filtered, and what is looked
/// for by a regular expression.
fn selects_conditions(rule: &RuleView<'_>, selector: &VectorSelector) -> bool {
    let by_regex = |matcher: &Matcher| matcher.op == MatchOp::Regex;
    let Some(name) = metric_name(selector) else {
        return true;
    };
    selector.matchers.iter().any(by_regex)
        || matches!(name, "ALERTS" | "ALERTS_FOR_STATE")
        || name.contains(':')
        || rule.view.recorded.contains(name)
}

/// The `bool` of a comparison and the space behind it.
fn bool_span(expr: &Expr, text: &str) -> Option<Span> {
    let ExprKind::Binary(binary) = &expr.without_parens().kind else {
        return None;
    };
    // Between two numbers it must stay.
    if !binary.return_bool || expr.value_type() == ValueType::Scalar {
        return None;
    }
    let (begin, end) = (binary.lhs.span.end, binary.rhs.span.start);
    let between = text.get(begin as usize..end as usize)?;
    let at = between.find("bool ")? as u32;
    Some(Span {
        start: begin + at,
        end: begin + at + 5,
    })
}
