//! Between which numbers the values of an expression lie.

use model::stack::deep;
use promql::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, ValueType};

use super::facts::metric_name;

/// Both ends included. Values may be NaN besides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) low: f64,
    pub(super) high: f64,
}

const ANY: Bounds = Bounds {
    low: f64::NEG_INFINITY,
    high: f64::INFINITY,
};
const NOT_NEGATIVE: Bounds = from(0.0);
const ONE: Bounds = between(1.0, 1.0);

const fn between(low: f64, high: f64) -> Bounds {
    Bounds { low, high }
}

const fn from(low: f64) -> Bounds {
    between(low, f64::INFINITY)
}

impl Bounds {
    /// The bounds of a computed pair; any where an end is no number (`Inf - Inf`).
    fn checked(ends: &[f64]) -> Bounds {
        if ends.iter().any(|end| end.is_nan()) {
            return ANY;
        }
        let low = ends.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        between(low, high)
    }

    fn or(self, other: Bounds) -> Bounds {
        between(self.low.min(other.low), self.high.max(other.high))
    }

    /// The part of it in `other`; itself where they have nothing in common.
    fn within(self, other: Bounds) -> Bounds {
        let both = between(self.low.max(other.low), self.high.min(other.high));
        if both.low <= both.high { both } else { self }
    }

    /// Sums of any number of such values.
    fn summed(self) -> Bounds {
        let low = if self.low >= 0.0 {
            self.low
        } else {
            f64::NEG_INFINITY
        };
        let high = if self.high <= 0.0 {
            self.high
        } else {
            f64::INFINITY
        };
        between(low, high)
    }

    /// Whether no value in it compares as `op` asks with one in `other`.
    pub(super) fn never(self, op: BinaryOp, other: Bounds) -> bool {
        match op {
            BinaryOp::Less => self.low >= other.high,
            BinaryOp::LessEqual => self.low > other.high,
            BinaryOp::Greater => self.high <= other.low,
            BinaryOp::GreaterEqual => self.high < other.low,
            BinaryOp::Equal => self.high < other.low || self.low > other.high,
            BinaryOp::NotEqual => self.low == self.high && self == other,
            _ => false,
        }
    }

    /// Whether every value in it does.
    pub(super) fn always(self, op: BinaryOp, other: Bounds) -> bool {
        let opposite = match op {
            BinaryOp::Less => BinaryOp::GreaterEqual,
            BinaryOp::LessEqual => BinaryOp::Greater,
            BinaryOp::Greater => BinaryOp::LessEqual,
            BinaryOp::GreaterEqual => BinaryOp::Less,
            BinaryOp::Equal => BinaryOp::NotEqual,
            BinaryOp::NotEqual => BinaryOp::Equal,
            _ => return false,
        };
        self.never(opposite, other)
    }
}

/// The bounds of what `expr` gives.
pub(super) fn of(expr: &Expr) -> Bounds {
    deep(|| match &expr.kind {
        ExprKind::Number(number) if !number.value.is_nan() => between(number.value, number.value),
        ExprKind::Number(_) | ExprKind::String(_) => ANY,
        ExprKind::Vector(selector) => metric_name(selector).map_or(ANY, of_metric),
        ExprKind::Matrix(matrix) => metric_name(&matrix.selector).map_or(ANY, of_metric),
        ExprKind::Subquery(subquery) => of(&subquery.expr),
        ExprKind::Call(call) => of_call(call),
        ExprKind::Aggregate(aggregate) => of_aggregate(aggregate),
        ExprKind::Binary(binary) => of_binary(binary),
        ExprKind::Unary(unary) => {
            let Bounds { low, high } = of(&unary.expr);
            if unary.negative {
                between(-high, -low)
            } else {
                between(low, high)
            }
        }
        ExprKind::Paren(inner) => of(inner),
    })
}

fn of_metric(name: &str) -> Bounds {
    match name {
        "up" | "probe_success" => between(0.0, 1.0),
        name if name.contains(':') => ANY,
        name if name.ends_with("_total") || name.ends_with("_bucket") => NOT_NEGATIVE,
        _ => ANY,
    }
}

fn of_call(call: &Call) -> Bounds {
    let arg = |index: usize| call.args.get(index).map_or(ANY, of);
    match call.function.name {
        "absent" | "absent_over_time" | "present_over_time" => ONE,
        "count_over_time" => from(1.0),
        "rate" | "irate" | "increase" | "changes" | "resets" | "stddev_over_time" | "stdvar_over_time"
        | "abs" | "sqrt" | "exp" | "histogram_count" | "histogram_stddev" | "histogram_stdvar" | "time"
        | "timestamp" => NOT_NEGATIVE,
        "avg_over_time" | "min_over_time" | "max_over_time" | "last_over_time" | "first_over_time"
        | "scalar" | "vector" | "sort" | "sort_desc" | "label_replace" | "label_join" => arg(0),
        "sum_over_time" => arg(0).summed(),
        "sgn" => between(-1.0, 1.0),
        "histogram_fraction" => between(0.0, 1.0),
        "minute" => between(0.0, 59.0),
        "hour" => between(0.0, 23.0),
        "day_of_week" => between(0.0, 6.0),
        "day_of_month" => between(1.0, 31.0),
        "day_of_year" => between(1.0, 366.0),
        "days_in_month" => between(28.0, 31.0),
        "month" => between(1.0, 12.0),
        "floor" => between(arg(0).low.floor(), arg(0).high.floor()),
        "ceil" => between(arg(0).low.ceil(), arg(0).high.ceil()),
        "clamp_min" => between(arg(0).low.max(arg(1).low), arg(0).high.max(arg(1).high)),
        "clamp_max" => between(arg(0).low.min(arg(1).low), arg(0).high.min(arg(1).high)),
        "clamp" => arg(0).within(between(arg(1).low, arg(2).high)),
        _ => ANY,
    }
}

