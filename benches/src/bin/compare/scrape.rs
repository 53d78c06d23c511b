//! What ingestion costs: each server scrapes the same targets for the same time, alone on the machine.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::json;

use crate::folder::{Disk, replace};
use crate::report::{Figures, as_json, median, print, progress, side_by_side};
use crate::server::{Kind, Server, Setup};
use crate::targets::Targets;

/// Servers and sizes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Program of Narthex
    #[arg(long)]
    narthex: PathBuf,
    /// Program of Prometheus, to which all ratios are
    #[arg(long)]
    prometheus: PathBuf,
    /// Program of VictoriaMetrics (single node)
    #[arg(long)]
    victoriametrics: Option<PathBuf>,
    /// Targets
    #[arg(long, default_value_t = 500)]
    targets: usize,
    /// Series of each target
    #[arg(long, default_value_t = 1000)]
    series: usize,
    /// Scrape interval
    #[arg(long, default_value = "15s", value_parser = crate::duration)]
    interval: Duration,
    /// Scrape intervals before measuring starts: series are made in them
    #[arg(long, default_value_t = 10)]
    settle: u32,
    /// How long to measure
    #[arg(long, default_value = "2m", value_parser = crate::duration)]
    measure: Duration,
    /// Restarts after each signal; 0 leaves them out
    #[arg(long, default_value_t = 3)]
    restarts: usize,
    /// Length of blocks in place of 2h, so that some are cut: bytes per sample in blocks are measured then (short
    /// blocks hold short chunks: compare them with each other only)
    #[arg(long, value_parser = crate::duration)]
    block_duration: Option<Duration>,
    /// Targets pack their answers
    #[arg(long)]
    gzip: bool,
    /// Seed of the values
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Measures each server in turn and prints the table.
pub(crate) async fn run(options: &Options) -> Result<()> {
    if options.targets == 0 || options.series == 0 || options.interval.is_zero() {
        bail!("--targets, --series and --interval must be above zero");
    }
    let mut servers = vec![
        (Kind::Prometheus, &options.prometheus),
        (Kind::Narthex, &options.narthex),
    ];
    servers.extend(
        options
            .victoriametrics
            .iter()
            .map(|path| (Kind::VictoriaMetrics, path)),
    );
    // Before the first one runs: a wrong path should not cost its time. Servers start in a folder of their own.
    let whole =
        |path: &PathBuf| fs::canonicalize(path).with_context(|| format!("no program at {}", path.display()));
    let servers = servers
        .into_iter()
        .map(|(kind, path)| Ok((kind, whole(path)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut results = Vec::new();
    for (kind, binary) in servers {
        let figures = measure(kind, binary, options)
            .await
            .with_context(|| kind.name())?;
        results.push((kind.name(), figures));
    }
    let about = format!(
        "{} targets x {} series{} every {:?}; {} intervals to settle, {:?} measured, {} restarts; seed {}",
        options.targets,
        options.series,
        if options.gzip { ", packed," } else { "" },
        options.interval,
        options.settle,
        options.measure,
        options.restarts,
        options.seed
    );
    let json = json!({"about": about, "seed": options.seed, "servers": as_json(&results)});
    print(
        options.json,
        &json,
        &format!("{about}\n\n{}", side_by_side(&results)),
    )
}

async fn measure(kind: Kind, binary: PathBuf, options: &Options) -> Result<Figures> {
    let folder = tempfile::Builder::new().prefix("narthex-compare-").tempdir()?;
    let setup = Setup {
        kind,
        binary,
        folder: folder.path().to_owned(),
        block_duration: options.block_duration,
    };
    // Made anew from the seed for each server: all see the same values.
    let targets = Arc::new(Targets::new(
        options.targets,
        options.series,
        options.seed,
        options.gzip,
    ));
    let address = Arc::clone(&targets).serve().await?;
    fs::write(setup.config(), targets.config(address, options.interval))?;

    let mut server = setup.start()?;
    let settle = options.interval * options.settle;
    progress(&format!("{}: settles for {settle:?}", kind.name()));
    tokio::time::sleep(settle).await;
    server.check_running()?;
    let (cpu_settled, served_settled) = (server.cpu_seconds()?, targets.served());

    progress(&format!("{}: is measured for {:?}", kind.name(), options.measure));
    let mut memory = Vec::new();
    let end = Instant::now() + options.measure;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory.push(server.anonymous_bytes()? as f64);
    }
    let (cpu_end, served_end) = (server.cpu_seconds()?, targets.served());
    let count = Count::take(&server, options).await?;
    // Not before they are written are files counted with the space that they take.
    rustix::fs::sync();
    let disk = Disk::of(&setup.data())?;

    let millions = |samples: u64| samples as f64 / 1e6;
    let peak = memory.iter().copied().fold(f64::NAN, f64::max);
    let mut figures = vec![
        (
            "CPU s per million samples",
            (cpu_end - cpu_settled) / millions(served_end - served_settled),
        ),
        (
            "CPU s per million samples, while settling",
            cpu_settled / millions(served_settled),
        ),
        (
            "anonymous bytes per series, median",
            median(&memory) / count.series,
        ),
        ("anonymous bytes per series, peak", peak / count.series),
        (
            "data folder (log, allotted space), bytes per sample",
            disk.total as f64 / served_end as f64,
        ),
        (
            "blocks, bytes per sample",
            disk.blocks as f64 / disk.block_samples as f64,
        ),
    ];
    if options.restarts > 0 {
        figures.extend(restarts(&setup, server, &count, options).await?);
    }
    Ok(figures)
}

/// How many series there were at a moment.
struct Count {
    at_s: f64,
    series: f64,
}

impl Count {
    /// Counts all series that carry `SUITE`.
    const EXPR: &str = "count({suite=\"compare\"})";

    /// Counts the series now; there must be those of the targets at least.
    async fn take(server: &Server, options: &Options) -> Result<Self> {
        let at_s = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_secs_f64();
        let series = server.api.number(Self::EXPR, at_s).await?.unwrap_or(0.0);
        let wanted = options.targets * options.series;
        if series < wanted as f64 {
            bail!("{series} series arrived of {wanted}: the machine is too small, or --settle too short");
        }
        Ok(Count { at_s, series })
    }
}

/// Time until a restarted server answers with all series again, after SIGKILL and after SIGTERM: medians, each restart
/// from the same copy of the folder. Files are in the page cache.
async fn restarts(setup: &Setup, server: Server, count: &Count, options: &Options) -> Result<Figures> {
    let image = setup.folder.join("image");
    let mut figures = Figures::new();
    let mut running = server;
    for (signal, what) in [
        (Signal::KILL, "restart after SIGKILL, s"),
        (Signal::TERM, "restart after SIGTERM, s"),
    ] {
        progress(&format!("{}: {what}", setup.kind.name()));
        let stopping = running.stop(signal).await?;
        replace(&setup.data(), &image)?;
        let mut seconds = Vec::new();
        for _ in 0..options.restarts {
            replace(&image, &setup.data())?;
            let mut server = setup.start()?;
            seconds.push(
                server
                    .answers(Count::EXPR, count.at_s, count.series)
                    .await?
                    .as_secs_f64(),
            );
            server.stop(Signal::KILL).await?;
        }
        figures.push((what, median(&seconds)));
        if signal == Signal::TERM {
            figures.push(("stop after SIGTERM, s", stopping.as_secs_f64()));
            break;
        }
        replace(&image, &setup.data())?;
        running = setup.start()?;
        running.answers(Count::EXPR, count.at_s, count.series).await?;
        // What a server does first after a start is done, and new samples have come in.
        tokio::time::sleep(options.interval * 2).await;
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_names_the_suite() {
        assert_eq!(
            Count::EXPR,
            format!("count({{suite=\"{}\"}})", crate::targets::SUITE)
        );
    }
}
