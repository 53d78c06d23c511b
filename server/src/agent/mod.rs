//! `narthex --agent`: what is scraped and pushed in goes to a log, and from there to others.
//!
//! An agent is another server, not a mode of one: its store is a log (`tsdb::agent`), its site has no queries
//! (`web::agent`), and there are neither rules nor alerts. How samples come in and go out ([`Traffic`]), sockets, guard and
//! reloads are what it shares. Here stands what is started in which order, and how it ends.

mod reload;

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::clock::{Clock, SystemClock};
use model::storage::StorageError;
use parking_lot::Mutex;
use remote::gateway::Gateway;
use supervise::Supervisor;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tsdb::agent::Agent;

use crate::beginning::{Beginning, Read, Sockets};
use crate::cli::agent_options::AgentOptions;
use crate::config::Config;
use crate::reload::{ConfigStatus, ReloadRequest, Source};
use crate::rooms::{self, RoomError};
use crate::serve::{self, ServeError};
use crate::storage::{self, Store, StoreError};
use crate::traffic::Traffic;
use crate::version::USER_AGENT;
use crate::web::agent::Site;
use crate::web::guard::Guard;
use crate::web::push;
use crate::web::state::{LifecycleState, StartState, StatusState, TargetState};
use crate::{forward, instrument, process, web};
use reload::AgentReloader;

/// Serves until a signal or a request ends it.
pub(crate) async fn run(options: AgentOptions) -> Result<(), ServeError> {
    process::outlive_file_size_limit()?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        reference = crate::version::REFERENCE,
        "Starting Narthex as an agent"
    );
    let source = Source::of_agent(&options.serve);
    let Beginning { sockets, read } = Beginning::new(&options.serve, &source).await?;
    let agent = Running::build(options, source, sockets.own_address.clone(), read).await?;
    agent.run(sockets).await
}

/// Everything that runs.
struct Running {
    options: AgentOptions,
    store: Arc<Agent>,
    reloader: AgentReloader,
    site: Site,
    guard: Option<Arc<Guard>>,
    reloads: mpsc::Receiver<ReloadRequest>,
    first_fingerprint: Option<u64>,
}

impl Running {
    /// Takes the store's folder and puts the configuration in force; nothing scrapes or sends yet.
    async fn build(
        options: AgentOptions,
        source: Source,
        own_address: String,
        read: Read,
    ) -> Result<Self, ServeError> {
        let registry = metrics::Registry::new();
        registry.collect_process();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let settings = settings(&options, &read.config.config, Supervisor::new(&registry));
        let store = new_store(&options, settings, clock.clone()).await?;
        let gateway = rooms::push_gateway(&options.serve, &clock, &registry).await;
        let gateway = gateway.map_err(RoomError::Gateway)?;
        let guard = match read.guard {
            Some((path, first)) => {
                let guard = Guard::new(&path, first, &registry).map_err(RoomError::Guard)?;
                Some(Arc::new(guard))
            }
            None => None,
        };
        let troubles = discovery::Troubles::default();
        let reloader = AgentReloader {
            traffic: traffic(&options, &store, &clock, &registry, gateway.clone(), &troubles),
            store: store.clone(),
            source,
            own_address: own_address.clone(),
            guard: guard.clone(),
            storage: options.serve.storage.clone(),
            clock,
            supervisor: Supervisor::new(&registry),
        };
        let status = reloader.apply(read.config).await?;
        let (reload, reloads) = mpsc::channel(serve::RELOADS_WAITING);
        let site = Making {
            options: &options,
            reloader: &reloader,
            registry: &registry,
        }
        .site(status, reload, gateway, troubles);
        instrument::register_agent(&registry, &site.status, &site.start);
        Ok(Running {
            options,
            store,
            reloader,
            site,
            guard,
            reloads,
            first_fingerprint: read.fingerprint,
        })
    }

