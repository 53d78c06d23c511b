//! The snapshot of the head: what it brings back is what the logs bring back, and it is refused where it would not be.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use files::{Fault, Files, MemFiles};
use model::histogram::{CounterResetHint, Histogram, IntHistogram, Span};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::{Exemplar, Metadata, MetricType};
use model::storage::{
    AppendBatch, AppendOutcome, Appender, ExemplarQueryable, FloatSample, HistogramSample, SeriesRef,
    TimeRange,
};
use narthex_tsdb::db::{Db, Options};
use narthex_tsdb::head::{Head, SnapshotRefusal, SnapshotUse};

use crate::support::{Contents, DIR, Rng, Value, everything, forget_snapshot, open, options, read, seeds};

pub(crate) fn with_snapshots() -> Options {
    let mut options = options();
    options.head.snapshots = true;
    options.head.exemplars_max = 20;
    options.head.out_of_order_window_ms = 60_000;
    options.head.out_of_order_cap = 4;
    options
}

fn labels(i: u64) -> Labels {
    Labels::from_pairs([
        ("__name__", "m".to_owned()),
        ("i", i.to_string()),
        ("mod", (i % 3).to_string()),
    ])
}

pub(crate) fn path() -> PathBuf {
    Path::new(DIR).join(Head::SNAPSHOT_FILE)
}

pub(crate) fn histogram(sum: i64) -> Histogram {
    Histogram::Int(std::sync::Arc::new(IntHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 1,
        count: 1 + sum as u64,
        sum: sum as f64,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        negative_spans: vec![],
        positive_buckets: vec![sum],
        negative_buckets: vec![],
        custom_values: None,
    }))
}

/// One transaction: floats for most series, histograms for every fifth, an exemplar and metadata for one, and now and
/// then a late sample.
pub(crate) fn transact(db: &Db, rng: &mut Rng, now_ms: i64, series: u64) {
    let mut batch = AppendBatch::default();
    for i in 0..series {
        if rng.below(8) == 0 {
            continue;
        }
        let series = db.resolve(&labels(i)).expect("no limit");
        let late_ms = if rng.below(10) == 0 {
            rng.below(50_000) as i64
        } else {
            0
        };
        let timestamp_ms = (now_ms - late_ms).max(0);
        if i % 5 == 4 {
            let histogram = histogram(timestamp_ms / 1000);
            batch.histograms.push(HistogramSample {
                series,
                timestamp_ms,
                histogram,
            });
        } else {
            let value = (timestamp_ms % 977) as f64;
            batch.floats.push(FloatSample {
                series,
                timestamp_ms,
                value,
            });
        }
    }
    let series = db.resolve(&labels(0)).expect("no limit");
    let exemplar = Exemplar {
        labels: Labels::from_pairs([("trace", now_ms.to_string())]),
        value: 1.0,
        timestamp_ms: Some(now_ms),
    };
    batch.exemplars.push((series, exemplar));
    let metadata = Metadata {
        metric_type: MetricType::Counter,
        unit: "bytes".to_owned(),
        help: now_ms.to_string(),
    };
    batch.metadata.push((series, metadata));
    db.append(&batch, &mut AppendOutcome::default()).expect("appends");
}

pub(crate) fn filled(files: &MemFiles, transactions: i64) -> Db {
    let db = open(files, with_snapshots());
    let mut rng = Rng::new(7);
    for n in 1..=transactions {
        transact(&db, &mut rng, n * 700, 12);
        if n == transactions / 2 {
            db.delete(TimeRange::new(3000, 9000), &[Matcher::equal("mod", "1")])
                .expect("deletes");
        }
    }
    db
}

/// All that can be asked of a store.
pub(crate) fn all(db: &Db) -> (Contents, String) {
    let exemplars = db.exemplars(TimeRange::ALL, &[everything()]).expect("exemplars");
    let metadata = db.head().metadata(SeriesRef(1));
    (
        read(db, TimeRange::ALL, &everything()),
        format!("{exemplars:?} {metadata:?}"),
    )
}

