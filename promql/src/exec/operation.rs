//! Arithmetic and comparison of floats.

use crate::ast::BinaryOp;
use crate::kernels::ScalarArg;
use crate::row::{Bits, Row};

/// Runs `$body` with `$f` bound to the arithmetic that `$op` stands for, compiled once an operator so that loops over
/// rows can be vectorised. Operators that are not arithmetic give NaN.
macro_rules! with_arithmetic {
    ($op:expr, $f:ident => $body:expr) => {
        match $op {
            BinaryOp::Add => with_arithmetic!(@ $f = |a: f64, b: f64| a + b; $body),
            BinaryOp::Sub => with_arithmetic!(@ $f = |a: f64, b: f64| a - b; $body),
            BinaryOp::Mul => with_arithmetic!(@ $f = |a: f64, b: f64| a * b; $body),
            BinaryOp::Div => with_arithmetic!(@ $f = |a: f64, b: f64| a / b; $body),
            BinaryOp::Mod => with_arithmetic!(@ $f = |a: f64, b: f64| a % b; $body),
            BinaryOp::Pow => with_arithmetic!(@ $f = f64::powf; $body),
            BinaryOp::Atan2 => with_arithmetic!(@ $f = f64::atan2; $body),
            _ => with_arithmetic!(@ $f = |_: f64, _: f64| f64::NAN; $body),
        }
    };
    (@ $f:ident = $value:expr; $body:expr) => {{
        let $f = $value;
        $body
    }};
}

/// The comparison that `op` stands for, if it is one.
pub(crate) fn comparison(op: BinaryOp) -> Option<fn(f64, f64) -> bool> {
    Some(match op {
        BinaryOp::Equal => |a, b| a == b,
        BinaryOp::NotEqual => |a, b| a != b,
        BinaryOp::Greater => |a, b| a > b,
        BinaryOp::Less => |a, b| a < b,
        BinaryOp::GreaterEqual => |a, b| a >= b,
        BinaryOp::LessEqual => |a, b| a <= b,
        _ => return None,
    })
}

/// Whether `op` removes buckets from histograms.
pub(crate) fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper)
}

/// An operation on two scalars; comparisons give 1 or 0.
pub(crate) fn scalar_operation(op: BinaryOp, a: f64, b: f64) -> f64 {
    match comparison(op) {
        Some(holds) => f64::from(u8::from(holds(a, b))),
        None => with_arithmetic!(op, f => f(a, b)),
    }
}

/// Combines the floats of `row` with a scalar, in place. Comparisons keep the row's values where they hold, or give 1
/// and 0 with `return_bool`. Absent steps stay absent and hold 0.
pub(crate) fn with_scalar(
    op: BinaryOp,
    row: &mut Row,
    scalar: ScalarArg<'_>,
    scalar_left: bool,
    return_bool: bool,
) {
    let Row { values, present, .. } = row;
    if let Some(holds) = comparison(op) {
        for (step, value) in values.iter_mut().enumerate() {
            if !present.get(step) {
                continue;
            }
            let other = scalar.at(step);
            let holds = if scalar_left {
                holds(other, *value)
            } else {
                holds(*value, other)
            };
            settle(value, present, step, holds, return_bool);
        }
        return;
    }
    with_arithmetic!(op, f => match (scalar, scalar_left) {
        (ScalarArg::Constant(b), false) => values.iter_mut().for_each(|a| *a = f(*a, b)),
        (ScalarArg::Constant(a), true) => values.iter_mut().for_each(|b| *b = f(a, *b)),
        (ScalarArg::PerStep(others), false) => values.iter_mut().zip(others).for_each(|(a, b)| *a = f(*a, *b)),
        (ScalarArg::PerStep(others), true) => values.iter_mut().zip(others).for_each(|(b, a)| *b = f(*a, *b)),
    });
    clear_absent(values, present);
}

/// Combines the floats of two rows where both have one, into `out`, which has the left row's values and, for
/// comparisons, keeps them where they hold.
pub(crate) fn with_row(op: BinaryOp, lhs: &[f64], rhs: &[f64], return_bool: bool, out: &mut Row) {
    let Row { values, present, .. } = out;
    if let Some(holds) = comparison(op) {
        values.copy_from_slice(lhs);
        for (step, value) in values.iter_mut().enumerate() {
            if present.get(step) {
                settle(value, present, step, holds(lhs[step], rhs[step]), return_bool);
            }
        }
    } else {
        with_arithmetic!(op, f => {
            for ((value, a), b) in values.iter_mut().zip(lhs).zip(rhs) {
                *value = f(*a, *b);
            }
        });
    }
    clear_absent(values, present);
}

#[inline]
fn settle(value: &mut f64, present: &mut Bits, step: usize, holds: bool, return_bool: bool) {
    if return_bool {
        *value = f64::from(u8::from(holds));
    } else if !holds {
        *value = 0.0;
        present.unset(step);
    }
}

/// Makes absent steps hold 0 again.
pub(crate) fn clear_absent(values: &mut [f64], present: &Bits) {
    if present.count() < values.len() {
        for (step, value) in values.iter_mut().enumerate() {
            if !present.get(step) {
                *value = 0.0;
            }
        }
    }
}
