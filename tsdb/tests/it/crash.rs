//! Crashes at every call and every sync of a small workload: what was acknowledged is there.

use std::collections::BTreeMap;

use files::{Fault, MemFiles};
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, StorageError, TimeRange};
use narthex_tsdb::db::Db;

use crate::support::{Contents, Value, everything, open, options, read};

fn labels(i: usize) -> Labels {
    Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())])
}

/// A transaction of one sample for each of `series` series; all have the transaction's number as their value.
fn transact(db: &Db, number: i64, series: usize) -> bool {
    let mut batch = AppendBatch::default();
    for i in 0..series {
        let Ok(reference) = db.resolve(&labels(i)) else {
            return false;
        };
        batch.floats.push(FloatSample {
            series: reference,
            timestamp_ms: number * 1000,
            value: number as f64,
        });
    }
    db.append(&batch, &mut AppendOutcome::default()).is_ok()
}

/// Runs the workload until something fails; the numbers of the acknowledged transactions, and of those that were
/// acknowledged before the last sync.
fn workload(files: &MemFiles) -> (Vec<i64>, Vec<i64>) {
    let (mut acknowledged, mut synced) = (Vec::new(), Vec::new());
    let files_dyn: std::sync::Arc<dyn files::Files> = std::sync::Arc::new(files.clone());
    let clock = std::sync::Arc::new(model::clock::ManualClock::new(0));
    let dir = std::path::Path::new(crate::support::DIR);
    let Ok(db) = Db::open(files_dyn, dir, options(), clock) else {
        return (acknowledged, synced);
    };
    for number in 1..=400 {
        if !transact(&db, number, 3 + (number as usize % 3)) {
            break;
        }
        acknowledged.push(number);
        if number % 40 == 0 {
            if db.sync().is_err() {
                break;
            }
            synced.clone_from(&acknowledged);
        }
        if number % 130 == 0 && db.compact().is_err() {
            break;
        }
    }
    (acknowledged, synced)
}

/// Which transactions are there; each must be there whole.
fn found(files: &MemFiles) -> Vec<i64> {
    let db = open(files, options());
    let contents: Contents = read(&db, TimeRange::ALL, &everything());
    let mut samples: BTreeMap<i64, usize> = BTreeMap::new();
    for series in contents.values() {
        for (t, value) in series {
            assert_eq!(*value, Value::Float(((*t / 1000) as f64).to_bits()));
            *samples.entry(t / 1000).or_default() += 1;
        }
    }
    for (number, series) in &samples {
        assert_eq!(
            *series,
            3 + (*number as usize % 3),
            "transaction {number} is torn"
        );
    }
    // The store must go on after whatever it found.
    let next = samples.keys().next_back().copied().unwrap_or(0) + 1000;
    assert!(transact(&db, next, 4), "appending goes on");
    samples.into_keys().collect()
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let files = MemFiles::new();
    workload(&files);
    let calls = files.calls();
    for call in (1..=calls).step_by(calls.div_ceil(150) as usize) {
        let files = MemFiles::new();
        files.inject(Fault::FreezeAtCall(call));
        let (acknowledged, _) = workload(&files);
        let found = found(&files.after_kill());
        for number in acknowledged {
            assert!(
                found.contains(&number),
                "killed at call {call}: transaction {number}"
            );
        }
    }
}

#[test]
fn a_power_cut_loses_nothing_that_was_synced() {
    let files = MemFiles::new();
    workload(&files);
    let syncs = files.syncs();
    assert!(syncs > 10);
    for sync in 1..=syncs {
        let files = MemFiles::new();
        files.inject(Fault::FreezeAtSync(sync));
        let (_, synced) = workload(&files);
        let found = found(&files.after_power_loss());
        for number in synced {
            assert!(
                found.contains(&number),
                "cut at sync {sync}: transaction {number}"
            );
        }
    }
}

#[test]
fn a_failed_sync_closes_appending_and_reading_goes_on() {
    let (files, db) = ten_transactions();
    files.inject(Fault::Sync(files.syncs() + 1));
    assert!(db.sync().is_err());
    files.heal();
    let refused = db.append(&some_batch(&db), &mut AppendOutcome::default());
    assert!(
        matches!(
            refused,
            Err(model::storage::AppendError::Storage(StorageError::Poisoned(_)))
        ),
        "{refused:?}"
    );
    assert!(db.head().poisoned().is_some() && db.head().write_failure().is_some());
    still_there(&files, &db, 10);
}

#[test]
fn a_full_disk_refuses_samples_until_there_is_room_and_reading_goes_on() {
    let (files, db) = ten_transactions();
    files.inject(Fault::NoSpaceAfter(10));
    for _ in 0..3 {
        assert!(!transact(&db, 11, 3));
        let why = db.head().write_failure().expect("it is said");
        assert!(why.contains("data/wal/"), "{why}");
    }
    assert!(db.head().poisoned().is_none());
    files.heal();
    assert!(transact(&db, 12, 3));
    assert_eq!(db.head().write_failure(), None);
    still_there(&files, &db, 11);
}

fn ten_transactions() -> (MemFiles, Db) {
    let files = MemFiles::new();
    let db = open(&files, options());
    for number in 1..=10 {
        assert!(transact(&db, number, 3 + (number as usize % 3)));
    }
    (files, db)
}

fn still_there(files: &MemFiles, db: &Db, transactions: usize) {
    let contents = read(db, TimeRange::ALL, &everything());
    let most = contents.values().map(std::collections::BTreeMap::len).max();
    assert_eq!(most, Some(transactions));
    let again = found(&files.after_kill());
    assert!((1..=10).all(|n| again.contains(&n)));
}

fn some_batch(db: &Db) -> AppendBatch {
    AppendBatch {
        floats: vec![FloatSample {
            series: db.resolve(&labels(0)).expect("no limit"),
            timestamp_ms: 99_000,
            value: 1.0,
        }],
        ..AppendBatch::default()
    }
}