/// Fails with the first difference, not with all there is.
#[track_caller]
fn same(got: &(Contents, String), want: &(Contents, String), what: &str) {
    for (labels, samples) in &want.0 {
        let got = got
            .0
            .get(labels)
            .unwrap_or_else(|| panic!("{what}: {labels} is missing"));
        let differs = |(t, value): &(&i64, &Value)| got.get(t) != Some(*value);
        let missing = samples
            .iter()
            .find(differs)
            .map(|(t, value)| (t, value, got.get(t)));
        assert_eq!(missing, None, "{what}: {labels}");
        let more = got.keys().find(|t| !samples.contains_key(t));
        assert_eq!(more, None, "{what}: {labels}");
    }
    assert_eq!(got.0.len(), want.0.len(), "{what}");
    assert_eq!(got.1, want.1, "{what}");
}

#[test]
fn a_start_after_a_stop_reads_no_record() {
    let files = MemFiles::new();
    let db = filled(&files, 400);
    let want = all(&db);
    db.close().expect("closes");
    drop(db);
    let db = open(&files, with_snapshots());
    let report = db.replay_report();
    assert!(matches!(report.snapshot, SnapshotUse::Used), "{report:?}");
    assert_eq!((report.records, report.series), (0, 12));
    same(&all(&db), &want, "after the start");
    // And it goes on: with the same references, in the same chunks.
    let mut rng = Rng::new(8);
    for n in 401..=500 {
        transact(&db, &mut rng, n * 700, 15);
    }
    let want = all(&db);
    drop(db);
    let killed = files.after_kill();
    let db = open(&killed, with_snapshots());
    let report = db.replay_report();
    assert!(matches!(report.snapshot, SnapshotUse::Used), "{report:?}");
    assert!((1..1000).contains(&report.records), "{report:?}");
    same(&all(&db), &want, "after the start");
    drop(db);
    forget_snapshot(&killed);
    assert_eq!(
        all(&open(&killed, with_snapshots())),
        want,
        "the logs have it all too"
    );
}

#[test]
fn a_snapshot_that_is_cut_or_changed_is_refused() {
    let files = MemFiles::new();
    let db = filled(&files, 12);
    let want = all(&db);
    db.close().expect("closes");
    drop(db);
    let whole = files.read(&path()).expect("written");
    let check = |bytes: &[u8], what: &str| {
        let files = files.after_kill();
        files
            .create(&path())
            .and_then(|f| f.write_all(bytes))
            .expect("writes");
        let db = open(&files, with_snapshots());
        let refused = matches!(
            db.replay_report().snapshot,
            SnapshotUse::Refused(SnapshotRefusal::Damaged(_))
        );
        assert!(refused, "{what}: {:?}", db.replay_report().snapshot);
        same(&all(&db), &want, what);
        assert!(!files.exists(&path()), "it is not asked again");
    };
    for len in (0..whole.len()).step_by(37) {
        check(&whole[..len], &format!("cut to {len}"));
    }
    for at in (0..whole.len()).step_by(41) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        check(&bytes, &format!("byte {at}"));
    }
    let mut longer = whole.clone();
    longer.push(0);
    check(&longer, "longer");
}

/// A file of the version before is refused like a damaged one, says which it is, and is written anew in today's.
#[test]
fn a_snapshot_of_another_version_is_refused_and_costs_nothing() {
    let files = MemFiles::new();
    let db = filled(&files, 12);
    let want = all(&db);
    db.close().expect("closes");
    drop(db);
    let whole = files.read(&path()).expect("written");
    for version in [1_u32, 3] {
        let mut bytes = whole.clone();
        bytes[8..12].copy_from_slice(&version.to_be_bytes());
        files
            .create(&path())
            .and_then(|f| f.write_all(&bytes))
            .expect("writes");
        let db = open(&files, with_snapshots());
        let words = db.replay_report().snapshot.to_string();
        assert!(
            words.contains(&format!("has version {version} of the format")),
            "{words}"
        );
        same(&all(&db), &want, &words);
        db.close().expect("closes");
        drop(db);
        let anew = files.read(&path()).expect("written anew");
        assert_eq!(anew[..12], whole[..12]);
    }
}

