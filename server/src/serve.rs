//! `narthex serve`: what is started in which order, what runs in between, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use model::storage::StorageError;
use promql::engine::CancelHandle;
use supervise::Supervisor;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::beginning::{Beginning, Read, Sockets, fingerprint};
use crate::cli::serve_options::ServeOptions;
use crate::clock_watch;
use crate::config::ConfigError;
use crate::config::web::WebConfigError;
use crate::instrument;
use crate::process::{self, StartError};
use crate::reload::{ConfigStatus, Reload, ReloadError, ReloadRequest, Reloader, Source};
use crate::rooms::{RoomError, Rooms};
use crate::storage::{self, StoreError};
use crate::web::guard::Guard;
use crate::web::state::{Site, StatusState};
use crate::web::{self, Cors, Trust};

/// Requests to reload that may wait for one under way.
pub(crate) const RELOADS_WAITING: usize = 8;

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
    let source = Source::new(&options);
    let beginning = Beginning::new(&options, &source).await?;
    let Beginning { sockets, read } = beginning;
    let server = Server::build(options, sockets.own_address.clone(), read).await?;
    server.run(sockets, on_ready).await
}

/// Everything that runs.
struct Server {
    options: ServeOptions,
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
    async fn build(options: ServeOptions, own_address: String, read: Read) -> Result<Self, ServeError> {
        let rooms = Rooms::open(&options, &read.config.config, &own_address).await?;
        let guard = match read.guard {
            Some((path, first)) => Some(Arc::new(rooms.guard(&path, first)?)),
            None => None,
        };
        let reloader = rooms.reloader(&options, &own_address, guard.clone());
        // Nor must one that cannot be put in force.
        let status = reloader.apply(read.config).await?;
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
            reloader,
            site,
            guard,
            rule_queries,
            reloads,
            first_fingerprint: read.fingerprint,
        })
    }

    async fn run(self, mut sockets: Sockets, on_ready: impl FnOnce(&str)) -> Result<(), ServeError> {
        let Server {
            options,
            reloader,
            site,
            guard,
            rule_queries,
            reloads,
            first_fingerprint,
        } = self;
        let url = sockets.url(guard.as_deref(), &site.pages.prefix);
        let stop = site.start.stop.clone();
        let db = site.query.db.clone();
        let supervisor = Supervisor::new(&site.pages.metrics);
        process::stop_on_signals(&supervisor, stop.clone())?;
        let hangups = process::hangups()?;
        let (cors, trust) = origins(&options, &site.targets.external_url)?;
        // The listener outlives the signal to stop by nothing: it is the first to end.
        let router = web::router(site.clone(), cors, trust, guard.clone());
        let serving = sockets.serve(&options, router, guard, (&site.push, &site.start), &site.pages);
        // The listener answers already: what blocks hold, and that the rest is to come.
        let opened = storage::open_head(&db, &site.start.progress, &stop).await;
        match opened {
            Ok(()) => {}
            Err(StorageError::Closed) if stop.is_cancelled() => {
                tracing::info!("Stopped before the write-ahead log was read");
                site.alertmanager.slot.stop().await;
                return Ok(storage::close(&db).await?);
            }
            Err(source) => return Err(StoreError::new(db.dir(), source).into()),
        }
        begin_on_head(&reloader, &site, &supervisor);
        let scraping = reloader.traffic.scrape(&supervisor, &stop);
        let found = reloader.notify_discovery.lock().subscribe();
        let alertmanagers = supervisor.spawn("alertmanager discovery", &stop, {
            let (notifier, stop) = (site.alerting.notifier.clone(), stop.clone());
            move || follow_alertmanagers(notifier.clone(), found.clone(), stop.clone())
        });
        site.alerting.rules.start();
        site.start.ready.send_replace(true);
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
        site.alertmanager.slot.stop().await;
        // What is stored by now is sent on, or waits in the log for the next start.
        reloader.traffic.forwarder.stop().await;
        storage::close(&db).await?;
        tracing::info!("See you next time!");
        Ok(())
    }
}

/// What waits for the logs to be read.
fn begin_on_head(reloader: &Reloader, site: &Site, supervisor: &Supervisor) {
    let stop = &site.start.stop;
    reloader.apply_head();
    site.query.db.register_metrics(&site.pages.metrics);
    // Before anything new comes in: a queue that is new begins here.
    reloader.traffic.forwarder.start();
    watch_clock(&site.status, supervisor, stop);
}

/// Tells when the clock is set.
pub(crate) fn watch_clock(status: &StatusState, supervisor: &Supervisor, stop: &CancellationToken) {
    supervisor.spawn("clock watch", stop, {
        let (clock, stop) = (status.clock.clone(), stop.clone());
        move || clock_watch::watch(clock.clone(), stop.clone())
    });
}

/// Whose pages may read the API, and whose may change something.
pub(crate) fn origins(options: &ServeOptions, external_url: &url::Url) -> Result<(Cors, Trust), ServeError> {
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
pub(crate) async fn follow_reloads(
    reloader: &impl Reload,
    status: &StatusState,
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
        let now = fingerprint(reloader.source(), auto_reload).await;
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
