//! Rules from the outside: the reference's verdicts on files, tables of alert states, and groups that run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backtest;
mod clock;
mod engine;
mod files;
mod groups;
mod journal;
mod late;
mod lint;
mod manager;
mod no_data;
mod schema;
mod states;
mod store;
mod unit;
mod verdicts;
mod world;

use std::path::PathBuf;

/// Folder of this room's own cases.
fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/rules")
}
