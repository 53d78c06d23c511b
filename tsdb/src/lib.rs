//! The time-series database: head, write-ahead log, blocks.

pub mod block;
pub mod chunk;
mod columns;
pub mod db;
pub mod files;
pub mod head;
pub mod postings;
pub mod select;
pub mod wal;
