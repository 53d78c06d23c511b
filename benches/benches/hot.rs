//! The hot rooms, one by one: `cargo bench -p narthex-benches`. The store has a bench of its own.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use model::clock::SystemClock;
use model::matcher::{MatchOp, Matcher};
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, Queryable, SelectHints, TimeRange};
use narthex_benches::{body, series};

fn expositions(c: &mut Criterion) {
    let text = body(1000);
    let mut group = c.benchmark_group("exposition");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("text, 1000 series", |b| {
        b.iter(|| {
            let options = exposition::ParserOptions::default();
            let mut parser =
                exposition::Parser::new(exposition::Format::Text, black_box(text.as_bytes()), options);
            let mut sum = 0.0;
            while let Some(entry) = parser.next().expect("valid") {
                if let exposition::Entry::Series(series) = entry {
                    sum += series.value;
                }
            }
            sum
        });
    });
    group.finish();
}

/// A head in memory with `count` series that have one sample each.
fn head(count: usize) -> (tsdb::db::Db, AppendBatch) {
    let files: Arc<dyn files::Files> = Arc::new(files::MemFiles::new());
    let options = tsdb::db::Options {
        background: false,
        ..tsdb::db::Options::default()
    };
    let db = tsdb::db::Db::open(files, Path::new("/data"), options, Arc::new(SystemClock)).expect("opens");
    let mut batch = AppendBatch::default();
    for labels in series(count) {
        let series = db.resolve(&labels).expect("no limit");
        batch.floats.push(FloatSample {
            series,
            timestamp_ms: 1_795_400_000_000,
            value: 1.0,
        });
    }
    db.append(&batch, &mut AppendOutcome::default()).expect("appends");
    (db, batch)
}

fn appends(c: &mut Criterion) {
    let (db, mut batch) = head(10_000);
    let mut outcome = AppendOutcome::default();
    let mut group = c.benchmark_group("head");
    group.throughput(Throughput::Elements(batch.floats.len() as u64));
    group.bench_function("append, batch of 10000 series", |b| {
        b.iter_batched(
            || {
                for sample in &mut batch.floats {
                    sample.timestamp_ms += 15_000;
                    sample.value += 3.0;
                }
                batch.clone()
            },
            |batch| db.append(&batch, &mut outcome).expect("appends"),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn postings(c: &mut Criterion) {
    let (db, _) = head(100_000);
    let querier = db.querier(TimeRange::ALL).expect("opens");
    let matcher = |op, name: &str, value: &str| Matcher::new(op, name, value).expect("valid");
    let selections = [
        (
            "two values",
            vec![
                matcher(MatchOp::Equal, "job", "service-3"),
                matcher(MatchOp::Equal, "code", "200"),
            ],
        ),
        (
            "values and a pattern",
            vec![
                matcher(MatchOp::Equal, "__name__", "http_requests_7_total"),
                matcher(MatchOp::Regex, "handler", "/api/v1/resource[0-4].*"),
                matcher(MatchOp::NotEqual, "method", ""),
            ],
        ),
    ];
    let mut group = c.benchmark_group("select from 100000 series");
    for (name, matchers) in selections {
        group.bench_function(name, |b| {
            b.iter(|| {
                querier
                    .select(&SelectHints::default(), black_box(&matchers))
                    .expect("selects")
                    .len()
            });
        });
    }
    group.finish();
}

fn parsing(c: &mut Criterion) {
    let query = "histogram_quantile(0.99, sum by (le, handler) (rate(http_request_duration_seconds_bucket\
                 {job=\"api\", code!~\"5..\"}[5m] offset 1h))) / on (handler) group_left (team) (owner > 0) * 1e3";
    let options = promql::parser::ParseOptions::default();
    c.bench_function("promql/parse", |b| {
        b.iter(|| promql::parser::parse(black_box(query), &options).expect("valid"));
    });
}

criterion_group!(hot, expositions, appends, postings, parsing);
criterion_main!(hot);
