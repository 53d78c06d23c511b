//! How fast servers answer a fixed list of queries over the data set of `generate`, and whether they answer the same.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::answers::Answer;
use crate::api::{Api, Encoding};
use crate::plot::{self, Bars};
use crate::report::{Table, figure, geometric_mean, median, print, progress};

/// Servers and sizes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// URL of Narthex
    #[arg(long)]
    narthex_url: String,
    /// URL of Prometheus, with which times and answers are compared
    #[arg(long)]
    prometheus_url: String,
    /// URL of VictoriaMetrics
    #[arg(long)]
    victoriametrics_url: Option<String>,
    /// Runs of each query, of which the median counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Runs before, which do not count
    #[arg(long, default_value_t = 1)]
    warm_up: usize,
    /// Only queries whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Encoding that answers are asked for in; dashboards and browsers ask for gzip
    #[arg(long, value_enum, default_value_t)]
    accept_encoding: Encoding,
    /// Draw the ratios into this file, as SVG
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is asked. Ranges end with the data.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Range {
        expr: &'static str,
        hours: i64,
        step_s: i64,
    },
    Instant(&'static str),
    Series(&'static str),
    LabelValues(&'static str),
}

/// A query of the list.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// How many times faster than Prometheus it is meant to be; none where only the mean counts.
    aim: Option<f64>,
    pub(crate) ask: Ask,
}

pub(crate) const CASES: [Case; 14] = [
    case(
        "rate by handler",
        Some(25.0),
        range("sum by (handler) (rate(http_requests_total[5m]))", 24, 60),
    ),
    case(
        "quantile of buckets",
        Some(22.0),
        range(
            "histogram_quantile(0.99, sum by (le, handler) (rate(http_request_duration_seconds_bucket[5m])))",
            24,
            60,
        ),
    ),
    case(
        "topk of rates",
        Some(18.0),
        range(
            "topk(5, sum by (instance) (rate(http_requests_total[5m])))",
            24,
            300,
        ),
    ),
    case(
        "subquery",
        Some(14.0),
        range(
            "max_over_time(sum by (instance) (rate(http_requests_total[5m]))[1h:1m])",
            6,
            300,
        ),
    ),
    case("sum", Some(10.0), range("sum(http_requests_total)", 6, 15)),
    case(
        "quantile over time",
        Some(6.0),
        range(
            "avg by (cluster) (quantile_over_time(0.9, http_requests_total{code=\"200\"}[30m]))",
            24,
            300,
        ),
    ),
    case(
        "max over time",
        Some(6.0),
        range("max_over_time(node_load1[1h])", 24, 120),
    ),
    case(
        "two joins",
        Some(5.0),
        range(
            "node_load1 / on (host) node_cpus * on (host) group_left (team) node_owner",
            24,
            60,
        ),
    ),
    case(
        "raw matrix",
        Some(4.0),
        Ask::Instant("http_requests_total{code=\"200\"}[2h]"),
    ),
    case(
        "instant rate",
        Some(2.0),
        Ask::Instant("sum by (code) (rate(http_requests_total[5m]))"),
    ),
    case(
        "one series",
        Some(2.0),
        range(
            "rate(http_requests_total{code=\"200\",handler=\"/api/v1/resource7\",instance=\"10.0.0.0:9100\"}[5m])",
            6,
            15,
        ),
    ),
    case("series", None, Ask::Series("http_requests_total")),
    case("label values", None, Ask::LabelValues("handler")),
    case(
        "count of a pattern",
        None,
        Ask::Instant("count({handler=~\"/api/v1/resource[0-9]*7\"})"),
    ),
];

const fn case(name: &'static str, aim: Option<f64>, ask: Ask) -> Case {
    Case { name, aim, ask }
}

const fn range(expr: &'static str, hours: i64, step_s: i64) -> Ask {
    Ask::Range { expr, hours, step_s }
}

/// Time that the data covers, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start_s: i64,
    pub(crate) end_s: i64,
}

impl Span {
    /// Of samples from `first_s` to `last_s`; the end is a multiple of 5 minutes, so that steps are the same for servers
    /// that align them.
    pub(crate) fn new(first_s: f64, last_s: f64) -> Self {
        Span {
            start_s: first_s.ceil() as i64,
            end_s: last_s as i64 / 300 * 300,
        }
    }

