//! The sections that steer scraping: one entry of `scrape_configs`, and the part of `global` that it falls back to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::inside::ADDRESS;
use discovery::{Mechanisms, StaticConfig};
use exposition::{EscapingScheme, ScrapeProtocol};
use httpclient::HttpClientConfig;
use model::labels::NameScheme;
use model::relabel::RelabelRule;
use serde::{Serialize, Serializer};
use yaml::{Bytes, Duration, FromYaml, Section, Value, YamlError, relabel_rules, relabel_rules_to_yaml};

const MINUTE: Duration = Duration::from_ms(60_000);
const TIMEOUT: Duration = Duration::from_ms(10_000);

/// What becomes of a scrape with more samples than `sample_limit` allows. A key of our own, `sample_limit_action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleLimitAction {
    /// It fails as a whole, as in the reference.
    #[default]
    Fail,
    /// Series that the target had before go on; new ones are dropped while there is no room for them.
    DropNew,
}

impl FromYaml for SampleLimitAction {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        match String::from_yaml(value)?.as_str() {
            "" | "fail" => Ok(SampleLimitAction::Fail),
            "drop_new" => Ok(SampleLimitAction::DropNew),
            other => Err(value.error(format_args!(
                "unknown sample_limit_action {other:?}, must be one of 'fail', 'drop_new'"
            ))),
        }
    }
}

/// The settings of `global` that scrape configurations fall back to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScrapeDefaults {
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
    /// How long a scrape may take.
    pub scrape_timeout: Duration,
    /// Formats to ask for, best first; nothing where each job decides by its histograms.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "protocols_to_yaml")]
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// File that failed scrapes are logged to.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub scrape_failure_log_file: PathBuf,
    /// Largest body, inflated; 0 for no limit. So for the limits that follow.
    #[serde(skip_serializing_if = "is_default")]
    pub body_size_limit: Bytes,
    /// Most samples of a scrape.
    #[serde(skip_serializing_if = "is_default")]
    pub sample_limit: u64,
    /// What becomes of a scrape with more.
    #[serde(skip_serializing_if = "is_default")]
    pub sample_limit_action: SampleLimitAction,
    /// Most targets of a job.
    #[serde(skip_serializing_if = "is_default")]
    pub target_limit: u64,
    /// Most labels of a series.
    #[serde(skip_serializing_if = "is_default")]
    pub label_limit: u64,
    /// Longest label name in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub label_name_length_limit: u64,
    /// Longest label value in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub label_value_length_limit: u64,
    /// Most dropped targets that a job remembers.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_dropped_targets: u64,
    /// Which names metrics and labels may have.
    #[serde(serialize_with = "scheme_to_yaml")]
    pub metric_name_validation_scheme: NameScheme,
    /// How targets are asked to write other names; nothing where it follows from the validation scheme.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "escaping_to_yaml")]
    pub metric_name_escaping_scheme: Option<EscapingScheme>,
    /// Take native histograms.
    pub scrape_native_histograms: bool,
    /// Take classic histograms as native ones with custom buckets.
    #[serde(skip_serializing_if = "is_default")]
    pub convert_classic_histograms_to_nhcb: bool,
    /// Take the classic form too where there is a native one.
    pub always_scrape_classic_histograms: bool,
    /// Store `scrape_timeout_seconds` and the like.
    pub extra_scrape_metrics: bool,
}

impl Default for ScrapeDefaults {
    fn default() -> Self {
        ScrapeDefaults {
            scrape_interval: MINUTE,
            scrape_timeout: TIMEOUT,
            scrape_protocols: None,
            scrape_failure_log_file: PathBuf::new(),
            body_size_limit: Bytes(0),
            sample_limit: 0,
            sample_limit_action: SampleLimitAction::Fail,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: NameScheme::Utf8,
            metric_name_escaping_scheme: None,
            scrape_native_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: false,
        }
    }
}