    async fn run(self, mut sockets: Sockets) -> Result<(), ServeError> {
        let Running {
            options,
            store,
            reloader,
            site,
            guard,
            reloads,
            first_fingerprint,
        } = self;
        let options = options.serve;
        let stop = site.start.stop.clone();
        let supervisor = Supervisor::new(&site.pages.metrics);
        process::stop_on_signals(&supervisor, stop.clone())?;
        let hangups = process::hangups()?;
        let (cors, trust) = serve::origins(&options, &site.targets.external_url)?;
        let url = sockets.url(guard.as_deref(), &site.pages.prefix);
        let router = web::agent::router(site.clone(), cors, trust, guard.clone());
        let serving = sockets.serve(&options, router, guard, (&site.push, &site.start), &site.pages);
        // The listener answers already: that the log is being read.
        match open_log(&store, &site.start).await {
            Ok(()) => {}
            Err(StorageError::Closed) if stop.is_cancelled() => {
                tracing::info!("Stopped before the write-ahead log was read");
                return close(&store).await;
            }
            Err(source) => return Err(StoreError::new(store.dir(), source).into()),
        }
        store.register_metrics(&site.pages.metrics);
        // Before anything new comes in: a queue that is new begins here.
        reloader.traffic.forwarder.start();
        serve::watch_clock(&site.status, &supervisor, &stop);
        let scraping = reloader.traffic.scrape(&supervisor, &stop);
        site.start.ready.send_replace(true);
        tracing::info!(%url, "Server is ready to receive web requests.");
        serve::follow_reloads(
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
        // In this order: nobody asks any more, nothing new comes in, what is there is sent on or waits in the log.
        for task in [serving, scraping] {
            if let Err(error) = task.await {
                tracing::error!(%error, "A task ended badly");
            }
        }
        reloader.traffic.forwarder.stop().await;
        close(&store).await?;
        tracing::info!("See you next time!");
        Ok(())
    }
}

/// What the command line and the configuration say of the store.
fn settings(options: &AgentOptions, config: &Config, supervisor: Supervisor) -> tsdb::agent::Options {
    let storage = &options.storage;
    let default = tsdb::agent::Options::default();
    tsdb::agent::Options {
        wal_segment_bytes: storage.wal_segment_bytes.unwrap_or(default.wal_segment_bytes),
        wal_compression: storage.wal_compression.into(),
        truncate_interval: storage.truncate_interval,
        retention_min: storage.retention_min,
        out_of_order_window_ms: config.storage.tsdb.out_of_order_time_window.as_ms(),
        start_timestamps: options.serve.features.start_timestamps,
        series_max: storage.series_max,
        lock: storage.lock,
        supervisor,
        ..default
    }
}

async fn new_store(
    options: &AgentOptions,
    settings: tsdb::agent::Options,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Agent>, RoomError> {
    let folder = options.serve.storage.path.clone();
    let path = folder.clone();
    let made = storage::blocking(move || Agent::new(Arc::new(files::DiskFiles), &path, settings, clock));
    let store = made.await.map_err(|source| StoreError::new(&folder, source))?;
    Ok(Arc::new(store))
}

fn traffic(
    options: &AgentOptions,
    store: &Arc<Agent>,
    clock: &Arc<dyn Clock>,
    registry: &metrics::Registry,
    gateway: Option<Arc<Gateway>>,
    troubles: &discovery::Troubles,
) -> Traffic {
    let options = &options.serve;
    let mut discovering = discovery::Context::new(USER_AGENT, discovery::Metrics::new(registry));
    discovering.troubles = troubles.clone();
    let push_gateway = gateway.is_some();
    let scraper = rooms::scraper(options, store.clone(), clock, registry, gateway);
    Traffic {
        forwarder: forward::forwarder(options, store.clone(), &scraper, clock, registry),
        discovery: Mutex::new(discovery::Manager::new(discovery::SCRAPE, discovering)),
        push_gateway,
        otlp: push::otlp::receiver(options, store.clone(), clock.clone(), registry),
        scraper,
    }
}

/// What the site is made of.
struct Making<'m> {
    options: &'m AgentOptions,
    reloader: &'m AgentReloader,
    registry: &'m metrics::Registry,
}

impl Making<'_> {
    fn site(
        self,
        status: ConfigStatus,
        reload: mpsc::Sender<ReloadRequest>,
        gateway: Option<Arc<Gateway>>,
        troubles: discovery::Troubles,
    ) -> Site {
        let (options, reloader, registry) = (&self.options.serve, self.reloader, self.registry);
        let stop = CancellationToken::new();
        let external_url = rooms::external_url(options, &reloader.own_address);
        let pages = rooms::page_state(options, &external_url, registry);
        let (store, clock) = (reloader.store.clone(), reloader.clock.clone());
        let push = rooms::push_state(
            options,
            store.clone(),
            clock.clone(),
            registry,
            gateway,
            &pages.prefix,
        );
        let mut flags = options.flags.clone();
        flags.show("web.route-prefix", format!("/{}", options.route_prefix));
        Site {
            push: Arc::new(push.with_otlp(reloader.traffic.otlp.clone(), options.otlp.http)),
            targets: Arc::new(TargetState {
                scraper: reloader.traffic.scraper.clone(),
                own_port: process::port_of(&reloader.own_address),
                external_url,
                troubles,
            }),
            status: Arc::new(StatusState {
                config: Arc::new(ArcSwap::from_pointee(status)),
                flags,
                features: options.features.clone(),
                lifecycle_enabled: options.lifecycle,
                admin_enabled: options.admin,
                store: store.clone(),
                start_ms: clock.now_ms(),
                clock,
            }),
            lifecycle: Arc::new(LifecycleState {
                enabled: options.lifecycle,
                reload,
                stop: stop.clone(),
            }),
            start: Arc::new(StartState {
                ready: watch::Sender::new(false),
                progress: store.progress().clone(),
                patience: options.query.timeout,
                stop,
                store,
                calls_itself: "Prometheus Agent",
            }),
            pages: Arc::new(pages),
        }
    }
}

/// Reads the log; gives up when the agent is to stop.
async fn open_log(store: &Arc<Agent>, start: &StartState) -> Result<(), StorageError> {
    let opened = store.clone();
    storage::read_log(move || opened.open_log(), &start.progress, &start.stop).await?;
    if let Some(report) = store.report() {
        tracing::info!(
            series = report.series,
            samples = report.samples,
            took_ms = report.duration.as_millis() as u64,
            "Write-ahead log read"
        );
    }
    Ok(())
}

/// Writes out what is in buffers and gives the folder free.
async fn close(store: &Arc<Agent>) -> Result<(), ServeError> {
    let closing = store.clone();
    let closed = storage::blocking(move || closing.close()).await;
    closed.map_err(|source| StoreError::new(store.dir(), source).into())
}

impl Store for Agent {
    fn corruptions(&self) -> usize {
        self.report().map_or(0, |report| report.damages.len())
    }

    fn write_failure(&self) -> Option<String> {
        Agent::write_failure(self)
    }
}
