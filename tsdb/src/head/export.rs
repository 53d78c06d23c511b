//! What the head gives to blocks: symbols, full chunks as they are, late samples.

use std::path::Path;
use std::sync::Arc;

use model::columns::Columns;
use model::label_table::{LabelPairs, LabelTable};
use model::storage::{SelectHints, TimeRange};
use smallvec::SmallVec;

use super::chunk_files::{ChunkBytes, MappedChunk};
use super::ooo::OutOfOrder;
use super::pages::page_of;
use super::read::HeadView;
use super::{Head, HeadSeries};
use crate::block::{BlockChunk, BlockMeta, BlockWriter, ChunkData};
use crate::chunk::{self, EncodeOptions, Encoding, encode};
use crate::columns::{merge_into, remove_deleted};
use crate::wal::{Compressor, encode_forgotten};
use files::{Files, Result};

/// What late samples were written out of the head, to be forgotten once blocks hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LateCut {
    /// Newest chunk of late samples.
    pub(crate) chunk: u64,
    /// First segment of the late log that is still needed.
    pub(crate) segment: u64,
    /// First and last timestamp.
    pub(crate) range: (i64, i64),
}

/// Series of a view on their way into a block, in order of their labels. Labels are numbers throughout: no text is
/// compared or looked up once the block's symbols are sorted.
pub(crate) struct HeadExport<'v> {
    view: &'v HeadView,
    series: Vec<HeadSeries>,
    table: LabelTable,
    /// Numbers of the symbols of name and value, for each pair of the table that a series has.
    symbols: Vec<(u32, u32)>,
    writer: BlockWriter,
    /// Work space: labels and pieces of the series at hand, and two columns.
    labels: Vec<(u32, u32)>,
    pieces: Vec<Piece>,
    spare: (Columns, Columns),
}

/// A chunk on its way into a block: first and last timestamp, bytes.
type Piece = (i64, i64, ChunkBytes);

impl<'v> HeadExport<'v> {
    /// Begins a block in folder `parent` with those series of a view that have samples in its range and are `wanted`.
    ///
    /// # Errors
    /// When the block cannot be written; so for all methods.
    pub(crate) fn new(
        view: &'v HeadView,
        files: Arc<dyn Files>,
        parent: &Path,
        meta: BlockMeta,
        wanted: impl Fn(HeadSeries) -> bool,
    ) -> Result<Self> {
        let mut table = LabelTable::default();
        let mut pairs = LabelPairs::default();
        let mut found = Vec::new();
        view.visit(&SelectHints::default(), &[], &mut pairs, &mut |series, set| {
            if wanted(series) {
                table.push(set);
                found.push(series);
            }
            true
        })?;
        *table.pairs_mut() = pairs;
        let order = table.sort(usize::MAX);
        let series = order.into_iter().map(|before| found[before]).collect();
        let (texts, symbols) = symbols_of(&table);
        let writer = BlockWriter::create(files, parent, meta, texts)?;
        Ok(HeadExport {
            view,
            series,
            table,
            symbols,
            writer,
            labels: Vec::new(),
            pieces: Vec::new(),
            spare: Default::default(),
        })
    }

    /// How many series there are; methods that write one take its place among them, and want them in order.
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// A series.
    pub(crate) fn series(&self, index: usize) -> HeadSeries {
        self.series[index]
    }

