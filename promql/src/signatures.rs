//! The functions of the language: names, types and which of them are experimental.

use crate::ast::{Function, ValueType};

use ValueType::{Matrix, Scalar, String, Vector};

/// A function with a fixed number of parameters.
const fn plain(name: &'static str, arg_types: &'static [ValueType], return_type: ValueType) -> Function {
    Function {
        name,
        arg_types,
        variadic: 0,
        return_type,
        experimental: false,
    }
}

/// A function whose last parameters may be left out or repeated; see [`Function::variadic`].
const fn variadic(
    name: &'static str,
    arg_types: &'static [ValueType],
    variadic: i32,
    return_type: ValueType,
) -> Function {
    Function {
        name,
        arg_types,
        variadic,
        return_type,
        experimental: false,
    }
}

const fn experimental(function: Function) -> Function {
    Function {
        experimental: true,
        ..function
    }
}

/// All functions, sorted by name.
pub static FUNCTIONS: &[Function] = &[
    plain("abs", &[Vector], Vector),
    plain("absent", &[Vector], Vector),
    plain("absent_over_time", &[Matrix], Vector),
    plain("acos", &[Vector], Vector),
    plain("acosh", &[Vector], Vector),
    plain("asin", &[Vector], Vector),
    plain("asinh", &[Vector], Vector),
    plain("atan", &[Vector], Vector),
    plain("atanh", &[Vector], Vector),
    plain("avg_over_time", &[Matrix], Vector),
    plain("ceil", &[Vector], Vector),
    plain("changes", &[Matrix], Vector),
    plain("clamp", &[Vector, Scalar, Scalar], Vector),
    plain("clamp_max", &[Vector, Scalar], Vector),
    plain("clamp_min", &[Vector, Scalar], Vector),
    plain("cos", &[Vector], Vector),
    plain("cosh", &[Vector], Vector),
    plain("count_over_time", &[Matrix], Vector),
    variadic("day_of_month", &[Vector], 1, Vector),
    variadic("day_of_week", &[Vector], 1, Vector),
    variadic("day_of_year", &[Vector], 1, Vector),
    variadic("days_in_month", &[Vector], 1, Vector),
    plain("deg", &[Vector], Vector),
    plain("delta", &[Matrix], Vector),
    plain("deriv", &[Matrix], Vector),
    experimental(plain(
        "double_exponential_smoothing",
        &[Matrix, Scalar, Scalar],
        Vector,
    )),
    experimental(plain("end", &[], Scalar)),
    plain("exp", &[Vector], Vector),
    plain("first_over_time", &[Matrix], Vector),
    plain("floor", &[Vector], Vector),
    plain("histogram_avg", &[Vector], Vector),
    plain("histogram_count", &[Vector], Vector),
    plain("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    plain("histogram_quantile", &[Scalar, Vector], Vector),
    experimental(variadic(
        "histogram_quantiles",
        &[Vector, String, Scalar, Scalar],
        9,
        Vector,
    )),
    plain("histogram_stddev", &[Vector], Vector),
    plain("histogram_stdvar", &[Vector], Vector),
    plain("histogram_sum", &[Vector], Vector),
    variadic("hour", &[Vector], 1, Vector),
    plain("idelta", &[Matrix], Vector),
    plain("increase", &[Matrix], Vector),
    experimental(variadic("info", &[Vector, Vector], 1, Vector)),
    plain("irate", &[Matrix], Vector),
    variadic("label_join", &[Vector, String, String, String], -1, Vector),
    plain("label_replace", &[Vector, String, String, String, String], Vector),
    plain("last_over_time", &[Matrix], Vector),
    plain("ln", &[Vector], Vector),
    plain("log10", &[Vector], Vector),
    plain("log2", &[Vector], Vector),
    experimental(plain("mad_over_time", &[Matrix], Vector)),
    experimental(plain("max_of", &[Scalar, Scalar], Scalar)),
    plain("max_over_time", &[Matrix], Vector),
    experimental(plain("min_of", &[Scalar, Scalar], Scalar)),
    plain("min_over_time", &[Matrix], Vector),
    variadic("minute", &[Vector], 1, Vector),
    variadic("month", &[Vector], 1, Vector),
    plain("pi", &[], Scalar),
    plain("predict_linear", &[Matrix, Scalar], Vector),
    plain("present_over_time", &[Matrix], Vector),
    plain("quantile_over_time", &[Scalar, Matrix], Vector),
    plain("rad", &[Vector], Vector),
    experimental(plain("range", &[], Scalar)),
    plain("rate", &[Matrix], Vector),
    plain("resets", &[Matrix], Vector),
    variadic("round", &[Vector, Scalar], 1, Vector),
    plain("scalar", &[Vector], Scalar),
    plain("sgn", &[Vector], Vector),
    plain("sin", &[Vector], Vector),
    plain("sinh", &[Vector], Vector),
    plain("sort", &[Vector], Vector),
    experimental(variadic("sort_by_label", &[Vector, String], -1, Vector)),
    experimental(variadic("sort_by_label_desc", &[Vector, String], -1, Vector)),
    plain("sort_desc", &[Vector], Vector),
    plain("sqrt", &[Vector], Vector),
    experimental(plain("start", &[], Scalar)),
    experimental(plain("start_timestamp", &[Vector], Vector)),
    plain("stddev_over_time", &[Matrix], Vector),
    plain("stdvar_over_time", &[Matrix], Vector),
    experimental(plain("step", &[], Scalar)),
    plain("sum_over_time", &[Matrix], Vector),
    plain("tan", &[Vector], Vector),
    plain("tanh", &[Vector], Vector),
    plain("time", &[], Scalar),
    plain("timestamp", &[Vector], Vector),
    experimental(plain("ts_of_first_over_time", &[Matrix], Vector)),
    experimental(plain("ts_of_last_over_time", &[Matrix], Vector)),
    experimental(plain("ts_of_max_over_time", &[Matrix], Vector)),
    experimental(plain("ts_of_min_over_time", &[Matrix], Vector)),
    plain("vector", &[Scalar], Vector),
    variadic("year", &[Vector], 1, Vector),
];

/// Stands in a call of a function that does not exist, until the error is reported.
pub(crate) static UNKNOWN: Function = plain("", &[], Vector);

/// The function called `name`.
pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS
        .binary_search_by(|function| function.name.cmp(name))
        .ok()
        .map(|at| &FUNCTIONS[at])
}

/// The function or aggregation whose name is most like `name`, if one is like it at all.
pub fn nearest(name: &str) -> Option<&'static str> {
    let aggregations = crate::ast::AggregateOp::ALL.iter().map(|op| op.as_str());
    let functions = FUNCTIONS.iter().map(|function| function.name);
    model::nearest::nearest(name, functions.chain(aggregations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(function("rate").map(|f| f.name), Some("rate"));
        assert_eq!(function("Rate"), None);
    }

    #[test]
    fn slips_are_recognised() {
        assert_eq!(nearest("rtae"), Some("rate"));
        // `rad` is as near, but no beginning of it was written.
        assert_eq!(nearest("rat"), Some("rate"));
        assert_eq!(nearest("ratee"), Some("rate"));
        assert_eq!(nearest("sum_over_tim"), Some("sum_over_time"));
        assert_eq!(nearest("histogram_quantle"), Some("histogram_quantile"));
        assert_eq!(nearest("top_k"), Some("topk"));
        assert_eq!(nearest("frobnicate"), None);
    }
}
