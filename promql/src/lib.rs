//! PromQL: from the text of a query to its answer.
//!
//! The crate reads queries ([`parser`]), prints them ([`printer`], [`ast_json`]) and evaluates them ([`engine`]) over
//! anything that is a [`Queryable`](model::storage::Queryable): range functions are [`kernels`] over columns of samples,
//! functions of single samples and buckets are [`functions`]. [`script`] runs test scripts in the reference's language.
//!
//! It does not know where samples lie, what a file, a socket or a configuration is, or what time it is: a query names its
//! times, and storage, threads and limits are handed in. Nothing here is asynchronous.
//!
//! The decision behind it: a query over many steps is evaluated once, series by series over all of its steps, and not
//! once a step. Every operator gives [`row::Row`]s, one series with a slot for each step, so that each series is read
//! once, in order, by loops over plain arrays, and memory is bound by the rows that an operator has to hold. What the
//! language defines step by step (`tests/it/differential` has that definition) must come out all the same.
//!
//! ```
//! use model::labels::Labels;
//! use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
//! use narthex_promql::engine::{Engine, EngineOptions, QueryOptions};
//! use narthex_promql::script::MemoryStore;
//! use narthex_promql::value::{SampleValue, Value};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let series = store.resolve(&Labels::from_pairs([("__name__", "requests_total"), ("job", "api")]))?;
//! let sample = |minute: i64| FloatSample { series, timestamp_ms: minute * 60_000, value: 30.0 * minute as f64 };
//! let batch = AppendBatch { floats: (0..=5).map(sample).collect(), ..AppendBatch::default() };
//! store.append(&batch, &mut AppendOutcome::default())?;
//!
//! let engine = Engine::new(EngineOptions::default());
//! let query = "sum by (job) (rate(requests_total[2m]))";
//! let output = engine.instant(&store, query, 300_000, &QueryOptions::default())?;
//! let Value::Vector(vector) = output.value else {
//!     panic!("a vector at one point in time");
//! };
//! assert_eq!(vector[0].labels.to_string(), r#"{job="api"}"#);
//! assert_eq!(vector[0].value, SampleValue::Float(0.5));
//! # Ok(())
//! # }
//! ```

pub mod ast;
pub mod ast_json;
pub mod parser;
pub mod printer;
pub mod signatures;

mod plan;

pub mod annotations;
pub mod engine;
pub mod row;
pub mod value;

mod exec;
pub mod functions;
pub mod kernels;

pub mod script;
