//! The label index: what selecting and the index endpoints ask, over a block and over a head of 100,000 series.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use files::{Files, MemFiles};
use model::clock::ManualClock;
use model::columns::Columns;
use model::matcher::{MatchOp, Matcher};
use model::storage::{
    AppendBatch, AppendOutcome, Appender, FloatSample, Querier, Queryable, SelectHints, TimeRange,
};
use narthex_benches::series;
use tsdb::block::{BlockMeta, BlockWriter};
use tsdb::db::{Db, Options};

const SERIES: usize = 100_000;
const NOW_MS: i64 = 1_795_400_000_000;
const DIR: &str = "data";

fn open(files: Arc<dyn Files>) -> Db {
    let options = Options {
        background: false,
        ..Options::default()
    };
    Db::open(
        files,
        Path::new(DIR),
        options,
        Arc::new(ManualClock::new(NOW_MS + 10_000_000)),
    )
    .expect("opens")
}

fn head() -> Arc<dyn Querier> {
    let db = open(Arc::new(MemFiles::new()));
    let mut batch = AppendBatch::default();
    for labels in series(SERIES) {
        let series = db.resolve(&labels).expect("no limit");
        batch.floats.push(FloatSample {
            series,
            timestamp_ms: NOW_MS,
            value: 1.0,
        });
    }
    db.append(&batch, &mut AppendOutcome::default()).expect("appends");
    let querier = db.querier(TimeRange::ALL).expect("opens");
    // The view needs the store.
    std::mem::forget(db);
    querier
}

fn block() -> Arc<dyn Querier> {
    let files = Arc::new(MemFiles::new());
    let mut all = series(SERIES);
    all.sort();
    let symbols: BTreeSet<&str> = all.iter().flatten().flat_map(|(n, v)| [n, v]).collect();
    let meta = BlockMeta::of_head(ulid::Ulid::from_parts(1, 1), NOW_MS, NOW_MS + 7_200_000);
    let mut writer = BlockWriter::create(files.clone(), Path::new(DIR), meta, symbols).expect("creates");
    let mut columns = Columns::default();
    columns.push(NOW_MS, 1.0);
    for labels in &all {
        writer.add_samples(labels, &columns).expect("adds");
    }
    writer.finish().expect("writes");
    let db = open(files);
    let querier = db
        .querier(TimeRange::new(NOW_MS, NOW_MS + 7_199_999))
        .expect("opens");
    std::mem::forget(db);
    querier
}

fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
    Matcher::new(op, name, value).expect("valid")
}

fn index(c: &mut Criterion) {
    let metric = || matcher(MatchOp::Equal, "__name__", "http_requests_7_total");
    let selections = [
        ("a metric", vec![metric()]),
        (
            "two values",
            vec![
                matcher(MatchOp::Equal, "job", "service-3"),
                matcher(MatchOp::Equal, "code", "200"),
            ],
        ),
        (
            "a pattern with prefix",
            vec![
                metric(),
                matcher(MatchOp::Regex, "handler", "/api/v1/resource[0-4].*"),
            ],
        ),
        (
            "a pattern without prefix",
            vec![matcher(MatchOp::Regex, "instance", ".*7.*")],
        ),
        (
            "all but a value",
            vec![metric(), matcher(MatchOp::NotEqual, "code", "200")],
        ),
    ];
    for (place, querier) in [("block", block()), ("head", head())] {
        let mut group = c.benchmark_group(format!("{place} of {SERIES} series"));
        for (name, matchers) in &selections {
            group.bench_function(format!("select {name}"), |b| {
                b.iter(|| {
                    let set = querier.select(&SelectHints::default(), black_box(matchers));
                    set.expect("selects").len()
                });
            });
        }
        group.bench_function("values", |b| {
            b.iter(|| {
                querier
                    .label_values(black_box("instance"), &SelectHints::default(), &[])
                    .expect("answers")
            });
        });
        group.bench_function("values of a metric", |b| {
            let matchers = [metric()];
            b.iter(|| {
                querier
                    .label_values(black_box("instance"), &SelectHints::default(), &matchers)
                    .expect("answers")
            });
        });
        group.bench_function("names of a metric", |b| {
            let matchers = [metric()];
            b.iter(|| {
                querier
                    .label_names(&SelectHints::default(), black_box(&matchers))
                    .expect("answers")
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = index
}
criterion_main!(benches);
