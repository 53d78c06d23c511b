//! The log as others follow it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use files::{Files, MemFiles};
use model::clock::ManualClock;
use model::labels::Labels;
use model::log::{Log, LogPosition, LogReader, LogRecord, LogStep};
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, SeriesRef};
use narthex_tsdb::db::{Db, Options};

const HOUR_MS: i64 = 3_600_000;

fn open(files: &MemFiles) -> Db {
    let mut options = Options {
        background: false,
        lock: false,
        ..Options::default()
    };
    options.head.wal_segment_bytes = 32 << 10;
    let files: Arc<dyn Files> = Arc::new(files.clone());
    Db::open(files, Path::new("data"), options, Arc::new(ManualClock::new(0))).expect("a store")
}

fn add(db: &Db, name: &str, timestamp_ms: i64) -> SeriesRef {
    let series = db
        .resolve(&Labels::from_pairs([("__name__", name)]))
        .expect("a series");
    let mut batch = AppendBatch::default();
    let value = timestamp_ms as f64;
    batch.floats.push(FloatSample {
        series,
        timestamp_ms,
        value,
    });
    db.append(&batch, &mut AppendOutcome::default())
        .expect("appended");
    series
}

/// Names and times of what is read up to the end, and what else the reader said.
fn read(reader: &mut dyn LogReader) -> (Vec<(String, i64)>, Vec<LogStep>) {
    let (mut names, mut record) = (BTreeMap::new(), LogRecord::default());
    let (mut found, mut steps) = (Vec::new(), Vec::new());
    loop {
        let step = reader.read(&mut record).expect("read");
        for (series, labels) in &record.series {
            names.insert(series.0, labels.metric_name().to_owned());
        }
        match step {
            LogStep::End => return (found, steps),
            LogStep::Before => assert!(record.floats.is_empty(), "names only"),
            LogStep::Record => {
                let name =
                    |series: SeriesRef| names.get(&series.0).cloned().unwrap_or_else(|| "?".to_owned());
                found.extend(
                    record
                        .floats
                        .iter()
                        .map(|float| (name(float.series), float.timestamp_ms)),
                );
            }
            step => steps.push(step),
        }
    }
}

