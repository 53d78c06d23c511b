//! Test scripts: data, queries, and what they must give.
//!
//! The language is the reference's (`load`, `clear`, `eval`, `expect`; its `promqltest` describes it), so that its
//! scripts run here unchanged. An instant query is also asked at other times with its selectors pinned by `@`, and as
//! the middle step of a range query: one line tests all three.
//!
//! What answers is behind [`Evaluate`], where the data lies behind [`Store`]: the same scripts try the engine over
//! [`MemoryStore`] and over a real store.

mod command;
mod compare;
mod evaluate;
mod memory;
mod nhcb;
mod run;

pub use command::{
    At, Command, Eval, Expect, Load, LoadedSeries, ScriptError, Statement, Steps, TextMatch, parse_script,
};
pub use compare::{Mismatch, almost_equal, same_histogram};
pub use evaluate::{Answer, Evaluate};
pub use memory::MemoryStore;
pub use run::{Failure, FailureKind, LoadError, Report, Store, load, run};
