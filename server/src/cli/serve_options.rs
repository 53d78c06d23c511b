//! The server's flags as typed options.

use std::path::PathBuf;
use std::time::Duration;

use promql::engine::Features;
use yaml::Bytes;

use super::flags::FlagValues;
use crate::memory::{MemoryFlag, QueryMemory};

/// Why a flag's value cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionError {
    /// Not of the right form.
    #[error("--{flag}: {value:?} is not {expected}")]
    Value {
        /// Which flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// A pattern that does not compile.
    #[error("--{flag}: {source}")]
    Pattern {
        /// Which flag.
        flag: &'static str,
        /// Why not.
        source: model::regex::RegexError,
    },
    /// A part that this version does not have: going on without it would be worse than not starting.
    #[error("--{flag}: {what} is not in this version; start without the flag")]
    NotBuiltIn {
        /// Which flag.
        flag: &'static str,
        /// What it asks for.
        what: &'static str,
    },
}

/// What `serve` was told.
#[derive(Clone, Debug)]
pub(crate) struct ServeOptions {
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) auto_reload: Option<Duration>,
    pub(crate) listen_addresses: Vec<String>,
    pub(crate) read_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) external_url: Option<url::Url>,
    pub(crate) route_prefix: String,
    pub(crate) lifecycle: bool,
    pub(crate) admin: bool,
    pub(crate) page_title: String,
    pub(crate) cors_origin: String,
    pub(crate) storage: StorageOptions,
    pub(crate) rules: RuleOptions,
    pub(crate) adjust_timestamps: Option<Duration>,
    pub(crate) discovery_interval: Duration,
    pub(crate) queue_capacity: usize,
    pub(crate) batch_size: usize,
    pub(crate) drain_on_shutdown: bool,
    pub(crate) query: QueryLimits,
    pub(crate) features: FeatureFlags,
    pub(crate) log_level: String,
    pub(crate) log_format: String,
    /// The flags as they were given, for the API.
    pub(crate) flags: FlagValues,
}

/// Flags of the storage; the configuration file goes before some of them.
#[derive(Clone, Debug)]
pub(crate) struct StorageOptions {
    pub(crate) path: PathBuf,
    pub(crate) retention_time: Option<Duration>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) lock: bool,
    pub(crate) min_block: Duration,
    pub(crate) max_block: Option<Duration>,
    pub(crate) samples_per_chunk: usize,
    pub(crate) wal_segment_bytes: u64,
    pub(crate) wal_compression: WalCompression,
    pub(crate) wal_sync_interval: Duration,
    /// Zero for no snapshots.
    pub(crate) head_snapshot_interval: Duration,
    pub(crate) merge_overlapping: bool,
    /// Who uploads blocks keeps account of them here.
    pub(crate) uploads_file: Option<PathBuf>,
    pub(crate) block_reload_interval: Duration,
}

/// How log records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalCompression {
    None,
    Snappy,
    Zstd,
}

/// Flags of rules.
#[derive(Clone, Debug)]
pub(crate) struct RuleOptions {
    pub(crate) outage_tolerance: Duration,
    pub(crate) grace_period: Duration,
    pub(crate) resend_delay: Duration,
}

/// Flags of queries.
#[derive(Clone, Debug)]
pub(crate) struct QueryLimits {
    pub(crate) lookback: Duration,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: usize,
    pub(crate) max_samples: usize,
    pub(crate) memory: QueryMemory,
}

/// What `--enable-feature` names.
#[derive(Clone, Debug, Default)]
pub(crate) struct FeatureFlags {
    pub(crate) promql: Features,
    pub(crate) exemplar_storage: bool,
    pub(crate) start_timestamps: bool,
    /// Floats are encoded as XOR2 where the configuration names no encoding.
    pub(crate) xor2_floats: bool,
    /// Names of no feature, or of one that this version does not have; said in the log.
    pub(crate) unknown: Vec<String>,
}

