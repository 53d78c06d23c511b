//! Forms of Go's that the reference's messages and parameters have.

use std::fmt;

use crate::labels::write_quoted;

/// A text in Go's double quotes, as `%q` prints it.
///
/// ```
/// use narthex_model::go::Quoted;
/// assert_eq!(Quoted("a \"b\"\n").to_string(), r#""a \"b\"\n""#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(f, self.0)
    }
}

/// Bytes in Go's double quotes: what is no text stands there as `\xff`.
///
/// ```
/// use narthex_model::go::QuotedBytes;
/// assert_eq!(QuotedBytes(b"a\n\xff").to_string(), r#""a\n\xff""#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct QuotedBytes<'a>(pub &'a [u8]);

impl fmt::Display for QuotedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            let quoted = Quoted(chunk.valid()).to_string();
            f.write_str(&quoted[1..quoted.len() - 1])?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

/// What the system says of a failure, as Go prints it: `no such file or directory`.
pub fn system_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or("");
    let mut chars = words.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

/// The words that Go takes for booleans.
///
/// ```
/// use narthex_model::go::parse_bool;
/// assert_eq!([parse_bool("T"), parse_bool("0"), parse_bool("yes")], [Some(true), Some(false), None]);
/// ```
pub fn parse_bool(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What one character or escape of a quoted literal stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A character.
    Char(char),
    /// A byte, written as `\x41` or `\101`; several together may make a character, or none.
    Byte(u8),
}

/// The first unit of `text`, which stands within quotes of the kind `quote`, and what follows it; `None` where the literal
/// ends or is malformed.
pub fn unescape(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if first != '\\' {
        return (first != quote).then_some((Unit::Char(first), chars.as_str()));
    }
    let kind = chars.next()?;
    let rest = chars.as_str();
    let plain = |c: char| Some((Unit::Char(c), rest));
    let numeric = |digits: &str, radix: u32| u32::from_str_radix(digits, radix).ok();
    match kind {
        'a' => plain('\u{7}'),
        'b' => plain('\u{8}'),
        'f' => plain('\u{c}'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\u{b}'),
        '\\' => plain('\\'),
        c if c == quote => plain(c),
        'x' | 'u' | 'U' => {
            let length = match kind {
                'x' => 2,
                'u' => 4,
                _ => 8,
            };
            let digits = rest.get(..length)?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            let code = numeric(digits, 16)?;
            let unit = if kind == 'x' {
                Unit::Byte(u8::try_from(code).ok()?)
            } else {
                Unit::Char(char::from_u32(code)?)
            };
            Some((unit, &rest[length..]))
        }
        '0'..='7' => {
            let digits = text.get(1..4)?;
            if !digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
                return None;
            }
            let code = u8::try_from(numeric(digits, 8)?).ok()?;
            Some((Unit::Byte(code), &text[4..]))
        }
        _ => None,
    }
}

/// What a literal in double quotes, quotes included, stands for; `None` where it is malformed or not UTF-8.
///
/// ```
/// use narthex_model::go::unquote;
/// assert_eq!(unquote(r#""a\t\xc3\xa9""#).as_deref(), Some("a\té"));
/// assert_eq!(unquote(r#""\xff""#), None);
/// ```
pub fn unquote(literal: &str) -> Option<String> {
    let mut rest = literal.strip_prefix('"')?.strip_suffix('"')?;
    if rest.contains('\n') {
        return None;
    }
    let mut bytes = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (unit, tail) = unescape(rest, '"')?;
        match unit {
            Unit::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unit::Byte(b) => bytes.push(b),
        }
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}
