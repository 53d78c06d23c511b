//! Which state of the folder a snapshot belongs to, and whether the folder is still in it.

use std::collections::BTreeMap;
use std::path::Path;

use super::SnapshotRefusal;
use super::file::{fingerprint, put_be32, put_be64_signed};
use crate::head::Head;
use crate::head::chunk_files::file_path;
use crate::wal::{RecordError, last_checkpoint, segment_path};
use files::codec::{Reader, put_be64};
use files::{Files, Result};

/// Bytes of a log before a position that must be as they were.
const LOG_BYTES_COMPARED: usize = 32 << 10;
/// Bytes at the end of a chunk file that must be as they were; checksums of chunks are among them.
const CHUNK_BYTES_COMPARED: usize = 1 << 10;

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::head) struct Position {
    pub(in crate::head) segment: u64,
    /// In bytes from the start of the segment.
    pub(in crate::head) offset: u64,
    /// Of what stands before the place.
    pub(super) fingerprint: u64,
}

impl Position {
    /// The place with its fingerprint; the log must be written up to it.
    pub(super) fn take(files: &dyn Files, dir: &Path, (segment, offset): (u64, u64)) -> Result<Self> {
        Ok(Position {
            segment,
            offset,
            fingerprint: before(files, dir, segment, offset)?.unwrap_or(0),
        })
    }

    fn is_in(&self, files: &dyn Files, dir: &Path) -> Result<bool> {
        Ok(before(files, dir, self.segment, self.offset)? == Some(self.fingerprint))
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_be64(out, self.segment);
        put_be64(out, self.offset);
        put_be64(out, self.fingerprint);
    }

    fn read(reader: &mut Reader<'_>) -> std::result::Result<Self, RecordError> {
        Ok(Position {
            segment: reader.be64()?,
            offset: reader.be64()?,
            fingerprint: reader.be64()?,
        })
    }
}

/// Fingerprint of what stands before a place in a log; at the start of a segment, of the end of the one before it.
/// `None` where the log does not reach the place.
fn before(files: &dyn Files, dir: &Path, segment: u64, offset: u64) -> Result<Option<u64>> {
    let path = segment_path(dir, segment);
    if !files.exists(&path) {
        return Ok(None);
    }
    if offset > 0 {
        return Ok(fingerprint(&files.map(&path)?, offset, LOG_BYTES_COMPARED));
    }
    let path = match segment.checked_sub(1) {
        Some(before) => segment_path(dir, before),
        None => return Ok(Some(0)),
    };
    if !files.exists(&path) {
        // The log begins here: a checkpoint stands for what was before it.
        return Ok(Some(0));
    }
    let bytes = files.map(&path)?;
    Ok(fingerprint(&bytes, bytes.len() as u64, LOG_BYTES_COMPARED))
}

/// A file of `chunks_head` as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::head) struct ChunkFileState {
    pub(super) number: u32,
    /// At least.
    pub(super) len: u64,
    /// Of its end.
    pub(super) fingerprint: u64,
}

impl ChunkFileState {
    /// The files of a folder as they are.
    pub(super) fn all(files: &dyn Files, dir: &Path) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in files.list(dir)? {
            let Ok(number) = entry.name.parse() else {
                continue;
            };
            let bytes = files.map(&file_path(dir, number))?;
            let len = bytes.len() as u64;
            let Some(fingerprint) = fingerprint(&bytes, len, CHUNK_BYTES_COMPARED) else {
                continue;
            };
            all.push(ChunkFileState {
                number,
                len,
                fingerprint,
            });
        }
        all.sort_by_key(|f| f.number);
        Ok(all)
    }
}

/// The state of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::head) struct State {
    /// When the snapshot was begun.
    pub(super) created_ms: i64,
    /// References below this have been given out.
    pub(in crate::head) next_reference: u64,
    /// Newest in-order timestamp at the position.
    pub(in crate::head) max_ms: i64,
    pub(in crate::head) checkpoint: Option<u64>,
    pub(in crate::head) wal: Position,
    pub(in crate::head) wbl: Option<Position>,
    /// Chunks before this are in the images.
    pub(in crate::head) chunk: u64,
    pub(super) chunk_files: Vec<ChunkFileState>,
}

impl State {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_be64_signed(out, self.created_ms);
        put_be64(out, self.next_reference);
        put_be64_signed(out, self.max_ms);
        put_be64(out, self.checkpoint.map_or(0, |c| c + 1));
        self.wal.put(out);
        out.push(u8::from(self.wbl.is_some()));
        if let Some(wbl) = &self.wbl {
            wbl.put(out);
        }
        put_be64(out, self.chunk);
        for file in &self.chunk_files {
            put_be32(out, file.number);
            put_be64(out, file.len);
            put_be64(out, file.fingerprint);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> std::result::Result<Self, RecordError> {
        let mut state = State {
            created_ms: reader.be64()? as i64,
            next_reference: reader.be64()?,
            max_ms: reader.be64()? as i64,
            checkpoint: reader.be64()?.checked_sub(1),
            wal: Position::read(reader)?,
            wbl: match reader.u8()? {
                0 => None,
                _ => Some(Position::read(reader)?),
            },
            chunk: reader.be64()?,
            chunk_files: Vec::new(),
        };
        while !reader.is_empty() {
            state.chunk_files.push(ChunkFileState {
                number: reader.be32()?,
                len: reader.be64()?,
                fingerprint: reader.be64()?,
            });
        }
        Ok(state)
    }

    /// Whether the folder is still what the snapshot was taken of, but for what was added to it.
    pub(super) fn check(&self, files: &dyn Files, dir: &Path) -> std::result::Result<(), SnapshotRefusal> {
        let wal = dir.join(Head::WAL_DIR);
        if last_checkpoint(files, &wal)? != self.checkpoint {
            return Err(SnapshotRefusal::Checkpoint);
        }
        let wbl = dir.join(Head::WBL_DIR);
        let positions = [("wal", &wal, Some(&self.wal)), ("wbl", &wbl, self.wbl.as_ref())];
        for (log, dir, position) in positions {
            if let Some(position) = position
                && !position.is_in(files, dir)?
            {
                let segment = position.segment;
                return Err(SnapshotRefusal::Log { log, segment });
            }
        }
        let chunks = dir.join(Head::CHUNKS_DIR);
        for file in &self.chunk_files {
            let path = file_path(&chunks, file.number);
            let same = files.exists(&path)
                && fingerprint(&files.map(&path)?, file.len, CHUNK_BYTES_COMPARED) == Some(file.fingerprint);
            if !same {
                return Err(SnapshotRefusal::ChunkFile(file.number));
            }
        }
        Ok(())
    }

    /// For each chunk file, up to where its chunks need not be looked at: they are in the images.
    pub(in crate::head) fn covered(&self) -> BTreeMap<u32, u64> {
        let (current, offset) = crate::head::chunk_files::unpack(self.chunk);
        let covered = |file: &ChunkFileState| match file.number.cmp(&current) {
            std::cmp::Ordering::Less => file.len,
            std::cmp::Ordering::Equal => (offset as u64).min(file.len),
            std::cmp::Ordering::Greater => 0,
        };
        self.chunk_files.iter().map(|f| (f.number, covered(f))).collect()
    }
}
