//! Bounds of buckets.

use super::CUSTOM_BUCKETS_SCHEMA;
use super::bounds_table::BOUNDS;

/// Finest schema whose bounds are tabled.
const TABLED_SCHEMA: i32 = 8;

/// Upper bound of bucket `index`: absolute, for exponential schemas; the bucket starts at the bound of `index - 1`.
/// With custom bounds, buckets before the first and behind the last bound reach to infinity.
pub fn bound(index: i32, schema: i32, custom_values: &[f64]) -> f64 {
    if schema != CUSTOM_BUCKETS_SCHEMA {
        return exponential_bound(index, schema);
    }
    match usize::try_from(index) {
        Ok(index) => custom_values.get(index).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}

/// Absolute upper bound of bucket `index` of an exponential schema: `2^(index / 2^schema)`.
///
/// The last bucket of regular numbers ends at the largest of them, since its calculated bound is none; behind it
/// lies the bucket of infinities.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let index = i64::from(index);
    if schema < 0 {
        let exponent = index << schema.unsigned_abs().min(16);
        return if exponent == 1024 {
            f64::MAX
        } else {
            scale(1.0, exponent)
        };
    }
    // Schemas beyond the tabled ones are reduced before they get here; their bounds are good enough for display.
    let schema = schema.min(30);
    let part = index & ((1 << schema) - 1);
    let fraction = if schema <= TABLED_SCHEMA {
        BOUNDS[(part as usize) << (TABLED_SCHEMA - schema)]
    } else {
        (part as f64 / f64::from(1 << schema) - 1.0).exp2()
    };
    let exponent = (index >> schema) + 1;
    if fraction == 0.5 && exponent == 1025 {
        f64::MAX
    } else {
        scale(fraction, exponent)
    }
}

/// `value × 2^exponent`, rounded once.
fn scale(mut value: f64, exponent: i64) -> f64 {
    /// A power of two within the exponents of normal floats.
    fn power(exponent: i64) -> f64 {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    }
    let mut exponent = exponent.clamp(-2200, 2200);
    while exponent > 1023 {
        value *= power(1023);
        exponent -= 1023;
    }
    // The steps down stay clear of subnormals until the last multiplication.
    while exponent < -1022 {
        value *= power(-1022 + 53);
        exponent += 1022 - 53;
    }
    value * power(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_powers_of_two_are_exact() {
        for schema in -4..=8 {
            for exponent in [-1074_i64, -1073, -1022, -1, 0, 1, 10, 1023] {
                let scaled = if schema >= 0 {
                    exponent << schema
                } else {
                    exponent >> -schema
                };
                if schema < 0 && scaled << -schema != exponent {
                    continue;
                }
                let expected = scale(1.0, exponent);
                assert_eq!(
                    exponential_bound(scaled as i32, schema),
                    expected,
                    "schema {schema}, 2^{exponent}"
                );
            }
        }
        assert_eq!(scale(1.0, -1074), f64::from_bits(1));
        assert_eq!(scale(1.0, 1024), f64::INFINITY);
    }

    #[test]
    fn the_last_regular_bucket_ends_at_the_largest_number() {
        assert_eq!(exponential_bound(1024, 0), f64::MAX);
        assert_eq!(exponential_bound(1025, 0), f64::INFINITY);
        assert_eq!(exponential_bound(1024 << 8, 8), f64::MAX);
        assert_eq!(exponential_bound((1024 << 8) + 1, 8), f64::INFINITY);
        assert_eq!(exponential_bound(256, -2), f64::MAX);
        assert_eq!(exponential_bound(257, -2), f64::INFINITY);
    }

    #[test]
    fn bounds_between_powers_come_from_the_table() {
        assert_eq!(exponential_bound(-1, 1), 0.7071067811865475);
        assert_eq!(exponential_bound(-1, 2), 0.8408964152537144);
        assert_eq!(exponential_bound(1, 8), 1.0027112750502025);
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn custom_bounds_reach_to_infinity() {
        let bounds = [1.0, 5.0];
        let got: Vec<_> = (-1..4)
            .map(|index| bound(index, CUSTOM_BUCKETS_SCHEMA, &bounds))
            .collect();
        assert_eq!(got, [f64::NEG_INFINITY, 1.0, 5.0, f64::INFINITY, f64::INFINITY]);
    }
}