fn of_aggregate(aggregate: &Aggregate) -> Bounds {
    match aggregate.op {
        AggregateOp::Count | AggregateOp::CountValues => from(1.0),
        AggregateOp::Group => ONE,
        AggregateOp::Stddev | AggregateOp::Stdvar => NOT_NEGATIVE,
        AggregateOp::Sum => of(&aggregate.expr).summed(),
        AggregateOp::Quantile => ANY,
        _ => of(&aggregate.expr),
    }
}

fn of_binary(binary: &Binary) -> Bounds {
    if binary.op.is_comparison() && binary.return_bool {
        return between(0.0, 1.0);
    }
    let (lhs, rhs) = (of(&binary.lhs), of(&binary.rhs));
    match binary.op {
        BinaryOp::And | BinaryOp::Unless => lhs,
        BinaryOp::Or => lhs.or(rhs),
        BinaryOp::Greater
        | BinaryOp::GreaterEqual
        | BinaryOp::Less
        | BinaryOp::LessEqual
        | BinaryOp::Equal => filtered(binary, lhs, rhs),
        BinaryOp::NotEqual if binary.lhs.value_type() == ValueType::Scalar => rhs,
        BinaryOp::NotEqual => lhs,
        BinaryOp::Add => Bounds::checked(&[lhs.low + rhs.low, lhs.high + rhs.high]),
        BinaryOp::Sub => Bounds::checked(&[lhs.low - rhs.high, lhs.high - rhs.low]),
        BinaryOp::Mul => Bounds::checked(&[
            lhs.low * rhs.low,
            lhs.low * rhs.high,
            lhs.high * rhs.low,
            lhs.high * rhs.high,
        ]),
        BinaryOp::Div if rhs.low > 0.0 || rhs.high < 0.0 => Bounds::checked(&[
            lhs.low / rhs.low,
            lhs.low / rhs.high,
            lhs.high / rhs.low,
            lhs.high / rhs.high,
        ]),
        BinaryOp::Div if lhs.low >= 0.0 && rhs.low >= 0.0 => NOT_NEGATIVE,
        _ => ANY,
    }
}

/// What passes a comparison, which is the vector's value.
fn filtered(binary: &Binary, lhs: Bounds, rhs: Bounds) -> Bounds {
    let (value, other, vector_is_left) = if binary.lhs.value_type() == ValueType::Scalar {
        (rhs, lhs, false)
    } else {
        (lhs, rhs, true)
    };
    let above = matches!(binary.op, BinaryOp::Greater | BinaryOp::GreaterEqual);
    match binary.op {
        BinaryOp::Equal => value.within(other),
        _ if above == vector_is_left => value.within(from(other.low)),
        _ => value.within(between(f64::NEG_INFINITY, other.high)),
    }
}

#[cfg(test)]
mod tests {
    use promql::parser::{ParseOptions, parse};

    use super::*;

    #[test]
    fn values_lie_between() {
        let infinity = f64::INFINITY;
        for (query, low, high) in [
            ("x", -infinity, infinity),
            ("5", 5.0, 5.0),
            ("-5", -5.0, -5.0),
            ("up", 0.0, 1.0),
            ("1 - up", 0.0, 1.0),
            ("avg(up) * 100", 0.0, 100.0),
            ("sum(up)", 0.0, infinity),
            ("count(x)", 1.0, infinity),
            ("count(x) - 1", 0.0, infinity),
            ("count(x) or vector(0)", 0.0, infinity),
            ("rate(x[5m])", 0.0, infinity),
            ("rate(x[5m]) / rate(y[5m])", 0.0, infinity),
            ("x / y", -infinity, infinity),
            ("absent(x)", 1.0, 1.0),
            ("x > 5", 5.0, infinity),
            ("5 > x", -infinity, 5.0),
            ("x > bool 5", 0.0, 1.0),
            ("(x > 5) < 7", 5.0, 7.0),
            ("clamp(x, 0, 1)", 0.0, 1.0),
            ("clamp_min(x, 3)", 3.0, infinity),
            ("max_over_time(up[5m])", 0.0, 1.0),
            ("day_of_week()", 0.0, 6.0),
            ("time() - x_timestamp_seconds", -infinity, infinity),
            ("0 * x", -infinity, infinity),
        ] {
            let expr = parse(query, &ParseOptions::ALL).expect(query);
            assert_eq!(of(&expr), between(low, high), "{query}");
        }
    }

    #[test]
    fn comparisons_are_settled_by_bounds() {
        use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        let (count, zero, one) = (from(1.0), between(0.0, 0.0), ONE);
        for (op, other, never, always) in [
            (Equal, zero, true, false),
            (Equal, one, false, false),
            (NotEqual, zero, false, true),
            (Less, one, true, false),
            (LessEqual, zero, true, false),
            (LessEqual, one, false, false),
            (Greater, zero, false, true),
            (GreaterEqual, one, false, true),
            (Greater, one, false, false),
        ] {
            assert_eq!(
                (count.never(op, other), count.always(op, other)),
                (never, always),
                "{op:?} {other:?}"
            );
        }
    }
}
