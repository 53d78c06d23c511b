//! Which parts of a query are the same at every step.

use crate::ast::{Call, Expr, ExprKind};

/// Functions whose result depends on the time of evaluation though their arguments do not.
const OF_THE_TIME: [&str; 11] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// Whether `expr` gives the same at every step: all its selectors are pinned by `@`, and it does not look at the time.
pub(super) fn is_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Vector(selector) => selector.modifiers.at.is_some(),
        ExprKind::Matrix(matrix) => matrix.selector.modifiers.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.modifiers.at.is_some(),
        ExprKind::Paren(inner) => is_invariant(inner),
        ExprKind::Unary(unary) => is_invariant(&unary.expr),
        // Chains of operators are deep on the left: the right side often tells without going down there.
        ExprKind::Binary(binary) => is_invariant(&binary.rhs) && is_invariant(&binary.lhs),
        // Compat: the parameter is not asked, and so is taken from the first step where the vector is pinned.
        ExprKind::Aggregate(aggregate) => is_invariant(&aggregate.expr),
        ExprKind::Call(call) => is_invariant_call(call),
    }
}

fn is_invariant_call(call: &Call) -> bool {
    match call.function.name {
        "start" | "end" | "range" | "step" => true,
        // The timestamp of a pinned sample is fixed; that of a computed one is the step's.
        "timestamp" => call
            .args
            .iter()
            .all(|arg| matches!(arg.without_parens().kind, ExprKind::Vector(_)) && is_invariant(arg)),
        name if OF_THE_TIME.contains(&name) => false,
        _ => call.args.iter().all(is_invariant),
    }
}
