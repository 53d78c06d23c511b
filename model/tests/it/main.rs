//! Tests of `model` against tables of Go's answers and the conformance data.

use std::path::PathBuf;

mod float;
mod regex;
mod relabel;

/// A file of this project's own cases.
fn testdata(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/model")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Rows of a table: cells separated by tabs, comments after `#`.
fn table(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
}

/// The text of a file of the conformance data.
fn conformance(name: &str) -> Option<String> {
    let path = testkit::conformance(name)?;
    Some(std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}
