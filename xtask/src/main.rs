//! Automation of this repository.
//!
//! * `cargo xtask tidy` checks what the compiler does not: dependency arrows and leftovers, first
//!   lines of files, long functions, unwatched tasks, the list of unsafe code, links in documents.
//! * `cargo xtask ci [STEP…]` runs the steps of CI, cheapest first, each timed; without names, all of them.
//! * `cargo xtask crash [--rounds N] [--seed N]` kills a store at random moments, 300 times where nothing is said.
//! * `cargo xtask memory [--program PATH] [--limit MiB]` asks a released server in a control group for too much.
//! * `cargo xtask reload [--program PATH] [--jobs N] [--groups N]` times reloads of a released server.
//! * `cargo xtask fuzz [TARGET…] [--seconds N] [--keep]` builds and runs the fuzz targets.

mod ci;
mod crash;
mod fuzz;
mod lengths;
mod memory;
mod reload;
mod spawns;
mod tidy;
mod unused;

use std::path::PathBuf;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("tidy") => tidy::run(&root()),
        Some("ci") => ci::run(&root(), &args.collect::<Vec<_>>()),
        Some("crash") => crash::run(&root(), &args.collect::<Vec<_>>()),
        Some("fuzz") => fuzz::run(&root(), &args.collect::<Vec<_>>()),
        Some("memory") => memory::run(&root(), &args.collect::<Vec<_>>()),
        Some("reload") => reload::run(&root(), &args.collect::<Vec<_>>()),
        other => bail!("expected `tidy`, `ci`, `crash`, `fuzz`, `memory` or `reload`, got {other:?}"),
    }
}

/// The repository's root: the folder above this crate.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[expect(
    clippy::print_stderr,
    reason = "progress of a command-line tool; stdout belongs to the steps"
)]
fn say(line: &str) {
    eprintln!("{line}");
}
