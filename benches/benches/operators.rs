//! Queries that are one operator each, over series that lie in memory decoded: what the engine takes, without storage.
//! `cargo bench -p narthex-benches --bench operators`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::columns::Columns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{Querier, Queryable, SelectHints, SeriesSet, StorageError, TimeRange};
use narthex_benches::Rng;
use promql::engine::{Engine, EngineOptions, EvalTime, QueryOptions};

const INTERVAL_MS: i64 = 15_000;
const HOURS: i64 = 6;
const SERIES: usize = 200;
const BUCKETS: [&str; 10] = [
    "+Inf", "0.005", "0.01", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5",
];

/// Decoded series.
#[derive(Clone)]
struct Store(Arc<Vec<(Labels, Columns)>>);

/// Some of them.
struct Selected {
    store: Store,
    indices: Vec<usize>,
}

impl Queryable for Store {
    fn querier(&self, _: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(self.clone()))
    }
}

impl Querier for Store {
    fn select(&self, _: &SelectHints, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, StorageError> {
        let matches = |index: &usize| {
            let (labels, _) = &self.0[*index];
            matchers.iter().all(|matcher| matcher.matches_labels(labels))
        };
        Ok(Arc::new(Selected {
            store: self.clone(),
            indices: (0..self.0.len()).filter(matches).collect(),
        }))
    }

    fn label_names(&self, _: &SelectHints, _: &[Matcher]) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &SelectHints, _: &[Matcher]) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.store.0[self.indices[index]].0.clone()
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        let (_, stored) = &self.store.0[self.indices[index]];
        let times = &stored.timestamps_ms;
        let first = times.partition_point(|at| *at < range.min_ms);
        let end = times.partition_point(|at| *at <= range.max_ms);
        columns.clear();
        columns.timestamps_ms.extend_from_slice(&times[first..end]);
        columns.values.extend_from_slice(&stored.values[first..end]);
        Ok(())
    }
}

/// `counter_total`, `gauge` and `owner` by `instance` and `job`, `latency_bucket` by `instance` and `le`.
fn store() -> Store {
    let mut rng = Rng::new(7);
    let mut all = Vec::new();
    let mut add = |pairs: &[(&str, &str)], rng: &mut Rng, next: &dyn Fn(f64, &mut Rng) -> f64| {
        let mut columns = Columns::default();
        let mut value = 0.0;
        for index in 0..HOURS * 3_600_000 / INTERVAL_MS {
            value = next(value, rng);
            columns.push(index * INTERVAL_MS + (rng.next_u64() % 3) as i64, value);
        }
        all.push((Labels::from_pairs(pairs.iter().copied()), columns));
    };
    let counter = |value: f64, rng: &mut Rng| value + (rng.next_u64() % 100) as f64;
    let gauge = |_: f64, rng: &mut Rng| rng.unit() * 100.0;
    for index in 0..SERIES {
        let (instance, job) = (format!("host-{index}"), format!("job-{}", index % 10));
        for (name, next) in [
            ("counter_total", &counter as &dyn Fn(f64, &mut Rng) -> f64),
            ("gauge", &gauge),
            ("owner", &|_, _| 1.0),
        ] {
            let pairs = [("__name__", name), ("instance", &instance), ("job", &job)];
            add(&pairs, &mut rng, next);
        }
    }
    for histogram in 0..SERIES / BUCKETS.len() {
        let instance = format!("host-{histogram}");
        for (place, le) in BUCKETS.iter().enumerate() {
            let height = if place == 0 { BUCKETS.len() } else { place } as f64;
            let pairs = [
                ("__name__", "latency_bucket"),
                ("instance", &instance),
                ("le", le),
            ];
            add(&pairs, &mut rng, &|value, _| value + height);
        }
    }
    Store(Arc::new(all))
}

const QUERIES: [(&str, &str); 34] = [
    ("selector", "sum(gauge)"),
    ("rate", "sum(rate(counter_total[5m]))"),
    ("irate", "sum(irate(counter_total[5m]))"),
    ("increase of what falls", "sum(increase(gauge[5m]))"),
    ("sum_over_time", "sum(sum_over_time(gauge[10m]))"),
    ("avg_over_time", "sum(avg_over_time(gauge[10m]))"),
    ("max_over_time", "sum(max_over_time(gauge[10m]))"),
    ("count_over_time", "sum(count_over_time(gauge[10m]))"),
    ("last_over_time", "sum(last_over_time(gauge[10m]))"),
    ("stddev_over_time", "sum(stddev_over_time(gauge[10m]))"),
    ("quantile_over_time", "sum(quantile_over_time(0.9, gauge[10m]))"),
    ("changes", "sum(changes(gauge[10m]))"),
    ("deriv", "sum(deriv(gauge[10m]))"),
    ("predict_linear", "sum(predict_linear(gauge[10m], 3600))"),
    ("subquery", "sum(max_over_time(gauge[10m:1m]))"),
    ("sum by", "sum by (job) (gauge)"),
    ("avg by", "avg by (job) (gauge)"),
    ("max by", "max by (job) (gauge)"),
    ("count by", "count by (job) (gauge)"),
    ("stddev by", "stddev by (job) (gauge)"),
    ("quantile by", "quantile by (job) (0.9, gauge)"),
    ("topk", "topk(5, gauge)"),
    ("topk by", "topk by (job) (2, gauge)"),
    ("count_values", "count_values(\"v\", owner)"),
    ("negation", "-gauge"),
    ("arithmetic with a scalar", "gauge * 2 + 1"),
    ("comparison with a scalar", "gauge > 50"),
    ("function", "sqrt(gauge)"),
    ("join", "gauge / on (instance) counter_total"),
    (
        "join with group_left",
        "gauge * on (instance) group_left (job) owner",
    ),
    ("and", "gauge and on (instance) owner"),
    ("or", "gauge or counter_total"),
    ("histogram_quantile", "histogram_quantile(0.9, latency_bucket)"),
    (
        "label_replace",
        "label_replace(gauge, \"host\", \"$1\", \"instance\", \"host-(.*)\")",
    ),
];

fn operators(c: &mut Criterion) {
    let store = store();
    let engine = Engine::new(EngineOptions {
        threads: 1,
        ..EngineOptions::default()
    });
    let time = EvalTime::Range {
        start_ms: 600_000,
        end_ms: HOURS * 3_600_000 - 60_000,
        step_ms: 60_000,
    };
    let mut group = c.benchmark_group("operators");
    group.sample_size(20);
    group.throughput(Throughput::Elements(SERIES as u64 * (HOURS as u64 * 60 - 10)));
    for (name, query) in QUERIES {
        let expr = engine.parse(query).expect("a query");
        group.bench_function(name, |b| {
            b.iter(|| {
                engine
                    .evaluate(&store, black_box(&expr), time, &QueryOptions::default())
                    .expect("evaluates")
                    .stats
                    .total_queryable_samples
            });
        });
    }
    group.finish();
}

/// What a query takes beside its samples.
fn short(c: &mut Criterion) {
    let store = store();
    let engine = Engine::new(EngineOptions::default());
    let mut group = c.benchmark_group("instant");
    for query in [
        "gauge{instance=\"host-7\"}",
        "sum by (job) (rate(counter_total{instance=\"host-7\"}[5m])) > 0",
        "gauge{instance=\"host-7\"}[10m]",
    ] {
        group.bench_function(query, |b| {
            b.iter(|| engine.instant(&store, black_box(query), 3_600_000, &QueryOptions::default()));
        });
    }
    group.finish();
}

criterion_group!(benches, operators, short);
criterion_main!(benches);
