//! How soon the work for a request ends when its client hangs up.
//!
//! A query goes through several kinds of work one after the other, so its client hangs up at several moments of it, each
//! time of a new request. The work has ended when the process needs no processor time any more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Options, read_all, send};
use crate::query::{Ask, Span};
use crate::report::{Table, figure, median, progress};
use crate::server::Server;

/// Heavy queries, by the work that they are made of.
const CASES: [(&str, Ask); 18] = [
    ("rates of all", range("sum(rate({__name__=~\".+\"}[5m]))", 24, 30)),
    ("matrix of rates", range("rate(http_requests_total[5m])", 24, 45)),
    ("raw matrix", Ask::Instant("http_requests_total[24h]")),
    (
        "subqueries",
        range(
            "max_over_time(sum_over_time(rate(http_requests_total[5m])[1h:1m])[6h:1m])",
            6,
            60,
        ),
    ),
    (
        "one long window",
        range(
            "quantile_over_time(0.5, node_load1{host=\"host-0\"}[24h])",
            24,
            15,
        ),
    ),
    (
        "one long subquery",
        range("deriv(vector(time())[10d:10s])", 24, 15),
    ),
    (
        "quantiles",
        range("sum(quantile_over_time(0.9, http_requests_total[30m]))", 24, 60),
    ),
    (
        "sort",
        Ask::Instant("sort(last_over_time(count_values without () (\"v\", node_load1)[24h:90s]))"),
    ),
    (
        "count of values",
        range("count_values(\"v\", node_load1)", 24, 90),
    ),
    (
        "join",
        range(
            "http_requests_total * ignoring () group_left rate(http_requests_total[5m])",
            24,
            120,
        ),
    ),
    (
        "sets",
        range(
            "http_requests_total or rate(http_requests_total[5m]) unless node_load1",
            24,
            120,
        ),
    ),
    (
        "label_replace",
        range(
            "label_replace(http_requests_total, \"x\", \"$1-$2\", \"handler\", \"(.*)e(.*)\")",
            24,
            120,
        ),
    ),
    ("topk", range("topk(100, rate(http_requests_total[5m]))", 24, 30)),
    (
        "quantile of all",
        range("quantile(0.9, http_requests_total)", 24, 15),
    ),
    ("deviation of all", range("stddev(http_requests_total)", 24, 15)),
    (
        "buckets",
        range(
            "histogram_quantile(0.9, rate(http_request_duration_seconds_bucket[5m]))",
            24,
            15,
        ),
    ),
    (
        "pattern",
        Ask::Instant("count({__name__=~\".*[a-z]_.*\", handler=~\".*[e-s]+.*7.*\"})"),
    ),
    ("series", Ask::Series("{__name__=~\".+\"}")),
];

const fn range(expr: &'static str, hours: i64, step_s: i64) -> Ask {
    Ask::Range { expr, hours, step_s }
}

/// Longest that a whole query is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is asked what the process has used.
const WINDOW: Duration = Duration::from_millis(4);
/// So much processor time in a window is work.
const BUSY: Duration = Duration::from_micros(800);
/// So long without work, and it has ended.
const QUIET: Duration = Duration::from_millis(60);

/// What a server still did when its client was gone.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// How long, on the clock.
    wall: Duration,
    /// Processor time of all its threads: what counts on a machine that is busy with other things.
    processor: Duration,
}

/// What came of a query.
pub(super) struct Ending {
    name: &'static str,
    /// What the whole query takes, in milliseconds, and what the server said in the first line.
    whole_ms: f64,
    said: String,
    /// From hanging up to the end of the work, one for each moment.
    after: Vec<Rest>,
}

pub(super) async fn measure(server: &Server, span: Span, options: &Options) -> Result<Vec<Ending>> {
    let mut endings = Vec::new();
    for (name, ask) in CASES.iter().filter(|(name, _)| name.contains(&options.only)) {
        progress(name);
        let begin = Instant::now();
        let mut stream = send(server.address(), *ask, span).await?;
        let said = match tokio::time::timeout(PATIENCE, read_all(&mut stream)).await {
            Ok(said) => said?,
            Err(_) => "goes on".to_owned(),
        };
        drop(stream);
        let whole = begin.elapsed();
        until_idle(server).await?;
        let mut after = Vec::new();
        for moment in 0..options.moments {
            let mut stream = send(server.address(), *ask, span).await?;
            let wait = whole * (2 * moment + 1) / (2 * options.moments);
            let ended = tokio::time::timeout(wait, read_all(&mut stream)).await.is_ok();
            drop(stream);
            let rest = until_idle(server).await?;
            if !ended {
                after.push(rest);
            }
        }
        endings.push(Ending {
            name,
            whole_ms: whole.as_secs_f64() * 1e3,
            said,
            after,
        });
    }
    Ok(endings)
}

/// Waits until the server has no work; how long it still had.
async fn until_idle(server: &Server) -> Result<Rest> {
    let begin = Instant::now();
    let (mut wall, mut processor) = (Duration::ZERO, Duration::ZERO);
    let mut before = server.thread_times()?;
    loop {
        if begin.elapsed() - wall >= QUIET {
            // On a busy machine a query may be there that only waits for its turn.
            match server.api.metric("prometheus_engine_queries").await? {
                Some(0.0) => return Ok(Rest { wall, processor }),
                _ => wall = begin.elapsed(),
            }
        }
        tokio::time::sleep(WINDOW).await;
        let now = server.thread_times()?;
        let used = used(&before, &now);
        if used > BUSY {
            wall = begin.elapsed();
            processor += used;
        }
        before = now;
        if begin.elapsed() > PATIENCE {
            bail!("the server does not come to rest");
        }
    }
}

/// Processor time between two looks; threads that ended in between are not counted.
fn used(before: &HashMap<u32, Duration>, now: &HashMap<u32, Duration>) -> Duration {
    let earlier = |thread| before.get(thread).copied().unwrap_or_default();
    now.iter()
        .map(|(thread, time)| time.saturating_sub(earlier(thread)))
        .sum()
}

pub(super) fn table(endings: &[Ending]) -> String {
    let head = [
        "hang-up during",
        "whole, ms",
        "median, ms",
        "most, ms",
        "most processor time, ms",
        "moments",
        "answer",
    ];
    let mut table = Table::new(head.map(str::to_owned).to_vec());
    for ending in endings {
        let most = |list: Vec<f64>| list.into_iter().fold(f64::NAN, f64::max);
        table.push(vec![
            ending.name.to_owned(),
            figure(ending.whole_ms),
            figure(median(&ending.wall_ms())),
            figure(most(ending.wall_ms())),
            figure(most(ending.processor_ms())),
            ending.after.len().to_string(),
            ending.said.trim_start_matches("HTTP/1.1 ").to_owned(),
        ]);
    }
    match endings {
        [] => String::new(),
        _ => table.render(),
    }
}

pub(super) fn json(endings: &[Ending]) -> Value {
    let line = |ending: &Ending| {
        json!({
            "query": ending.name,
            "whole_ms": ending.whole_ms,
            "said": ending.said,
            "wall_ms": ending.wall_ms(),
            "processor_ms": ending.processor_ms(),
        })
    };
    endings.iter().map(line).collect()
}

impl Ending {
    fn wall_ms(&self) -> Vec<f64> {
        self.after
            .iter()
            .map(|rest| rest.wall.as_secs_f64() * 1e3)
            .collect()
    }

    fn processor_ms(&self) -> Vec<f64> {
        self.after
            .iter()
            .map(|rest| rest.processor.as_secs_f64() * 1e3)
            .collect()
    }
}