    /// First and last step of the last `hours`; short data sets give as much as there is, in whole steps.
    pub(crate) fn last(self, hours: i64, step_s: i64) -> (i64, i64) {
        let steps = (hours * 3600).min(self.end_s - self.start_s) / step_s;
        (self.end_s - steps * step_s, self.end_s)
    }

    /// As the first and last samples of one series have it.
    pub(crate) async fn of(api: &Api) -> Result<Self> {
        let now_s = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)?
            .as_secs_f64();
        let data = api.instant("node_load1{host=\"host-0\"}[14d]", now_s).await?;
        let values = data["result"][0]["values"]
            .as_array()
            .filter(|values| !values.is_empty());
        let values = values.context("the data set of `compare generate` is not there")?;
        let second = |point: &Value| point[0].as_f64().unwrap_or(0.0);
        let (first, last) = (second(&values[0]), second(&values[values.len() - 1]));
        let span = Span::new(first, last);
        if span.end_s <= span.start_s {
            bail!("the data covers less than five minutes");
        }
        Ok(span)
    }
}

impl Ask {
    /// Path and parameters.
    pub(crate) fn request(self, span: Span) -> (String, Vec<(&'static str, String)>) {
        // VictoriaMetrics keeps results unless it is told; the others do not know the word.
        let mut pairs = vec![("nocache", "1".to_owned())];
        let path = match self {
            Ask::Range { expr, hours, step_s } => {
                let (start_s, end_s) = span.last(hours, step_s);
                pairs.extend([("query", expr.to_owned()), ("start", start_s.to_string())]);
                pairs.extend([("end", end_s.to_string()), ("step", step_s.to_string())]);
                "/api/v1/query_range".to_owned()
            }
            Ask::Instant(expr) => {
                pairs.extend([("query", expr.to_owned()), ("time", span.end_s.to_string())]);
                "/api/v1/query".to_owned()
            }
            Ask::Series(matcher) => {
                pairs.extend([
                    ("match[]", matcher.to_owned()),
                    ("start", span.start_s.to_string()),
                ]);
                pairs.push(("end", span.end_s.to_string()));
                "/api/v1/series".to_owned()
            }
            Ask::LabelValues(name) => {
                pairs.extend([
                    ("start", span.start_s.to_string()),
                    ("end", span.end_s.to_string()),
                ]);
                format!("/api/v1/label/{name}/values")
            }
        };
        (path, pairs)
    }
}

/// The part of the time of an answer that its server has afterwards to collect its garbage.
const TIDYING: u32 = 10;

/// What came of a query at one server.
enum Outcome {
    /// Median time in milliseconds, and the answer.
    Answered(f64, Answer),
    Failed(String),
}

/// Asks the servers and prints the table.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut servers = vec![
        ("Prometheus", &options.prometheus_url),
        ("Narthex", &options.narthex_url),
    ];
    servers.extend(
        options
            .victoriametrics_url
            .iter()
            .map(|url| ("VictoriaMetrics", url)),
    );
    let apis = servers
        .iter()
        .map(|(_, url)| Ok(Api::new(url)?.asked_as(options.accept_encoding)))
        .collect::<Result<Vec<_>>>()?;
    let span = Span::of(&apis[0]).await?;

    let mut table = Table::new(head(&servers));
    let mut notes = String::new();
    let mut lines = Vec::new();
    let mut bars = Vec::new();
    for case in CASES.iter().filter(|case| case.name.contains(&options.only)) {
        progress(case.name);
        let mut outcomes = measure(&apis, case.ask, span, options).await?;
        let (base_ms, expected) = match outcomes.remove(0) {
            Outcome::Answered(ms, answer) => (ms, answer),
            Outcome::Failed(error) => bail!("{}: Prometheus: {error}", case.name),
        };
        let (mut times, mut factors) = (vec![figure(base_ms)], Vec::new());
        let mut same = true;
        let mut line =
            json!({"query": case.name, "entries": expected.len(), "aim": case.aim, "Prometheus_ms": base_ms});
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let (name, _) = servers[at + 1];
            let (ms, difference) = match outcome {
                Outcome::Answered(ms, answer) => (ms, expected.difference(&answer)),
                Outcome::Failed(error) => (f64::NAN, Some(error)),
            };
            times.push(figure(ms));
            factors.push(base_ms / ms);
            line[format!("{name}_ms")] = json!(ms);
            line[format!("{name}_times_faster")] = json!(base_ms / ms);
            line[format!("{name}_difference")] = json!(difference);
            if let Some(difference) = difference {
                same = false;
                notes += &format!("{}: {name}: {difference}\n", case.name);
            }
        }
        let aim = case.aim.map_or_else(|| "-".to_owned(), |aim| format!("{aim}"));
        let answers = if same { "same" } else { "differ" };
        let ratios = factors.iter().copied().map(figure).collect();
        let cells = [vec![case.name.to_owned()], times, ratios];
        table.push(
            [
                cells.concat(),
                vec![aim, expected.len().to_string(), answers.to_owned()],
            ]
            .concat(),
        );
        lines.push(line);
        bars.push(Bars {
            name: case.name,
            factors,
        });
    }
    let names: Vec<&str> = servers.iter().skip(1).map(|(name, _)| *name).collect();
    if let Some(path) = &options.svg {
        std::fs::write(path, plot::draw(&names, &bars))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mean = |at: usize| {
        let all = bars.iter().map(|query| query.factors[at]);
        geometric_mean(&all.filter(|factor| !factor.is_nan()).collect::<Vec<_>>())
    };
    let means: Vec<f64> = (0..names.len()).map(mean).collect();
    let mut cells = vec!["geometric mean".to_owned()];
    cells.extend(servers.iter().map(|_| String::new()));
    cells.extend(means.iter().map(|mean| figure(*mean)));
    cells.extend(["8".to_owned(), String::new(), String::new()]);
    table.push(cells);
    let about = format!(
        "medians of {} runs; answers as {}; data from {} to {}",
        options.runs,
        options.accept_encoding.name(),
        span.start_s,
        span.end_s
    );
    let json = json!({"about": about, "queries": lines, "geometric_means": means});
    print(
        options.json,
        &json,
        &format!("{about}\n\n{}\n{notes}", table.render()),
    )
}