#[test]
fn a_reader_sees_what_is_written_and_only_that() {
    let files = MemFiles::new();
    let db = open(&files);
    let woken = Arc::new(AtomicU64::new(0));
    let count = woken.clone();
    db.on_write(Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let mut reader = db.follow(LogPosition::default()).expect("a reader");
    assert_eq!(read(&mut *reader), (vec![], vec![]));
    let mut expected = Vec::new();
    // Over many segments, read in pieces.
    for round in 0..40 {
        let mut fresh = Vec::new();
        for n in 0..30 {
            let name = format!("series_{}_{round}", "x".repeat(40 + n));
            add(&db, &name, i64::from(round) * 1000 + n as i64);
            fresh.push((name, i64::from(round) * 1000 + n as i64));
        }
        let (found, steps) = read(&mut *reader);
        // Names of earlier pieces are the reader's owner's to remember: here every series is new.
        assert_eq!((found, steps), (fresh.clone(), vec![]));
        expected.extend(fresh);
    }
    assert!(db.end().segment > 1, "several segments");
    assert!(woken.load(Ordering::Relaxed) >= 1200, "each write tells");
    // From the beginning, and from the midst with all names.
    let mut all = db.follow(LogPosition::default()).expect("a reader");
    assert_eq!(read(&mut *all).0, expected);
    let end = db.end();
    let series = add(&db, &expected[3].0, 1_000_000);
    assert_eq!(
        series,
        db.resolve(&Labels::from_pairs([("__name__", &expected[3].0)]))
            .expect("known")
    );
    let mut late = db.follow(end).expect("a reader");
    assert_eq!(read(&mut *late).0, [(expected[3].0.clone(), 1_000_000)]);
    // After a restart there is a new segment, and the place still means the same.
    drop(db);
    let db = open(&files);
    let mut again = db.follow(end).expect("a reader");
    assert_eq!(read(&mut *again).0, [(expected[3].0.clone(), 1_000_000)]);
}

#[test]
fn what_a_reader_still_needs_is_kept_with_its_names() {
    let files = MemFiles::new();
    let db = open(&files);
    let first = db.end();
    let mut expected = Vec::new();
    for hour in 0..12 {
        // Each hour has series of its own, which the head forgets once they are in blocks.
        for n in 0..40 {
            let name = format!("hour_{hour}_{n}_{}", "y".repeat(60));
            let at_ms = hour * HOUR_MS + i64::from(n);
            add(&db, &name, at_ms);
            expected.push((name, at_ms));
        }
        db.head().wal().next_segment().expect("cut");
    }
    db.keep_from(Some(first.segment));
    db.compact().expect("compacted");
    let mut reader = db.follow(first).expect("a reader");
    assert_eq!(read(&mut *reader), (expected.clone(), vec![]));
    // From the midst, after a restart: series that the head has forgotten are named all the same.
    let from = LogPosition {
        segment: 3,
        offset: 0,
    };
    let of_midst = |found: &[(String, i64)]| {
        assert!(
            !found.is_empty() && found.iter().all(|(name, _)| name != "?"),
            "{found:?}"
        );
        assert!(expected.ends_with(found));
    };
    db.keep_from(Some(3));
    for hour in 12..16 {
        add(&db, "later", hour * HOUR_MS);
    }
    db.compact().expect("compacted");
    drop(db);
    let db = open(&files);
    let (mut found, steps) = read(&mut *db.follow(from).expect("a reader"));
    assert_eq!(steps, []);
    found.retain(|(name, _)| name != "later");
    of_midst(&found);
    assert!(db.bytes_from(3).expect("bytes") > 0);
    // Given free, the log is cut, and a reader that comes too late is told.
    db.keep_from(None);
    for hour in 16..40 {
        add(&db, "later", hour * HOUR_MS);
        db.head().wal().next_segment().expect("cut");
    }
    db.compact().expect("compacted");
    let (_, steps) = read(&mut *db.follow(from).expect("a reader"));
    assert!(
        matches!(steps[..], [LogStep::Gone { segments }] if segments > 0),
        "{steps:?}"
    );
    // Whoever is behind a checkpoint may forget what it no longer names.
    let mut reader = db
        .follow(LogPosition {
            segment: 0,
            offset: 0,
        })
        .expect("a reader");
    assert_eq!(
        reader.checkpoint(&mut |_| {}).expect("none"),
        None,
        "the same as at its beginning"
    );
}

#[test]
fn a_reader_gets_its_names_although_the_log_is_cut_meanwhile() {
    let files = MemFiles::new();
    let db = open(&files);
    for hour in 0..16 {
        add(&db, "always", hour * HOUR_MS);
        db.head().wal().next_segment().expect("cut");
    }
    let from = LogPosition {
        segment: 14,
        offset: 0,
    };
    db.keep_from(Some(from.segment));
    let mut reader = db.follow(from).expect("a reader");
    db.compact().expect("compacted");
    let gone = Path::new("data/wal/00000000");
    assert!(!files.exists(gone), "the segment that named the series");
    let always = |hour: i64| ("always".to_owned(), hour * HOUR_MS);
    assert_eq!(read(&mut *reader), (vec![always(14), always(15)], vec![]));
}

#[test]
fn damage_costs_the_rest_of_its_segment() {
    let files = MemFiles::new();
    let db = open(&files);
    for n in 0..10 {
        add(&db, &format!("first_{n}"), n);
    }
    let segment = db.end().segment;
    db.head().wal().next_segment().expect("cut");
    add(&db, "second", 100);
    let path = Path::new("data/wal").join(format!("{segment:08}"));
    let len = files.len(&path).expect("there");
    files.flip(&path, len as usize / 2, 0x10).expect("flipped");
    let (found, steps) = read(&mut *db.follow(LogPosition::default()).expect("a reader"));
    assert!(
        found.len() < 11 && found.last() == Some(&("second".to_owned(), 100)),
        "{found:?}"
    );
    assert!(
        matches!(steps[..], [LogStep::Torn { segment: at, .. }] if at == segment),
        "{steps:?}"
    );
}
