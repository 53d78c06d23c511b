//! Element-wise functions by name.

use std::f64::consts::{LN_2, PI};

use model::histogram::FloatHistogram;

use crate::kernels::ScalarArg;
use crate::row::Row;

use super::civil::Civil;
use super::native;

/// Which samples an element-wise function looks at; the others it drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementInput {
    /// Floats.
    Floats,
    /// Native histograms.
    Histograms,
}

/// A function of single samples. All of them drop the metric name.
#[derive(Debug)]
pub struct ElementFunction {
    /// Name, as in queries.
    pub name: &'static str,
    /// Which samples it looks at.
    pub input: ElementInput,
    /// Most scalar arguments that it takes, in the order they are written.
    pub scalars: usize,
    /// Whether the vector may be left out, and then is `vector(time())`.
    pub vector_optional: bool,
    kernel: Kernel,
}

#[derive(Clone, Copy, Debug)]
enum Kernel {
    /// Of the float alone.
    Float(fn(f64) -> f64),
    /// Of the float as a time in seconds.
    Time(fn(Civil) -> f64),
    /// `round`
    Round,
    /// `clamp`, `clamp_min`, `clamp_max`: whether there is a lower, an upper bound.
    Clamp(bool, bool),
    /// Of the histogram alone.
    Histogram(fn(&FloatHistogram) -> f64),
}

/// The element-wise function called `name`; `None` for any other name.
pub fn element_function(name: &str) -> Option<&'static ElementFunction> {
    FUNCTIONS
        .binary_search_by(|function| function.name.cmp(name))
        .ok()
        .map(|at| &FUNCTIONS[at])
}