/// The table's first line.
fn head(servers: &[(&str, &String)]) -> Vec<String> {
    let mut head = vec!["query".to_owned()];
    head.extend(servers.iter().map(|(name, _)| format!("{name}, ms")));
    let others = servers.iter().skip(1);
    head.extend(others.map(|(name, _)| format!("{name}, times faster")));
    head.extend(["aim", "entries", "answers"].map(str::to_owned));
    head
}

/// Asks each server in turn, run after run, so that all see the same moods of the machine. The first answers are kept
/// and compared; those that are timed are read to the last byte and dropped, since the client that keeps megabytes
/// would be measured with them.
async fn measure(apis: &[Api], ask: Ask, span: Span, options: &Options) -> Result<Vec<Outcome>> {
    let (path, pairs) = ask.request(span);
    let mut times = vec![Vec::new(); apis.len()];
    let mut bodies = Vec::new();
    for api in apis {
        bodies.push(api.get(&path, &pairs).await.map_err(|e| format!("{e:#}")));
    }
    for run in 0..options.warm_up + options.runs.max(1) {
        for (at, api) in apis.iter().enumerate() {
            if bodies[at].is_err() {
                continue;
            }
            let start = Instant::now();
            api.drain(&path, &pairs).await?;
            let took = start.elapsed();
            if run >= options.warm_up {
                times[at].push(took.as_secs_f64() * 1e3);
            }
            // Whoever answered tidies up before the next one is measured.
            tokio::time::sleep(took / TIDYING).await;
        }
    }
    let outcomes =
        times
            .iter()
            .zip(bodies)
            .map(|(times, body)| match body.map(|body| Answer::parse(&body)) {
                Ok(Ok(answer)) => Outcome::Answered(median(times), answer),
                Ok(Err(error)) => Outcome::Failed(format!("{error:#}")),
                Err(error) => Outcome::Failed(error),
            });
    Ok(outcomes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_with_the_data_and_keep_whole_steps() {
        let span = Span {
            start_s: 1_000_000_030,
            end_s: 1_000_003_600,
        };
        let (path, pairs) = range("up", 24, 60).request(span);
        assert_eq!(path, "/api/v1/query_range");
        let value = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("start"), Some("1000000060"));
        assert_eq!(value("end"), Some("1000003600"));
        let (_, pairs) = range("up", 1, 60).request(Span {
            start_s: 0,
            end_s: 36_000,
        });
        assert!(pairs.contains(&("start", "32400".to_owned())));
    }
}
