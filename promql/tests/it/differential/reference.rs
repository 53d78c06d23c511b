//! The language as it is defined: one point in time after the other, one series after the other.
//!
//! Nothing is planned, shared, skipped or computed ahead. An expression is evaluated at a time by evaluating its parts
//! at the times they speak of; a selector looks at every series and every sample. Floats only.

use std::collections::{BTreeMap, BTreeSet};

use model::sample::is_stale_nan;
use narthex_promql::ast::{At, Call, Duration, Expr, ExprKind, MatrixSelector, Modifiers, Subquery};
use narthex_promql::ast::{Unary, ValueType, VectorSelector};

use super::{functions, operators};

/// Labels by name; no value is empty.
pub(super) type LabelMap = BTreeMap<String, String>;
/// At most one value a label set; repeated label sets are refused where the language refuses them.
pub(super) type Vector = Vec<(LabelMap, f64)>;

/// A stored series: samples by time.
#[derive(Clone, Debug)]
pub(super) struct StoredSeries {
    pub(super) labels: LabelMap,
    pub(super) samples: Vec<(i64, f64)>,
}

/// Why a query has no answer.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The language says that it is an error.
    Refused,
    /// The language leaves open which answer is right: ties of `topk`.
    Open,
}

pub(super) type Outcome<T> = Result<T, Wrong>;

/// What an expression is at a point in time.
pub(super) enum Point {
    Scalar(f64),
    Vector(Vector),
}

/// The samples of a series in a window.
pub(super) type Window = Vec<(i64, f64)>;

/// An evaluation of a query.
pub(super) struct Reference<'a> {
    pub(super) series: &'a [StoredSeries],
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) lookback_ms: i64,
    /// Relative error put upon every result that is rounded: what changes with it by much more says nothing.
    pub(super) noise: f64,
}

