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

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
/// A file of the conformance data; nothing, and a line that says so, where it is absent.
fn conformance(name: &str) -> Option<String> {
    let folder = std::env::var_os("NARTHEX_CONFORMANCE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    );
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: no {}", path.display());
    }
    text
}
