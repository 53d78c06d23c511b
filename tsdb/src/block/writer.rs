//! Writes a block: under a temporary name, made durable, then renamed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use metrics::Histogram;
use model::columns::Columns;
use model::labels::Labels;
use model::storage::StorageError;

use super::codec::FilePath;
use super::{BlockMeta, ChunkData, ChunkMeta, IndexWriter, SEGMENT_BYTES_MAX, SegmentWriter, Tombstones};
use crate::chunk::{EncodeOptions, Encoding, encode};
use files::Files;

/// What a block's folder is called while it is being written; the reference removes such folders when it starts.
pub const TEMPORARY_SUFFIX: &str = ".tmp-for-creation";

/// A chunk to be written.
#[derive(Clone, Copy, Debug)]
pub struct BlockChunk<'a> {
    /// First sample.
    pub min_ms: i64,
    /// Last sample.
    pub max_ms: i64,
    /// The chunk.
    pub data: ChunkData<'a>,
}

/// How large the chunks of new blocks are.
pub(crate) struct ChunkSizes {
    pub(crate) samples: Histogram,
    pub(crate) bytes: Histogram,
    pub(crate) seconds: Histogram,
}

/// Where sizes are reported, once somebody wants to know. One for the process: blocks are written far below whoever counts.
pub(crate) static CHUNK_SIZES: OnceLock<ChunkSizes> = OnceLock::new();

/// Writes a block. Dropped before [`BlockWriter::finish`], it removes what it has written.
pub struct BlockWriter {
    files: Arc<dyn Files>,
    /// Folder of all blocks.
    parent: PathBuf,
    temporary: PathBuf,
    meta: BlockMeta,
    /// Taken when the block is finished.
    writers: Option<(IndexWriter, SegmentWriter)>,
    renamed: bool,
}

impl BlockWriter {
    /// Begins a block in folder `parent`. `symbols` must hold every label name and value of the series to come, sorted,
    /// without duplicates. The statistics of `meta` are filled in.
    ///
    /// # Errors
    /// When the system refuses or the symbols are not in order.
    pub fn create<S: AsRef<str>>(
        files: Arc<dyn Files>,
        parent: &Path,
        meta: BlockMeta,
        symbols: impl IntoIterator<Item = S>,
    ) -> Result<Self, StorageError> {
        let temporary = parent.join(format!("{}{TEMPORARY_SUFFIX}", meta.ulid));
        if files.exists(&temporary) {
            files.remove_dir_all(&temporary)?;
        }
        files.create_dir_all(&temporary)?;
        let mut writer = BlockWriter {
            files,
            parent: parent.to_owned(),
            temporary,
            meta: BlockMeta {
                stats: Default::default(),
                ..meta
            },
            writers: None,
            renamed: false,
        };
        let index = IndexWriter::create(writer.files.clone(), &writer.temporary, symbols)?;
        let segments = SegmentWriter::create(writer.files.clone(), &writer.temporary, SEGMENT_BYTES_MAX)?;
        writer.writers = Some((index, segments));
        Ok(writer)
    }

