//! What the labels of a node's series can have in common, found from the plan alone.

use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};

use crate::ast::{BinaryOp, Cardinality, Grouping};

use super::{Join, Naming};

/// Of the series that a selector finds.
pub(super) fn of_selector(matchers: &[Matcher], type_and_unit_labels: bool) -> Naming {
    let named = matchers
        .iter()
        .any(|matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal);
    // Type and unit go with the name, and series of one name may differ in them.
    if named && !type_and_unit_labels {
        Naming::Uniform
    } else {
        Naming::Various
    }
}

/// Of the groups of an aggregation.
pub(super) fn of_groups(grouping: &Grouping, input: Naming) -> Naming {
    let keeps_name = match grouping.without {
        true => false,
        false => grouping
            .labels
            .iter()
            .any(|label| matches!(label.as_str(), METRIC_NAME | "__type__" | "__unit__")),
    };
    match (keeps_name, grouping.without) {
        (true, _) => input,
        // `without` keeps type and unit.
        (false, true) => input,
        (false, false) => Naming::Uniform,
    }
}

/// Of an operation's results.
pub(super) fn of_join(join: &Join, lhs: Naming, rhs: Naming) -> Naming {
    if drops_name(join.op, join.return_bool) {
        return match join.include.iter().any(|label| label == METRIC_NAME) {
            true => Naming::Various,
            false => Naming::Uniform,
        };
    }
    let many = match join.cardinality {
        Cardinality::OneToMany => rhs,
        _ => lhs,
    };
    match join.include.is_empty() && join.fill_left.is_none() && join.fill_right.is_none() {
        true => many,
        false => Naming::Various,
    }
}

/// Whether results of an operation are not of the metric any more.
pub(crate) fn drops_name(op: BinaryOp, return_bool: bool) -> bool {
    return_bool
        || matches!(
            op,
            BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Div
                | BinaryOp::Mod
                | BinaryOp::Pow
                | BinaryOp::Atan2
        )
}
