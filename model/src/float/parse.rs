//! Texts as floats: Go's rules, and the narrower ones of scrape bodies.

/// Why a text is not a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FloatError {
    /// It does not have the form of a number.
    #[error("invalid syntax")]
    Syntax,
    /// The number is beyond the largest float.
    #[error("value out of range")]
    Range,
    /// It has a form that scrape bodies may not use: hexadecimal or with underscores.
    #[error("unsupported character in float")]
    Unsupported,
}

/// Reads a float as Go's `ParseFloat` does: decimal, hexadecimal with a binary exponent (`0x1.8p3`), underscores
/// between digits, `Inf`, `Infinity` and `NaN` in any case.
///
/// # Errors
/// [`FloatError::Syntax`], or [`FloatError::Range`] where the value would round to an infinity.
pub fn parse_float(text: &str) -> Result<f64, FloatError> {
    let bytes = text.as_bytes();
    let (negative, rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    match rest {
        [b'0', b'x' | b'X', digits @ ..] => parse_hex(digits).map(|v| if negative { -v } else { v }),
        [b'0'..=b'9' | b'.', ..] if rest.contains(&b'_') => {
            if !underscores_separate_digits(rest, u8::is_ascii_digit) {
                return Err(FloatError::Syntax);
            }
            finite(text.replace('_', "").parse())
        }
        [b'0'..=b'9' | b'.', ..] => finite(text.parse()),
        _ if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") => Ok(if negative {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        }),
        _ if bytes.eq_ignore_ascii_case(b"nan") => Ok(f64::NAN),
        _ => Err(FloatError::Syntax),
    }
}

/// Reads the number of a scrape body: [`parse_float`] without hexadecimal forms and underscores. Short decimals, nearly
/// all numbers there are, take one pass over the bytes.
///
/// # Errors
/// As [`parse_float`], and [`FloatError::Unsupported`] where `p`, `P` or `_` occurs.
pub fn parse_exposition(text: &[u8]) -> Result<f64, FloatError> {
    if let Some(value) = parse_short(text) {
        return Ok(value);
    }
    if text.iter().any(|b| matches!(b, b'p' | b'P' | b'_')) {
        return Err(FloatError::Unsupported);
    }
    parse_float(std::str::from_utf8(text).map_err(|_| FloatError::Syntax)?)
}

/// Reads a number literal of PromQL: an integer in Go's notation (`0x1F`, `0b101`, `0o17`, and `017`, which is 15) if it
/// is one that fits 64 bits, else a float.
///
/// # Errors
/// As [`parse_float`].
pub fn parse_number(text: &str) -> Result<f64, FloatError> {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let prefix = rest.get(..2).unwrap_or("").to_ascii_lowercase();
    let (radix, digits) = match prefix.as_str() {
        "0x" => (16, &rest[2..]),
        "0b" => (2, &rest[2..]),
        "0o" => (8, &rest[2..]),
        // Compat: a leading zero means octal, as long as every digit is one; `08` is the float 8 (`reading_is_gos`).
        _ if prefix.starts_with('0') => (8, &rest[1..]),
        _ => (10, rest),
    };
    let is_digit = |b: &u8| char::from(*b).is_digit(radix);
    // The base prefix counts as a digit before an underscore.
    let separated = underscores_separate_digits(rest, |b: &u8| is_digit(b) || b.is_ascii_alphanumeric());
    if separated && digits.bytes().all(|b| b == b'_' || is_digit(&b)) {
        let sign = if text.starts_with('-') { "-" } else { "" };
        if let Ok(value) = i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix) {
            return Ok(value as f64);
        }
    }
    parse_float(text)
}

fn finite(parsed: Result<f64, std::num::ParseFloatError>) -> Result<f64, FloatError> {
    match parsed {
        Ok(value) if value.is_infinite() => Err(FloatError::Range),
        Ok(value) => Ok(value),
        Err(_) => Err(FloatError::Syntax),
    }
}

/// `[-]digits[.digits]` with an exact mantissa and power of ten, so that one division rounds correctly.
fn parse_short(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // 15 digits stay below 2^53; one more byte for the point.
    if digits.len() > 16 {
        return None;
    }
    let (mut mantissa, mut count, mut decimals, mut seen_point) = (0_u64, 0_usize, 0_usize, false);
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                count += 1;
                decimals += usize::from(seen_point);
            }
            b'.' if !seen_point => seen_point = true,
            _ => return None,
        }
    }
    if count == 0 || count > 15 {
        return None;
    }
    let value = mantissa as f64 / POWERS[decimals];
    Some(if negative { -value } else { value })
}

