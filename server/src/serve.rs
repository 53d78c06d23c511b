//! `narthex serve`: what is started in which order, what runs in between, and how it ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use model::clock::{Clock, SystemClock};
use model::storage::{Appender, Queryable, StorageError};
use parking_lot::Mutex;
use promql::engine::{CancelHandle, Engine, EngineOptions};
use supervise::Supervisor;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cli::flags::FlagValues;
use crate::cli::serve_options::ServeOptions;
use crate::clock_watch;
use crate::config::{Config, ConfigError};
use crate::instrument;
use crate::queries::{Queries, RuleQueries};
use crate::reload::{self, ConfigStatus, ReloadError, ReloadRequest, Reloader};
use crate::storage;
use crate::web::state::{
    AdminState, AlertingState, FederateState, LifecycleState, PageState, QueryState, Site, StartState,
    StatusState, TargetState,
};
use crate::web::{self, Cors, FederationMetrics, Trust, listener};

/// Sent with every request of ours.
const USER_AGENT: &str = crate::version::USER_AGENT;
/// Requests to reload that may wait for one under way.
const RELOADS_WAITING: usize = 8;

/// As often as files are looked at where nobody asks for it.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServeError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The configuration cannot be put in force.
    #[error("{0}")]
    Reload(#[from] ReloadError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("opening storage in {}: {source}", path.display())]
    Storage {
        /// Its folder.
        path: PathBuf,
        /// Why not.
        source: StorageError,
    },
    /// The system refuses a signal handler.
    #[error("cannot handle signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The system gives no threads.
    #[error("cannot start threads for rules: {0}")]
    Threads(#[source] std::io::Error),
    /// `--web.cors.origin` is no pattern.
    #[error("--web.cors.origin: {0}")]
    Cors(#[from] model::regex::RegexError),
}

impl ServeError {
    /// The place in a file with a mark under it, where there is one; with colours if `color`.
    pub(crate) fn render(&self, color: bool) -> Option<String> {
        match self {
            ServeError::Config(error) => error.render(color),
            ServeError::Reload(error) => error.render(color),
            _ => None,
        }
    }
}

/// Serves until a signal or a request ends it. `on_ready` is called once with the server's address.
pub(crate) async fn run(options: ServeOptions, on_ready: impl FnOnce(&str)) -> Result<(), ServeError> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        reference = crate::version::REFERENCE,
        "Starting Narthex"
    );
    say_what_has_no_effect(&options);
    let mut listeners = Vec::new();
    for address in &options.listen_addresses {
        listeners.push(listen(address).await?);
    }
    let own_address = listeners
        .first()
        .and_then(|l| l.local_addr().ok())
        .map(reachable)
        .unwrap_or_default();
    let server = Server::build(options, own_address).await?;
    server.run(listeners, on_ready).await
}

/// A flag's help is a promise; where it is an empty one, the log says so, too.
fn say_what_has_no_effect(options: &ServeOptions) {
    for (flag, why) in options.flags.without_effect() {
        tracing::warn!(flag, why, "This flag is accepted and has no effect");
    }
    for (option, why) in &options.features.without_effect {
        tracing::warn!(
            option,
            why,
            "This option for --enable-feature is accepted and has no effect"
        );
    }
    for option in &options.features.unknown {
        tracing::warn!(option, "Unknown option for --enable-feature");
    }
}

/// Which configuration counts: a file that was named, one that lies here, or none.
fn say_configuration(file: Option<&Path>) {
    match file {
        Some(file) => tracing::info!(file = %file.display(), "Loading configuration file"),
        None => tracing::info!(
            "No --config.file was given and no prometheus.yml lies here: the built-in configuration scrapes this \
             server itself"
        ),
    }
}

/// Opens one address; `:9090` means every interface.
async fn listen(address: &str) -> Result<TcpListener, ServeError> {
    let full = if address.starts_with(':') {
        format!("0.0.0.0{address}")
    } else {
        address.to_owned()
    };
    let failed = |source| ServeError::Listen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(&full).await.map_err(failed)?;
    tracing::info!(address = %listener.local_addr().map_err(failed)?, "Listening on");
    Ok(listener)
}

/// The address under which this machine reaches a listener.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// Everything that runs.
struct Server {
    options: ServeOptions,
    own_address: String,
    reloader: Reloader,
    site: Site,
    /// Ends the queries of rules that are under way.
    rule_queries: CancelHandle,
    reloads: mpsc::Receiver<ReloadRequest>,
    /// What tells whether the configuration's files have changed since they were first read.
    first_fingerprint: Option<u64>,
}

