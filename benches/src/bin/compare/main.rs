//! Side-by-side runs: Narthex, Prometheus and VictoriaMetrics over the same work, one after the other, as ratios.
//!
//! * `compare scrape` starts synthetic targets and each given server in turn, and measures what ingestion costs:
//!   processor time, memory, disk, restart.
//! * `compare blocks` gives each server the same folders and measures what cutting the head, merging blocks and importing
//!   text cost, and how large the blocks are.
//! * `compare push` drives each given server in turn with remote write, both versions, and measures what taking it in costs.
//! * `compare alerts` starts synthetic targets, a Prometheus with an Alertmanager beside it, and Narthex, and measures what very many
//!   alerts cost.
//! * `compare rules` starts synthetic targets and two servers, and measures what evaluating rules costs.
//! * `compare generate` writes a data set as a block; copies of it are served by the servers that `query` asks.
//! * `compare query` runs a fixed list of queries against running servers and compares time and answers.
//! * `compare dashboard` refreshes a dashboard at running servers while time moves on, and measures what that takes with
//!   kept results and without.
//! * `compare limits` measures how soon work ends when a client hangs up, and light queries beside heavy ones.
//! * `compare profile` runs the same queries inside this process, for profilers.
//!
//! Servers never run at the same time in `scrape`, `push` and `blocks`, and always in `rules` and `alerts`; in `query` the idle ones must have nothing to do: no
//! targets, and each its own copy of the data.
//!
//! ```text
//! cargo build --release && cargo build --release -p narthex-benches
//! target/release/compare scrape --narthex target/release/narthex --prometheus PATH
//! target/release/compare blocks --narthex target/release/narthex --prometheus PATH --promtool PATH
//! target/release/compare rules --narthex target/release/narthex --prometheus PATH
//! target/release/compare push --narthex target/release/narthex --prometheus PATH
//!
//! target/release/compare generate --out data-p && cp -r data-p data-n && echo 'global: {}' > none.yml
//! PATH --config.file none.yml --storage.tsdb.path data-p --web.listen-address 127.0.0.1:9091 &
//! target/release/narthex --config.file none.yml --storage.tsdb.path data-n --web.listen-address 127.0.0.1:9092 &
//! target/release/compare query --prometheus-url http://127.0.0.1:9091 --narthex-url http://127.0.0.1:9092
//! ```
//!
//! VictoriaMetrics takes the same data from a copy by its own tool: `vmctl prometheus --prom-snapshot=data-p`.

mod alerts;
mod answers;
mod api;
mod blocks;
mod dashboard;
mod folder;
mod generate;
mod limits;
mod plot;
mod profile;
mod push;
mod query;
mod report;
mod rules;
mod scrape;
mod server;
mod targets;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

/// Compares Narthex with other servers over the same work.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What ingestion costs: processor time, memory, disk, restart time. Starts the servers itself, one by one.
    Scrape(scrape::Options),
    /// What blocks cost: processor time, memory, disk. Starts the servers itself, one by one.
    Blocks(blocks::Options),
    /// How fast queries are answered, and whether the answers are the same. Asks servers that run already.
    Query(query::Options),
    /// What a dashboard takes that is refreshed again and again. Asks servers that run already.
    Dashboard(dashboard::Options),
    /// How soon queries end whose client hangs up, and how light queries fare beside heavy ones. Starts the servers itself,
    /// one by one, on data folders that are there.
    Limits(limits::Options),
    /// What taking remote write in costs: processor time, memory. Starts the servers itself, one by one.
    Push(push::Options),
    /// What very many alerts cost, from the rule to the receiver: time, processor time, memory. Starts the servers itself, all at
    /// once.
    Alerts(alerts::Options),
    /// What rules cost: processor time, memory, missed evaluations. Starts the servers itself, both at once.
    Rules(rules::Options),
    /// Writes the data set of `query` as a block into a data folder.
    Generate(generate::Options),
    /// The queries of `query` inside this process: time of the engine alone, and of reading samples alone.
    Profile(profile::Options),
}

#[tokio::main]
async fn main() -> Result<()> {
    // No request here is encrypted, but the client wants a provider before it is built.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let work = async {
        match Cli::parse().command {
            Command::Scrape(options) => scrape::run(&options).await,
            Command::Blocks(options) => blocks::run(&options).await,
            Command::Query(options) => query::run(&options).await,
            Command::Dashboard(options) => dashboard::run(&options).await,
            Command::Limits(options) => limits::run(&options).await,
            Command::Push(options) => push::run(&options).await,
            Command::Alerts(options) => alerts::run(&options).await,
            Command::Rules(options) => rules::run(&options).await,
            Command::Generate(options) => generate::run(&options),
            Command::Profile(options) => profile::run(&options),
        }
    };
    // Leaving the work half-way drops its servers and folders: nothing stays behind.
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}

/// Reads a duration as configurations have it (`15s`, `2m`).
fn duration(text: &str) -> Result<Duration, model::duration::DurationError> {
    model::duration::parse_duration(text).map(|ms| Duration::from_millis(ms.unsigned_abs()))
}
