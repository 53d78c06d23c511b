//! Merges blocks into one.
//!
//! Series stream by in order of their labels. Symbols of all blocks are numbered anew first, in order of their texts, so
//! that label sets are compared and written as numbers and no label text is touched again. Chunks that overlap no other
//! and of which nothing is deleted are copied as they are; the rest is decoded, merged and encoded.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use model::storage::{StorageError, TimeRange};
use ulid::Ulid;

use super::codec::FilePath;
use super::pieces::{Merger, Piece};
use super::{Block, BlockMeta, BlockWriter, SeriesEntry};
use crate::chunk::Encoding;
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
        merger.merge_overlapping(floats).map_err(|damage| {
            let dirs: Vec<_> = blocks.iter().map(|block| block.dir()).collect();
            StorageError::Other(format!("merging {dirs:?}: {damage}"))
        })?;
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
        let series = self.current.unwrap_or(0);
        merger.add_of_block(self.block, series, &self.entry.chunks, range)
    }
}
