//! What the server is made of: every room, made in the order in which they need each other.
//!
//! Nothing evaluates, scrapes or answers yet; [`serve`](crate::serve) starts and ends them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use model::clock::{Clock, SystemClock};
use model::storage::{Appender, Queryable};
use parking_lot::Mutex;
use promql::engine::{CancelHandle, Engine, EngineOptions};
use remote::gateway::Gateway;
use supervise::Supervisor;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::alertmanager::{self, Slot};
use crate::cli::flags::FlagValues;
use crate::cli::serve_options::ServeOptions;
use crate::config::Config;
use crate::forward;
use crate::gateway;
use crate::process;
use crate::queries::{Queries, RuleQueries};
use crate::reload::{self, ConfigStatus, EncodingError, ReloadRequest, Reloader, Source};
use crate::storage::{self, StoreError};
use crate::traffic::Traffic;
use crate::version::USER_AGENT;
use crate::web::alertmanager::state::AlertmanagerState;
use crate::web::guard::{self, Guard};
use crate::web::push::gateway::{GatewayBody, GatewayState};
use crate::web::push::{self, PushState, Ways};
use crate::web::state::{
    AdminState, AlertingState, FederateState, LifecycleState, PageState, QueryState, Site, StartState,
    StatusState, TargetState,
};
use crate::web::{AskedMetrics, FederationMetrics};

/// Where the state of alerts is kept, in the store's folder.
const ALERTS_FOLDER: &str = "alerts";
/// Where the Alertmanager inside keeps silences and what was sent, in the store's folder.
const ALERTMANAGER_FOLDER: &str = "alertmanager";

/// Where the push gateway inside keeps its groups, in the store's folder.
const PUSH_FILE: &str = "push/groups";

