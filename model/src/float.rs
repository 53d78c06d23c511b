//! Floats as text, in Go's forms: clients compare these texts byte for byte.
//!
//! Writers append to a `Vec<u8>` or a `String` ([`TextSink`]) and do not allocate beyond it. The digits are the shortest
//! that read back to the same float (crate `zmij`); the layout is ours, because Go's differs from Rust's: exponents
//! have at least two digits (`1e-07`), infinities carry their sign (`+Inf`).

/// Where the writers of this module append: a buffer of bytes or of text.
pub trait TextSink {
    /// Appends `text`.
    fn put(&mut self, text: &str);
}

impl TextSink for Vec<u8> {
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

impl TextSink for String {
    fn put(&mut self, text: &str) {
        self.push_str(text);
    }
}

/// Layout of a float's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Digits and point only, Go's `%f`.
    Plain,
    /// One digit before the point and an exponent, Go's `%e`.
    Exponent,
    /// Whichever suits the exponent, Go's `%g`.
    General,
}

/// Text of a float without exponent, in the fewest digits: Go's `FormatFloat(value, 'f', -1, 64)`.
pub fn format_float(value: f64) -> String {
    collect(value, write_float)
}

/// Text of a float in exponent form, in the fewest digits (`1e+00`): Go's `FormatFloat(value, 'e', -1, 64)`.
pub fn format_exponent(value: f64) -> String {
    collect(value, write_exponent)
}

/// Text of a float with an exponent where it is below -4 or above 5: Go's `FormatFloat(value, 'g', -1, 64)`, which is
/// also what `%v` and `%g` print.
pub fn format_general(value: f64) -> String {
    collect(value, write_general)
}

/// Text of a sample value in the HTTP API, without the quotes; see [`write_json`].
pub fn format_json(value: f64) -> String {
    collect(value, write_json)
}

/// Text of a float with `precision` digits: after the point for [`Layout::Plain`] and [`Layout::Exponent`], significant
/// ones (without trailing zeros) for [`Layout::General`]. Go's `%.Nf`, `%.Ne` and `%.Ng`; ties round to even on the
/// float's exact decimal value.
pub fn format_precision(value: f64, layout: Layout, precision: usize) -> String {
    // No float has more than 1,074 decimals; the rest is zeros, and std's precision ends at 65,535.
    const DECIMALS_MAX: usize = 1100;
    let mut out = String::new();
    if put_special(&mut out, value) {
        return out;
    }
    let exact = precision.min(DECIMALS_MAX);
    match layout {
        Layout::Plain => {
            out = format!("{value:.exact$}");
            out.extend(std::iter::repeat_n('0', precision - exact));
        }
        Layout::Exponent => {
            let text = format!("{value:.exact$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            out.push_str(mantissa);
            out.extend(std::iter::repeat_n('0', precision - exact));
            put_exponent(&mut out, exponent.parse().unwrap_or(0));
        }
        Layout::General => {
            let significant = exact.max(1);
            let text = format!("{:.*e}", significant - 1, value);
            let decimal = LongDecimal::from_scientific(&text);
            let exponent = decimal.exponent;
            let exponent_max = i32::try_from(precision.max(1)).unwrap_or(i32::MAX);
            if !(-4..exponent_max).contains(&exponent) {
                decimal.parts().put_scientific(&mut out);
            } else {
                decimal.parts().put_plain(&mut out);
            }
        }
    }
    out
}

/// Appends the text of [`format_float`].
pub fn write_float(out: &mut impl TextSink, value: f64) {
    // Integers are by far the most common samples. -0 keeps its sign below.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.abs() < EXACT && value.trunc() == value && (value != 0.0 || value.is_sign_positive()) {
        return out.put(itoa::Buffer::new().format(value as i64));
    }
    if put_special(out, value) {
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    if text.bytes().any(|b| b == b'e') {
        ShortDecimal::parse(text).parts().put_plain(out);
    } else {
        out.put(text.strip_suffix(".0").unwrap_or(text));
    }
}

/// Appends the text of [`format_exponent`].
pub fn write_exponent(out: &mut impl TextSink, value: f64) {
    if !put_special(out, value) {
        ShortDecimal::of(value).parts().put_scientific(out);
    }
}

/// Appends the text of [`format_general`].
pub fn write_general(out: &mut impl TextSink, value: f64) {
    if put_special(out, value) {
        return;
    }
    let decimal = ShortDecimal::of(value);
    if !(-4..6).contains(&decimal.exponent) {
        decimal.parts().put_scientific(out);
    } else {
        decimal.parts().put_plain(out);
    }
}

/// Appends a sample value as the HTTP API shows it (without quotes): [`write_float`]'s form, but with an exponent below
/// 1e-6 and from 1e21 on.
pub fn write_json(out: &mut impl TextSink, value: f64) {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        write_exponent(out, value);
    } else {
        write_float(out, value);
    }
}