impl ScrapeDefaults {
    /// Takes the keys that concern scraping out of the `global` section.
    ///
    /// # Errors
    /// When a value is of the wrong kind, or settings contradict each other.
    pub fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let defaults = ScrapeDefaults::default();
        let interval = section.get("scrape_interval")?.filter(is_set).unwrap_or(MINUTE);
        let timeout = section.get("scrape_timeout")?.filter(is_set);
        if timeout.is_some_and(|timeout| timeout > interval) {
            return Err(section.error_at(
                "scrape_timeout",
                "global scrape timeout greater than scrape interval",
            ));
        }
        Ok(ScrapeDefaults {
            scrape_interval: interval,
            scrape_timeout: timeout.unwrap_or(TIMEOUT.min(interval)),
            scrape_protocols: read_protocols(section, "global config")?,
            scrape_failure_log_file: section.get_or("scrape_failure_log_file", String::new())?.into(),
            body_size_limit: section.get_or("body_size_limit", defaults.body_size_limit)?,
            sample_limit: section.get_or("sample_limit", 0)?,
            sample_limit_action: section.get_or("sample_limit_action", defaults.sample_limit_action)?,
            target_limit: section.get_or("target_limit", 0)?,
            label_limit: section.get_or("label_limit", 0)?,
            label_name_length_limit: section.get_or("label_name_length_limit", 0)?,
            label_value_length_limit: section.get_or("label_value_length_limit", 0)?,
            keep_dropped_targets: section.get_or("keep_dropped_targets", 0)?,
            metric_name_validation_scheme: read_name_scheme(section)?.unwrap_or_default(),
            metric_name_escaping_scheme: read_escaping(section, "global")?,
            scrape_native_histograms: section.get_or("scrape_native_histograms", false)?,
            convert_classic_histograms_to_nhcb: section
                .get_or("convert_classic_histograms_to_nhcb", false)?,
            always_scrape_classic_histograms: section.get_or("always_scrape_classic_histograms", false)?,
            extra_scrape_metrics: section.get_or("extra_scrape_metrics", false)?,
        })
    }

    /// Makes relative file names relative to `folder`, that of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        resolve(folder, &mut self.scrape_failure_log_file);
    }
}

/// One entry of `scrape_configs`, everything it left out filled in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScrapeConfig {
    /// Value of the `job` label, and the pool's name.
    pub job_name: String,
    /// The target is the push gateway in this process. A key of our own.
    #[serde(skip_serializing_if = "is_default")]
    pub push_gateway: bool,
    /// Labels in the body win over the target's.
    #[serde(skip_serializing_if = "is_default")]
    pub honor_labels: bool,
    /// Timestamps in the body count.
    pub honor_timestamps: bool,
    /// Samples with timestamps of their own get staleness markers too.
    pub track_timestamps_staleness: bool,
    /// Query parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Vec<String>>,
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
    /// How long a scrape may take.
    pub scrape_timeout: Duration,
    /// Formats to ask for, best first.
    #[serde(serialize_with = "protocol_list_to_yaml")]
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// What an answer is taken for whose Content-Type does not tell.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "fallback_to_yaml")]
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Take native histograms.
    pub scrape_native_histograms: bool,
    /// Take the classic form too where there is a native one.
    pub always_scrape_classic_histograms: bool,
    /// Take classic histograms as native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// File that failed scrapes are logged to.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub scrape_failure_log_file: PathBuf,
    /// Path of the targets' metrics.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Offer gzip.
    pub enable_compression: bool,
    /// Largest body, inflated; 0 for no limit. So for the limits that follow.
    #[serde(skip_serializing_if = "is_default")]
    pub body_size_limit: Bytes,
    /// Most samples of a scrape, after relabelling.
    #[serde(skip_serializing_if = "is_default")]
    pub sample_limit: u64,
    /// What becomes of a scrape with more.
    #[serde(skip_serializing_if = "is_default")]
    pub sample_limit_action: SampleLimitAction,
    /// Most targets of the job, after relabelling.
    #[serde(skip_serializing_if = "is_default")]
    pub target_limit: u64,
    /// Most labels of a series.
    #[serde(skip_serializing_if = "is_default")]
    pub label_limit: u64,
    /// Longest label name in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub label_name_length_limit: u64,
    /// Longest label value in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub label_value_length_limit: u64,
    /// Most buckets of a native histogram; more are merged.
    #[serde(skip_serializing_if = "is_default")]
    pub native_histogram_bucket_limit: u64,
    /// Least growth from one bucket to the next; finer ones are merged.
    #[serde(skip_serializing_if = "is_default")]
    pub native_histogram_min_bucket_factor: f64,
    /// Most dropped targets that are remembered.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_dropped_targets: u64,
    /// Which names metrics and labels may have.
    #[serde(serialize_with = "scheme_to_yaml")]
    pub metric_name_validation_scheme: NameScheme,
    /// How targets are asked to write other names.
    #[serde(serialize_with = "escaping_name_to_yaml")]
    pub metric_name_escaping_scheme: EscapingScheme,
    /// Store `scrape_timeout_seconds` and the like.
    pub extra_scrape_metrics: bool,
    /// How to reach the targets.
    #[serde(flatten)]
    pub http_client: HttpClientConfig,
    /// Rules for the targets.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "relabel_rules_to_yaml"
    )]
    pub relabel_configs: Vec<RelabelRule>,
    /// Rules for the samples.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "relabel_rules_to_yaml"
    )]
    pub metric_relabel_configs: Vec<RelabelRule>,
    /// Where the targets come from.
    #[serde(flatten)]
    pub discovery: Mechanisms,
}

