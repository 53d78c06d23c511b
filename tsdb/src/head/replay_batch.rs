//! Replayed floats, gathered over many records and applied page by page on all cores.
//!
//! A log is written scrape by scrape: one sample of each series, then the next of each. Applied like that, every sample
//! finds its series outside the processor's caches. So records are gathered and ordered by page; within a page the
//! order of the log stays. Threads take stretches of pages, and nobody waits for a lock.

use std::collections::HashSet;

use super::Head;
use super::append::append_float;
use super::pages::page_of;
use crate::wal::FloatEntry;

/// Samples that are applied at a time: 40 MiB, a few of each series in a large head.
const BATCH: usize = 1 << 20;
/// Samples for which threads are not worth starting.
const SMALL: usize = 1 << 14;
/// Threads that replay at most.
const THREADS_MAX: usize = 8;

/// Samples that wait to be applied; references are those that the series have.
pub(super) struct Batch {
    entries: Vec<FloatEntry>,
    order: Vec<u32>,
    threads: usize,
}

/// Samples of series that are not known.
#[derive(Default)]
pub(super) struct Unknown {
    pub(super) series: HashSet<u64>,
    pub(super) entries: u64,
}

impl Batch {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Batch {
            entries: Vec::new(),
            order: Vec::new(),
            threads: cores.min(THREADS_MAX),
        }
    }

    pub(super) fn push(&mut self, entry: FloatEntry) {
        self.entries.push(entry);
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= BATCH
    }

    /// Applies what has gathered.
    pub(super) fn flush(&mut self, head: &Head) -> Unknown {
        self.sort();
        let (entries, order) = (&self.entries, &self.order);
        let unknown = if order.len() < SMALL || self.threads == 1 {
            apply(head, entries, order)
        } else {
            std::thread::scope(|scope| {
                let workers: Vec<_> = stretches(entries, order, self.threads)
                    .into_iter()
                    .map(|stretch| scope.spawn(move || apply(head, entries, stretch)))
                    .collect();
                let mut all = Unknown::default();
                for worker in workers {
                    match worker.join() {
                        Ok(unknown) => {
                            all.series.extend(unknown.series);
                            all.entries += unknown.entries;
                        }
                        Err(panic) => std::panic::resume_unwind(panic),
                    }
                }
                all
            })
        };
        self.entries.clear();
        unknown
    }

    /// Orders the samples by page, by counting where the pages lie close together, as they nearly always do.
    fn sort(&mut self) {
        let entries = &self.entries;
        self.order.clear();
        self.order.extend(0..entries.len() as u32);
        let pages = || entries.iter().map(|e| page_of(e.series));
        let (Some(first), Some(last)) = (pages().min(), pages().max()) else {
            return;
        };
        let range = last - first;
        if range > 4 * BATCH as u64 {
            self.order.sort_by_key(|i| page_of(entries[*i as usize].series));
            return;
        }
        let mut starts = vec![0u32; range as usize + 2];
        for page in pages() {
            starts[(page - first) as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        for (i, page) in pages().enumerate() {
            let at = &mut starts[(page - first) as usize];
            self.order[*at as usize] = i as u32;
            *at += 1;
        }
    }
}

/// Cuts the order into about equal stretches that share no page.
fn stretches<'a>(entries: &[FloatEntry], order: &'a [u32], threads: usize) -> Vec<&'a [u32]> {
    let page = |i: u32| page_of(entries[i as usize].series);
    let mut rest = order;
    let mut stretches = Vec::with_capacity(threads);
    let share = order.len().div_ceil(threads);
    while rest.len() > share {
        let last = page(rest[share - 1]);
        let end = share + rest[share..].iter().take_while(|i| page(**i) == last).count();
        let (stretch, others) = rest.split_at(end);
        stretches.push(stretch);
        rest = others;
    }
    stretches.push(rest);
    stretches
}

/// Applies samples in this order.
fn apply(head: &Head, entries: &[FloatEntry], order: &[u32]) -> Unknown {
    let mut unknown = Unknown::default();
    let mut rest = order;
    while let Some(first) = rest.first() {
        let number = page_of(entries[*first as usize].series);
        let same = |i: &&u32| page_of(entries[**i as usize].series) == number;
        let (of_page, others) = rest.split_at(rest.iter().take_while(same).count());
        rest = others;
        let page = head.pages.get(number);
        let mut page = page.as_ref().map(|page| page.lock());
        for i in of_page {
            let entry = &entries[*i as usize];
            let Some(series) = page.as_mut().and_then(|page| page.get(entry.series)) else {
                unknown.series.insert(entry.series);
                unknown.entries += 1;
                continue;
            };
            series.catch_up(&head.chunk_files, entry.series, entry.timestamp_ms);
            let sample = (entry.start_ms, entry.timestamp_ms, entry.value);
            append_float(series, head.rules(), None, entry.series, sample);
        }
    }
    unknown
}
