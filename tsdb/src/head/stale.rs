//! Series that have gone stale: which they are, and taking them out before their time.

use std::sync::atomic::Ordering;

use super::Head;
use super::pages::{PAGE_SERIES, page_of};
use crate::wal::{Compressor, Keep, TombstoneEntry, encode_tombstones};
use files::Result;

/// A series that ended with a staleness marker, as it was when it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StaleSeries {
    pub(crate) reference: u64,
    /// Its newest sample: one that has grown since has a later one.
    last_ms: i64,
}

impl Head {
    /// Series whose newest sample is a staleness marker and that have no late samples, by reference; and the share of
    /// all series whose newest sample is one.
    pub(crate) fn stale_series(&self) -> (Vec<StaleSeries>, f64) {
        let (mut found, mut stale, mut all) = (Vec::new(), 0u64, 0u64);
        for (number, page) in self.pages.all() {
            page.lock().for_each(|series| {
                all += 1;
                if series.is_stale() {
                    stale += 1;
                    if series.late().is_none() {
                        found.push(StaleSeries {
                            reference: number * PAGE_SERIES + u64::from(series.low()),
                            last_ms: series.last_ms(),
                        });
                    }
                }
            });
        }
        (found, stale as f64 / all.max(1) as f64)
    }

    /// Removes those of the series that are as they were when they were found; blocks hold their samples, and every view
    /// sees those blocks. Returns how many there were.
    ///
    /// # Errors
    /// When the log cannot be written; the series are gone then, and come back with the next start.
    pub(crate) fn evict(&self, series: &[StaleSeries]) -> Result<u64> {
        let mut dead = Vec::new();
        {
            let _gate = self.gate.write();
            for of_page in series.chunk_by(|a, b| page_of(a.reference) == page_of(b.reference)) {
                let Some(page) = self.pages.get(page_of(of_page[0].reference)) else {
                    continue;
                };
                page.lock().retain(|series| {
                    let found = of_page.binary_search_by_key(&series.low(), |s| s.reference as u8);
                    let Some(found) = found.ok().map(|at| of_page[at]) else {
                        return true;
                    };
                    let grown = series.last_ms() != found.last_ms || series.late().is_some();
                    if !grown {
                        dead.push(found.reference);
                    }
                    grown
                });
            }
            if !dead.is_empty() {
                self.index.write().remove(&dead);
            }
        }
        if dead.is_empty() {
            return Ok(0);
        }
        self.forget_series(&dead, self.min_ms());
        // Compat: a deletion of all of time tells a reader of the log that the series was removed here (tests/it/stale.rs,
        // stale_series_leave_the_head_and_stay_readable).
        let entries = dead.iter().map(|series| TombstoneEntry {
            series: *series,
            min_ms: i64::MIN,
            max_ms: i64::MAX,
        });
        let mut record = Vec::new();
        encode_tombstones(&mut record, entries);
        let mut compressor = Compressor::default();
        compressor.stage(self.wal.compression(), &record);
        // Kept: the series are gone already.
        self.wal
            .commit(&mut compressor, Keep::Yes)
            .inspect_err(|_| self.note_failure())?;
        let removed = dead.len() as u64;
        self.counters.series_removed.fetch_add(removed, Ordering::Relaxed);
        Ok(removed)
    }
}