/// Why a room cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RoomError {
    /// The encoding of floats does not fit what is stored.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no threads.
    #[error("cannot start threads for rules: {0}")]
    Threads(#[source] std::io::Error),
    /// The groups of the push gateway cannot be read.
    #[error(transparent)]
    Gateway(#[from] gateway::OpenError),
    /// The system gives no threads, or no random bytes.
    #[error("--web.config.file: {0}")]
    Guard(#[source] std::io::Error),
}

/// All rooms.
pub(crate) struct Rooms {
    clock: Arc<dyn Clock>,
    start_ms: i64,
    registry: metrics::Registry,
    progress: Arc<tsdb::head::ReplayProgress>,
    db: Arc<tsdb::db::Db>,
    /// The flags as they count.
    flags: FlagValues,
    asking: Asking,
    external_url: url::Url,
    own_port: Option<u16>,
    notifier: Arc<notify::Notifier>,
    alertmanager: Arc<Slot>,
    rules: Arc<rules::Manager>,
    scraper: Arc<scraper::Manager>,
    gateway: Option<Arc<Gateway>>,
    /// What takes OTLP, where something does.
    otlp: Option<Arc<remote::otlp::Receiver>>,
    /// What sends on what is stored.
    pub(crate) forwarder: Arc<remote::send::Forwarder>,
    /// What discovery cannot do at the moment.
    troubles: discovery::Troubles,
    /// Ends the queries of rules that are under way.
    pub(crate) rule_queries: CancelHandle,
}

/// What answers queries.
struct Asking {
    engine: Arc<Engine>,
    queries: Arc<Queries>,
    subquery_step_ms: Arc<AtomicI64>,
}

impl Rooms {
    /// Opens the store as far as its blocks go, and makes the rest around it.
    pub(crate) async fn open(
        options: &ServeOptions,
        config: &Config,
        own_address: &str,
    ) -> Result<Self, RoomError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let start_ms = clock.now_ms();
        let registry = metrics::Registry::new();
        registry.collect_process();
        let progress: Arc<tsdb::head::ReplayProgress> = Arc::default();
        let settings = storage::settings(options, config, progress.clone(), Supervisor::new(&registry))?;
        let flags = flags_in_force(options, config, &settings);
        let db = storage::open_blocks(&options.storage.path, settings, clock.clone()).await?;
        let asking = Asking::new(options, config, db.clone(), &registry);
        let external_url = external_url(options, own_address);
        let folder = options.storage.path.join(ALERTMANAGER_FOLDER);
        let alertmanager = Slot::new(notify::Options {
            history: options.history,
            ..alertmanager::options(folder, link_base(&external_url), clock.clone(), &registry)
        });
        let notifier = notifier(options, &external_url, &clock, &registry, alertmanager.clone());
        let gateway = push_gateway(options, &clock, &registry).await?;
        let scraper = scraper(options, db.clone(), &clock, &registry, gateway.clone());
        let forwarder = forward::forwarder(options, db.clone(), &scraper, &clock, &registry);
        let recovery = recovery(options, &clock, &registry, scraper.clone()).await;
        let otlp = push::otlp::receiver(options, db.clone(), clock.clone(), &registry);
        let rule_queries = CancelHandle::new();
        let rules = Arc::new(rules::Manager::new(
            rules::Environment {
                source: Arc::new(RuleQueries::new(asking.queries.clone(), rule_queries.clone())),
                appender: db.clone(),
                storage: db.clone(),
                sink: notifier.clone(),
                clock: clock.clone(),
                metrics: Arc::new(rules::RuleMetrics::new(&registry)),
                options: alert_options(options),
                recovery,
                concurrent_evaluations: options
                    .rules
                    .concurrent_evaluations
                    .map(|max| Arc::new(Semaphore::new(max))),
            },
            rules::Threads::own(options.query.concurrency).map_err(RoomError::Threads)?,
            false,
        ));
        Ok(Rooms {
            clock,
            start_ms,
            registry,
            progress,
            db,
            flags,
            asking,
            external_url,
            own_port: process::port_of(own_address),
            notifier,
            alertmanager,
            rules,
            scraper,
            gateway,
            otlp,
            forwarder,
            troubles: discovery::Troubles::default(),
            rule_queries,
        })
    }

    /// What guards the listener as the web configuration `path` says, of which `first` was read.
    pub(crate) fn guard(&self, path: &Path, first: guard::Prepared) -> Result<Guard, RoomError> {
        Guard::new(path, first, &self.registry).map_err(RoomError::Guard)
    }

    /// What puts configurations in force, that of `guard` included.
    pub(crate) fn reloader(
        &self,
        options: &ServeOptions,
        own_address: &str,
        guard: Option<Arc<Guard>>,
    ) -> Reloader {
        let mut discovering = discovery::Context::new(USER_AGENT, discovery::Metrics::new(&self.registry));
        discovering.troubles = self.troubles.clone();
        let traffic = Traffic {
            scraper: self.scraper.clone(),
            discovery: Mutex::new(discovery::Manager::new(discovery::SCRAPE, discovering.clone())),
            push_gateway: self.gateway.is_some(),
            otlp: self.otlp.clone(),
            forwarder: self.forwarder.clone(),
        };
        Reloader {
            source: Source::new(options),
            own_address: own_address.to_owned(),
            db: self.db.clone(),
            traffic,
            rules: self.rules.clone(),
            notifier: self.notifier.clone(),
            alertmanager: self.alertmanager.clone(),
            notify_discovery: Mutex::new(discovery::Manager::new(discovery::NOTIFY, discovering)),
            storage: options.storage.clone(),
            rule_format: rules::format::FormatOptions {
                parse: self.asking.engine.options().features.parse_options(),
                ..rules::format::FormatOptions::default()
            },
            external_url: link_base(&self.external_url),
            clock: self.clock.clone(),
            subquery_step_ms: self.asking.subquery_step_ms.clone(),
            queries: self.asking.queries.clone(),
            head_limits: Mutex::default(),
            guard,
            supervisor: Supervisor::new(&self.registry),
        }
    }

    /// What routes answer from.
    pub(crate) fn site(
        self,
        options: &ServeOptions,
        status: ConfigStatus,
        reload: mpsc::Sender<ReloadRequest>,
    ) -> Site {
        let stop = CancellationToken::new();
        let config = Arc::new(ArcSwap::from_pointee(status));
        let pages = page_state(options, &self.external_url, &self.registry);
        let (appender, clock) = (self.db.clone(), self.clock.clone());
        let push = push_state(
            options,
            appender,
            clock,
            &self.registry,
            self.gateway,
            &pages.prefix,
        );
        Site {
            federate: Arc::new(FederateState {
                storage: self.db.clone(),
                clock: self.clock.clone(),
                lookback_ms: options.query.lookback.as_millis() as i64,
                config: config.clone(),
                metrics: FederationMetrics::new(&self.registry),
            }),
            push: Arc::new(push.with_otlp(self.otlp, options.otlp.http)),
            status: Arc::new(StatusState {
                config,
                flags: self.flags,
                features: options.features.clone(),
                lifecycle_enabled: options.lifecycle,
                admin_enabled: options.admin,
                store: self.db.clone(),
                clock: self.clock.clone(),
                start_ms: self.start_ms,
            }),
            admin: Arc::new(AdminState {
                enabled: options.admin,
                db: self.db.clone(),
                clock: self.clock.clone(),
            }),
            lifecycle: Arc::new(LifecycleState {
                enabled: options.lifecycle,
                reload,
                stop: stop.clone(),
            }),
            start: Arc::new(StartState {
                ready: watch::Sender::new(false),
                progress: self.progress,
                patience: options.query.timeout,
                stop,
                store: self.db.clone(),
                calls_itself: "Prometheus Server",
            }),
            pages: Arc::new(pages),
            targets: Arc::new(TargetState {
                scraper: self.scraper,
                external_url: self.external_url,
                own_port: self.own_port,
                troubles: self.troubles,
            }),
            alertmanager: Arc::new(AlertmanagerState::new(self.alertmanager, &self.registry, 0, None)),
            alerting: Arc::new(AlertingState {
                rules: self.rules,
                notifier: self.notifier,
            }),
            query: Arc::new(QueryState {
                storage: self.db.clone(),
                db: self.db,
                engine: self.asking.engine,
                queries: self.asking.queries,
                supervisor: Supervisor::new(&self.registry),
                clock: self.clock,
            }),
        }
    }
}

/// What takes what others push, into whichever store.
pub(crate) fn push_state(
    options: &ServeOptions,
    appender: Arc<dyn Appender>,
    clock: Arc<dyn Clock>,
    registry: &metrics::Registry,
    gateway: Option<Arc<Gateway>>,
    prefix: &str,
) -> PushState {
    let mut push = PushState::new(appender, clock);
    push.ways = Ways {
        influx: options.influx,
        import: options.import,
    };
    push.write = options.remote_write.map(|options| {
        let (appender, clock) = (push.appender.clone(), push.clock.clone());
        let receiver = remote::write::Receiver::new(appender, clock, registry, options);
        Arc::new(receiver)
    });
    push.gateway = gateway.map(|gateway| {
        let intake = push.intake.clone();
        Arc::new(GatewayState::new(gateway, intake, prefix.to_owned(), registry))
    });
    push
}

impl Asking {
    fn new(
        options: &ServeOptions,
        config: &Config,
        storage: Arc<dyn Queryable>,
        registry: &metrics::Registry,
    ) -> Self {
        let subquery_step_ms = Arc::new(AtomicI64::new(config.global.evaluation_interval.as_ms()));
        let engine = Arc::new(Engine::new(engine_options(options, subquery_step_ms.clone())));
        crate::memory::watch(&engine, Supervisor::new(registry));
        let queries = Arc::new(Queries::new(
            engine.clone(),
            storage,
            options.query.concurrency,
            &options.storage.path,
            Supervisor::new(registry),
        ));
        Asking {
            engine,
            queries,
            subquery_step_ms,
        }
    }
}

fn notifier(
    options: &ServeOptions,
    external_url: &url::Url,
    clock: &Arc<dyn Clock>,
    registry: &metrics::Registry,
    inside: Arc<Slot>,
) -> Arc<notify::Notifier> {
    Arc::new(notify::Notifier::new(notify::NotifierOptions {
        queue_capacity: options.queue_capacity,
        batch_size: options.batch_size,
        drain_on_shutdown: options.drain_on_shutdown,
        external_url: link_base(external_url),
        user_agent: USER_AGENT.to_owned(),
        clock: clock.clone(),
        supervisor: Supervisor::new(registry),
        inside: Some(inside),
    }))
}

/// The push gateway inside, where it is switched on.
pub(crate) async fn push_gateway(
    options: &ServeOptions,
    clock: &Arc<dyn Clock>,
    registry: &metrics::Registry,
) -> Result<Option<Arc<Gateway>>, gateway::OpenError> {
    if !options.push_gateway {
        return Ok(None);
    }
    let path = options.storage.path.join(PUSH_FILE);
    let supervisor = Supervisor::new(registry);
    gateway::open(options.push.clone(), clock.clone(), Some(&path), &supervisor)
        .await
        .map(Some)
}

pub(crate) fn scraper(
    options: &ServeOptions,
    appender: Arc<dyn Appender>,
    clock: &Arc<dyn Clock>,
    registry: &metrics::Registry,
    gateway: Option<Arc<Gateway>>,
) -> Arc<scraper::Manager> {
    scraper::Manager::new(
        appender,
        clock.clone(),
        registry,
        scraper::Options {
            user_agent: USER_AGENT.to_owned(),
            host_name: process::host_name(),
            append_metadata: options.features.metadata_records,
            start_timestamps: options.features.start_timestamps,
            timestamp_tolerance: options.adjust_timestamps.unwrap_or_default(),
            discovery_reload_interval: options.discovery_interval,
            own_threads: true,
            inside: scraper::Inside(gateway.map(|gateway| Arc::new(GatewayBody(gateway)) as _)),
        },
    )
}

/// The journal of alerts in the store's folder. Without one the server does what the reference does: it looks at the
/// series that tell of alerts.
async fn recovery(
    options: &ServeOptions,
    clock: &Arc<dyn Clock>,
    registry: &metrics::Registry,
    scraper: Arc<scraper::Manager>,
) -> Option<rules::Recovery> {
    let folder = options.storage.path.join(ALERTS_FOLDER);
    let (clock, registry) = (clock.clone(), registry.clone());
    let opening = tokio::task::spawn_blocking(move || {
        rules::AlertJournal::open(Arc::new(files::DiskFiles), clock, &folder, &registry)
    });
    let cannot =
        |error: &dyn std::fmt::Display| tracing::error!(%error, "Alerts cannot be kept over restarts");
    let opened = opening.await.inspect_err(|error| cannot(error)).ok()?;
    let journal = opened.inspect_err(|error| cannot(error)).ok()?;
    let discovery = options.discovery_interval;
    // Twice: rates need two samples.
    let first_scrapes = move || discovery + 2 * scraper.longest_interval();
    Some(rules::Recovery::new(
        journal,
        options.query.lookback,
        first_scrapes,
    ))
}

pub(crate) fn page_state(
    options: &ServeOptions,
    external_url: &url::Url,
    registry: &metrics::Registry,
) -> PageState {
    PageState {
        title: options.page_title.clone(),
        user_assets: options.user_assets.clone(),
        prefix: match options.route_prefix.as_str() {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        },
        external_path: external_url.path().trim_end_matches('/').to_owned(),
        metrics: registry.clone(),
        asked: AskedMetrics::new(registry),
    }
}

/// Links are this and a path that begins with a slash.
fn link_base(external_url: &url::Url) -> String {
    external_url.as_str().trim_end_matches('/').to_owned()
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
pub(crate) fn external_url(options: &ServeOptions, own_address: &str) -> url::Url {
    let named = || {
        let port = own_address.rsplit(':').next().unwrap_or("9090");
        let host = process::host_name();
        url::Url::parse(&format!("http://{host}:{port}/{}", options.external_path))
    };
    options
        .external_url
        .clone()
        .or_else(|| named().ok())
        .unwrap_or_else(|| url::Url::parse("http://localhost:9090").expect("a constant URL"))
}
