//! Go's literals: quoted strings, raw strings, characters, numbers.

use model::go::{Unit, unescape};

use crate::ast::Number;

/// What a string literal in double quotes or back quotes stands for.
pub(crate) fn unquote(literal: &str) -> Option<String> {
    let inner = literal.get(1..literal.len().checked_sub(1)?)?;
    if literal.starts_with('`') {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (unit, tail) = unescape(rest, '"')?;
        match unit {
            Unit::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unit::Byte(b) => bytes.push(b),
        }
        rest = tail;
    }
    // Bytes written as escapes need not be UTF-8; Go keeps them, we show them as what they are not.
    Some(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The code point of a character literal.
pub(crate) fn unquote_char(literal: &str) -> Option<i64> {
    let inner = literal.get(1..literal.len().checked_sub(1)?)?;
    match unescape(inner, '\'')? {
        (Unit::Char(c), "") => Some(i64::from(u32::from(c))),
        (Unit::Byte(b), "") => Some(i64::from(b)),
        _ => None,
    }
}

/// A character is an integer wherever it is used.
pub(crate) fn rune_number(rune: i64) -> Number {
    Number {
        int: Some(rune),
        float: rune as f64,
        is_float: false,
    }
}

/// What a number literal stands for: decimal, hexadecimal, octal, binary, with underscores, or a float.
pub(crate) fn number(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    if !underscores_ok(&lower) {
        return None;
    }
    let lower = lower.replace('_', "");
    if let Some(magnitude) = integer(&lower) {
        let signed = if negative {
            0i64.checked_sub_unsigned(magnitude)
        } else {
            i64::try_from(magnitude).ok()
        };
        let float = if negative {
            -(magnitude as f64)
        } else {
            magnitude as f64
        };
        return Some(Number {
            int: signed,
            float,
            is_float: false,
        });
    }
    let magnitude = match lower.strip_prefix("0x") {
        Some(hex) => hex_float(hex)?,
        None => decimal_float(&lower)?,
    };
    let float = if negative { -magnitude } else { magnitude };
    let whole = float.trunc() == float && float.abs() < 9.2e18;
    Some(Number {
        int: whole.then_some(float as i64),
        float,
        is_float: true,
    })
}

fn integer(lower: &str) -> Option<u64> {
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower, 10),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

fn decimal_float(lower: &str) -> Option<f64> {
    if !lower.bytes().any(|b| matches!(b, b'.' | b'e')) || !lower.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: f64 = lower.parse().ok()?;
    value.is_finite().then_some(value)
}

/// `1.8p3`, without the prefix; the exponent is obligatory.
fn hex_float(lower: &str) -> Option<f64> {
    let (mantissa, exponent) = lower.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.len() + fraction.len();
    if digits == 0 || digits > 13 {
        return None;
    }
    let value = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()? as f64;
    let scale = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    let value = value * 2f64.powi(scale);
    value.is_finite().then_some(value)
}

/// Underscores stand only between digits, or between a prefix and a digit.
fn underscores_ok(lower: &str) -> bool {
    if !lower.contains('_') {
        return true;
    }
    let prefixed = matches!(lower.as_bytes(), [b'0', b'x' | b'b' | b'o', ..]);
    let body = if prefixed { &lower[2..] } else { lower };
    let mut before_is_digit = prefixed;
    let mut pending = false;
    for b in body.bytes() {
        let digit = b.is_ascii_hexdigit() && (prefixed || b.is_ascii_digit());
        match b {
            b'_' if !before_is_digit || pending => return false,
            b'_' => pending = true,
            _ if pending && !digit => return false,
            _ => pending = false,
        }
        before_is_digit = digit || b == b'_';
    }
    !pending
}
