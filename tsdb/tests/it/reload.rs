//! Blocks that come and go by other hands.

use std::path::{Path, PathBuf};

use files::{Files, MemFiles};
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, TimeRange};
use narthex_tsdb::db::{Db, Options};
use narthex_tsdb::verify::verify;

use crate::counters::told;
use crate::support::{DIR, everything, open, options, read};

/// A sample of series `i` at each of `times`.
fn fill(db: &Db, i: &str, times: impl Iterator<Item = i64>) {
    let series = db
        .resolve(&Labels::from_pairs([("__name__", "m"), ("i", i)]))
        .expect("no limit");
    let floats = times.map(|timestamp_ms| FloatSample {
        series,
        timestamp_ms,
        value: 1.0,
    });
    let batch = AppendBatch {
        floats: floats.collect(),
        ..AppendBatch::default()
    };
    let mut outcome = AppendOutcome::default();
    db.append(&batch, &mut outcome).expect("appends");
    assert_eq!(outcome.refused, []);
}

/// Timestamps over all series.
fn count(db: &Db) -> usize {
    let all = read(db, TimeRange::ALL, &everything());
    all.values().map(std::collections::BTreeMap::len).sum()
}

/// A block with 100 samples of series `other` at `begin_ms` and each second after it, made elsewhere in `files`.
fn block_elsewhere(files: &MemFiles, begin_ms: i64) -> PathBuf {
    let elsewhere = MemFiles::new();
    let db = open(&elsewhere, options());
    fill(&db, "other", (0..100).map(|step| begin_ms + step * 1000));
    db.snapshot(Path::new("out"), true).expect("a snapshot");
    let [entry] = &elsewhere.list(Path::new("out")).expect("a list")[..] else {
        panic!("one block");
    };
    let made = Path::new("made").join(&entry.name);
    copy(&elsewhere, &Path::new("out").join(&entry.name), files, &made);
    made
}

fn copy(from_files: &MemFiles, from: &Path, files: &MemFiles, to: &Path) {
    files.create_dir_all(to).expect("a folder");
    for entry in from_files.list(from).expect("a list") {
        let (old, new) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            copy(from_files, &old, files, &new);
        } else {
            let bytes = from_files.read(&old).expect("bytes");
            let file = files.create(&new).expect("a file");
            file.write_all(&bytes).expect("written");
        }
    }
}

fn place(made: &Path) -> PathBuf {
    Path::new(DIR).join(made.file_name().expect("a name"))
}

#[test]
fn blocks_come_and_go() {
    let files = MemFiles::new();
    let db = open(&files, options());
    fill(&db, "own", (0..450).map(|step| step * 1000));
    db.compact().expect("compacts");
    let own = count(&db);
    let made = block_elsewhere(&files, 20_000);
    files.rename(&made, &place(&made)).expect("moved");
    assert_eq!(count(&db), own);
    db.reload_blocks().expect("reloads");
    assert_eq!(count(&db), own + 100);
    assert_eq!(db.blocks().len(), 4);
    files.remove_dir_all(&place(&made)).expect("removed");
    db.reload_blocks().expect("reloads");
    assert_eq!((count(&db), db.blocks().len()), (own, 3));
}

#[test]
fn a_block_that_is_being_copied_is_taken_in_once_it_is_whole() {
    let files = MemFiles::new();
    let db = open(&files, options());
    let made = block_elsewhere(&files, 0);
    files
        .rename(&made.join("index"), Path::new("index-of-it"))
        .expect("moved");
    files.rename(&made, &place(&made)).expect("moved");
    db.reload_blocks().expect("reloads");
    assert_eq!((db.blocks().len(), db.damaged_blocks().len()), (0, 1));
    files
        .rename(Path::new("index-of-it"), &place(&made).join("index"))
        .expect("moved");
    db.reload_blocks().expect("reloads");
    assert_eq!((db.blocks().len(), db.damaged_blocks().len()), (1, 0));
    assert_eq!(count(&db), 100);
}

/// A block from elsewhere may reach into what only the head has.
#[test]
fn a_new_block_hides_nothing_of_the_head() {
    let files = MemFiles::new();
    let db = open(&files, options());
    fill(&db, "own", (0..90).map(|step| step * 1000));
    let made = block_elsewhere(&files, 0);
    files.rename(&made, &place(&made)).expect("moved");
    db.reload_blocks().expect("reloads");
    assert_eq!(count(&db), 190);
    db.compact().expect("compacts");
    assert_eq!(count(&db), 190);
}

