//! Merges blocks into one.
//!
//! Series stream by in order of their labels. Symbols of all blocks are numbered anew first, in order of their texts, so
//! that label sets are compared and written as numbers and no label text is touched again. Chunks that overlap no other
//! and of which nothing is deleted are copied as they are; the rest is decoded, merged and encoded.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use model::columns::Columns;
use model::storage::{StorageError, TimeRange};
use ulid::Ulid;

use super::codec::FilePath;
use super::overlap::Overlap;
use super::reader::covered;
use super::{Block, BlockChunk, BlockMeta, BlockWriter, ChunkData, ChunkMeta, SeriesEntry};
use crate::chunk::{EncodeOptions, EncodedChunk, Encoding, encode};
use crate::columns::remove_deleted;
use crate::select::LabelIndex;
use files::Files;

/// Merges `blocks` into a new block called `ulid` in folder `parent`; gives its meta, or `None` when nothing is left
/// (everything was deleted). Where two blocks have a sample for one timestamp, the one of the chunk that begins first
/// counts, then of the one that ends first, then of the block that stands first in `blocks`.
///
/// Chunks that do not overlap are copied as they are; where some are merged, floats are encoded as `floats` says, if they
/// have no start timestamps. `go_on` is asked before every series.
///
/// # Errors
/// [`StorageError::Closed`] when `go_on` says no; else when a block is damaged or the system refuses. Nothing is left of
/// the new block then.
pub fn compact(
    files: &Arc<dyn Files>,
    parent: &Path,
    blocks: &[Arc<Block>],
    ulid: Ulid,
    floats: Encoding,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<BlockMeta>, StorageError> {
    let metas: Vec<Arc<BlockMeta>> = blocks.iter().map(|block| block.meta()).collect();
    let meta = BlockMeta::of_merged(ulid, metas.iter().map(|meta| &**meta));
    let range = TimeRange::new(meta.min_time, meta.max_time.saturating_sub(1));
    let (symbols, maps) = merge_symbols(blocks)?;
    let mut writer = BlockWriter::create(files.clone(), parent, meta, symbols)?;
    let mut inputs = Vec::with_capacity(blocks.len());
    for (block, symbols) in blocks.iter().zip(maps) {
        let mut input = Input::new(block, symbols)?;
        input.advance()?;
        inputs.push(input);
    }
    let mut merger = Merger::default();
    loop {
        if !go_on() {
            return Err(StorageError::Closed);
        }
        let Some(next) = inputs
            .iter()
            .filter(|i| i.current.is_some())
            .min_by(|a, b| a.labels.cmp(&b.labels))
        else {
            break;
        };
        let labels = next.labels.clone();
        merger.pieces.clear();
        for input in &mut inputs {
            if input.current.is_some() && input.labels == labels {
                input.pieces(range, &mut merger)?;
                input.advance()?;
            }
        }
        merger.merge_overlapping(blocks, floats)?;
        let chunks: Vec<_> = merger.pieces.iter().map(Piece::as_chunk).collect();
        writer.add_pairs(&labels, &chunks)?;
    }
    writer.finish()
}

/// All symbols of the blocks, sorted, and for each block the new number of each of its symbols.
fn merge_symbols(blocks: &[Arc<Block>]) -> Result<(Vec<&str>, Vec<Vec<u32>>), StorageError> {
    let mut merged: Vec<&str> = Vec::new();
    let mut maps = Vec::with_capacity(blocks.len());
    let mut lists = Vec::with_capacity(blocks.len());
    for block in blocks {
        let symbols: Option<Vec<&str>> = block.index().symbols().iter().collect();
        let Some(symbols) = symbols else {
            let path = FilePath(block.dir().join(super::INDEX_FILE));
            return Err(path.corrupt(0, "a symbol is no UTF-8"));
        };
        merged.extend_from_slice(&symbols);
        lists.push(symbols);
    }
    // The stable sort finds the tables as ascending runs and merges them.
    merged.sort();
    merged.dedup();
    for symbols in lists {
        let mut number = 0;
        let map = symbols.iter().map(|symbol| {
            while merged[number] != *symbol {
                number += 1;
            }
            number as u32
        });
        maps.push(map.collect());
    }
    Ok((merged, maps))
}

/// A block, series by series.
struct Input<'a> {
    block: &'a Block,
    symbols: Vec<u32>,
    series: std::vec::IntoIter<u32>,
    /// Number of the series at hand; `None` behind the last.
    current: Option<u32>,
    /// Its labels by the new symbols' numbers.
    labels: Vec<(u32, u32)>,
    entry: SeriesEntry,
}

impl<'a> Input<'a> {
    fn new(block: &'a Block, symbols: Vec<u32>) -> Result<Self, StorageError> {
        Ok(Input {
            block,
            symbols,
            series: block.index().all()?.to_vec().into_iter(),
            current: None,
            labels: Vec::new(),
            entry: SeriesEntry::default(),
        })
    }

