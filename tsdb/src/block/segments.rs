//! Chunk segments: the files below `chunks/` in a block (`tsdb/docs/block-chunks.md`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::storage::StorageError;

use super::codec::{Cursor, FilePath, crc32c, put_uvarint};
use super::output::Output;
use crate::chunk::ChunkData;
use files::{Files, Mapped};

/// Name of the folder in a block's folder.
pub const CHUNKS_DIR: &str = "chunks";
/// Most bytes of a segment, unless a single series' chunk is longer.
pub const SEGMENT_BYTES_MAX: u64 = 512 << 20;
const MAGIC: u32 = 0x85BD_40DD;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
/// Longest length field of a chunk.
const LEN_BYTES_MAX: usize = 5;
const CRC_BYTES: usize = 4;

/// Where a chunk is and which stretch of time it covers: what the index says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkMeta {
    /// First sample.
    pub min_ms: i64,
    /// Last sample.
    pub max_ms: i64,
    /// Number of the segment (from 0) in the upper half, byte in the segment in the lower.
    pub reference: u64,
}

/// The chunks of a block.
#[derive(Debug)]
pub struct Segments {
    /// By number, from 0: one may be missing.
    segments: BTreeMap<u64, (FilePath, Mapped)>,
}

impl Segments {
    /// Maps the segments of the block in folder `dir`.
    ///
    /// # Errors
    /// When a segment cannot be mapped, or a file is not a segment.
    pub fn open(files: &dyn Files, dir: &Path) -> Result<Self, StorageError> {
        let dir = dir.join(CHUNKS_DIR);
        let mut segments = BTreeMap::new();
        for entry in files.list(&dir)? {
            // Files are numbered from 1, references from 0.
            let number = entry
                .name
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_sub(1));
            let Some(number) = number else {
                continue;
            };
            let path = dir.join(&entry.name);
            let bytes = files.map(&path)?;
            let path = FilePath(path);
            let mut header = Cursor::new(&bytes, 0);
            if header.be32() != Ok(MAGIC) {
                return Err(path.corrupt(0, "not a chunk segment"));
            }
            match header.byte() {
                Ok(VERSION) if bytes.len() >= HEADER_BYTES => {}
                Ok(VERSION) | Err(_) => return Err(path.corrupt(bytes.len(), "shorter than its header")),
                Ok(version) => return Err(path.corrupt(4, format!("unknown version {version}"))),
            }
            segments.insert(number, (path, bytes));
        }
        Ok(Segments { segments })
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.values().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// The chunk at a reference; its checksum has been verified.
    ///
    /// # Errors
    /// When there is no chunk or it is damaged.
    pub fn chunk(&self, reference: u64) -> Result<ChunkData<'_>, StorageError> {
        let (number, at) = (reference >> 32, reference as u32 as usize);
        let Some((path, segment)) = self.segments.get(&number) else {
            let name = segment_name(number as usize);
            let path = FilePath(match self.segments.first_key_value() {
                Some((_, (FilePath(path), _))) => path.with_file_name(name),
                None => PathBuf::from(CHUNKS_DIR).join(name),
            });
            return Err(path.corrupt(at, "the index refers to a segment that is missing"));
        };
        let mut cursor = Cursor::new(segment, at);
        let parts = cursor.uvarint32().and_then(|len| {
            let checked = cursor.take(len as usize + 1)?;
            Ok((checked, cursor.be32()?))
        });
        let Ok((checked, crc)) = parts else {
            return Err(path.corrupt(at, "chunk runs over the end of its segment"));
        };
        if crc32c(checked) != crc {
            return Err(path.corrupt(at, "checksum of the chunk does not match"));
        }
        Ok(ChunkData {
            encoding: checked[0],
            bytes: &checked[1..],
        })
    }

    /// An error about the chunk at a reference.
    pub(crate) fn corrupt(&self, reference: u64, what: impl Into<String>) -> StorageError {
        let path = self.segments.get(&(reference >> 32));
        let path = path.map_or_else(|| FilePath(PathBuf::from(CHUNKS_DIR)), |(path, _)| path.clone());
        path.corrupt(reference as u32 as usize, what)
    }
}