impl ServeOptions {
    /// From the flags.
    pub(crate) fn new(flags: FlagValues) -> Result<Self, OptionError> {
        for (flag, what) in [
            ("agent", "agent mode"),
            ("web.enable-remote-write-receiver", "the remote write receiver"),
            ("web.enable-otlp-receiver", "the OTLP receiver"),
        ] {
            if flags.get(flag) == "true" {
                return Err(OptionError::NotBuiltIn { flag, what });
            }
        }
        if !flags.get("web.config.file").is_empty() {
            let what = "TLS and authentication of the web listener";
            return Err(OptionError::NotBuiltIn {
                flag: "web.config.file",
                what,
            });
        }
        let read = Reader(&flags);
        let external_url = match flags.get("web.external-url") {
            "" => None,
            text => Some(url::Url::parse(text).map_err(|_| read.error("web.external-url", "a URL"))?),
        };
        let prefix = match (flags.get("web.route-prefix"), &external_url) {
            ("", Some(url)) => url.path().to_owned(),
            (prefix, _) => prefix.to_owned(),
        };
        Ok(ServeOptions {
            config_file: config_file(&flags),
            auto_reload: read
                .switch("config.auto-reload")
                .then(|| read.duration("config.auto-reload-interval"))
                .transpose()?,
            listen_addresses: flags
                .get("web.listen-address")
                .split(',')
                .map(str::to_owned)
                .collect(),
            read_timeout: read.duration("web.read-timeout")?,
            max_connections: read.number("web.max-connections")?,
            external_url,
            route_prefix: prefix.trim_matches('/').to_owned(),
            lifecycle: read.switch("web.enable-lifecycle"),
            admin: read.switch("web.enable-admin-api"),
            page_title: flags.get("web.page-title").to_owned(),
            cors_origin: read.pattern("web.cors.origin")?,
            storage: StorageOptions::new(&read)?,
            rules: RuleOptions {
                outage_tolerance: read.duration("rules.alert.for-outage-tolerance")?,
                grace_period: read.duration("rules.alert.for-grace-period")?,
                resend_delay: read.duration("rules.alert.resend-delay")?,
            },
            adjust_timestamps: read
                .switch("scrape.adjust-timestamps")
                .then(|| read.duration("scrape.timestamp-tolerance"))
                .transpose()?,
            discovery_interval: read.duration("scrape.discovery-reload-interval")?,
            queue_capacity: read.number("alertmanager.notification-queue-capacity")?,
            batch_size: read.number("alertmanager.notification-batch-size")?,
            drain_on_shutdown: read.switch("alertmanager.drain-notification-queue-on-shutdown"),
            query: QueryLimits {
                lookback: read.duration("query.lookback-delta")?,
                timeout: read.duration("query.timeout")?,
                concurrency: read.number("query.max-concurrency")?,
                max_samples: read.number("query.max-samples")?,
                memory: QueryMemory::new(
                    read.memory("query.max-memory")?,
                    read.memory("query.max-total-memory")?,
                ),
            },
            features: FeatureFlags::new(flags.get("enable-feature")),
            log_level: flags.get("log.level").to_owned(),
            log_format: flags.get("log.format").to_owned(),
            flags,
        })
    }
}

/// The file that was named, or the usual one where it lies here; none means the built-in configuration.
fn config_file(flags: &FlagValues) -> Option<PathBuf> {
    let path = PathBuf::from(flags.get("config.file"));
    (flags.is_given("config.file") || path.is_file()).then_some(path)
}

impl StorageOptions {
    fn new(read: &Reader<'_>) -> Result<Self, OptionError> {
        let compression = match (
            read.switch("storage.tsdb.wal-compression"),
            read.text("storage.tsdb.wal-compression-type"),
        ) {
            (false, _) => WalCompression::None,
            (true, "snappy") => WalCompression::Snappy,
            (true, "zstd") => WalCompression::Zstd,
            (true, _) => return Err(read.error("storage.tsdb.wal-compression-type", "snappy or zstd")),
        };
        Ok(StorageOptions {
            path: PathBuf::from(read.text("storage.tsdb.path")),
            retention_time: read.optional_duration("storage.tsdb.retention.time")?,
            retention_bytes: read.optional_bytes("storage.tsdb.retention.size")?,
            lock: !read.switch("storage.tsdb.no-lockfile"),
            min_block: read.duration("storage.tsdb.min-block-duration")?,
            max_block: read.optional_duration("storage.tsdb.max-block-duration")?,
            samples_per_chunk: read.number("storage.tsdb.samples-per-chunk")?,
            wal_segment_bytes: read.optional_bytes("storage.tsdb.wal-segment-size")?.unwrap_or(0),
            wal_compression: compression,
            wal_sync_interval: read.duration("storage.tsdb.wal-sync-interval")?,
            head_snapshot_interval: read.duration("storage.tsdb.head-snapshot-interval")?,
            merge_overlapping: read.switch("storage.tsdb.allow-overlapping-compaction"),
            uploads_file: Some(read.text("storage.tsdb.delay-compact-file.path"))
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            // Compat: less than a second counts as one.
            block_reload_interval: read
                .duration("storage.tsdb.block-reload-interval")?
                .max(Duration::from_secs(1)),
        })
    }
}

