//! How commands speak: lines on standard output and standard error, and a query with a mark under a place.
//!
//! A reader that goes away (`narthex query … | head`) ends nothing and panics nobody: what cannot be written is lost.

use std::error::Error;
use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Prints a line on standard output.
pub(crate) fn out(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints a text on standard output as it is.
pub(crate) fn out_text(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a line on standard error.
pub(crate) fn err(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints a text on standard error as it is.
pub(crate) fn err_text(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether standard error shows colours: a terminal, unless `NO_COLOR` says otherwise.
pub(crate) fn color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// An error with its causes, each of which adds its words once: many say what their cause says already.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

/// The line of `query` that a server's message speaks of, with a mark under the place; `None` where the message has no
/// place of the form `line:column: ` in front of `parse error`.
pub(crate) fn mark_in_query(query: &str, message: &str) -> Option<String> {
    let place = message[..message.find("parse error")?]
        .trim_end()
        .strip_suffix(':')?;
    let place = place.rsplit(' ').next()?;
    let (line, column) = place.split_once(':')?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let text = query.lines().nth(line.checked_sub(1)?)?;
    // Columns count bytes from 1; one behind the end is the end of the query.
    let before = text.get(..column.checked_sub(1)?.min(text.len()))?;
    let indent = " ".repeat(before.chars().count());
    let gutter = " ".repeat(line.to_string().len());
    Some(format!("{gutter} |\n{line} | {text}\n{gutter} | {indent}^"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_add_what_has_not_been_said() {
        #[derive(Debug, thiserror::Error)]
        enum Sample {
            #[error("reading a: {source}")]
            Says { source: std::io::Error },
            #[error("reading a")]
            Leaves { source: std::io::Error },
            #[error("{0}")]
            Wraps(#[source] Box<Sample>),
        }
        let source = || std::io::Error::other("no such file");
        for error in [
            Sample::Says { source: source() },
            Sample::Leaves { source: source() },
            Sample::Wraps(Box::new(Sample::Says { source: source() })),
            Sample::Wraps(Box::new(Sample::Leaves { source: source() })),
        ] {
            assert_eq!(with_causes(&error), "reading a: no such file");
        }
    }

    #[test]
    fn the_mark_stands_under_the_place() {
        let message = r#"invalid parameter "query": 1:5: parse error: unclosed left parenthesis"#;
        assert_eq!(
            mark_in_query("sum(", message).expect("place"),
            "  |\n1 | sum(\n  |     ^"
        );
        let second =
            mark_in_query("é +\n  é + nope(1)", "2:8: parse error: unknown function").expect("place");
        assert_eq!(second, "  |\n2 |   é + nope(1)\n  |       ^");
        for without in [
            "execution: many-to-many",
            "0:0: parse error",
            "9:1: parse error",
            "parse error: x",
            "1:99x: parse error",
        ] {
            assert_eq!(mark_in_query("sum(", without), None, "{without}");
        }
    }
}
