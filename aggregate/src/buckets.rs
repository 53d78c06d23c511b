//! Counters of values by range, as `histogram_bucket` gives them.
//!
//! The ranges are VictoriaMetrics': 18 to a power of ten from 1e-9 to 1e18, the lower end open and the upper closed, one
//! below and one above. Label `vmrange` names them by both ends with four digits; the ends are found by multiplying on,
//! so that the texts are theirs to the last digit.

use std::sync::OnceLock;

const EXPONENT_MIN: i32 = -9;
const EXPONENT_MAX: i32 = 18;
const PER_POWER: usize = 18;
/// Ranges between the lowest and the highest.
const INNER: usize = (EXPONENT_MAX - EXPONENT_MIN) as usize * PER_POWER;
/// All of them.
pub(crate) const RANGES: usize = INNER + 2;

/// The number of the range that holds `value`: 0 for the lowest. Negative values are in none.
pub(crate) fn range_of(value: f64) -> Option<usize> {
    if value.is_nan() || value < 0.0 {
        return None;
    }
    let place = (value.log10() - f64::from(EXPONENT_MIN)) * PER_POWER as f64;
    if place < 0.0 {
        return Some(0);
    }
    if place >= INNER as f64 {
        return Some(INNER + 1);
    }
    let whole = place as usize;
    // The upper end of a range belongs to it.
    let is_end = place == whole as f64 && whole > 0;
    Some(whole + 1 - usize::from(is_end))
}

/// What label `vmrange` says of range `number`.
pub(crate) fn name_of(number: usize) -> &'static str {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let factor = 10f64.powf(1.0 / PER_POWER as f64);
        let mut end = 10f64.powi(EXPONENT_MIN);
        let mut names = vec![format!("0...{}", four_digits(end))];
        for _ in 0..INNER {
            let start = end;
            end *= factor;
            names.push(format!("{}...{}", four_digits(start), four_digits(end)));
        }
        names.push(format!("{}...+Inf", four_digits(10f64.powi(EXPONENT_MAX))));
        names
    });
    names.get(number).map_or("", String::as_str)
}

/// `1.000e-09`: at least two digits of exponent, and its sign.
fn four_digits(value: f64) -> String {
    let text = format!("{value:.3e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => ('-', rest),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// Counters by range: those that are not 0, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Buckets(Vec<(u16, u64)>);

impl Buckets {
    /// Counts `value`; says whether a counter more is kept than before.
    pub(crate) fn add(&mut self, value: f64) -> bool {
        let Some(range) = range_of(value) else {
            return false;
        };
        let range = range as u16;
        match self.0.binary_search_by_key(&range, |(range, _)| *range) {
            Ok(at) => {
                self.0[at].1 += 1;
                false
            }
            Err(at) => {
                self.0.insert(at, (range, 1));
                true
            }
        }
    }

    /// Sets a counter, as a journal tells it.
    pub(crate) fn set(&mut self, range: u16, count: u64) {
        if usize::from(range) < RANGES && self.0.last().is_none_or(|(last, _)| *last < range) {
            self.0.push((range, count));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_named_as_victoriametrics_names_them() {
        for (value, name) in [
            (0.0, "0...1.000e-09"),
            (9e-10, "0...1.000e-09"),
            // The lowest end belongs to the range above it, unlike all others.
            (1e-9, "1.000e-09...1.136e-09"),
            (1.0, "8.799e-01...1.000e+00"),
            (1.1, "1.000e+00...1.136e+00"),
            (10.0, "8.799e+00...1.000e+01"),
            (1e18, "1.000e+18...+Inf"),
            (f64::INFINITY, "1.000e+18...+Inf"),
        ] {
            assert_eq!(range_of(value).map(name_of), Some(name), "{value}");
        }
        assert_eq!(range_of(-1.0), None);
        assert_eq!(name_of(INNER), "8.799e+17...1.000e+18");
    }
}