impl ScrapeConfig {
    /// Reads one entry; what it leaves out comes from `defaults`.
    ///
    /// # Errors
    /// When a key is unknown, a value is of the wrong kind, or settings contradict each other.
    pub fn read(value: Value<'_>, defaults: &ScrapeDefaults) -> Result<Self, YamlError> {
        if value.is_null() {
            return Err(value.error("empty or null scrape config section"));
        }
        let mut section = value.section("a scrape config")?;
        let job_name = section.get_or("job_name", String::new())?;
        if job_name.is_empty() {
            return Err(section.error_at("job_name", "job_name is empty"));
        }
        let (scrape_interval, scrape_timeout) = read_times(&mut section, &job_name, defaults)?;
        let (scheme, escaping) = read_name_schemes(&mut section, defaults)?;
        let inherited = |section: &mut Section<'_>, key, default: bool| -> Result<bool, YamlError> {
            Ok(section.get(key)?.unwrap_or(default))
        };
        let scrape_native_histograms = inherited(
            &mut section,
            "scrape_native_histograms",
            defaults.scrape_native_histograms,
        )?;
        let scrape_protocols =
            read_protocols(&mut section, &format!("scrape config with job name {job_name:?}"))?
                .or_else(|| defaults.scrape_protocols.clone())
                .unwrap_or_else(|| default_protocols(scrape_native_histograms));
        let limits = Limits::read(&mut section, defaults)?;
        let push_gateway = section.get_or("push_gateway", false)?;
        let discovery = read_discovery(&mut section, push_gateway)?;
        let [relabel_configs, metric_relabel_configs] = read_relabelling(&mut section, scheme)?;
        let config = ScrapeConfig {
            push_gateway,
            // What was pushed says itself which job it comes from.
            honor_labels: section.get_or("honor_labels", push_gateway)?,
            honor_timestamps: section.get_or("honor_timestamps", true)?,
            track_timestamps_staleness: section.get_or("track_timestamps_staleness", false)?,
            params: section.get_or("params", BTreeMap::new())?,
            scrape_interval,
            scrape_timeout,
            scrape_protocols,
            fallback_scrape_protocol: read_fallback(&mut section, &job_name)?,
            scrape_native_histograms,
            always_scrape_classic_histograms: inherited(
                &mut section,
                "always_scrape_classic_histograms",
                defaults.always_scrape_classic_histograms,
            )?,
            convert_classic_histograms_to_nhcb: inherited(
                &mut section,
                "convert_classic_histograms_to_nhcb",
                defaults.convert_classic_histograms_to_nhcb,
            )?,
            scrape_failure_log_file: section
                .get::<String>("scrape_failure_log_file")?
                .filter(|path| !path.is_empty())
                .map_or_else(|| defaults.scrape_failure_log_file.clone(), PathBuf::from),
            metrics_path: section.get_or("metrics_path", "/metrics".to_owned())?,
            scheme: section.get_or("scheme", "http".to_owned())?,
            enable_compression: section.get_or("enable_compression", true)?,
            body_size_limit: limits.body_bytes,
            sample_limit: limits.samples,
            sample_limit_action: limits.sample_action,
            target_limit: limits.targets,
            label_limit: limits.labels,
            label_name_length_limit: limits.label_name_bytes,
            label_value_length_limit: limits.label_value_bytes,
            native_histogram_bucket_limit: section.get_or("native_histogram_bucket_limit", 0)?,
            native_histogram_min_bucket_factor: section.get_or("native_histogram_min_bucket_factor", 0.0)?,
            keep_dropped_targets: limits.dropped_targets,
            metric_name_validation_scheme: scheme,
            metric_name_escaping_scheme: escaping,
            extra_scrape_metrics: inherited(
                &mut section,
                "extra_scrape_metrics",
                defaults.extra_scrape_metrics,
            )?,
            http_client: HttpClientConfig::read(&mut section)?,
            relabel_configs,
            metric_relabel_configs,
            discovery,
            job_name,
        };
        config.check_static_targets(&section)?;
        let is_own = section.has("sample_limit_action");
        if is_own && config.sample_limit_action == SampleLimitAction::DropNew && config.sample_limit == 0 {
            return Err(section.error_at(
                "sample_limit_action",
                "drop_new has nothing to keep to: it needs a sample_limit above 0, of the job or in global",
            ));
        }
        section.finish()?;
        Ok(config)
    }

    /// Reads the list `scrape_configs`.
    ///
    /// # Errors
    /// As [`ScrapeConfig::read`]; and when two jobs have one name.
    pub fn read_list(section: &mut Section<'_>, defaults: &ScrapeDefaults) -> Result<Vec<Self>, YamlError> {
        let mut names = std::collections::BTreeSet::new();
        section.list("scrape_configs", |value| {
            let config = ScrapeConfig::read(value, defaults)?;
            if !names.insert(config.job_name.clone()) {
                let name = &config.job_name;
                return Err(value.error(format_args!(
                    "found multiple scrape configs with job name {name:?}"
                )));
            }
            Ok(config)
        })
    }

    /// Makes relative file names relative to `folder`, that of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        self.discovery.resolve_paths(folder);
        self.http_client.resolve_paths(folder);
        resolve(folder, &mut self.scrape_failure_log_file);
    }

    /// A target is `host:port`; whoever writes a URL has not got what it means.
    fn check_static_targets(&self, section: &Section<'_>) -> Result<(), YamlError> {
        if !self.relabel_configs.is_empty() {
            return Ok(());
        }
        Mechanisms::check_addresses(section)
    }
}

