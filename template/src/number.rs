//! Floats as Go's verbs print them.

use model::float::{Layout, format_exponent, format_float, format_general, format_precision};

/// Most digits that a precision asks for.
const PRECISION_MAX: usize = 1000;

/// `%v`: the shortest digits that read back.
pub(crate) fn shortest(out: &mut String, value: f64) {
    model::float::write_general(out, value);
}

/// Formats `value` by a verb of `e`, `f`, `g` (or their upper-case forms) with a precision, or the shortest digits
/// that read back.
pub(crate) fn format(value: f64, verb: char, precision: Option<usize>) -> String {
    let layout = match verb.to_ascii_lowercase() {
        'f' => Layout::Plain,
        'e' => Layout::Exponent,
        _ => Layout::General,
    };
    let text = match (precision, layout) {
        (Some(precision), layout) => format_precision(value, layout, precision.min(PRECISION_MAX)),
        (None, Layout::Plain) => format_float(value),
        (None, Layout::Exponent) => format_exponent(value),
        (None, Layout::General) => format_general(value),
    };
    if verb.is_ascii_uppercase() && value.is_finite() {
        return text.to_ascii_uppercase();
    }
    text
}
