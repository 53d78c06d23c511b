//! The queries of `query` inside this process: what the engine takes without network and JSON, and how much of that is
//! reading samples. Made for profilers: `--only` picks a query, `--runs` keeps it going.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use files::DiskFiles;
use model::clock::SystemClock;
use model::columns::Columns;
use model::matcher::Matcher;
use model::storage::{Queryable, SelectHints, TimeRange};
use promql::ast::{Expr, ExprKind};
use promql::engine::{Engine, EngineOptions, EvalTime, QueryOptions};
use promql::value::Value;
use rustix::time::{ClockId, clock_gettime};
use tsdb::db::Db;

use crate::query::{Ask, CASES, Span};
use crate::report::{Table, figure, progress, say};

/// What to run on which data.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Data folder that `generate` made; nobody else may have it open
    #[arg(long)]
    data: PathBuf,
    /// Runs of each query, of which the best counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Threads of the engine; 0 takes one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Only queries whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Do not measure reading by itself
    #[arg(long)]
    no_reading: bool,
}

/// Runs the queries and prints the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let storage = tsdb::db::Options {
        background: false,
        retention_ms: 0,
        ..tsdb::db::Options::default()
    };
    let db = Db::open(Arc::new(DiskFiles), &options.data, storage, Arc::new(SystemClock))?;
    let engine = Engine::new(EngineOptions {
        threads: options.threads,
        ..EngineOptions::default()
    });
    let span = span(&db)?;
    let head = [
        "query",
        "wall, ms",
        "CPU, ms",
        "series",
        "samples",
        "reading, CPU ms",
        "M samples/s a core",
    ];
    let mut table = Table::new(head.map(str::to_owned).to_vec());
    for case in CASES.iter().filter(|case| case.name.contains(&options.only)) {
        let Some((expr, time)) = evaluation(case.ask, span) else {
            continue;
        };
        progress(case.name);
        let expr = engine.parse(expr)?;
        let mut entries = 0;
        let (wall, cpu) = timed(options.runs, || {
            let output = engine.evaluate(&db, &expr, time, &QueryOptions::default())?;
            entries = len(&output.value);
            Ok(())
        })?;
        let mut cells = vec![case.name.to_owned(), figure(wall), figure(cpu)];
        if options.no_reading {
            cells.extend([entries.to_string(), String::new(), String::new(), String::new()]);
        } else {
            let mut read = (0, 0);
            let (_, reading) = timed(options.runs, || {
                read = read_all(&db, &expr, time)?;
                Ok(())
            })?;
            let rate = read.1 as f64 / reading / 1e3;
            cells.extend([
                read.0.to_string(),
                read.1.to_string(),
                figure(reading),
                figure(rate),
            ]);
        }
        table.push(cells);
    }
    say(&table.render());
    Ok(())
}

/// A measurement takes at least this long.
const MEASURED_MIN: Duration = Duration::from_millis(50);

/// Least wall and processor time in milliseconds: what disturbs a run only adds to it.
fn timed(runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<(f64, f64)> {
    let start = Instant::now();
    work()?;
    let times = MEASURED_MIN
        .as_nanos()
        .div_ceil(start.elapsed().as_nanos().max(1));
    let (mut wall_ms, mut cpu_ms) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..runs.max(1) {
        let (wall, cpu) = (Instant::now(), processor_time());
        for _ in 0..times {
            work()?;
        }
        wall_ms = wall_ms.min(wall.elapsed().as_secs_f64() * 1e3 / times as f64);
        cpu_ms = cpu_ms.min((processor_time() - cpu).as_secs_f64() * 1e3 / times as f64);
    }
    Ok((wall_ms, cpu_ms))
}

/// Processor time of the process so far, threads that have ended included.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time that the data covers, as `query` finds it.
fn span(db: &Db) -> Result<Span> {
    let matchers = [("__name__", "node_load1"), ("host", "host-0")].map(|(n, v)| Matcher::equal(n, v));
    let set = db
        .querier(TimeRange::ALL)?
        .select(&SelectHints::default(), &matchers)?;
    if set.is_empty() {
        bail!("the data set of `compare generate` is not there");
    }
    let mut columns = Columns::default();
    set.read(0, TimeRange::ALL, &mut columns)?;
    let (first, last) = (columns.timestamps_ms.first(), columns.timestamps_ms.last());
    let (first, last) = first.zip(last).context("a series without samples")?;
    Ok(Span::new(*first as f64 / 1e3, *last as f64 / 1e3))
}

/// What the engine is asked; nothing for what it has no part in.
fn evaluation(ask: Ask, span: Span) -> Option<(&'static str, EvalTime)> {
    match ask {
        Ask::Range { expr, hours, step_s } => {
            let (start_s, end_s) = span.last(hours, step_s);
            let time = EvalTime::Range {
                start_ms: start_s * 1000,
                end_ms: end_s * 1000,
                step_ms: step_s * 1000,
            };
            Some((expr, time))
        }
        Ask::Instant(expr) => Some((
            expr,
            EvalTime::Instant {
                at_ms: span.end_s * 1000,
            },
        )),
        Ask::Series(_) | Ask::LabelValues(_) => None,
    }
}

fn len(value: &Value) -> usize {
    match value {
        Value::Matrix(series) => series.len(),
        Value::Vector(samples) => samples.len(),
        _ => 1,
    }
}

/// Selects and reads what the selectors of `expr` name, on this thread; how many series and samples that is. Ranges
/// and the lookback are taken to be an hour and five minutes at most.
fn read_all(db: &Db, expr: &Expr, time: EvalTime) -> Result<(usize, usize)> {
    let (start_ms, end_ms) = match time {
        EvalTime::Instant { at_ms } => (at_ms, at_ms),
        EvalTime::Range { start_ms, end_ms, .. } => (start_ms, end_ms),
    };
    let mut selectors = Vec::new();
    expr.walk(&mut |expr| match &expr.kind {
        ExprKind::Vector(selector) => selectors.push(&selector.matchers),
        ExprKind::Matrix(matrix) => selectors.push(&matrix.selector.matchers),
        _ => {}
    });
    let range = TimeRange::new(start_ms - 300_000, end_ms);
    let querier = db.querier(range)?;
    let (mut series, mut samples) = (0, 0);
    let mut columns = Columns::default();
    for matchers in selectors {
        let set = querier.select(&SelectHints::default(), matchers)?;
        series += set.len();
        for index in 0..set.len() {
            set.read(index, range, &mut columns)?;
            samples += columns.len();
        }
    }
    Ok((series, samples))
}
