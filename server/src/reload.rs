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
use crate::traffic::Traffic;
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
    /// When the last attempt failed, if it did, in milliseconds since the epoch.
    pub(crate) failed_ms: Option<i64>,
    /// Labels that others are to see on all that comes from here.
    pub(crate) external_labels: model::labels::Labels,
}

/// Puts configurations in force.
pub(crate) trait Reload {
    /// Where they come from.
    fn source(&self) -> &Source;

    /// Reads the configuration and puts it in force. On an error everything stays as it was.
    async fn reload(&self) -> Result<ConfigStatus, ReloadError>;
}

/// Where configurations come from, and how they are read.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) config_file: Option<PathBuf>,
    /// Whether they are an agent's.
    agent_mode: bool,
    /// Configuration of an Alertmanager inside, where it has a file of its own.
    pub(crate) alertmanager_file: Option<PathBuf>,
    pub(crate) features: FeatureFlags,
}

impl Source {
    pub(crate) fn new(options: &ServeOptions) -> Self {
        Source {
            config_file: options.config_file.clone(),
            agent_mode: false,
            alertmanager_file: options.alertmanager_file.clone(),
            features: options.features.clone(),
        }
    }

    /// That of an agent.
    pub(crate) fn of_agent(options: &ServeOptions) -> Self {
        Source {
            agent_mode: true,
            ..Source::new(options)
        }
    }
}

/// The parts that a configuration steers.
pub(crate) struct Reloader {
    pub(crate) source: Source,
    /// Our own address, which the built-in configuration scrapes.
    pub(crate) own_address: String,
    pub(crate) db: Arc<tsdb::db::Db>,
    pub(crate) traffic: Traffic,
    pub(crate) rules: Arc<rules::Manager>,
    pub(crate) notifier: Arc<notify::Notifier>,
    pub(crate) alertmanager: Arc<Slot>,
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

/// Reads the configuration again and has `apply` put it in force.
pub(crate) async fn read_again<F>(
    source: &Source,
    own_address: &str,
    supervisor: &supervise::Supervisor,
    apply: impl FnOnce(Loaded) -> F,
) -> Result<ConfigStatus, ReloadError>
where
    F: Future<Output = Result<ConfigStatus, ReloadError>>,
{
    let round = async {
        // Off the threads that scrape: large files take a while, and so may a disk.
        let (source, own_address) = (source.clone(), own_address.to_owned());
        let reading = move || read(&source, &own_address);
        let loaded = supervisor.blocking(TASK, reading).await??;
        apply(loaded).await
    };
    // One that panics has failed like another; what it had put in force by then stays.
    let done = supervisor.round(TASK, round).await;
    done.map_err(supervise::Ended::from)?
}

impl Reload for Reloader {
    fn source(&self) -> &Source {
        &self.source
    }

    async fn reload(&self) -> Result<ConfigStatus, ReloadError> {
        let apply = |loaded| self.apply(loaded);
        read_again(&self.source, &self.own_address, &self.supervisor, apply).await
    }
}

impl Reloader {
    /// Puts a configuration in force. On an error everything stays as it was.
    pub(crate) async fn apply(&self, loaded: Loaded) -> Result<ConfigStatus, ReloadError> {
        let Loaded {
            config,
            jobs,
            alertmanager,
            warnings,
        } = loaded;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let labels = config.global.external_labels();
        // All that can fail comes first, and changes nothing.
        let traffic = self.traffic.prepare(&config, jobs)?;
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
        self.queries.log.set(query_log);
        self.traffic.apply(traffic).await;
        self.apply_storage(&config, xor2_floats);
        self.subquery_step_ms
            .store(config.global.evaluation_interval.as_ms(), Ordering::Relaxed);
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
        let now_ms = self.clock.now_ms();
        Ok(status(&config, &self.storage, &self.source.features, now_ms))
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
}

/// What a configuration in force since `now_ms` looks like from outside.
pub(crate) fn status(
    config: &Config,
    storage: &StorageOptions,
    features: &FeatureFlags,
    now_ms: i64,
) -> ConfigStatus {
    let kept = retention(config, storage);
    // Compat: the text shows the retention in force, wherever it came from (api-shapes/status_config).
    let mut shown = config.clone();
    shown.storage.tsdb.retention.time = yaml::Duration::from_ms(kept.time_ms);
    shown.storage.tsdb.retention.size = yaml::Bytes(kept.bytes as i64);
    // Compat: without the feature the section is not filled with its default (api: `/pre/api/v1/status/config`).
    let exemplars = &mut shown.storage.exemplars;
    exemplars.hidden = !features.exemplar_storage && exemplars.is_default();
    ConfigStatus {
        config_yaml: shown.to_yaml().into(),
        reload_success: true,
        last_reload_ms: now_ms,
        retention_text: retention_text(&kept).into(),
        failed_ms: None,
        external_labels: config.global.external_labels(),
    }
}

/// Reads a configuration: that of the file, or without one the built-in configuration; and the Alertmanager's.
pub(crate) fn read(source: &Source, own_address: &str) -> Result<Loaded, ConfigError> {
    let options = LoadOptions {
        agent_mode: source.agent_mode,
        extra_scrape_metrics: source.features.extra_scrape_metrics,
        protobuf_first: source.features.start_timestamps,
        alertmanager_file: source.alertmanager_file.as_deref(),
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
