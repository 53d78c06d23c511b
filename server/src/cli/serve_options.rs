//! The server's flags as typed options.

use std::path::PathBuf;
use std::time::Duration;

use super::feature_flags::FeatureFlags;
use super::flags::{FlagValues, Mode};
use super::options::{OptionErrors, Reader};
use super::push_options;
use crate::memory::QueryMemory;
use crate::web::listener::Address;

/// Shortest time between two looks at files: the flags' smaller values count as this.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// What `serve` was told.
#[derive(Clone, Debug)]
pub(crate) struct ServeOptions {
    pub(crate) config_file: Option<PathBuf>,
    /// Configuration of an Alertmanager inside, where it has a file of its own.
    pub(crate) alertmanager_file: Option<PathBuf>,
    /// How much of that one's history is kept.
    pub(crate) history: notify::HistoryLimits,
    pub(crate) auto_reload: Option<Duration>,
    pub(crate) listen_addresses: Vec<Address>,
    /// Sockets come from systemd instead.
    pub(crate) systemd_socket: bool,
    /// File that says how the listener guards itself.
    pub(crate) web_config_file: Option<PathBuf>,
    pub(crate) read_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) external_url: Option<url::Url>,
    /// Path under which this server is reached from outside, without slashes at its ends.
    pub(crate) external_path: String,
    pub(crate) route_prefix: String,
    pub(crate) lifecycle: bool,
    pub(crate) admin: bool,
    /// Whether lines of InfluxDB's protocol are taken.
    pub(crate) influx: bool,
    /// Whether text with times of its own is taken.
    pub(crate) import: bool,
    /// Whether there is a push gateway inside.
    pub(crate) push_gateway: bool,
    pub(crate) push: remote::gateway::Options,
    pub(crate) page_title: String,
    /// Folder of what is served under `/user`.
    pub(crate) user_assets: Option<PathBuf>,
    pub(crate) cors_origin: String,
    pub(crate) storage: StorageOptions,
    pub(crate) forward: ForwardOptions,
    pub(crate) rules: RuleOptions,
    pub(crate) adjust_timestamps: Option<Duration>,
    pub(crate) discovery_interval: Duration,
    pub(crate) queue_capacity: usize,
    pub(crate) batch_size: usize,
    pub(crate) drain_on_shutdown: bool,
    pub(crate) query: QueryLimits,
    pub(crate) otlp: OtlpFlags,
    /// What the remote write receiver does, where it is switched on.
    pub(crate) remote_write: Option<remote::write::Options>,
    pub(crate) features: FeatureFlags,
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
    /// Series that may be active; 0 for no limit.
    pub(crate) series_max: usize,
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

/// Flags of the OTLP receiver.
#[derive(Clone, Debug)]
pub(crate) struct OtlpFlags {
    /// Whether the API takes metrics.
    pub(crate) http: bool,
    /// Where they are taken by gRPC.
    pub(crate) grpc_address: Option<Address>,
}

/// Flags of remote write.
#[derive(Clone, Debug)]
pub(crate) struct ForwardOptions {
    /// How long stopping waits for what is on its way.
    pub(crate) flush_deadline: Duration,
    /// Most bytes of the log that are kept for a receiver that is away.
    pub(crate) spool_bytes: u64,
    /// Longest time for which the log is kept for one.
    pub(crate) spool_age: Duration,
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
    /// Rules evaluated beside others of their group; none without the feature.
    pub(crate) concurrent_evaluations: Option<usize>,
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

impl ServeOptions {
    /// From the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn new(flags: FlagValues) -> Result<Self, OptionErrors> {
        let options = Reader::all(&flags, |read| {
            read.check_mode(Mode::Server);
            ServeOptions::read(read)
        })?;
        Ok(ServeOptions { flags, ..options })
    }

