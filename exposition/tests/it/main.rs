//! Whole bodies: the conformance data, our own cases, and bodies that were damaged.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and say when they skip"
)]

mod conformance;
mod damage;
mod render;
