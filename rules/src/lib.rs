//! Rules: expressions that are evaluated again and again, to be stored as series or to raise alerts.
//!
//! [`mod@format`] reads rule files, [`mod@check`] tells what is wrong with them, [`mod@unit`] runs their tests, [`state`] is the pure
//! state machine of alerts, and a [`Manager`] evaluates groups at their times. This crate meets storage, the query engine, the clock and whoever
//! sends alerts only through traits ([`Environment`]); it knows no HTTP and no configuration file but rule files.
//!
//! The one decision behind it: all that is decided about an alert is decided in one step from the state before, the
//! expression's result and the time; everything around it (tasks, storage, templates, reloads) carries data to that
//! step and away from it.
//!
//! ```
//! use narthex_rules::state::{AlertBook, AlertState, Observed, Timing};
//! use model::labels::Labels;
//! let minute = 60_000_000_000;
//! let timing = Timing { hold_ns: 5 * minute, keep_firing_ns: 0 };
//! let down = || vec![Observed { labels: Labels::from_pairs([("job", "api")]), annotations: Labels::empty(), value: 1.0 }];
//! let mut alerts = AlertBook::default();
//! alerts.step(0, down(), &timing, 0).unwrap();
//! assert_eq!(alerts.worst(), AlertState::Pending);
//! alerts.step(5 * minute, down(), &timing, 0).unwrap();
//! assert_eq!(alerts.worst(), AlertState::Firing);
//! ```

mod alerting;
mod append;
pub mod backtest;
pub mod check;
mod depend;
mod error;
mod evaluate;
mod expand;
pub mod format;
mod group;
mod instrument;
mod journal;
pub mod lint;
mod load;
mod manager;
mod no_data;
mod restore;
mod rule;
mod run;
mod schedule;
mod snapshot;
mod source;
pub mod state;
mod threads;
pub mod unit;

pub use check::{CheckReport, LintOptions, Verdict, check};
pub use error::{EvalError, FormatError, GroupProblem, LoadError, Mark, RuleProblem};
pub use group::{AlertOptions, Environment, Health};
pub use instrument::RuleMetrics;
pub use journal::{AlertJournal, Recovery};
pub use load::Settings;
pub use manager::{Manager, Prepared};
pub use no_data::NoData;
pub use schedule::{Schedule, Turn};
pub use snapshot::{AlertSnapshot, AlertingSnapshot, GroupSnapshot, RuleSnapshot};
pub use source::{Asker, EngineSource, QuerySource, to_vector};
pub use threads::Threads;
