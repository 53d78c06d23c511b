//! The range functions by name.

use super::{Needs, RangeFunction, pick};

/// The range function called `name`; `None` for names that are none. Every name of the reference's range functions has
/// an entry, experimental ones included.
pub fn range_function(name: &str) -> Option<&'static RangeFunction> {
    FUNCTIONS
        .binary_search_by(|function| function.name.cmp(name))
        .ok()
        .map(|at| &FUNCTIONS[at])
}

const PLAIN: RangeFunction = RangeFunction {
    name: "",
    keeps_name: false,
    needs: Needs::Floats,
    anchored: false,
    smoothed: false,
    start_timestamps: false,
    scalars: 0,
    kernel: pick::count,
};

/// Sorted by name.
static FUNCTIONS: &[RangeFunction] = &[
    RangeFunction {
        name: "absent_over_time",
        needs: Needs::Timestamps,
        kernel: pick::present,
        ..PLAIN
    },
    RangeFunction {
        name: "count_over_time",
        needs: Needs::Timestamps,
        kernel: pick::count,
        ..PLAIN
    },
    RangeFunction {
        name: "first_over_time",
        keeps_name: true,
        needs: Needs::All,
        kernel: pick::first,
        ..PLAIN
    },
    RangeFunction {
        name: "last_over_time",
        keeps_name: true,
        needs: Needs::All,
        kernel: pick::last,
        ..PLAIN
    },
    RangeFunction {
        name: "present_over_time",
        needs: Needs::Timestamps,
        kernel: pick::present,
        ..PLAIN
    },
    RangeFunction {
        name: "ts_of_first_over_time",
        needs: Needs::Timestamps,
        kernel: pick::ts_of_first,
        ..PLAIN
    },
    RangeFunction {
        name: "ts_of_last_over_time",
        needs: Needs::Timestamps,
        kernel: pick::ts_of_last,
        ..PLAIN
    },
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
