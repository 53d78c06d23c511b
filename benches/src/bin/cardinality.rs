//! How the index of a block and of the head do with millions of series: time of each operation, and memory.
//!
//! ```text
//! cargo run --release -p narthex-benches --bin cardinality -- --series 10000000
//! ```
//!
//! A hundred metrics in pods of ten clusters; every series has an `id` of its own, so that one label has as many values
//! as there are series. Prints a line an operation: what it found, its mean processor time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use files::{DiskFiles, Files};
use model::clock::SystemClock;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::storage::{
    AppendBatch, AppendOutcome, Appender, FloatSample, Queryable, SelectHints, SeriesRef, TimeRange,
};
use tsdb::block::{ChunkMeta, IndexReader, IndexWriter};
use tsdb::db::{Cardinality, Db, Options, PairCounter};
use tsdb::select::{label_names, label_values, selection};

const METRICS: usize = 100;
const CLUSTERS: usize = 10;
const NAMESPACES: usize = 20;
const RUNS_MIN: u32 = 2;
/// Least time of all runs of an operation.
const LEAST: Duration = Duration::from_millis(200);

/// Measures the label index with many series.
#[derive(Debug, Parser)]
struct Cli {
    /// Series of the block
    #[arg(long, default_value_t = 10_000_000)]
    series: usize,
    /// Folder of the block, which is kept; one that is there already is not written again, so that the memory that is
    /// shown is what reading takes
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Series of the head; 0 leaves it out
    #[arg(long, default_value_t = 1_000_000)]
    head_series: usize,
}

/// Series `number` of `count`, in order of the labels: symbols are below.
#[derive(Clone, Copy)]
struct Shape {
    pods: usize,
    count: usize,
}

impl Shape {
    fn new(series: usize) -> Self {
        let pods = (series / METRICS).max(1);
        Shape {
            pods,
            count: pods * METRICS,
        }
    }

    /// Metric, cluster, namespace, pod and id of a series. Pods lie together by cluster and namespace; ids are spread.
    fn parts(self, number: usize) -> [usize; 5] {
        let pod = number % self.pods;
        let place = pod * CLUSTERS * NAMESPACES / self.pods;
        let spread = (number as u64 * 0x9e37_79b1) % (1 << 32);
        [
            number / self.pods,
            place / NAMESPACES,
            place,
            pod,
            spread as usize,
        ]
    }

    fn labels(self, number: usize) -> Labels {
        let [metric, cluster, namespace, pod, id] = self.parts(number).map(|part| part as u32);
        Labels::from_sorted([
            ("__name__", metric_name(metric).as_str()),
            ("cluster", &cluster_name(cluster)),
            ("id", &id_name(id)),
            ("namespace", &namespace_name(namespace)),
            ("pod", &pod_name(pod)),
        ])
    }
}

fn metric_name(number: u32) -> String {
    format!("container_metric_{number:02}_total")
}

fn cluster_name(number: u32) -> String {
    format!("eu-west-{number}")
}

fn id_name(number: u32) -> String {
    format!("id-{number:08x}")
}

fn namespace_name(number: u32) -> String {
    format!("namespace-{number:03}")
}

fn pod_name(number: u32) -> String {
    format!("pod-{number:06}")
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let folder = tempfile::tempdir()?;
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    let dir = cli.dir.unwrap_or_else(|| folder.path().join("block"));
    block(&files, &dir, Shape::new(cli.series))?;
    if cli.head_series > 0 {
        head(files, &folder.path().join("head"), Shape::new(cli.head_series))?;
    }
    Ok(())
}

fn block(files: &Arc<dyn Files>, dir: &Path, shape: Shape) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    say(&format!("block of {} series", shape.count));
    if !dir.join("index").exists() {
        let begin = Clock::now();
        write_index(files, dir, shape)?;
        line("written", &bytes(files.len(&dir.join("index"))?), begin.elapsed());
    }
    let begin = Clock::now();
    let index = IndexReader::open(&**files, dir)?;
    line("opened", &bytes(index.memory_bytes() as u64), begin.elapsed());
    memory();
    for (name, matchers) in selections(shape) {
        measure(name, || Ok(selection(&index, &matchers)?.len().to_string()))?;
    }
    for (name, label, matchers, limit) in values(shape) {
        measure(name, || {
            Ok(label_values(&index, label, &matchers, limit)?.len().to_string())
        })?;
    }
    for (name, matchers) in names(shape) {
        measure(name, || Ok(label_names(&index, &matchers, 0)?.len().to_string()))?;
    }
    measure("statistics", || {
        let mut counter = PairCounter::new("__name__", 10);
        index.visit_pairs(|name, value, series| counter.add(name, value, series))?;
        Ok(shown(&counter.finish()))
    })?;
    memory();
    Ok(())
}