/// Bounds of a job; 0 counts as not given.
struct Limits {
    body_bytes: Bytes,
    samples: u64,
    sample_action: SampleLimitAction,
    targets: u64,
    labels: u64,
    label_name_bytes: u64,
    label_value_bytes: u64,
    dropped_targets: u64,
}

impl Limits {
    fn read(section: &mut Section<'_>, defaults: &ScrapeDefaults) -> Result<Self, YamlError> {
        let body_bytes = section.get("body_size_limit")?.filter(|limit| *limit != Bytes(0));
        let sample_action = section.get_or("sample_limit_action", defaults.sample_limit_action)?;
        let mut limit = |key, default: u64| -> Result<u64, YamlError> {
            Ok(section.get(key)?.filter(|limit| *limit != 0).unwrap_or(default))
        };
        Ok(Limits {
            body_bytes: body_bytes.unwrap_or(defaults.body_size_limit),
            samples: limit("sample_limit", defaults.sample_limit)?,
            sample_action,
            targets: limit("target_limit", defaults.target_limit)?,
            labels: limit("label_limit", defaults.label_limit)?,
            label_name_bytes: limit("label_name_length_limit", defaults.label_name_length_limit)?,
            label_value_bytes: limit("label_value_length_limit", defaults.label_value_length_limit)?,
            dropped_targets: limit("keep_dropped_targets", defaults.keep_dropped_targets)?,
        })
    }
}

