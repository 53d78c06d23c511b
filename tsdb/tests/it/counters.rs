//! What the metrics say of samples that were refused, of a disk that is full, and of how the store ended before.

use std::path::Path;

use files::{Fault, Files as _, MemFiles};
use metrics::Registry;
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, HistogramSample};
use narthex_tsdb::db::Db;

use crate::snapshot::histogram;
use crate::support::{DIR, open, options};

/// A transaction of a float and two histograms at a time.
fn append(db: &Db, timestamp_ms: i64, value: f64) -> bool {
    let mut batch = AppendBatch::default();
    let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
    let series = db.resolve(&labels("float")).expect("a series");
    batch.floats.push(FloatSample {
        series,
        timestamp_ms,
        value,
    });
    for name in ["histogram", "other"] {
        let series = db.resolve(&labels(name)).expect("a series");
        let histogram = histogram(value as i64);
        batch.histograms.push(HistogramSample {
            series,
            timestamp_ms,
            histogram,
        });
    }
    db.append(&batch, &mut AppendOutcome::default()).is_ok()
}

pub(crate) fn told(registry: &Registry, name: &str) -> Vec<String> {
    let text = registry.render(metrics::Format::Text);
    let lines = text.lines().filter(|line| {
        let rest = line
            .strip_prefix("prometheus_tsdb_")
            .and_then(|l| l.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with([' ', '{']))
    });
    lines
        .map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn refused_histograms_are_not_counted_as_floats() {
    let files = MemFiles::new();
    let db = open(&files, options());
    let registry = Registry::new();
    db.register_metrics(&registry);
    assert!(append(&db, 1_000_000, 1.0));
    assert!(append(&db, 990_000, 2.0), "out of order");
    assert!(append(&db, 1000, 3.0), "out of bounds");
    assert_eq!(told(&registry, "out_of_order_samples_total"), ["1", "2"]);
    assert_eq!(told(&registry, "out_of_bound_samples_total"), ["1", "2"]);

    let mut late = options();
    late.head.out_of_order_window_ms = 60_000;
    let files = MemFiles::new();
    let db = open(&files, late);
    let registry = Registry::new();
    db.register_metrics(&registry);
    assert!(append(&db, 1_000_000, 1.0));
    assert!(append(&db, 990_000, 2.0), "late");
    assert!(append(&db, 1000, 3.0), "too late");
    assert_eq!(told(&registry, "too_old_samples_total"), ["1", "2"]);
    assert_eq!(
        told(&registry, "head_out_of_order_samples_appended_total"),
        ["1", "2"]
    );
}

#[test]
fn writes_that_fail_are_counted() {
    let files = MemFiles::new();
    let db = open(&files, options());
    let registry = Registry::new();
    db.register_metrics(&registry);
    assert!(append(&db, 1000, 1.0));
    assert_eq!(told(&registry, "wal_writes_failed_total"), ["0"]);
    files.inject(Fault::NoSpaceAfter(0));
    for n in 2..5 {
        assert!(!append(&db, n * 1000, 1.0));
    }
    assert_eq!(told(&registry, "wal_writes_failed_total"), ["3"]);
    files.heal();
    assert!(append(&db, 9000, 1.0));
    assert_eq!(told(&registry, "wal_writes_failed_total"), ["3"]);
}

#[test]
fn a_lock_that_was_left_behind_is_told() {
    let files = MemFiles::new();
    let clean_start = |lock: bool| {
        let mut settings = options();
        settings.lock = lock;
        let db = open(&files, settings);
        let registry = Registry::new();
        db.register_metrics(&registry);
        told(&registry, "clean_start")
    };
    assert_eq!(clean_start(true), ["1"]);
    assert_eq!(clean_start(false), ["-1"]);
    files.create(&Path::new(DIR).join("lock")).expect("a file");
    assert_eq!(clean_start(true), ["0"]);
}

#[test]
fn a_transaction_may_be_all_or_nothing() {
    let files = MemFiles::new();
    let db = open(&files, options());
    let registry = Registry::new();
    db.register_metrics(&registry);
    let append = |samples: &[(&str, i64)]| {
        let mut batch = AppendBatch {
            all_or_nothing: true,
            ..AppendBatch::default()
        };
        for (name, timestamp_ms) in samples {
            batch.floats.push(FloatSample {
                series: db
                    .resolve(&Labels::from_pairs([("__name__", name)]))
                    .expect("a series"),
                timestamp_ms: *timestamp_ms,
                value: batch.floats.len() as f64,
            });
        }
        let mut outcome = AppendOutcome::default();
        db.append(&batch, &mut outcome).expect("appended");
        (outcome.accepted, outcome.refused.len())
    };
    assert_eq!(append(&[("a", 2000), ("b", 2000)]), (2, 0));
    assert_eq!(append(&[("a", 3000), ("b", 1000)]), (0, 1));
    assert_eq!(told(&registry, "out_of_order_samples_total"), ["1", "0"]);
    assert_eq!(told(&registry, "head_samples_appended_total"), ["2", "0"]);
    // What was refused has left no trace: the same time may come again, with what else it brings.
    assert_eq!(append(&[("a", 2500), ("b", 2500)]), (2, 0));
    // Two values at once are seen too late.
    assert_eq!(append(&[("a", 3500), ("a", 3500)]), (1, 1));
}