impl FeatureFlags {
    fn new(list: &str) -> Self {
        let mut flags = FeatureFlags::default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "promql-experimental-functions" => flags.promql.experimental_functions = true,
                "promql-delayed-name-removal" => flags.promql.delayed_name_removal = true,
                "promql-extended-range-selectors" => flags.promql.extended_range_selectors = true,
                "promql-binop-fill-modifiers" => flags.promql.binop_fill_modifiers = true,
                "promql-per-step-stats" => flags.promql.per_step_stats = true,
                "type-and-unit-labels" => flags.promql.type_and_unit_labels = true,
                "use-start-timestamps" => flags.promql.use_start_timestamps = true,
                "exemplar-storage" => flags.exemplar_storage = true,
                "st-storage" => flags.start_timestamps = true,
                "xor2-encoding" => flags.xor2_floats = true,
                // Always on.
                "promql-at-modifier"
                | "promql-negative-offset"
                | "promql-duration-expr"
                | "native-histograms"
                | "ooo-native-histograms" => {}
                // Histograms that came with a start timestamp are kept in an encoding that has room for it.
                "histograms-st-encoding" => {}
                // The head snapshot is there without being asked for.
                "memory-snapshot-on-shutdown" | "fast-startup" => {}
                // There is no Go runtime to steer.
                "auto-gomaxprocs" | "auto-gomemlimit" => {}
                other => flags.unknown.push(other.to_owned()),
            }
        }
        flags
    }
}

/// Reads single flags.
struct Reader<'f>(&'f FlagValues);

impl Reader<'_> {
    fn text(&self, flag: &'static str) -> &str {
        self.0.get(flag)
    }

    fn error(&self, flag: &'static str, expected: &'static str) -> OptionError {
        OptionError::Value {
            flag,
            value: self.text(flag).to_owned(),
            expected,
        }
    }

    fn switch(&self, flag: &'static str) -> bool {
        self.text(flag) == "true"
    }

    fn duration(&self, flag: &'static str) -> Result<Duration, OptionError> {
        let ms = model::duration::parse_duration(self.text(flag))
            .map_err(|_| self.error(flag, "a duration like 30s, 5m or 15d"))?;
        Ok(Duration::from_millis(ms as u64))
    }

    fn optional_duration(&self, flag: &'static str) -> Result<Option<Duration>, OptionError> {
        if self.text(flag).is_empty() {
            Ok(None)
        } else {
            self.duration(flag).map(Some)
        }
    }

    /// Compat: 0 counts as not given, as for the reference's sizes.
    fn optional_bytes(&self, flag: &'static str) -> Result<Option<u64>, OptionError> {
        let text = self.text(flag);
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = Bytes::parse(text).filter(|bytes| bytes.0 >= 0);
        let bytes = bytes.ok_or_else(|| self.error(flag, "a size like 512MB or 10GB"))?;
        Ok(Some(bytes.0 as u64).filter(|bytes| *bytes > 0))
    }

    fn memory(&self, flag: &'static str) -> Result<Option<MemoryFlag>, OptionError> {
        match self.text(flag) {
            "" => Ok(None),
            text => MemoryFlag::parse(text)
                .map(Some)
                .ok_or_else(|| self.error(flag, "a size like 2GB, a share like 25%, or 0 for no limit")),
        }
    }

    fn number(&self, flag: &'static str) -> Result<usize, OptionError> {
        self.text(flag)
            .parse()
            .map_err(|_| self.error(flag, "a whole number"))
    }

    fn pattern(&self, flag: &'static str) -> Result<String, OptionError> {
        let text = self.text(flag);
        match model::regex::Regex::new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(source) => Err(OptionError::Pattern { flag, source }),
        }
    }
}