impl Server {
    /// Opens the store and puts the configuration in force; nothing evaluates or scrapes yet.
    async fn build(options: ServeOptions, own_address: String) -> Result<Self, ServeError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let start_ms = clock.now_ms();
        let registry = metrics::Registry::new();
        registry.collect_process();
        // A configuration that cannot be read must not cost the replay of a log first.
        say_configuration(options.config_file.as_deref());
        let first_fingerprint = fingerprint(options.config_file.as_deref(), options.auto_reload).await;
        let first = reload::read(options.config_file.as_deref(), &own_address, &options.features)?;
        let progress: Arc<tsdb::head::ReplayProgress> = Arc::default();
        let settings = storage::settings(&options, &first.config, progress.clone())?;
        let flags = flags_in_force(&options, &first.config, &settings);
        let db = storage::open_blocks(&options.storage.path, settings, clock.clone()).await?;
        let storage: Arc<dyn Queryable> = db.clone();
        let subquery_step_ms = Arc::new(AtomicI64::new(first.config.global.evaluation_interval.as_ms()));
        let engine = Arc::new(Engine::new(engine_options(&options, subquery_step_ms.clone())));
        let queries = Arc::new(Queries::new(
            engine.clone(),
            storage.clone(),
            options.query.concurrency,
            &options.storage.path,
        ));
        let external_url = external_url(&options, &own_address);
        // Links are this and a path that begins with a slash.
        let external_text = external_url.as_str().trim_end_matches('/').to_owned();
        let notifier = Arc::new(notify::Notifier::new(notify::NotifierOptions {
            queue_capacity: options.queue_capacity,
            batch_size: options.batch_size,
            drain_on_shutdown: options.drain_on_shutdown,
            external_url: external_text.clone(),
            user_agent: USER_AGENT.to_owned(),
            clock: clock.clone(),
            supervisor: Supervisor::new(&registry),
        }));
        let rule_queries = CancelHandle::new();
        let rules = Arc::new(rules::Manager::new(
            rules::Environment {
                source: Arc::new(RuleQueries::new(queries.clone(), rule_queries.clone())),
                appender: db.clone(),
                storage: storage.clone(),
                sink: notifier.clone(),
                clock: clock.clone(),
                metrics: Arc::new(rules::RuleMetrics::new(&registry)),
                options: alert_options(&options),
            },
            rules::Threads::own(options.query.concurrency).map_err(ServeError::Threads)?,
            false,
        ));
        let appender: Arc<dyn Appender> = db.clone();
        let scraper = scraper::Manager::new(
            appender,
            clock.clone(),
            &registry,
            scraper::Options {
                user_agent: USER_AGENT.to_owned(),
                host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                start_timestamps: options.features.start_timestamps,
                timestamp_tolerance: options.adjust_timestamps.unwrap_or_default(),
                discovery_reload_interval: options.discovery_interval,
                ..scraper::Options::default()
            },
        );
        let reloader = Reloader {
            config_file: options.config_file.clone(),
            own_address: own_address.clone(),
            db: db.clone(),
            scraper: scraper.clone(),
            rules: rules.clone(),
            notifier: notifier.clone(),
            scrape_discovery: Mutex::default(),
            notify_discovery: Mutex::default(),
            storage: options.storage.clone(),
            features: options.features.clone(),
            rule_format: rules::format::FormatOptions {
                parse: engine.options().features.parse_options(),
                ..rules::format::FormatOptions::default()
            },
            external_url: external_text,
            clock: clock.clone(),
            subquery_step_ms,
            queries: queries.clone(),
            head_limits: Mutex::default(),
        };
        // Nor must one that cannot be put in force.
        let status = reloader.apply(first).await?;
        let (reload, reloads) = mpsc::channel(RELOADS_WAITING);
        let prefix = match options.route_prefix.as_str() {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        };
        let stop = CancellationToken::new();
        let config = Arc::new(ArcSwap::from_pointee(status));
        let external_path = external_url.path().trim_end_matches('/').to_owned();
        let site = Site {
            federate: Arc::new(FederateState {
                storage: storage.clone(),
                clock: clock.clone(),
                lookback_ms: options.query.lookback.as_millis() as i64,
                config: config.clone(),
                metrics: FederationMetrics::new(&registry),
            }),
            status: Arc::new(StatusState {
                config,
                flags,
                features: options.features.promql,
                lifecycle_enabled: options.lifecycle,
                admin_enabled: options.admin,
                db: db.clone(),
                clock: clock.clone(),
                start_ms,
            }),
            admin: Arc::new(AdminState {
                enabled: options.admin,
                db: db.clone(),
                clock: clock.clone(),
            }),
            lifecycle: Arc::new(LifecycleState {
                enabled: options.lifecycle,
                reload,
                stop: stop.clone(),
            }),
            start: Arc::new(StartState {
                ready: watch::Sender::new(false),
                progress,
                patience: options.query.timeout,
                stop,
                db: db.clone(),
            }),
            pages: Arc::new(PageState {
                title: options.page_title.clone(),
                user_assets: options.user_assets.clone(),
                prefix,
                external_path,
                metrics: registry.clone(),
            }),
            targets: Arc::new(TargetState {
                scraper,
                external_url,
                own_port: own_address.rsplit(':').next().and_then(|port| port.parse().ok()),
            }),
            alerting: Arc::new(AlertingState { rules, notifier }),
            query: Arc::new(QueryState {
                storage,
                db,
                engine,
                queries,
                clock,
            }),
        };
        instrument::register(&registry, &site);
        Ok(Server {
            options,
            own_address,
            reloader,
            site,
            rule_queries,
            reloads,
            first_fingerprint,
        })
    }

    async fn run(self, listeners: Vec<TcpListener>, on_ready: impl FnOnce(&str)) -> Result<(), ServeError> {
        let Server {
            options,
            own_address,
            reloader,
            site,
            rule_queries,
            reloads,
            first_fingerprint,
        } = self;
        let stop = site.start.stop.clone();
        let db = site.start.db.clone();
        stop_on_signals(stop.clone()).map_err(ServeError::Signals)?;
        let hangups = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
        let cors = Cors::new(&options.cors_origin)?;
        let given = options.flags.is_given("web.cors.origin");
        let trusted = given
            .then(|| model::regex::Regex::new(&options.cors_origin))
            .transpose()?;
        let trust = Trust::new(trusted, &site.targets.external_url);
        let limits = listener::Limits {
            max_connections: options.max_connections,
            read_timeout: options.read_timeout,
        };
        // The listener outlives the signal to stop by nothing: it is the first to end.
        let serving = tokio::spawn(listener::serve(
            listeners,
            web::router(site.clone(), cors, trust),
            limits,
            stop.clone(),
        ));
        // The listener answers already: what blocks hold, and that the rest is to come.
        let opened = storage::open_head(&db, &site.start.progress, &stop).await;
        let path = || options.storage.path.clone();
        match opened {
            Ok(()) => {}
            Err(StorageError::Closed) if stop.is_cancelled() => {
                tracing::info!("Stopped before the write-ahead log was read");
                return storage::close(&db)
                    .await
                    .map_err(|source| ServeError::Storage { path: path(), source });
            }
            Err(source) => {
                let path = path();
                return Err(ServeError::Storage { path, source });
            }
        }
        reloader.apply_head();
        db.register_metrics(&site.pages.metrics);
        let supervisor = Supervisor::new(&site.pages.metrics);
        supervisor.spawn("clock watch", &stop, {
            let (clock, stop) = (site.status.clock.clone(), stop.clone());
            move || clock_watch::watch(clock.clone(), stop.clone())
        });
        let found = reloader.scrape_discovery.lock().subscribe();
        let scraper = site.targets.scraper.clone();
        let scraping = tokio::spawn({
            let stop = stop.clone();
            async move { scraper.run(found, stop).await }
        });
        let found = reloader.notify_discovery.lock().subscribe();
        let alertmanagers = tokio::spawn(follow_alertmanagers(
            site.alerting.notifier.clone(),
            found,
            stop.clone(),
        ));
        site.alerting.rules.start();
        site.start.ready.send_replace(true);
        let url = format!("http://{own_address}{}", site.pages.prefix);
        tracing::info!(%url, "Server is ready to receive web requests.");
        on_ready(&url);
        follow_reloads(
            &reloader,
            &site.status,
            reloads,
            hangups,
            options.auto_reload,
            first_fingerprint,
            stop.clone(),
        )
        .await;
        tracing::info!("Stopping");
        // In this order: nobody asks any more, nothing new comes in, nothing is made of it, nothing is said of it.
        for task in [serving, scraping, alertmanagers] {
            if let Err(error) = task.await {
                tracing::error!(%error, "A task ended badly");
            }
        }
        rule_queries.cancel();
        site.alerting.rules.stop().await;
        site.alerting.notifier.stop().await;
        storage::close(&db)
            .await
            .map_err(|source| ServeError::Storage { path: path(), source })?;
        tracing::info!("See you next time!");
        Ok(())
    }
}