    /// Adds a series whose labels sort behind those of the one before; its chunks are in order of time and do not
    /// overlap. A series without chunks is left out.
    ///
    /// # Errors
    /// When the system refuses, the order is wrong, or a chunk has an encoding that this version does not know.
    pub fn add(&mut self, labels: &Labels, chunks: &[BlockChunk<'_>]) -> Result<(), StorageError> {
        self.add_with(chunks, |index, metas| index.add(labels, metas))
    }

    /// Adds a series by the numbers of its symbols: see [`BlockWriter::add`].
    ///
    /// # Errors
    /// As [`BlockWriter::add`].
    pub(crate) fn add_pairs(
        &mut self,
        labels: &[(u32, u32)],
        chunks: &[BlockChunk<'_>],
    ) -> Result<(), StorageError> {
        self.add_with(chunks, |index, metas| index.add_pairs(labels, metas))
    }

    /// Adds a series with its samples: see [`BlockWriter::add`].
    ///
    /// # Errors
    /// As [`BlockWriter::add`].
    pub fn add_samples(&mut self, labels: &Labels, columns: &Columns) -> Result<(), StorageError> {
        self.add_encoded(labels, columns, Encoding::Xor)
    }

    /// [`BlockWriter::add_samples`] with floats that have no start timestamp encoded as `floats`.
    ///
    /// # Errors
    /// As [`BlockWriter::add`].
    pub fn add_encoded(
        &mut self,
        labels: &Labels,
        columns: &Columns,
        floats: Encoding,
    ) -> Result<(), StorageError> {
        let options = EncodeOptions {
            floats,
            ..EncodeOptions::default()
        };
        let encoded = encode(columns, &options);
        let chunks: Vec<_> = encoded.iter().map(BlockChunk::from).collect();
        self.add(labels, &chunks)
    }

    fn add_with(
        &mut self,
        chunks: &[BlockChunk<'_>],
        add: impl FnOnce(&mut IndexWriter, &[ChunkMeta]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let Some((index, segments)) = &mut self.writers else {
            return Err(StorageError::Closed);
        };
        if chunks.is_empty() {
            return Ok(());
        }
        let stats = &mut self.meta.stats;
        for chunk in chunks {
            let refuse = |e: crate::chunk::ChunkError| {
                FilePath::from(self.temporary.as_path()).corrupt(0, format!("chunk to be written: {e}"))
            };
            let encoding = Encoding::from_byte(chunk.data.encoding).map_err(refuse)?;
            let samples = u64::from(encoding.samples(chunk.data.bytes).map_err(refuse)?);
            stats.num_samples += samples;
            if let Some(sizes) = CHUNK_SIZES.get() {
                sizes.samples.observe(samples as f64);
                sizes.bytes.observe(chunk.data.bytes.len() as f64);
                sizes
                    .seconds
                    .observe((chunk.max_ms - chunk.min_ms) as f64 / 1000.0);
            }
            if encoding.is_histogram() {
                stats.num_histogram_samples += samples;
            } else {
                stats.num_float_samples += samples;
            }
        }
        let references = segments.write(chunks.iter().map(|chunk| chunk.data))?;
        let metas: Vec<_> = chunks
            .iter()
            .zip(references)
            .map(|(chunk, reference)| ChunkMeta {
                min_ms: chunk.min_ms,
                max_ms: chunk.max_ms,
                reference,
            })
            .collect();
        add(index, &metas)?;
        stats.num_series += 1;
        stats.num_chunks += metas.len() as u64;
        Ok(())
    }

    /// Finishes the block and gives its meta; `None` when it would hold no sample: then nothing is left of it.
    ///
    /// # Errors
    /// When the system refuses; nothing is left of the block then.
    pub fn finish(mut self) -> Result<Option<BlockMeta>, StorageError> {
        let Some((index, segments)) = self.writers.take() else {
            return Err(StorageError::Closed);
        };
        if self.meta.stats.num_samples == 0 {
            return Ok(None);
        }
        segments.finish()?;
        index.finish()?;
        let files = &*self.files;
        Tombstones::default().write(files, &self.temporary)?;
        self.meta.write(files, &self.temporary)?;
        files.sync_dir(&self.temporary)?;
        files.rename(&self.temporary, &self.parent.join(self.meta.ulid.to_string()))?;
        self.renamed = true;
        files.sync_dir(&self.parent)?;
        Ok(Some(self.meta.clone()))
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if !self.renamed
            && let Err(error) = self.files.remove_dir_all(&self.temporary)
        {
            // It stays under its temporary name, which the next start removes.
            tracing::warn!(%error, "cannot remove an unfinished block");
        }
    }
}

impl<'a> From<&'a crate::chunk::EncodedChunk> for BlockChunk<'a> {
    fn from(chunk: &'a crate::chunk::EncodedChunk) -> Self {
        BlockChunk {
            min_ms: chunk.min_ms,
            max_ms: chunk.max_ms,
            data: ChunkData {
                encoding: chunk.encoding as u8,
                bytes: &chunk.bytes,
            },
        }
    }
}
