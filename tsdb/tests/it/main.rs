//! The store from outside: against a model, through crashes and faults, on the reference's data.

#![expect(clippy::print_stdout, reason = "tests tell their seed")]

mod agent;
mod blocks;
mod blocks_docs;
mod blocks_golden;
mod changes;
mod conformance;
mod counters;
mod crash;
mod faults;
mod follow;
mod heal;
mod history;
mod isolation;
mod kill;
mod logs_docs;
mod model_test;
mod panics;
mod read_only;
mod reload;
mod snapshot;
mod stale;
mod store;
mod support;
