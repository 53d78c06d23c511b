//! Which nodes a node works on.

use std::hash::{Hash, Hasher};
use std::mem;

use foldhash::fast::FixedState;
use model::matcher::Matcher;
use model::stack::deep;

use super::{NodeId, NodeKind, Scalar};
use crate::row::Steps;

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

impl NodeKind {
    /// A number that equal nodes have in common: what kind they are, of what, over which series.
    pub(super) fn fingerprint(&self, steps: Steps) -> u64 {
        use std::hash::BuildHasher;
        let mut hasher = FixedState::default().build_hasher();
        mem::discriminant(self).hash(&mut hasher);
        steps.hash(&mut hasher);
        self.for_each_child(&mut |child| child.hash(&mut hasher));
        let matchers: &[Matcher] = match self {
            NodeKind::Select(select) => &select.matchers,
            NodeKind::Range(select) => &select.source.matchers,
            _ => &[],
        };
        for matcher in matchers {
            (&matcher.name, matcher.op, &matcher.value).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn of_scalars(scalars: &[Scalar], f: &mut dyn FnMut(NodeId)) {
    scalars.iter().for_each(|scalar| of_scalar(scalar, f));
}

/// The nodes that a scalar is made of.
pub(crate) fn of_scalar(scalar: &Scalar, f: &mut dyn FnMut(NodeId)) {
    deep(|| of_scalar_here(scalar, f));
}

fn of_scalar_here(scalar: &Scalar, f: &mut dyn FnMut(NodeId)) {
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
