//! The core against a store in memory, and the loops against a clock that tests move.

mod ingest;
mod loops;
mod sections;
mod store;
mod targets;
