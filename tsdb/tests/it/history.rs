//! Samples of any age, past the log: seen at once, whatever is killed, and merged like all others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use files::{Fault, MemFiles};
use model::columns::Columns;
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, History, TimeRange};
use narthex_tsdb::block::HINT_OUT_OF_ORDER;
use narthex_tsdb::db::Db;

use crate::support::{Contents, Value, everything, open, options, read};

fn labels(i: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("i", i)])
}

/// Samples at these times, whose values are the times.
fn columns(times_ms: impl IntoIterator<Item = i64>) -> Columns {
    let mut columns = Columns::default();
    for timestamp_ms in times_ms {
        columns.push(timestamp_ms, timestamp_ms as f64);
    }
    columns
}

/// Appends samples at these times to series `i`.
fn append(db: &Db, i: &str, times_ms: impl Iterator<Item = i64>) {
    let series = db.resolve(&labels(i)).expect("no limit");
    let floats = times_ms.map(|timestamp_ms| FloatSample {
        series,
        timestamp_ms,
        value: timestamp_ms as f64,
    });
    let batch = AppendBatch {
        floats: floats.collect(),
        ..AppendBatch::default()
    };
    let mut outcome = AppendOutcome::default();
    db.append(&batch, &mut outcome).expect("appends");
    assert_eq!(outcome.refused, []);
}

fn contents(series: &[(&str, Vec<i64>)]) -> Contents {
    let samples = |times_ms: &[i64]| -> BTreeMap<i64, Value> {
        let all = times_ms.iter();
        all.map(|at| (*at, Value::Float((*at as f64).to_bits())))
            .collect()
    };
    series
        .iter()
        .map(|(i, times_ms)| (labels(i), samples(times_ms)))
        .collect()
}

fn all(db: &Db) -> Contents {
    read(db, TimeRange::ALL, &everything())
}

#[test]
fn history_of_any_age_is_seen_at_once_and_after_a_kill() {
    let files = MemFiles::new();
    let db = open(&files, options());
    append(&db, "own", (0..450).map(|step| step * 1000));
    db.compact().expect("compacts");
    append(&db, "own", (450..500).map(|step| step * 1000));
    assert_eq!(db.range().max_ms, 499_000 - 50_000 - 1);
    let ancient = vec![-40_000_000_000_000, -5, 7, 100_500, 420_500];
    let series = vec![
        (labels("z"), columns(ancient.clone())),
        (labels("own"), columns([500, 449_500])),
    ];
    db.insert(series).expect("inserts");
    let mut own: Vec<i64> = (0..500).map(|step| step * 1000).chain([500, 449_500]).collect();
    own.sort_unstable();
    let wanted = contents(&[("own", own), ("z", ancient)]);
    assert_eq!(all(&db), wanted);
    let after = files.after_kill();
    drop(db);
    let db = open(&after, options());
    assert_eq!(all(&db), wanted);
    for _ in 0..2 {
        db.compact().expect("compacts");
        assert_eq!(all(&db), wanted);
    }
}

/// A block that reaches to where only the log is must not pass for what the log was written out to.
#[test]
fn history_beside_the_head_takes_nothing_from_the_log() {
    let files = MemFiles::new();
    let db = open(&files, options());
    append(&db, "own", (0..90).map(|step| step * 1000));
    for at in [10_500, 80_500, 10_501] {
        db.insert(vec![(labels("own"), columns([at]))]).expect("inserts");
    }
    let mut own: Vec<i64> = (0..90)
        .map(|step| step * 1000)
        .chain([10_500, 10_501, 80_500])
        .collect();
    own.sort_unstable();
    for round in 0..3 {
        let db = open(&files.after_kill(), options());
        assert_eq!(all(&db), contents(&[("own", own.clone())]), "round {round}");
    }
    // They are merged with each other, and say of themselves what they said before.
    db.compact().expect("compacts");
    let blocks = db.blocks();
    let hinted =
        |block: &Arc<narthex_tsdb::block::Block>| block.meta().compaction.has_hint(HINT_OUT_OF_ORDER);
    assert!(blocks.len() == 1 && blocks.iter().all(hinted), "{}", blocks.len());
    assert_eq!(
        all(&open(&files.after_kill(), options())),
        contents(&[("own", own.clone())])
    );
    // The head comes to its turn, and takes them in.
    append(&db, "own", (90..450).map(|step| step * 1000));
    db.compact().expect("compacts");
    own.extend((90..450).map(|step| step * 1000));
    assert_eq!(all(&db), contents(&[("own", own.clone())]));
    assert_eq!(
        all(&open(&files.after_kill(), options())),
        contents(&[("own", own)])
    );
}

#[test]
fn history_that_overlaps_is_merged_although_there_is_no_head() {
    let files = MemFiles::new();
    let db = open(&files, options());
    let times_ms = |part: i64| (0..200).map(move |step| (step - 1000) * 20_000 + part);
    for part in 0..8 {
        db.insert(vec![(labels("a"), columns(times_ms(part)))])
            .expect("inserts");
    }
    // As long as they come to be, so that years are some dozen blocks.
    let before = db.blocks().len();
    assert!(before <= 8 * 3, "{before}");
    db.compact().expect("compacts");
    let blocks = db.blocks();
    let mut ends: Vec<(i64, i64)> = blocks
        .iter()
        .map(|b| (b.meta().min_time, b.meta().max_time))
        .collect();
    ends.sort_unstable();
    assert!(ends.windows(2).all(|two| two[0].1 <= two[1].0), "{ends:?}");
    let mut times_ms: Vec<i64> = (0..8).flat_map(times_ms).collect();
    times_ms.sort_unstable();
    assert_eq!(all(&db), contents(&[("a", times_ms)]));
}

#[test]
fn history_comes_while_the_folder_is_looked_through() {
    let files = MemFiles::new();
    let db = open(&files, options());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.reload_blocks().expect("reloads");
            }
        });
        for part in 0..60 {
            let at = -1_000_000_000 * part;
            db.insert(vec![(labels("a"), columns([at]))]).expect("inserts");
            let range = TimeRange::new(at, at);
            assert_eq!(
                read(&db, range, &everything()),
                contents(&[("a", vec![at])]),
                "{part}"
            );
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(db.blocks().len(), 60);
}

/// Killed at any call: what was answered is there whole, and nothing is damaged.
#[test]
fn history_that_was_answered_survives_a_kill_at_any_call() {
    let workload = |files: &MemFiles| {
        let clock = Arc::new(model::clock::ManualClock::new(0));
        let dir = std::path::Path::new(crate::support::DIR);
        let Ok(db) = Db::open(Arc::new(files.clone()), dir, options(), clock) else {
            return 0;
        };
        for number in 1..=4 {
            let series = vec![(labels("a"), columns([-700_000 * number, -number]))];
            if db.insert(series).is_err() {
                return number - 1;
            }
        }
        4
    };
    let files = MemFiles::new();
    assert_eq!(workload(&files), 4);
    for call in 1..=files.calls() {
        let files = MemFiles::new();
        files.inject(Fault::FreezeAtCall(call));
        let answered = workload(&files);
        let db = open(&files.after_kill(), options());
        assert!(db.damaged_blocks().is_empty(), "killed at call {call}");
        let found = all(&db).remove(&labels("a")).unwrap_or_default();
        for number in 1..=answered {
            assert!(
                found.contains_key(&-number) && found.contains_key(&(-700_000 * number)),
                "killed at call {call}: {number} of {answered}"
            );
        }
    }
}
