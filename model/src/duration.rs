//! Durations as configuration, rules and PromQL write them: `5m`, `1h30m`, `15d`, `250ms`.
//!
//! A year has 365 days, a week 7, a day 24 hours. Numbers are whole (`1.5d` is none), units stand from large to small,
//! each at most once. Everything is in milliseconds.

use crate::go::Quoted;
use std::fmt;

/// Units from large to small, with their length in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longest duration in milliseconds. Compat: the reference counts nanoseconds in 64 bits, which ends after 292 years
/// (`refuses_what_the_reference_refuses`).
pub const DURATION_MS_MAX: i64 = i64::MAX / 1_000_000;

/// Why a text is not a duration. Positions are byte offsets into the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Nothing there.
    #[error("empty duration string")]
    Empty,
    /// Not numbers with units, or units out of order.
    #[error("not a valid duration string: {}", Quoted(.text))]
    Invalid {
        /// The whole text.
        text: String,
        /// Where it goes wrong.
        at: usize,
    },
    /// A unit that does not exist.
    #[error("unknown unit {} in duration {}", Quoted(.unit), Quoted(.text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
        /// Where the unit starts.
        at: usize,
    },
    /// Longer than [`DURATION_MS_MAX`].
    #[error("duration out of range")]
    OutOfRange,
}

/// Reads a duration that is not negative, in milliseconds. `0` needs no unit.
///
/// ```
/// use narthex_model::duration::parse_duration;
/// assert_eq!(parse_duration("1h30m"), Ok(5_400_000));
/// assert!(parse_duration("1.5d").is_err());
/// ```
///
/// # Errors
/// See [`DurationError`].
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(0),
        _ => {}
    }
    let invalid = |at| DurationError::Invalid {
        text: text.to_owned(),
        at,
    };
    let (mut at, mut total_ms, mut units_left) = (0, 0_u64, &UNITS[..]);
    while at < text.len() {
        let number_len = run_length(&text[at..], |b| b.is_ascii_digit());
        let unit_at = at + number_len;
        let unit_len = run_length(&text[unit_at..], |b| !b.is_ascii_digit());
        if number_len == 0 || unit_len == 0 {
            return Err(invalid(unit_at));
        }
        // Fails only above 64 bits: the text consists of digits.
        let number: u64 = text[at..unit_at].parse().map_err(|_| invalid(at))?;
        let unit = &text[unit_at..unit_at + unit_len];
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(DurationError::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
                at: unit_at,
            });
        }
        let position = units_left
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| invalid(unit_at))?;
        let (_, unit_ms) = units_left[position];
        units_left = &units_left[position + 1..];
        total_ms = number
            .checked_mul(unit_ms)
            .and_then(|part_ms| total_ms.checked_add(part_ms))
            .filter(|ms| *ms <= DURATION_MS_MAX.unsigned_abs())
            .ok_or(DurationError::OutOfRange)?;
        at = unit_at + unit_len;
    }
    Ok(total_ms as i64)
}

/// Reads a duration that may have a minus sign in front, in milliseconds.
///
/// # Errors
/// As [`parse_duration`]; positions count from behind the sign.
pub fn parse_signed_duration(text: &str) -> Result<i64, DurationError> {
    match text.strip_prefix('-') {
        Some(rest) => parse_duration(rest).map(|ms| -ms),
        None => parse_duration(text),
    }
}

/// Text of a duration in milliseconds as the reference prints it: years and weeks only where nothing is left over
/// (`90d`, not `12w6d`), `0s` for none, a minus sign for negative ones.
pub fn format_duration(duration_ms: i64) -> String {
    DurationText(duration_ms).to_string()
}

/// Displays a duration given in milliseconds as [`format_duration`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub i64);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut rest_ms = self.0.unsigned_abs();
        for (unit, unit_ms) in UNITS {
            let only_if_exact = matches!(unit, "y" | "w");
            let count = rest_ms / unit_ms;
            if count == 0 || (only_if_exact && !rest_ms.is_multiple_of(unit_ms)) {
                continue;
            }
            write!(f, "{count}{unit}")?;
            rest_ms -= count * unit_ms;
        }
        Ok(())
    }
}

fn run_length(text: &str, holds: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|b| !holds(b)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_reference_reads() {
        for (text, ms) in [
            ("0", 0),
            ("0w", 0),
            ("324ms", 324),
            ("3s", 3_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("4d", 345_600_000),
            ("15d", 1_296_000_000),
            ("4d1h", 349_200_000),
            ("3w2d1h", 1_990_800_000),
            ("10y", 315_360_000_000),
            ("1y2w3d4h5m6s7ms", 33_019_506_007),
            ("00005s", 5_000),
            ("292y", 9_208_512_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        assert_eq!(parse_signed_duration("-1h30m"), Ok(-5_400_000));
    }

    #[test]
    fn refuses_what_the_reference_refuses() {
        for (text, message) in [
            ("", "empty duration string"),
            ("1", r#"not a valid duration string: "1""#),
            ("00", r#"not a valid duration string: "00""#),
            ("1.5d", r#"unknown unit "." in duration "1.5d""#),
            ("1y1m1d", r#"not a valid duration string: "1y1m1d""#),
            ("1d1d", r#"not a valid duration string: "1d1d""#),
            ("-1w", r#"not a valid duration string: "-1w""#),
            ("d", r#"not a valid duration string: "d""#),
            ("1h ", r#"unknown unit "h " in duration "1h ""#),
            ("5µs", r#"unknown unit "µs" in duration "5µs""#),
            (
                "99999999999999999999s",
                r#"not a valid duration string: "99999999999999999999s""#,
            ),
            ("294y", "duration out of range"),
            ("292y200d", "duration out of range"),
            ("9223372036855ms", "duration out of range"),
        ] {
            assert_eq!(
                parse_duration(text).map_err(|e| e.to_string()),
                Err(message.to_owned()),
                "{text}"
            );
        }
        assert_eq!(
            parse_duration("1h5"),
            Err(DurationError::Invalid {
                text: "1h5".into(),
                at: 3
            })
        );
    }

    #[test]
    fn prints_as_the_reference() {
        for (ms, text) in [
            (0, "0s"),
            (324, "324ms"),
            (3_000, "3s"),
            (5_400_000, "1h30m"),
            (7 * 86_400_000, "1w"),
            (90 * 86_400_000, "90d"),
            (365 * 86_400_000, "1y"),
            (366 * 86_400_000, "366d"),
            (-90_061_001, "-1d1h1m1s1ms"),
            (14 * 86_400_000, "2w"),
            (372 * 86_400_000, "372d"),
            (730 * 86_400_000, "2y"),
        ] {
            assert_eq!(format_duration(ms), text);
            assert_eq!(parse_signed_duration(text), Ok(ms));
        }
    }
}
