//! The engine's promises: limits, statistics, what is read how often, and that threads and steps change no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::columns::Columns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{
    AppendBatch, AppendOutcome, Appender, FloatSample, Querier, Queryable, SelectHints, SeriesSet,
    StorageError, TimeRange,
};
use narthex_promql::engine::{
    Engine, EngineOptions, ExecutionError, Features, QueryError, QueryOptions, QueryOutput,
};
use narthex_promql::script::MemoryStore;
use narthex_promql::value::{SampleValue, Series, Value};

const STEP_MS: i64 = 15_000;
const SAMPLES: i64 = 80;

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// `c_total{i, g}`: counters with resets and gaps; `g{i, g}`: gauges of very different size; `const{g}`.
pub(crate) fn store(series: usize) -> MemoryStore {
    let store = MemoryStore::new();
    let mut random = Random(7);
    let mut batch = AppendBatch::default();
    for i in 0..series {
        let (i, group) = (i.to_string(), (i % 7).to_string());
        let of = |name| Labels::from_pairs([("__name__", name), ("i", i.as_str()), ("g", group.as_str())]);
        let counter = store.resolve(&of("c_total")).expect("series");
        let gauge = store.resolve(&of("g")).expect("series");
        let mut count = 0.0;
        for sample in 0..SAMPLES {
            let timestamp_ms = sample * STEP_MS + (random.next() * 900.0) as i64;
            if random.next() < 0.05 {
                count = 0.0;
            }
            count += random.next() * 10.0;
            if random.next() < 0.9 {
                batch.floats.push(FloatSample {
                    series: counter,
                    timestamp_ms,
                    value: count,
                });
            }
            batch.floats.push(FloatSample {
                series: gauge,
                timestamp_ms,
                value: (random.next() - 0.5) * 10f64.powi((random.next() * 20.0) as i32),
            });
        }
    }
    store
        .append(&batch, &mut AppendOutcome::default())
        .expect("appended");
    store
}

pub(crate) fn engine(change: impl FnOnce(&mut EngineOptions)) -> Engine {
    let mut options = EngineOptions {
        threads: 1,
        features: Features::all_syntax(),
        ..EngineOptions::default()
    };
    change(&mut options);
    Engine::new(options)
}

fn range(engine: &Engine, store: &dyn Queryable, query: &str) -> Result<QueryOutput, QueryError> {
    engine.range(store, query, 300_000, 1_140_000, 41_000, &QueryOptions::default())
}

const QUERIES: &[&str] = &[
    "g",
    "sum(g)",
    "avg by (g) (g)",
    "sum by (g) (rate(c_total[2m]))",
    "stddev by (g) (g)",
    "stdvar(c_total)",
    "quantile(0.3, g)",
    "min without (i) (g) + max without (i) (g)",
    "topk(5, g)",
    "bottomk by (g) (2, c_total)",
    "limitk(3, g)",
    "limit_ratio(0.4, g)",
    "count_values(\"v\", round(g / 1e10))",
    "g * on (i) group_left c_total",
    "c_total > 20 and g > 0",
    "g or c_total",
    "sum(max_over_time(sum by (g) (rate(c_total[1m]))[5m:20s]))",
    "avg(avg_over_time(g[3m]))",
    "histogram_quantile(0.9, label_replace(g, \"le\", \"$1\", \"i\", \"(.*)\"))",
    "absent(g > 1e25)",
    "scalar(sum(g)) + vector(time())",
    "sum(increase(c_total[2m])) / sum(increase(c_total[2m]))",
    "sum(g @ 600 + c_total offset 1m)",
    "predict_linear(g[5m], 600)",
    "-g",
];

fn bits(series: &Series) -> (String, Vec<(i64, u64)>) {
    let floats = series.floats().map(|(time, value)| (time, value.to_bits()));
    (series.labels.to_string(), floats.collect())
}

fn matrix(output: QueryOutput) -> Vec<Series> {
    match output.value {
        Value::Matrix(matrix) => matrix,
        other => panic!("a matrix is expected, not {other:?}"),
    }
}

