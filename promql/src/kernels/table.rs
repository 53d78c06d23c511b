//! The range functions by name.

use super::Needs::{All, Floats, Timestamps};
use super::{
    Kernel, Needs, RangeFunction, events, extremes, last_two, order, pick, rate, regression, smoothing, sums,
    variance,
};

/// The range function called `name`; `None` for any other name. Every name of the reference's range functions has
/// an entry, experimental ones included.
pub fn range_function(name: &str) -> Option<&'static RangeFunction> {
    FUNCTIONS
        .binary_search_by(|function| function.name.cmp(name))
        .ok()
        .map(|at| &FUNCTIONS[at])
}

/// A function that drops the name, takes nothing but the range vector and knows nothing of extensions and starts.
const fn plain(name: &'static str, needs: Needs, kernel: Kernel) -> RangeFunction {
    RangeFunction {
        name,
        keeps_name: false,
        needs,
        anchored: false,
        smoothed: false,
        start_timestamps: false,
        scalars: 0,
        kernel,
    }
}

/// Sorted by name.
pub(super) static FUNCTIONS: &[RangeFunction] = &[
    plain("absent_over_time", Timestamps, pick::present),
    plain("avg_over_time", All, sums::avg),
    RangeFunction {
        anchored: true,
        ..plain("changes", All, events::changes)
    },
    plain("count_over_time", Timestamps, pick::count),
    RangeFunction {
        anchored: true,
        smoothed: true,
        ..plain("delta", All, rate::delta)
    },
    plain("deriv", Floats, regression::deriv),
    RangeFunction {
        scalars: 2,
        ..plain(
            "double_exponential_smoothing",
            Floats,
            smoothing::double_exponential,
        )
    },
    RangeFunction {
        keeps_name: true,
        ..plain("first_over_time", All, pick::first)
    },
    plain("idelta", All, last_two::idelta),
    RangeFunction {
        anchored: true,
        smoothed: true,
        start_timestamps: true,
        ..plain("increase", All, rate::increase)
    },
    RangeFunction {
        start_timestamps: true,
        ..plain("irate", All, last_two::irate)
    },
    RangeFunction {
        keeps_name: true,
        ..plain("last_over_time", All, pick::last)
    },
    plain("mad_over_time", Floats, order::mad_over_time),
    plain("max_over_time", Floats, extremes::max),
    plain("min_over_time", Floats, extremes::min),
    RangeFunction {
        scalars: 1,
        ..plain("predict_linear", Floats, regression::predict_linear)
    },
    plain("present_over_time", Timestamps, pick::present),
    RangeFunction {
        scalars: 1,
        ..plain("quantile_over_time", Floats, order::quantile_over_time)
    },
    RangeFunction {
        anchored: true,
        smoothed: true,
        start_timestamps: true,
        ..plain("rate", All, rate::rate)
    },
    RangeFunction {
        anchored: true,
        start_timestamps: true,
        ..plain("resets", All, events::resets)
    },
    plain("stddev_over_time", Floats, variance::stddev),
    plain("stdvar_over_time", Floats, variance::stdvar),
    plain("sum_over_time", All, sums::sum),
    plain("ts_of_first_over_time", Timestamps, pick::ts_of_first),
    plain("ts_of_last_over_time", Timestamps, pick::ts_of_last),
    plain("ts_of_max_over_time", Floats, extremes::ts_of_max),
    plain("ts_of_min_over_time", Floats, extremes::ts_of_min),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        for function in FUNCTIONS {
            assert_eq!(range_function(function.name).map(|f| f.name), Some(function.name));
        }
        assert!(range_function("up").is_none());
    }
}
