//! What very many alerts cost: from a rule that fires for every series to the last group told, and from then on at rest.
//!
//! Prometheus with an Alertmanager beside it, and Narthex with the one inside, scrape the same exporters at the same time.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::report::{Figures, as_json, print, progress, side_by_side};
use crate::server::{Kind, Server, Setup};
use crate::targets::{SUITE, Targets};

/// Servers and sizes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Program of Narthex
    #[arg(long)]
    narthex: PathBuf,
    /// Program of Prometheus, to which all ratios are
    #[arg(long)]
    prometheus: PathBuf,
    /// Program of Alertmanager, which stands beside Prometheus
    #[arg(long)]
    alertmanager: PathBuf,
    /// Targets: as many groups of alerts
    #[arg(long, default_value_t = 1000)]
    targets: usize,
    /// Series of each target: as many alerts in each group
    #[arg(long, default_value_t = 100)]
    series: usize,
    /// How long to go on once all is told
    #[arg(long, default_value = "2m", value_parser = crate::duration)]
    measure: Duration,
    /// Seed of the values
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);
/// Scrapes until every series is there.
const SETTLE: Duration = Duration::from_secs(35);
/// How long an alert may take to be told.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs both sides and prints the table.
pub(crate) async fn run(options: &Options) -> Result<()> {
    if options.targets == 0 || options.series == 0 || options.measure.is_zero() {
        bail!("--targets, --series and --measure must be above zero");
    }
    let mut sides = vec![
        Side::start(Kind::Prometheus, options).await?,
        Side::start(Kind::Narthex, options).await?,
    ];
    progress(&format!("scraping for {SETTLE:?}"));
    tokio::time::sleep(SETTLE).await;
    let alerts = options.targets * options.series;
    progress(&format!("{alerts} alerts begin"));
    let begun = Instant::now();
    let mut before = Vec::new();
    for side in &sides {
        before.push(side.cpu_seconds()?);
        side.load_rules()?;
    }
    let mut told = vec![None; sides.len()];
    while told.iter().any(Option::is_none) && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
        for (told, side) in told.iter_mut().zip(&mut sides) {
            side.check_running()?;
            if told.is_none() && side.inbox.alerts() >= alerts {
                *told = Some((begun.elapsed(), side.cpu_seconds()?));
            }
        }
    }
    progress(&format!("at rest for {:?}", options.measure));
    let mut at_rest = Vec::new();
    for side in &sides {
        at_rest.push(side.cpu_seconds()?);
    }
    tokio::time::sleep(options.measure).await;

    let mut results = Vec::new();
    for (index, side) in sides.iter().enumerate() {
        let minutes = options.measure.as_secs_f64() / 60.0;
        let (time, cpu) = match told[index] {
            Some((time, cpu)) => (time.as_secs_f64(), cpu - before[index]),
            None => (f64::NAN, f64::NAN),
        };
        let figures: Figures = vec![
            ("from the rule to the last alert told, s", time),
            ("CPU s until then", cpu),
            (
                "CPU s a minute at rest",
                (side.cpu_seconds()? - at_rest[index]) / minutes,
            ),
            (
                "anonymous MiB, all processes",
                side.anonymous_bytes()? as f64 / f64::from(1 << 20),
            ),
            ("alerts told", side.inbox.alerts() as f64),
            ("groups told", side.inbox.groups() as f64),
        ];
        results.push((side.kind.name(), figures));
    }
    let about = format!(
        "{alerts} alerts in {} groups; {:?} at rest; seed {}; Prometheus with Alertmanager beside it",
        options.targets, options.measure, options.seed
    );
    let json = json!({"about": about, "seed": options.seed, "servers": as_json(&results)});
    print(
        options.json,
        &json,
        &format!("{about}\n\n{}", side_by_side(&results)),
    )
}

/// A server that evaluates, and what else it needs to tell of alerts.
struct Side {
    kind: Kind,
    setup: Setup,
    config: String,
    server: Server,
    beside: Option<Server>,
    inbox: Arc<Inbox>,
    _folder: TempDir,
}