    pub(super) fn read(read: &mut Reader<'_>) -> Self {
        let flags = read.flags;
        let features = FeatureFlags::new(flags.get("enable-feature"));
        if let Some(error) = features.contradiction() {
            read.note(error.to_owned());
        }
        let external = flags.get("web.external-url");
        let external_url = match external {
            "" => None,
            // Compat: a path alone will do, as in `--web.external-url=/prometheus/`; pinned by `flags_take_the_references_forms`.
            path if path.starts_with('/') => None,
            text => read.or_error("web.external-url", "a URL", url::Url::parse(text).ok()),
        };
        let external_path = external_url.as_ref().map_or(external, url::Url::path);
        let prefix = match flags.get("web.route-prefix") {
            "" => external_path,
            prefix => prefix,
        };
        let route_prefix = prefix.trim_matches('/').to_owned();
        let external_path = match external_path {
            "" => route_prefix.clone(),
            path => path.trim_matches('/').to_owned(),
        };
        let auto_reload = read.switch("config.auto-reload") || features.auto_reload;
        let concurrent_evaluations = read.number("rules.max-concurrent-evals");
        let concurrent_evaluations = features.concurrent_rules.then_some(concurrent_evaluations);
        let memory = QueryMemory::new(
            read.memory("query.max-memory"),
            read.memory("query.max-total-memory"),
        );
        ServeOptions {
            config_file: config_file(flags),
            alertmanager_file: read.path("alertmanager.config.file"),
            history: notify::HistoryLimits {
                age: read.duration("alertmanager.history.retention.time"),
                bytes: read.bytes("alertmanager.history.retention.size"),
            },
            // Compat: less than a second counts as one (`flags_take_the_references_forms`).
            auto_reload: auto_reload.then(|| {
                read.duration("config.auto-reload-interval")
                    .max(SHORTEST_INTERVAL)
            }),
            listen_addresses: read.addresses("web.listen-address"),
            systemd_socket: read.switch("web.systemd-socket"),
            web_config_file: read.path("web.config.file"),
            read_timeout: read.duration("web.read-timeout"),
            max_connections: read.number("web.max-connections"),
            external_path,
            external_url,
            route_prefix,
            lifecycle: read.switch("web.enable-lifecycle"),
            admin: read.switch("web.enable-admin-api"),
            influx: read.switch("web.enable-influx-receiver"),
            import: read.switch("web.enable-import"),
            push_gateway: read.switch("web.enable-push-gateway"),
            push: super::pushgateway::gateway_options(read),
            page_title: flags.get("web.page-title").to_owned(),
            user_assets: read.path("web.user-assets"),
            cors_origin: read.pattern("web.cors.origin"),
            storage: StorageOptions::read(read),
            forward: ForwardOptions {
                flush_deadline: read.duration("storage.remote.flush-deadline"),
                spool_bytes: read.bytes("storage.remote.spool.size"),
                spool_age: read.duration("storage.remote.spool.age"),
            },
            rules: RuleOptions {
                outage_tolerance: read.duration("rules.alert.for-outage-tolerance"),
                grace_period: read.duration("rules.alert.for-grace-period"),
                resend_delay: read.duration("rules.alert.resend-delay"),
                concurrent_evaluations,
            },
            adjust_timestamps: read
                .switch("scrape.adjust-timestamps")
                .then(|| read.duration("scrape.timestamp-tolerance")),
            discovery_interval: read.duration("scrape.discovery-reload-interval"),
            queue_capacity: read.number("alertmanager.notification-queue-capacity"),
            batch_size: read.number("alertmanager.notification-batch-size"),
            drain_on_shutdown: read.switch("alertmanager.drain-notification-queue-on-shutdown"),
            query: QueryLimits {
                lookback: read.duration("query.lookback-delta"),
                timeout: read.duration("query.timeout"),
                concurrency: read.number("query.max-concurrency"),
                max_samples: read.number("query.max-samples"),
                memory,
            },
            otlp: OtlpFlags {
                http: read.switch("web.enable-otlp-receiver"),
                grpc_address: read.address("web.otlp-grpc-listen-address"),
            },
            remote_write: push_options::remote_write(read, &features),
            features,
            flags: FlagValues::default(),
        }
    }
}

/// The file that was named, or the usual one where it lies here; none means the built-in configuration.
fn config_file(flags: &FlagValues) -> Option<PathBuf> {
    let path = PathBuf::from(flags.get("config.file"));
    (flags.is_given("config.file") || path.is_file()).then_some(path)
}

impl WalCompression {
    /// As a switch and a word say.
    pub(super) fn read(is_on: bool, word: &str) -> Self {
        match word {
            _ if !is_on => WalCompression::None,
            "zstd" => WalCompression::Zstd,
            _ => WalCompression::Snappy,
        }
    }
}

