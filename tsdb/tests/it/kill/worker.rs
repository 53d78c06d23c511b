//! The process that is killed: appends on two threads while a third deletes, compacts, cleans and takes snapshots.
//!
//! It tells on standard output what it begins and what was acknowledged, a line each, written at once:
//!
//! | line | meaning |
//! |---|---|
//! | `open` | the store is open |
//! | `batch N T`, `batched N` | batch N of thread T |
//! | `delete N M`, `deleted N` | deletion N, batch M being the oldest on its way |
//! | `clean N`, `cleaned N` | blocks rewritten without what is deleted |
//! | `snapshot N`, `snapshotted N` | snapshot N, head included |
//! | `works X` | the store logs that it begins with a block |
//! | `close`, `closed` | a clean stop |
//! | `wrong …` | what must not be |

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use files::DiskFiles;
use model::clock::ManualClock;
use model::storage::{AppendBatch, AppendError, AppendOutcome, Appender, FloatSample, HistogramSample};
use narthex_tsdb::db::Db;

use super::plan::{self, What};
use crate::support::Rng;

/// How far one thread may run ahead of the other.
const BATCHES_APART: i64 = 6;
/// How many blocks there may be.
const BLOCKS_MAX: usize = 24;
/// How much the head may hold.
const HEAD_MS_MAX: i64 = 2 * plan::RANGE_MS;

/// Runs until it is killed, or stops by itself after `batches`.
pub(super) fn run(dir: &Path, seed: u64, first: i64, batches: i64) {
    tracing::subscriber::set_global_default(Log).expect("the first");
    let db = Db::open(
        Arc::new(DiskFiles),
        dir,
        plan::options(seed, true, true),
        Arc::new(ManualClock::new(1_700_000_000_000 + first)),
    );
    let db = match db {
        Ok(db) => db,
        Err(error) => return say(&format!("wrong open: {error}")),
    };
    say("open");
    let next = AtomicI64::new(first);
    let on_its_way = [AtomicI64::new(first), AtomicI64::new(first)];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let appenders: Vec<_> = (0..2)
            .map(|thread| {
                let (db, next, mine, other) = (&db, &next, &on_its_way[thread], &on_its_way[1 - thread]);
                scope.spawn(move || append(db, (seed, thread as u64), next, (mine, other), first + batches))
            })
            .collect();
        scope.spawn(|| janitor(&db, seed, first, &on_its_way, &stop));
        for appender in appenders {
            if appender.join().is_err() {
                say("wrong: an appender panicked");
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    say("close");
    match db.close() {
        Ok(()) => say("closed"),
        Err(error) => say(&format!("wrong close: {error}")),
    }
}

/// One write a line: it is in the pipe whole or not at all.
fn say(line: &str) {
    let written = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
    written
        .and_then(|()| std::io::stdout().flush())
        .expect("somebody listens");
}

/// Tells what the store logs of its work on blocks.
struct Log;

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::DEBUG && metadata.target() == "narthex_tsdb::db::compaction"
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(
            &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                if field.name() == "message" {
                    say(&format!("works {value:?}"));
                }
            },
        );
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

fn append(
    db: &Db,
    (seed, thread): (u64, u64),
    next: &AtomicI64,
    (mine, other): (&AtomicI64, &AtomicI64),
    end: i64,
) {
    loop {
        // First too low, then right: the janitor must never take it for later than it is.
        mine.store(next.load(Ordering::SeqCst), Ordering::SeqCst);
        let number = next.fetch_add(1, Ordering::SeqCst);
        if number >= end {
            return mine.store(i64::MAX, Ordering::SeqCst);
        }
        // A thread that the machine forgets must not come too late when it goes on.
        while other.load(Ordering::SeqCst) < number - BATCHES_APART {
            std::thread::yield_now();
        }
        // Appending must not get ahead of cutting and merging, however slow the disk: kills would hit nothing else.
        let is_behind = || {
            let head = db.head();
            head.max_ms().saturating_sub(head.min_ms()) > HEAD_MS_MAX || db.blocks().len() > BLOCKS_MAX
        };
        while is_behind() {
            std::thread::sleep(Duration::from_millis(1));
        }
        say(&format!("batch {number} {thread}"));
        match append_batch(db, seed, number, thread) {
            Ok(()) => say(&format!("batched {number}")),
            Err(what) => return say(&format!("wrong batch {number}: {what}")),
        }
    }
}

/// Appends a planned batch; a series that was collected in between is resolved again.
pub(super) fn append_batch(db: &Db, seed: u64, number: i64, thread: u64) -> Result<(), String> {
    let planned = plan::batch(seed, number, thread);
    loop {
        let mut batch = AppendBatch::default();
        for sample in &planned {
            let series = db.resolve(&sample.labels).map_err(|e| e.to_string())?;
            let timestamp_ms = sample.timestamp_ms;
            match &sample.what {
                What::Float(value) => batch.floats.push(FloatSample {
                    series,
                    timestamp_ms,
                    value: *value,
                }),
                What::Histogram(histogram) => batch.histograms.push(HistogramSample {
                    series,
                    timestamp_ms,
                    histogram: histogram.clone(),
                }),
            }
        }
        let mut outcome = AppendOutcome::default();
        match db.append(&batch, &mut outcome) {
            Ok(()) if outcome.refused.is_empty() => return Ok(()),
            Ok(()) => return Err(format!("refused {:?}", outcome.refused)),
            Err(AppendError::UnknownSeries(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn janitor(db: &Db, seed: u64, first: i64, on_its_way: &[AtomicI64], stop: &AtomicBool) {
    let mut rng = Rng::new(seed ^ first as u64);
    let mut number = first;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let done = match rng.below(10) {
            0..4 => {
                let oldest = on_its_way.iter().map(|n| n.load(Ordering::SeqCst)).min();
                let oldest = oldest.filter(|n| *n < i64::MAX).unwrap_or(first);
                say(&format!("delete {number} {oldest}"));
                let (range, matcher) = plan::deletion(seed, number, oldest);
                let deleted = db.delete(range, &[matcher]);
                if deleted.is_ok() {
                    say(&format!("deleted {number}"));
                }
                deleted
            }
            4 => {
                say(&format!("clean {number}"));
                let cleaned = db.clean_tombstones();
                say(&format!("cleaned {number}"));
                cleaned
            }
            5 => {
                let dir = db.dir().with_file_name("snapshots").join(number.to_string());
                say(&format!("snapshot {number}"));
                let taken = db.snapshot(&dir, true);
                if taken.is_ok() {
                    say(&format!("snapshotted {number}"));
                }
                taken
            }
            6 => db.compact(),
            _ => Ok(()),
        };
        // What it does keeps compaction waiting.
        std::thread::sleep(Duration::from_millis(rng.below(20)));
        if let Err(error) = done {
            return say(&format!("wrong work {number}: {error}"));
        }
    }
}
