//! Values of literals: numbers and strings.

use std::borrow::Cow;
use std::fmt::{self, Write};

use model::labels::write_quoted;

use crate::parser::error::Problem;

/// The value of a number as the lexer accepts it, by the rules of Go's integer and float literals: a leading `0` means
/// octal, `0x` hexadecimal, what is too large or not an integer is read as a float.
pub(crate) fn number(word: &str) -> Result<f64, Problem> {
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::NAN),
        _ => {}
    }
    let digits = lower.replace('_', "");
    if let Some(value) = integer(&digits) {
        return Ok(value as f64);
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_finite() && !digits.starts_with("0x") => Ok(value),
        Ok(_) => Err(Problem::Number {
            word: word.to_owned(),
            what: "value out of range",
        }),
        Err(_) => Err(Problem::Number {
            word: word.to_owned(),
            what: "invalid syntax",
        }),
    }
}

fn integer(digits: &str) -> Option<i64> {
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hexadecimal, 16).ok();
    }
    if digits.len() > 1
        && let Some(octal) = digits.strip_prefix('0')
    {
        return i64::from_str_radix(octal, 8).ok();
    }
    digits.parse().ok()
}

/// Length in bytes of the string literal that `text` starts with, quotes included.
///
/// By hand rather than with nom, because each way to go wrong has its own message.
pub(crate) fn string_len(text: &str) -> Result<usize, Problem> {
    let mut chars = text.char_indices();
    let Some((_, quote)) = chars.next() else {
        return Err(Problem::UnterminatedString);
    };
    if quote == '`' {
        let end = text[1..].find('`').ok_or(Problem::UnterminatedRawString)?;
        return Ok(end + 2);
    }
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let (_, len) = escape(&text[at + 1..], quote)?;
                let end = at + 1 + len;
                while chars.offset() < end {
                    chars.next();
                }
            }
            '\n' => return Err(Problem::UnterminatedString),
            c if c == quote => return Ok(at + c.len_utf8()),
            _ => {}
        }
    }
    Err(Problem::UnterminatedString)
}

/// The text that a string literal stands for; `literal` is one that [`string_len`] measured.
///
/// Compat: `\xff` and `\377` mean single bytes. Where those do not make UTF-8, which labels must be, they become U+FFFD.
pub(crate) fn unquote(literal: &str) -> String {
    let bytes = unquote_bytes(literal);
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Like [`unquote`], but bytes that are not UTF-8 stay what they are in disguise: byte `b` as the private character
/// U+10FF00 + `b`. Label names in arguments are refused with the very bytes in the message ([`QuotedText`]).
pub(crate) fn unquote_disguised(literal: &str) -> String {
    let bytes = unquote_bytes(literal);
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(
            chunk
                .invalid()
                .iter()
                .filter_map(|byte| char::from_u32(DISGUISE + u32::from(*byte))),
        );
    }
    text
}

/// The character that stands for byte 0 of a disguised text; only bytes from 0x80 on are disguised.
const DISGUISE: u32 = 0x10_ff00;

fn disguised_byte(c: char) -> Option<u8> {
    u8::try_from(u32::from(c).checked_sub(DISGUISE)?)
        .ok()
        .filter(|byte| *byte >= 0x80)
}

/// Whether the text of a string argument is a label name: not empty, and UTF-8 (see [`unquote_disguised`]).
pub(crate) fn is_label_name(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| disguised_byte(c).is_some())
}

/// A disguised text as clients get it: what is not UTF-8 becomes U+FFFD, as in the reference's JSON.
pub(crate) fn undisguised(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| disguised_byte(c).is_some()) {
        return Cow::Borrowed(text);
    }
    let shown = text
        .chars()
        .map(|c| disguised_byte(c).map_or(c, |_| char::REPLACEMENT_CHARACTER));
    Cow::Owned(shown.collect())
}

/// Shows a text in Go's quotes, disguised bytes as `\xc5`.
pub(crate) struct QuotedText<'a>(pub(crate) &'a str);

impl fmt::Display for QuotedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut quoted = String::new();
        write_quoted(&mut quoted, self.0)?;
        if !self.0.chars().any(|c| disguised_byte(c).is_some()) {
            return f.write_str(&quoted);
        }
        // The quotes left and right; in between, runs of text with a byte behind each.
        f.write_char('"')?;
        let mut rest = self.0;
        while let Some((at, c, byte)) = rest
            .char_indices()
            .find_map(|(at, c)| Some((at, c, disguised_byte(c)?)))
        {
            let mut run = String::new();
            write_quoted(&mut run, &rest[..at])?;
            write!(f, "{}\\x{byte:02x}", &run[1..run.len() - 1])?;
            rest = &rest[at + c.len_utf8()..];
        }
        quoted.clear();
        write_quoted(&mut quoted, rest)?;
        f.write_str(&quoted[1..])
    }
}

