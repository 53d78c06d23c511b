//! Nouns of a time-series database, and the storage doors that other rooms meet at.
//!
//! This crate knows nobody: no runtime, no files, no network, no serde. Rooms that never meet in their dependencies
//! (the scraper and the block format, the query engine and the head) meet here, at three traits:
//!
//! * [`storage::Appender`] takes a whole transaction (a scrape, a rule evaluation, a remote write) as one plain
//!   [`storage::AppendBatch`] and applies all of it or reports why not;
//! * [`storage::Queryable`] separates *selecting* (index only) from *reading* (one series' samples decoded into the
//!   caller's [`columns::Columns`]);
//! * [`log::Log`] lets others follow what was appended, from a place on that they have written down.
//!
//! The one decision behind it: samples cross rooms in columns and batches, never one at a time through an iterator,
//! so that no door costs a virtual call or an allocation a sample.
//!
//! ```
//! use narthex_model::labels::Labels;
//! let labels = Labels::from_pairs([("job", "api"), ("__name__", "up")]);
//! assert_eq!(labels.to_string(), r#"{__name__="up", job="api"}"#);
//! ```

pub mod alert;
pub mod case;
pub mod changes;
pub mod chunk;
pub mod clock;
pub mod columns;
pub mod duration;
pub mod float;
pub mod go;
pub mod histogram;
pub mod label_table;
pub mod labels;
pub mod log;
pub mod matcher;
pub mod nearest;
pub mod packed_sets;
pub mod protobuf;
pub mod purpose;
pub mod regex;
pub mod relabel;
pub mod sample;
pub mod stack;
pub mod storage;
