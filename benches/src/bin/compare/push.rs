//! What taking remote write in costs: a sender drives each server in turn, alone on the machine, with the same samples.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use model::protobuf::Message;
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::report::{Figures, as_json, print, progress, side_by_side};
use crate::server::{Kind, Server, Setup};
use crate::targets::SUITE;

/// Servers and sizes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Program of Narthex
    #[arg(long)]
    narthex: PathBuf,
    /// Program of Prometheus, to which all ratios are
    #[arg(long)]
    prometheus: PathBuf,
    /// Series
    #[arg(long, default_value_t = 500_000)]
    series: usize,
    /// Samples of a request, each of another series
    #[arg(long, default_value_t = 2000)]
    batch: usize,
    /// Requests under way at the same time
    #[arg(long, default_value_t = 4)]
    shards: usize,
    /// Samples of each series before measuring starts: series are made in them
    #[arg(long, default_value_t = 2)]
    settle: u64,
    /// Samples of each series that are measured
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    /// Time between two samples of a series
    #[arg(long, default_value = "15s", value_parser = crate::duration)]
    interval: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn content_type(self) -> &'static str {
        match self {
            Version::One => "application/x-protobuf",
            Version::Two => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }
}

/// Measures each server with each version and prints the tables.
pub(crate) async fn run(options: &Options) -> Result<()> {
    if options.series == 0 || options.batch == 0 || options.shards == 0 || options.rounds == 0 {
        bail!("--series, --batch, --shards and --rounds must be above zero");
    }
    let whole =
        |path: &PathBuf| fs::canonicalize(path).with_context(|| format!("no program at {}", path.display()));
    let servers = [
        (Kind::Prometheus, whole(&options.prometheus)?),
        (Kind::Narthex, whole(&options.narthex)?),
    ];
    let about = format!(
        "{} series, {} samples in a request, {} requests at a time; {} samples a series to settle, {} measured",
        options.series, options.batch, options.shards, options.settle, options.rounds
    );
    let (mut text, mut both) = (about.clone(), Vec::new());
    for version in [Version::One, Version::Two] {
        let mut results = Vec::new();
        for (kind, binary) in &servers {
            let figures = measure(*kind, binary.clone(), version, options)
                .await
                .with_context(|| kind.name())?;
            results.push((kind.name(), figures));
        }
        text.push_str(&format!(
            "\n\nremote write {version:?}\n{}",
            side_by_side(&results)
        ));
        both.push(json!({"version": format!("{version:?}"), "servers": as_json(&results)}));
    }
    print(options.json, &json!({"about": about, "versions": both}), &text)
}

async fn measure(kind: Kind, binary: PathBuf, version: Version, options: &Options) -> Result<Figures> {
    let folder = tempfile::Builder::new().prefix("narthex-compare-").tempdir()?;
    let setup = Setup {
        kind,
        binary,
        folder: folder.path().to_owned(),
        block_duration: None,
    };
    fs::write(setup.config(), "{}\n")?;
    let mut server = setup.start_with(&["--web.enable-remote-write-receiver"])?;
    server.ready().await?;
    let now_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_millis() as u64;
    let step_ms = options.interval.as_millis() as u64;
    // The last sample is now.
    let time = |round: u64| now_ms - (options.settle + options.rounds - 1 - round) * step_ms;
    progress(&format!("{} {version:?}: settles", kind.name()));
    for round in 0..options.settle {
        send_round(&server, version, options, round, time(round)).await?;
    }
    let settled = server.cpu_seconds()?;
    progress(&format!("{} {version:?}: is measured", kind.name()));
    for round in options.settle..options.settle + options.rounds {
        send_round(&server, version, options, round, time(round)).await?;
    }
    let (cpu, memory) = (server.cpu_seconds()?, server.anonymous_bytes()? as f64);
    let counted = server
        .api
        .number(&format!("count({{suite=\"{SUITE}\"}})"), now_ms as f64 / 1000.0)
        .await?;
    if counted != Some(options.series as f64) {
        bail!("{counted:?} series of {} arrived", options.series);
    }
    server.stop(Signal::KILL).await?;
    let millions = |rounds: u64| (rounds * options.series as u64) as f64 / 1e6;
    Ok(vec![
        (
            "CPU s per million samples",
            (cpu - settled) / millions(options.rounds),
        ),
        (
            "CPU s per million samples, while settling",
            settled / millions(options.settle),
        ),
        ("anonymous bytes per series", memory / options.series as f64),
    ])
}