fn unquote_bytes(literal: &str) -> Vec<u8> {
    let Some(quote) = literal.chars().next() else {
        return Vec::new();
    };
    let inner = &literal[1..literal.len().max(2) - 1];
    if quote == '`' {
        return inner.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let Ok((meaning, len)) = escape(&rest[at + 1..], quote) else {
            break;
        };
        match meaning {
            Escape::Byte(byte) => bytes.push(byte),
            Escape::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &rest[at + 1 + len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// What an escape stands for.
enum Escape {
    Byte(u8),
    Char(char),
}

/// Reads the escape behind a backslash: its meaning and its length in bytes.
fn escape(text: &str, quote: char) -> Result<(Escape, usize), Problem> {
    let first = text.chars().next().ok_or(Problem::EscapeNotTerminated)?;
    let simple = match first {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        c if c == quote => c,
        '0'..='7' => return code(text, 0, 3, 8),
        'x' => return code(text, 1, 2, 16),
        'u' => return code(text, 1, 4, 16),
        'U' => return code(text, 1, 8, 16),
        c => return Err(Problem::UnknownEscape(c)),
    };
    Ok((Escape::Char(simple), 1))
}

/// Reads `count` digits of an escape, which start at byte `start`.
fn code(text: &str, start: usize, count: usize, radix: u32) -> Result<(Escape, usize), Problem> {
    let mut value = 0_u32;
    let mut chars = text[start..].chars();
    for _ in 0..count {
        let c = chars.next().ok_or(Problem::EscapeNotTerminated)?;
        let digit = c.to_digit(radix).ok_or(Problem::EscapeCharacter(c))?;
        // Eight hexadecimal digits just fit.
        value = value * radix + digit;
    }
    let len = start + count;
    if count < 4 {
        let byte = u8::try_from(value).map_err(|_| Problem::EscapeCodePoint)?;
        return Ok((Escape::Byte(byte), len));
    }
    let c = char::from_u32(value).ok_or(Problem::EscapeCodePoint)?;
    Ok((Escape::Char(c), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        for (word, value) in [
            ("1_000", 1000.0),
            ("0x1F", 31.0),
            ("0x_ff", 255.0),
            ("010", 8.0),
            ("09", 9.0),
            ("0", 0.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e-3", 0.001),
            ("Inf", f64::INFINITY),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ] {
            assert_eq!(number(word).expect(word), value, "{word}");
        }
        assert!(number("nAn").expect("NaN").is_nan());
        for word in ["1e999", "0xffffffffffffffffffff"] {
            assert!(number(word).is_err(), "{word}");
        }
    }

    #[test]
    fn strings_are_gos() {
        for (literal, text) in [
            (r#""a\"b\\n\n""#, "a\"b\\n\n"),
            (r#"'it\'s "x"'"#, "it's \"x\""),
            ("`raw\\n\n`", "raw\\n\n"),
            (r#""\x41\101\u00e9\U0001F600""#, "AAé😀"),
            (r#""\xc3\xa9""#, "é"),
            (r#""\xff""#, "\u{fffd}"),
            (r#""""#, ""),
        ] {
            assert_eq!(
                string_len(&format!("{literal} tail\"'`")).expect(literal),
                literal.len(),
                "{literal}"
            );
            assert_eq!(unquote(literal), text, "{literal}");
        }
        let disguised = unquote_disguised(r#""a\xc5z\xff""#);
        assert_eq!(QuotedText(&disguised).to_string(), r#""a\xc5z\xff""#);
        assert!(!is_label_name(&disguised) && is_label_name("é") && !is_label_name(""));
        for (literal, message) in [
            (r#""a"#, "unterminated quoted string"),
            ("\"a\nb\"", "unterminated quoted string"),
            ("`a", "unterminated raw string"),
            (r#""\q""#, "unknown escape sequence U+0071 'q'"),
            (r#""\'""#, "unknown escape sequence U+0027 '''"),
            (r#""\x4g""#, "illegal character U+0067 'g' in escape sequence"),
            (r#""\u1"#, "escape sequence not terminated"),
            (r#""\ud800""#, "escape sequence is an invalid Unicode code point"),
            (r#""\777""#, "escape sequence is an invalid Unicode code point"),
        ] {
            let error = string_len(literal).expect_err(literal).to_string();
            assert_eq!(error, message, "{literal}");
        }
    }
}
