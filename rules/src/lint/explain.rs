//! What `lint explain` prints.

use std::fmt::Write as _;

use super::{LINTS, Lint};

/// The list of all lints, one a line.
pub fn overview() -> String {
    let mut out = String::new();
    for lint in LINTS {
        let server = if lint.explanation.needs_server {
            " (with --server)"
        } else {
            ""
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{}  {:<7}  {:<27} {}{server}",
            lint.code,
            lint.severity.as_str(),
            lint.name,
            lint.explanation.what
        );
    }
    out
}

/// All that is to be said of a lint, in lines of at most `width` letters but for the examples.
pub fn explanation(lint: &Lint, width: usize) -> String {
    let told = &lint.explanation;
    let mut out = format!("{} {} ({})\n\n", lint.code, lint.name, lint.severity.as_str());
    for text in [told.what, told.why] {
        wrap(text, width, &mut out);
        out.push('\n');
    }
    if told.needs_server {
        out.push_str("It is found with --server only.\n\n");
    }
    for (title, example) in [("Wrong:", told.wrong), ("Right:", told.right)] {
        let _ = writeln!(out, "{title}\n");
        for line in example.lines() {
            let _ = writeln!(out, "    {line}");
        }
        out.push('\n');
    }
    let _ = write!(
        out,
        "To turn it off:\n\n    \
         # lint:disable {code}       in front of a rule, or behind what it is about\n    \
         # lint:disable-file {code}  anywhere in the file\n    \
         lints: {{{code}: off}}        in the file for --config\n",
        code = lint.code
    );
    out
}

fn wrap(text: &str, width: usize, out: &mut String) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if column > 0 && column + 1 + letters > width {
            out.push('\n');
            column = 0;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += letters;
    }
    out.push('\n');
}
