//! Blocks: immutable folders that hold the samples of a stretch of time.
//!
//! A block has an index, chunk segments, tombstones and a `meta.json`. It is written under a temporary name, made
//! durable and then renamed, so a folder with a block's name is a whole block; it is never changed afterwards, but for
//! tombstones and marks in the meta file, both replaced atomically.

mod build;
pub(crate) mod codec;
mod compact;
mod index;
mod meta;
mod output;
mod overlap;
mod pieces;
mod reader;
mod segments;
mod tombstones;
mod writer;

pub use crate::chunk::ChunkData;
pub(crate) use build::write_sorted;
pub use build::{BuildError, write_series};
pub use compact::compact;
pub use index::{INDEX_FILE, IndexReader, IndexWriter, SeriesEntry, Symbols, Toc};
pub use meta::{
    BlockDesc, BlockMeta, BlockStats, Compaction, HINT_OUT_OF_ORDER, HINT_SELECTED_SERIES, HINT_STALE_SERIES,
    META_FILE,
};
pub(crate) use pieces::{Merger, Piece};
pub use reader::Block;
pub use segments::{CHUNKS_DIR, ChunkMeta, SEGMENT_BYTES_MAX, SegmentWriter, Segments};
pub use tombstones::{TOMBSTONES_FILE, Tombstones};
pub use writer::{BlockChunk, BlockWriter, TEMPORARY_SUFFIX};
pub(crate) use writer::{CHUNK_SIZES, ChunkSizes};