impl StorageOptions {
    fn read(read: &mut Reader<'_>) -> Self {
        StorageOptions {
            path: PathBuf::from(read.text("storage.tsdb.path")),
            // Compat: 0 counts as not given, for times and for sizes (`flags_take_the_references_forms`).
            retention_time: Some(read.duration("storage.tsdb.retention.time")).filter(|time| !time.is_zero()),
            retention_bytes: Some(read.bytes("storage.tsdb.retention.size")).filter(|bytes| *bytes > 0),
            lock: !read.switch("storage.tsdb.no-lockfile"),
            min_block: read.duration("storage.tsdb.min-block-duration"),
            max_block: Some(read.duration("storage.tsdb.max-block-duration")).filter(|time| !time.is_zero()),
            samples_per_chunk: read.number("storage.tsdb.samples-per-chunk"),
            series_max: read.number("storage.tsdb.max-series"),
            wal_segment_bytes: read.bytes("storage.tsdb.wal-segment-size"),
            wal_compression: WalCompression::read(
                read.switch("storage.tsdb.wal-compression"),
                read.text("storage.tsdb.wal-compression-type"),
            ),
            wal_sync_interval: read.duration("storage.tsdb.wal-sync-interval"),
            head_snapshot_interval: read.duration("storage.tsdb.head-snapshot-interval"),
            merge_overlapping: read.switch("storage.tsdb.allow-overlapping-compaction"),
            uploads_file: read.path("storage.tsdb.delay-compact-file.path"),
            // Compat: less than a second counts as one (`flags_take_the_references_forms`).
            block_reload_interval: read
                .duration("storage.tsdb.block-reload-interval")
                .max(SHORTEST_INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::agent_options::AgentOptions;
    use crate::cli::flags::{FLAGS, Kind, Standing};

    fn options(changed: Option<(&'static str, &str)>) -> Result<String, OptionErrors> {
        let mut values = FlagValues::default_values(FLAGS);
        if let Some((name, value)) = changed {
            values.set(name, value);
        }
        // As they were given they stand there anyway.
        let without_flags = |options: ServeOptions| ServeOptions {
            flags: FlagValues::default(),
            ..options
        };
        match changed {
            Some((name, _)) if name.starts_with("storage.agent.") => {
                let options = AgentOptions::new(values)?;
                let serve = without_flags(options.serve);
                Ok(format!("{:?}", AgentOptions { serve, ..options }))
            }
            _ => Ok(format!("{:?}", without_flags(ServeOptions::new(values)?))),
        }
    }

    /// Another value than the default.
    fn another(name: &str, kind: Kind) -> &'static str {
        match (name, kind) {
            ("enable-feature", _) => "exemplar-storage",
            ("web.external-url", _) => "http://a/b",
            ("web.listen-address" | "web.otlp-grpc-listen-address", _) => "a:1",
            ("query.max-memory" | "query.max-total-memory", _) => "7MB",
            (_, Kind::Switch(true)) => "false",
            (_, Kind::Switch(false)) => "true",
            (_, Kind::Text(_) | Kind::Repeated(_)) => "other",
            (_, Kind::Number(_) | Kind::Limit(_)) => "77",
            (_, Kind::Share(_)) => "0.7",
            (_, Kind::Duration(_) | Kind::GoDuration(_)) => "77s",
            (_, Kind::Size(_)) => "77MB",
            (_, Kind::Word(_, words)) => words[1],
        }
    }

    #[test]
    fn what_help_says_of_a_flag_is_true() {
        let of_server = options(None).expect("defaults");
        let of_agent = options(Some(("storage.agent.no-lockfile", "false"))).expect("defaults");
        for flag in FLAGS {
            let (name, mut value) = (flag.name, another(flag.name, flag.kind));
            if value == flag.kind.default_text() {
                value = "none";
            }
            let changed = options(Some((name, value)));
            let default = if name.starts_with("storage.agent.") {
                &of_agent
            } else {
                &of_server
            };
            match flag.standing {
                // Read by `logging::init`; that the format is heeded is tested there where lines are looked at.
                Standing::Served if matches!(name, "log.level" | "log.format") => {}
                // They count only together with another one.
                Standing::Served if matches!(name, "config.auto-reload-interval") => {
                    let mut values = FlagValues::default_values(FLAGS);
                    values.set("config.auto-reload", "true");
                    values.set(name, "77s");
                    let options = ServeOptions::new(values).expect("valid");
                    assert_eq!(options.auto_reload, Some(Duration::from_secs(77)));
                }
                Standing::Served if matches!(name, "rules.max-concurrent-evals") => {
                    let mut values = FlagValues::default_values(FLAGS);
                    values.set("enable-feature", "concurrent-rule-eval");
                    values.set(name, "77");
                    let options = ServeOptions::new(values).expect("valid");
                    assert_eq!(options.rules.concurrent_evaluations, Some(77));
                }
                Standing::Served if name == "web.remote-write-receiver.accepted-protobuf-messages" => {
                    let mut values = FlagValues::default_values(FLAGS);
                    values.set("web.enable-remote-write-receiver", "true");
                    values.set(name, "prometheus.WriteRequest");
                    let options = ServeOptions::new(values).expect("valid");
                    let accepted = options.remote_write.expect("on").accepted;
                    assert!(accepted.v1 && !accepted.v2);
                    let error = changed.expect_err(name).to_string();
                    assert!(
                        error.contains("\"other\" is not prometheus.WriteRequest or"),
                        "{error}"
                    );
                }
                // It says which options are read at all.
                Standing::Served if name == "agent" => {}
                Standing::Served => assert_ne!(&changed.expect(name), default, "--{name} is not read"),
                Standing::Accepted(_) => assert_eq!(&changed.expect(name), default, "--{name} is read"),
            }
        }
    }

    #[test]
    fn flags_take_the_references_forms() {
        let with = |flags: &[(&'static str, &str)]| {
            let mut values = FlagValues::default_values(FLAGS);
            flags.iter().for_each(|(name, value)| values.set(name, *value));
            ServeOptions::new(values).expect("valid")
        };
        let options = with(&[
            ("config.auto-reload", "true"),
            ("config.auto-reload-interval", "5ms"),
            ("storage.tsdb.block-reload-interval", "0s"),
            ("storage.tsdb.retention.time", "0s"),
            ("storage.tsdb.retention.size", "0"),
            ("query.max-samples", "5e7"),
        ]);
        assert_eq!(options.auto_reload, Some(SHORTEST_INTERVAL));
        assert_eq!(options.storage.block_reload_interval, SHORTEST_INTERVAL);
        assert_eq!(options.storage.retention_time, None);
        assert_eq!(options.storage.retention_bytes, None);
        assert_eq!(options.query.max_samples, 50_000_000);
        for (external, prefix, path, route) in [
            ("", "", "", ""),
            ("/prometheus/", "", "prometheus", "prometheus"),
            ("http://a/b/c", "", "b/c", "b/c"),
            ("http://a/b/c", "/d", "b/c", "d"),
            ("", "/d/", "d", "d"),
        ] {
            let options = with(&[("web.external-url", external), ("web.route-prefix", prefix)]);
            assert_eq!(
                (options.external_path.as_str(), options.route_prefix.as_str()),
                (path, route),
                "{external} {prefix}"
            );
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let mut values = FlagValues::default_values(FLAGS);
        values.set("query.timeout", "soon");
        values.set("web.external-url", "::");
        values.set("web.cors.origin", "(");
        values.set("storage.agent.path", "x");
        values.set("query.max-memory", "much");
        values.set("web.search.max-limit", "-1");
        let error = ServeOptions::new(values).expect_err("wrong").to_string();
        for line in [
            "--query.timeout: \"soon\" is not a duration like 30s, 5m or 15d",
            "--web.external-url: \"::\" is not a URL",
            "--web.cors.origin: ",
            "The following flag(s) can only be used in agent mode: [\"--storage.agent.path\"]",
            "--query.max-memory: \"much\" is not a size like 2GB",
            "--web.search.max-limit: \"-1\" is not a whole number",
        ] {
            assert_eq!(
                error.lines().filter(|l| l.starts_with(line)).count(),
                1,
                "{error}"
            );
        }
        assert_eq!(error.lines().count(), 6, "{error}");
    }
}
