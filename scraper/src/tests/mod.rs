//! The core against a store in memory, and the loops against a clock that tests move.

mod discovered;
mod ingest;
mod loops;
mod sections;
mod store;
mod targets;