/// Where the targets of a job come from; of one that scrapes the push gateway in this process there need be none.
fn read_discovery(section: &mut Section<'_>, push_gateway: bool) -> Result<Mechanisms, YamlError> {
    let mut found = Mechanisms::read(section)?;
    if !push_gateway {
        return Ok(found);
    }
    if let Some(other) = found.others.first() {
        let what = "the target of a job with push_gateway is the gateway in this server: others have jobs of their own";
        return Err(section.error_at(other.key(), what));
    }
    if found.static_configs.is_empty() {
        found.static_configs.push(StaticConfig {
            targets: vec![ADDRESS.to_owned()],
            labels: BTreeMap::new(),
        });
    }
    Ok(found)
}

/// Rules for the targets, and for the samples.
fn read_relabelling(
    section: &mut Section<'_>,
    scheme: NameScheme,
) -> Result<[Vec<RelabelRule>; 2], YamlError> {
    Ok([
        relabel_rules(
            section,
            "relabel_configs",
            "empty or null target relabeling rule in scrape config",
            scheme,
        )?,
        relabel_rules(
            section,
            "metric_relabel_configs",
            "empty or null metric relabeling rule in scrape config",
            scheme,
        )?,
    ])
}

fn default_protocols(native_histograms: bool) -> Vec<ScrapeProtocol> {
    if native_histograms {
        ScrapeProtocol::DEFAULT_PROTOBUF_FIRST.to_vec()
    } else {
        ScrapeProtocol::DEFAULT.to_vec()
    }
}

fn is_set(duration: &Duration) -> bool {
    duration.as_ms() != 0
}

fn read_times(
    section: &mut Section<'_>,
    job: &str,
    defaults: &ScrapeDefaults,
) -> Result<(Duration, Duration), YamlError> {
    let interval = section
        .get("scrape_interval")?
        .filter(is_set)
        .unwrap_or(defaults.scrape_interval);
    let timeout = section.get("scrape_timeout")?.filter(is_set);
    if timeout.is_some_and(|timeout| timeout > interval) {
        return Err(section.error_at(
            "scrape_timeout",
            format_args!(
                "scrape timeout greater than scrape interval for scrape config with job name {job:?}"
            ),
        ));
    }
    Ok((interval, timeout.unwrap_or(defaults.scrape_timeout.min(interval))))
}

fn read_protocols(section: &mut Section<'_>, whose: &str) -> Result<Option<Vec<ScrapeProtocol>>, YamlError> {
    let Some(names) = section.get::<Vec<String>>("scrape_protocols")? else {
        return Ok(None);
    };
    let fail =
        |message: String| Err(section.error_at("scrape_protocols", format_args!("{message} for {whose}")));
    if names.is_empty() {
        return fail("scrape_protocols cannot be empty".to_owned());
    }
    let mut protocols = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        if names[..i].iter().any(|before| before.eq_ignore_ascii_case(name)) {
            return fail(format!(
                "duplicated protocol in scrape_protocols, got [{}]",
                names.join(" ")
            ));
        }
        match ScrapeProtocol::from_name(name) {
            Some(protocol) => protocols.push(protocol),
            None => return fail(format!("scrape_protocols: {}", unknown_protocol(name))),
        }
    }
    Ok(Some(protocols))
}

fn unknown_protocol(name: &str) -> String {
    let supported = ScrapeProtocol::ALL.map(ScrapeProtocol::as_str).join(" ");
    format!("unknown scrape protocol {name}, supported: [{supported}]")
}

