//! The classic syntax: `{name=value,name=~"value"}`, where quotes may be missing.

use super::error::MatcherError;
use super::{MatchOp, Matcher};

/// White space around the parts of a matcher.
const SPACE: [char; 5] = [' ', '\t', '\n', '\r', '\u{c}'];
/// Longer operators first.
const OPERATORS: [(&str, MatchOp); 4] = [
    ("=~", MatchOp::Regex),
    ("=", MatchOp::Equal),
    ("!=", MatchOp::NotEqual),
    ("!~", MatchOp::NotRegex),
];

/// Reads a list of matchers.
pub(super) fn matchers(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let mut parts = split(text);
    let last = parts.pop().unwrap_or("").trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts.into_iter().map(matcher).collect()
}

/// Cuts at commas outside of quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            // Compat: a backslash before a comma goes on to escape what follows it (`bad-matcher`).
            ',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            ',' => {}
            '"' if escaped => escaped = false,
            '"' => quoted = !quoted,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Reads one matcher.
pub(super) fn matcher(text: &str) -> Result<Matcher, MatcherError> {
    let (name, op, value) = parts(text).ok_or_else(|| MatcherError::Format(text.to_owned()))?;
    let value = unescape(value).ok_or_else(|| MatcherError::Quote(value.to_owned()))?;
    Ok(Matcher::new(op, name, value)?)
}

fn parts(text: &str) -> Option<(&str, MatchOp, &str)> {
    let text = text.trim_start_matches(SPACE);
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !in_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start_matches(SPACE);
    let (value, op) = OPERATORS
        .iter()
        .find_map(|(operator, op)| Some((rest.strip_prefix(operator)?, *op)))?;
    Some((name, op, value.trim_matches(SPACE)))
}

/// What a value says; `None` where quotes are out of place. A backslash before anything but `n`, `"` and itself is one.
fn unescape(value: &str) -> Option<String> {
    let quoted = value.strip_prefix('"');
    let raw = quoted.unwrap_or(value);
    let mut closed = quoted.is_none();
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some(c @ ('"' | '\\')) => text.push(c),
                other => {
                    text.push('\\');
                    text.extend(other);
                }
            },
            '"' if !closed && chars.as_str().is_empty() => closed = true,
            '"' => return None,
            c => text.push(c),
        }
    }
    closed.then_some(text)
}