/// Sends one sample of every series.
async fn send_round(
    server: &Server,
    version: Version,
    options: &Options,
    round: u64,
    timestamp_ms: u64,
) -> Result<()> {
    let client = reqwest::Client::new();
    let url = Arc::new(format!("http://{}/api/v1/write", server.address()));
    let mut requests = JoinSet::new();
    let mut begin = 0;
    while begin < options.series || !requests.is_empty() {
        if begin < options.series && requests.len() < options.shards {
            let series = begin..options.series.min(begin + options.batch);
            begin = series.end;
            let (client, url) = (client.clone(), url.clone());
            requests.spawn(async move {
                let message = match version {
                    Version::One => first(series, round, timestamp_ms),
                    Version::Two => second(series, round, timestamp_ms),
                };
                let body = snap::raw::Encoder::new().compress_vec(&message)?;
                let answer = client
                    .post(url.as_str())
                    .header("Content-Type", version.content_type())
                    .header("Content-Encoding", "snappy")
                    .body(body)
                    .send()
                    .await?;
                let status = answer.status();
                if !status.is_success() {
                    bail!("{status}: {}", answer.text().await?);
                }
                Ok(())
            });
        } else if let Some(done) = requests.join_next().await {
            done??;
        }
    }
    Ok(())
}

/// Labels of a series, sorted: those of a fleet whose instances have a thousand series each.
fn labels(number: usize) -> [(&'static str, String); 8] {
    let (instance, metric) = (number / 1000, number % 1000);
    [
        (
            "__name__",
            format!("node_network_receive_bytes_{:03}_total", metric / 8),
        ),
        ("cluster", "production-eu-1".to_owned()),
        ("device", format!("eth{}", metric % 8)),
        (
            "instance",
            format!("10.0.{}.{}:9100", instance / 250, instance % 250),
        ),
        ("job", "node-exporter".to_owned()),
        ("namespace", "monitoring".to_owned()),
        ("pod", format!("node-exporter-{instance:05}")),
        ("suite", SUITE.to_owned()),
    ]
}

/// A counter that grows by another number each time.
fn value(number: usize, round: u64) -> f64 {
    (round * (1000 + number as u64 * 7919 % 1_000_003) + number as u64) as f64
}

fn sample(series: &mut Message, number: usize, round: u64, timestamp_ms: u64) {
    series.message(2, |sample| {
        sample
            .always_double(1, value(number, round))
            .uint(2, timestamp_ms);
    });
}

/// A request of 1.0.
fn first(series: std::ops::Range<usize>, round: u64, timestamp_ms: u64) -> Vec<u8> {
    let mut request = Message::default();
    for number in series {
        request.message(1, |series| {
            for (name, value) in labels(number) {
                series.message(1, |label| {
                    label.text(1, name).text(2, &value);
                });
            }
            sample(series, number, round, timestamp_ms);
        });
    }
    request.into_bytes()
}

/// A request of 2.0.
fn second(series: std::ops::Range<usize>, round: u64, timestamp_ms: u64) -> Vec<u8> {
    let mut request = Message::default();
    let mut symbols = std::collections::HashMap::from([(String::new(), 0)]);
    request.bytes(4, b"");
    let mut tail = Message::default();
    for number in series {
        let mut references = Vec::with_capacity(16);
        for (name, value) in labels(number) {
            for text in [name.to_owned(), value] {
                let next = symbols.len() as u64;
                let symbol = *symbols.entry(text).or_insert_with_key(|text| {
                    request.bytes(4, text.as_bytes());
                    next
                });
                references.push(symbol);
            }
        }
        tail.message(5, |series| {
            series.uints(1, &references);
            sample(series, number, round, timestamp_ms);
            series.message(5, |metadata| {
                metadata.uint(1, 1);
            });
        });
    }
    request.raw(&tail.into_bytes());
    request.into_bytes()
}
