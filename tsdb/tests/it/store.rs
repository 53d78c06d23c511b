//! What a store does besides taking and giving samples.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use files::{Files, MemFiles};
use metrics::{Format, Registry};
use model::columns::Columns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::packed_sets::PackedSets;
use model::sample::{Exemplar, Metadata, MetricType};
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, ExemplarQueryable, FloatSample, Queryable,
    Refusal, SelectHints, SeriesError, SeriesKey, SeriesRef, TimeRange,
};
use narthex_tsdb::db::Db;

use crate::support::{Contents, DIR, Rng, everything, open, options, read, seeds};

fn labels(i: usize) -> Labels {
    Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())])
}

/// One sample for each of `series` series at each of `times`.
fn fill(db: &Db, series: usize, times: impl Iterator<Item = i64>) {
    let references: Vec<SeriesRef> = (0..series)
        .map(|i| db.resolve(&labels(i)).expect("no limit"))
        .collect();
    let mut outcome = AppendOutcome::default();
    for timestamp_ms in times {
        let floats = references.iter().enumerate().map(|(i, series)| FloatSample {
            series: *series,
            timestamp_ms,
            value: (i as i64 * 1000 + timestamp_ms % 997) as f64,
        });
        let batch = AppendBatch {
            floats: floats.collect(),
            ..AppendBatch::default()
        };
        db.append(&batch, &mut outcome).expect("appends");
        assert_eq!(outcome.refused, []);
    }
}

/// In the order in which they were made, against it, at random, and with sets between that no series has.
#[test]
fn series_are_found_by_packed_labels_in_any_order() {
    for seed in seeds(20) {
        eprintln!("seed {seed}");
        let (mut rng, files) = (Rng::new(seed), MemFiles::new());
        let db = open(&files, options());
        let known: Vec<SeriesRef> = (0..700)
            .map(|i| db.resolve(&labels(i)).expect("no limit"))
            .collect();
        let mut wanted: Vec<usize> = (0..800).collect();
        wanted.extend((0..800).rev());
        wanted.extend((0..3000).map(|_| rng.below(900) as usize));
        let (mut sets, mut found) = (PackedSets::default(), Vec::new());
        for i in &wanted {
            for (name, value) in &labels(*i) {
                sets.push(name.as_bytes(), value.as_bytes()).expect("short");
            }
            sets.finish();
        }
        // A set without pairs is nobody's.
        sets.finish();
        db.find(&sets, &mut found);
        assert_eq!(found.pop(), Some(None));
        let expected: Vec<_> = wanted.iter().map(|i| known.get(*i).copied()).collect();
        assert_eq!(found, expected);
    }
}

fn all(db: &Db) -> Contents {
    read(db, TimeRange::ALL, &everything())
}

fn samples(contents: &Contents) -> usize {
    contents.values().map(std::collections::BTreeMap::len).sum()
}

/// A store with three blocks and a head.
fn with_blocks() -> (MemFiles, Db) {
    let files = MemFiles::new();
    let db = open(&files, options());
    fill(&db, 5, (0..450).map(|step| step * 1000));
    db.compact().expect("compacts");
    assert_eq!(db.blocks().len(), 3);
    (files, db)
}

#[test]
fn label_names_and_values_are_those_of_the_range() {
    let files = MemFiles::new();
    let db = open(&files, options());
    fill(&db, 2, (10..20).map(|i| i * 1000));
    let found = |min_ms, max_ms| {
        let querier = db.querier(TimeRange::new(min_ms, max_ms)).expect("a querier");
        let hints = SelectHints::default();
        let names = querier.label_names(&hints, &[]).expect("names");
        let values = querier.label_values("__name__", &hints, &[]).expect("values");
        (names.is_empty(), values.is_empty())
    };
    assert_eq!(found(0, 9_999), (true, true), "before the head begins");
    assert_eq!(found(0, 10_000), (false, false));
    assert_eq!(found(19_000, 30_000), (false, false));
    assert_eq!(found(19_001, 30_000), (true, true), "after its last sample");
}

