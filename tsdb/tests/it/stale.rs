//! Stale series that leave the head early, and floats encoded as XOR2.

use files::MemFiles;
use model::labels::Labels;
use model::sample::stale_nan;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, TimeRange};
use narthex_tsdb::block::{HINT_STALE_SERIES, SeriesEntry};
use narthex_tsdb::chunk::Encoding;
use narthex_tsdb::db::Db;

use crate::support::{everything, open, options, read};

/// Appends a sample to each of these series; a staleness marker where `value` is `None`.
fn append(db: &Db, series: impl Iterator<Item = usize>, timestamp_ms: i64, value: Option<f64>) {
    let floats = series.map(|i| FloatSample {
        series: db
            .resolve(&Labels::from_pairs([
                ("__name__", "m".to_owned()),
                ("i", i.to_string()),
            ]))
            .expect("no limit"),
        timestamp_ms,
        value: value.unwrap_or_else(stale_nan),
    });
    let batch = AppendBatch {
        floats: floats.collect(),
        ..AppendBatch::default()
    };
    let mut outcome = AppendOutcome::default();
    db.append(&batch, &mut outcome).expect("appends");
    assert_eq!(outcome.refused, []);
}

fn contents(db: &Db) -> crate::support::Contents {
    read(db, TimeRange::ALL, &everything())
}

#[test]
fn stale_series_leave_the_head_and_stay_readable() {
    let files = MemFiles::new();
    let mut settings = options();
    settings.stale_series_threshold = 0.5;
    let db = open(&files, settings.clone());
    // Across a boundary of blocks, so that two are written.
    for step in 60..130 {
        append(&db, 0..10, step * 1000, Some(step as f64));
    }
    append(&db, 0..4, 130_000, None);
    assert_eq!(db.compact_stale_series().expect("looks"), 0, "too few");
    append(&db, 4..6, 131_000, None);
    append(&db, 6..10, 131_000, Some(1.0));
    let before = contents(&db);
    assert_eq!(db.compact_stale_series().expect("compacts"), 6);
    assert_eq!(db.head().series_len(), 4);
    assert_eq!(db.blocks().len(), 2);
    assert!(
        db.blocks()
            .iter()
            .all(|b| b.meta().compaction.has_hint(HINT_STALE_SERIES))
    );
    assert!(contents(&db) == before);
    assert_eq!(db.compact_stale_series().expect("looks"), 0, "none is left");
    // One comes back.
    append(&db, 0..1, 132_000, Some(7.0));
    let before = contents(&db);
    db.close().expect("closes");
    let db = open(&files, settings);
    assert_eq!(db.head().series_len(), 5, "the log tells which were removed");
    assert!(contents(&db) == before);
    // The blocks of a part do not hide the rest of the head, now and when the head itself becomes a block.
    for step in 133..260 {
        append(&db, 6..10, step * 1000, Some(step as f64));
    }
    let before = contents(&db);
    db.compact().expect("compacts");
    assert!(db.blocks().len() > 2 && contents(&db) == before);
}

#[test]
fn a_view_keeps_stale_series_in_the_head() {
    let files = MemFiles::new();
    let mut settings = options();
    settings.stale_series_threshold = 0.1;
    settings.truncation_patience = std::time::Duration::ZERO;
    let db = open(&files, settings);
    append(&db, 0..4, 1000, Some(1.0));
    append(&db, 0..4, 2000, None);
    let before = contents(&db);
    let view = model::storage::Queryable::querier(&db, TimeRange::ALL).expect("a view");
    assert_eq!(db.compact_stale_series().expect("compacts"), 0);
    assert!(db.head().series_len() == 4 && contents(&db) == before);
    // One goes on meanwhile and stays; the others leave with the view.
    append(&db, 0..1, 3000, Some(2.0));
    let before = contents(&db);
    drop(view);
    db.compact().expect("settles");
    assert!(db.head().series_len() == 1 && contents(&db) == before);
}

#[test]
fn floats_are_encoded_as_configured_and_open_chunks_are_filled_as_they_began() {
    let files = MemFiles::new();
    let mut settings = options();
    settings.head.out_of_order_window_ms = 1_000_000;
    let db = open(&files, settings.clone());
    append(&db, 0..3, 1000, Some(1.0));
    db.head().set_xor2_floats(true);
    for step in 2..260 {
        append(&db, 0..3, step * 1000, (step % 50 != 0).then_some(step as f64));
    }
    append(&db, 0..3, 120_500, Some(0.5));
    let before = contents(&db);
    db.compact().expect("compacts");
    assert!(contents(&db) == before);
    let mut encodings = Vec::new();
    for block in db.blocks().iter() {
        let mut entry = SeriesEntry::default();
        block
            .index()
            .series(block.select(&everything()).expect("selects")[0], &mut entry)
            .expect("reads");
        for chunk in &entry.chunks {
            encodings.push(block.segments().chunk(chunk.reference).expect("reads").encoding);
        }
    }
    assert_eq!(encodings.first(), Some(&(Encoding::Xor as u8)), "{encodings:?}");
    assert!(
        encodings[1..].iter().all(|e| *e == Encoding::Xor2 as u8),
        "{encodings:?}"
    );
    db.close().expect("closes");
    settings.head.xor2_floats = true;
    let db = open(&files, settings);
    assert!(contents(&db) == before);
}
