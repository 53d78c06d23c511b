//! Attribute values as texts, since labels know nothing else.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::float::write_float;
use model::protobuf::Fields;

use super::wire::{AnyValue, Attribute, NESTING_MAX};

/// What is UTF-8 as it is, and anything else with U+FFFD for what is not.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The value's text: what is no text itself is printed, lists and maps as JSON, bytes in base64.
pub(super) fn value_text<'b>(value: &AnyValue<'b>) -> Cow<'b, str> {
    match *value {
        AnyValue::Missing => Cow::Borrowed(""),
        AnyValue::Text(bytes) => text(bytes),
        AnyValue::Bool(true) => Cow::Borrowed("true"),
        AnyValue::Bool(false) => Cow::Borrowed("false"),
        AnyValue::Int(int) => Cow::Owned(int.to_string()),
        AnyValue::Double(double) => Cow::Owned(double_text(double)),
        AnyValue::Bytes(bytes) => Cow::Owned(STANDARD.encode(bytes)),
        AnyValue::Array(_) | AnyValue::Map(_) => {
            let mut out = String::new();
            // Compat: a number that JSON has no form for makes the whole text empty, as Go's encoder gives up.
            match put_json(&mut out, value, NESTING_MAX) {
                Some(()) => Cow::Owned(out),
                None => Cow::Borrowed(""),
            }
        }
    }
}

/// JavaScript's form of a number.
fn double_text(double: f64) -> String {
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        return if double > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let mut out = String::new();
    put_double(&mut out, double);
    out
}

/// Compat: exponents below 1e-6 and from 1e21 on have as many digits as they need, `1e-7` and `1e+21`
/// (payloads: attribute-types).
fn put_double(out: &mut String, double: f64) {
    let magnitude = double.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return write_float(out, double);
    }
    let exponent = format!("{double:e}");
    match exponent.split_once('e') {
        Some((mantissa, exponent)) if !exponent.starts_with('-') => {
            out.push_str(mantissa);
            out.push_str("e+");
            out.push_str(exponent);
        }
        _ => out.push_str(&exponent),
    }
}

/// Appends `value` as JSON; `None` where it cannot be said.
fn put_json(out: &mut String, value: &AnyValue<'_>, levels: usize) -> Option<()> {
    match *value {
        AnyValue::Missing => out.push_str("null"),
        AnyValue::Text(bytes) => put_text(out, &text(bytes)),
        AnyValue::Bool(bool) => out.push_str(if bool { "true" } else { "false" }),
        AnyValue::Int(int) => out.push_str(itoa::Buffer::new().format(int)),
        AnyValue::Double(double) if !double.is_finite() => return None,
        AnyValue::Double(double) => put_double(out, double),
        // Compat: no bytes at all are Go's nil slice.
        AnyValue::Bytes([]) => out.push_str("null"),
        AnyValue::Bytes(bytes) => put_text(out, &STANDARD.encode(bytes)),
        AnyValue::Array(bytes) => {
            out.push('[');
            let mut fields = Fields::new(bytes);
            let mut first = true;
            while let Some(field) = fields.next_field().ok()? {
                if field.number == 1 {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    let levels = levels.checked_sub(1)?;
                    put_json(out, &AnyValue::read(field.bytes(), levels).ok()?, levels)?;
                }
            }
            out.push(']');
        }
        AnyValue::Map(bytes) => put_map(out, bytes, levels.checked_sub(1)?)?,
    }
    Some(())
}

/// Names in order, the last value of each.
fn put_map(out: &mut String, bytes: &[u8], levels: usize) -> Option<()> {
    let mut pairs = Vec::new();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next_field().ok()? {
        if field.number == 1 {
            pairs.push(Attribute::read(field.bytes(), levels).ok()?);
        }
    }
    pairs.sort_by_key(|pair| pair.key);
    out.push('{');
    let mut first = true;
    for (i, pair) in pairs.iter().enumerate() {
        if pairs.get(i + 1).is_some_and(|next| next.key == pair.key) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        put_text(out, &text(pair.key));
        out.push(':');
        put_json(out, &pair.value, levels)?;
    }
    out.push('}');
    Some(())
}

/// A JSON text as Go writes it: `<`, `>` and `&` stay, the two line ends of JavaScript do not.
fn put_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || c == '\u{2028}' || c == '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
