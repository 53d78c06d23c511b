//! The Prometheus text format, versions 0.0.4 and 1.0.0.

use std::borrow::Cow;

use model::sample::MetricType;

use crate::entry::{Entry, Series};
use crate::error::{Expected, Fault, ParseError};
use crate::number;
use crate::scan::{self, Discard, Grammar};

/// Reads a body of the Prometheus text format entry by entry.
#[derive(Clone, Debug)]
pub struct TextParser<'a> {
    body: &'a [u8],
    /// Start of the next line.
    at: usize,
    kind: MetricType,
}

impl<'a> TextParser<'a> {
    /// A parser at the start of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        TextParser {
            body,
            at: 0,
            kind: MetricType::Unknown,
        }
    }

    /// Kind of the family whose `TYPE` line was read last: what [`crate::parse_series`] needs to know.
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// The next entry, or `None` at the end.
    ///
    /// # Errors
    /// At the first line that the format does not allow; calling again is pointless then.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator of results would go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let start = loop {
            let first = scan::skip_blanks(self.body, self.at);
            match self.body.get(first) {
                // Compat: a NUL at the start of a line ends the body (`a_nul_ends_a_body_in_text`).
                None | Some(0) => return Ok(None),
                Some(b'\n') => self.at = first + 1,
                Some(b'#') => return self.comment(first).map_err(|f| f.in_text(self.body, self.at)),
                Some(_) => break self.at,
            }
        };
        self.sample(start)
            .map(|series| Some(Entry::Series(series)))
            .map_err(|fault| fault.in_text(self.body, start))
    }

    /// Reads the line at hand as a sample if its series text has `length` bytes and `known` recognises it: no label is
    /// looked at. `known` must accept only texts that [`TextParser::next`] has given before. Gives `None`, and stays
    /// where it is, if the line is something else.
    ///
    /// # Errors
    /// When the text is recognised and what follows is not a value with an optional timestamp.
    #[inline]
    pub fn next_known(
        &mut self,
        length: usize,
        known: impl FnOnce(&'a [u8]) -> bool,
    ) -> Result<Option<Series<'a>>, ParseError> {
        let end = self.at.saturating_add(length);
        let Some(text) = self.body.get(self.at..end) else {
            return Ok(None);
        };
        // A text that ends in a brace is complete; a bare name is not if it goes on or braces follow.
        let complete = match text.last() {
            // Comments are common where a sample is expected, and never known.
            _ if text.first() == Some(&b'#') => false,
            Some(b'}') => true,
            Some(_) => {
                matches!(self.body.get(end), Some(b' ' | b'\t'))
                    && self.body.get(scan::skip_blanks(self.body, end)) != Some(&b'{')
            }
            None => false,
        };
        if !complete || !known(text) {
            return Ok(None);
        }
        let start = self.at;
        self.value(start, end)
            .map(Some)
            .map_err(|fault| fault.in_text(self.body, start))
    }

    fn sample(&mut self, start: usize) -> Result<Series<'a>, Fault> {
        let end = scan::series(self.body, start, Grammar::Text, &mut Discard)?;
        self.value(start, end)
    }

    /// Reads value and timestamp after the series text `start..end`, and steps over the line.
    #[inline]
    fn value(&mut self, start: usize, end: usize) -> Result<Series<'a>, Fault> {
        let body = self.body;
        let at = scan::skip_blanks(body, end);
        let (value, at) = match number::read_short(&body[at..]) {
            Some((value, length)) => (value, at + length),
            None => long_value(body, at)?,
        };
        let (timestamp_ms, at) = match body.get(at) {
            None => (None, at),
            Some(b'\n') => (None, at + 1),
            Some(_) => timestamp(body, at)?,
        };
        self.at = at;
        Ok(Series {
            text: &body[start..end],
            value,
            timestamp_ms,
            start_ms: 0,
            exemplar: None,
        })
    }

    /// Reads the line whose `#` stands at `first`.
    fn comment(&mut self, first: usize) -> Result<Option<Entry<'a>>, Fault> {
        let body = self.body;
        let word = scan::skip_blanks(body, first + 1);
        if word > first + 1
            && let Some(keyword @ (b"HELP" | b"TYPE")) = body.get(word..word + 4)
            && let Some(b' ' | b'\t') = body.get(word + 4)
        {
            return self
                .metadata(keyword == b"HELP", scan::skip_blanks(body, word + 5))
                .map(Some);
        }
        let end = memchr::memchr(b'\n', &body[first..]).map_or(body.len(), |n| first + n);
        let comment = &body[first..end];
        // Compat: a NUL in a comment without a blank after its `#` ends the body (`a_nul_ends_a_body_in_text`).
        if word == first + 1 && memchr::memchr(0, comment).is_some() {
            return Ok(None);
        }
        self.at = (end + 1).min(body.len());
        Ok(Some(Entry::Comment(comment)))
    }

    /// Reads name and text of a metadata line.
    fn metadata(&mut self, help: bool, at: usize) -> Result<Entry<'a>, Fault> {
        let body = self.body;
        let (name, name_end) = metadata_name(body, at)?;
        let end = memchr::memchr(b'\n', &body[name_end..]).map_or(body.len(), |n| name_end + n);
        // Compat: the byte after the name is dropped whatever it is, and a text of blanks alone is empty
        // (`the_byte_behind_a_metadata_name_is_dropped`).
        let text = match &body[name_end..end] {
            [0, ..] => return Err(Fault::new(name_end, Expected::LineEnd)),
            blank if blank.iter().all(|b| b" \t\0".contains(b)) => &[],
            rest => &rest[1..],
        };
        let entry = if help {
            let text = std::str::from_utf8(text).map_err(|_| Fault::new(name_end, Expected::Utf8))?;
            Entry::Help {
                name,
                text: unescape_help(text),
            }
        } else {
            let kind = match text {
                b"counter" => MetricType::Counter,
                b"gauge" => MetricType::Gauge,
                b"histogram" => MetricType::Histogram,
                b"summary" => MetricType::Summary,
                b"untyped" => MetricType::Unknown,
                _ => return Err(Fault::new(name_end, Expected::MetricType)),
            };
            self.kind = kind;
            Entry::Type { name, kind }
        };
        self.at = (end + 1).min(body.len());
        Ok(entry)
    }
}

