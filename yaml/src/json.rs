//! JSON, read as Go's library reads it into a struct, with the position of everything.
//!
//! JSON is almost YAML, and the difference matters (conformance `file-sd-json-is-not-yaml`): an empty file is no list, a
//! number is not text, a comma too many is an error, half of a surrogate pair is a replacement character, keys are found
//! in any case, and of a key that is there twice the last one counts.

use std::cell::Cell;
use std::sync::Arc;

use crate::error::YamlError;
use crate::node::{Document, Node, NodeKind, Position, Scalar, ScalarKind};

/// Deepest nesting; what is read this way has four levels.
const DEPTH_MAX: u32 = 100;

/// Reads one JSON value; `path` is the name that errors give. What is not UTF-8 becomes U+FFFD, as in Go.
///
/// # Errors
/// When `bytes` are not exactly one JSON value.
pub fn parse_json(path: &str, bytes: &[u8]) -> Result<Document, YamlError> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader {
        path,
        text: &text,
        at: 0,
        line: 1,
        line_start: 0,
        counted: Cell::new((0, 0)),
        depth: 0,
    };
    let root = reader.value()?;
    reader.skip_space();
    if let Some(char) = reader.peek() {
        return Err(reader.error(format_args!("invalid character {char:?} after top-level value")));
    }
    Ok(Document::new(path, Arc::from(&*text), root, true))
}

struct Reader<'t> {
    path: &'t str,
    text: &'t str,
    at: usize,
    line: u32,
    line_start: usize,
    /// Up to where columns are counted, and how many that are: a line may be hundreds of megabytes long.
    counted: Cell<(usize, u32)>,
    depth: u32,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn position(&self, bytes: usize) -> Position {
        let (from, before) = match self.counted.get() {
            counted if counted.0 <= self.at => counted,
            // The reader went back.
            _ => (self.line_start, 0),
        };
        let columns = before + self.text[from..self.at].chars().count() as u32;
        self.counted.set((self.at, columns));
        Position {
            line: self.line,
            column: columns + 1,
            offset: self.at,
            bytes,
        }
    }

    fn error(&self, message: impl std::fmt::Display) -> YamlError {
        YamlError::at(self.path, self.text, self.position(1), message.to_string())
    }

    fn unexpected(&self, where_: &str) -> YamlError {
        match self.peek() {
            Some(char) => self.error(format_args!("invalid character {char:?} {where_}")),
            None => self.error("unexpected end of JSON input"),
        }
    }

    fn skip_space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.text.as_bytes().get(self.at) {
            self.at += 1;
            if *byte == b'\n' {
                self.line += 1;
                self.line_start = self.at;
                self.counted.set((self.at, 0));
            }
        }
    }

    /// Takes `byte` if it is next, after space.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Result<Node, YamlError> {
        self.skip_space();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        let mut position = self.position(1);
        let kind = match self.peek() {
            Some('[') => NodeKind::Sequence(self.sequence()?),
            Some('{') => NodeKind::Mapping(self.mapping()?),
            Some('"') => {
                let text = self.string()?;
                position.bytes = self.at - position.offset;
                scalar(text, ScalarKind::String)
            }
            _ => {
                let (text, kind) = self.word()?;
                position.bytes = text.len();
                scalar(text, kind)
            }
        };
        self.depth -= 1;
        Ok(Node { kind, position })
    }

    fn sequence(&mut self) -> Result<Vec<Node>, YamlError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(items);
        }
        loop {
            items.push(self.value()?);
            if self.take(b']') {
                return Ok(items);
            }
            if !self.take(b',') {
                return Err(self.unexpected("after array element"));
            }
        }
    }

    fn mapping(&mut self) -> Result<Vec<(Node, Node)>, YamlError> {
        self.at += 1;
        let mut pairs: Vec<(Node, Node)> = Vec::new();
        if self.take(b'}') {
            return Ok(pairs);
        }
        loop {
            self.skip_space();
            if self.peek() != Some('"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.value()?;
            if !self.take(b':') {
                return Err(self.unexpected("after object key"));
            }
            pairs.push((key, self.value()?));
            if self.take(b'}') {
                return Ok(pairs);
            }
            if !self.take(b',') {
                return Err(self.unexpected("after object key:value pair"));
            }
        }
    }

    /// `null`, `true`, `false` or a number.
    fn word(&mut self) -> Result<(String, ScalarKind), YamlError> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
            .unwrap_or(rest.len());
        let word = &rest[..end];
        let kind = match word {
            "null" => ScalarKind::Null,
            "true" => ScalarKind::Bool(true),
            "false" => ScalarKind::Bool(false),
            _ if is_number(word) => match word.parse::<i64>() {
                Ok(whole) => ScalarKind::Int(whole),
                Err(_) => ScalarKind::Float(word.parse().unwrap_or(f64::INFINITY)),
            },
            _ => return Err(self.unexpected("looking for beginning of value")),
        };
        self.at += end;
        Ok((word.to_owned(), kind))
    }

    fn string(&mut self) -> Result<String, YamlError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            match self.peek() {
                Some('"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some('\\') => self.escape(&mut out)?,
                Some(char) if char >= ' ' => {
                    out.push(char);
                    self.at += char.len_utf8();
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), YamlError> {
        self.at += 1;
        let char = match self.peek() {
            Some(char @ ('"' | '\\' | '/')) => char,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let unit = self.code_unit()?;
                out.push(self.complete(unit)?);
                return Ok(());
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        out.push(char);
        Ok(())
    }

    /// The four digits behind `\u`; `at` stands on the `u`.
    fn code_unit(&mut self) -> Result<u16, YamlError> {
        self.at += 1;
        let mut unit = 0u16;
        for _ in 0..4 {
            let digit = self.peek().and_then(|char| char.to_digit(16));
            let digit = digit.ok_or_else(|| self.unexpected("in \\u hexadecimal character escape"))?;
            unit = unit << 4 | digit as u16;
            self.at += 1;
        }
        Ok(unit)
    }

    /// The character of a code unit, with the second half of its pair if that follows.
    fn complete(&mut self, first: u16) -> Result<char, YamlError> {
        if let Some(char) = char::from_u32(u32::from(first)) {
            return Ok(char);
        }
        let before = self.at;
        if self.text[self.at..].starts_with("\\u") {
            self.at += 1;
            let second = self.code_unit()?;
            if let Some(Ok(char)) = char::decode_utf16([first, second]).next() {
                return Ok(char);
            }
            // The other half is a character by itself.
            self.at = before;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }
}

fn scalar(text: String, kind: ScalarKind) -> NodeKind {
    NodeKind::Scalar(Scalar { text, kind })
}

/// JSON's numbers: no sign in front, no zero in front, digits on both sides of the point.
fn is_number(word: &str) -> bool {
    let word = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (word, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}
