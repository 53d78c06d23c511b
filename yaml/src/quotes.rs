//! Which quotes a printed text has.

use crate::node::{NodeKind, ScalarKind, parse};

/// A printed document with the quotes that the reference's writer takes: single ones around a text that cannot stand
/// without, double ones only where it would be no text without them (`"yes"`, `"5"`, `""`) or has to be escaped.
///
/// Looks at one line after the other: [`crate::to_string`] breaks no scalar.
pub fn with_single_quotes(printed: &str) -> String {
    let mut out = String::with_capacity(printed.len());
    for line in printed.split_inclusive('\n') {
        let (text, end) = match line.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (line, ""),
        };
        requote(text, &mut out);
        out.push_str(end);
    }
    out
}

/// One line: dashes, a key, a value.
fn requote(line: &str, out: &mut String) {
    let mut rest = line.trim_start_matches(' ');
    while let Some(behind) = rest.strip_prefix("- ") {
        rest = behind;
    }
    out.push_str(&line[..line.len() - rest.len()]);
    if let Some((text, behind)) = double_quoted(rest)
        && (behind.is_empty() || behind.starts_with(':'))
    {
        quote(&rest[..rest.len() - behind.len()], &text, out);
        rest = behind;
    }
    // A key without quotes has no `: ` in it.
    if let Some(at) = rest.find(": ") {
        out.push_str(&rest[..at + 2]);
        rest = &rest[at + 2..];
        if let Some((text, "")) = double_quoted(rest) {
            quote(rest, &text, out);
            return;
        }
    }
    out.push_str(rest);
}

/// The text in double quotes that `rest` begins with, and what is behind; `None` where it has escapes other than those
/// of quotes and backslashes.
fn double_quoted(rest: &str) -> Option<(String, &str)> {
    let inner = rest.strip_prefix('"')?;
    let mut text = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &inner[at + 1..])),
            '\\' => match chars.next()?.1 {
                c @ ('"' | '\\') => text.push(c),
                _ => return None,
            },
            c => text.push(c),
        }
    }
    None
}

fn quote(as_printed: &str, text: &str, out: &mut String) {
    if is_no_text_alone(text) {
        out.push_str(as_printed);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// Whether a text that stands without quotes is something else.
fn is_no_text_alone(text: &str) -> bool {
    let is_date = text.len() >= 8 && text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('-');
    // `09:30` was once a number to the base of 60.
    let is_of_numbers = |c: char| c.is_ascii_digit() || matches!(c, ':' | '_' | '.' | '+' | '-');
    let is_base_60 = text.contains(':') && text.chars().all(is_of_numbers);
    let read = parse("", text);
    is_date
        || is_base_60
        || text.is_empty()
        || read.is_ok_and(|document| match &document.root().node.kind {
            // Of all of it, and not of nothing before a comment.
            NodeKind::Scalar(scalar) => scalar.kind != ScalarKind::String && scalar.text == text,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_quotes_of_the_reference() {
        for (printed, expected) in [
            ("a: \"{{ \\\"x\\\" }}\"\n", "a: '{{ \"x\" }}'\n"),
            ("- \"...\"\n", "- '...'\n"),
            ("  - a: \"it's: so\"\n", "  - a: 'it''s: so'\n"),
            ("\"{{ k }}\": v\n", "'{{ k }}': v\n"),
            (
                "a: \"yes\"\nb: \"5\"\nc: \"\"\n",
                "a: \"yes\"\nb: \"5\"\nc: \"\"\n",
            ),
            ("a: \"x\\ny\"\n", "a: \"x\\ny\"\n"),
            ("a: plain \"x\"\n", "a: plain \"x\"\n"),
            ("a: [\"b\", 'c']", "a: [\"b\", 'c']"),
            ("a: \"2026-01-01\"\n", "a: \"2026-01-01\"\n"),
            ("a: \"09:30\"\n", "a: \"09:30\"\n"),
        ] {
            assert_eq!(with_single_quotes(printed), expected, "{printed}");
        }
    }
}
