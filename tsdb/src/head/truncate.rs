//! Forgetting what is in blocks: chunks, series, log segments; and deleting on demand.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::matcher::Matcher;

use super::Head;
use super::chunk_files::file_of;
use super::ooo::OutOfOrder;
use super::pages::{PAGE_SERIES, page_of};
use crate::columns::add_range;
use crate::select::select;
use crate::wal::{
    CheckpointStats, Compressor, TombstoneEntry, encode_tombstones, remove_superseded, segments,
    write_checkpoint,
};
use files::Result;

/// What a truncation removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncated {
    /// Series without samples.
    pub series: u64,
    /// Chunks.
    pub chunks: u64,
}

impl Head {
    /// Forgets samples before `min_ms`, which must be in blocks that queries see already, and series that have none
    /// left. Waits up to `patience` for views that were opened before and still read them.
    ///
    /// # Errors
    /// When the views stay longer (nothing has happened then) or files cannot be removed.
    pub fn truncate(&self, min_ms: i64, patience: Duration) -> Result<Option<Truncated>> {
        if self.min_ms() >= min_ms && self.min_ms() != i64::MAX {
            return Ok(Some(Truncated::default()));
        }
        let before = self.isolation.next_reader();
        if !self.isolation.wait_for_readers(before, min_ms, patience) {
            return Ok(None);
        }
        let _snapshot = self.on_disk.lock();
        self.min_valid_ms.fetch_max(min_ms, Ordering::AcqRel);
        if self.min_ms() == i64::MAX {
            return Ok(Some(Truncated::default()));
        }
        self.max_ms.fetch_max(min_ms, Ordering::AcqRel);
        self.min_ms.store(min_ms, Ordering::Release);
        self.counters.truncations.fetch_add(1, Ordering::Relaxed);
        self.collect_garbage(min_ms).map(Some)
    }

    /// Waits up to `patience` until all views that are open now are gone; false where some stay longer.
    pub(crate) fn wait_for_views(&self, patience: Duration) -> bool {
        self.isolation
            .wait_for_readers(self.isolation.next_reader(), i64::MAX, patience)
    }

    /// Removes chunks before `min_ms`, series without samples, and chunk files that nothing refers to.
    pub(super) fn collect_garbage(&self, min_ms: i64) -> Result<Truncated> {
        let mut truncated = Truncated::default();
        let mut has_empty = Vec::new();
        for (number, page) in self.pages.all() {
            let mut page = page.lock();
            let mut empty = false;
            page.for_each(|mut series| {
                truncated.chunks += series.truncate(min_ms) as u64;
                empty |= series.is_empty();
            });
            if empty {
                has_empty.push(number);
            }
        }
        let dead = self.remove_empty(&has_empty);
        truncated.series = dead.len() as u64;
        self.forget_series(&dead, min_ms);
        self.counters
            .series_removed
            .fetch_add(truncated.series, Ordering::Relaxed);
        self.counters
            .chunks_removed
            .fetch_add(truncated.chunks, Ordering::Relaxed);
        let (first_file, in_order_min_ms) = self.remaining();
        if in_order_min_ms > min_ms && in_order_min_ms != i64::MAX {
            self.min_ms.store(in_order_min_ms, Ordering::Release);
        }
        self.chunk_files.remove_before(first_file)?;
        Ok(truncated)
    }

    /// Removes series that are still empty from these pages. No transaction is under way meanwhile.
    fn remove_empty(&self, numbers: &[u64]) -> Vec<u64> {
        let _gate = self.gate.write();
        let mut dead = Vec::new();
        for number in numbers {
            let Some(page) = self.pages.get(*number) else {
                continue;
            };
            page.lock().retain(|series| {
                let keep = !series.is_empty();
                if !keep {
                    dead.push(number * PAGE_SERIES + u64::from(series.low()));
                }
                keep
            });
        }
        // Under the gate too: a reference must not be found by its labels once its series is gone.
        if !dead.is_empty() {
            self.index.write().remove(&dead);
        }
        dead
    }

    pub(super) fn forget_series(&self, dead: &[u64], min_ms: i64) {
        let fresh = self.index.read().compacted();
        if fresh.is_some() {
            // Built again under the lock that keeps new series out; the first pass showed that it is worth it.
            let mut index = self.index.write();
            if let Some(fresh) = index.compacted() {
                *index = fresh;
            }
        }
        self.pages
            .drop_empty(page_of(self.next_reference.load(Ordering::Relaxed)));
        let gone: HashSet<u64> = dead.iter().copied().collect();
        self.tombstones.write().retain(|series, _| !gone.contains(series));
        self.forget_tombstones(min_ms);
        // Samples of removed series that lie in the log must find their series when it is replayed.
        let until_ms = self.min_ms();
        let mut keep = self.wal_keep.lock();
        keep.extend(dead.iter().map(|series| (*series, until_ms)));
    }

    /// First timestamp that a deletion can still concern, where in-order samples begin at `in_order_min_ms`.
    fn deletable_min_ms(&self, in_order_min_ms: i64) -> i64 {
        let late = self.late_range_ms().map_or(i64::MAX, |(min_ms, _)| min_ms);
        late.min(in_order_min_ms)
    }

