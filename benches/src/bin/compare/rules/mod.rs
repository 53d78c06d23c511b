//! What rules cost: both servers scrape the same exporters at the same time, first without rules, then with them. What
//! they take more then is the rules'.
//!
//! They run beside each other so that both see the same machine, busy or not: processor time is compared, not speed.

mod workload;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::report::{Figures, as_json, median, print, progress, side_by_side};
use crate::server::{Kind, Server, Setup};
use crate::targets::Targets;

use workload::Rules;

/// Servers and sizes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Program of Narthex
    #[arg(long)]
    narthex: PathBuf,
    /// Program of Prometheus, to which all ratios are
    #[arg(long)]
    prometheus: PathBuf,
    /// Groups of 20 rules
    #[arg(long, default_value_t = 150)]
    groups: usize,
    /// 500 groups: 10,000 rules
    #[arg(long, conflicts_with = "groups")]
    many: bool,
    /// How often each group is evaluated
    #[arg(long, default_value = "30s", value_parser = crate::duration)]
    interval: Duration,
    /// Targets of 1,000 series
    #[arg(long, default_value_t = 100)]
    targets: usize,
    /// Scrape interval
    #[arg(long, default_value = "15s", value_parser = crate::duration)]
    scrape_interval: Duration,
    /// How long to scrape before anything is measured: rates look at five minutes
    #[arg(long, default_value = "5m", value_parser = crate::duration)]
    settle: Duration,
    /// How long to measure, without rules and with them
    #[arg(long, default_value = "2m", value_parser = crate::duration)]
    measure: Duration,
    /// Seed of the values
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Series of each target.
const TARGET_SERIES: usize = 1000;

/// Runs both servers and prints the table.
pub(crate) async fn run(options: &Options) -> Result<()> {
    if options.targets == 0 || options.measure.is_zero() || options.interval.is_zero() {
        bail!("--targets, --measure and --interval must be above zero");
    }
    let rules = Rules {
        groups: if options.many { 500 } else { options.groups },
        interval: options.interval,
    };
    let mut sides = Vec::new();
    for (kind, binary) in [
        (Kind::Prometheus, &options.prometheus),
        (Kind::Narthex, &options.narthex),
    ] {
        sides.push(Side::start(kind, binary, options).await?);
    }
    progress(&format!("scraping for {:?}", options.settle));
    tokio::time::sleep(options.settle).await;
    progress(&format!("without rules for {:?}", options.measure));
    let without = measure(&mut sides, options.measure).await?;
    for side in &sides {
        side.load(&rules)?;
    }
    // The first evaluations make series, and alerts look for their state.
    let beginning = 3 * options.interval;
    progress(&format!("rules begin for {beginning:?}"));
    tokio::time::sleep(beginning).await;
    let before = counters(&sides).await?;
    progress(&format!("with {} rules for {:?}", rules.count(), options.measure));
    let with = measure(&mut sides, options.measure).await?;
    let after = counters(&sides).await?;

    let mut results = Vec::new();
    for (index, side) in sides.iter().enumerate() {
        let figures = side
            .figures(&without[index], &with[index], after[index].since(&before[index]))
            .await?;
        results.push((side.setup.kind.name(), figures));
    }
    let about = format!(
        "{} rules in {} groups every {:?}; {} series scraped every {:?}; {:?} without rules, {:?} with them; seed {}",
        rules.count(),
        rules.groups,
        options.interval,
        options.targets * TARGET_SERIES,
        options.scrape_interval,
        options.measure,
        options.measure,
        options.seed
    );
    let json = json!({"about": about, "seed": options.seed, "servers": as_json(&results)});
    print(
        options.json,
        &json,
        &format!("{about}\n\n{}", side_by_side(&results)),
    )
}

/// A server with exporters of its own, whose values are the other's.
struct Side {
    setup: Setup,
    server: Server,
    config: String,
    _folder: TempDir,
}

/// What a server took in some time.
struct Taken {
    cpu_seconds_a_minute: f64,
    anonymous_bytes: f64,
}

/// What a server counted, and when it was asked: a busy one takes its time to tell.
struct Counters {
    at: Instant,
    evaluations: f64,
    failures: f64,
    missed: f64,
}