fn read_fallback(section: &mut Section<'_>, job: &str) -> Result<Option<ScrapeProtocol>, YamlError> {
    let Some(name) = section
        .get::<String>("fallback_scrape_protocol")?
        .filter(|name| !name.is_empty())
    else {
        return Ok(None);
    };
    ScrapeProtocol::from_name(&name).map(Some).ok_or_else(|| {
        let message = format_args!(
            "invalid fallback_scrape_protocol for scrape config with job name {job:?}: {}",
            unknown_protocol(&name)
        );
        section.error_at("fallback_scrape_protocol", message)
    })
}

/// Validation and escaping scheme of a job. Escaping follows validation where it is not set: a job that takes only old
/// names must not inherit that new ones are sent as they are.
fn read_name_schemes(
    section: &mut Section<'_>,
    defaults: &ScrapeDefaults,
) -> Result<(NameScheme, EscapingScheme), YamlError> {
    let own_scheme = read_name_scheme(section)?;
    let scheme = own_scheme.unwrap_or(defaults.metric_name_validation_scheme);
    let fitting = |scheme| match scheme {
        NameScheme::Legacy => EscapingScheme::Underscores,
        NameScheme::Utf8 => EscapingScheme::AllowUtf8,
    };
    let escaping = match (read_escaping(section, "scrape config")?, own_scheme) {
        (Some(escaping), _) => escaping,
        (None, Some(scheme)) => fitting(scheme),
        (None, None) => defaults
            .metric_name_escaping_scheme
            .unwrap_or_else(|| fitting(defaults.metric_name_validation_scheme)),
    };
    if escaping == EscapingScheme::AllowUtf8 && scheme == NameScheme::Legacy {
        return Err(section.error_at(
            "metric_name_escaping_scheme",
            "utf8 metric names requested but validation scheme is not set to UTF8",
        ));
    }
    Ok((scheme, escaping))
}

fn read_name_scheme(section: &mut Section<'_>) -> Result<Option<NameScheme>, YamlError> {
    match section.get::<String>("metric_name_validation_scheme")?.as_deref() {
        None | Some("") => Ok(None),
        Some("utf8") => Ok(Some(NameScheme::Utf8)),
        Some("legacy") => Ok(Some(NameScheme::Legacy)),
        Some(other) => Err(section.error_at(
            "metric_name_validation_scheme",
            format_args!("unrecognized ValidationScheme: {other:?}"),
        )),
    }
}

fn read_escaping(section: &mut Section<'_>, whose: &str) -> Result<Option<EscapingScheme>, YamlError> {
    let Some(name) = section
        .get::<String>("metric_name_escaping_scheme")?
        .filter(|name| !name.is_empty())
    else {
        return Ok(None);
    };
    EscapingScheme::from_name(&name).map(Some).ok_or_else(|| {
        let message = format_args!(
            "unknown {whose} name escaping method specified, must be one of 'allow-utf-8', 'underscores', 'dots', \
             or 'values', got {name:?}"
        );
        section.error_at("metric_name_escaping_scheme", message)
    })
}

fn resolve(folder: &Path, path: &mut PathBuf) {
    if !path.as_os_str().is_empty() && path.is_relative() {
        *path = folder.join(&*path);
    }
}

fn is_empty_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn protocol_list_to_yaml<S: Serializer>(protocols: &[ScrapeProtocol], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(protocols.iter().map(|protocol| protocol.as_str()))
}

fn protocols_to_yaml<S: Serializer>(
    protocols: &Option<Vec<ScrapeProtocol>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    protocol_list_to_yaml(protocols.as_deref().unwrap_or_default(), to)
}

fn fallback_to_yaml<S: Serializer>(protocol: &Option<ScrapeProtocol>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(protocol.map_or("", ScrapeProtocol::as_str))
}

fn scheme_to_yaml<S: Serializer>(scheme: &NameScheme, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match scheme {
        NameScheme::Utf8 => "utf8",
        NameScheme::Legacy => "legacy",
    })
}

fn escaping_name_to_yaml<S: Serializer>(scheme: &EscapingScheme, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(scheme.as_str())
}

fn escaping_to_yaml<S: Serializer>(scheme: &Option<EscapingScheme>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(scheme.map_or("", EscapingScheme::as_str))
}
