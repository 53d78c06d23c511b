//! The time-series database: head, write-ahead log, blocks.
//!
//! [`db::Db`] is the whole store behind `model`'s doors: it takes transactions ([`model::storage::Appender`]) and gives
//! views ([`model::storage::Queryable`]). This crate knows no network and no asynchronous runtime, and all files go
//! through [`files::Files`]. The folder and what is promised about it: `tsdb/docs/overview.md`.
//!
//! The one decision behind it: formats are the reference's, structures are not. Samples of the head lie in pages of
//! series with references in a row, so appending is a walk through memory; label sets are numbers; selecting touches no
//! sample and reading decodes straight into the caller's columns.
//!
//! ```
//! use std::sync::Arc;
//! use files::MemFiles;
//! use model::clock::ManualClock;
//! use model::columns::Columns;
//! use model::labels::Labels;
//! use model::matcher::Matcher;
//! use model::storage::{
//!     AppendBatch, AppendOutcome, Appender, FloatSample, Queryable, SelectHints, TimeRange,
//! };
//! use narthex_tsdb::db::{Db, Options};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options { background: false, ..Options::default() };
//! let db = Db::open(Arc::new(MemFiles::new()), "data".as_ref(), options, Arc::new(ManualClock::new(0)))?;
//!
//! let series = db.resolve(&Labels::from_pairs([("__name__", "up"), ("job", "api")]))?;
//! let mut batch = AppendBatch::default();
//! batch.floats.push(FloatSample { series, timestamp_ms: 1000, value: 1.0 });
//! db.append(&batch, &mut AppendOutcome::default())?;
//!
//! let view = db.querier(TimeRange::ALL)?;
//! let found = view.select(&SelectHints::default(), &[Matcher::equal("job", "api")])?;
//! let mut columns = Columns::default();
//! found.read(0, TimeRange::ALL, &mut columns)?;
//! assert_eq!((columns.timestamps_ms, columns.values), (vec![1000], vec![1.0]));
//! # Ok(())
//! # }
//! ```

pub mod agent;
pub mod block;
pub mod chunk;
pub mod columns;
pub mod db;
mod exemplar;
mod folder;
pub mod head;
pub mod postings;
pub mod select;
mod setbacks;
mod stop;
pub mod verify;
pub mod wal;