/// The flags as they count: where the command line leaves something to the configuration, with what that says.
///
/// Compat: as the reference shows them (api-shapes/status_flags).
fn flags_in_force(options: &ServeOptions, config: &Config, settings: &tsdb::db::Options) -> FlagValues {
    let mut flags = options.flags.clone();
    let kept = reload::retention(config, &options.storage);
    let duration = model::duration::format_duration;
    flags.show("storage.tsdb.retention.time", duration(kept.time_ms));
    flags.show(
        "storage.tsdb.retention.size",
        yaml::Bytes(kept.bytes as i64).to_string(),
    );
    flags.show(
        "storage.tsdb.max-block-duration",
        duration(settings.block_range_max_ms),
    );
    flags.show("web.route-prefix", format!("/{}", options.route_prefix));
    flags
}

fn engine_options(options: &ServeOptions, subquery_step_ms: Arc<AtomicI64>) -> EngineOptions {
    EngineOptions {
        lookback_delta_ms: options.query.lookback.as_millis() as i64,
        max_samples: options.query.max_samples,
        query_bytes_max: options.query.memory.query_bytes,
        total_bytes_max: options.query.memory.total_bytes,
        timeout: options.query.timeout,
        default_subquery_step: Arc::new(move |_| subquery_step_ms.load(Ordering::Relaxed)),
        features: options.features.promql,
        ..EngineOptions::default()
    }
}

