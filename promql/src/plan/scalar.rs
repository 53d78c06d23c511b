//! Scalar-valued parts: small trees inside the nodes that use them, which may be as deep as a query has operators.

use std::mem;

use model::stack::deep;

use super::NodeId;
use crate::ast::BinaryOp;

/// A scalar-valued part of the query.
#[derive(Debug)]
pub(crate) enum Scalar {
    /// The same at every step.
    Constant(f64),
    /// `time()`
    Time,
    /// `scalar(vector)`
    Of(NodeId),
    /// `-scalar`
    Negate(Box<Scalar>),
    /// Two scalars.
    Binary {
        /// Which operation.
        op: BinaryOp,
        /// Left operand.
        lhs: Box<Scalar>,
        /// Right operand.
        rhs: Box<Scalar>,
    },
    /// `min_of` and `max_of`
    MinMax {
        /// The larger, not the smaller.
        max: bool,
        /// The two.
        args: Box<[Scalar; 2]>,
    },
}

impl Scalar {
    fn is_leaf(&self) -> bool {
        matches!(self, Scalar::Constant(_) | Scalar::Time | Scalar::Of(_))
    }

    /// Moves the operands that have operands themselves to `waiting`.
    fn take_branches(&mut self, waiting: &mut Vec<Scalar>) {
        let operands: [Option<&mut Scalar>; 2] = match self {
            Scalar::Constant(_) | Scalar::Time | Scalar::Of(_) => return,
            Scalar::Negate(operand) => [Some(operand), None],
            Scalar::Binary { lhs, rhs, .. } => [Some(lhs), Some(rhs)],
            Scalar::MinMax { args, .. } => args.each_mut().map(Some),
        };
        for operand in operands
            .into_iter()
            .flatten()
            .filter(|operand| !operand.is_leaf())
        {
            waiting.push(mem::replace(operand, Scalar::Time));
        }
    }
}

impl Clone for Scalar {
    fn clone(&self) -> Self {
        deep(|| match self {
            Scalar::Constant(value) => Scalar::Constant(*value),
            Scalar::Time => Scalar::Time,
            Scalar::Of(node) => Scalar::Of(*node),
            Scalar::Negate(operand) => Scalar::Negate(operand.clone()),
            Scalar::Binary { op, lhs, rhs } => Scalar::Binary {
                op: *op,
                lhs: lhs.clone(),
                rhs: rhs.clone(),
            },
            Scalar::MinMax { max, args } => Scalar::MinMax {
                max: *max,
                args: args.clone(),
            },
        })
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        deep(|| match (self, other) {
            (Scalar::Constant(a), Scalar::Constant(b)) => a == b,
            (Scalar::Time, Scalar::Time) => true,
            (Scalar::Of(a), Scalar::Of(b)) => a == b,
            (Scalar::Negate(a), Scalar::Negate(b)) => a == b,
            (
                Scalar::Binary { op, lhs, rhs },
                Scalar::Binary {
                    op: other_op,
                    lhs: other_lhs,
                    rhs: other_rhs,
                },
            ) => op == other_op && rhs == other_rhs && lhs == other_lhs,
            (
                Scalar::MinMax { max, args },
                Scalar::MinMax {
                    max: other_max,
                    args: other_args,
                },
            ) => max == other_max && args == other_args,
            _ => false,
        })
    }
}

/// Taken apart in a loop, so that dropping a deep one does not exhaust the stack.
impl Drop for Scalar {
    fn drop(&mut self) {
        let mut waiting = Vec::new();
        self.take_branches(&mut waiting);
        while let Some(mut scalar) = waiting.pop() {
            scalar.take_branches(&mut waiting);
        }
    }
}