/// Writes the index by symbols: texts of a kind are numbered in order, and kinds sort by their first letters.
fn write_index(files: &Arc<dyn Files>, dir: &Path, shape: Shape) -> Result<()> {
    let mut ids: Vec<u32> = (0..shape.count)
        .map(|number| shape.parts(number)[4] as u32)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    anyhow::ensure!(ids.len() == shape.count, "ids are not distinct");
    let mut symbols = vec!["__name__".to_owned(), "cluster".to_owned()];
    let metrics_at = symbols.len() as u32;
    symbols.extend((0..METRICS as u32).map(metric_name));
    let clusters_at = symbols.len() as u32;
    symbols.extend((0..CLUSTERS as u32).map(cluster_name));
    let id_at = symbols.len() as u32;
    symbols.push("id".to_owned());
    symbols.extend(ids.iter().map(|id| id_name(*id)));
    let namespace_at = symbols.len() as u32;
    symbols.push("namespace".to_owned());
    symbols.extend((0..(CLUSTERS * NAMESPACES) as u32).map(namespace_name));
    let pod_at = symbols.len() as u32;
    symbols.push("pod".to_owned());
    symbols.extend((0..shape.pods as u32).map(pod_name));
    let mut writer = IndexWriter::create(Arc::clone(files), dir, &symbols)?;
    drop(symbols);
    let chunk = ChunkMeta {
        min_ms: 0,
        max_ms: 7_199_999,
        reference: 8,
    };
    // In order of the labels: `id` comes before the pod.
    let mut order: Vec<u32> = (0..shape.count as u32).collect();
    order.sort_unstable_by_key(|number| {
        let [metric, cluster, _, _, id] = shape.parts(*number as usize);
        (metric, cluster, id)
    });
    for number in order {
        let [metric, cluster, namespace, pod, id] = shape.parts(number as usize).map(|part| part as u32);
        let id = ids.binary_search(&id).unwrap_or(0) as u32;
        let pairs = [
            (0, metrics_at + metric),
            (1, clusters_at + cluster),
            (id_at, id_at + 1 + id),
            (namespace_at, namespace_at + 1 + namespace),
            (pod_at, pod_at + 1 + pod),
        ];
        writer.add_pairs(&pairs, &[chunk])?;
    }
    Ok(writer.finish()?)
}

fn head(files: Arc<dyn Files>, dir: &Path, shape: Shape) -> Result<()> {
    say(&format!("head of {} series", shape.count));
    let begin = Clock::now();
    let options = Options {
        background: false,
        ..Options::default()
    };
    let db = Db::open(files, dir, options, Arc::new(SystemClock))?;
    let now_ms = db.head().options().chunk_range_ms * 250_000;
    let (mut batch, mut outcome) = (AppendBatch::default(), AppendOutcome::default());
    for number in 0..shape.count {
        let series: SeriesRef = db.resolve(&shape.labels(number))?;
        batch.floats.push(FloatSample {
            series,
            timestamp_ms: now_ms,
            value: 1.0,
        });
        if batch.floats.len() == 10_000 || number + 1 == shape.count {
            db.append(&batch, &mut outcome)?;
            batch.clear();
        }
    }
    line("filled", "", begin.elapsed());
    memory();
    let querier = db.querier(TimeRange::ALL)?;
    for (name, matchers) in selections(shape) {
        measure(name, || {
            let set = querier.select(&SelectHints::default(), &matchers)?;
            Ok(set.len().to_string())
        })?;
    }
    for (name, label, matchers, limit) in values(shape) {
        measure(name, || {
            let hints = SelectHints {
                limit,
                ..SelectHints::default()
            };
            Ok(querier.label_values(label, &hints, &matchers)?.len().to_string())
        })?;
    }
    for (name, matchers) in names(shape) {
        measure(name, || {
            Ok(querier
                .label_names(&SelectHints::default(), &matchers)?
                .len()
                .to_string())
        })?;
    }
    measure("statistics", || Ok(shown(&db.head().cardinality("__name__", 10))))?;
    memory();
    Ok(())
}

fn matcher(op: MatchOp, name: &str, value: impl Into<String>) -> Matcher {
    Matcher::new(op, name, value).expect("a valid pattern")
}

fn equal(name: &str, value: impl Into<String>) -> Matcher {
    matcher(MatchOp::Equal, name, value)
}

