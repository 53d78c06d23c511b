//! Reading a store without touching it: beside the process that has it open, and everything that this one has.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use files::{Files, MemFiles};
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, TimeRange};
use narthex_tsdb::db::{Db, ReadOnly};
use narthex_tsdb::verify::{Checked, Remedy, repair, verify};

use crate::support::{Contents, DIR, Value, everything, open, options, read};

fn append(db: &Db, name: &str, times: impl Iterator<Item = i64>) {
    let series = db
        .resolve(&Labels::from_pairs([("__name__", name)]))
        .expect("no limit");
    for timestamp_ms in times {
        let value = timestamp_ms as f64;
        let batch = AppendBatch {
            floats: vec![FloatSample {
                series,
                timestamp_ms,
                value,
            }],
            ..AppendBatch::default()
        };
        db.append(&batch, &mut AppendOutcome::default()).expect("appends");
    }
}

/// Blocks, one of them of late samples, a head, late samples and deletions.
fn store() -> (MemFiles, Db) {
    let files = MemFiles::new();
    let mut options = options();
    options.head.out_of_order_window_ms = 200_000;
    let db = open(&files, options);
    for name in ["a", "b", "c"] {
        append(&db, name, (0..450).map(|step| step * 1000));
    }
    append(&db, "late", (300..449).map(|step| step * 1000));
    append(&db, "late", (260..300).map(|step| step * 1000 + 7));
    db.compact().expect("compacts");
    append(&db, "late", (250..280).map(|step| step * 1000 + 9));
    db.delete(
        TimeRange::new(90_000, 420_000),
        &[Matcher::equal("__name__", "b")],
    )
    .expect("deletes");
    assert!(db.blocks().len() >= 3);
    (files, db)
}

/// What a visit shows, and the series in the order in which it shows them.
fn visited(store: &ReadOnly, range: TimeRange, selectors: &[Vec<Matcher>]) -> (Contents, Vec<Labels>) {
    let (mut contents, mut order) = (Contents::new(), Vec::new());
    let mut each = |labels: &Labels, columns: &model::columns::Columns| {
        let values = columns.values.iter().map(|value| Value::Float(value.to_bits()));
        let samples = columns.timestamps_ms.iter().copied().zip(values);
        contents.insert(labels.clone(), samples.collect());
        order.push(labels.clone());
        ControlFlow::Continue(())
    };
    store.visit(range, selectors, &mut each).expect("visits");
    (contents, order)
}

#[test]
fn a_store_that_is_open_elsewhere_is_read_whole_and_not_touched() {
    let (files, db) = store();
    let calls = files.calls();
    let shared: Arc<dyn Files> = Arc::new(files.clone());
    let store = ReadOnly::open(&shared, Path::new(DIR), options()).expect("opens");
    for range in [
        TimeRange::ALL,
        TimeRange::new(95_000, 310_000),
        TimeRange::new(440_000, 900_000),
    ] {
        let (contents, order) = visited(&store, range, &[everything()]);
        let counts = |contents: &Contents| -> Vec<(String, usize)> {
            let counts = contents
                .iter()
                .map(|(labels, samples)| (labels.to_string(), samples.len()));
            counts.collect()
        };
        let expected = read(&db, range, &everything());
        assert_eq!(counts(&contents), counts(&expected), "{range:?}");
        assert!(contents == expected, "{range:?}");
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    }
    let equal = |name: &str| vec![Matcher::equal("__name__", name)];
    let (contents, order) = visited(&store, TimeRange::ALL, &[equal("c"), equal("a"), equal("c")]);
    assert_eq!((contents.len(), order.len()), (2, 2));
    let mut seen = 0;
    let mut first = |_: &Labels, _: &model::columns::Columns| {
        seen += 1;
        ControlFlow::Break(())
    };
    store
        .visit(TimeRange::ALL, &[everything()], &mut first)
        .expect("visits");
    assert_eq!(seen, 1);
    drop(store);
    assert_eq!(files.calls(), calls, "nothing was written");
    assert!(ReadOnly::open(&shared, Path::new("nowhere"), options()).is_err());
    assert!(!files.exists(Path::new("nowhere")));
    drop(db);
}

fn check(files: &Arc<dyn Files>) -> Vec<Checked> {
    let mut all = Vec::new();
    verify(files, Path::new(DIR), &mut |checked| {
        all.push(checked);
        true
    })
    .expect("reads");
    all
}

/// The folder opens after every healing, and a second check finds nothing to heal.
#[test]
fn what_is_found_can_be_healed() {
    let (files, db) = store();
    db.close().expect("closes");
    drop(db);
    let shared: Arc<dyn Files> = Arc::new(files.clone());
    let whole = check(&shared);
    assert!(
        whole.iter().all(|checked| checked.findings.is_empty()),
        "{whole:?}"
    );
    let dir = Path::new(DIR);
    let paths: Vec<_> = whole.iter().map(|checked| checked.path.clone()).collect();
    for path in paths {
        let copy = files.after_kill();
        let shared: Arc<dyn Files> = Arc::new(copy.clone());
        let index = path.join("index");
        let target = if shared.exists(&index) {
            index
        } else {
            path.clone()
        };
        let middle = shared.len(&target).expect("a file") as usize / 2;
        copy.flip(&target, middle, 0x21).expect("a byte");
        let found = check(&shared);
        let findings: Vec<_> = found.iter().flat_map(|checked| &checked.findings).collect();
        // The middle of an index or log may be padding.
        let mut remedies: Vec<Remedy> = Vec::new();
        repair(&shared, dir, &found, &mut |remedy| remedies.push(remedy.clone())).expect("heals");
        assert_eq!(
            remedies.is_empty(),
            findings.iter().all(|f| f.remedy.is_none()),
            "{findings:?}"
        );
        let again = check(&shared);
        let left = again.iter().flat_map(|checked| &checked.findings);
        let left: Vec<_> = left.filter(|f| f.remedy.is_some()).collect();
        assert!(left.is_empty(), "{}: {left:?}", target.display());
        let opened = open(&copy, options());
        assert!(opened.damaged_blocks().is_empty(), "{}", target.display());
        let (name, after) = (path.display(), opened.replay_report().damages.clone());
        assert!(after.is_empty(), "{name}: {after:?}");
    }
}
