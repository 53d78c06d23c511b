//! Automation of this repository.
//!
//! * `cargo xtask tidy` checks what the compiler does not: dependency arrows, first lines of files, links in documents.
//! * `cargo xtask ci [STEP…]` runs the steps of CI, cheapest first, each timed; without names, all of them.

mod ci;
mod tidy;

use std::path::PathBuf;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("tidy") => tidy::run(&root()),
        Some("ci") => ci::run(&root(), &args.collect::<Vec<_>>()),
        other => bail!("expected `tidy` or `ci`, got {other:?}"),
    }
}

/// The repository's root: the folder above this crate.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