#[test]
fn series_in_the_head_have_keys_that_last() {
    let (_, db) = with_blocks();
    let keys = |min_ms: i64, max_ms: i64| -> Vec<(Labels, Option<SeriesKey>)> {
        let querier = db.querier(TimeRange::new(min_ms, max_ms)).expect("a querier");
        let set = querier
            .select(&SelectHints::default(), &everything())
            .expect("series");
        (0..set.len()).map(|i| (set.labels(i), set.key(i))).collect()
    };
    let first = keys(440_000, 450_000);
    assert_eq!(first.len(), 5);
    assert!(first.iter().all(|(_, key)| key.is_some()));
    // Series come and blocks are cut: a key stands for the same labels, in the head alone and with blocks beside it.
    fill(&db, 7, (450..900).map(|step| step * 1000));
    db.compact().expect("compacts");
    let later = keys(100_000, 899_000);
    assert_eq!(later.len(), 7);
    assert!(first.iter().all(|one| later.contains(one)), "{first:?} {later:?}");
    // What is in blocks only has none.
    assert!(keys(100_000, 150_000).iter().all(|(_, key)| key.is_none()));
}

#[test]
fn damage_in_the_log_costs_what_is_damaged() {
    let files = MemFiles::new();
    let db = open(&files, options());
    fill(&db, 20, (0..600).map(|step| step * 150));
    db.close().expect("closes");
    drop(db);
    let wal = Path::new(DIR).join("wal");
    let segments = files.list(&wal).expect("a folder");
    assert!(segments.len() >= 3, "{segments:?}");
    let middle = wal.join(&segments[1].name);
    files.flip(&middle, 20_000, 0x55).expect("a byte");
    // What full chunks hold would not be missed.
    let chunks = Path::new(DIR).join("chunks_head");
    files.remove_dir_all(&chunks).expect("removes");
    let db = open(&files, options());
    let [damage] = db.replay_report().damages.as_slice() else {
        panic!("{:?}", db.replay_report());
    };
    assert!(damage.path == middle && damage.offset <= 20_000 && damage.lost_bytes > 0);
    let found = samples(&all(&db));
    assert!((6000..12_000).contains(&found), "{found} of 12000 samples");
    fill(&db, 20, std::iter::once(100_000));
    drop(db);
    let db = open(&files.after_kill(), options());
    assert!(db.replay_report().damages.is_empty(), "it was cut");
    assert_eq!(samples(&all(&db)), found + 20);
}

#[test]
fn a_damaged_block_is_told_and_the_rest_is_served() {
    let (files, db) = with_blocks();
    let path: PathBuf = db.blocks()[1].dir().to_owned();
    drop(db);
    files.flip(&path.join("index"), 0, 0xff).expect("a byte");
    let files = files.after_kill();
    let db = open(&files, options());
    assert_eq!(
        db.damaged_blocks().iter().map(|d| &d.path).collect::<Vec<_>>(),
        [&path]
    );
    let times: Vec<i64> = all(&db)[&labels(0)].keys().copied().collect();
    assert_eq!((times.len(), times[99], times[100]), (350, 99_000, 200_000));
    assert!(files.exists(&path), "it stays for whoever wants to repair it");
}

#[test]
fn a_view_outlives_compaction_and_truncation_waits_for_it() {
    let files = MemFiles::new();
    let mut options = options();
    options.truncation_patience = Duration::ZERO;
    let db = open(&files, options);
    fill(&db, 5, (0..350).map(|step| step * 1000));
    let view = db.querier(TimeRange::ALL).expect("a view");
    let set = view
        .select(&SelectHints::default(), &everything())
        .expect("selects");
    let mut columns = Columns::default();
    db.compact().expect("compacts");
    assert_eq!((db.blocks().len(), db.head().min_ms()), (1, 0), "put off");
    set.read(3, TimeRange::ALL, &mut columns).expect("reads");
    assert_eq!(columns.len(), 350);
    assert_eq!(samples(&all(&db)), 5 * 350);
    drop((set, view));
    db.compact().expect("compacts");
    assert_eq!((db.blocks().len(), db.head().min_ms()), (2, 200_000));
    assert_eq!(samples(&all(&db)), 5 * 350);
}

#[test]
fn old_blocks_go_by_age_and_size() {
    let (_, db) = with_blocks();
    db.set_retention(200_000, 0, 0.0);
    db.compact().expect("compacts");
    assert_eq!(db.time_range().map(|r| r.min_ms), Some(100_000));
    db.set_retention(0, 1, 0.0);
    db.compact().expect("compacts");
    assert!(db.blocks().is_empty());
    assert_eq!(samples(&all(&db)), 5 * 150, "the head stays");
}

