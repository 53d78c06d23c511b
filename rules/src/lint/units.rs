//! Which unit an expression has, by the names of its metrics.

use model::stack::deep;
use promql::ast::{AggregateOp, Binary, BinaryOp, Expr, ExprKind, VectorSelector};

use super::facts::metric_name;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// How long something took; seconds.
    LatencySeconds,
    /// The same in milliseconds.
    Milliseconds,
    /// A time since the epoch, in seconds.
    TimestampSeconds,
    /// Bytes at a time, not in a time.
    Bytes,
    /// A part of a whole: 0 to 1.
    Ratio,
    /// One number of bytes divided by another.
    QuotientOfBytes,
    /// A part of a hundred.
    Percent,
}

/// Words in names of what lasts for seconds rather than for days.
const LATENCY_WORDS: [&str; 6] = ["duration", "latency", "response", "request", "rtt", "query_time"];

/// Words in names of ratios that may well be above 1.
const LARGE_RATIO_WORDS: [&str; 4] = ["compress", "amplif", "speedup", "overcommit"];

/// The unit of a metric by its name.
fn of_name(name: &str) -> Option<Unit> {
    let name = name.strip_suffix("_bucket").unwrap_or(name);
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if name.contains(':') || name.ends_with("_total") {
        None
    } else if name.ends_with("_timestamp_seconds") {
        Some(Unit::TimestampSeconds)
    } else if name.ends_with("_milliseconds") || name.ends_with("_ms") {
        Some(Unit::Milliseconds)
    } else if name.ends_with("_seconds") && has(&LATENCY_WORDS) {
        Some(Unit::LatencySeconds)
    } else if name.ends_with("_bytes") {
        Some(Unit::Bytes)
    } else if name.ends_with("_ratio") && !has(&LARGE_RATIO_WORDS) {
        Some(Unit::Ratio)
    } else if name.ends_with("_percent") || name.ends_with("_percentage") {
        Some(Unit::Percent)
    } else {
        None
    }
}

/// The unit of what `expr` gives.
pub(super) fn of(expr: &Expr) -> Option<Unit> {
    deep(|| match &expr.kind {
        ExprKind::Vector(selector) => of_selector(selector),
        ExprKind::Matrix(matrix) => of_selector(&matrix.selector),
        ExprKind::Subquery(subquery) => of(&subquery.expr),
        ExprKind::Paren(inner) => of(inner),
        ExprKind::Aggregate(aggregate) => match aggregate.op {
            AggregateOp::Avg
            | AggregateOp::Max
            | AggregateOp::Min
            | AggregateOp::TopK
            | AggregateOp::BottomK
            | AggregateOp::Quantile => of(&aggregate.expr),
            // Many parts of wholes are no part of one.
            AggregateOp::Sum => {
                of(&aggregate.expr).filter(|unit| !matches!(unit, Unit::Ratio | Unit::Percent))
            }
            _ => None,
        },
        ExprKind::Call(call) => match call.function.name {
            "avg_over_time" | "max_over_time" | "min_over_time" | "last_over_time" | "quantile_over_time"
            | "abs" | "ceil" | "floor" | "round" | "sort" | "sort_desc" | "label_replace" | "label_join" => {
                let arg = call
                    .args
                    .iter()
                    .find(|arg| !matches!(arg.kind, ExprKind::Number(_)))?;
                of(arg)
            }
            "histogram_quantile" => of_buckets(call.args.get(1)?),
            _ => None,
        },
        ExprKind::Binary(binary) => of_binary(binary),
        _ => None,
    })
}

fn of_selector(selector: &VectorSelector) -> Option<Unit> {
    of_name(metric_name(selector)?)
}

/// Quantiles have the unit of what is in the buckets, whatever was done to the counts.
fn of_buckets(expr: &Expr) -> Option<Unit> {
    let selectors = expr.selectors();
    let mut units = selectors.iter().map(|selector| of_selector(selector));
    let first = units.next()??;
    units.all(|unit| unit == Some(first)).then_some(first)
}

fn of_binary(binary: &Binary) -> Option<Unit> {
    match binary.op {
        op if op.is_comparison() && !binary.return_bool => of(&binary.lhs),
        BinaryOp::And | BinaryOp::Unless => of(&binary.lhs),
        BinaryOp::Or => of(&binary.lhs).filter(|unit| of(&binary.rhs) == Some(*unit)),
        BinaryOp::Div => match (of(&binary.lhs)?, of(&binary.rhs)?) {
            (Unit::Bytes, Unit::Bytes) => Some(Unit::QuotientOfBytes),
            _ => None,
        },
        BinaryOp::Add | BinaryOp::Sub => match (of(&binary.lhs)?, of(&binary.rhs)?) {
            (Unit::Bytes, Unit::Bytes) => Some(Unit::Bytes),
            _ => None,
        },
        _ => None,
    }
}

