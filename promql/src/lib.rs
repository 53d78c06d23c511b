//! PromQL: text to tree, tree to plan, plan to answers.

pub mod annotations;
pub mod ast;
pub mod functions;
pub mod kernels;
pub mod row;
pub mod engine;
pub mod value;