/// A snapshot is taken over and over while transactions, deletions and new series come in. At many moments the process
/// is killed; a start with the snapshot must find what a start without it finds.
#[test]
fn a_snapshot_of_a_busy_head_agrees_with_the_logs() {
    for seed in seeds(1) {
        println!("seed {seed}");
        let files = MemFiles::new();
        let db = open(&files, with_snapshots());
        let done = AtomicBool::new(false);
        let used = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut rng = Rng::new(seed);
                // On a machine with much else to do, until there were some snapshots meanwhile.
                let enough = |n| n > 200 && used.load(Ordering::Acquire) > 3;
                for n in (1..=2000).take_while(|n| !enough(*n)) {
                    transact(&db, &mut rng, n * 700, 200 + n as u64);
                    if n % 60 == 0 {
                        let from = rng.below(n as u64 * 700) as i64;
                        let range = TimeRange::new(from, from + 2000);
                        db.delete(range, &[Matcher::equal("mod", "2")]).expect("deletes");
                    }
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                db.head().write_snapshot().expect("writes");
                let killed = files.after_kill();
                let without = killed.after_kill();
                forget_snapshot(&without);
                let [with, without] = [killed, without].map(|files| open(&files, with_snapshots()));
                let report = with.replay_report();
                assert!(matches!(report.snapshot, SnapshotUse::Used), "{report:?}");
                assert!(with.replay_report().damages.is_empty());
                same(&all(&with), &all(&without), &format!("seed {seed}"));
                used.fetch_add(1, Ordering::Release);
            }
        });
    }
}

/// A full list of late histograms becomes several chunks where their counts fall. At no moment may a start take one of
/// them for all.
#[test]
fn late_samples_that_became_several_chunks_are_all_there() {
    let files = MemFiles::new();
    let db = open(&files, with_snapshots());
    let series = db.resolve(&labels(1)).expect("no limit");
    let append = |timestamp_ms: i64, sum: i64| {
        let batch = AppendBatch {
            histograms: vec![HistogramSample {
                series,
                timestamp_ms,
                histogram: histogram(sum),
            }],
            ..AppendBatch::default()
        };
        db.append(&batch, &mut AppendOutcome::default()).expect("appends");
    };
    append(50_000, 1);
    for n in 0..40 {
        append(49_000 - n * 100, 5 + n % 3);
        if n % 7 == 0 {
            db.head().write_snapshot().expect("writes");
        }
        let (killed, want) = (files.after_kill(), all(&db));
        same(&all(&open(&killed, with_snapshots())), &want, &format!("{n}"));
        let killed = files.after_kill();
        forget_snapshot(&killed);
        same(
            &all(&open(&killed, with_snapshots())),
            &want,
            &format!("{n}, without"),
        );
        // Only a part of the chunks has reached the disk.
        let killed = files.after_kill();
        forget_snapshot(&killed);
        let path = Path::new(DIR).join("chunks_head/000001");
        if let Ok(len) = files.len(&path) {
            for cut in (8..len).step_by(13) {
                let killed = killed.after_kill();
                killed.truncate(&path, cut).expect("cut");
                let what = format!("{n}, chunks cut to {cut}");
                same(&all(&open(&killed, with_snapshots())), &want, &what);
            }
        }
    }
}

#[test]
fn a_folder_that_has_changed_is_seen() {
    let files = MemFiles::new();
    let db = filled(&files, 300);
    let want = all(&db);
    db.close().expect("closes");
    drop(db);
    let wal = Path::new(DIR).join("wal");
    let last = wal.join(&files.list(&wal).expect("a folder").last().expect("segments").name);
    let wbl = Path::new(DIR).join("wbl/00000000");
    let chunks = Path::new(DIR).join("chunks_head/000001");
    let refusal = |change: &dyn Fn(&MemFiles)| {
        let files = files.after_kill();
        change(&files);
        let db = open(&files, with_snapshots());
        match &db.replay_report().snapshot {
            SnapshotUse::Refused(why) => (why.to_string(), all(&db) == want),
            other => panic!("{other:?}"),
        }
    };
    let shorter = |path: &Path| {
        let path = path.to_owned();
        move |files: &MemFiles| {
            let len = files.len(&path).expect("a file");
            files.truncate(&path, len - 1).expect("cuts");
        }
    };
    let segment: u64 = last
        .file_name()
        .and_then(|n| n.to_str()?.parse().ok())
        .expect("a number");
    let log = |log: &str, n: u64| format!("segment {n} of the {log} is not the one that it was taken of");
    assert_eq!(refusal(&shorter(&last)).0, log("wal", segment));
    assert_eq!(
        refusal(&|f| f.flip(&last, 20, 1).expect("a byte")).0,
        log("wal", segment)
    );
    assert_eq!(
        refusal(&|f| f.remove_file(&last).expect("removes")).0,
        log("wal", segment)
    );
    assert_eq!(
        refusal(&|f| f.remove_file(&wbl).expect("removes")).0,
        log("wbl", 0)
    );
    let chunk_file = "head chunk file 1 is not the one that it was taken of".to_owned();
    assert_eq!(
        refusal(&|f| f.remove_file(&chunks).expect("removes")),
        (chunk_file.clone(), true)
    );
    assert_eq!(refusal(&shorter(&chunks)), (chunk_file, true));
    let checkpoint = |f: &MemFiles| {
        f.create_dir_all(&wal.join("checkpoint.00000000"))
            .expect("creates");
    };
    assert_eq!(refusal(&checkpoint).0, "the log has another checkpoint now");
}

