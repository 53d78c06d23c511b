//! Floats as text, in Go's forms: clients compare these texts byte for byte.
//!
//! Writers append to a `Vec<u8>` or a `String` ([`TextSink`]) and do not allocate beyond it. The digits are the shortest
//! that read back to the same float (crate `zmij`); the layout is ours, because Go's differs from Rust's: exponents
//! have at least two digits (`1e-07`), infinities carry their sign (`+Inf`).

mod parse;

pub use parse::{FloatError, parse_exposition, parse_float, parse_number};

/// Where the writers of this module append: a buffer of bytes or of text.
pub trait TextSink {
    /// Appends `text`.
    fn put(&mut self, text: &str);
}

impl TextSink for Vec<u8> {
    #[inline]
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

impl TextSink for String {
    #[inline]
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
    if WITHOUT_EXPONENT.contains(&value.abs()) {
        out.put(text.strip_suffix(".0").unwrap_or(text));
    } else {
        ShortDecimal::parse(text).parts().put_plain(out);
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

/// Numbers of which the digit generator writes no exponent.
const WITHOUT_EXPONENT: std::ops::Range<f64> = 1e-5..1e16;

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