    /// Moves to the next series.
    fn advance(&mut self) -> Result<(), StorageError> {
        self.current = self.series.next();
        let Some(series) = self.current else {
            return Ok(());
        };
        self.block.index().series(series, &mut self.entry)?;
        let before = std::mem::take(&mut self.labels);
        let map = |symbol: u32| self.symbols.get(symbol as usize).copied();
        let labels: Option<Vec<_>> = self
            .entry
            .labels
            .iter()
            .map(|(name, value)| Some((map(*name)?, map(*value)?)))
            .collect();
        let path = || FilePath(self.block.dir().join(super::INDEX_FILE));
        let Some(labels) = labels else {
            return Err(path().corrupt(0, format!("series {series} refers to a symbol that is missing")));
        };
        if before.cmp(&labels) != Ordering::Less && !before.is_empty() {
            return Err(path().corrupt(0, format!("series {series} is out of order")));
        }
        self.labels = labels;
        Ok(())
    }

    /// Adds the chunks of the series at hand, cut to `range` and without what is deleted.
    fn pieces(&self, range: TimeRange, merger: &mut Merger<'a>) -> Result<(), StorageError> {
        let tombstones = self.block.tombstones();
        let deleted = tombstones.of(self.current.unwrap_or(0).into());
        for chunk in &self.entry.chunks {
            if chunk.max_ms < range.min_ms || chunk.min_ms > range.max_ms || covered(chunk, deleted) {
                continue;
            }
            let touched = chunk.min_ms < range.min_ms
                || chunk.max_ms > range.max_ms
                || deleted
                    .iter()
                    .any(|(min, max)| *min <= chunk.max_ms && chunk.min_ms <= *max);
            if !touched {
                merger.pieces.push(Piece::Whole(
                    *chunk,
                    self.block.segments().chunk(chunk.reference)?,
                ));
                continue;
            }
            merger.read.clear();
            self.block.read_chunk(chunk, range, &mut merger.read)?;
            remove_deleted(&mut merger.read, deleted, &mut merger.spare);
            let encoding = self.block.segments().chunk(chunk.reference)?.encoding;
            let encoding = Encoding::from_byte(encoding)
                .map_err(|e| self.block.segments().corrupt(chunk.reference, e.to_string()))?;
            let encoded = encode(&merger.read, &EncodeOptions::keep(encoding));
            merger.pieces.extend(encoded.into_iter().map(Piece::Fresh));
        }
        Ok(())
    }
}

/// A chunk of the new block.
enum Piece<'a> {
    /// As it is in its old block.
    Whole(ChunkMeta, ChunkData<'a>),
    /// Encoded anew.
    Fresh(EncodedChunk),
}

impl Piece<'_> {
    fn as_chunk(&self) -> BlockChunk<'_> {
        match self {
            Piece::Whole(meta, data) => BlockChunk {
                min_ms: meta.min_ms,
                max_ms: meta.max_ms,
                data: *data,
            },
            Piece::Fresh(chunk) => chunk.into(),
        }
    }

    fn ends(&self) -> (i64, i64) {
        let chunk = self.as_chunk();
        (chunk.min_ms, chunk.max_ms)
    }
}

/// The chunks of one series, and space to merge them in.
#[derive(Default)]
struct Merger<'a> {
    pieces: Vec<Piece<'a>>,
    overlap: Overlap,
    read: Columns,
    spare: Columns,
}

impl Merger<'_> {
    /// Orders the chunks by time, drops copies, and merges those that overlap.
    fn merge_overlapping(&mut self, blocks: &[Arc<Block>], floats: Encoding) -> Result<(), StorageError> {
        // Stable: of equal ones the first block's stands first.
        self.pieces.sort_by_key(Piece::ends);
        self.pieces.dedup_by(|next, before| {
            let (next, before) = (next.as_chunk(), before.as_chunk());
            (next.min_ms, next.max_ms, next.data) == (before.min_ms, before.max_ms, before.data)
        });
        let mut rest = std::mem::take(&mut self.pieces).into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut end = first.ends().1;
            let mut group = vec![first];
            while let Some(next) = rest.next_if(|next| next.ends().0 <= end) {
                end = end.max(next.ends().1);
                group.push(next);
            }
            match (group.len(), group.pop()) {
                (1, Some(alone)) => self.pieces.push(alone),
                (_, Some(last)) => {
                    group.push(last);
                    self.merge_group(&group, blocks, floats)?;
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn merge_group(
        &mut self,
        group: &[Piece<'_>],
        blocks: &[Arc<Block>],
        floats: Encoding,
    ) -> Result<(), StorageError> {
        let chunks: Vec<BlockChunk<'_>> = group.iter().map(Piece::as_chunk).collect();
        let merged = self.overlap.merge(&chunks).map_err(|(at, e)| {
            let what = format!("chunk from {} to {}: {e}", chunks[at].min_ms, chunks[at].max_ms);
            let dirs: Vec<_> = blocks.iter().map(|block| block.dir()).collect();
            StorageError::Other(format!("merging {dirs:?}: {what}"))
        })?;
        let options = EncodeOptions {
            floats,
            ..EncodeOptions::default()
        };
        let encoded = encode(merged, &options);
        self.pieces.extend(encoded.into_iter().map(Piece::Fresh));
        Ok(())
    }
}
