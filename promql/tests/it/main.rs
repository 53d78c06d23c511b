//! Tests of the query language against recorded answers and scripts.

#![expect(clippy::print_stdout, reason = "tests say how scripts fared")]

mod annotations;
mod conformance;
mod depth;
mod differential;
mod engine;
mod explain;
mod limits;
mod parser;
mod script;
