//! `narthex serve`: what is started in which order, what runs in between, and how it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use model::storage::StorageError;
use promql::engine::CancelHandle;
use supervise::Supervisor;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::serve_options::ServeOptions;
use crate::clock_watch;
use crate::config::ConfigError;
use crate::config::Loaded;
use crate::config::web::WebConfigError;
use crate::instrument;
use crate::notices::Matter;
use crate::process::{self, StartError};
use crate::reload::{self, ConfigStatus, ReloadError, ReloadRequest, Reloader, Source};
use crate::rooms::{RoomError, Rooms};
use crate::storage::{self, StoreError};
use crate::threads::Network;
use crate::web::guard::{self, Guard};
use crate::web::listener::{self, Listener};
use crate::web::state::Site;
use crate::web::{self, Cors, Trust};

/// Requests to reload that may wait for one under way.
const RELOADS_WAITING: usize = 8;

/// Our own address where we have none on the network.
const NO_ADDRESS: &str = "localhost:9090";

/// As often as files are looked at where nobody asks for it.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServeError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The web configuration is wrong.
    #[error("--web.config.file: {0}")]
    WebConfig(#[from] WebConfigError),
    /// The configuration cannot be put in force.
    #[error("{0}")]
    Reload(#[from] ReloadError),
    /// It cannot begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store cannot be opened or closed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A room cannot be made.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// `--web.cors.origin` is not a pattern.
    #[error("--web.cors.origin: {0}")]
    Cors(#[from] model::regex::RegexError),
}

impl ServeError {
    /// The place in a file with a mark under it, where there is one; with colours if `color`.
    pub(crate) fn render(&self, color: bool) -> Option<String> {
        match self {
            ServeError::Config(error) => error.render(color),
            ServeError::Reload(error) => error.render(color),
            ServeError::WebConfig(error) => error.render(color),
            _ => None,
        }
    }

    /// Whether what the user wrote is wrong, in the configuration, in rules or in a flag.
    pub(crate) fn is_of_input(&self) -> bool {
        match self {
            ServeError::Config(_) | ServeError::Cors(_) => true,
            ServeError::Reload(error) => matches!(error, ReloadError::Config(_) | ReloadError::Rules(_)),
            _ => false,
        }
    }
}

/// Serves until a signal or a request ends it. `on_ready` is called once with the server's address.
pub(crate) async fn run(options: ServeOptions, on_ready: impl FnOnce(&str)) -> Result<(), ServeError> {
    process::outlive_file_size_limit()?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        reference = crate::version::REFERENCE,
        "Starting Narthex"
    );
    say_what_has_no_effect(&options);
    let guarded = match &options.web_config_file {
        Some(path) => Some((path.clone(), guard::read(path)?)),
        None => None,
    };
    // A mistake in the configuration comes before whatever else is wrong, and must not cost the replay of a log.
    say_configuration(options.config_file.as_deref());
    let source = Source::new(&options);
    let first_fingerprint = fingerprint(&source, options.auto_reload).await;
    let read = |own_address| reload::read(&source, own_address);
    let named = options.config_file.is_some();
    let first = named.then(|| read(NO_ADDRESS)).transpose()?;
    let (network, listeners) = process::listen(&options.listen_addresses, options.systemd_socket).await?;
    let grpc = match &options.otlp.grpc_address {
        Some(address) => Some(process::open(&network, address).await?),
        None => None,
    };
    let own_address = process::own_address(&listeners).unwrap_or_else(|| NO_ADDRESS.to_owned());
    // The built-in configuration scrapes the server itself.
    let first = first.map_or_else(|| read(&own_address), Ok)?;
    let server = Server::build(options, own_address, guarded, first, first_fingerprint).await?;
    server.run(&network, listeners, grpc, on_ready).await
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

/// Everything that runs.
struct Server {
    options: ServeOptions,
    own_address: String,
    reloader: Reloader,
    site: Site,
    guard: Option<Arc<Guard>>,
    /// Ends the queries of rules that are under way.
    rule_queries: CancelHandle,
    reloads: mpsc::Receiver<ReloadRequest>,
    /// What tells whether the configuration's files have changed since they were first read.
    first_fingerprint: Option<u64>,
}

impl Server {
    /// Opens the store and puts the configuration in force; nothing evaluates or scrapes yet.
    async fn build(
        options: ServeOptions,
        own_address: String,
        guarded: Option<(PathBuf, guard::Prepared)>,
        first: Loaded,
        first_fingerprint: Option<u64>,
    ) -> Result<Self, ServeError> {
        let rooms = Rooms::open(&options, &first.config, &own_address).await?;
        let guard = match guarded {
            Some((path, first)) => Some(Arc::new(rooms.guard(&path, first)?)),
            None => None,
        };
        let reloader = rooms.reloader(&options, &own_address, guard.clone());
        // Nor must one that cannot be put in force.
        let status = reloader.apply(first).await?;
        let (reload, reloads) = mpsc::channel(RELOADS_WAITING);
        let rule_queries = rooms.rule_queries.clone();
        let site = rooms.site(&options, status, reload);
        instrument::register(&site.pages.metrics, &site);
        let registry = &site.pages.metrics;
        registry
            .gauge(
                "prometheus_notifications_queue_capacity",
                "The capacity of the alert notifications queue.",
            )
            .set(options.queue_capacity as f64);
        Ok(Server {
            options,
            own_address,
            reloader,
            site,
            guard,
            rule_queries,
            reloads,
            first_fingerprint,
        })
    }

    async fn run(
        self,
        network: &Network,
        listeners: Vec<Listener>,
        grpc: Option<Listener>,
        on_ready: impl FnOnce(&str),
    ) -> Result<(), ServeError> {
        let Server {
            options,
            own_address,
            reloader,
            site,
            guard,
            rule_queries,
            reloads,
            first_fingerprint,
        } = self;
        let scheme = match &guard {
            Some(guard) if guard.speaks_tls() => "https",
            _ => "http",
        };
        let stop = site.start.stop.clone();
        let db = site.start.db.clone();
        let supervisor = Supervisor::new(&site.pages.metrics);
        process::stop_on_signals(&supervisor, stop.clone())?;
        let hangups = process::hangups()?;
        let (cors, trust) = origins(&options, &site.targets.external_url)?;
        // The listener outlives the signal to stop by nothing: it is the first to end.
        let router = web::router(site.clone(), cors, trust, guard.clone());
        let served = served(listeners, &router, grpc, &site, guard.as_ref());
        let serving = network.spawn(listener::serve(
            served,
            guard,
            limits(&options),
            site.pages.metrics.clone(),
            stop.clone(),
        ));
        // The listener answers already: what blocks hold, and that the rest is to come.
        let opened = storage::open_head(&db, &site.start.progress, &stop).await;
        match opened {
            Ok(()) => {}
            Err(StorageError::Closed) if stop.is_cancelled() => {
                tracing::info!("Stopped before the write-ahead log was read");
                site.notices.stop();
                site.alertmanager.slot.stop().await;
                return Ok(storage::close(&db).await?);
            }
            Err(source) => return Err(StoreError::new(&db, source).into()),
        }
        begin_on_head(&reloader, &site, &supervisor);
        let found = reloader.scrape_discovery.lock().subscribe();
        let scraper = site.targets.scraper.clone();
        let scraping = supervisor.spawn("scrape manager", &stop, {
            let stop = stop.clone();
            move || {
                let (scraper, found, stop) = (scraper.clone(), found.clone(), stop.clone());
                async move { scraper.run(found, stop).await }
            }
        });
        let found = reloader.notify_discovery.lock().subscribe();
        let alertmanagers = supervisor.spawn("alertmanager discovery", &stop, {
            let (notifier, stop) = (site.alerting.notifier.clone(), stop.clone());
            move || follow_alertmanagers(notifier.clone(), found.clone(), stop.clone())
        });
        site.alerting.rules.start();
        site.start.ready.send_replace(true);
        site.notices.end(Matter::Starting);
        let url = format!("{scheme}://{own_address}{}", site.pages.prefix);
        tracing::info!(%url, "Server is ready to receive web requests.");
        on_ready(&url);
        follow_reloads(
            &reloader,
            &site,
            reloads,
            hangups,
            options.auto_reload,
            first_fingerprint,
            stop.clone(),
        )
        .await;
        tracing::info!("Stopping");
        site.notices.stop();
        // In this order: nobody asks any more, nothing new comes in, nothing is made of it, nothing is said of it.
        for task in [serving, scraping, alertmanagers] {
            if let Err(error) = task.await {
                tracing::error!(%error, "A task ended badly");
            }
        }
        end(&site, &reloader, &rule_queries, &supervisor).await;
        storage::close(&db).await?;
        tracing::info!("See you next time!");
        Ok(())
    }
}

/// Ends what makes something of samples that came in, once nothing comes in any more.
async fn end(site: &Site, reloader: &Reloader, rule_queries: &CancelHandle, supervisor: &Supervisor) {
    // What has come in by now is all there is; intervals that are under way end.
    let thinner = site.status.thinner.clone();
    if let Err(error) = supervisor.blocking("aggregation", move || thinner.finish()).await {
        tracing::error!(%error, "A task ended badly");
    }
    rule_queries.cancel();
    site.alerting.rules.stop().await;
    site.alerting.notifier.stop().await;
    site.alertmanager.slot.stop().await;
    // What is stored by now is sent on, or waits in the log for the next start.
    reloader.forwarder.stop().await;
}

/// Bounds of the listener.
fn limits(options: &ServeOptions) -> listener::Limits {
    listener::Limits {
        max_connections: options.max_connections,
        read_timeout: options.read_timeout,
    }
}

/// What is answered where.
fn served(
    listeners: Vec<Listener>,
    router: &Router,
    grpc: Option<Listener>,
    site: &Site,
    guard: Option<&Arc<Guard>>,
) -> Vec<(Listener, Router)> {
    let mut served = listener::each(listeners, router);
    if let Some(listener) = grpc {
        tracing::info!(address = %listener, "Listening for OTLP over gRPC");
        served.push((listener, web::push::grpc::router(site.clone(), guard.cloned())));
    }
    served
}

/// What waits for the logs to be read.
fn begin_on_head(reloader: &Reloader, site: &Site, supervisor: &Supervisor) {
    let stop = &site.start.stop;
    reloader.apply_head();
    site.start.db.register_metrics(&site.pages.metrics);
    // Before anything new comes in: a queue that is new begins here.
    reloader.forwarder.start();
    supervisor.spawn("aggregation", stop, {
        let (thinner, supervisor, stop) = (site.status.thinner.clone(), supervisor.clone(), stop.clone());
        move || aggregate::run(thinner.clone(), supervisor.clone(), stop.clone())
    });
    supervisor.spawn("clock watch", stop, {
        let (clock, stop) = (site.status.clock.clone(), stop.clone());
        move || clock_watch::watch(clock.clone(), stop.clone())
    });
}

/// Whose pages may read the API, and whose may change something.
fn origins(options: &ServeOptions, external_url: &url::Url) -> Result<(Cors, Trust), ServeError> {
    let cors = Cors::new(&options.cors_origin)?;
    let given = options.flags.is_given("web.cors.origin");
    let trusted = given
        .then(|| model::regex::Regex::new(&options.cors_origin))
        .transpose()?;
    Ok((cors, Trust::new(trusted, external_url)))
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
    site: &Site,
    mut requests: mpsc::Receiver<ReloadRequest>,
    mut hangups: Signal,
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
        let now = fingerprint(&reloader.source, auto_reload).await;
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
        let outcome = result.map(|new| site.status.config.store(Arc::new(new)));
        match &outcome {
            Ok(()) => site.notices.end(Matter::ReloadFailed),
            Err(_) => site.notices.begin(Matter::ReloadFailed),
        }
        if outcome.is_err() {
            let failed = ConfigStatus {
                reload_success: false,
                ..(**site.status.config.load()).clone()
            };
            site.status.config.store(Arc::new(failed));
        }
        if let Some(answer) = answer {
            // Whoever asked may be gone.
            let _ = answer.send(outcome);
        }
    }
}

/// What tells whether the configuration's files have changed; `None` where nobody asks.
async fn fingerprint(source: &Source, auto_reload: Option<Duration>) -> Option<u64> {
    let path = source.config_file.clone().filter(|_| auto_reload.is_some())?;
    let others = [source.alertmanager_file.clone(), source.aggregation_file.clone()];
    let read = tokio::task::spawn_blocking(move || {
        let others = others.iter().flatten().map(PathBuf::as_path);
        crate::config::fingerprint(&path, others)
    });
    read.await.ok()
}
