//! Which nodes a node works on.

use super::{NodeId, NodeKind, Scalar};

impl NodeKind {
    /// Calls `f` for every node that this one works on, in the order in which they stand in the query: vectors first,
    /// then those that its scalars are made of.
    pub(crate) fn for_each_child(&self, f: &mut dyn FnMut(NodeId)) {
        match self {
            NodeKind::Select(_) | NodeKind::Nothing => {}
            NodeKind::Range(select) => of_scalars(&select.args, f),
            NodeKind::FromScalar(scalar) => of_scalar(scalar, f),
            NodeKind::Subquery(call) => {
                f(call.child);
                of_scalars(&call.args, f);
            }
            NodeKind::Element { child, args, .. } | NodeKind::Buckets { child, args, .. } => {
                f(*child);
                of_scalars(args, f);
            }
            NodeKind::WithScalar { vector, scalar, .. } => {
                f(*vector);
                of_scalar(scalar, f);
            }
            NodeKind::Aggregate { child, param, .. } => {
                f(*child);
                of_scalars(param.as_slice(), f);
            }
            NodeKind::StepTime(child)
            | NodeKind::Negate(child)
            | NodeKind::Repeat(child)
            | NodeKind::Absent { child, .. }
            | NodeKind::Sort { child, .. } => f(*child),
            NodeKind::LabelReplace(replace) => f(replace.child),
            NodeKind::LabelJoin(join) => f(join.child),
            NodeKind::Info(info) => f(info.child),
            NodeKind::Join(join) => {
                f(join.lhs);
                f(join.rhs);
            }
            NodeKind::Set { lhs, rhs, .. } => {
                f(*lhs);
                f(*rhs);
            }
        }
    }
}

fn of_scalars(scalars: &[Scalar], f: &mut dyn FnMut(NodeId)) {
    scalars.iter().for_each(|scalar| of_scalar(scalar, f));
}

/// The nodes that a scalar is made of.
pub(crate) fn of_scalar(scalar: &Scalar, f: &mut dyn FnMut(NodeId)) {
    match scalar {
        Scalar::Constant(_) | Scalar::Time => {}
        Scalar::Of(node) => f(*node),
        Scalar::Negate(operand) => of_scalar(operand, f),
        Scalar::Binary { lhs, rhs, .. } => {
            of_scalar(lhs, f);
            of_scalar(rhs, f);
        }
        Scalar::MinMax { args, .. } => of_scalars(&args[..], f),
    }
}