fn segment_name(number: usize) -> String {
    format!("{:06}", number + 1)
}

/// Writes the chunks of a block.
pub struct SegmentWriter {
    files: Arc<dyn Files>,
    dir: PathBuf,
    bytes_max: u64,
    /// Number of the open segment, from 0.
    number: usize,
    open: Option<Output>,
}

impl SegmentWriter {
    /// Creates the folder below the block's folder `dir`. Segments hold at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When the system refuses; so for all methods.
    pub fn create(files: Arc<dyn Files>, dir: &Path, bytes_max: u64) -> Result<Self, StorageError> {
        let dir = dir.join(CHUNKS_DIR);
        files.create_dir_all(&dir)?;
        Ok(SegmentWriter {
            files,
            dir,
            // References have 32 bits for the place in a segment.
            bytes_max: bytes_max.min(u32::MAX.into()),
            number: 0,
            open: None,
        })
    }

    /// Writes one series' chunks; gives their references.
    ///
    /// # Errors
    /// See [`SegmentWriter::create`].
    pub fn write<'a>(
        &mut self,
        chunks: impl IntoIterator<Item = ChunkData<'a>>,
    ) -> Result<Vec<u64>, StorageError> {
        let mut references = Vec::new();
        for chunk in chunks {
            // As the reference plans: every length field counted at its longest.
            let planned = (LEN_BYTES_MAX + 1 + chunk.bytes.len() + CRC_BYTES) as u64;
            let full = self.open.as_ref().is_some_and(|open| {
                open.position > HEADER_BYTES as u64 && open.position + planned > self.bytes_max
            });
            if full && let Some(open) = self.open.take() {
                open.finish()?;
                self.number += 1;
            }
            let open = match &mut self.open {
                Some(open) => open,
                None => self
                    .open
                    .insert(new_segment(&*self.files, &self.dir, self.number)?),
            };
            references.push((self.number as u64) << 32 | open.position);
            open.put_with(planned as usize, |buffer| {
                put_uvarint(buffer, chunk.bytes.len() as u64);
                let checked = buffer.len();
                buffer.push(chunk.encoding);
                buffer.extend_from_slice(chunk.bytes);
                let crc = crc32c(&buffer[checked..]);
                buffer.extend_from_slice(&crc.to_be_bytes());
            })?;
        }
        Ok(references)
    }

    /// Makes the segments durable.
    ///
    /// # Errors
    /// See [`SegmentWriter::create`].
    pub fn finish(mut self) -> Result<(), StorageError> {
        if let Some(open) = self.open.take() {
            open.finish()?;
        }
        self.files.sync_dir(&self.dir)
    }
}

fn new_segment(files: &dyn Files, dir: &Path, number: usize) -> Result<Output, StorageError> {
    let mut open = Output::create(files, &dir.join(segment_name(number)))?;
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC.to_be_bytes());
    header[4] = VERSION;
    open.put(&header)?;
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::MemFiles;

    #[test]
    fn a_segment_that_is_missing_is_missing_and_the_next_is_not_taken_for_it() {
        let files: Arc<dyn Files> = Arc::new(MemFiles::new());
        let dir = Path::new("block");
        files.create_dir_all(dir).unwrap();
        // Room for a chunk each.
        let mut writer = SegmentWriter::create(Arc::clone(&files), dir, 40).unwrap();
        let chunks = [[1; 20], [2; 20], [3; 20]];
        let references = writer
            .write(chunks.iter().map(|bytes| ChunkData { encoding: 1, bytes }))
            .unwrap();
        writer.finish().unwrap();
        files
            .remove_file(&dir.join(CHUNKS_DIR).join(segment_name(1)))
            .unwrap();
        let segments = Segments::open(&*files, dir).unwrap();
        let read: Vec<Option<u8>> = references
            .iter()
            .map(|reference| segments.chunk(*reference).ok().map(|chunk| chunk.bytes[0]))
            .collect();
        assert_eq!(read, [Some(1), None, Some(3)]);
        let error = segments.chunk(references[1]).unwrap_err().to_string();
        assert!(
            error.contains("chunks/000002") && error.contains("a segment that is missing"),
            "{error}"
        );
    }
}