fn unescape_help(text: &str) -> Cow<'_, str> {
    scan::unescape(text, false)
}

/// Name of a metadata line, bare or quoted, and where it ends.
pub(crate) fn metadata_name(body: &[u8], at: usize) -> Result<(&[u8], usize), Fault> {
    if body.get(at) == Some(&b'"') {
        let end = scan::quoted(body, at, true, false).ok_or(Fault::new(at, Expected::MetadataName))?;
        return Ok((&body[at + 1..end - 1], end));
    }
    let end = scan::metric_name(body, at);
    if end == at {
        Err(Fault::new(at, Expected::MetadataName))
    } else {
        Ok((&body[at..end], end))
    }
}

/// Reads a value that the fast path does not take.
#[cold]
fn long_value(body: &[u8], at: usize) -> Result<(f64, usize), Fault> {
    let rest = &body[at..];
    let length = rest
        .iter()
        .position(|b| b"{ \t\n\0".contains(b))
        .unwrap_or(rest.len());
    if length == 0 {
        return Err(Fault::new(at, Expected::Value));
    }
    let value = number::read_float(&rest[..length]).map_err(|expected| Fault::new(at, expected))?;
    Ok((value, at + length))
}

/// Reads an optional timestamp up to the line's end; gives it and the start of the next line.
fn timestamp(body: &[u8], at: usize) -> Result<(Option<i64>, usize), Fault> {
    let at = scan::skip_blanks(body, at);
    let rest = &body[at..];
    let digits = rest
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(rest.len());
    let timestamp_ms = if digits == 0 {
        None
    } else {
        let mut ms = 0i64;
        for digit in &rest[..digits] {
            ms = ms
                .checked_mul(10)
                .and_then(|ms| ms.checked_add(i64::from(digit - b'0')))
                .ok_or(Fault::new(at, Expected::TimestampRange))?;
        }
        Some(ms)
    };
    let end = scan::skip_blanks(body, at + digits);
    match body.get(end) {
        None => Ok((timestamp_ms, end)),
        Some(b'\n') => Ok((timestamp_ms, end + 1)),
        Some(_) if digits == 0 => Err(Fault::new(end, Expected::TimestampOrEnd)),
        Some(_) => Err(Fault::new(end, Expected::LineEnd)),
    }
}
