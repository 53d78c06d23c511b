//! A panic in the log, the head or compaction closes appending; reading goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use files::{Fault, MemFiles};
use model::labels::Labels;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, FloatSample, StorageError, TimeRange,
};
use narthex_tsdb::db::Db;

use crate::support::{everything, open, options, read};

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
        catch_unwind(AssertUnwindSafe(|| db.compact())).expect_err("it panics");
        is_closed(&db);
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