/// What is selected, and what it shows.
fn selections(shape: Shape) -> Vec<(&'static str, Vec<Matcher>)> {
    let regex = |name: &str, value: &str| matcher(MatchOp::Regex, name, value);
    let pod = pod_name(shape.pods as u32 / 2);
    let metric = || equal("__name__", metric_name(42));
    vec![
        ("select one metric", vec![metric()]),
        ("select one pod", vec![equal("pod", pod.as_str())]),
        ("select one series", vec![metric(), equal("pod", pod.as_str())]),
        (
            "select a metric in a namespace",
            vec![metric(), equal("namespace", namespace_name(7))],
        ),
        ("select pods by prefix", vec![regex("pod", "pod-0001.*")]),
        (
            "select a metric, pods by two prefixes",
            vec![metric(), regex("pod", "pod-0001.*|pod-0003.*")],
        ),
        ("select pods by ending", vec![regex("pod", ".*777")]),
        (
            "select a pod, ids by ending",
            vec![equal("pod", pod.as_str()), regex("id", ".*[0-4]")],
        ),
        ("select ids by ending", vec![regex("id", ".*777")]),
        (
            "select a metric without a namespace",
            vec![
                metric(),
                matcher(MatchOp::NotEqual, "namespace", namespace_name(7)),
            ],
        ),
        (
            "select a pod that has an id",
            vec![equal("pod", pod), matcher(MatchOp::NotEqual, "id", "")],
        ),
        (
            "select a metric without any pod",
            vec![metric(), equal("pod", "")],
        ),
        ("select all", vec![]),
    ]
}

/// What label values are asked for: a name, the label, matchers, a limit.
fn values(shape: Shape) -> Vec<(&'static str, &'static str, Vec<Matcher>, usize)> {
    let pod = pod_name(shape.pods as u32 / 2);
    let metric = || equal("__name__", metric_name(42));
    vec![
        ("values of namespace", "namespace", vec![], 0),
        ("values of pod", "pod", vec![], 0),
        ("values of id, the first 1000", "id", vec![], 1000),
        ("values of namespace of a metric", "namespace", vec![metric()], 0),
        ("values of pod of a metric", "pod", vec![metric()], 0),
        ("values of id of a pod", "id", vec![equal("pod", pod.as_str())], 0),
        (
            "values of __name__ of a pod",
            "__name__",
            vec![equal("pod", pod)],
            0,
        ),
        (
            "values of pod of a metric, the first 100",
            "pod",
            vec![metric()],
            100,
        ),
    ]
}

fn names(shape: Shape) -> Vec<(&'static str, Vec<Matcher>)> {
    let pod = pod_name(shape.pods as u32 / 2);
    vec![
        ("names", vec![]),
        ("names of a pod", vec![equal("pod", pod)]),
        ("names of a metric", vec![equal("__name__", metric_name(42))]),
    ]
}

fn shown(cardinality: &Cardinality) -> String {
    let largest = cardinality.values_by_name.first();
    let largest = largest.map_or(String::new(), |stat| format!("{} {}", stat.name, stat.value));
    format!("{} pairs, most values: {largest}", cardinality.label_pairs)
}

/// The mean time of some runs, and what they found. Short work is done so often that the clock can see it.
fn measure(name: &str, mut work: impl FnMut() -> Result<String>) -> Result<()> {
    let mut found = work()?;
    let (begin, wall) = (Clock::now(), Instant::now());
    let mut runs = 0;
    while runs < RUNS_MIN || wall.elapsed() < LEAST {
        found = work()?;
        runs += 1;
    }
    line(name, &found, begin.elapsed() / runs);
    Ok(())
}

/// Processor time of this thread where the system tells it, the clock's elsewhere: a busy machine does not blur it.
enum Clock {
    Processor(u64),
    Wall(Instant),
}

impl Clock {
    fn now() -> Self {
        Clock::processor_ns().map_or_else(|| Clock::Wall(Instant::now()), Clock::Processor)
    }

    fn processor_ns() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse().ok()
    }

    fn elapsed(&self) -> Duration {
        match self {
            Clock::Processor(begin) => {
                Duration::from_nanos(Clock::processor_ns().unwrap_or(*begin).saturating_sub(*begin))
            }
            Clock::Wall(begin) => begin.elapsed(),
        }
    }
}

fn memory() {
    line("anonymous memory", &bytes(anonymous_bytes()), Duration::ZERO);
}

fn line(name: &str, found: &str, time: Duration) {
    say(&format!(
        "{name:42} {:>12.3} ms  {found}",
        time.as_secs_f64() * 1e3
    ));
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn say(text: &str) {
    println!("{text}");
}

fn bytes(count: u64) -> String {
    format!("{:.1} MiB", count as f64 / f64::from(1 << 20))
}

/// Anonymous memory of this process; 0 where the system does not tell.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
