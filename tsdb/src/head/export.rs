//! What the head gives to blocks: symbols, full chunks as they are, late samples.

use std::collections::BTreeSet;

use model::columns::Columns;
use model::labels::Labels;
use model::storage::TimeRange;

use super::chunk_files::MappedChunk;
use super::ooo::OutOfOrder;
use super::pages::page_of;
use super::read::HeadView;
use super::{Head, HeadSeries};
use crate::block::{BlockChunk, BlockWriter, ChunkData};
use crate::chunk::{self, EncodeOptions, Encoding, encode};
use crate::columns::{merge_into, remove_deleted};
use crate::files::Result;
use crate::wal::{Compressor, encode_forgotten};

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

impl HeadView {
    /// Every text of the index, sorted: what a block's symbol table needs.
    pub(crate) fn symbols(&self) -> Vec<String> {
        let index = self.head().index.read();
        let symbols: BTreeSet<&str> = index.texts().collect();
        symbols.into_iter().map(str::to_owned).collect()
    }

    /// All series with samples in the view's range, in order of their labels.
    ///
    /// # Errors
    /// As [`HeadView::select`].
    pub(crate) fn all_sorted(&self) -> Result<Vec<(HeadSeries, Labels)>> {
        let mut series = self.select(&[])?;
        series.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        Ok(series)
    }

    /// Adds the in-order samples of a series to a block. Full chunks inside the view's range are copied, the rest is
    /// encoded anew.
    ///
    /// # Errors
    /// When a chunk cannot be read or the block cannot be written.
    pub(crate) fn write_in_order(
        &self,
        series: HeadSeries,
        labels: &Labels,
        writer: &mut BlockWriter,
        spare: &mut (Columns, Columns),
    ) -> Result<()> {
        let head = self.head();
        let reference = series.0.0;
        let range = self.range();
        let (mapped, open) = {
            let Some(page) = head.pages.get(page_of(reference)) else {
                return Ok(());
            };
            let mut page = page.lock();
            let Some(series) = page.get(reference) else {
                return Ok(());
            };
            let overlaps = |c: &MappedChunk| c.min_ms <= range.max_ms && c.max_ms >= range.min_ms;
            let mapped: Vec<MappedChunk> = series.mapped().filter(overlaps).collect();
            let open = series
                .open_chunk()
                .map(|(encoding, bytes)| (series.open_min_ms(), series.last_ms(), encoding, bytes.to_vec()));
            (mapped, open)
        };
        let deleted = head
            .tombstones
            .read()
            .get(&reference)
            .cloned()
            .unwrap_or_default();
        let mut pieces = Vec::with_capacity(mapped.len() + 1);
        for chunk in mapped {
            let bytes = head.chunk_files.read(chunk.chunk)?;
            self.piece(
                (chunk.min_ms, chunk.max_ms, bytes.encoding, bytes.to_vec()),
                &deleted,
                spare,
                &mut pieces,
            )?;
        }
        if let Some((min_ms, max_ms, encoding, bytes)) = open
            && min_ms <= range.max_ms
            && max_ms >= range.min_ms
        {
            self.piece(
                (min_ms, max_ms, encoding as u8, bytes),
                &deleted,
                spare,
                &mut pieces,
            )?;
        }
        let chunks: Vec<BlockChunk<'_>> = pieces
            .iter()
            .map(|(min_ms, max_ms, encoding, bytes)| BlockChunk {
                min_ms: *min_ms,
                max_ms: *max_ms,
                data: ChunkData {
                    encoding: *encoding,
                    bytes,
                },
            })
            .collect();
        writer.add(labels, &chunks)
    }

    /// Adds all samples of a series to a block, late ones in their places.
    ///
    /// # Errors
    /// When a chunk cannot be read or the block cannot be written.
    pub(crate) fn write_all(
        &self,
        series: HeadSeries,
        labels: &Labels,
        writer: &mut BlockWriter,
        spare: &mut (Columns, Columns),
    ) -> Result<()> {
        let late = self.head().pages.get(page_of(series.0.0)).is_some_and(|page| {
            let mut page = page.lock();
            let found = page.get(series.0.0);
            found.is_some_and(|mut s| s.late_mut().is_some_and(|late| late.range().is_some()))
        });
        if !late {
            return self.write_in_order(series, labels, writer, spare);
        }
        let columns = &mut spare.0;
        columns.clear();
        self.read(series, self.range(), columns)?;
        writer.add_encoded(labels, columns, self.head().float_encoding())
    }

    /// Adds a chunk cut to the view's range and without what is deleted.
    fn piece(
        &self,
        whole: (i64, i64, u8, Vec<u8>),
        deleted: &[(i64, i64)],
        (columns, spare): &mut (Columns, Columns),
        pieces: &mut Vec<(i64, i64, u8, Vec<u8>)>,
    ) -> Result<()> {
        let range = self.range();
        let inside = whole.0 >= range.min_ms && whole.1 <= range.max_ms;
        if inside && !deleted.iter().any(|d| d.0 <= whole.1 && d.1 >= whole.0) {
            pieces.push(whole);
            return Ok(());
        }
        columns.clear();
        chunk::decode(whole.2, &whole.3, range.min_ms, range.max_ms, columns)
            .map_err(|e| self.corrupt(0, e))?;
        remove_deleted(columns, deleted, spare);
        let encoding = Encoding::from_byte(whole.2).map_err(|e| self.corrupt(0, e))?;
        for chunk in encode(columns, &EncodeOptions::keep(encoding)) {
            pieces.push((chunk.min_ms, chunk.max_ms, chunk.encoding as u8, chunk.bytes));
        }
        Ok(())
    }
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
            let bytes = self.chunk_files.read(late.chunk)?;
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