#[test]
fn threads_change_no_bit() {
    let store = store(300);
    let engines: Vec<Engine> = [1, 2, 5].map(|threads| engine(|o| o.threads = threads)).into();
    for query in QUERIES {
        let answers: Vec<_> = engines
            .iter()
            .map(|engine| {
                let output = range(engine, &store, query).expect(query);
                let stats = (output.stats.total_queryable_samples, output.annotations.clone());
                (matrix(output).iter().map(bits).collect::<Vec<_>>(), stats)
            })
            .collect();
        assert!(!answers[0].0.is_empty(), "{query} finds nothing");
        assert_eq!(answers[0], answers[1], "{query}");
        assert_eq!(answers[0], answers[2], "{query}");
    }
}

#[test]
fn a_range_is_its_instants() {
    let store = store(50);
    let engine = engine(|_| {});
    for query in QUERIES {
        let matrix = matrix(range(&engine, &store, query).expect(query));
        let mut found = 0;
        let mut at_ms = 300_000;
        while at_ms <= 1_140_000 {
            let output = engine.instant(&store, query, at_ms, &QueryOptions::default());
            let vector = match output.expect(query).value {
                Value::Vector(vector) => vector,
                other => panic!("a vector is expected, not {other:?}"),
            };
            for sample in vector {
                let series = matrix.iter().find(|series| series.labels == sample.labels);
                let in_range = series.and_then(|s| s.floats().find(|(time, _)| *time == at_ms));
                let SampleValue::Float(value) = sample.value else {
                    panic!("no histograms here");
                };
                let (_, other) = in_range.unwrap_or_else(|| panic!("{query}: {} at {at_ms}", sample.labels));
                let close = value == other
                    || (value - other).abs() <= 1e-12 * value.abs().max(other.abs())
                    || value.is_nan() && other.is_nan();
                assert!(
                    close,
                    "{query}: {} at {at_ms}: {value} and {other}",
                    sample.labels
                );
                found += 1;
            }
            at_ms += 41_000;
        }
        let all: usize = matrix.iter().map(|series| series.values.len()).sum();
        assert_eq!(found, all, "{query}");
    }
}

/// A store that counts how often series are selected and read.
struct Watched {
    inner: MemoryStore,
    selects: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    fails: bool,
}

impl Watched {
    fn new(inner: MemoryStore) -> Self {
        Watched {
            inner,
            selects: Arc::default(),
            reads: Arc::default(),
            fails: false,
        }
    }

    fn take(&self) -> (usize, usize) {
        (
            self.selects.swap(0, Ordering::SeqCst),
            self.reads.swap(0, Ordering::SeqCst),
        )
    }
}

struct WatchedQuerier {
    inner: Arc<dyn Querier>,
    selects: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    fails: bool,
}

struct WatchedSet {
    inner: Arc<dyn SeriesSet>,
    reads: Arc<AtomicUsize>,
    fails: bool,
}

impl Queryable for Watched {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(WatchedQuerier {
            inner: self.inner.querier(range)?,
            selects: self.selects.clone(),
            reads: self.reads.clone(),
            fails: self.fails,
        }))
    }
}

impl Querier for WatchedQuerier {
    fn select(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, StorageError> {
        self.selects.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(WatchedSet {
            inner: self.inner.select(hints, matchers)?,
            reads: self.reads.clone(),
            fails: self.fails,
        }))
    }

    fn label_names(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>, StorageError> {
        self.inner.label_names(hints, matchers)
    }

    fn label_values(
        &self,
        name: &str,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        self.inner.label_values(name, hints, matchers)
    }
}

impl SeriesSet for WatchedSet {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner.labels(index)
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.fails {
            return Err(StorageError::Closed);
        }
        self.inner.read(index, range, columns)
    }
}

