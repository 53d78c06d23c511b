//! Numbers of scrape bodies: read by the reference's rules, most of them without the general parser.

use model::sample::NORMAL_NAN_BITS;

use crate::error::Expected;

/// Powers of ten that a 64-bit float holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Up to this many digits a whole number is below 2^53 and so exact as a float.
const EXACT_DIGITS: usize = 15;

/// Reads the number that `bytes` starts with, if it is a short decimal followed by a space, a line end or nothing.
/// Gives the number and its length.
///
/// A whole number below 2^53 times or divided by an exact power of ten is one correctly rounded operation, so the
/// result has the bits that the general parser would give.
#[inline]
pub(crate) fn read_short(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let mut at = usize::from(negative);
    let mut mantissa = 0u64;
    let (mut digits, mut fraction) = (0usize, 0i32);
    let mut seen_point = false;
    loop {
        match bytes.get(at).copied() {
            Some(digit @ b'0'..=b'9') => {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                // Leading zeros do not use up precision.
                digits += usize::from(mantissa != 0 || digits > 0);
                fraction += i32::from(seen_point);
            }
            Some(b'.') if !seen_point => seen_point = true,
            _ => break,
        }
        at += 1;
    }
    // "", "-", "." and the like are for the general parser to refuse.
    if digits > EXACT_DIGITS || at == usize::from(negative) + usize::from(seen_point) {
        return None;
    }
    let mut power = -fraction;
    if let Some(b'e' | b'E') = bytes.get(at) {
        let (exponent, length) = read_exponent(&bytes[at + 1..])?;
        power += exponent;
        at += 1 + length;
    }
    if !matches!(bytes.get(at), None | Some(b' ' | b'\n')) {
        return None;
    }
    let exact = EXACT_POWERS.get(power.unsigned_abs() as usize)?;
    let value = if power < 0 {
        mantissa as f64 / exact
    } else {
        mantissa as f64 * exact
    };
    Some((if negative { -value } else { value }, at))
}

fn read_exponent(bytes: &[u8]) -> Option<(i32, usize)> {
    let (negative, sign) = match bytes.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let mut exponent = 0i32;
    let mut length = sign;
    while let Some(digit @ b'0'..=b'9') = bytes.get(length) {
        exponent = exponent * 10 + i32::from(digit - b'0');
        length += 1;
        if length > sign + 3 {
            return None;
        }
    }
    (length > sign).then_some((if negative { -exponent } else { exponent }, length))
}

/// Reads all of `bytes` as a float by the reference's rules: those of Go's `ParseFloat` without hexadecimal and `_`.
/// Every NaN gets the bits of the ordinary one.
pub(crate) fn read_float(bytes: &[u8]) -> Result<f64, Expected> {
    if let Some((value, length)) = read_short(bytes)
        && length == bytes.len()
    {
        return Ok(value);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Expected::Float)?;
    let value: f64 = text.parse().map_err(|_| Expected::Float)?;
    if value.is_nan() {
        // Go knows no signed NaN.
        let signed = matches!(bytes.first(), Some(b'+' | b'-'));
        return if signed {
            Err(Expected::Float)
        } else {
            Ok(f64::from_bits(NORMAL_NAN_BITS))
        };
    }
    // A number too large is an error, not infinity; infinity itself is a word.
    if value.is_infinite() && bytes.iter().any(u8::is_ascii_digit) {
        return Err(Expected::FloatRange);
    }
    Ok(value)
}

/// A bound that can be brought into its usual form.
///
/// The reference reads bounds with all of Go's syntax, so that hexadecimal floats and digit separators count there. No
/// exporter writes them, and they are left as they are here (`blanks.prom.txt` of our own bodies).
pub(crate) fn read_bound(bytes: &[u8]) -> Option<f64> {
    read_float(bytes).ok()
}

/// Seconds to milliseconds, cut towards zero.
///
/// Compat: what does not fit becomes the smallest integer, as Go's conversion does on the usual processors
/// (`times_that_do_not_fit_become_the_smallest`).
pub(crate) fn seconds_to_ms(seconds: f64) -> i64 {
    let ms = seconds * 1000.0;
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&ms) {
        ms as i64
    } else {
        i64::MIN
    }
}

/// `value` as the bound of a bucket or a quantile is written in OpenMetrics: shortest digits, and never without `.` or `e`.
pub fn format_bound(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return "0.0".to_owned();
    }
    let mut text = model::float::format_general(value);
    if !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_have_the_bits_of_the_general_parser() {
        for text in [
            "0",
            "-0",
            "1",
            "17",
            "123456789012345",
            "0.1",
            "-2.5",
            ".5",
            "5.",
            "1e6",
            "1.5e+06",
            "7.6238e-05",
            "1e22",
            "1e-22",
            "0.000000000000000000001",
            "00012.50",
            "1.7954024121153073e+09",
        ] {
            let want: f64 = text.parse().unwrap();
            assert_eq!(
                read_float(text.as_bytes()).unwrap().to_bits(),
                want.to_bits(),
                "{text}"
            );
        }
        assert_eq!(read_short(b"12.5 99\n"), Some((12.5, 4)));
        assert_eq!(read_short(b"1234567890123456\n"), None);
        assert_eq!(read_short(b"12}"), None);
    }

    #[test]
    fn go_rules() {
        for text in [
            "", "-", ".", "e5", "1e", "0x1p3", "1_0", "+nan", "-NaN", "infin", "1 ", "\u{661}",
        ] {
            assert_eq!(read_float(text.as_bytes()), Err(Expected::Float), "{text:?}");
        }
        for text in ["nan", "NaN", "NAN"] {
            assert_eq!(
                read_float(text.as_bytes()).unwrap().to_bits(),
                NORMAL_NAN_BITS,
                "{text}"
            );
        }
        for text in ["+Inf", "inf", "-infinity", "Infinity"] {
            assert!(read_float(text.as_bytes()).unwrap().is_infinite(), "{text}");
        }
        assert_eq!(read_float(b"1e400"), Err(Expected::FloatRange));
        assert_eq!(read_float(b"1e-400"), Ok(0.0));
    }

    #[test]
    fn bounds() {
        for (value, want) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-1.0, "-1.0"),
            (0.5, "0.5"),
            (10.0, "10.0"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "+Inf"),
            (1e21, "1e+21"),
            (123_456.5, "123456.5"),
            (1_234_567.5, "1.2345675e+06"),
        ] {
            assert_eq!(format_bound(value), want);
        }
    }

    #[test]
    fn seconds() {
        assert_eq!(seconds_to_ms(1.2345), 1234);
        assert_eq!(seconds_to_ms(-1.2345), -1234);
        assert_eq!(seconds_to_ms(1e300), i64::MIN);
    }
}
