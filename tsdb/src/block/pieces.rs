//! The chunks of one series out of several places, as one list without overlap.

use std::fmt;

use model::columns::Columns;
use model::storage::{StorageError, TimeRange};

use super::overlap::Overlap;
use super::reader::covered;
use super::{Block, BlockChunk, ChunkData, ChunkMeta};
use crate::chunk::{ChunkError, EncodeOptions, EncodedChunk, Encoding, encode};
use crate::columns::remove_deleted;

/// A chunk of the list.
pub(crate) enum Piece<'a> {
    /// As it is in its block.
    Whole(ChunkMeta, ChunkData<'a>),
    /// Encoded anew, or copied.
    Fresh(EncodedChunk),
}

impl Piece<'_> {
    pub(crate) fn as_chunk(&self) -> BlockChunk<'_> {
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

/// A chunk that cannot be merged with others, since it is damaged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DamagedPiece {
    min_ms: i64,
    max_ms: i64,
    error: ChunkError,
}

impl fmt::Display for DamagedPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk from {} to {}: {}", self.min_ms, self.max_ms, self.error)
    }
}

/// The chunks of one series, and space to merge them in.
#[derive(Default)]
pub(crate) struct Merger<'a> {
    pub(crate) pieces: Vec<Piece<'a>>,
    overlap: Overlap,
    read: Columns,
    spare: Columns,
}

impl<'a> Merger<'a> {
    /// Adds those of `chunks`, which are a block's, that lie in `range`: cut to it, and without what is deleted.
    ///
    /// # Errors
    /// When one is damaged that is to be cut.
    pub(crate) fn add_of_block(
        &mut self,
        block: &'a Block,
        series: u32,
        chunks: &[ChunkMeta],
        range: TimeRange,
    ) -> Result<(), StorageError> {
        let tombstones = block.tombstones();
        let deleted = tombstones.of(series.into());
        for chunk in chunks {
            if chunk.max_ms < range.min_ms || chunk.min_ms > range.max_ms || covered(chunk, deleted) {
                continue;
            }
            let data = block.segments().chunk(chunk.reference)?;
            let touched = chunk.min_ms < range.min_ms
                || chunk.max_ms > range.max_ms
                || deleted
                    .iter()
                    .any(|(min, max)| *min <= chunk.max_ms && chunk.min_ms <= *max);
            if !touched {
                self.pieces.push(Piece::Whole(*chunk, data));
                continue;
            }
            self.read.clear();
            block.read_chunk(chunk, range, &mut self.read)?;
            remove_deleted(&mut self.read, deleted, &mut self.spare);
            let encoding = Encoding::from_byte(data.encoding)
                .map_err(|e| block.segments().corrupt(chunk.reference, e.to_string()))?;
            let encoded = encode(&self.read, &EncodeOptions::keep(encoding));
            self.pieces.extend(encoded.into_iter().map(Piece::Fresh));
        }
        Ok(())
    }

    /// Orders the chunks by time, drops copies, and merges those that overlap; floats without start timestamps then become
    /// `floats`.
    ///
    /// # Errors
    /// When one of them is damaged.
    pub(crate) fn merge_overlapping(&mut self, floats: Encoding) -> Result<(), DamagedPiece> {
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
                    self.merge_group(&group, floats)?;
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn merge_group(&mut self, group: &[Piece<'_>], floats: Encoding) -> Result<(), DamagedPiece> {
        let chunks: Vec<BlockChunk<'_>> = group.iter().map(Piece::as_chunk).collect();
        let merged = self.overlap.merge(&chunks).map_err(|(at, error)| DamagedPiece {
            min_ms: chunks[at].min_ms,
            max_ms: chunks[at].max_ms,
            error,
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
