//! Putting a configuration in force: everything is built aside first, and only then exchanged.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::alertmanager::{SetUpError, Slot};
use crate::cli::feature_flags::FeatureFlags;
use crate::cli::serve_options::{ServeOptions, StorageOptions};
use crate::config::web::WebConfigError;
use crate::config::{self, Config, ConfigError, LoadOptions, Loaded};
use crate::queries::{Queries, QueryLog};
use crate::web::guard::Guard;

/// What panics of reloads are counted under.
const TASK: &str = "reload";

/// What is kept when nothing says otherwise.
const DEFAULT_RETENTION_MS: i64 = 15 * 24 * 3_600_000;

/// Why a configuration was not put in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReloadError {
    /// The files are wrong.
    #[error("couldn't load configuration: {0}")]
    Config(#[from] ConfigError),
    /// The rules are wrong.
    #[error("error loading rules, previous rule set restored: {0}")]
    Rules(#[from] rules::LoadError),
    /// A client for alerts cannot be built.
    #[error("alerting: {0}")]
    Notifier(#[source] httpclient::HttpClientError),
    /// The query log cannot be opened.
    #[error("query_log_file {}: {source}", path.display())]
    QueryLog {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The encoding of floats does not fit what is stored.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// A mistake of ours on the way.
    #[error(transparent)]
    Ended(#[from] supervise::Ended),
    /// The web configuration cannot be used.
    #[error("--web.config.file: {0}")]
    WebConfig(#[from] WebConfigError),
    /// A mechanism of discovery cannot be built.
    #[error(transparent)]
    Discovery(#[from] discovery::JobError),
    /// A scrape pool cannot be built.
    #[error("{0}")]
    Scrape(#[from] scraper::PrepareError),
    /// Receivers of remote write cannot be set up.
    #[error(transparent)]
    RemoteWrite(#[from] remote::send::PrepareError),
    /// Stores of remote read cannot be set up.
    #[error(transparent)]
    RemoteRead(#[from] remote::read::PrepareError),
    /// What aggregation keeps over a restart cannot be read.
    #[error("aggregation: {0}")]
    Aggregation(#[source] model::storage::StorageError),
    /// The Alertmanager inside cannot be configured.
    #[error("alertmanager: {0}")]
    Alertmanager(#[from] SetUpError),
}

/// XOR chunks are configured, and start timestamps are to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "float chunk encoding \"xor\" is incompatible with start-timestamp storage; XOR chunks do not store start timestamps, \
     use \"xor2\""
)]
pub(crate) struct EncodingError;

impl ReloadError {
    /// The place in a file with a mark under it, where there is one; with colours if `color`.
    pub(crate) fn render(&self, color: bool) -> Option<String> {
        match self {
            ReloadError::Config(error) => error.render(color),
            ReloadError::Rules(error) => error.places(color),
            ReloadError::WebConfig(error) => error.render(color),
            _ => None,
        }
    }
}

/// A request to reload, and where to say how it went.
pub(crate) type ReloadRequest = oneshot::Sender<Result<(), ReloadError>>;

/// What the configuration in force looks like from outside.
#[derive(Clone, Debug)]
pub(crate) struct ConfigStatus {
    /// The configuration as text.
    pub(crate) config_yaml: Arc<str>,
    /// Whether the last attempt at a reload succeeded.
    pub(crate) reload_success: bool,
    /// When a configuration was last put in force, in milliseconds since the epoch.
    pub(crate) last_reload_ms: i64,
    /// How long and how much is kept, in words.
    pub(crate) retention_text: Arc<str>,
    /// Labels that others are to see on all that comes from here.
    pub(crate) external_labels: model::labels::Labels,
}

/// Where configurations come from, and how they are read.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) config_file: Option<PathBuf>,
    /// Configuration of an Alertmanager inside, where it has a file of its own.
    pub(crate) alertmanager_file: Option<PathBuf>,
    /// Rules of stream aggregation, where they have a file of their own.
    pub(crate) aggregation_file: Option<PathBuf>,
    features: FeatureFlags,
}

impl Source {
    pub(crate) fn new(options: &ServeOptions) -> Self {
        Source {
            config_file: options.config_file.clone(),
            alertmanager_file: options.alertmanager_file.clone(),
            aggregation_file: options.aggregation_file.clone(),
            features: options.features.clone(),
        }
    }
}

/// The parts that a configuration steers.
pub(crate) struct Reloader {
    pub(crate) source: Source,
    /// Our own address, which the built-in configuration scrapes.
    pub(crate) own_address: String,
    pub(crate) db: Arc<tsdb::db::Db>,
    pub(crate) scraper: Arc<scraper::Manager>,
    /// Whether there is a push gateway inside, to be scraped.
    pub(crate) push_gateway: bool,
    pub(crate) rules: Arc<rules::Manager>,
    pub(crate) notifier: Arc<notify::Notifier>,
    pub(crate) alertmanager: Arc<Slot>,
    pub(crate) otlp: Option<Arc<remote::otlp::Receiver>>,
    pub(crate) forwarder: Arc<remote::send::Forwarder>,
    pub(crate) fan_in: Arc<remote::read::FanIn>,
    pub(crate) thinner: Arc<aggregate::Thinner>,
    pub(crate) scrape_discovery: Mutex<discovery::Manager>,
    pub(crate) notify_discovery: Mutex<discovery::Manager>,
    pub(crate) storage: StorageOptions,
    pub(crate) rule_format: rules::format::FormatOptions,
    pub(crate) external_url: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) subquery_step_ms: Arc<AtomicI64>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) head_limits: Mutex<HeadLimits>,
    /// What guards the listener, where something does.
    pub(crate) guard: Option<Arc<Guard>>,
    pub(crate) supervisor: supervise::Supervisor,
}

/// What a configuration says of the head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadLimits {
    out_of_order_window_ms: i64,
    exemplars_max: usize,
    xor2_floats: bool,
}

impl Reloader {
    /// Reads the configuration and puts it in force. On an error everything stays as it was.
    pub(crate) async fn reload(&self) -> Result<ConfigStatus, ReloadError> {
        let round = async {
            // Off the threads that scrape: large files take a while, and so may a disk.
            let (source, own_address) = (self.source.clone(), self.own_address.clone());
            let reading = move || read(&source, &own_address);
            let loaded = self.supervisor.blocking(TASK, reading).await??;
            self.apply(loaded).await
        };
        // One that panics has failed like another; what it had put in force by then stays.
        let done = self.supervisor.round(TASK, round).await;
        done.map_err(supervise::Ended::from)?
    }

    /// Puts a configuration in force. On an error everything stays as it was.
    pub(crate) async fn apply(&self, loaded: Loaded) -> Result<ConfigStatus, ReloadError> {
        let Loaded {
            config,
            mut jobs,
            alertmanager,
            aggregation,
            warnings,
        } = loaded;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let labels = config.global.external_labels();
        if self.push_gateway {
            crate::gateway::add_job(&mut jobs, &config.global.scrape);
        }
        // All that can fail comes first, and changes nothing.
        let found_by = jobs
            .iter()
            .map(|job| (job.job_name.clone(), job.discovery.clone()))
            .collect();
        let scrape_discovery = self.scrape_discovery.lock().prepare(found_by)?;
        let scrapes = self.scraper.prepare(jobs, &labels)?;
        let log_path = &config.global.query_log_file;
        let query_log = QueryLog::open(log_path).map_err(|source| ReloadError::QueryLog {
            path: log_path.clone(),
            source,
        })?;
        let xor2_floats = xor2_floats(&config, &self.source.features)?;
        let alerts = self
            .notifier
            .prepare(&config.alerting, &labels)
            .map_err(ReloadError::Notifier)?;
        let alertmanagers = config.alerting.alertmanagers.iter().enumerate();
        let found_by = alertmanagers
            .map(|(index, am)| (notify::discovery_key(index), am.discovery.clone()))
            .collect();
        let notify_discovery = self.notify_discovery.lock().prepare(found_by)?;
        let forwards = self.forwarder.prepare(&config.unserved.remote_write, &labels)?;
        let reads = self.fan_in.prepare(&config.unserved.remote_read, &labels)?;
        let thinner = self.thinner.clone();
        let preparing = self
            .supervisor
            .blocking(TASK, move || thinner.prepare(aggregation));
        let thinning = preparing.await?.map_err(ReloadError::Aggregation)?;
        let rules = self.rules.prepare(self.rule_settings(&config)).await?;
        let alertmanager = self.alertmanager.prepare(alertmanager).await?;
        let guarded = match &self.guard {
            Some(guard) => Some((guard, guard.prepare().await?)),
            None => None,
        };
        // From here on nothing fails. Who is told of alerts comes before those who tell of them.
        let is_new = self.alertmanager.apply(alertmanager).await;
        self.rules.apply(rules).await;
        if is_new {
            self.rules.send_again();
        }
        self.notifier.apply(alerts);
        self.forwarder.apply(forwards);
        self.fan_in.apply(reads);
        self.queries.log.set(query_log);
        self.apply_thinning(thinning).await;
        self.scraper.apply(scrapes).await;
        self.apply_storage(&config, xor2_floats);
        if let Some(otlp) = &self.otlp {
            otlp.apply(&config.otlp);
        }
        self.subquery_step_ms
            .store(config.global.evaluation_interval.as_ms(), Ordering::Relaxed);
        self.scrape_discovery.lock().apply(scrape_discovery);
        self.notify_discovery.lock().apply(notify_discovery);
        if let Some((guard, prepared)) = guarded {
            guard.apply(prepared);
        }
        for section in config.unserved() {
            tracing::warn!(
                section,
                "This section is configured, but this version does not serve it"
            );
        }
        Ok(self.status(&config))
    }

    /// Ends rules that are gone, which writes what they have gathered.
    async fn apply_thinning(&self, thinning: aggregate::Prepared) {
        let thinner = self.thinner.clone();
        let applied = self
            .supervisor
            .blocking(TASK, move || thinner.apply(thinning))
            .await;
        if let Err(error) = applied {
            tracing::error!(%error, "Rules of aggregation are not in force");
        }
    }

    fn rule_settings(&self, config: &Config) -> rules::Settings {
        rules::Settings {
            patterns: config.rule_files.clone(),
            interval_ms: config.global.evaluation_interval.as_ms(),
            query_offset_ms: config.global.rule_query_offset.as_ms(),
            external_labels: config.global.external_labels(),
            external_url: self.external_url.clone(),
            format: self.rule_format,
        }
    }

    fn apply_storage(&self, config: &Config, xor2_floats: bool) {
        let storage = &config.storage;
        let limits = HeadLimits {
            out_of_order_window_ms: storage.tsdb.out_of_order_time_window.as_ms(),
            exemplars_max: match self.source.features.exemplar_storage {
                true => storage.exemplars.max_exemplars.max(0) as usize,
                false => 0,
            },
            xor2_floats,
        };
        *self.head_limits.lock() = limits;
        if self.db.is_ready() {
            self.apply_head();
        }
        let kept = retention(config, &self.storage);
        self.db.set_retention(kept.time_ms, kept.bytes, kept.percent);
        self.db
            .set_stale_series_threshold(storage.tsdb.stale_series_compaction_threshold);
    }

    /// Tells the head what the configuration in force says of it: at the start it is not there yet.
    pub(crate) fn apply_head(&self) {
        let limits = *self.head_limits.lock();
        let head = self.db.head();
        head.set_out_of_order_window(limits.out_of_order_window_ms);
        head.set_exemplars_max(limits.exemplars_max);
        head.set_xor2_floats(limits.xor2_floats);
    }

    fn status(&self, config: &Config) -> ConfigStatus {
        let kept = retention(config, &self.storage);
        // Compat: the text shows the retention in force, wherever it came from (api-shapes/status_config).
        let mut shown = config.clone();
        shown.storage.tsdb.retention.time = yaml::Duration::from_ms(kept.time_ms);
        shown.storage.tsdb.retention.size = yaml::Bytes(kept.bytes as i64);
        // Compat: without the feature the section is not filled with its default (api: `/pre/api/v1/status/config`).
        let exemplars = &mut shown.storage.exemplars;
        exemplars.hidden = !self.source.features.exemplar_storage && exemplars.is_default();
        ConfigStatus {
            config_yaml: shown.to_yaml().into(),
            reload_success: true,
            last_reload_ms: self.clock.now_ms(),
            retention_text: retention_text(&kept).into(),
            external_labels: config.global.external_labels(),
        }
    }
}

/// Reads a configuration: that of the file, or without one the built-in configuration; and the Alertmanager's.
pub(crate) fn read(source: &Source, own_address: &str) -> Result<Loaded, ConfigError> {
    let options = LoadOptions {
        extra_scrape_metrics: source.features.extra_scrape_metrics,
        protobuf_first: source.features.start_timestamps,
        alertmanager_file: source.alertmanager_file.as_deref(),
        aggregation_file: source.aggregation_file.as_deref(),
        ..LoadOptions::default()
    };
    match &source.config_file {
        Some(path) => config::load_file(path, &options),
        None => config::load_default(own_address, &options),
    }
}

/// Whether floats are encoded as XOR2: the configuration's word, else the feature flag's.
///
/// # Errors
/// Where they are not, and start timestamps are to be stored.
pub(crate) fn xor2_floats(config: &Config, features: &FeatureFlags) -> Result<bool, EncodingError> {
    let xor2 = match config.storage.tsdb.chunk_encoding.floats.as_str() {
        "" => features.xor2_floats,
        name => name == "xor2",
    };
    if features.start_timestamps && !xor2 {
        return Err(EncodingError);
    }
    Ok(xor2)
}

/// How long and how much is kept; zero for no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Retention {
    pub(crate) time_ms: i64,
    pub(crate) bytes: u64,
    /// Of the file system's size.
    pub(crate) percent: f64,
}

/// How long and how much is kept: the configuration's word, else the command line's, else 15 days.
pub(crate) fn retention(config: &Config, options: &StorageOptions) -> Retention {
    let said = &config.storage.tsdb.retention;
    let bytes = if said.size.0 > 0 {
        said.size.0 as u64
    } else {
        options.retention_bytes.unwrap_or(0)
    };
    let limited = bytes > 0 || said.percentage > 0.0;
    let time_ms = match (said.time.as_ms(), options.retention_time) {
        (ms, _) if ms > 0 => ms,
        (_, Some(time)) => time.as_millis() as i64,
        (_, None) if limited => 0,
        (_, None) => DEFAULT_RETENTION_MS,
    };
    Retention {
        time_ms,
        bytes,
        percent: said.percentage,
    }
}

fn retention_text(retention: &Retention) -> String {
    let mut parts = Vec::new();
    if retention.time_ms > 0 {
        parts.push(model::duration::format_duration(retention.time_ms));
    }
    if retention.bytes > 0 {
        parts.push(yaml::Bytes(retention.bytes as i64).to_string());
    }
    if retention.percent > 0.0 {
        parts.push(format!("{}%", retention.percent));
    }
    parts.join(" or ")
}
