//! The time-series database: head, write-ahead log, blocks.

pub mod chunk;
pub mod files;
pub mod wal;
