//! Whole bodies: the conformance data, our own cases, and bodies that were damaged.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod conformance;
mod damage;
mod quirks;
mod render;