impl Side {
    async fn start(kind: Kind, options: &Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("narthex-compare-").tempdir()?;
        let setup = |kind, binary: &Path, name: &str| -> Result<Setup> {
            let folder = folder.path().join(name);
            fs::create_dir(&folder)?;
            Ok(Setup {
                kind,
                binary: fs::canonicalize(binary)
                    .with_context(|| format!("no program at {}", binary.display()))?,
                folder,
                block_duration: None,
            })
        };
        let (inbox, hook) = Inbox::open().await?;
        let targets = Arc::new(Targets::new(options.targets, options.series, options.seed, false));
        let address = Arc::clone(&targets).serve().await?;
        let mut config = targets.config(address, SCRAPE_INTERVAL);
        let (setup, server, beside) = if kind == Kind::Narthex {
            let setup = setup(kind, &options.narthex, "server")?;
            let routing = setup.folder.join("alertmanager.yml");
            fs::write(&routing, self::routing(hook))?;
            fs::write(setup.config(), &config)?;
            let flag = format!("--alertmanager.config.file={}", routing.display());
            let server = setup.start_with(&[&flag])?;
            (setup, server, None)
        } else {
            let beside = setup(Kind::Alertmanager, &options.alertmanager, "beside")?;
            fs::write(beside.config(), routing(hook))?;
            let beside = beside.start()?;
            config += &format!(
                "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
                beside.address()
            );
            let setup = setup(kind, &options.prometheus, "server")?;
            fs::write(setup.config(), &config)?;
            // By default it drops what is more than 10,000.
            let server = setup.start_with(&["--alertmanager.notification-queue-capacity=1000000"])?;
            (setup, server, Some(beside))
        };
        let mut side = Side {
            kind,
            setup,
            config,
            server,
            beside,
            inbox,
            _folder: folder,
        };
        side.server.ready().await?;
        if let Some(beside) = &mut side.beside {
            beside.ready().await?;
        }
        Ok(side)
    }

    /// Gives the running server its rule.
    fn load_rules(&self) -> Result<()> {
        fs::write(self.setup.folder.join("rules.yml"), rules())?;
        fs::write(
            self.setup.config(),
            format!("{}rule_files: [rules.yml]\n", self.config),
        )?;
        self.server.signal(Signal::HUP)
    }

    fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.server).chain(&self.beside)
    }

    fn cpu_seconds(&self) -> Result<f64> {
        self.servers().map(Server::cpu_seconds).sum()
    }

    fn anonymous_bytes(&self) -> Result<u64> {
        self.servers().map(Server::anonymous_bytes).sum()
    }

    fn check_running(&mut self) -> Result<()> {
        self.server.check_running()?;
        self.beside.as_mut().map_or(Ok(()), Server::check_running)
    }
}

/// One rule that fires for every series; what was the metric's name keeps them apart.
fn rules() -> String {
    format!(
        "groups:\n- name: all\n  interval: 5s\n  rules:\n  - alert: Always\n    \
         expr: label_replace({{suite=\"{SUITE}\"}}, \"metric\", \"$1\", \"__name__\", \"(.*)\")\n    \
         labels: {{severity: page}}\n    annotations:\n      \
         summary: '{{{{ $labels.metric }}}} of {{{{ $labels.instance }}}} is {{{{ $value | humanize }}}}'\n"
    )
}

/// A group for each target, told to one webhook.
fn routing(hook: SocketAddr) -> String {
    format!(
        "route: {{receiver: hook, group_by: [instance], group_wait: 2s, group_interval: 2s, repeat_interval: 4h}}\n\
         receivers:\n- name: hook\n  webhook_configs:\n  - url: http://{hook}/\n    send_resolved: false\n"
    )
}

/// Who is told: keeps fingerprints of alerts and keys of groups.
#[derive(Default)]
struct Inbox(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    alerts: HashSet<String>,
    groups: HashSet<String>,
}

impl Inbox {
    /// Listens on a free port of 127.0.0.1 until the program ends.
    async fn open() -> Result<(Arc<Self>, SocketAddr)> {
        let inbox = Arc::new(Inbox::default());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/", post(hear))
            .layer(DefaultBodyLimit::max(64 << 20))
            .with_state(inbox.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((inbox, address))
    }

    fn alerts(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).alerts.len()
    }

    fn groups(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).groups.len()
    }
}

async fn hear(State(inbox): State<Arc<Inbox>>, Json(message): Json<Value>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = message["alerts"].as_array().into_iter().flatten();
    let alerts: Vec<String> = alerts.map(|alert| text(&alert["fingerprint"])).collect();
    let mut seen = inbox.0.lock().unwrap_or_else(PoisonError::into_inner);
    seen.alerts.extend(alerts);
    seen.groups.insert(text(&message["groupKey"]));
}