#[test]
fn compaction_and_snapshots_go_together() {
    let files = MemFiles::new();
    let db = filled(&files, 600);
    db.head().write_snapshot().expect("writes");
    let before = all(&db).0;
    db.compact().expect("compacts");
    assert!(!db.blocks().is_empty());
    assert!(
        files.exists(&path()),
        "a round that cuts the head ends with a new snapshot"
    );
    assert_eq!(all(&db).0, before);
    let want = all(&db);
    drop(db);
    let db = open(&files.after_kill(), with_snapshots());
    assert!(
        matches!(db.replay_report().snapshot, SnapshotUse::Used),
        "{:?}",
        db.replay_report()
    );
    same(&all(&db), &want, "after the start");
}

#[test]
fn a_full_disk_costs_the_snapshot_and_nothing_else() {
    let files = MemFiles::new();
    let db = filled(&files, 50);
    db.head().write_snapshot().expect("writes");
    let old = files.read(&path()).expect("there");
    transact(&db, &mut Rng::new(1), 50_000, 5);
    files.inject(Fault::NoSpaceAfter(100));
    assert!(db.head().write_snapshot().is_err());
    files.heal();
    assert_eq!(files.read(&path()).expect("there"), old);
    let left_over = Path::new(DIR).join("head_snapshot.tmp");
    assert!(!files.exists(&left_over), "what was written of it is removed");
    transact(&db, &mut Rng::new(2), 51_000, 5);
    assert_eq!(db.head().poisoned(), None);
    assert!(db.head().write_snapshot().expect("writes").is_some());
}

#[test]
fn a_damaged_chunk_ends_snapshots_until_the_logs_have_healed_it() {
    let files = MemFiles::new();
    let db = filled(&files, 400);
    let want = all(&db);
    db.close().expect("closes");
    drop(db);
    // In the middle of a file that the snapshot vouches for.
    files
        .flip(&Path::new(DIR).join("chunks_head/000001"), 60, 4)
        .expect("a byte");
    let db = open(&files, with_snapshots());
    assert!(matches!(db.replay_report().snapshot, SnapshotUse::Used));
    let view = model::storage::Queryable::querier(&db, TimeRange::ALL).expect("a view");
    let set = view
        .select(&model::storage::SelectHints::default(), &everything())
        .expect("selects");
    let mut columns = model::columns::Columns::default();
    let bad = (0..set.len()).filter(|i| set.read(*i, TimeRange::ALL, &mut columns).is_err());
    assert_eq!(bad.count(), 1);
    drop((set, view));
    db.close().expect("closes");
    drop(db);
    assert!(!files.exists(&path()));
    let db = open(&files, with_snapshots());
    assert!(matches!(db.replay_report().snapshot, SnapshotUse::Missing));
    same(&all(&db), &want, "after the start");
}

#[test]
fn a_store_without_snapshots_leaves_none() {
    let files = MemFiles::new();
    filled(&files, 10).close().expect("closes");
    assert!(files.exists(&path()));
    let db = open(&files, options());
    assert!(matches!(db.replay_report().snapshot, SnapshotUse::Off));
    assert!(!files.exists(&path()));
    db.close().expect("closes");
    assert!(!files.exists(&path()));
}
