//! Synthetic targets: what real exporters expose, with values that change as theirs do.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use narthex_benches::Rng;

/// Label that all series of the targets have.
pub(crate) const SUITE: &str = "compare";

/// How a value goes on from scrape to scrape.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Walk {
    /// A counter that stands still two times of three.
    Counter,
    /// A counter of seconds, with two decimals.
    Seconds,
    /// A gauge that never moves.
    Still,
    /// A gauge that moves up and down in steps of a page.
    Gauge,
}

impl Walk {
    /// The value that comes after `value`.
    pub(crate) fn next(self, value: f64, rng: &mut Rng) -> f64 {
        let random = rng.next_u64();
        match self {
            Walk::Counter if random.is_multiple_of(3) => value + (random >> 32 & 63) as f64,
            Walk::Counter | Walk::Still => value,
            Walk::Seconds => ((value * 100.0).round() + (random % 1500) as f64) / 100.0,
            Walk::Gauge => (value + ((random % 65) as f64 - 32.0) * 4096.0).max(0.0),
        }
    }
}

/// All targets: one listener, a path for each.
#[derive(Debug)]
pub(crate) struct Targets {
    /// The text before each value, and how the value goes on: the same for all targets.
    lines: Vec<(String, Walk)>,
    /// Each target's values, in the order of `lines`.
    states: Vec<Mutex<(Rng, Vec<f64>)>>,
    served: AtomicU64,
    /// Bodies are packed, as most exporters do for who takes it.
    gzip: bool,
}

impl Targets {
    /// `count` targets with `series` series each, from a seed.
    pub(crate) fn new(count: usize, series: usize, seed: u64, gzip: bool) -> Self {
        let states = (0..count).map(|target| {
            let mut rng = Rng::new(seed ^ (target as u64) << 32);
            let values = (0..series).map(|_| (rng.next_u64() % 100_000) as f64).collect();
            Mutex::new((rng, values))
        });
        Targets {
            lines: lines(series),
            states: states.collect(),
            served: AtomicU64::new(0),
            gzip,
        }
    }

    /// Samples handed out up to now.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Serves the targets on a free port of 127.0.0.1 until the program ends.
    pub(crate) async fn serve(self: Arc<Self>) -> Result<SocketAddr> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/metrics/{target}", get(answer))
            .with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(address)
    }

    /// The scrape configuration for all targets.
    pub(crate) fn config(&self, address: SocketAddr, interval: std::time::Duration) -> String {
        let interval = model::duration::format_duration(interval.as_millis() as i64);
        let mut text = format!(
            "global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\nscrape_configs:\n\
             - job_name: bench-service\n  static_configs:\n"
        );
        for target in 0..self.states.len() {
            let _ = write!(
                text,
                "  - targets: ['{address}']\n    labels:\n      __metrics_path__: /metrics/{target}\n      \
                 instance: ip-10-0-{}-{}.eu-west-1:9100\n      cluster: eu-west-{}\n      suite: {SUITE}\n",
                target / 250,
                target % 250,
                target % 3
            );
        }
        text
    }

    /// The next body of a target; none where there is no such target.
    fn body(&self, target: usize) -> Option<String> {
        let mut state = self
            .states
            .get(target)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (rng, values) = &mut *state;
        let mut text = String::with_capacity(self.lines.len() * 100);
        for ((prefix, walk), value) in self.lines.iter().zip(values) {
            *value = walk.next(*value, rng);
            let _ = writeln!(text, "{prefix} {value}");
        }
        self.served.fetch_add(self.lines.len() as u64, Ordering::Relaxed);
        Some(text)
    }
}

async fn answer(State(targets): State<Arc<Targets>>, Path(target): Path<usize>) -> Response {
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    match targets.body(target) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(body) if !targets.gzip => ([content_type], body).into_response(),
        Some(body) => match pack(&body) {
            Ok(packed) => ([content_type, (header::CONTENT_ENCODING, "gzip")], packed).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        },
    }
}

fn pack(body: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body.as_bytes())?;
    encoder.finish()
}

/// The lines of a body up to their values: exactly `count` series, nearly half of them buckets, then counters, gauges,
/// and processor seconds for the rest.
pub(crate) fn lines(count: usize) -> Vec<(String, Walk)> {
    const BOUNDS: [&str; 12] = [
        "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
    ];
    const MODES: [&str; 8] = [
        "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user",
    ];
    let mut out = Vec::with_capacity(count);
    let histograms = count * 45 / 100 / (BOUNDS.len() + 2);
    let name = "http_request_duration_seconds";
    for part in ["_bucket", "_sum", "_count"] {
        for handler in 0..histograms {
            let labels = format!("handler=\"/api/v1/resource{handler}\",method=\"GET\"");
            match part {
                "_bucket" => out.extend(
                    BOUNDS.map(|le| (format!("{name}_bucket{{{labels},le=\"{le}\"}}"), Walk::Counter)),
                ),
                "_sum" => out.push((format!("{name}_sum{{{labels}}}"), Walk::Seconds)),
                _ => out.push((format!("{name}_count{{{labels}}}"), Walk::Counter)),
            }
        }
    }
    declare(&mut out, 0, name, "histogram");

    let start = out.len();
    out.extend((0..count * 25 / 100).map(|i| {
        let (code, method) = ([200, 204, 400, 404, 500][i % 5], ["GET", "POST"][i / 5 % 2]);
        let labels = format!(
            "code=\"{code}\",handler=\"/api/v1/resource{}\",method=\"{method}\"",
            i / 10
        );
        (format!("http_requests_total{{{labels}}}"), Walk::Counter)
    }));
    declare(&mut out, start, "http_requests_total", "counter");

    let start = out.len();
    out.extend((0..count * 15 / 100).map(|i| {
        let labels = format!(
            "container=\"app\",namespace=\"team-{}\",pod=\"service-{i}-7d9f8c6b5-x{i:04x}\"",
            i % 7
        );
        (
            format!("container_memory_working_set_bytes{{{labels}}}"),
            [Walk::Gauge, Walk::Still][i % 2],
        )
    }));
    declare(&mut out, start, "container_memory_working_set_bytes", "gauge");

    let start = out.len();
    out.extend((0..count - start).map(|i| {
        (
            format!(
                "node_cpu_seconds_total{{cpu=\"{}\",mode=\"{}\"}}",
                i / 8,
                MODES[i % 8]
            ),
            Walk::Seconds,
        )
    }));
    declare(&mut out, start, "node_cpu_seconds_total", "counter");
    out
}

/// Puts help and type before the line where a family starts.
fn declare(lines: &mut [(String, Walk)], start: usize, name: &str, kind: &str) {
    if let Some((prefix, _)) = lines.get_mut(start) {
        *prefix = format!("# HELP {name} As exporters have it.\n# TYPE {name} {kind}\n{prefix}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_as_many_series_as_asked_and_values_move() {
        for count in [1, 10, 137, 1000] {
            let targets = Targets::new(2, count, 7, false);
            let samples = |body: &str| {
                body.lines()
                    .filter(|l| !l.starts_with('#'))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let first = samples(&targets.body(1).expect("a target"));
            let second = samples(&targets.body(1).expect("a target"));
            assert_eq!(first.len(), count);
            assert_eq!(targets.served(), 2 * count as u64);
            assert_ne!(first, second, "{count} series");
            assert!(targets.body(2).is_none());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bodies() {
        let body = |seed| Targets::new(1, 100, seed, false).body(0).expect("a target");
        assert_eq!(body(1), body(1));
        assert_ne!(body(1), body(2));
    }
}
