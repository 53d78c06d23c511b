//! How a light query of a dashboard fares beside heavy ones that never end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Options, read_all, send};
use crate::query::{Ask, Span};
use crate::report::{Table, figure, median, progress};
use crate::server::{Kind, Server};

/// What dashboards ask all the time: one series over an hour, and a sum of 100 series at one time.
const LIGHT: [(&str, Ask); 2] = [
    (
        "one series",
        Ask::Range {
            expr: "rate(http_requests_total{code=\"200\",handler=\"/api/v1/resource7\",instance=\"10.0.0.0:9100\"}[5m])",
            hours: 1,
            step_s: 15,
        },
    ),
    ("sum of 100", Ask::Instant("sum(node_load1)")),
];
/// What goes on meanwhile, over and over.
const HEAVY: Ask = Ask::Range {
    expr: "sum by (handler) (quantile_over_time(0.9, http_requests_total[1h]))",
    hours: 24,
    step_s: 120,
};
/// Heavy queries at a time.
const BESIDE: [usize; 4] = [0, 1, 2, 4];

/// Times of a light query beside a number of heavy ones.
pub(super) struct Latency {
    light: &'static str,
    beside: usize,
    /// Of those that were answered.
    ms: Vec<f64>,
    /// How many were turned away: some servers do so when they have enough to do.
    refused: usize,
}

pub(super) async fn measure(server: &Server, span: Span, options: &Options) -> Result<Vec<Latency>> {
    let mut latencies = Vec::new();
    for beside in BESIDE {
        progress(&format!("light queries beside {beside}"));
        let heavy: Vec<_> = (0..beside)
            .map(|_| tokio::spawn(repeat(server.address().to_owned(), span)))
            .collect();
        // The heavy ones are to be known as such.
        tokio::time::sleep(options.measure / 10).await;
        let mut light = LIGHT.map(|(light, _)| Latency {
            light,
            beside,
            ms: Vec::new(),
            refused: 0,
        });
        let begin = Instant::now();
        while begin.elapsed() < options.measure {
            for ((_, ask), latency) in LIGHT.iter().zip(&mut light) {
                let start = Instant::now();
                let said = read_all(&mut send(server.address(), *ask, span).await?).await?;
                match said.contains(" 200 ") {
                    true => latency.ms.push(start.elapsed().as_secs_f64() * 1e3),
                    false if is_refusal(&said) => latency.refused += 1,
                    false => bail!("a light query is answered {said}"),
                }
            }
            tokio::time::sleep(options.measure / 1000).await;
        }
        for heavy in heavy {
            if heavy.is_finished() {
                bail!("a heavy query failed: {:?}", heavy.await?);
            }
            heavy.abort();
        }
        latencies.extend(light);
    }
    Ok(latencies)
}

/// Whether a server says that it has enough to do.
fn is_refusal(said: &str) -> bool {
    said.contains(" 429 ") || said.contains(" 503 ")
}

/// Asks the heavy query for ever.
async fn repeat(address: String, span: Span) -> Result<()> {
    loop {
        let said = read_all(&mut send(&address, HEAVY, span).await?).await?;
        match said.contains(" 200 ") {
            true => {}
            false if is_refusal(&said) => tokio::time::sleep(Duration::from_millis(100)).await,
            false => bail!("a heavy query is answered {said}"),
        }
    }
}

impl Latency {
    fn p99(&self) -> f64 {
        let mut sorted = self.ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() * 99 / 100).copied().unwrap_or(f64::NAN)
    }
}

pub(super) fn table(servers: &[(Kind, Vec<Latency>)]) -> String {
    let mut head = vec!["light query".to_owned(), "beside".to_owned()];
    for (kind, _) in servers {
        head.extend(
            ["median, ms", "p99, ms", "times alone", "refused"]
                .map(|what| format!("{}: {what}", kind.name())),
        );
    }
    let mut table = Table::new(head);
    let Some((_, first)) = servers.first() else {
        return String::new();
    };
    let order = LIGHT
        .iter()
        .flat_map(|(light, _)| BESIDE.map(|beside| (*light, beside)));
    for (light, beside) in order.filter(|_| !first.is_empty()) {
        let mut cells = vec![light.to_owned(), beside.to_string()];
        for (_, latencies) in servers {
            let of = |beside: usize| latencies.iter().find(|l| (l.light, l.beside) == (light, beside));
            let middle = |beside: usize| of(beside).map_or(f64::NAN, |l| median(&l.ms));
            cells.push(figure(middle(beside)));
            cells.push(figure(of(beside).map_or(f64::NAN, Latency::p99)));
            cells.push(figure(middle(beside) / middle(0)));
            cells.push(of(beside).map_or(0, |l| l.refused).to_string());
        }
        table.push(cells);
    }
    table.render()
}

pub(super) fn json(servers: &[(Kind, Vec<Latency>)]) -> Value {
    let line = |latency: &Latency| {
        json!({
            "query": latency.light,
            "beside": latency.beside,
            "median_ms": median(&latency.ms),
            "p99_ms": latency.p99(),
            "refused": latency.refused,
        })
    };
    let lines = servers.iter().map(
        |(kind, list)| json!({"server": kind.name(), "light": list.iter().map(line).collect::<Value>()}),
    );
    lines.collect()
}