impl Reference<'_> {
    /// A rounded result.
    pub(super) fn rounded(&self, value: f64) -> f64 {
        value * (1.0 + self.noise)
    }

    pub(super) fn point(&self, expr: &Expr, at_ms: i64) -> Outcome<Point> {
        match &expr.kind {
            ExprKind::Number(number) => Ok(Point::Scalar(number.value)),
            ExprKind::Paren(inner) => self.point(inner, at_ms),
            ExprKind::Unary(Unary { negative, expr }) => match (self.point(expr, at_ms)?, negative) {
                (Point::Scalar(value), true) => Ok(Point::Scalar(-value)),
                (Point::Vector(vector), true) => unnamed(vector.into_iter().map(|(l, v)| (l, -v))),
                (point, false) => Ok(point),
            },
            ExprKind::Vector(selector) => {
                let newest = self.newest(selector, at_ms)?;
                Ok(Point::Vector(
                    newest.into_iter().map(|(l, (_, v))| (l, v)).collect(),
                ))
            }
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, at_ms).map(Point::Vector),
            ExprKind::Binary(binary) => self.binary(binary, at_ms),
            ExprKind::Call(call) => self.call(call, at_ms),
            other => panic!("nothing that has a value at one point in time: {other:?}"),
        }
    }

    pub(super) fn vector(&self, expr: &Expr, at_ms: i64) -> Outcome<Vector> {
        match self.point(expr, at_ms)? {
            Point::Vector(vector) => Ok(vector),
            Point::Scalar(_) => panic!("a vector is expected: {expr:?}"),
        }
    }

    pub(super) fn scalar(&self, expr: &Expr, at_ms: i64) -> Outcome<f64> {
        match self.point(expr, at_ms)? {
            Point::Scalar(value) => Ok(value),
            Point::Vector(_) => panic!("a scalar is expected: {expr:?}"),
        }
    }

    /// The time that something modified by `offset` and `@` looks at.
    fn moved(&self, modifiers: &Modifiers, at_ms: i64) -> i64 {
        let at_ms = match modifiers.at {
            None => at_ms,
            Some(At::Timestamp(fixed)) => fixed,
            Some(At::Start) => self.start_ms,
            Some(At::End) => self.end_ms,
        };
        at_ms - modifiers.offset.as_ref().map_or(0, literal)
    }

    fn selected(&self, selector: &VectorSelector) -> impl Iterator<Item = &StoredSeries> {
        self.series.iter().filter(|series| {
            let value = |name: &String| series.labels.get(name).map_or("", String::as_str);
            selector
                .matchers
                .iter()
                .all(|matcher| matcher.matches(value(&matcher.name)))
        })
    }

    /// The newest sample within the lookback, unless it says that the series has ended.
    fn newest(&self, selector: &VectorSelector, at_ms: i64) -> Outcome<Vec<(LabelMap, (i64, f64))>> {
        let end_ms = self.moved(&selector.modifiers, at_ms);
        let newest = |series: &StoredSeries| {
            let within = |(time, _): &&(i64, f64)| *time <= end_ms && *time > end_ms - self.lookback_ms;
            let sample = *series.samples.iter().rfind(within)?;
            (!is_stale_nan(sample.1)).then(|| (series.labels.clone(), sample))
        };
        Ok(self.selected(selector).filter_map(newest).collect())
    }

    fn windows(&self, matrix: &MatrixSelector, at_ms: i64) -> Windows {
        let end_ms = self.moved(&matrix.selector.modifiers, at_ms);
        let start_ms = end_ms - literal(&matrix.range);
        let inside =
            |(time, value): &(i64, f64)| *time > start_ms && *time <= end_ms && !is_stale_nan(*value);
        let window = |series: &StoredSeries| {
            let samples = series.samples.iter().copied().filter(inside).collect();
            (series.labels.clone(), samples)
        };
        Windows {
            start_ms,
            end_ms,
            series: self.selected(&matrix.selector).map(window).collect(),
        }
    }

    /// The expression at every multiple of the step within the range.
    fn subquery(&self, subquery: &Subquery, at_ms: i64) -> Outcome<Windows> {
        let end_ms = self.moved(&subquery.modifiers, at_ms);
        let start_ms = end_ms - literal(&subquery.range);
        let step_ms = subquery.step.as_ref().map_or(super::DEFAULT_STEP_MS, literal);
        let mut series: BTreeMap<LabelMap, Window> = BTreeMap::new();
        let first_ms = (start_ms.div_euclid(step_ms) + 1) * step_ms;
        for time in (first_ms..=end_ms).step_by(step_ms as usize) {
            let vector = match self.point(&subquery.expr, time)? {
                Point::Vector(vector) => vector,
                Point::Scalar(value) => vec![(LabelMap::new(), value)],
            };
            for (labels, value) in vector {
                series.entry(labels).or_default().push((time, value));
            }
        }
        Ok(Windows {
            start_ms,
            end_ms,
            series: series.into_iter().collect(),
        })
    }

    fn call(&self, call: &Call, at_ms: i64) -> Outcome<Point> {
        let name = call.function.name;
        let takes_range = |arg: &&Expr| arg.value_type() == ValueType::Matrix;
        if let Some(range) = call.args.iter().find(takes_range) {
            return self.over_range(call, range.without_parens(), at_ms);
        }
        let vector = |arg: usize| self.vector(&call.args[arg], at_ms);
        match name {
            "time" => Ok(Point::Scalar(at_ms as f64 / 1000.0)),
            "vector" => {
                let value = self.scalar(&call.args[0], at_ms)?;
                Ok(Point::Vector(vec![(LabelMap::new(), value)]))
            }
            "scalar" => Ok(Point::Scalar(match vector(0)?.as_slice() {
                [(_, value)] => *value,
                _ => f64::NAN,
            })),
            "absent" => {
                let labels = match &call.args[0].without_parens().kind {
                    ExprKind::Vector(selector) => functions::absent_labels(selector),
                    _ => LabelMap::new(),
                };
                let absent = vector(0)?.is_empty().then_some((labels, 1.0));
                Ok(Point::Vector(absent.into_iter().collect()))
            }
            "timestamp" => match &call.args[0].without_parens().kind {
                ExprKind::Vector(selector) => {
                    let newest = self.newest(selector, at_ms)?;
                    unnamed(newest.into_iter().map(|(l, (time, _))| (l, time as f64 / 1000.0)))
                }
                _ => unnamed(vector(0)?.into_iter().map(|(l, _)| (l, at_ms as f64 / 1000.0))),
            },
            "label_replace" | "label_join" => {
                let text = |arg: &Expr| match &arg.without_parens().kind {
                    ExprKind::String(text) => text.clone(),
                    other => panic!("a text is expected: {other:?}"),
                };
                let texts: Vec<String> = call.args[1..].iter().map(text).collect();
                let renamed = vector(0)?.into_iter().map(|(mut labels, value)| {
                    match name {
                        "label_join" => functions::label_join(&mut labels, &texts),
                        _ => functions::label_replace(&mut labels, &texts),
                    }
                    (labels, value)
                });
                distinct(renamed)
            }
            "sort" | "sort_desc" => Ok(Point::Vector(vector(0)?)),
            "histogram_quantile" => {
                let q = self.scalar(&call.args[0], at_ms)?;
                let quantiles = functions::histogram_quantile(q, vector(1)?);
                Ok(Point::Vector(
                    quantiles.map(|(l, v)| (l, self.rounded(v))).collect(),
                ))
            }
            _ => {
                let args: Vec<f64> = call.args[1..]
                    .iter()
                    .map(|arg| self.scalar(arg, at_ms))
                    .collect::<Outcome<_>>()?;
                let results = vector(0)?;
                let each = |(labels, value)| Some((labels, functions::element(name, value, &args)?));
                unnamed(results.into_iter().filter_map(each))
            }
        }
    }

    /// A function of the samples in a range.
    fn over_range(&self, call: &Call, range: &Expr, at_ms: i64) -> Outcome<Point> {
        let name = call.function.name;
        let windows = match &range.kind {
            ExprKind::Matrix(matrix) => self.windows(matrix, at_ms),
            ExprKind::Subquery(subquery) => self.subquery(subquery, at_ms)?,
            other => panic!("no range: {other:?}"),
        };
        if name == "absent_over_time" {
            let empty = windows.series.iter().all(|(_, window)| window.is_empty());
            let labels = match &range.kind {
                ExprKind::Matrix(matrix) => functions::absent_labels(&matrix.selector),
                _ => LabelMap::new(),
            };
            return Ok(Point::Vector(
                empty.then_some((labels, 1.0)).into_iter().collect(),
            ));
        }
        let scalars = call
            .args
            .iter()
            .filter(|arg| arg.value_type() == ValueType::Scalar);
        let args: Vec<f64> = scalars
            .map(|arg| self.scalar(arg, at_ms))
            .collect::<Outcome<_>>()?;
        let some = windows.series.iter().any(|(_, window)| !window.is_empty());
        let of_smoothing = |factor: &f64| *factor > 0.0 && *factor < 1.0;
        if name == "double_exponential_smoothing" && some && !args.iter().all(of_smoothing) {
            return Err(Wrong::Refused);
        }
        let range_ms = (windows.start_ms, windows.end_ms);
        let results = windows.series.iter().filter_map(|(labels, window)| {
            let value = functions::over_time(name, window, range_ms, at_ms, &args)?;
            Some((labels.clone(), self.rounded(value)))
        });
        match name {
            "last_over_time" | "first_over_time" => Ok(Point::Vector(results.collect())),
            _ => unnamed(results),
        }
    }

    fn binary(&self, binary: &narthex_promql::ast::Binary, at_ms: i64) -> Outcome<Point> {
        let lhs = self.point(&binary.lhs, at_ms)?;
        let rhs = self.point(&binary.rhs, at_ms)?;
        operators::binary(self, binary, lhs, rhs)
    }
}

/// Series with their samples between two times; series without samples may be among them.
struct Windows {
    start_ms: i64,
    end_ms: i64,
    series: Vec<(LabelMap, Window)>,
}

/// A vector without metric names.
pub(super) fn unnamed(vector: impl Iterator<Item = (LabelMap, f64)>) -> Outcome<Point> {
    distinct(vector.map(|(mut labels, value)| {
        labels.remove("__name__");
        (labels, value)
    }))
}

/// A vector whose label sets must differ.
pub(super) fn distinct(vector: impl Iterator<Item = (LabelMap, f64)>) -> Outcome<Point> {
    let vector: Vector = vector.collect();
    let labels: BTreeSet<&LabelMap> = vector.iter().map(|(labels, _)| labels).collect();
    match labels.len() == vector.len() {
        true => Ok(Point::Vector(vector)),
        false => Err(Wrong::Refused),
    }
}

fn literal(duration: &Duration) -> i64 {
    match duration {
        Duration::Literal(ms) => *ms,
        Duration::Expr(expr) => panic!("durations are literals here, not {expr:?}"),
    }
}
