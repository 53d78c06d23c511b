//! Numbers for people: SI and binary prefixes, durations, timestamps.

use model::float::{Layout, format_precision};

use crate::error::CallError;
use crate::time::{Time, seconds};
use crate::value::Value;

const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// The number that `value` is or tells.
///
/// # Errors
/// Values that are no numbers, text that tells none.
pub(crate) fn to_float(value: &Value) -> Result<f64, CallError> {
    match value {
        Value::Float(f) => Ok(*f),
        Value::Int(i) => Ok(*i as f64),
        Value::Duration(ns) => Ok(seconds(*ns)),
        Value::String(text) => {
            let text = text.to_string();
            model::float::parse_float(&text).map_err(|error| CallError::BadFloat { text, error })
        }
        value => Err(CallError::NotNumber(value.type_name().to_owned())),
    }
}

/// Four significant digits.
fn short(value: f64) -> String {
    format_precision(value, Layout::General, 4)
}

fn is_special(value: f64) -> bool {
    value == 0.0 || !value.is_finite()
}

/// Divides by `unit` until less than one is left of it, and gives the prefix of the last division.
fn shrink(mut value: f64, unit: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut prefix = "";
    for larger in prefixes {
        if value.abs() < unit {
            break;
        }
        prefix = larger;
        value /= unit;
    }
    (value, prefix)
}

/// Multiplies by a thousand until at least one is reached.
fn grow(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for smaller in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = smaller;
        value *= 1000.0;
    }
    (value, prefix)
}

/// `1.235M`, `930m`
pub(crate) fn metric(value: f64) -> String {
    if is_special(value) {
        return short(value);
    }
    let (value, prefix) = if value.abs() >= 1.0 {
        shrink(value, 1000.0, &LARGE)
    } else {
        grow(value)
    };
    format!("{}{prefix}", short(value))
}

/// `12.06ki`
pub(crate) fn binary(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return short(value);
    }
    let (value, prefix) = shrink(value, 1024.0, &BINARY);
    format!("{}{prefix}", short(value))
}

/// `12.35%`
pub(crate) fn percentage(value: f64) -> String {
    format!("{}%", short(value * 100.0))
}

/// `1d 1h 1m 1s`, `59.9s`, `930ms`
pub(crate) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return short(value);
    }
    if value == 0.0 {
        return format!("{}s", short(value));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = grow(value);
        return format!("{}{prefix}s", short(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    // Saturates, like everything that is so far away.
    let whole = value as i64;
    let (days, hours, minutes, secs) = (whole / 86400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", short(value)),
        (0, 0, minutes) => format!("{sign}{minutes}m {secs}s"),
        (0, hours, minutes) => format!("{sign}{hours}h {minutes}m {secs}s"),
        (days, hours, minutes) => format!("{sign}{days}d {hours}h {minutes}m {secs}s"),
    }
}

/// The moment `value` seconds after the Unix epoch, to the millisecond.
///
/// # Errors
/// What is not a number, or beyond what 64 bits of nanoseconds reach.
pub(crate) fn to_time(value: f64) -> Result<Time, CallError> {
    if !value.is_finite() {
        return Err(CallError::NanOrInf);
    }
    let ns = value * 1e9;
    if ns > i64::MAX as f64 || ns < i64::MIN as f64 {
        return Err(CallError::TimeOverflow(Value::Float(value).to_string()));
    }
    // Compat: milliseconds, cut towards zero, are all that the reference keeps.
    let ms = ns as i64 / 1_000_000;
    Ok(Time::from_unix_ns(i128::from(ms) * 1_000_000))
}

/// `2015-06-23 13:19:44.128 +0000 UTC`
///
/// # Errors
/// As [`to_time`], but what is not a number prints as what it is.
pub(crate) fn timestamp(value: f64) -> Result<String, CallError> {
    if !value.is_finite() {
        return Ok(short(value));
    }
    Ok(to_time(value)?.to_string())
}