#[test]
fn blocks_wait_for_being_uploaded() {
    let files = MemFiles::new();
    let account = Path::new(DIR).join("thanos.shipper.json");
    let options = Options {
        uploads_file: Some(account.clone()),
        ..options()
    };
    let db = open(&files, options);
    let write = |uploaded: &[String]| {
        let text = serde_json::json!({"version": 1, "uploaded": uploaded}).to_string();
        let file = files.create(&account).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    };
    write(&[]);
    fill(&db, "own", (0..650).map(|step| step * 1000));
    db.compact().expect("compacts");
    let ulids: Vec<String> = db.blocks().iter().map(|b| b.meta().ulid.to_string()).collect();
    assert_eq!(ulids.len(), 5, "none is uploaded");
    write(&ulids[1..]);
    db.compact().expect("compacts");
    assert_eq!(db.blocks().len(), 5, "the first is not");
    write(&ulids);
    db.compact().expect("compacts");
    assert_eq!(db.blocks().len(), 3);
    assert_eq!(count(&db), 650);
}

#[test]
fn an_account_that_cannot_be_read_makes_no_block_wait() {
    let files = MemFiles::new();
    let account = Path::new(DIR).join("thanos.shipper.json");
    let options = Options {
        uploads_file: Some(account.clone()),
        ..options()
    };
    let db = open(&files, options);
    let file = files.create(&account).expect("a file");
    file.write_all(b"{\"version\": 1, \"uplo").expect("written");
    fill(&db, "own", (0..650).map(|step| step * 1000));
    db.compact().expect("compacts");
    assert_eq!(db.blocks().len(), 3);
}

#[test]
fn overlapping_blocks_stay_where_asked_to() {
    for merge_overlapping in [true, false] {
        let files = MemFiles::new();
        let options = Options {
            merge_overlapping,
            ..options()
        };
        let db = open(&files, options);
        fill(&db, "own", (0..450).map(|step| step * 1000));
        db.compact().expect("compacts");
        let made = block_elsewhere(&files, 0);
        files.rename(&made, &place(&made)).expect("moved");
        db.reload_blocks().expect("reloads");
        db.compact().expect("compacts");
        assert_eq!(db.blocks().len(), if merge_overlapping { 3 } else { 4 });
        let registry = metrics::Registry::new();
        db.register_metrics(&registry);
        let merged = if merge_overlapping { "1" } else { "0" };
        assert_eq!(told(&registry, "vertical_compactions_total"), [merged]);
        assert_eq!(count(&db), 550);
    }
}

/// A block that was copied under another name goes by that name: removing it removes it and not the other.
#[test]
fn a_copied_block_goes_by_its_folders_name() {
    let files = MemFiles::new();
    let db = open(&files, options());
    fill(&db, "own", (0..450).map(|step| step * 1000));
    db.compact().expect("compacts");
    let made = block_elsewhere(&files, 0);
    let copied = Path::new(DIR).join("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    copy(&files, &made, &files, &place(&made));
    copy(&files, &made, &files, &copied);
    db.reload_blocks().expect("reloads");
    let named = |path: &Path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        db.blocks()
            .iter()
            .any(|block| block.meta().ulid.to_string() == name)
    };
    assert!(named(&copied) && named(&place(&made)));
    let list = db.blocks();
    db.reload_blocks().expect("reloads");
    assert!(
        list.iter()
            .zip(db.blocks().iter())
            .all(|(a, b)| std::sync::Arc::ptr_eq(a, b)),
        "nothing is opened a second time"
    );
    files.remove_dir_all(&copied).expect("removes");
    db.reload_blocks().expect("reloads");
    assert!(!named(&copied) && named(&place(&made)));
    let range = TimeRange::ALL;
    let before = read(&db, range, &everything());
    assert_eq!(before.len(), 2);
}

/// A segment that is gone from the midst of the log, or from a checkpoint, is told, and everything else is read.
#[test]
fn missing_log_segments_are_told() {
    let files = MemFiles::new();
    let db = open(&files, options());
    for batch in 0..60 {
        fill(&db, "own", (0..900).map(|step| (batch * 900 + step) * 10));
    }
    db.close().expect("closes");
    drop(db);
    let wal = Path::new(DIR).join("wal");
    let segments = files.list(&wal).expect("a list");
    assert!(segments.len() > 4, "{segments:?}");
    for gone in &segments[1..3] {
        files.remove_file(&wal.join(&gone.name)).expect("removes");
    }
    let mut found = Vec::new();
    let shared: std::sync::Arc<dyn Files> = std::sync::Arc::new(files.clone());
    verify(&shared, Path::new(DIR), &mut |checked| {
        found.extend(checked.findings);
        true
    })
    .expect("verifies");
    let what = "is missing and 1 behind it, with what they held";
    assert!(
        found
            .iter()
            .any(|f| f.is_damage && f.what == what && f.path == wal.join(&segments[1].name)),
        "{found:?}"
    );
    let db = open(&files, options());
    assert_eq!(db.replay_report().missing_segments, 2);
    assert!(count(&db) > 0);
}
