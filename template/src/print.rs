//! How values print without a format: `%v`, `print`, `println`.

use std::fmt::Write;

use crate::number;
use crate::value::Value;

/// Nesting up to which values are printed: what a room hands in may contain itself.
const DEPTH_MAX: usize = 32;

/// Writes `value` as `%v` does.
pub(crate) fn value(out: &mut String, value: &Value) {
    nested(out, value, 0);
}

/// Writes `value` as an action does: nothing is `<no value>`.
pub(crate) fn action(out: &mut String, value: &Value) {
    match value {
        Value::Nil => out.push_str("<no value>"),
        value => nested(out, value, 0),
    }
}

fn nested(out: &mut String, value: &Value, depth: usize) {
    if depth > DEPTH_MAX {
        out.push_str("...");
        return;
    }
    match value {
        Value::Nil => out.push_str("<nil>"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{i}");
        }
        Value::Float(f) => number::shortest(out, *f),
        Value::String(s) | Value::Html(s) | Value::Url(s) => out.push_str(s),
        Value::Duration(ns) => out.push_str(&crate::time::duration_text(*ns)),
        Value::Time(time) => out.push_str(&time.to_string()),
        Value::List(list) => {
            out.push('[');
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                nested(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (i, (key, item)) in map.entries().iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                nested(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Object(object) => {
            if let Some(text) = object.text() {
                out.push_str(&text);
            } else if let Some(plain) = object.underlying() {
                nested(out, &plain, depth + 1);
            } else {
                out.push('{');
                for (i, (name, _)) in object.fields().iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    nested(out, &object.field(name).unwrap_or(Value::Nil), depth + 1);
                }
                out.push('}');
            }
        }
    }
}

/// `print`: a space between two operands when neither is text.
pub(crate) fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        let texts = |v: &Value| matches!(v, Value::String(_) | Value::Html(_) | Value::Url(_));
        if i > 0 && !texts(arg) && !texts(&args[i - 1]) {
            out.push(' ');
        }
        value(&mut out, arg);
    }
    out
}

/// `println`: spaces between all operands, a newline at the end.
pub(crate) fn sprintln(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        value(&mut out, arg);
    }
    out.push('\n');
    out
}

/// What text functions make of their operands: one text as it is, anything else printed.
pub(crate) fn joined(args: &[Value]) -> String {
    match args {
        [one] => match one.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let mut out = String::new();
                action(&mut out, one);
                out
            }
        },
        args => sprint(args),
    }
}