/// Appends a timestamp given in milliseconds as seconds: three decimals, or none where they would be zeros.
pub fn write_timestamp(out: &mut impl TextSink, timestamp_ms: i64) {
    if timestamp_ms < 0 {
        out.put("-");
    }
    let magnitude = timestamp_ms.unsigned_abs();
    out.put(itoa::Buffer::new().format(magnitude / 1000));
    let fraction = (magnitude % 1000) as u32;
    if fraction != 0 {
        let digits = [
            b'.',
            digit(fraction / 100),
            digit(fraction / 10 % 10),
            digit(fraction % 10),
        ];
        out.put(ascii(&digits));
    }
}

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
        // Compat: a leading zero means octal, as long as every digit is one; `08` is the float 8.
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

// ------------------------------------------------------------------------------------------------------------ layout

/// A decimal `0.d₁d₂… × 10^(exponent+1)`: no leading zero and, except for zero itself, no trailing one.
struct Parts<'a> {
    negative: bool,
    digits: &'a [u8],
    /// Power of ten of the first digit.
    exponent: i32,
}

impl Parts<'_> {
    fn put_plain(&self, out: &mut impl TextSink) {
        let digits = ascii(self.digits);
        if self.negative {
            out.put("-");
        }
        if self.exponent < 0 {
            out.put("0.");
            put_zeros(out, self.exponent.unsigned_abs() as usize - 1);
            out.put(digits);
            return;
        }
        let whole = self.exponent.unsigned_abs() as usize + 1;
        if digits.len() <= whole {
            out.put(digits);
            put_zeros(out, whole - digits.len());
        } else {
            out.put(&digits[..whole]);
            out.put(".");
            out.put(&digits[whole..]);
        }
    }

    fn put_scientific(&self, out: &mut impl TextSink) {
        let digits = ascii(self.digits);
        if self.negative {
            out.put("-");
        }
        out.put(&digits[..1]);
        if digits.len() > 1 {
            out.put(".");
            out.put(&digits[1..]);
        }
        put_exponent(out, self.exponent);
    }
}

/// The shortest digits of a float, at most 17.
struct ShortDecimal {
    negative: bool,
    digits: [u8; 20],
    len: usize,
    exponent: i32,
}

impl ShortDecimal {
    fn of(value: f64) -> Self {
        ShortDecimal::parse(zmij::Buffer::new().format_finite(value))
    }

    /// Takes apart the digit generator's text: `-12.5`, `0.001`, `1e21`, `1.5e-7`.
    fn parse(text: &str) -> Self {
        let (mut digits, mut len, mut negative) = ([b'0'; 20], 0, false);
        let (mut point, mut exponent) = (None, 0_i32);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'-' => negative = true,
                b'.' => point = Some(0),
                b'e' => {
                    exponent = text[at + 1..].parse().unwrap_or(0);
                    break;
                }
                _ => {
                    point = point.map(|decimals| decimals + 1);
                    if len > 0 || byte != b'0' {
                        digits[len.min(19)] = byte;
                        len += 1;
                    }
                }
            }
        }
        let all = i32::try_from(len).unwrap_or(0);
        let exponent = exponent + all - point.unwrap_or(0) - 1;
        len = len.min(19);
        while len > 0 && digits[len - 1] == b'0' {
            len -= 1;
        }
        if len == 0 {
            // Zero: one digit, however many the text had.
            return ShortDecimal {
                negative,
                digits,
                len: 1,
                exponent: 0,
            };
        }
        ShortDecimal {
            negative,
            digits,
            len,
            exponent,
        }
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            negative: self.negative,
            digits: &self.digits[..self.len],
            exponent: self.exponent,
        }
    }
}

/// A decimal of any number of digits.
struct LongDecimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i32,
}

impl LongDecimal {
    /// From `{:e}` text.
    fn from_scientific(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
        while digits.len() > 1 && digits.last() == Some(&b'0') {
            digits.pop();
        }
        LongDecimal {
            negative: mantissa.starts_with('-'),
            digits,
            exponent: exponent.parse().unwrap_or(0),
        }
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            negative: self.negative,
            digits: &self.digits,
            exponent: self.exponent,
        }
    }
}

fn collect(value: f64, write: impl Fn(&mut String, f64)) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn put_special(out: &mut impl TextSink, value: f64) -> bool {
    if value.is_finite() {
        return false;
    }
    out.put(match value {
        f64::INFINITY => "+Inf",
        f64::NEG_INFINITY => "-Inf",
        _ => "NaN",
    });
    true
}

fn put_exponent(out: &mut impl TextSink, exponent: i32) {
    out.put(if exponent < 0 { "e-" } else { "e+" });
    let magnitude = exponent.unsigned_abs();
    if magnitude < 10 {
        out.put("0");
    }
    out.put(itoa::Buffer::new().format(magnitude));
}

fn put_zeros(out: &mut impl TextSink, mut count: usize) {
    const ZEROS: &str = "00000000000000000000000000000000";
    while count > 0 {
        let some = count.min(ZEROS.len());
        out.put(&ZEROS[..some]);
        count -= some;
    }
}

fn digit(value: u32) -> u8 {
    b'0' + value as u8
}

fn ascii(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).expect("ASCII digits")
}

// ----------------------------------------------------------------------------------------------------------- reading

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
