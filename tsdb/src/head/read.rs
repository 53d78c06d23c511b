//! Reading the head: a view of one moment, series by series.

use std::cell::RefCell;
use std::sync::Arc;

use model::columns::Columns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{ExemplarQueryable, SeriesExemplars, SeriesRef, StorageError, TimeRange};
use smallvec::SmallVec;

use super::Head;
use super::chunk_files::{ChunkBytes, MappedChunk};
use super::isolation::Visibility;
use super::ooo::{Late, OutOfOrder};
use super::pages::page_of;
use crate::chunk::{self, ChunkData, ChunkError, EncodeOptions, EncodedChunk, Encoding, encode};
use crate::columns::{append_all, chain, remove_deleted};
use files::Result;

/// A series of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSeries(pub(crate) SeriesRef);

impl HeadSeries {
    /// Its reference.
    pub(crate) fn reference(self) -> u64 {
        self.0.0
    }

    /// The handle that [`HeadSeries`] stands for, as a number.
    pub(crate) fn from_handle(handle: u64) -> Self {
        HeadSeries(SeriesRef(handle))
    }
}

/// The head as it was when the view was opened: later transactions are not seen.
pub struct HeadView {
    pub(super) head: Arc<Head>,
    pub(super) range: TimeRange,
    /// In-order samples before this are in blocks and are read there.
    pub(super) in_order_min_ms: i64,
    /// Late samples before this have come after the view was opened.
    begins_ms: i64,
    visibility: Visibility,
}

impl Drop for HeadView {
    fn drop(&mut self) {
        self.head.isolation.leave(&self.visibility);
    }
}

/// What is copied of a series under its lock; kept from read to read.
#[derive(Default)]
struct Copied {
    reference: u64,
    mapped: Vec<MappedChunk>,
    open: Vec<u8>,
    encoding: u8,
    late_mapped: Vec<MappedChunk>,
    late: Vec<Late>,
    own: Columns,
    spare: Columns,
}

thread_local! {
    static COPIED: RefCell<Copied> = RefCell::default();
}

impl Head {
    /// A view of the samples in `range`; in-order ones before `in_order_min_ms` are left to the blocks that hold them.
    pub fn view(self: &Arc<Self>, range: TimeRange, in_order_min_ms: i64) -> HeadView {
        let in_order_min_ms = in_order_min_ms.max(range.min_ms);
        let late_min_ms = self.late_range_ms().map_or(i64::MAX, |(min_ms, _)| min_ms);
        HeadView {
            head: Arc::clone(self),
            range,
            in_order_min_ms,
            begins_ms: in_order_min_ms.min(late_min_ms.max(range.min_ms)),
            visibility: self.isolation.read(in_order_min_ms),
        }
    }
}

impl HeadView {
    pub(super) fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// The range that is seen.
    pub fn range(&self) -> TimeRange {
        self.range
    }

    /// No sample of the view lies before this.
    pub(crate) fn begins_ms(&self) -> i64 {
        self.begins_ms
    }

    /// Appends the samples of a series in `range` (cut to the view's) to `columns`, in order among themselves.
    ///
    /// # Errors
    /// When a chunk cannot be read.
    pub fn read(&self, series: HeadSeries, range: TimeRange, columns: &mut Columns) -> Result<()> {
        let (min_ms, max_ms) = (
            range.min_ms.max(self.begins_ms),
            range.max_ms.min(self.range.max_ms),
        );
        if min_ms > max_ms {
            return Ok(());
        }
        COPIED.with_borrow_mut(|copied| {
            let visible_max_ms = self.copy(copied, series.0.0, min_ms, max_ms);
            let deleted = self.head.tombstones.read().get(&series.0.0).cloned();
            let late = !copied.late_mapped.is_empty() || !copied.late.is_empty();
            if !late && deleted.is_none() {
                return self.decode_in_order(copied, min_ms, visible_max_ms, columns);
            }
            let mut own = std::mem::take(&mut copied.own);
            own.clear();
            if late {
                self.decode_all(copied, (min_ms, max_ms), visible_max_ms, &mut own)?;
            } else {
                self.decode_in_order(copied, min_ms, visible_max_ms, &mut own)?;
            }
            if let Some(deleted) = deleted {
                remove_deleted(&mut own, &deleted, &mut copied.spare);
            }
            append_all(&own, columns);
            copied.own = own;
            Ok(())
        })
    }

