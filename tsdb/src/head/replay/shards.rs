//! Replayed samples, gathered over many records and applied by threads, each of which has pages of its own.
//!
//! A log is written scrape by scrape: one sample of each series, then the next of each. Applied like that, every sample
//! finds its series outside the processor's caches. So samples are gathered by shard, and a shard's thread orders them
//! by page; within a page the order of the log stays. No two threads touch the same page, and while they work the next
//! batch is gathered.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use model::histogram::Histogram;

use super::super::Head;
use super::super::append::append_float;
use super::super::pages::page_of;

/// Samples that are applied at a time, over all shards: a few of each series in a large head.
const BATCH: usize = 1 << 20;
/// Threads that apply at most.
const THREADS_MAX: usize = 8;
/// Pages of a shard that lie so close together that sorting by counting pays.
const COUNTED_MAX: u64 = 1 << 20;

/// A sample on its way to its series, whose reference is the one that the series has.
pub(super) struct Sample {
    pub(super) series: u64,
    pub(super) start_ms: i64,
    pub(super) timestamp_ms: i64,
    pub(super) value: Value,
}

/// What a sample holds.
pub(super) enum Value {
    Float(f64),
    Histogram(Box<Histogram>),
}

/// Samples of series that are not known.
#[derive(Default)]
pub(super) struct Unknown {
    pub(super) series: HashSet<u64>,
    pub(super) entries: u64,
}

enum Job {
    Apply(Vec<Sample>),
    /// Everything before it has been applied: say so.
    Barrier(Sender<()>),
}

struct Shard<'scope> {
    jobs: SyncSender<Job>,
    /// Emptied buffers.
    empty: Receiver<Vec<Sample>>,
    filling: Vec<Sample>,
    thread: ScopedJoinHandle<'scope, Unknown>,
}

/// The shards of the pages.
pub(super) struct Shards<'scope> {
    shards: Vec<Shard<'scope>>,
    gathered: usize,
}

impl<'scope> Shards<'scope> {
    /// Starts a thread for each core.
    pub(super) fn start<'a: 'scope>(scope: &'scope Scope<'scope, '_>, head: &'a Head) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shards = (0..cores.min(THREADS_MAX)).map(|_| {
            // A batch is handed over when the one before it is done: no more than two of them take memory.
            let (jobs, todo) = sync_channel(0);
            let (done, empty) = channel();
            Shard {
                jobs,
                empty,
                filling: Vec::new(),
                thread: scope.spawn(move || work(head, &todo, &done)),
            }
        });
        Shards {
            shards: shards.collect(),
            gathered: 0,
        }
    }

    /// Takes a sample; it is applied behind those of its series that came before.
    #[inline]
    pub(super) fn push(&mut self, sample: Sample) {
        let at = page_of(sample.series) % self.shards.len() as u64;
        self.shards[at as usize].filling.push(sample);
        self.gathered += 1;
        if self.gathered >= BATCH {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        for shard in &mut self.shards {
            if !shard.filling.is_empty() {
                let next = shard.empty.try_recv().unwrap_or_default();
                let batch = std::mem::replace(&mut shard.filling, next);
                // Nobody takes it where the thread has panicked; the scope passes the panic on.
                let _ = shard.jobs.send(Job::Apply(batch));
            }
        }
        self.gathered = 0;
    }

    /// Returns when everything so far has been applied.
    pub(super) fn settle(&mut self) {
        self.hand_over();
        let (reply, replies) = channel();
        for shard in &self.shards {
            let _ = shard.jobs.send(Job::Barrier(reply.clone()));
        }
        drop(reply);
        while replies.recv().is_ok() {}
    }

    /// Applies the rest and ends the threads.
    pub(super) fn finish(mut self) -> Unknown {
        self.hand_over();
        let mut all = Unknown::default();
        for shard in self.shards {
            drop(shard.jobs);
            match shard.thread.join() {
                Ok(unknown) => {
                    all.series.extend(unknown.series);
                    all.entries += unknown.entries;
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    }
}

fn work(head: &Head, jobs: &Receiver<Job>, empty: &Sender<Vec<Sample>>) -> Unknown {
    let (mut unknown, mut order) = (Unknown::default(), Vec::new());
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Apply(mut samples) => {
                sort(&samples, &mut order);
                apply(head, &samples, &order, &mut unknown);
                samples.clear();
                // At the end nobody wants it.
                let _ = empty.send(samples);
            }
            Job::Barrier(reply) => drop(reply),
        }
    }
    unknown
}

/// Orders the samples by page, by counting where the pages lie close together, as they nearly always do.
fn sort(samples: &[Sample], order: &mut Vec<u32>) {
    order.clear();
    order.extend(0..samples.len() as u32);
    let pages = || samples.iter().map(|s| page_of(s.series));
    let (Some(first), Some(last)) = (pages().min(), pages().max()) else {
        return;
    };
    let range = last - first;
    if range > COUNTED_MAX {
        order.sort_by_key(|i| page_of(samples[*i as usize].series));
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
        order[*at as usize] = i as u32;
        *at += 1;
    }
}

/// Applies samples in this order.
fn apply(head: &Head, samples: &[Sample], order: &[u32], unknown: &mut Unknown) {
    let mut rest = order;
    while let Some(first) = rest.first() {
        let number = page_of(samples[*first as usize].series);
        let same = |i: &&u32| page_of(samples[**i as usize].series) == number;
        let (of_page, others) = rest.split_at(rest.iter().take_while(same).count());
        rest = others;
        let page = head.pages.get(number);
        let mut page = page.as_ref().map(|page| page.lock());
        for i in of_page {
            let sample = &samples[*i as usize];
            let Some(mut series) = page.as_mut().and_then(|page| page.get(sample.series)) else {
                unknown.series.insert(sample.series);
                unknown.entries += 1;
                continue;
            };
            series.catch_up(&head.chunk_files, sample.series, sample.timestamp_ms);
            let (rules, reference) = (head.rules(), sample.series);
            let (start_ms, timestamp_ms) = (sample.start_ms, sample.timestamp_ms);
            match &sample.value {
                Value::Float(value) => {
                    append_float(
                        &mut series,
                        rules,
                        None,
                        reference,
                        (start_ms, timestamp_ms, *value),
                    );
                }
                Value::Histogram(histogram) => {
                    series.append_histogram(rules, None, reference, (start_ms, timestamp_ms, histogram));
                }
            }
        }
    }
}
