//! Escaping that templates ask for by name: `html`, `js`, `urlquery`.

use std::fmt::Write;

/// Replaces what HTML gives a meaning to.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

/// Escapes for a string in JavaScript.
pub(crate) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\\' | '\'' | '"' => write!(out, "\\{c}"),
            '<' | '>' | '&' | '=' => write!(out, "\\u{:04X}", c as u32),
            c if c < ' ' => write!(out, "\\u{:04X}", c as u32),
            c if c.is_ascii() || !c.is_control() => write!(out, "{c}"),
            c => write!(out, "\\u{:04X}", c as u32),
        };
    }
    out
}

/// Escapes for the query part of a URL: spaces become plus signs.
pub(crate) fn query(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        // Writing to a String cannot fail.
        let _ = match byte {
            b' ' => write!(out, "+"),
            b'-' | b'_' | b'.' | b'~' => write!(out, "{}", char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => write!(out, "{}", char::from(byte)),
            byte => write!(out, "%{byte:02X}"),
        };
    }
    out
}

/// Undoes [`query`]; a malformed escape is given back.
pub(crate) fn unquery(text: &str) -> Result<Vec<u8>, &str> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => {
                let hex = bytes
                    .get(at + 1..at + 3)
                    .and_then(|hex| std::str::from_utf8(hex).ok());
                let valid = hex.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
                let Some(byte) = valid.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
                    let end = (at + 3).min(bytes.len());
                    return Err(text.get(at..end).unwrap_or("%"));
                };
                out.push(byte);
                at += 2;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    Ok(out)
}