impl Side {
    async fn start(kind: Kind, binary: &PathBuf, options: &Options) -> Result<Self> {
        let binary =
            fs::canonicalize(binary).with_context(|| format!("no program at {}", binary.display()))?;
        let folder = tempfile::Builder::new().prefix("narthex-compare-").tempdir()?;
        let setup = Setup {
            kind,
            binary,
            folder: folder.path().to_owned(),
            block_duration: None,
        };
        let targets = Arc::new(Targets::new(options.targets, TARGET_SERIES, options.seed, false));
        let address = Arc::clone(&targets).serve().await?;
        let config = targets.config(address, options.scrape_interval);
        fs::write(setup.config(), &config)?;
        let mut server = setup.start()?;
        server.ready().await?;
        Ok(Side {
            setup,
            server,
            config,
            _folder: folder,
        })
    }

    /// Gives the running server its rules.
    fn load(&self, rules: &Rules) -> Result<()> {
        fs::write(self.setup.folder.join("rules.yml"), rules.file())?;
        fs::write(
            self.setup.config(),
            format!("{}rule_files: [rules.yml]\n", self.config),
        )?;
        self.server.signal(Signal::HUP)
    }

    async fn figures(&self, without: &Taken, with: &Taken, counted: Counted) -> Result<Figures> {
        let Counted {
            evaluations_a_minute: evaluated,
            failures,
            missed,
        } = counted;
        if failures > 0.0 {
            bail!("{}: {failures} evaluations failed", self.setup.kind.name());
        }
        let for_rules = with.cpu_seconds_a_minute - without.cpu_seconds_a_minute;
        let mut figures = vec![
            ("CPU s a minute for rules", for_rules),
            // What stays comparable where the machine is too busy for one of them.
            ("CPU ms a rule evaluated", for_rules / evaluated * 1000.0),
            ("CPU s a minute without rules", without.cpu_seconds_a_minute),
            ("anonymous MiB, median", with.anonymous_bytes / f64::from(1 << 20)),
            (
                "anonymous MiB without rules",
                without.anonymous_bytes / f64::from(1 << 20),
            ),
            ("rules evaluated a minute", evaluated),
            ("evaluations of groups missed", missed),
        ];
        for (what, quantile) in [("group, p50 ms", "0.5"), ("group, p99 ms", "0.99")] {
            let name = format!("prometheus_rule_group_duration_seconds{{quantile=\"{quantile}\"}}");
            let seconds = self.server.api.metric(&name).await?.unwrap_or(f64::NAN);
            figures.push((what, seconds * 1000.0));
        }
        Ok(figures)
    }
}

/// Lets time pass and tells what each server took.
async fn measure(sides: &mut [Side], time: Duration) -> Result<Vec<Taken>> {
    let started = Instant::now();
    let mut cpu = Vec::new();
    for side in &mut *sides {
        side.server.check_running()?;
        cpu.push(side.server.cpu_seconds()?);
    }
    let mut memory = vec![Vec::new(); sides.len()];
    while started.elapsed() < time {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (side, memory) in sides.iter().zip(&mut memory) {
            memory.push(side.server.anonymous_bytes()? as f64);
        }
    }
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let taken = sides
        .iter()
        .zip(cpu)
        .zip(&memory)
        .map(|((side, before), memory)| {
            Ok(Taken {
                cpu_seconds_a_minute: (side.server.cpu_seconds()? - before) / minutes,
                anonymous_bytes: median(memory),
            })
        });
    taken.collect()
}

async fn counters(sides: &[Side]) -> Result<Vec<Counters>> {
    let mut all = Vec::new();
    for side in sides {
        let sum = async |name: &str| side.server.api.metric_sum(name).await;
        all.push(Counters {
            at: Instant::now(),
            evaluations: sum("prometheus_rule_evaluations_total").await?,
            failures: sum("prometheus_rule_evaluation_failures_total").await?,
            missed: sum("prometheus_rule_group_iterations_missed_total").await?,
        });
    }
    Ok(all)
}

/// What a server counted in some time.
struct Counted {
    evaluations_a_minute: f64,
    failures: f64,
    missed: f64,
}

impl Counters {
    fn since(&self, before: &Counters) -> Counted {
        let minutes = (self.at - before.at).as_secs_f64() / 60.0;
        Counted {
            evaluations_a_minute: (self.evaluations - before.evaluations) / minutes,
            failures: self.failures - before.failures,
            missed: self.missed - before.missed,
        }
    }
}
