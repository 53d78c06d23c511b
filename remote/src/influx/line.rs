//! One line to a point. Grammar: <https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/>.

use std::borrow::Cow;
use std::fmt;

use crate::excerpt::Excerpt;
use crate::intake::{LABELS_MAX, TooMuch};

/// A point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point<'a> {
    /// Where it stands in the body, from 1.
    pub line: usize,
    /// What is measured. May be empty.
    pub measurement: Cow<'a, str>,
    /// Tags that have a name and a value, in order of appearance.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Fields, at least one.
    pub fields: Vec<Field<'a>>,
    /// As it stands there, in whatever unit.
    pub timestamp: Option<i64>,
}

/// A field of a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Field<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its value; none where that is a text which is no number.
    pub value: Option<f64>,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing but a measurement and tags.
    #[error("no fields: a blank and name=value should follow measurement and tags")]
    NoFields,
    /// A tag without `=`.
    #[error("a tag has no value: name=value is expected")]
    Tag,
    /// A field without `=`.
    #[error("a field has no value: name=value is expected")]
    Field,
    /// A field without a name.
    #[error("a field has no name")]
    FieldName,
    /// A text that does not end.
    #[error("a text is not closed by \"; a line's end in it cannot be sent")]
    Unclosed,
    /// A value that is none.
    #[error("expected a number, true, false, or a text in double quotes")]
    Value,
    /// A whole number that is none, or too large.
    #[error("expected a whole number of 64 bits before the i or u")]
    Whole,
    /// A time that is none.
    #[error("expected a time: a whole number of 64 bits")]
    Timestamp,
    /// Labels that cannot be stored.
    #[error("a name or value is too long to be a label")]
    TooLong,
    /// More tags than a series may have labels.
    #[error("more than {LABELS_MAX} tags")]
    Tags,
    /// Samples that take too much memory, from this line on.
    #[error("{TooMuch}")]
    TooMuch,
}

/// Where a body is not as it should be, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LineError {
    /// Line of the body, from 1.
    pub line: usize,
    /// Why.
    pub problem: Problem,
    excerpt: Excerpt,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LineError {
            line,
            problem,
            excerpt,
        } = self;
        write!(f, "line {line}, column {}: {problem}\n{excerpt}", excerpt.column)
    }
}

impl LineError {
    pub(super) fn new(line: usize, text: &str, at: usize, problem: Problem) -> Self {
        LineError {
            line,
            problem,
            excerpt: Excerpt::new(text.as_bytes(), at),
        }
    }
}

/// The points of a body, line by line; after an error the next line follows.
pub fn points(body: &str) -> impl Iterator<Item = Result<Point<'_>, LineError>> {
    body.split('\n').enumerate().filter_map(|(index, text)| {
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.trim_start().is_empty() || text.starts_with('#') {
            return None;
        }
        let read = Reader { text, at: 0 }.point(index + 1);
        Some(read.map_err(|(at, problem)| LineError::new(index + 1, text, at, problem)))
    })
}

/// Where in the line something is wrong.
type Fault = (usize, Problem);

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn point(mut self, line: usize) -> Result<Point<'a>, Fault> {
        self.skip_blanks();
        let mut point = Point {
            line,
            measurement: unescaped(self.word(b", ")),
            ..Point::default()
        };
        while self.next() == Some(b',') {
            self.at += 1;
            let begin = self.at;
            let name = self.word(b",= ");
            if self.next() != Some(b'=') {
                return Err((begin, Problem::Tag));
            }
            self.at += 1;
            // An equals sign more belongs to the value.
            let value = self.word(b", ");
            // As VictoriaMetrics: what is empty is no tag.
            if !name.is_empty() && !value.is_empty() {
                if point.tags.len() == LABELS_MAX {
                    return Err((begin, Problem::Tags));
                }
                point.tags.push((unescaped(name), unescaped(value)));
            }
        }
        let end = self.at;
        self.skip_blanks();
        if self.at == end || self.next().is_none() {
            return Err((end, Problem::NoFields));
        }
        loop {
            point.fields.push(self.field()?);
            if self.next() != Some(b',') {
                break;
            }
            self.at += 1;
        }
        self.skip_blanks();
        let time = self.text[self.at..].trim_end_matches(' ');
        if !time.is_empty() {
            point.timestamp = Some(time.parse().map_err(|_| (self.at, Problem::Timestamp))?);
        }
        Ok(point)
    }

    fn field(&mut self) -> Result<Field<'a>, Fault> {
        let begin = self.at;
        let name = self.word(b",= ");
        if self.next() != Some(b'=') {
            return Err((begin, Problem::Field));
        }
        if name.is_empty() {
            return Err((begin, Problem::FieldName));
        }
        self.at += 1;
        Ok(Field {
            name: unescaped(name),
            value: self.value()?,
        })
    }

    fn value(&mut self) -> Result<Option<f64>, Fault> {
        let begin = self.at;
        if self.next() == Some(b'"') {
            let text = self.quoted().ok_or((begin, Problem::Unclosed))?;
            if !matches!(self.next(), None | Some(b',' | b' ')) {
                return Err((self.at, Problem::Value));
            }
            // As VictoriaMetrics: some agents send numbers as texts.
            return Ok(number(text));
        }
        let word = self.word(b", ");
        match word {
            "t" | "T" | "true" | "True" | "TRUE" => return Ok(Some(1.0)),
            "f" | "F" | "false" | "False" | "FALSE" => return Ok(Some(0.0)),
            _ => {}
        }
        let whole = (begin, Problem::Whole);
        if let Some(digits) = word.strip_suffix('i') {
            return digits.parse::<i64>().map(|n| Some(n as f64)).map_err(|_| whole);
        }
        if let Some(digits) = word.strip_suffix('u') {
            return digits.parse::<u64>().map(|n| Some(n as f64)).map_err(|_| whole);
        }
        number(word).map(Some).ok_or((begin, Problem::Value))
    }

    /// The text between two quotes, the first of which is here.
    fn quoted(&mut self) -> Option<&'a str> {
        let begin = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut at = begin;
        loop {
            match bytes.get(at)? {
                b'\\' => at += 2,
                b'"' => break,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        self.text.get(begin..at)
    }

    /// What comes before one of `ends` without a backslash in front.
    fn word(&mut self, ends: &[u8]) -> &'a str {
        let begin = self.at;
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 2,
                byte if ends.contains(byte) => break,
                _ => self.at += 1,
            }
        }
        // A backslash at the end escapes nothing; one in front of a letter of several bytes ends within it.
        self.at = self.at.min(bytes.len());
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
        &self.text[begin..self.at]
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.next() == Some(b' ') {
            self.at += 1;
        }
    }
}

/// A number as it may stand in a field.
fn number(word: &str) -> Option<f64> {
    let is_plain = word
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match is_plain {
        true => word.parse().ok(),
        false => match word.to_ascii_lowercase().trim_start_matches(['+', '-']) {
            "inf" | "infinity" | "nan" => word.parse().ok(),
            _ => None,
        },
    }
}

/// Backslashes in front of what has a meaning taken away; others stay.
fn unescaped(word: &str) -> Cow<'_, str> {
    if !word.contains('\\') {
        return word.into();
    }
    let mut out = String::with_capacity(word.len());
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some(c @ (' ' | ',' | '=' | '\\')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out.into()
}
