//! What is known of each part of a query before it is planned: its type, and whether it is the same at every step.
//!
//! Found for all parts in one pass from the leaves up: planning asks at every level, and a tree is as deep as a chain of
//! operators is long.

use foldhash::{HashMap, HashMapExt};

use crate::ast::{Call, Expr, ExprKind, ValueType};

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

/// The facts of a tree; parts are known by their address.
pub(super) struct Facts(HashMap<*const Expr, Fact>);

#[derive(Clone, Copy)]
struct Fact {
    value_type: ValueType,
    invariant: bool,
}

impl Facts {
    /// Of `root` and all below it.
    pub(super) fn of(root: &Expr) -> Self {
        let mut parts = Vec::new();
        root.walk(&mut |part| parts.push(part));
        let mut facts = Facts(HashMap::with_capacity(parts.len()));
        // Parents come first in the list.
        for part in parts.into_iter().rev() {
            let fact = facts.find(part);
            facts.0.insert(part, fact);
        }
        facts
    }

    /// The type of a part of the tree.
    pub(super) fn value_type(&self, part: &Expr) -> ValueType {
        self.get(part).value_type
    }

    /// Whether a part of the tree gives the same at every step: all its selectors are pinned by `@`, and it does not look
    /// at the time.
    pub(super) fn is_invariant(&self, part: &Expr) -> bool {
        self.get(part).invariant
    }

    fn get(&self, part: &Expr) -> Fact {
        let known = self.0.get(&std::ptr::from_ref(part)).copied();
        // A part of another tree; there is none.
        known.unwrap_or_else(|| self.find(part))
    }

    fn find(&self, part: &Expr) -> Fact {
        use ValueType::{Matrix, Scalar, String, Vector};
        let (value_type, invariant) = match &part.kind {
            ExprKind::Number(_) => (Scalar, true),
            ExprKind::String(_) => (String, true),
            ExprKind::Vector(selector) => (Vector, selector.modifiers.at.is_some()),
            ExprKind::Matrix(matrix) => (Matrix, matrix.selector.modifiers.at.is_some()),
            ExprKind::Subquery(subquery) => (Matrix, subquery.modifiers.at.is_some()),
            ExprKind::Paren(inner) => return self.get(inner),
            ExprKind::Unary(unary) => return self.get(&unary.expr),
            ExprKind::Binary(binary) => {
                let (lhs, rhs) = (self.get(&binary.lhs), self.get(&binary.rhs));
                let scalars = lhs.value_type == Scalar && rhs.value_type == Scalar;
                let value_type = if scalars { Scalar } else { Vector };
                (value_type, lhs.invariant && rhs.invariant)
            }
            // Compat: the parameter is not asked, and so is taken from the first step where the vector is pinned.
            ExprKind::Aggregate(aggregate) => (Vector, self.is_invariant(&aggregate.expr)),
            ExprKind::Call(call) => (call.function.return_type, self.is_invariant_call(call)),
        };
        Fact {
            value_type,
            invariant,
        }
    }

    fn is_invariant_call(&self, call: &Call) -> bool {
        match call.function.name {
            "start" | "end" | "range" | "step" => true,
            // The timestamp of a pinned sample is fixed; that of a computed one is the step's.
            "timestamp" => call.args.iter().all(|arg| {
                matches!(arg.without_parens().kind, ExprKind::Vector(_)) && self.is_invariant(arg)
            }),
            name if OF_THE_TIME.contains(&name) => false,
            _ => call.args.iter().all(|arg| self.is_invariant(arg)),
        }
    }
}