impl Unit {
    /// What is wrong with comparing it with `value` by `op`: what `value` looks like instead, and what to write.
    pub(super) fn mistaken(self, op: BinaryOp, value: f64) -> Option<(&'static str, &'static str)> {
        let is_order = !matches!(op, BinaryOp::Equal | BinaryOp::NotEqual);
        let is_multiple = |of: f64| value % of == 0.0;
        match self {
            _ if !is_order || value <= 0.0 => None,
            // Whole minutes and hours are meant as they are written.
            Unit::LatencySeconds
                if value >= 500.0
                    && is_multiple(100.0)
                    && (!is_multiple(60.0) || (is_multiple(1000.0) && !is_multiple(3600.0))) =>
            {
                Some((
                    "seconds, and the number looks like milliseconds",
                    "divide the number by 1000",
                ))
            }
            Unit::Milliseconds if value < 1.0 => Some((
                "milliseconds, and the number looks like seconds",
                "multiply the number by 1000",
            )),
            Unit::TimestampSeconds if value < 1e8 => Some((
                "a time since 1970, and the number looks like a length of time",
                "write `time() - …` for how long ago it was",
            )),
            Unit::Bytes if (2.0..=1024.0).contains(&value) => Some((
                "bytes, and the number looks like megabytes or gigabytes",
                "multiply the number: `* 1024 * 1024` for MiB",
            )),
            Unit::Ratio if (10.0..=100.0).contains(&value) => Some((
                "a ratio from 0 to 1, and the number looks like a percentage",
                "divide the number by 100",
            )),
            Unit::QuotientOfBytes if (50.0..=100.0).contains(&value) => Some((
                "bytes divided by bytes, and the number looks like a percentage",
                "multiply the quotient by 100, or divide the number by 100",
            )),
            Unit::Percent if (0.7..1.0).contains(&value) => Some((
                "a percentage from 0 to 100, and the number looks like a ratio",
                "multiply the number by 100",
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use promql::parser::{ParseOptions, parse};

    use super::*;

    #[test]
    fn units_go_through_what_keeps_them() {
        for (query, want) in [
            ("a_bytes", Some(Unit::Bytes)),
            ("max by (x) (a_bytes)", Some(Unit::Bytes)),
            ("avg_over_time(a_bytes[5m])", Some(Unit::Bytes)),
            ("rate(a_bytes[5m])", None),
            ("a_bytes / 1024", None),
            ("a_bytes / b_bytes", Some(Unit::QuotientOfBytes)),
            ("a_bytes / b_bytes * 100", None),
            ("(a_bytes - b_bytes) / c_bytes", Some(Unit::QuotientOfBytes)),
            ("request_duration_seconds", Some(Unit::LatencySeconds)),
            ("uptime_seconds", None),
            ("request_duration_seconds_total", None),
            (
                "histogram_quantile(0.9, sum by (le) (rate(request_duration_seconds_bucket[5m])))",
                Some(Unit::LatencySeconds),
            ),
            ("a_ratio", Some(Unit::Ratio)),
            ("sum(a_ratio)", None),
            ("compression_ratio", None),
            ("time() - a_timestamp_seconds", None),
            ("a_timestamp_seconds", Some(Unit::TimestampSeconds)),
        ] {
            assert_eq!(
                of(&parse(query, &ParseOptions::ALL).expect(query)),
                want,
                "{query}"
            );
        }
    }

    #[test]
    fn round_numbers_of_another_unit_are_recognised() {
        use BinaryOp::{Equal, Greater, Less};
        for (unit, op, value, want) in [
            (Unit::LatencySeconds, Greater, 5000.0, true),
            (Unit::LatencySeconds, Greater, 500.0, true),
            (Unit::LatencySeconds, Greater, 30_000.0, true),
            (Unit::LatencySeconds, Greater, 600.0, false),
            (Unit::LatencySeconds, Greater, 3600.0, false),
            (Unit::LatencySeconds, Greater, 86_400.0, false),
            (Unit::LatencySeconds, Greater, 5.0, false),
            (Unit::Milliseconds, Greater, 0.5, true),
            (Unit::Milliseconds, Greater, 500.0, false),
            (Unit::TimestampSeconds, Greater, 3600.0, true),
            (Unit::TimestampSeconds, Greater, 0.0, false),
            (Unit::Bytes, Less, 10.0, true),
            (Unit::Bytes, Equal, 10.0, false),
            (Unit::Bytes, Less, 1e9, false),
            (Unit::Bytes, Greater, 0.0, false),
            (Unit::Ratio, Greater, 90.0, true),
            (Unit::Ratio, Greater, 1.5, false),
            (Unit::QuotientOfBytes, Greater, 80.0, true),
            (Unit::QuotientOfBytes, Greater, 0.8, false),
            (Unit::Percent, Greater, 0.9, true),
            (Unit::Percent, Greater, 90.0, false),
        ] {
            assert_eq!(unit.mistaken(op, value).is_some(), want, "{unit:?} {value}");
        }
    }
}