#[test]
fn deleted_samples_leave_the_disk_when_asked() {
    let (files, db) = with_blocks();
    let range = TimeRange::new(50_000, 149_999);
    db.delete(range, &[Matcher::equal("i", "2")]).expect("deletes");
    let before = all(&db);
    assert_eq!(samples(&before), 5 * 450 - 100);
    db.clean_tombstones().expect("cleans");
    assert!(db.blocks().iter().all(|b| b.tombstones().is_empty()));
    assert_eq!(
        db.blocks()
            .iter()
            .map(|b| b.meta().stats.num_samples)
            .sum::<u64>(),
        5 * 300 - 100
    );
    assert!(all(&db) == before);
    drop(db);
    assert!(all(&open(&files.after_kill(), options())) == before);
}

#[test]
fn a_snapshot_is_a_store_of_its_own() {
    let (files, db) = with_blocks();
    let want = all(&db);
    let dir = Path::new("snapshots/one");
    db.snapshot(dir, true).expect("a snapshot");
    fill(&db, 5, std::iter::once(500_000));
    let files: Arc<dyn Files> = Arc::new(files);
    let clock = Arc::new(model::clock::ManualClock::new(0));
    let copy = Db::open(files, dir, options(), clock).expect("opens");
    assert_eq!(copy.blocks().len(), 4);
    assert!(all(&copy) == want);
}

#[test]
fn a_snapshot_is_taken_while_new_series_come() {
    let files = MemFiles::new();
    let db = open(&files, options());
    fill(&db, 4, (1..50).map(|i| i * 1000));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 1000..2000 {
                let batch = AppendBatch {
                    floats: vec![FloatSample {
                        series: db.resolve(&labels(i)).expect("no limit"),
                        timestamp_ms: 60_000,
                        value: 1.0,
                    }],
                    ..AppendBatch::default()
                };
                let appended = db.append(&batch, &mut AppendOutcome::default());
                appended.expect("appends");
            }
            done.store(true, Ordering::Relaxed);
        });
        for i in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
            let taken = db.snapshot(Path::new(&format!("snapshots/{i}")), true);
            assert!(taken.is_ok(), "{taken:?}");
        }
    });
}

#[test]
fn a_late_chunk_is_in_its_file_before_the_log_says_so() {
    let files = MemFiles::new();
    let mut options = options();
    options.head.out_of_order_window_ms = 60_000;
    options.head.out_of_order_cap = 4;
    let db = open(&files, options);
    fill(&db, 1, std::iter::once(50_000));
    let of_chunks = || {
        let killed = files.after_kill();
        let paths = killed
            .list(&Path::new(DIR).join("chunks_head"))
            .unwrap_or_default();
        paths.iter().map(|entry| entry.len).sum::<u64>()
    };
    fill(&db, 1, 1..5);
    assert_eq!(of_chunks(), 0);
    fill(&db, 1, 5..6);
    assert!(of_chunks() > 0);
}

#[test]
fn a_transaction_with_a_forgotten_series_is_not_applied() {
    let db = open(&MemFiles::new(), options());
    let old = db.resolve(&labels(99)).expect("no limit");
    fill(&db, 1, (0..450).map(|step| step * 1000));
    db.compact().expect("compacts");
    let known = db.resolve(&labels(0)).expect("no limit");
    let float = |series| FloatSample {
        series,
        timestamp_ms: 450_000,
        value: 1.0,
    };
    let batch = AppendBatch {
        floats: vec![float(known), float(old)],
        ..AppendBatch::default()
    };
    let result = db.append(&batch, &mut AppendOutcome::default());
    assert!(
        matches!(result, Err(AppendError::UnknownSeries(ref series)) if *series == [old]),
        "{result:?}"
    );
    assert_eq!(samples(&all(&db)), 450);
    assert_ne!(
        db.resolve(&labels(99)),
        Ok(old),
        "references are not given out again"
    );
}

#[test]
fn refusals_name_their_samples() {
    let mut options = options();
    options.head.series_max = 2;
    options.head.future_margin_ms = Some(1_000_000);
    let db = open(&MemFiles::new(), options);
    fill(&db, 2, [100_000, 101_000].into_iter());
    assert_eq!(db.resolve(&labels(2)), Err(SeriesError::LimitReached));
    assert_eq!(db.head().counters.series_refused.load(Ordering::Relaxed), 1);
    assert_eq!(db.resolve(&Labels::empty()), Err(SeriesError::Empty));
    let series = db.resolve(&labels(0)).expect("known");
    let float = |timestamp_ms, value| FloatSample {
        series,
        timestamp_ms,
        value,
    };
    let batch = AppendBatch {
        floats: vec![
            float(100_500, 1.0),
            float(101_000, -1.0),
            float(1000, 1.0),
            float(2_000_000, 1.0),
            float(101_000, 101_000.0 % 997.0),
            float(102_000, 1.0),
        ],
        ..AppendBatch::default()
    };
    let mut outcome = AppendOutcome::default();
    db.append(&batch, &mut outcome).expect("appends");
    let refusals = [
        Refusal::OutOfOrder,
        Refusal::DuplicateTimestamp,
        Refusal::OutOfBounds,
        Refusal::TooFarInFuture,
    ];
    let want: Vec<_> = (0..)
        .zip(refusals)
        .map(|(i, r)| (BatchList::Floats, i, r))
        .collect();
    assert_eq!((outcome.refused, outcome.accepted), (want, 2));
}

