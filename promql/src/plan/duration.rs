//! Durations, whose value may depend on the query's step and range.

use crate::ast::{BinaryOp, Duration, DurationExpr, DurationExprKind};

use super::{PlanContext, PlanError};

/// Seconds above which a duration does not fit: 2^63 nanoseconds.
const SECONDS_MAX: f64 = (1u64 << 63) as f64 / 1e9;

/// The value of `duration` in milliseconds; `signed` durations may be zero or negative.
pub(super) fn resolve(duration: &Duration, time: &PlanContext<'_>, signed: bool) -> Result<i64, PlanError> {
    let mut expr = match duration {
        Duration::Literal(ms) => return Ok(*ms),
        Duration::Expr(expr) => expr,
    };
    // Messages show the place inside parentheses.
    while let DurationExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    let seconds = evaluate(expr, time)?;
    if !seconds.is_finite() {
        return Err(PlanError::duration(expr.span, "duration is NaN or infinite"));
    }
    if seconds <= 0.0 && !signed {
        return Err(PlanError::duration(expr.span, "duration must be greater than 0"));
    }
    if seconds.abs() > SECONDS_MAX {
        return Err(PlanError::duration(expr.span, "duration is out of range"));
    }
    Ok((seconds * 1000.0) as i64)
}

/// The value of a duration expression in seconds.
fn evaluate(expr: &DurationExpr, time: &PlanContext<'_>) -> Result<f64, PlanError> {
    Ok(match &expr.kind {
        DurationExprKind::Number(number) => number.value,
        DurationExprKind::Step => time.step_ms as f64 / 1000.0,
        DurationExprKind::Range => (time.end_ms - time.start_ms) as f64 / 1000.0,
        DurationExprKind::MinMax { max, args } => {
            let (a, b) = (evaluate(&args[0], time)?, evaluate(&args[1], time)?);
            match (a.is_nan() || b.is_nan(), max) {
                (true, _) => f64::NAN,
                (false, true) => a.max(b),
                (false, false) => a.min(b),
            }
        }
        DurationExprKind::Unary { negative: true, expr } => -evaluate(expr, time)?,
        DurationExprKind::Unary { expr, .. } | DurationExprKind::Paren(expr) => evaluate(expr, time)?,
        DurationExprKind::Binary { op, lhs, rhs } => {
            let (a, b) = (evaluate(lhs, time)?, evaluate(rhs, time)?);
            match op {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Div if b == 0.0 => return Err(PlanError::duration(expr.span, "division by zero")),
                BinaryOp::Div => a / b,
                BinaryOp::Mod if b == 0.0 => return Err(PlanError::duration(expr.span, "modulo by zero")),
                BinaryOp::Mod => a % b,
                BinaryOp::Pow => a.powf(b),
                _ => {
                    return Err(PlanError::duration(
                        expr.span,
                        "unexpected duration expression operator",
                    ));
                }
            }
        }
    })
}
