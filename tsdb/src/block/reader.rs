//! An open block: selecting, reading, deleting.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::columns::Columns;
use model::label_table::{LabelPairs, LabelTable};
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{SelectHints, StorageError, TimeRange};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use ulid::Ulid;

use super::index::SetReader;
use super::{BlockMeta, ChunkMeta, IndexReader, Merger, Segments, SeriesEntry, Tombstones};
use crate::chunk::{ChunkData, decode, decode_all};
use crate::columns::{append_all, remove_deleted};
use crate::select::{Watched, label_names, label_values, select};
use files::Files;

/// Chunks of a series that are looked up before they are decoded: a day has about 48.
const CHUNKS_AT_A_TIME: usize = 64;

thread_local! {
    /// Work space of readers: chunks of a series, and two columns.
    static SPARE: RefCell<(Vec<ChunkMeta>, Columns, Columns)> = RefCell::default();
}

/// An open block. Readers share it from any thread; removing its folder does not disturb them.
#[derive(Debug)]
pub struct Block {
    files: Arc<dyn Files>,
    dir: PathBuf,
    index: IndexReader,
    segments: Segments,
    state: RwLock<State>,
    /// Held while the meta file or tombstones are replaced.
    changing: Mutex<()>,
}

/// What can change about a block.
#[derive(Clone, Debug)]
struct State {
    meta: Arc<BlockMeta>,
    tombstones: Arc<Tombstones>,
}

impl Block {
    /// Opens the block in folder `dir`.
    ///
    /// # Errors
    /// When a file is missing or damaged; chunks, series and postings are checked only as they are read.
    pub fn open(files: Arc<dyn Files>, dir: &Path) -> Result<Self, StorageError> {
        let mut meta = BlockMeta::read(&*files, dir)?;
        name_by_folder(&mut meta, dir);
        let index = IndexReader::open(&*files, dir)?;
        let segments = Segments::open(&*files, dir)?;
        let tombstones = Arc::new(Tombstones::read(&*files, dir)?);
        if tombstones.len() < meta.stats.num_tombstones {
            tracing::warn!(
                block = %dir.display(),
                ranges = meta.stats.num_tombstones,
                left = tombstones.len(),
                "samples that were deleted in this block have come back: meta.json counts more deleted ranges than the \
                 tombstones file has"
            );
        }
        let meta = Arc::new(meta);
        Ok(Block {
            files,
            dir: dir.to_owned(),
            index,
            segments,
            state: RwLock::new(State { meta, tombstones }),
            changing: Mutex::new(()),
        })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it is.
    pub fn meta(&self) -> Arc<BlockMeta> {
        self.state.read().meta.clone()
    }

    /// What is deleted.
    pub fn tombstones(&self) -> Arc<Tombstones> {
        self.state.read().tombstones.clone()
    }

    /// Its index.
    pub fn index(&self) -> &IndexReader {
        &self.index
    }

    /// Its chunks.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The stretch of time it covers, both ends included.
    pub fn range(&self) -> TimeRange {
        let meta = self.meta();
        TimeRange::new(meta.min_time, meta.max_time.saturating_sub(1))
    }

    /// Bytes of its files on disk.
    pub fn size_bytes(&self) -> u64 {
        let small: u64 = [super::META_FILE, super::TOMBSTONES_FILE]
            .iter()
            .filter_map(|name| self.files.len(&self.dir.join(name)).ok())
            .sum();
        self.index.size_bytes() + self.segments.size_bytes() + small
    }

    /// Numbers of the series that satisfy all matchers, in order of their labels.
    ///
    /// # Errors
    /// When the index is damaged; so for all methods that read.
    pub fn select(&self, matchers: &[Matcher]) -> Result<Vec<u32>, StorageError> {
        select(&self.index, matchers)
    }

    /// The series that satisfy all matchers and have a chunk in `range`, with their labels, in order of these.
    ///
    /// # Errors
    /// See [`Block::select`].
    pub fn select_in(
        &self,
        range: TimeRange,
        matchers: &[Matcher],
    ) -> Result<Vec<(u32, Labels)>, StorageError> {
        let mut table = LabelTable::default();
        let mut pairs = LabelPairs::default();
        let mut found = Vec::new();
        self.visit_in(
            range,
            &SelectHints::default(),
            matchers,
            &mut pairs,
            &mut |series, set| {
                table.push(set);
                found.push(series);
                true
            },
        )?;
        *table.pairs_mut() = pairs;
        let labelled = found.into_iter().enumerate();
        Ok(labelled
            .map(|(index, series)| (series, table.labels(index)))
            .collect())
    }

    /// Shows the series that satisfy all matchers and have a chunk in `range`, in order of their labels, with the numbers
    /// that `pairs` gives their label pairs, until `each` or whoever watches says false.
    ///
    /// # Errors
    /// See [`Block::select`].
    pub(crate) fn visit_in(
        &self,
        range: TimeRange,
        hints: &SelectHints,
        matchers: &[Matcher],
        pairs: &mut LabelPairs,
        each: &mut dyn FnMut(u32, &[u32]) -> bool,
    ) -> Result<(), StorageError> {
        let mut labels = Vec::new();
        let mut sets = SetReader::new(&self.index);
        let index = Watched::new(&self.index, hints);
        for series in select(&index, matchers)? {
            index.look()?;
            if self.index.labels_in(series, range, &mut labels)?
                && !each(series, sets.numbers(series, &labels, pairs)?)
            {
                break;
            }
        }
        Ok(())
    }

    /// The labels of a series.
    ///
    /// # Errors
    /// See [`Block::select`].
    pub fn labels(&self, series: u32) -> Result<Labels, StorageError> {
        self.index.labels(series, &mut SeriesEntry::default())
    }

    /// Names of labels; see [`label_names`].
    ///
    /// # Errors
    /// See [`Block::select`].
    pub fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        label_names(&self.index, matchers, limit)
    }