/// Whether each underscore stands between two digits; a base prefix counts as a digit.
fn underscores_separate_digits<T: AsRef<[u8]> + ?Sized>(text: &T, is_digit: impl Fn(&u8) -> bool) -> bool {
    let text = text.as_ref();
    text.iter()
        .enumerate()
        .filter(|(_, b)| **b == b'_')
        .all(|(at, _)| {
            let digit_at = |i: usize| text.get(i).is_some_and(&is_digit);
            at > 0 && digit_at(at - 1) && digit_at(at + 1)
        })
}

/// The part of a hexadecimal float behind `0x`: digits, perhaps with a point, and the binary exponent, which must be there.
fn parse_hex(text: &[u8]) -> Result<f64, FloatError> {
    let split = text
        .iter()
        .position(|b| matches!(b, b'p' | b'P'))
        .ok_or(FloatError::Syntax)?;
    let (digits, exponent) = (&text[..split], &text[split + 1..]);
    // The base prefix before the first digit allows an underscore there.
    let prefixed: Vec<u8> = [b"0", digits].concat();
    if !underscores_separate_digits(&prefixed, u8::is_ascii_hexdigit)
        || !underscores_separate_digits(exponent, u8::is_ascii_digit)
    {
        return Err(FloatError::Syntax);
    }
    let exponent = hex_exponent(exponent)?;

    let (mut mantissa, mut sticky, mut scale) = (0_u64, false, 0_i64);
    let (mut seen_point, mut seen_digit) = (false, false);
    for &byte in digits.iter().filter(|b| **b != b'_') {
        if byte == b'.' && !seen_point {
            seen_point = true;
            continue;
        }
        let value = char::from(byte).to_digit(16).ok_or(FloatError::Syntax)?;
        seen_digit = true;
        scale -= if seen_point { 4 } else { 0 };
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(value);
        } else {
            sticky |= value != 0;
            scale += 4;
        }
    }
    if !seen_digit {
        return Err(FloatError::Syntax);
    }
    binary_to_float(mantissa, sticky, scale + exponent)
}

fn hex_exponent(text: &[u8]) -> Result<i64, FloatError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return Err(FloatError::Syntax);
    }
    let mut value = 0_i64;
    for &byte in digits.iter().filter(|b| **b != b'_') {
        if !byte.is_ascii_digit() {
            return Err(FloatError::Syntax);
        }
        // Far beyond any float; the exact number no longer matters.
        value = (value * 10 + i64::from(byte - b'0')).min(1 << 40);
    }
    Ok(if negative { -value } else { value })
}

/// The float nearest to `mantissa × 2^exponent`, ties to even; `sticky` says that bits below the mantissa were cut off.
fn binary_to_float(mantissa: u64, sticky: bool, exponent: i64) -> Result<f64, FloatError> {
    if mantissa == 0 {
        return Ok(0.0);
    }
    let leading = mantissa.leading_zeros();
    let mantissa = mantissa << leading;
    let mut top = exponent + 63 - i64::from(leading);
    // Subnormal floats have fewer than 53 bits.
    let bits = (53 - (-1022 - top).max(0)).max(-1);
    if bits < 0 {
        return Ok(0.0);
    }
    let bits = bits as u32;
    let kept = mantissa.checked_shr(64 - bits).unwrap_or(0);
    let cut = mantissa << bits;
    let half = 1 << 63;
    let up = cut > half || cut == half && (sticky || kept & 1 == 1);
    let mut kept = kept + u64::from(up);
    if top < -1022 {
        // A carry out of the subnormal range makes the smallest normal float, in the right bit pattern.
        return Ok(f64::from_bits(kept));
    }
    if kept >> 53 != 0 {
        kept >>= 1;
        top += 1;
    }
    if top > 1023 {
        return Err(FloatError::Range);
    }
    let biased = (top + 1023) as u64;
    Ok(f64::from_bits(biased << 52 | kept & ((1 << 52) - 1)))
}
