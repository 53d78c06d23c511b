//! What protects a server from its queries: how soon work ends when its client hangs up, and how a light query fares
//! beside heavy ones.

mod fairness;
mod hang_up;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::query::{Ask, Span};
use crate::report::print;
use crate::server::{Kind, Server, Setup};

/// Servers and sizes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Program of Narthex
    #[arg(long)]
    narthex: PathBuf,
    /// Its data folder, as `generate` writes it
    #[arg(long)]
    narthex_data: PathBuf,
    /// Program of Prometheus
    #[arg(long, requires = "prometheus_data")]
    prometheus: Option<PathBuf>,
    /// Its own copy of the data
    #[arg(long)]
    prometheus_data: Option<PathBuf>,
    /// Program of VictoriaMetrics (single node)
    #[arg(long, requires = "victoriametrics_data")]
    victoriametrics: Option<PathBuf>,
    /// Its own copy of the data
    #[arg(long)]
    victoriametrics_data: Option<PathBuf>,
    /// Only this part
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Only heavy queries whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// At how many moments of a query its client hangs up, spread over the time that it takes
    #[arg(long, default_value_t = 8)]
    moments: u32,
    /// How long light queries are asked beside each number of heavy ones
    #[arg(long, default_value = "10s", value_parser = crate::duration)]
    measure: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    HangUp,
    Fairness,
}

/// Starts each server in turn and measures it.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut servers = vec![(Kind::Narthex, &options.narthex, &options.narthex_data)];
    let peers = [
        (Kind::Prometheus, &options.prometheus, &options.prometheus_data),
        (
            Kind::VictoriaMetrics,
            &options.victoriametrics,
            &options.victoriametrics_data,
        ),
    ];
    for (kind, binary, data) in peers {
        servers.extend(
            binary
                .as_ref()
                .zip(data.as_ref())
                .map(|(binary, data)| (kind, binary, data)),
        );
    }
    let (mut hang_up, mut fairness) = (Vec::new(), Vec::new());
    for (kind, binary, data) in servers {
        let (server, _folder) = start(kind, binary, data).await?;
        let span = Span::of(&server.api).await?;
        // Whether peers notice a client that has gone is their affair.
        if kind == Kind::Narthex && options.part != Some(Part::Fairness) {
            hang_up = hang_up::measure(&server, span, options).await?;
        }
        if options.part != Some(Part::HangUp) {
            fairness.push((kind, fairness::measure(&server, span, options).await?));
        }
    }
    let json = json!({"hang_up": hang_up::json(&hang_up), "fairness": fairness::json(&fairness)});
    let tables = [hang_up::table(&hang_up), fairness::table(&fairness)];
    print(options.json, &json, &tables.join("\n"))
}

/// Starts a server on a data folder that is there, in a folder of its own for everything else.
async fn start(kind: Kind, binary: &Path, data: &Path) -> Result<(Server, TempDir)> {
    let whole =
        |path: &Path| fs::canonicalize(path).with_context(|| format!("nothing at {}", path.display()));
    let folder = tempfile::Builder::new().prefix("narthex-compare-").tempdir()?;
    let setup = Setup {
        kind,
        binary: whole(binary)?,
        folder: folder.path().to_owned(),
        block_duration: None,
    };
    fs::write(setup.config(), "global: {}\n")?;
    std::os::unix::fs::symlink(whole(data)?, setup.data())?;
    let mut server = setup.start()?;
    server.answers("vector(1)", 0.0, 1.0).await?;
    Ok((server, folder))
}

/// Sends a request by itself, so that hanging up is in the caller's hands; the end of the answer is the end of the
/// connection.
async fn send(address: &str, ask: Ask, span: Span) -> Result<TcpStream> {
    let (path, pairs) = ask.request(span);
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&pairs)
        .finish();
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let head = format!("GET {path}?{query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

/// Reads an answer to its end and forgets all but its first line.
async fn read_all(stream: &mut TcpStream) -> Result<String> {
    let mut buffer = vec![0; 256 << 10];
    let mut first = Vec::new();
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        if first.is_empty() {
            first.extend_from_slice(&buffer[..read.min(1000)]);
        }
    }
    Ok(String::from_utf8_lossy(&first)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned())
}