    /// The chunks of a series in `range` (cut to the view's), in order of time: as they are, but for those that the range,
    /// a deletion or a transaction that is not seen cuts, and but for series with late samples, which are encoded anew.
    ///
    /// # Errors
    /// When a chunk cannot be read.
    pub(crate) fn chunks(&self, series: HeadSeries, range: TimeRange) -> Result<Vec<EncodedChunk>> {
        let (min_ms, max_ms) = (
            range.min_ms.max(self.begins_ms),
            range.max_ms.min(self.range.max_ms),
        );
        if min_ms > max_ms {
            return Ok(Vec::new());
        }
        COPIED
            .with_borrow_mut(|copied| {
                let visible_max_ms = self.copy(copied, series.0.0, min_ms, max_ms);
                if !copied.late_mapped.is_empty() || !copied.late.is_empty() {
                    return Ok(None);
                }
                let deleted = self.head.tombstones.read().get(&series.0.0).cloned();
                let cut = Cut {
                    range: TimeRange::new(min_ms.max(self.in_order_min_ms), visible_max_ms),
                    deleted: deleted.as_deref().unwrap_or_default(),
                };
                let mut chunks = Vec::new();
                for chunk in &copied.mapped {
                    let bytes = self.head.read_chunk(copied.reference, chunk)?;
                    let taken = cut.take(bytes.encoding, &bytes, &mut chunks);
                    taken.map_err(|e| self.corrupt(chunk.chunk, e))?;
                }
                if !copied.open.is_empty() {
                    let taken = cut.take(copied.encoding, &copied.open, &mut chunks);
                    taken.map_err(|e| self.head.corrupt_open(e))?;
                }
                Ok(Some(chunks))
            })
            .and_then(|chunks| match chunks {
                Some(chunks) => Ok(chunks),
                None => {
                    let mut columns = Columns::default();
                    self.read(series, range, &mut columns)?;
                    Ok(encode(&columns, &EncodeOptions::default()))
                }
            })
    }

    /// Copies what is needed of a series under its lock; returns the newest timestamp that may be seen in order.
    fn copy(&self, copied: &mut Copied, reference: u64, min_ms: i64, max_ms: i64) -> i64 {
        copied.reference = reference;
        copied.mapped.clear();
        copied.open.clear();
        copied.late_mapped.clear();
        copied.late.clear();
        let Some(page) = self.head.pages.get(page_of(reference)) else {
            return i64::MIN;
        };
        let mut page = page.lock();
        let Some(series) = page.get(reference) else {
            return i64::MIN;
        };
        let overlaps = |c: &&MappedChunk| c.min_ms <= max_ms && c.max_ms >= min_ms;
        let in_order_min_ms = min_ms.max(self.in_order_min_ms);
        let recent = |c: &MappedChunk| c.min_ms <= max_ms && c.max_ms >= in_order_min_ms;
        copied.mapped.extend(series.mapped().filter(recent));
        if series.open_min_ms() <= max_ms
            && series.last_ms() >= in_order_min_ms
            && let Some((encoding, bytes)) = series.open_chunk()
        {
            copied.encoding = encoding as u8;
            copied.open.extend_from_slice(bytes);
        }
        if let Some(ooo) = series.late() {
            copied.late_mapped.extend(ooo.mapped.iter().filter(overlaps));
            copied.late.extend_from_slice(&ooo.open);
        }
        series.visible_max_ms(&self.visibility).min(max_ms)
    }