fn alert_options(options: &ServeOptions) -> rules::AlertOptions {
    rules::AlertOptions {
        resend_delay_ms: options.rules.resend_delay.as_millis() as i64,
        outage_tolerance_ms: options.rules.outage_tolerance.as_millis() as i64,
        grace_period_ms: options.rules.grace_period.as_millis() as i64,
    }
}

/// The flag's word, else this machine's name and our port.
fn external_url(options: &ServeOptions, own_address: &str) -> url::Url {
    let named = || {
        let port = own_address.rsplit(':').next().unwrap_or("9090");
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        url::Url::parse(&format!("http://{host}:{port}/{}", options.external_path))
    };
    options
        .external_url
        .clone()
        .or_else(|| named().ok())
        .unwrap_or_else(|| url::Url::parse("http://localhost:9090").expect("a constant URL"))
}

fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::warn!("Received an OS signal, exiting gracefully... signal=terminated"),
            _ = interrupt.recv() => tracing::warn!("Received an OS signal, exiting gracefully... signal=interrupt"),
            () = stop.cancelled() => {}
        }
        stop.cancel();
    });
    Ok(())
}

async fn follow_alertmanagers(
    notifier: Arc<notify::Notifier>,
    mut found: tokio::sync::watch::Receiver<discovery::Snapshot>,
    stop: CancellationToken,
) {
    loop {
        let snapshot = found.borrow_and_update().clone();
        notifier.update(&snapshot);
        tokio::select! {
            changed = found.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// Reloads when asked to: by a request, by SIGHUP, by a changed file. Returns when the server is to stop.
async fn follow_reloads(
    reloader: &Reloader,
    status: &StatusState,
    mut requests: mpsc::Receiver<ReloadRequest>,
    mut hangups: tokio::signal::unix::Signal,
    auto_reload: Option<Duration>,
    mut seen: Option<u64>,
    stop: CancellationToken,
) {
    let mut look = tokio::time::interval(auto_reload.unwrap_or(NEVER));
    loop {
        let (answer, looked) = tokio::select! {
            () = stop.cancelled() => return,
            request = requests.recv() => (request, false),
            _ = hangups.recv() => (None, false),
            _ = look.tick() => (None, true),
        };
        // Before the files are read: what changes while they are is a change.
        let now = fingerprint(reloader.config_file.as_deref(), auto_reload).await;
        if looked {
            if now == seen {
                continue;
            }
            tracing::info!("Configuration file change detected, reloading the configuration.");
        }
        let result = reloader.reload().await;
        match &result {
            Ok(_) => {
                tracing::info!("Completed loading of configuration file");
                seen = now;
            }
            // Compat: it is tried again after each interval, since what was missing may have come meanwhile.
            Err(error) => tracing::error!(%error, "Error reloading config"),
        }
        let outcome = result.map(|new| status.config.store(Arc::new(new)));
        if outcome.is_err() {
            let failed = ConfigStatus {
                reload_success: false,
                failed_ms: Some(status.clock.now_ms()),
                ..(**status.config.load()).clone()
            };
            status.config.store(Arc::new(failed));
        }
        if let Some(answer) = answer {
            // Whoever asked may be gone.
            let _ = answer.send(outcome);
        }
    }
}

/// What tells whether the configuration's files have changed; `None` where nobody asks.
async fn fingerprint(config_file: Option<&Path>, auto_reload: Option<Duration>) -> Option<u64> {
    let path = config_file.filter(|_| auto_reload.is_some())?.to_owned();
    let read = tokio::task::spawn_blocking(move || crate::config::fingerprint(&path));
    read.await.ok()
}