    /// Adds the in-order samples of a series. Full chunks inside the view's range are copied, the rest is encoded anew.
    ///
    /// # Errors
    /// See [`HeadExport::new`]; and when a chunk cannot be read.
    pub(crate) fn write_in_order(&mut self, index: usize) -> Result<()> {
        self.pieces.clear();
        self.in_order_pieces(index)?;
        let chunks: SmallVec<[BlockChunk<'_>; 8]> = self
            .pieces
            .iter()
            .map(|(min_ms, max_ms, bytes)| BlockChunk {
                min_ms: *min_ms,
                max_ms: *max_ms,
                data: ChunkData {
                    encoding: bytes.encoding,
                    bytes,
                },
            })
            .collect();
        fill_labels(&mut self.labels, self.table.set(index), &self.symbols);
        self.writer.add_pairs(&self.labels, &chunks)
    }

    /// Adds all samples of a series, late ones in their places.
    ///
    /// # Errors
    /// See [`HeadExport::write_in_order`].
    pub(crate) fn write_all(&mut self, index: usize) -> Result<()> {
        let series = self.series[index];
        let head = self.view.head();
        let late = head.pages.get(page_of(series.0.0)).is_some_and(|page| {
            let mut page = page.lock();
            let found = page.get(series.0.0);
            found.is_some_and(|mut s| s.late_mut().is_some_and(|late| late.range().is_some()))
        });
        if !late {
            return self.write_in_order(index);
        }
        let mut columns = std::mem::take(&mut self.spare.0);
        columns.clear();
        self.view.read(series, self.view.range(), &mut columns)?;
        let written = self.write_samples(index, &columns);
        self.spare.0 = columns;
        written
    }

    /// Adds a series with these samples, as they would be encoded in the head; none leave it out.
    ///
    /// # Errors
    /// See [`HeadExport::new`].
    pub(crate) fn write_samples(&mut self, index: usize, columns: &Columns) -> Result<()> {
        let options = EncodeOptions {
            floats: self.view.head().float_encoding(),
            ..EncodeOptions::default()
        };
        let encoded = encode(columns, &options);
        let chunks: Vec<_> = encoded.iter().map(BlockChunk::from).collect();
        fill_labels(&mut self.labels, self.table.set(index), &self.symbols);
        self.writer.add_pairs(&self.labels, &chunks)
    }

    /// Finishes the block: see [`BlockWriter::finish`].
    ///
    /// # Errors
    /// See [`HeadExport::new`].
    pub(crate) fn finish(self) -> Result<Option<BlockMeta>> {
        self.writer.finish()
    }

    fn in_order_pieces(&mut self, index: usize) -> Result<()> {
        let head = self.view.head();
        let reference = self.series[index].0.0;
        let range = self.view.range();
        let mut mapped: SmallVec<[MappedChunk; 8]> = SmallVec::new();
        let open = {
            let Some(page) = head.pages.get(page_of(reference)) else {
                return Ok(());
            };
            let mut page = page.lock();
            let Some(series) = page.get(reference) else {
                return Ok(());
            };
            let overlaps = |c: &MappedChunk| c.min_ms <= range.max_ms && c.max_ms >= range.min_ms;
            mapped.extend(series.mapped().filter(overlaps));
            let (min_ms, max_ms) = (series.open_min_ms(), series.last_ms());
            let open = series
                .open_chunk()
                .filter(|_| min_ms <= range.max_ms && max_ms >= range.min_ms);
            open.map(|(encoding, bytes)| (min_ms, max_ms, ChunkBytes::owned(encoding as u8, bytes.to_vec())))
        };
        let deleted = head
            .tombstones
            .read()
            .get(&reference)
            .cloned()
            .unwrap_or_default();
        for chunk in mapped {
            let bytes = head.read_chunk(reference, &chunk)?;
            self.piece(chunk.chunk, (chunk.min_ms, chunk.max_ms, bytes), &deleted)?;
        }
        open.map_or(Ok(()), |open| self.piece(0, open, &deleted))
    }

    /// Adds a chunk cut to the view's range and without what is deleted; `place` is its reference, 0 that of an open one.
    fn piece(&mut self, place: u64, whole: Piece, deleted: &[(i64, i64)]) -> Result<()> {
        let range = self.view.range();
        let (min_ms, max_ms, bytes) = &whole;
        let inside = *min_ms >= range.min_ms && *max_ms <= range.max_ms;
        if inside && !deleted.iter().any(|d| d.0 <= *max_ms && d.1 >= *min_ms) {
            self.pieces.push(whole);
            return Ok(());
        }
        let (columns, spare) = &mut self.spare;
        columns.clear();
        chunk::decode(bytes.encoding, bytes, range.min_ms, range.max_ms, columns).map_err(
            |e| match place {
                0 => self.view.head().corrupt_open(e),
                _ => self.view.corrupt(place, e),
            },
        )?;
        remove_deleted(columns, deleted, spare);
        let encoding = Encoding::from_byte(bytes.encoding).map_err(|e| self.view.head().corrupt_open(e))?;
        for chunk in encode(columns, &EncodeOptions::keep(encoding)) {
            let bytes = ChunkBytes::owned(chunk.encoding as u8, chunk.bytes);
            self.pieces.push((chunk.min_ms, chunk.max_ms, bytes));
        }
        Ok(())
    }
}

fn fill_labels(labels: &mut Vec<(u32, u32)>, set: &[u32], symbols: &[(u32, u32)]) {
    labels.clear();
    labels.extend(set.iter().map(|pair| symbols[*pair as usize]));
}

/// The texts of a table's sets, sorted, and for each pair that a set has the numbers of its name and value among them.
fn symbols_of(table: &LabelTable) -> (Vec<&str>, Vec<(u32, u32)>) {
    let mut used = vec![false; table.pairs().len()];
    for index in 0..table.len() {
        for pair in table.set(index) {
            used[*pair as usize] = true;
        }
    }
    let pairs = || (0..).zip(&used).filter(|(_, used)| **used).map(|(pair, _)| pair);
    let mut texts = Vec::new();
    for pair in pairs() {
        let (name, value) = table.pairs().get(pair);
        // Pairs are sorted, so those of a name stand together.
        if texts.last() != Some(&name) {
            texts.push(name);
        }
        texts.push(value);
    }
    texts.sort_unstable();
    texts.dedup();
    let number = |text: &str| texts.partition_point(|t| *t < text) as u32;
    let mut symbols = vec![(0, 0); used.len()];
    let mut last = ("", 0);
    for pair in pairs() {
        let (name, value) = table.pairs().get(pair);
        if last.0 != name {
            last = (name, number(name));
        }
        symbols[pair as usize] = (last.1, number(value));
    }
    (texts, symbols)
}

impl Head {
    /// Returns when every transaction that was under way has ended.
    pub(crate) fn wait_for_transactions(&self) {
        drop(self.gate.write());
    }

