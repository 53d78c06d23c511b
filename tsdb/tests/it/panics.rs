//! A panic in the log, the head or compaction closes appending; reading goes on. Each thread in the background is killed
//! once: the panic is counted, the thread goes on, and what was acknowledged is there at the next start.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use files::{Fault, Files, MemFiles};
use model::labels::Labels;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, FloatSample, StorageError, TimeRange,
};
use narthex_tsdb::db::{Db, Options};
use narthex_tsdb::head::Head;

use crate::support::{DIR, everything, open, options, read};

fn append(db: &Db, timestamp_ms: i64) -> Result<(), AppendError> {
    let series = db
        .resolve(&Labels::from_pairs([("__name__", "m")]))
        .expect("a series");
    let mut batch = AppendBatch::default();
    batch.floats.push(FloatSample {
        series,
        timestamp_ms,
        value: timestamp_ms as f64,
    });
    db.append(&batch, &mut AppendOutcome::default())
}

fn filled(files: &MemFiles) -> Db {
    let db = open(files, options());
    for n in 1..=400 {
        append(&db, n * 1000).expect("appends");
    }
    db
}

fn is_closed(db: &Db) {
    let refused = append(db, 900_000);
    assert!(
        matches!(&refused, Err(AppendError::Storage(StorageError::Poisoned(_)))),
        "{refused:?}"
    );
    let why = db.head().write_failure().expect("readiness tells");
    assert!(why.contains("panicked"), "{why}");
    // The last append may have reached the log before the panic.
    let samples: usize = read(db, TimeRange::ALL, &everything())
        .values()
        .map(std::collections::BTreeMap::len)
        .sum();
    assert!(samples >= 400, "{samples}");
}

#[test]
fn a_panic_while_the_log_is_written_closes_appending_and_reads_go_on() {
    let files = MemFiles::new();
    let db = filled(&files);
    files.inject(Fault::Panic(files.calls() + 1));
    catch_unwind(AssertUnwindSafe(|| append(&db, 500_000))).expect_err("it panics");
    is_closed(&db);
}

#[test]
fn a_panic_at_any_call_of_compaction_closes_appending_and_the_next_start_has_everything() {
    let calls = {
        let files = MemFiles::new();
        let db = filled(&files);
        let before = files.calls();
        db.compact().expect("compacts");
        files.calls() - before
    };
    assert!(calls > 20, "{calls}");
    for call in (1..=calls).step_by(3) {
        let files = MemFiles::new();
        let db = filled(&files);
        files.inject(Fault::Panic(files.calls() + call));
        let failed = db.compact().expect_err("it panics");
        assert!(failed.to_string().contains("told to panic"), "{failed}");
        is_closed(&db);
        // The head is left alone from now on, and the rest goes on.
        db.compact().expect("there is nothing to do");
        drop(db);
        files.heal();
        let db = open(&files, options());
        let contents = read(&db, TimeRange::ALL, &everything());
        assert_eq!(
            contents.values().next().map(std::collections::BTreeMap::len),
            Some(400),
            "call {call}"
        );
        append(&db, 900_000).expect("appends again");
    }
}

/// Threads that look for work all the time.
fn busy() -> Options {
    Options {
        background: true,
        wal_sync_interval: Duration::from_millis(1),
        compaction_interval: Duration::from_millis(1),
        head_snapshot_interval: Duration::from_millis(1),
        ..options()
    }
}

/// One transaction of several series whose values hardly compress, so that chunks reach the disk soon.
fn append_all(db: &Db, timestamp_ms: i64) -> Result<(), AppendError> {
    let mut batch = AppendBatch::default();
    for n in 0..SERIES {
        let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("n", n.to_string())]);
        batch.floats.push(FloatSample {
            series: db.resolve(&labels).expect("a series"),
            timestamp_ms,
            value: ((timestamp_ms * 7919 + n) as f64).sqrt(),
        });
    }
    db.append(&batch, &mut AppendOutcome::default())
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

const SERIES: i64 = 20;

/// Kills a thread by its next call to the disk, while samples come in; how many were acknowledged.
fn killed_once(files: &MemFiles, db: &Db, options: &Options, task: &'static str) -> usize {
    files.inject(Fault::PanicIn(task));
    let mut acknowledged = 0;
    wait_until("the thread panics", || {
        let is_taken = acknowledged < 3000 && append_all(db, (acknowledged as i64 + 1) * 1000).is_ok();
        acknowledged += usize::from(is_taken);
        options.supervisor.panics(task) > 0
    });
    acknowledged
}

fn starts_with(files: &MemFiles, acknowledged: usize) {
    let db = open(files, options());
    let contents = read(&db, TimeRange::ALL, &everything());
    assert_eq!(contents.len(), SERIES as usize);
    for (labels, samples) in contents {
        // What was on its way to the log at the moment of the panic may be there too.
        let found = samples.len();
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "{labels}: {found} of {acknowledged}"
        );
    }
    append_all(&db, 9_000_000).expect("appends again");
}

#[test]
fn a_panic_in_a_thread_that_writes_closes_appending_and_loses_nothing() {
    for task in ["wal-sync", "chunk-writer", "compaction"] {
        let (files, mut options) = (MemFiles::new(), busy());
        if task == "chunk-writer" {
            // Compaction writes out what has gathered, and leaves nothing to the thread that is meant.
            options.head.chunk_range_ms = 100_000_000;
        }
        let db = open(&files, options.clone());
        let acknowledged = killed_once(&files, &db, &options, task);
        wait_until("appending is closed", || db.head().poisoned().is_some());
        let why = db.head().write_failure().expect("readiness tells");
        assert!(why.contains("panicked"), "{task}: {why}");
        append_all(&db, 8_000_000).expect_err("it is closed");
        // The thread is there: blocks are looked for, and the store ends as ever.
        let rounds = db
            .compaction_counters()
            .rounds
            .load(std::sync::atomic::Ordering::Relaxed);
        wait_until("there are more rounds", || {
            db.compaction_counters()
                .rounds
                .load(std::sync::atomic::Ordering::Relaxed)
                > rounds
        });
        let _ = db.close();
        drop(db);
        starts_with(&files, acknowledged);
    }
}

#[test]
fn a_panic_while_a_snapshot_is_written_costs_the_snapshot_and_no_more() {
    let (files, mut options) = (MemFiles::new(), busy());
    options.head.snapshots = true;
    let db = open(&files, options.clone());
    let mut acknowledged = killed_once(&files, &db, &options, "head-snapshot");
    append_all(&db, 4_000_000).expect("appending goes on");
    acknowledged += 1;
    wait_until("the next snapshot is there", || {
        files.exists(&Path::new(DIR).join(Head::SNAPSHOT_FILE))
    });
    assert_eq!(options.supervisor.panics("head-snapshot"), 1);
    db.close().expect("closes");
    drop(db);
    starts_with(&files, acknowledged);
}