    fn decode_in_order(
        &self,
        copied: &Copied,
        min_ms: i64,
        max_ms: i64,
        columns: &mut Columns,
    ) -> Result<()> {
        let mut full: SmallVec<[ChunkBytes; 8]> = SmallVec::new();
        for chunk in &copied.mapped {
            full.push(self.head.read_chunk(copied.reference, chunk)?);
        }
        let mut chunks: SmallVec<[ChunkData<'_>; 8]> = SmallVec::new();
        chunks.extend(full.iter().map(|bytes| ChunkData {
            encoding: bytes.encoding,
            bytes,
        }));
        if !copied.open.is_empty() {
            chunks.push(ChunkData {
                encoding: copied.encoding,
                bytes: &copied.open,
            });
        }
        let min_ms = min_ms.max(self.in_order_min_ms);
        chunk::decode_all(&chunks, min_ms, max_ms, columns).map_err(|(at, e)| {
            match copied.mapped.get(at) {
                Some(chunk) => self.corrupt(chunk.chunk, e),
                // The open chunk lies in no file.
                None => self.head.corrupt_open(e),
            }
        })
    }

    /// Decodes in-order and late chunks, each whole, and chains those that overlap.
    fn decode_all(
        &self,
        copied: &Copied,
        (min_ms, max_ms): (i64, i64),
        visible_max_ms: i64,
        columns: &mut Columns,
    ) -> Result<()> {
        let in_order_min_ms = self.in_order_min_ms;
        let mut runs: Vec<(i64, i64, Columns)> = Vec::new();
        let mut add = |run: Columns| {
            if let (Some(first), Some(last)) = (run.timestamps_ms.first(), run.timestamps_ms.last()) {
                runs.push((*first, *last, run));
            }
        };
        for chunk in &copied.mapped {
            let mut run = Columns::default();
            self.decode(copied.reference, chunk, in_order_min_ms, visible_max_ms, &mut run)?;
            add(run);
        }
        if !copied.open.is_empty() {
            let mut run = Columns::default();
            chunk::decode(
                copied.encoding,
                &copied.open,
                in_order_min_ms,
                visible_max_ms,
                &mut run,
            )
            .map_err(|e| self.head.corrupt_open(e))?;
            add(run);
        }
        for chunk in &copied.late_mapped {
            let mut run = Columns::default();
            self.decode(
                copied.reference,
                chunk,
                self.begins_ms,
                self.range.max_ms,
                &mut run,
            )?;
            add(run);
        }
        let mut run = Columns::default();
        OutOfOrder::read_open(&copied.late, self.begins_ms, self.range.max_ms, &mut run);
        add(run);
        // Stable: of runs that begin together, in-order ones come first.
        runs.sort_by_key(|run| run.0);
        let mut rest = runs.into_iter().peekable();
        while let Some((_, mut end, first)) = rest.next() {
            let mut group = vec![first];
            while let Some((_, last, next)) = rest.next_if(|next| next.0 <= end) {
                end = end.max(last);
                group.push(next);
            }
            chain(&group, min_ms, max_ms, columns);
        }
        Ok(())
    }

    fn decode(
        &self,
        series: u64,
        chunk: &MappedChunk,
        min_ms: i64,
        max_ms: i64,
        columns: &mut Columns,
    ) -> Result<()> {
        let bytes = self.head.read_chunk(series, chunk)?;
        chunk::decode(bytes.encoding, &bytes, min_ms, max_ms, columns)
            .map_err(|e| self.corrupt(chunk.chunk, e))
    }

    pub(super) fn corrupt(&self, chunk: u64, error: ChunkError) -> StorageError {
        self.head.corrupt_chunk(chunk, error)
    }
}

/// What is left of chunks.
struct Cut<'d> {
    range: TimeRange,
    /// Closed ranges, sorted, without overlap.
    deleted: &'d [(i64, i64)],
}

impl Cut<'_> {
    /// Adds what is left of a chunk: the chunk as it is where all of it is.
    fn take(
        &self,
        encoding: u8,
        bytes: &[u8],
        chunks: &mut Vec<EncodedChunk>,
    ) -> std::result::Result<(), ChunkError> {
        let known = Encoding::from_byte(encoding)?;
        let mut columns = Columns::default();
        chunk::decode(encoding, bytes, i64::MIN, i64::MAX, &mut columns)?;
        let times_ms = &columns.timestamps_ms;
        let (Some(first), Some(last)) = (times_ms.first().copied(), times_ms.last().copied()) else {
            return Ok(());
        };
        let is_inside = self.range.contains(first) && self.range.contains(last);
        if is_inside
            && !self
                .deleted
                .iter()
                .any(|(min, max)| *min <= last && first <= *max)
        {
            chunks.push(EncodedChunk {
                min_ms: first,
                max_ms: last,
                encoding: known,
                bytes: bytes.to_vec(),
            });
            return Ok(());
        }
        columns.clear();
        chunk::decode(
            encoding,
            bytes,
            self.range.min_ms,
            self.range.max_ms,
            &mut columns,
        )?;
        remove_deleted(&mut columns, self.deleted, &mut Columns::default());
        chunks.extend(encode(&columns, &EncodeOptions::keep(known)));
        Ok(())
    }
}

impl Head {
    pub(super) fn corrupt_chunk(&self, chunk: u64, error: ChunkError) -> StorageError {
        self.chunk_files.damage(chunk, &error.to_string())
    }

    /// An error about an open chunk, which lies in no file.
    pub(super) fn corrupt_open(&self, error: ChunkError) -> StorageError {
        StorageError::Corrupt {
            path: self.dir.join(Head::CHUNKS_DIR),
            offset: 0,
            what: format!("an open chunk: {error}"),
        }
    }
}

impl ExemplarQueryable for Head {
    fn exemplars(
        &self,
        range: TimeRange,
        selectors: &[Vec<Matcher>],
    ) -> std::result::Result<Vec<SeriesExemplars>, StorageError> {
        let wanted = |labels: &Labels| {
            selectors
                .iter()
                .any(|matchers| matchers.iter().all(|m| m.matches_labels(labels)))
        };
        Ok(self.exemplars.lock().select(range, wanted))
    }
}
