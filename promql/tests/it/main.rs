//! Tests of the query language against recorded answers and scripts.

#![expect(
    clippy::print_stdout,
    reason = "tests say what they skip and how scripts fared"
)]

mod annotations;
mod conformance;
mod differential;
mod engine;
mod explain;
mod limits;
mod parser;
mod script;

use std::path::PathBuf;

/// The folder of recorded answers of the reference; `None`, and a word about it, where it is absent.
fn conformance_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("NARTHEX_CONFORMANCE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance")),
        PathBuf::from,
    );
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: no conformance data at {}", dir.display());
    None
}
