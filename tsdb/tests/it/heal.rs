//! Damaged files of head chunks beside a snapshot that knows them: the log has everything, so nothing is lost.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use files::{Files, MemFiles};
use model::columns::Columns;
use model::storage::{Queryable, SelectHints, StorageError, TimeRange};
use narthex_tsdb::db::Db;
use narthex_tsdb::head::{Head, SnapshotRefusal, SnapshotUse};

use crate::snapshot::{all, filled, transact, with_snapshots};
use crate::support::{Contents, DIR, Rng, everything, open};

const TRANSACTIONS: i64 = 260;

fn chunk_file(number: u32) -> PathBuf {
    Path::new(DIR).join(Head::CHUNKS_DIR).join(format!("{number:06}"))
}

/// A stopped store with a snapshot, and all that it holds.
fn stopped() -> (MemFiles, (Contents, String)) {
    let files = MemFiles::new();
    let db = filled(&files, TRANSACTIONS);
    let expected = all(&db);
    db.close().expect("closes");
    (files, expected)
}

/// Reads everything, as a query does.
fn try_read(db: &Db) -> Result<(), StorageError> {
    let querier = db.querier(TimeRange::ALL)?;
    let set = querier.select(&SelectHints::default(), &everything())?;
    let mut columns = Columns::default();
    for i in 0..set.len() {
        columns.clear();
        set.read(i, TimeRange::ALL, &mut columns)?;
    }
    Ok(())
}

fn write(files: &MemFiles, path: &Path, bytes: &[u8]) {
    files
        .create(path)
        .expect("a file")
        .write_all(bytes)
        .expect("writes");
}

#[test]
fn a_first_bad_read_heals_and_nothing_is_lost() {
    let (files, expected) = stopped();
    let whole = files.read(&chunk_file(1)).expect("a file of chunks");
    // Not the last kilobyte, which the snapshot compares.
    let (mut healed, mut step) = (0, 0);
    while 8 + step * 211 < whole.len() - 1024 {
        let at = 8 + step * 211;
        step += 1;
        let files = files.after_kill();
        files.flip(&chunk_file(1), at, 0x55).expect("flips");
        let db = open(&files, with_snapshots());
        assert!(matches!(db.replay_report().snapshot, SnapshotUse::Used));
        let error = try_read(&db);
        assert!(
            matches!(&error, Err(StorageError::Corrupt { path, .. }) if *path == chunk_file(1)),
            "byte {at}: {error:?}"
        );
        let report = db.head().heal().expect("heals");
        assert_eq!((report.chunks, report.lost), (1, 0), "byte {at}");
        assert_eq!(all(&db), expected, "byte {at}");
        assert_eq!(db.head().heal().expect("nothing to do").chunks, 0);
        healed += 1;
        if step % 5 == 0 {
            // The store goes on, cuts its head, and starts again with what was healed.
            assert!(db.head().write_snapshot().expect("writes").is_some());
            db.close().expect("closes");
            let db = open(&files, with_snapshots());
            assert!(matches!(db.replay_report().snapshot, SnapshotUse::Used));
            assert_eq!(all(&db), expected, "byte {at}");
            db.compact().expect("compacts");
            assert_eq!(all(&db).0, expected.0, "byte {at}");
        }
    }
    assert!(healed >= 20, "only {healed} of {} bytes", whole.len());
}

#[test]
fn compaction_that_meets_damage_heals_it_in_its_next_round() {
    let (files, expected) = stopped();
    for at in [60, 400, 2000] {
        files.flip(&chunk_file(1), at, 0x10).expect("flips");
    }
    let db = open(&files, with_snapshots());
    let first = db.compact();
    assert!(matches!(first, Err(StorageError::Corrupt { .. })), "{first:?}");
    db.compact().expect("the damage is healed");
    assert_eq!(db.compaction_counters().failed.load(Ordering::Relaxed), 1);
    assert!(db.head().counters.chunks_healed.load(Ordering::Relaxed) >= 1);
    assert_eq!(db.head().counters.chunks_lost.load(Ordering::Relaxed), 0);
    assert!(!db.blocks().is_empty(), "the head was cut");
    assert_eq!(all(&db).0, expected.0);
}

type Damage = fn(&MemFiles);