#[test]
fn equal_parts_are_read_once() {
    let store = Watched::new(store(20));
    let engine = engine(|_| {});
    for (query, selects, reads) in [
        ("rate(g[5m]) / rate(g[5m])", 1, 20),
        ("sum(g) / count(g)", 1, 20),
        ("sum(rate(g[5m])) / avg(rate( g[5m] ))", 1, 20),
        // Equal selectors at different times share what was selected, not what was read.
        ("g - g offset 1m", 1, 40),
        ("g - c_total", 2, 40),
        // What does not change from step to step is read at one.
        ("sum(g @ 600) + sum(g @ 600)", 1, 20),
        ("1 + 1", 0, 0),
    ] {
        range(&engine, &store, query).expect(query);
        assert_eq!(store.take(), (selects, reads), "{query}");
    }
}

#[test]
fn groups_take_the_memory_of_groups() {
    let store = store(300);
    let engine = engine(|_| {});
    let peak = |query| {
        engine
            .range(&store, query, 0, 1_000_000, 500, &QueryOptions::default())
            .expect(query)
            .stats
            .peak_bytes
    };
    let (steps, series) = (2001, 300);
    assert!(peak("g") > series * steps * 8);
    assert!(peak("sum by (g) (rate(g[2m]))") < 3 * 7 * steps * 17 + 100_000);
}

#[test]
fn limits_end_the_query_alone() {
    let store = store(50);
    let few = engine(|options| options.max_samples = 1000);
    assert!(matches!(
        range(&few, &store, "sum(g)"),
        Err(QueryError::TooManySamples { max_samples: 1000 })
    ));
    assert!(range(&few, &store, "sum(g{g=\"0\"})").is_ok());
    let small = engine(|options| options.query_bytes_max = 20_000);
    assert!(matches!(
        range(&small, &store, "g"),
        Err(QueryError::TooManyBytes {
            limit_bytes: 20_000,
            ..
        })
    ));
    assert!(range(&small, &store, "sum(g)").is_ok());
    // Steps that could never be held are refused before they are.
    let engine = engine(|_| {});
    assert!(matches!(
        range(&engine, &store, "max_over_time(g[100000d:1ms])"),
        Err(QueryError::TooManyBytes { .. })
    ));
    let options = QueryOptions {
        timeout: Some(Duration::ZERO),
        ..QueryOptions::default()
    };
    let error = engine.instant(&store, "g", 0, &options).expect_err("no time");
    assert_eq!(error.to_string(), "query timed out in expression evaluation");
    let options = QueryOptions::default();
    options.cancel.cancel();
    let error = engine.instant(&store, "g", 0, &options).expect_err("canceled");
    assert_eq!(error.to_string(), "query was canceled in expression evaluation");
}