    /// Turns all late samples into chunks and starts a new segment of their log; `None` where there are none.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub(crate) fn cut_late(&self) -> Result<Option<LateCut>> {
        if self.late_range_ms().is_none() {
            return Ok(None);
        }
        // No late sample may come between its chunk and the new segment.
        let _gate = self.gate.write();
        let rules = self.rules();
        let (mut newest, mut range) = (0, (i64::MAX, i64::MIN));
        for (number, page) in self.pages.all() {
            page.lock().for_each(|mut series| {
                let reference = number * super::pages::PAGE_SERIES + u64::from(series.low());
                let Some(ooo) = series.late_mut() else {
                    return;
                };
                ooo.write_open(rules, reference);
                if let Some(chunk) = ooo.mapped.iter().map(|c| c.chunk).max() {
                    newest = newest.max(chunk);
                }
                if let Some((min_ms, max_ms)) = ooo.range() {
                    range = (range.0.min(min_ms), range.1.max(max_ms));
                }
            });
        }
        if newest == 0 {
            return Ok(None);
        }
        let segment = self.wbl_open()?.next_segment()?;
        Ok(Some(LateCut {
            chunk: newest,
            segment,
            range,
        }))
    }

    /// Appends the late samples of a series in `range` that were cut up to chunk `upto`, deleted ones left out, to
    /// `columns`, which must be empty.
    ///
    /// # Errors
    /// When a chunk cannot be read.
    pub(crate) fn read_late(
        &self,
        series: HeadSeries,
        range: TimeRange,
        upto: u64,
        columns: &mut Columns,
        spare: &mut (Columns, Columns),
    ) -> Result<()> {
        let reference = series.0.0;
        let late: Vec<MappedChunk> = {
            let Some(page) = self.pages.get(page_of(reference)) else {
                return Ok(());
            };
            let mut page = page.lock();
            let series = page.get(reference);
            let late = series.as_ref().and_then(|s| s.late());
            late.map_or_else(Vec::new, |o| o.mapped.clone())
        };
        let wanted =
            |c: &&MappedChunk| c.chunk <= upto && c.min_ms <= range.max_ms && c.max_ms >= range.min_ms;
        for late in late.iter().filter(wanted) {
            let (part, merged) = &mut *spare;
            part.clear();
            let bytes = self.read_chunk(reference, late)?;
            chunk::decode(bytes.encoding, &bytes, range.min_ms, range.max_ms, part)
                .map_err(|e| self.corrupt_chunk(late.chunk, e))?;
            merge_into(columns, part, merged);
        }
        if let Some(deleted) = self.tombstones.read().get(&reference) {
            remove_deleted(columns, deleted, &mut spare.0);
        }
        Ok(())
    }

    /// Forgets the late samples of a cut: blocks hold them, and no view needs them any more.
    ///
    /// # Errors
    /// When old segments of the log cannot be removed.
    pub(crate) fn forget_late(&self, cut: LateCut) -> Result<()> {
        use std::sync::atomic::Ordering::Release;
        let mut on_disk = self.on_disk.lock();
        self.remove_snapshot(&mut on_disk)?;
        let mut range = (i64::MAX, i64::MIN);
        {
            let _gate = self.gate.write();
            for (_, page) in self.pages.all() {
                page.lock().for_each(|mut series| {
                    series.forget_late(cut.chunk);
                    if let Some((min_ms, max_ms)) = series.late().and_then(OutOfOrder::range) {
                        range = (range.0.min(min_ms), range.1.max(max_ms));
                    }
                });
            }
            self.late_min_ms.store(range.0, Release);
            self.late_max_ms.store(range.1, Release);
        }
        self.forget_tombstones(self.min_ms());
        let Some(wbl) = self.wbl() else {
            return Ok(());
        };
        let mut record = Vec::new();
        encode_forgotten(&mut record, cut.chunk);
        wbl.log(&mut Compressor::default(), &[&record])?;
        wbl.sync()?;
        wbl.remove_before(cut.segment)
    }
}