#[test]
fn exemplars_and_metadata_survive_a_restart() {
    let files = MemFiles::new();
    let mut options = options();
    options.head.exemplars_max = 10;
    let db = open(&files, options.clone());
    let series = db.resolve(&labels(0)).expect("no limit");
    let metadata = Metadata {
        metric_type: MetricType::Counter,
        unit: "seconds".to_owned(),
        help: "Zeit".to_owned(),
    };
    let batch = AppendBatch {
        floats: vec![FloatSample {
            series,
            timestamp_ms: 1000,
            value: 1.0,
        }],
        exemplars: vec![(
            series,
            Exemplar {
                labels: Labels::from_pairs([("trace_id", "a")]),
                value: 0.5,
                timestamp_ms: None,
            },
        )],
        metadata: vec![(series, metadata.clone())],
        ..AppendBatch::default()
    };
    db.append(&batch, &mut AppendOutcome::default()).expect("appends");
    let check = |db: &Db| {
        let found = db
            .exemplars(TimeRange::ALL, &[vec![Matcher::equal("i", "0")]])
            .expect("reads");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].exemplars[0].timestamp_ms, Some(1000), "the sample's");
        let series = db.resolve(&labels(0)).expect("known");
        assert_eq!(db.head().metadata(series), Some(metadata.clone()));
    };
    check(&db);
    drop(db);
    check(&open(&files.after_kill(), options));
}

#[test]
fn a_folder_is_held_by_one_store() {
    let files = MemFiles::new();
    let db = open(&files, options());
    let again = |files: &MemFiles| {
        let files: Arc<dyn Files> = Arc::new(files.clone());
        let clock = Arc::new(model::clock::ManualClock::new(0));
        Db::open(files, Path::new(DIR), options(), clock).map(|_| ())
    };
    assert!(again(&files).is_err());
    db.close().expect("closes");
    assert!(again(&files).is_ok());
}

#[test]
fn metrics_and_status_tell_what_is_there() {
    let (_, db) = with_blocks();
    let registry = Registry::new();
    db.register_metrics(&registry);
    let text = registry.render(Format::Text);
    for line in [
        "prometheus_tsdb_head_series 5",
        "prometheus_tsdb_blocks_loaded 3",
        "prometheus_tsdb_head_samples_appended_total{type=\"float\"} 2250",
        "prometheus_tsdb_head_max_time 449000",
        "prometheus_tsdb_lowest_timestamp 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    let status = db.head_status("__name__", 2);
    assert_eq!((status.series, status.label_pairs), (5, 6));
    assert_eq!(status.series_by_value.len(), 1);
    let top: Vec<(&str, u64)> = status
        .values_by_name
        .iter()
        .map(|s| (s.name.as_str(), s.value))
        .collect();
    assert_eq!(top, [("i", 5), ("__name__", 1)]);
}

#[test]
fn label_sets_longer_than_can_be_stored_are_refused_and_the_rest_goes_on() {
    let files = MemFiles::new();
    let db = open(&files, options());
    let longest = "x".repeat(model::labels::LABEL_BYTES_MAX);
    let set = |labels: usize| Labels::from_pairs((0..labels).map(|i| (format!("l{i}"), longest.as_str())));
    // What a log is read back from: a set close to the limit comes back.
    let large = db.resolve(&set(3)).expect("48 MiB");
    let refused = db.resolve(&set(4)).expect_err("64 MiB and the names");
    assert!(refused.to_string().starts_with("label set of 671"), "{refused}");
    let small = db.resolve(&labels(1)).expect("a series");
    let mut batch = AppendBatch::default();
    for series in [large, small] {
        batch.floats.push(FloatSample {
            series,
            timestamp_ms: 1000,
            value: 1.0,
        });
    }
    db.append(&batch, &mut AppendOutcome::default()).expect("appends");
    drop(db);
    let db = open(&files.after_kill(), options());
    assert_eq!(db.replay_report().series, 2);
    assert!(db.replay_report().damages.is_empty());
}
