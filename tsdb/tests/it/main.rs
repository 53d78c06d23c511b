//! The store from outside: against a model, through crashes and faults, on the reference's data.

mod blocks;
mod blocks_docs;
mod blocks_golden;
mod crash;
mod isolation;
mod model_test;
mod support;