#[test]
fn errors_tell_whose_fault_it_is() {
    let engine = engine(|_| {});
    let store = store(3);
    let fails = |query: &str| range(&engine, &store, query).expect_err(query);
    assert!(matches!(fails("sum("), QueryError::Parse(_)));
    for (query, message) in [
        (
            "g[5m]",
            "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
        (
            "\"x\"",
            "invalid expression type \"string\" for range query, must be Scalar or instant Vector",
        ),
        ("rate(g[(1m-1m)])", "8:13: duration must be greater than 0"),
    ] {
        let error = fails(query);
        assert!(matches!(error, QueryError::Invalid { .. }), "{query}: {error:?}");
        assert_eq!(error.to_string(), message);
    }
    let same = fails("rate({i=\"1\"}[5m])");
    assert!(matches!(
        same,
        QueryError::Execution {
            source: ExecutionError::SameLabelset,
            ..
        }
    ));
    let broken = Watched {
        fails: true,
        ..Watched::new(self::store(3))
    };
    let error = range(&engine, &broken, "sum(g)").expect_err("closed");
    assert!(matches!(error, QueryError::Storage(StorageError::Closed)));
    assert_eq!(error.to_string(), "expanding series: storage is closed");
}

#[test]
fn samples_are_counted_as_the_reference_counts() {
    let store = MemoryStore::new();
    let series = store
        .resolve(&Labels::from_pairs([("__name__", "x")]))
        .expect("series");
    let mut batch = AppendBatch::default();
    for second in 0..=300 {
        batch.floats.push(FloatSample {
            series,
            timestamp_ms: second * 10_000,
            value: second as f64,
        });
    }
    store
        .append(&batch, &mut AppendOutcome::default())
        .expect("appended");
    let engine = engine(|options| options.features.per_step_stats = true);
    let options = QueryOptions {
        per_step_stats: true,
        ..QueryOptions::default()
    };
    // Query, samples looked at, samples read; at 201 s, and from 201 s to 220 s by 5 s.
    for (query, instant, ranged) in [
        ("x", (1, 1), (4, 4)),
        ("x[60s]", (6, 6), (0, 0)),
        ("x @ 100", (1, 1), (4, 1)),
        ("x offset 10s + x", (2, 2), (8, 8)),
        ("max_over_time(x[60s])", (6, 6), (24, 7)),
        ("max_over_time(x[60s] @ 100)", (6, 6), (24, 6)),
        ("max_over_time(x[60s:5s])", (12, 12), (48, 15)),
        ("max_over_time(x[60s])[20s:5s]", (24, 8), (0, 0)),
        ("max_over_time(x[3s:1s])", (3, 3), (12, 12)),
        (
            "sum(max_over_time(max_over_time(x[20s:7s])[30s:3s] offset 20s))",
            (10, 6),
            (40, 8),
        ),
        ("max_over_time((x @ 100)[20s:5s])", (4, 1), (16, 1)),
        ("sum_over_time(x[20s:5s] @ 100)", (4, 4), (16, 4)),
        ("sum(x) + sum(x)", (2, 2), (8, 8)),
    ] {
        let output = engine.instant(&store, query, 201_000, &options).expect(query);
        let stats = output.stats;
        assert_eq!(
            (stats.total_queryable_samples, stats.samples_read),
            instant,
            "{query}"
        );
        let Ok(output) = engine.range(&store, query, 201_000, 220_000, 5_000, &options) else {
            continue;
        };
        let stats = output.stats;
        assert_eq!(
            (stats.total_queryable_samples, stats.samples_read),
            ranged,
            "{query}"
        );
        let by_step = stats.total_queryable_samples_per_step.expect("asked for");
        let sum: i64 = by_step.iter().map(|step| step.samples).sum();
        assert_eq!(
            (by_step.len(), sum),
            (4, stats.total_queryable_samples),
            "{query}"
        );
    }
}

#[test]
fn the_end_is_the_one_that_was_asked_for() {
    let store = store(1);
    let engine = engine(|_| {});
    // The last step is at 280 s, `end()` at 299 s.
    let output = engine
        .range(
            &store,
            "vector(end())",
            0,
            299_000,
            40_000,
            &QueryOptions::default(),
        )
        .expect("valid");
    let series = &matrix(output)[0];
    assert_eq!(series.timestamps_ms.last(), Some(&280_000));
    assert!(series.values.iter().all(|value| *value == 299.0));
}

#[test]
fn long_and_deep_queries_need_no_deep_stack() {
    let store = store(2);
    let engine = engine(|_| {});
    const MANY: usize = 3_000;
    for (query, series) in [
        (vec!["g"; MANY].join(" or "), 2),
        (vec!["g"; MANY].join(" + "), 2),
        (format!("g{}", " + 1".repeat(MANY)), 2),
        (vec!["1"; MANY].join(" + "), 1),
        (vec!["time()"; MANY].join(" + "), 1),
        (format!("g{}", " and on (i) g offset 1s".repeat(400)), 2),
        (format!("{}g{}", "abs(".repeat(100), ")".repeat(100)), 2),
        (format!("{}g{}", "sum(".repeat(100), ")".repeat(100)), 1),
        (format!("{}g{}", "sum by (i) (-".repeat(60), ")".repeat(60)), 2),
    ] {
        let found = matrix(range(&engine, &store, &query).expect("valid")).len();
        assert_eq!(found, series, "{}", &query[..40]);
    }
}

#[test]
fn texts_that_are_no_utf8_answer_with_replacement_characters() {
    let engine = engine(|_| {});
    let output = engine.instant(&store(1), r#""a\xff\u00e9""#, 0, &QueryOptions::default());
    let expected = Value::String {
        timestamp_ms: 0,
        value: "a\u{fffd}é".to_owned(),
    };
    assert_eq!(output.expect("a text").value, expected);
}