    /// Values of a label; see [`label_values`].
    ///
    /// # Errors
    /// See [`Block::select`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        label_values(&self.index, name, matchers, limit)
    }

    /// Appends to `columns` the samples of a series in `range` and in the block's own range, in order of time; deleted
    /// ones are left out. No allocation once the buffers are warm.
    ///
    /// # Errors
    /// When the index or a chunk is damaged; `columns` may then hold samples from before the damage.
    pub fn read(&self, series: u32, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        let own = self.range();
        let range = TimeRange::new(range.min_ms.max(own.min_ms), range.max_ms.min(own.max_ms));
        if range.min_ms > range.max_ms {
            return Ok(());
        }
        let tombstones = self.tombstones();
        let deleted = tombstones.of(series.into());
        SPARE.with_borrow_mut(|(chunks, read, spare)| {
            self.index.chunks_in(series, range, chunks)?;
            let touched = |chunk: &ChunkMeta| {
                let overlap = |(min, max): &(i64, i64)| *min <= chunk.max_ms && chunk.min_ms <= *max;
                deleted.iter().any(overlap)
            };
            for chunks in chunks.chunk_by(|a, b| !touched(a) && !touched(b)) {
                if !touched(&chunks[0]) {
                    self.read_chunks(chunks, range, columns)?;
                } else if !covered(&chunks[0], deleted) {
                    read.clear();
                    self.read_chunks(chunks, range, read)?;
                    remove_deleted(read, deleted, spare);
                    append_all(read, columns);
                }
            }
            Ok(())
        })
    }

    /// Adds the chunks of a series in `range` and in the block's own range to `merger`; deleted samples are left out.
    ///
    /// # Errors
    /// When the index, or a chunk that is cut, is damaged.
    pub(crate) fn pieces<'a>(
        &'a self,
        series: u32,
        range: TimeRange,
        merger: &mut Merger<'a>,
    ) -> Result<(), StorageError> {
        let own = self.range();
        let range = TimeRange::new(range.min_ms.max(own.min_ms), range.max_ms.min(own.max_ms));
        if range.min_ms > range.max_ms {
            return Ok(());
        }
        let mut chunks = Vec::new();
        self.index.chunks_in(series, range, &mut chunks)?;
        merger.add_of_block(self, series, &chunks, range)
    }

    /// Appends the samples in `range` of chunks that follow each other in a series to `columns`.
    fn read_chunks(
        &self,
        chunks: &[ChunkMeta],
        range: TimeRange,
        columns: &mut Columns,
    ) -> Result<(), StorageError> {
        for chunks in chunks.chunks(CHUNKS_AT_A_TIME) {
            let mut data: SmallVec<[ChunkData<'_>; CHUNKS_AT_A_TIME]> = SmallVec::new();
            for chunk in chunks {
                data.push(self.segments.chunk(chunk.reference)?);
            }
            decode_all(&data, range.min_ms, range.max_ms, columns)
                .map_err(|(at, e)| self.segments.corrupt(chunks[at].reference, e.to_string()))?;
        }
        Ok(())
    }

    /// Appends a chunk's samples in `range` to `columns`.
    pub(super) fn read_chunk(
        &self,
        chunk: &ChunkMeta,
        range: TimeRange,
        columns: &mut Columns,
    ) -> Result<(), StorageError> {
        let data = self.segments.chunk(chunk.reference)?;
        decode(data.encoding, data.bytes, range.min_ms, range.max_ms, columns)
            .map_err(|e| self.segments.corrupt(chunk.reference, e.to_string()))
    }

    /// Marks the samples in `range` of the series that satisfy all matchers as deleted; gives the number of series
    /// concerned.
    ///
    /// # Errors
    /// When the index is damaged or the files cannot be replaced.
    pub fn delete(&self, range: TimeRange, matchers: &[Matcher]) -> Result<usize, StorageError> {
        let _changing = self.changing.lock();
        let mut stones = Tombstones::clone(&self.tombstones());
        let mut entry = SeriesEntry::default();
        let mut concerned = 0;
        for series in self.select(matchers)? {
            self.index.series(series, &mut entry)?;
            let (Some(first), Some(last)) = (entry.chunks.first(), entry.chunks.last()) else {
                continue;
            };
            if entry.chunks.iter().any(|chunk| overlaps(chunk, range)) {
                stones.add(
                    series.into(),
                    range.min_ms.max(first.min_ms),
                    range.max_ms.min(last.max_ms),
                );
                concerned += 1;
            }
        }
        if concerned == 0 {
            return Ok(0);
        }
        stones.write(&*self.files, &self.dir)?;
        self.state.write().tombstones = Arc::new(stones.clone());
        self.replace_meta(|meta| meta.stats.num_tombstones = stones.len())?;
        Ok(concerned)
    }

    /// Changes the meta file: for marks such as [`super::Compaction::failed`] and [`super::Compaction::deletable`].
    ///
    /// # Errors
    /// When the file cannot be replaced; nothing has changed then.
    pub fn change_meta(&self, change: impl FnOnce(&mut BlockMeta)) -> Result<(), StorageError> {
        let _changing = self.changing.lock();
        self.replace_meta(change)
    }

    fn replace_meta(&self, change: impl FnOnce(&mut BlockMeta)) -> Result<(), StorageError> {
        let mut meta = BlockMeta::clone(&self.meta());
        change(&mut meta);
        meta.write(&*self.files, &self.dir)?;
        self.state.write().meta = Arc::new(meta);
        Ok(())
    }
}

/// Gives a block the name of its folder where that is one for a block. A block that was copied to another name, or whose
/// meta file is another's, must not be removed under the other's name.
fn name_by_folder(meta: &mut BlockMeta, dir: &Path) {
    let name = dir.file_name().and_then(|name| name.to_str());
    let Some(Ok(ulid)) = name.map(Ulid::from_string) else {
        return;
    };
    if ulid != meta.ulid {
        tracing::warn!(
            block = %dir.display(),
            of_meta = %meta.ulid,
            "meta.json gives the block another name than its folder; the folder's counts"
        );
        meta.ulid = ulid;
    }
}

fn overlaps(chunk: &ChunkMeta, range: TimeRange) -> bool {
    chunk.min_ms <= range.max_ms && range.min_ms <= chunk.max_ms
}

/// Whether all of a chunk is deleted.
pub(super) fn covered(chunk: &ChunkMeta, deleted: &[(i64, i64)]) -> bool {
    deleted
        .iter()
        .any(|(min, max)| *min <= chunk.min_ms && chunk.max_ms <= *max)
}
