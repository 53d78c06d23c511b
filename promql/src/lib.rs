//! PromQL: text to tree, tree to plan, plan to answers.

pub mod annotations;
pub mod ast;
pub mod ast_json;
pub mod functions;
pub mod kernels;
pub mod parser;
pub mod printer;
pub mod row;
pub mod script;
pub mod signatures;
pub mod engine;
pub mod value;
mod plan;
mod exec;