impl ElementFunction {
    /// Applies the function to every step of `row`, in place. `args` are the scalar arguments; `round` may have none.
    pub fn run(&self, args: &[ScalarArg<'_>], row: &mut Row) {
        match self.kernel {
            Kernel::Float(f) => floats(row, |_, value| Some(f(value))),
            Kernel::Time(f) => floats(row, |_, value| Some(f(Civil::from_unix_seconds(value)))),
            Kernel::Round => {
                let to_nearest = args.first().copied().unwrap_or(ScalarArg::Constant(1.0));
                floats(row, |step, value| {
                    let inverse = 1.0 / to_nearest.at(step);
                    Some((value * inverse + 0.5).floor() / inverse)
                });
            }
            Kernel::Clamp(lower, upper) => {
                let (first, second) = (args.first().copied(), args.get(1).copied());
                let (lower, upper) = match (lower, upper) {
                    (true, true) => (first, second),
                    (true, false) => (first, None),
                    _ => (None, first),
                };
                let lower = lower.unwrap_or(ScalarArg::Constant(f64::NEG_INFINITY));
                let upper = upper.unwrap_or(ScalarArg::Constant(f64::INFINITY));
                floats(row, |step, value| clamp(value, lower.at(step), upper.at(step)));
            }
            Kernel::Histogram(f) => histograms(row, f),
        }
    }
}

/// Replaces each float by what `f(step, float)` gives and drops histograms.
fn floats(row: &mut Row, f: impl Fn(usize, f64) -> Option<f64>) {
    for (step, _) in row.histograms.drain(..) {
        row.present.unset(step as usize);
    }
    for (step, value) in row.values.iter_mut().enumerate() {
        if row.present.get(step) {
            match f(step, *value) {
                Some(result) => *value = result,
                None => {
                    *value = 0.0;
                    row.present.unset(step);
                }
            }
        }
    }
}

/// Replaces each histogram by what `f` gives and drops floats.
fn histograms(row: &mut Row, f: fn(&FloatHistogram) -> f64) {
    let steps = row.values.len();
    let histograms = std::mem::take(&mut row.histograms);
    row.reset(steps);
    for (step, histogram) in histograms {
        row.set(step as usize, f(&histogram));
    }
}

/// Nothing where the bounds are the wrong way round; NaN where one is NaN.
fn clamp(value: f64, lower: f64, upper: f64) -> Option<f64> {
    if upper < lower {
        return None;
    }
    Some(go_max(lower, go_min(upper, value)))
}

/// The smaller; NaN where either is, and −0 below 0. (What `min_of` gives, too.)
pub fn go_min(a: f64, b: f64) -> f64 {
    match () {
        () if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY => f64::NEG_INFINITY,
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () if a == 0.0 && a == b => {
            if a.is_sign_negative() {
                a
            } else {
                b
            }
        }
        () if a < b => a,
        () => b,
    }
}

/// The larger; NaN where either is, and 0 above −0. (What `max_of` gives, too.)
pub fn go_max(a: f64, b: f64) -> f64 {
    match () {
        () if a == f64::INFINITY || b == f64::INFINITY => f64::INFINITY,
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () if a == 0.0 && a == b => {
            if a.is_sign_negative() {
                b
            } else {
                a
            }
        }
        () if a > b => a,
        () => b,
    }
}

fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

const fn float(name: &'static str, f: fn(f64) -> f64) -> ElementFunction {
    ElementFunction {
        name,
        input: ElementInput::Floats,
        scalars: 0,
        vector_optional: false,
        kernel: Kernel::Float(f),
    }
}

const fn time(name: &'static str, f: fn(Civil) -> f64) -> ElementFunction {
    ElementFunction {
        name,
        input: ElementInput::Floats,
        scalars: 0,
        vector_optional: true,
        kernel: Kernel::Time(f),
    }
}

const fn with_scalars(name: &'static str, scalars: usize, kernel: Kernel) -> ElementFunction {
    ElementFunction {
        name,
        input: ElementInput::Floats,
        scalars,
        vector_optional: false,
        kernel,
    }
}

const fn histogram(name: &'static str, f: fn(&FloatHistogram) -> f64) -> ElementFunction {
    ElementFunction {
        name,
        input: ElementInput::Histograms,
        scalars: 0,
        vector_optional: false,
        kernel: Kernel::Histogram(f),
    }
}

/// From here on the square of a number drowns the 1 beside it, and later overflows: cosh and sinh are half of exp.
const HYPERBOLA_IS_STRAIGHT: f64 = (1 << 28) as f64;

fn acosh(value: f64) -> f64 {
    if value > HYPERBOLA_IS_STRAIGHT {
        return value.ln() + LN_2;
    }
    value.acosh()
}

fn asinh(value: f64) -> f64 {
    if value.abs() > HYPERBOLA_IS_STRAIGHT {
        return (value.abs().ln() + LN_2).copysign(value);
    }
    value.asinh()
}

/// Sorted by name.
static FUNCTIONS: &[ElementFunction] = &[
    float("abs", f64::abs),
    float("acos", f64::acos),
    float("acosh", acosh),
    float("asin", f64::asin),
    float("asinh", asinh),
    float("atan", f64::atan),
    float("atanh", f64::atanh),
    float("ceil", f64::ceil),
    with_scalars("clamp", 2, Kernel::Clamp(true, true)),
    with_scalars("clamp_max", 1, Kernel::Clamp(false, true)),
    with_scalars("clamp_min", 1, Kernel::Clamp(true, false)),
    float("cos", f64::cos),
    float("cosh", f64::cosh),
    time("day_of_month", |t| f64::from(t.day)),
    time("day_of_week", |t| f64::from(t.weekday)),
    time("day_of_year", |t| f64::from(t.year_day)),
    time("days_in_month", |t| f64::from(t.days_in_month())),
    float("deg", |v| v * 180.0 / PI),
    float("exp", f64::exp),
    float("floor", f64::floor),
    histogram("histogram_avg", |h| h.sum / h.count),
    histogram("histogram_count", |h| h.count),
    histogram("histogram_stddev", |h| native::variance(h).sqrt()),
    histogram("histogram_stdvar", native::variance),
    histogram("histogram_sum", |h| h.sum),
    time("hour", |t| f64::from(t.hour)),
    float("ln", f64::ln),
    float("log10", f64::log10),
    float("log2", f64::log2),
    time("minute", |t| f64::from(t.minute)),
    time("month", |t| f64::from(t.month)),
    float("rad", |v| v * PI / 180.0),
    with_scalars("round", 1, Kernel::Round),
    float("sgn", sgn),
    float("sin", f64::sin),
    float("sinh", f64::sinh),
    float("sqrt", f64::sqrt),
    float("tan", f64::tan),
    float("tanh", f64::tanh),
    time("year", |t| t.year as f64),
];
