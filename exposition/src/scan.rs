//! The grammar that the two text formats share: names, quoted strings and labels in braces.

use memchr::memchr2;

use crate::error::{Expected, Fault};

/// Which labels are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// Of a series in the Prometheus text format.
    ///
    /// Compat: blanks between tokens, missing commas and raw line ends in values are fine here, as in the reference
    /// (`blanks.prom.txt` of our own bodies).
    Text,
    /// Of a series in OpenMetrics.
    OpenMetrics,
    /// Of an exemplar in OpenMetrics.
    Exemplar,
}

/// Takes the parts of a series text, still escaped and without quotes.
pub(crate) trait LabelSink<'a> {
    fn metric_name(&mut self, name: &'a [u8]);
    fn pair(&mut self, name: &'a [u8], value: &'a [u8]);
}

/// Takes nothing: for finding the end of a series text.
pub(crate) struct Discard;

impl<'a> LabelSink<'a> for Discard {
    fn metric_name(&mut self, _: &'a [u8]) {}
    fn pair(&mut self, _: &'a [u8], _: &'a [u8]) {}
}

const NAME_START: u8 = 1;
const NAME_REST: u8 = 2;
const COLON: u8 = 4;

/// What each byte may be part of.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphabetic() || b == b'_' {
            class[byte] = NAME_START | NAME_REST;
        } else if b.is_ascii_digit() {
            class[byte] = NAME_REST;
        } else if b == b':' {
            class[byte] = COLON;
        }
        byte += 1;
    }
    class
};

/// End of the metric name at `at`; `at` itself where there is none.
pub(crate) fn metric_name(body: &[u8], at: usize) -> usize {
    name(body, at, COLON)
}

fn name(body: &[u8], at: usize, extra: u8) -> usize {
    let class = |b: &u8, mask: u8| CLASS[usize::from(*b)] & mask != 0;
    if !body.get(at).is_some_and(|b| class(b, NAME_START | extra)) {
        return at;
    }
    let rest = &body[at + 1..];
    at + 1
        + rest
            .iter()
            .position(|b| !class(b, NAME_REST | extra))
            .unwrap_or(rest.len())
}

/// First position from `at` on that holds neither space nor tab.
pub(crate) fn skip_blanks(body: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(b' ' | b'\t') = body.get(at) {
        at += 1;
    }
    at
}

/// Position after the closing quote of the string whose opening quote stands at `at`; `None` where it does not end.
/// A backslash may stand before anything but a line end; a raw line end or NUL only where allowed.
pub(crate) fn quoted(body: &[u8], at: usize, lines: bool, nul: bool) -> Option<usize> {
    if body.get(at) != Some(&b'"') {
        return None;
    }
    let mut from = at + 1;
    loop {
        let hit = from + memchr2(b'"', b'\\', body.get(from..)?)?;
        let plain = &body[from..hit];
        if (!lines && memchr::memchr(b'\n', plain).is_some()) || (!nul && memchr::memchr(0, plain).is_some())
        {
            return None;
        }
        if body[hit] == b'"' {
            return Some(hit + 1);
        }
        match body.get(hit + 1) {
            None | Some(b'\n') => return None,
            Some(0) if !nul => return None,
            Some(_) => from = hit + 2,
        }
    }
}

/// Reads labels from after the opening brace at `at` and gives the position after the closing one.
pub(crate) fn labels<'a>(
    body: &'a [u8],
    at: usize,
    grammar: Grammar,
    sink: &mut impl LabelSink<'a>,
) -> Result<usize, Fault> {
    let text = grammar == Grammar::Text;
    let skip = |at: usize| if text { skip_blanks(body, at) } else { at };
    let mut at = skip(at);
    loop {
        let is_quoted = match body.get(at) {
            Some(b'}') => return Ok(at + 1),
            Some(b'"') => true,
            _ => false,
        };
        let end = if is_quoted {
            let lines = grammar != Grammar::Exemplar;
            quoted(body, at, lines, false).ok_or(Fault::new(at, Expected::LabelName))?
        } else {
            name(body, at, 0)
        };
        if end == at {
            return Err(Fault::new(at, Expected::LabelName));
        }
        let quote = usize::from(is_quoted);
        let key = &body[at + quote..end - quote];
        let after = skip(end);
        // A quoted string that is no label's name is the metric's.
        if is_quoted && matches!(body.get(after), Some(b',' | b'}')) {
            if grammar == Grammar::Exemplar {
                return Err(Fault::new(after, Expected::Equal));
            }
            sink.metric_name(key);
            at = if body[after] == b',' {
                skip(after + 1)
            } else {
                after
            };
            if body[after] == b'}' {
                return Ok(after + 1);
            }
            continue;
        }
        if body.get(after) != Some(&b'=') {
            return Err(Fault::new(after, Expected::Equal));
        }
        let open = skip(after + 1);
        let nul = grammar != Grammar::Exemplar;
        let close = quoted(body, open, text, nul).ok_or(Fault::new(open, Expected::LabelValue))?;
        let value = &body[open + 1..close - 1];
        if std::str::from_utf8(value).is_err() {
            return Err(Fault::new(open, Expected::Utf8));
        }
        sink.pair(key, value);
        at = skip(close);
        match body.get(at) {
            Some(b',') => at = skip(at + 1),
            Some(b'}') => {}
            _ if text => {}
            _ => return Err(Fault::new(at, Expected::CommaOrBrace)),
        }
    }
}

/// Finds the end of the series text that starts at `at`, and checks it.
pub(crate) fn series<'a>(
    body: &'a [u8],
    at: usize,
    grammar: Grammar,
    sink: &mut impl LabelSink<'a>,
) -> Result<usize, Fault> {
    let text = grammar == Grammar::Text;
    let start = if text { skip_blanks(body, at) } else { at };
    let name_end = metric_name(body, start);
    let mut names = CountNames { names: 0, sink };
    if name_end > start {
        // Compat: blanks before the metric name become part of it, as in the reference
        // (`blanks_before_a_name_are_part_of_it`).
        names.metric_name(&body[at..name_end]);
    }
    let brace = if text {
        skip_blanks(body, name_end)
    } else {
        name_end
    };
    let end = if body.get(brace) == Some(&b'{') {
        labels(body, brace + 1, grammar, &mut names)?
    } else {
        name_end
    };
    match names.names {
        _ if end == start => Err(Fault::new(start, Expected::LineStart)),
        0 => Err(Fault::new(end, Expected::MetricName)),
        1 => Ok(end),
        _ => Err(Fault::new(end, Expected::SingleMetricName)),
    }
}

/// Counts metric names on their way to a sink: there must be exactly one.
struct CountNames<'s, S> {
    names: usize,
    sink: &'s mut S,
}

impl<'a, S: LabelSink<'a>> LabelSink<'a> for CountNames<'_, S> {
    fn metric_name(&mut self, name: &'a [u8]) {
        self.names += 1;
        self.sink.metric_name(name);
    }
    fn pair(&mut self, name: &'a [u8], value: &'a [u8]) {
        self.sink.pair(name, value);
    }
}

/// Resolves `\\` and `\n`, and `\"` where `quotes` says so; any other backslash stands for itself.
pub(crate) fn unescape(text: &str, quotes: bool) -> std::borrow::Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', text.as_bytes()) else {
        return text.into();
    };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut chars = text[first..].chars().peekable();
    while let Some(c) = chars.next() {
        let resolved = match (c, chars.peek()) {
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('"')) if quotes => Some('"'),
            _ => None,
        };
        if resolved.is_some() {
            chars.next();
        }
        out.push(resolved.unwrap_or(c));
    }
    out.into()
}
