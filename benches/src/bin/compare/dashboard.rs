//! A dashboard that is refreshed while time moves on: what its panels take of a server, with kept results and without.
//!
//! The data is that of `generate`, and time moves over its end: each refresh asks for a range that ends ten seconds later,
//! with its ends on multiples of the step, as Grafana asks. Servers are asked one after the other; what they take is what
//! they say themselves (`process_cpu_seconds_total`).

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;

use crate::answers::Answer;
use crate::api::{Api, Encoding};
use crate::query::Span;
use crate::report::{Table, figure, median, print, progress};

/// Servers and sizes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// URL of Narthex
    #[arg(long)]
    narthex_url: String,
    /// URL of Prometheus
    #[arg(long)]
    prometheus_url: String,
    /// Refreshes of the dashboard; the first does not count
    #[arg(long, default_value_t = 30)]
    refreshes: usize,
    /// Refreshes of it at those who evaluate all of it each time
    #[arg(long, default_value_t = 5)]
    whole_refreshes: usize,
    /// Hours that it shows
    #[arg(long, default_value_t = 6)]
    hours: i64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Seconds between refreshes.
const REFRESH_S: i64 = 10;
/// Step of the panels, in seconds.
const STEP_S: i64 = 15;

/// The panels.
const PANELS: [&str; 20] = [
    "sum(rate(http_requests_total[5m]))",
    "sum by (code) (rate(http_requests_total[5m]))",
    "sum by (handler) (rate(http_requests_total[5m]))",
    "sum by (instance) (rate(http_requests_total[5m]))",
    "sum(rate(http_requests_total{code=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))",
    "topk(5, sum by (handler) (rate(http_requests_total[5m])))",
    "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    "histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    "sum(increase(http_requests_total[1h]))",
    "avg(node_load1)",
    "max(node_load1)",
    "max by (cluster) (max_over_time(node_load1[10m]))",
    "avg by (cluster) (avg_over_time(node_load1[10m]))",
    "sum(node_load1) / sum(node_cpus)",
    "count(node_load1 > 1)",
    "quantile(0.9, node_load1)",
    "sum by (code) (increase(http_requests_total[15m]))",
    "max(sum by (instance) (rate(http_requests_total[1m])))",
    "count(http_requests_total)",
];

/// The query that is asked once more some seconds later.
const HEAVY: &str = "sum by (handler) (rate(http_requests_total[5m]))";
const HEAVY_HOURS: i64 = 24;
const HEAVY_STEP_S: i64 = 60;
const HEAVY_LATER_S: i64 = 15;

/// What a server took.
struct Took {
    /// Processor time of a refresh, in milliseconds.
    cpu_ms: f64,
    /// Median time of a panel, in milliseconds.
    panel_ms: f64,
    /// Median time of the heavy query when it is asked again, in milliseconds.
    again_ms: f64,
}

/// Asks the servers and prints the table.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let api = |url: &str| Ok::<_, anyhow::Error>(Api::new(url)?.asked_as(Encoding::Gzip));
    let (prometheus, whole) = (api(&options.prometheus_url)?, api(&options.narthex_url)?);
    let kept = whole.clone().taking_kept();
    let span = Span::of(&prometheus).await?;
    compare_answers(&prometheus, &kept, span, options).await?;
    let servers = [
        ("Prometheus", &prometheus, options.whole_refreshes),
        ("Narthex, nothing kept", &whole, options.whole_refreshes),
        ("Narthex", &kept, options.refreshes),
    ];
    let mut table = Table::new(
        [
            "server",
            "CPU of a refresh, ms",
            "a panel, ms",
            "24 h again 15 s later, ms",
        ]
        .map(str::to_owned)
        .to_vec(),
    );
    let mut lines = Vec::new();
    for (name, api, refreshes) in servers {
        progress(name);
        let took = measure(api, span, refreshes, options).await?;
        let figures = [took.cpu_ms, took.panel_ms, took.again_ms];
        let cells = figures.into_iter().map(figure);
        table.push([name.to_owned()].into_iter().chain(cells).collect());
        lines.push(json!({
            "server": name,
            "refresh_cpu_ms": took.cpu_ms,
            "panel_ms": took.panel_ms,
            "again_ms": took.again_ms,
        }));
    }
    let about = format!(
        "{} panels over {} h, refreshed every {REFRESH_S} s; answers as gzip; data from {} to {}",
        PANELS.len(),
        options.hours,
        span.start_s,
        span.end_s
    );
    let json = json!({"about": about, "servers": lines});
    print(options.json, &json, &format!("{about}\n\n{}", table.render()))
}

/// The range of a panel whose end is `end_s`, on multiples of the step.
fn request(query: &str, end_s: i64, hours: i64, step_s: i64) -> Vec<(&'static str, String)> {
    let end_s = end_s / step_s * step_s;
    vec![
        ("query", query.to_owned()),
        ("start", (end_s - hours * 3600).to_string()),
        ("end", end_s.to_string()),
        ("step", step_s.to_string()),
    ]
}

const PATH: &str = "/api/v1/query_range";

/// Where time stands at refresh `number`, so that the last one ends with the data.
fn end_of(span: Span, number: usize, refreshes: usize) -> i64 {
    span.end_s - (refreshes - 1 - number.min(refreshes - 1)) as i64 * REFRESH_S
}

async fn measure(api: &Api, span: Span, refreshes: usize, options: &Options) -> Result<Took> {
    let cpu = async || {
        let seconds = api.metric("process_cpu_seconds_total").await?;
        seconds.context("the server does not tell its processor time")
    };
    let refreshes = refreshes.max(2);
    let (mut begin_s, mut times) = (0.0, Vec::new());
    for number in 0..refreshes {
        if number == 1 {
            begin_s = cpu().await?;
        }
        for query in PANELS {
            let end_s = end_of(span, number, refreshes);
            let start = Instant::now();
            api.drain(PATH, &request(query, end_s, options.hours, STEP_S))
                .await?;
            if number > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let cpu_ms = (cpu().await? - begin_s) * 1e3 / (refreshes - 1) as f64;
    let mut again = Vec::new();
    for number in 0..6 {
        let end_s = span.end_s - (5 - number) * HEAVY_LATER_S;
        let start = Instant::now();
        api.drain(PATH, &request(HEAVY, end_s, HEAVY_HOURS, HEAVY_STEP_S))
            .await?;
        if number > 0 {
            again.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(Took {
        cpu_ms,
        panel_ms: median(&times),
        again_ms: median(&again),
    })
}

/// The answers of the last refresh, which are made of pieces, beside the reference's.
async fn compare_answers(prometheus: &Api, kept: &Api, span: Span, options: &Options) -> Result<()> {
    for query in PANELS {
        let last = request(query, span.end_s, options.hours, STEP_S);
        let before = request(query, span.end_s - 300, options.hours, STEP_S);
        kept.drain(PATH, &before).await?;
        let mine = Answer::parse(&kept.get(PATH, &last).await?)?;
        let expected = Answer::parse(&prometheus.get(PATH, &last).await?)?;
        if let Some(difference) = expected.difference(&mine) {
            progress(&format!("{query}: {difference}"));
        }
    }
    Ok(())
}