    /// Forgets deletions of samples that the head no longer has.
    pub(super) fn forget_tombstones(&self, in_order_min_ms: i64) {
        let min_ms = self.deletable_min_ms(in_order_min_ms);
        self.tombstones.write().retain(|_, ranges| {
            ranges.retain(|r| r.1 >= min_ms);
            !ranges.is_empty()
        });
    }

    /// Number of the oldest chunk file in use, and the first in-order timestamp.
    fn remaining(&self) -> (u32, i64) {
        let (mut file, mut first_ms) = (u32::MAX, i64::MAX);
        for (_, page) in self.pages.all() {
            page.lock().for_each(|series| {
                let late = series.late().map_or(&[][..], |o| &o.mapped);
                // All of them: one that was healed lies in a later file than those behind it.
                for chunk in series.mapped().chain(late.iter().copied()) {
                    file = file.min(file_of(chunk.chunk));
                }
                if let Some((min_ms, _)) = series.in_order_range() {
                    first_ms = first_ms.min(min_ms);
                }
            });
        }
        (file, first_ms)
    }

    /// Replaces the older two thirds of the log's segments by a checkpoint of what is needed from `min_ms` on.
    ///
    /// # Errors
    /// When segments are damaged or the disk refuses; the log is then as it was.
    pub fn truncate_wal(&self, min_ms: i64) -> Result<Option<CheckpointStats>> {
        self.truncate_wal_before(min_ms, None)
    }

    /// As [`Head::truncate_wal`], but leaves segment `kept` and those behind it to whoever still reads them, with the names
    /// of all series that they speak of.
    ///
    /// # Errors
    /// As [`Head::truncate_wal`].
    pub fn truncate_wal_before(&self, min_ms: i64, kept: Option<u64>) -> Result<Option<CheckpointStats>> {
        if min_ms <= self.wal_truncated_ms.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut on_disk = self.on_disk.lock();
        let numbers = segments(&*self.files, self.wal.dir())?;
        self.wal.next_segment()?;
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
            return Ok(None);
        };
        // The newest segments are kept: most of what a checkpoint of them would hold is still needed.
        let due = first + last.saturating_sub(1).saturating_sub(*first) * 2 / 3;
        let upto = due.min(kept.map_or(u64::MAX, |kept| kept.saturating_sub(1)));
        if *last == 0 || upto <= *first {
            return Ok(None);
        }
        self.wal_truncated_ms.store(min_ms, Ordering::Release);
        let keep = self.wal_keep.lock().clone();
        // Whoever reads segments that the store no longer needs meets series there that it has forgotten.
        let is_held = kept.is_some_and(|kept| kept < *last);
        let known = |series: u64| {
            is_held
                || self.knows(model::storage::SeriesRef(series))
                || keep.get(&series).is_some_and(|until| *until >= min_ms)
        };
        let written = write_checkpoint(&self.files, &self.wal, upto, min_ms, known);
        match &written {
            Ok(_) => {
                on_disk.is_stale = true;
                self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
                self.wal_keep.lock().retain(|_, until| *until >= min_ms);
            }
            Err(_) => {
                self.counters.checkpoints_failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        let stats = written?;
        remove_superseded(&*self.files, &self.wal, upto).inspect_err(|_| {
            self.counters
                .checkpoint_removals_failed
                .fetch_add(1, Ordering::Relaxed);
        })?;
        Ok(Some(stats))
    }

    /// Marks the samples in `min_ms..=max_ms` of the series that satisfy all matchers as deleted; returns how many
    /// series are concerned.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn delete(&self, min_ms: i64, max_ms: i64, matchers: &[Matcher]) -> Result<u64> {
        self.check_open()?;
        // A deletion is logged and noted as one, like a transaction.
        let _gate = self.gate.read();
        let found: Vec<u64> = {
            let index = self.index.read();
            let found = select(&*index, matchers)?;
            found.iter().map(|i| index.reference_of(*i)).collect()
        };
        let mut entries = Vec::new();
        for reference in found {
            let Some(page) = self.pages.get(page_of(reference)) else {
                continue;
            };
            let range = page.lock().get(reference).and_then(|series| {
                let late = series.late().and_then(OutOfOrder::range);
                let all = series.in_order_range().into_iter().chain(late);
                all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            });
            let Some((first, last)) = range else {
                continue;
            };
            // Only what is there: samples that come later are not meant.
            let entry = TombstoneEntry {
                series: reference,
                min_ms: min_ms.max(first),
                max_ms: max_ms.min(last),
            };
            if entry.min_ms <= entry.max_ms {
                entries.push(entry);
            }
        }
        if entries.is_empty() {
            return Ok(0);
        }
        let mut record = Vec::new();
        encode_tombstones(&mut record, entries.iter().copied());
        self.log_deletion(&record).inspect_err(|_| self.note_failure())?;
        let mut tombstones = self.tombstones.write();
        for entry in &entries {
            add_range(
                tombstones.entry(entry.series).or_default(),
                (entry.min_ms, entry.max_ms),
            );
        }
        Ok(entries.len() as u64)
    }

    /// The late log has deletions too, because it outlives the segments of the log that were written with it.
    fn log_deletion(&self, record: &[u8]) -> Result<()> {
        let mut compressor = Compressor::default();
        self.wal.log(&mut compressor, &[record])?;
        match self.wbl() {
            Some(wbl) if self.late_range_ms().is_some() => wbl.log(&mut compressor, &[record]),
            _ => Ok(()),
        }
    }
}