#[test]
fn a_snapshot_of_a_lost_chunk_file_is_refused() {
    let damages: [(&str, Damage); 4] = [
        ("header", |files| {
            files.flip(&chunk_file(1), 2, 0xff).expect("flips");
        }),
        ("gone", |files| {
            files.remove_file(&chunk_file(1)).expect("removes");
        }),
        ("empty", |files| write(files, &chunk_file(1), b"")),
        ("short", |files| {
            let half = files.len(&chunk_file(1)).expect("there") / 2;
            files.truncate(&chunk_file(1), half).expect("cuts");
        }),
    ];
    for (name, damage) in damages {
        let (files, expected) = stopped();
        damage(&files);
        let db = open(&files, with_snapshots());
        let used = &db.replay_report().snapshot;
        assert!(
            matches!(used, SnapshotUse::Refused(SnapshotRefusal::ChunkFile(1))),
            "{name}: {used}"
        );
        assert_eq!(all(&db), expected, "{name}");
        // The number is used again; what the old file held is not looked for in the new one.
        transact(&db, &mut Rng::new(9), (TRANSACTIONS + 5) * 700, 12);
        let expected = all(&db);
        db.close().expect("closes");
        let db = open(&files, with_snapshots());
        assert_eq!(all(&db), expected, "{name}, second start");
        db.compact().expect("compacts");
        assert_eq!(all(&db).0, expected.0, "{name}, compacted");
    }
}

#[test]
fn a_chunk_file_of_the_same_form_and_other_contents_is_not_believed() {
    let (files, expected) = stopped();
    let mut whole = files.read(&chunk_file(1)).expect("a file of chunks");
    // Another store's file behind the same last kilobyte: whole chunks of other series and times.
    let (other, _) = stopped_other();
    let foreign = other.read(&chunk_file(1)).expect("a file of chunks");
    let end = (whole.len() - 1024).min(foreign.len());
    whole[8..end].copy_from_slice(&foreign[8..end]);
    write(&files, &chunk_file(1), &whole);
    let db = open(&files, with_snapshots());
    assert!(matches!(db.replay_report().snapshot, SnapshotUse::Used));
    assert!(try_read(&db).is_err());
    assert_eq!(db.head().heal().expect("heals").lost, 0);
    assert_eq!(all(&db), expected);
}

fn stopped_other() -> (MemFiles, ()) {
    let files = MemFiles::new();
    let db = open(&files, with_snapshots());
    let mut rng = Rng::new(3);
    for n in 1..=TRANSACTIONS {
        transact(&db, &mut rng, n * 700 + 13, 14);
    }
    db.close().expect("closes");
    (files, ())
}

#[test]
fn a_chunk_file_that_goes_while_the_store_runs_is_written_anew() {
    let files = MemFiles::new();
    let db = filled(&files, TRANSACTIONS);
    let expected = all(&db);
    assert!(db.head().write_snapshot().expect("writes").is_some());
    files.remove_file(&chunk_file(1)).expect("removes");
    // No snapshot tells of chunks that are not there, mapped as they may be still.
    assert!(db.head().write_snapshot().expect("of no use").is_none());
    let error = try_read(&db);
    assert!(matches!(error, Err(StorageError::Corrupt { .. })), "{error:?}");
    let report = db.head().heal().expect("heals");
    assert!(report.chunks > 10 && report.lost == 0, "{report:?}");
    assert_eq!(all(&db), expected);
    assert!(db.head().write_snapshot().expect("writes").is_some());
    db.close().expect("closes");
    assert_eq!(all(&open(&files, with_snapshots())), expected);
}

#[test]
fn what_the_log_does_not_have_either_is_counted_and_the_store_goes_on() {
    let (files, expected) = stopped();
    let db = open(&files, with_snapshots());
    files.flip(&chunk_file(1), 60, 1).expect("flips");
    let wal = Path::new(DIR).join(Head::WAL_DIR);
    for entry in files.list(&wal).expect("a log") {
        files.remove_file(&wal.join(entry.name)).expect("removes");
    }
    // What is mapped already does not change; a store that maps it anew finds the damage.
    drop(db);
    let db = open(&files, with_snapshots());
    let used = &db.replay_report().snapshot;
    assert!(
        matches!(used, SnapshotUse::Refused(_)),
        "the snapshot's log is gone: {used}"
    );
    try_read(&db).expect("what is left is read");
    assert!(all(&db).0.len() <= expected.0.len());
    db.compact().expect("compacts");
}
