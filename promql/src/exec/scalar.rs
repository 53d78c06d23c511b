//! Scalars: one number a step, or one for all.

use model::stack::deep;

use crate::engine::QueryError;
use crate::kernels::ScalarArg;
use crate::plan::{NodeKind, Scalar};
use crate::row::Steps;

use super::Execution;
use super::operation::scalar_operation;

/// The values of a scalar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalars {
    /// The same at every step.
    Constant(f64),
    /// One a step.
    Steps(Vec<f64>),
}

impl Scalars {
    /// Value at step `index`; NaN behind the last one.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> f64 {
        self.as_arg().at(index)
    }

    /// As kernels take it.
    pub(crate) fn as_arg(&self) -> ScalarArg<'_> {
        match self {
            Scalars::Constant(value) => ScalarArg::Constant(*value),
            Scalars::Steps(values) => ScalarArg::PerStep(values),
        }
    }

    /// The values at `count` steps.
    pub(crate) fn into_steps(self, count: usize) -> Vec<f64> {
        match self {
            Scalars::Constant(value) => vec![value; count],
            Scalars::Steps(values) => values,
        }
    }

    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        match self {
            Scalars::Constant(value) => Scalars::Constant(f(value)),
            Scalars::Steps(mut values) => {
                values.iter_mut().for_each(|value| *value = f(*value));
                Scalars::Steps(values)
            }
        }
    }

    fn zip(self, other: Scalars, f: impl Fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (Scalars::Constant(a), other) => other.map(|b| f(a, b)),
            (this, Scalars::Constant(b)) => this.map(|a| f(a, b)),
            (Scalars::Steps(mut values), Scalars::Steps(others)) => {
                values.iter_mut().zip(others).for_each(|(a, b)| *a = f(*a, b));
                Scalars::Steps(values)
            }
        }
    }
}

/// As kernels take them.
pub(crate) fn as_args(scalars: &[Scalars]) -> Vec<ScalarArg<'_>> {
    scalars.iter().map(Scalars::as_arg).collect()
}

impl Execution<'_> {
    /// The values of `scalar` at `steps`.
    pub(crate) fn scalar(&self, scalar: &Scalar, steps: Steps) -> Result<Scalars, QueryError> {
        deep(|| self.scalar_here(scalar, steps))
    }

    fn scalar_here(&self, scalar: &Scalar, steps: Steps) -> Result<Scalars, QueryError> {
        Ok(match scalar {
            Scalar::Constant(value) => Scalars::Constant(*value),
            Scalar::Time => {
                self.held.borrow_mut().add_bytes(8 * steps.count)?;
                Scalars::Steps((0..steps.count).map(|i| steps.at(i) as f64 / 1000.0).collect())
            }
            Scalar::Negate(operand) => self.scalar(operand, steps)?.map(|value| -value),
            Scalar::Binary { op, lhs, rhs } => {
                let (lhs, rhs) = (self.scalar(lhs, steps)?, self.scalar(rhs, steps)?);
                self.free_one(&lhs, &rhs, steps);
                lhs.zip(rhs, |a, b| scalar_operation(*op, a, b))
            }
            Scalar::MinMax { max, args } => {
                let (a, b) = (self.scalar(&args[0], steps)?, self.scalar(&args[1], steps)?);
                self.free_one(&a, &b, steps);
                match max {
                    true => a.zip(b, crate::functions::go_max),
                    false => a.zip(b, crate::functions::go_min),
                }
            }
            Scalar::Of(node) => {
                // What is the same at every step is looked at once.
                let node = match self.plan.node(*node).kind {
                    NodeKind::Repeat(child) => child,
                    _ => *node,
                };
                let count = self.plan.node(node).steps.count;
                let values = self.single_values(node)?;
                match (count, values.first()) {
                    (1, Some(value)) => Scalars::Constant(*value),
                    _ => {
                        self.held.borrow_mut().add_bytes(8 * count)?;
                        Scalars::Steps(values)
                    }
                }
            }
        })
    }

    /// Two become one: where both have values for each step, those of one are dropped.
    fn free_one(&self, a: &Scalars, b: &Scalars, steps: Steps) {
        if let (Scalars::Steps(_), Scalars::Steps(_)) = (a, b) {
            self.held.borrow_mut().free_bytes(8 * steps.count);
        }
    }

    /// All scalars of a node.
    pub(crate) fn scalars(&self, scalars: &[Scalar], steps: Steps) -> Result<Vec<Scalars>, QueryError> {
        scalars.iter().map(|scalar| self.scalar(scalar, steps)).collect()
    }
}
