//! Values as JSON, in the form that Go's encoder gives it.

use std::fmt::Write;

use crate::error::CallError;
use crate::value::Value;

/// Nesting up to which values are written: what a room hands in may contain itself.
const DEPTH_MAX: usize = 64;

/// The JSON text of `value`; characters that HTML gives a meaning to are escaped.
///
/// # Errors
/// Floats that JSON has no number for, and values inside each other without end.
pub fn to_json(value: &Value) -> Result<String, CallError> {
    let mut out = String::new();
    write(&mut out, value, 0)?;
    Ok(out)
}

fn write(out: &mut String, value: &Value, depth: usize) -> Result<(), CallError> {
    if depth > DEPTH_MAX {
        return Err(CallError::TooLarge);
    }
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(i) | Value::Duration(i) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{i}");
        }
        Value::Float(f) if f.is_finite() => number(out, *f),
        Value::Float(_) => return Err(CallError::JsonNumber(value.to_string())),
        Value::String(text) | Value::Html(text) | Value::Url(text) => string(out, text),
        Value::Time(time) => string(out, &time.rfc3339()),
        Value::List(list) => {
            out.push('[');
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(out, item, depth + 1)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (i, (key, item)) in map.entries().iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                string(out, key);
                out.push(':');
                write(out, item, depth + 1)?;
            }
            out.push('}');
        }
        Value::Object(object) => match object.underlying() {
            Some(plain) => write(out, &plain, depth + 1)?,
            None => {
                out.push('{');
                for (i, (name, key)) in object.fields().iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    string(out, key);
                    out.push(':');
                    write(out, &object.field(name).unwrap_or(Value::Nil), depth + 1)?;
                }
                out.push('}');
            }
        },
    }
    Ok(())
}

/// An exponent below 1e-6 and from 1e21 on, of one digit where one will do.
fn number(out: &mut String, value: f64) {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = model::float::format_exponent(value);
        out.push_str(&text.replace("e-0", "e-"));
    } else {
        out.push_str(&model::float::format_float(value));
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\u{8}' => write!(out, "\\b"),
            '\u{c}' => write!(out, "\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => write!(out, "\\u{:04x}", c as u32),
            c if c < ' ' => write!(out, "\\u{:04x}", c as u32),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
}
