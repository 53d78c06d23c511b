//! The documents about logs and head chunks agree with the code: their hex examples are what a store writes.

use std::path::Path;

use files::{Files, MemFiles};
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, TimeRange};
use narthex_tsdb::db::Db;
use narthex_tsdb::wal::{Compression, RecordType, SegmentReader};

use crate::support::{everything, hex_of, open, options, read};

fn append(db: &Db, timestamp_ms: i64, value: f64) {
    let labels = Labels::from_pairs([("__name__", "up")]);
    let batch = AppendBatch {
        floats: vec![FloatSample {
            series: db.resolve(&labels).expect("no limit"),
            timestamp_ms,
            value,
        }],
        ..AppendBatch::default()
    };
    let mut outcome = AppendOutcome::default();
    db.append(&batch, &mut outcome).expect("appends");
    assert_eq!(outcome.accepted, 1);
}

/// A store that has taken three samples in order, two late ones and a deletion.
fn store() -> MemFiles {
    let files = MemFiles::new();
    let mut options = options();
    options.head.wal_compression = Compression::None;
    options.head.out_of_order_window_ms = 100_000;
    options.head.out_of_order_cap = 1;
    let db = open(&files, options);
    append(&db, 1000, 1.0);
    append(&db, 16_000, 1.0);
    append(&db, 100_000, 2.0);
    append(&db, 61_000, 3.0);
    append(&db, 62_000, 4.0);
    db.delete(
        TimeRange::new(16_000, 17_000),
        &[Matcher::equal("__name__", "up")],
    )
    .expect("deletes");
    db.close().expect("closes");
    files
}

fn check(document: &str, name: &str, files: &MemFiles, path: &str) {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let written = files.read(Path::new(path)).expect("written");
    assert_eq!(
        hex(&hex_of(document, name)),
        hex(&written),
        "{document}, example {name}"
    );
}

#[test]
fn the_examples_are_what_a_store_writes() {
    let files = store();
    check("wal.md", "segment", &files, "data/wal/00000000");
    check("wbl.md", "segment", &files, "data/wbl/00000000");
    check("head_chunks.md", "file", &files, "data/chunks_head/000001");
}

#[test]
fn the_examples_are_read_back() {
    let example = hex_of("wal.md", "segment");
    let mut reader = SegmentReader::new(&example);
    let mut kinds = Vec::new();
    while let Some(record) = reader.read().expect("whole") {
        kinds.push(RecordType::of(record).expect("known"));
    }
    use RecordType::{Samples, Series, Tombstones};
    let want = [Series, Samples, Samples, Samples, Samples, Samples, Tombstones];
    assert_eq!(kinds, want);
    let files = store();
    let mut options = options();
    options.head.out_of_order_window_ms = 100_000;
    let contents = read(&open(&files, options), TimeRange::ALL, &everything());
    let times: Vec<i64> = contents.values().flat_map(|s| s.keys().copied()).collect();
    assert_eq!(times, [1000, 61_000, 62_000, 100_000]);
}

#[test]
fn the_example_of_a_snapshot_is_what_a_store_writes() {
    let files = MemFiles::new();
    let mut options = options();
    options.head.snapshots = true;
    let db = open(&files, options.clone());
    append(&db, 1000, 1.0);
    db.close().expect("closes");
    drop(db);
    check("head_snapshot.md", "file", &files, "data/head_snapshot");
    // And the example is read.
    files
        .create(Path::new("data/head_snapshot"))
        .and_then(|f| f.write_all(&hex_of("head_snapshot.md", "file")))
        .expect("writes");
    let db = open(&files, options);
    let report = db.replay_report();
    assert_eq!((report.series, report.records), (1, 0), "{report:?}");
    assert_eq!(read(&db, TimeRange::ALL, &everything()).len(), 1);
}
