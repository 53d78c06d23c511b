//! The sections `remote_write` and `remote_read`.

use std::collections::{BTreeMap, BTreeSet};

use httpclient::HttpClientConfig;
use model::labels::NameScheme;
use model::relabel::RelabelRule;
use serde::Serialize;
use yaml::{Duration, Section, Value, YamlError, relabel_rules, relabel_rules_to_yaml};

use super::{headers, is_default, is_off};

/// Largest frame of a streamed answer, in bytes.
const CHUNKED_READ_LIMIT: u64 = 50_000_000;

const AUTHORIZATION_ELSEWHERE: &str = "authorization header must be changed via the basic_auth, authorization, oauth2, \
                                       sigv4, azuread or google_iam parameter";

/// One entry of `remote_write`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RemoteWriteConfig {
    url: String,
    remote_timeout: Duration,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "relabel_rules_to_yaml"
    )]
    write_relabel_configs: Vec<RelabelRule>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "is_off")]
    send_exemplars: bool,
    #[serde(skip_serializing_if = "is_off")]
    send_native_histograms: bool,
    #[serde(skip_serializing_if = "is_off")]
    round_robin_dns: bool,
    protobuf_message: String,
    #[serde(skip_serializing_if = "is_off")]
    failed_request_logging: bool,
    #[serde(flatten)]
    pub(super) http: HttpClientConfig,
    queue_config: QueueConfig,
    metadata_config: MetadataConfig,
}

/// `queue_config`
#[derive(Clone, Debug, PartialEq, Serialize)]
struct QueueConfig {
    capacity: i64,
    max_shards: i64,
    min_shards: i64,
    max_samples_per_send: i64,
    batch_send_deadline: Duration,
    min_backoff: Duration,
    max_backoff: Duration,
    #[serde(skip_serializing_if = "is_off")]
    retry_on_http_429: bool,
    #[serde(skip_serializing_if = "is_default")]
    sample_age_limit: Duration,
}

/// `metadata_config`
#[derive(Clone, Debug, PartialEq, Serialize)]
struct MetadataConfig {
    send: bool,
    send_interval: Duration,
    max_samples_per_send: i64,
}

/// One entry of `remote_read`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::config) struct RemoteReadConfig {
    url: String,
    remote_timeout: Duration,
    chunked_read_limit: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_off")]
    read_recent: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(flatten)]
    pub(super) http: HttpClientConfig,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    required_matchers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_off")]
    filter_external_labels: bool,
}

/// Two entries of one name could not be told apart; those without one are named by their contents.
pub(super) fn refuse_twins(section: &Section<'_>, key: &str, names: &[&str]) -> Result<(), YamlError> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !name.is_empty() && !seen.insert(**name)) {
        Some(twin) => {
            let kind = key.replace('_', " ");
            Err(section.error_at(
                key,
                format_args!("found multiple {kind} configs with job name {twin:?}"),
            ))
        }
        None => Ok(()),
    }
}

/// Compat: a relative URL is one, as for Go.
fn read_url(section: &mut Section<'_>, on_missing: &str) -> Result<String, YamlError> {
    let Some(url) = section.get::<String>("url")? else {
        return Err(section.error(on_missing));
    };
    match url::Url::parse(&url) {
        Ok(_) => Ok(url),
        Err(url::ParseError::RelativeUrlWithoutBase) if !url.starts_with(':') => Ok(url),
        Err(error) => Err(section.error_at("url", format_args!("parse {url:?}: {error}"))),
    }
}

fn refuse_several_credentials(section: &mut Section<'_>, http: &HttpClientConfig) -> Result<(), YamlError> {
    let cloud = ["sigv4", "azuread", "google_iam"].map(|key| (key, section.value(key).is_some()));
    let plain = [
        ("basic_auth", http.basic_auth.is_some()),
        ("authorization", http.authorization.is_some()),
        ("oauth2", http.oauth2.is_some()),
    ];
    let there: Vec<&str> = plain
        .into_iter()
        .chain(cloud)
        .filter(|(_, there)| *there)
        .map(|(key, _)| key)
        .collect();
    if there.len() > 1 {
        let message = format!(
            "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured. \
             Currently configured: [{}]",
            there.join(" ")
        );
        return Err(section.error_at(there[1], message));
    }
    Ok(())
}

impl RemoteWriteConfig {
    pub(super) fn read(value: Value<'_>, scheme: NameScheme) -> Result<Self, YamlError> {
        if value.is_null() {
            return Err(value.error("empty or null remote write config section"));
        }
        let mut section = value.section("remote_write")?;
        let mut http = HttpClientConfig::read(&mut section)?;
        // Unlike for other clients, HTTP/2 is off unless asked for: it would put all shards on one connection.
        http.enable_http2 &= section.has("enable_http2");
        let mut switch = |key| section.get_or(key, false);
        let config = RemoteWriteConfig {
            send_exemplars: switch("send_exemplars")?,
            send_native_histograms: switch("send_native_histograms")?,
            round_robin_dns: switch("round_robin_dns")?,
            failed_request_logging: switch("failed_request_logging")?,
            url: read_url(&mut section, "url for remote_write is empty")?,
            name: section.get_or("name", String::new())?,
            remote_timeout: section.get_or("remote_timeout", Duration::from_ms(30_000))?,
            headers: headers(&mut section, AUTHORIZATION_ELSEWHERE)?,
            write_relabel_configs: relabel_rules(
                &mut section,
                "write_relabel_configs",
                "empty or null relabeling rule in remote write config",
                scheme,
            )?,
            protobuf_message: read_message(&mut section)?,
            queue_config: section
                .value("queue_config")
                .map(QueueConfig::read)
                .transpose()?
                .unwrap_or_default(),
            metadata_config: match section.value("metadata_config") {
                Some(value) => MetadataConfig::read(value)?,
                None => MetadataConfig::default(),
            },
            http,
        };
        refuse_several_credentials(&mut section, &config.http)?;
        section.finish()?;
        Ok(config)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

fn read_message(section: &mut Section<'_>) -> Result<String, YamlError> {
    let message: String = section.get_or("protobuf_message", "prometheus.WriteRequest".to_owned())?;
    if matches!(
        message.as_str(),
        "prometheus.WriteRequest" | "io.prometheus.write.v2.Request"
    ) {
        return Ok(message);
    }
    let what = format!(
        "invalid protobuf_message value: unknown type for remote write protobuf message {message}, supported: \
         prometheus.WriteRequest, io.prometheus.write.v2.Request"
    );
    Err(section.error_at("protobuf_message", what))
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2_000,
            batch_send_deadline: Duration::from_ms(5_000),
            min_backoff: Duration::from_ms(30),
            max_backoff: Duration::from_ms(5_000),
            retry_on_http_429: false,
            sample_age_limit: Duration::default(),
        }
    }
}

impl QueueConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("queue_config")?;
        let defaults = QueueConfig::default();
        let queue = QueueConfig {
            capacity: section.get_or("capacity", defaults.capacity)?,
            max_shards: section.get_or("max_shards", defaults.max_shards)?,
            min_shards: section.get_or("min_shards", defaults.min_shards)?,
            max_samples_per_send: section.get_or("max_samples_per_send", defaults.max_samples_per_send)?,
            batch_send_deadline: section.get_or("batch_send_deadline", defaults.batch_send_deadline)?,
            min_backoff: section.get_or("min_backoff", defaults.min_backoff)?,
            max_backoff: section.get_or("max_backoff", defaults.max_backoff)?,
            retry_on_http_429: section.get_or("retry_on_http_429", false)?,
            sample_age_limit: section.get_or("sample_age_limit", Duration::default())?,
        };
        match queue.problem() {
            Some((key, what)) => Err(section.error_at(key, format_args!("remote write queue {what}"))),
            None => section.finish().map(|()| queue),
        }
    }

    /// The key that makes no sense, and why.
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.max_shards <= 0 {
            Some(("max_shards", "max_shards must be positive"))
        } else if self.min_shards <= 0 {
            Some(("min_shards", "min_shards must be positive"))
        } else if self.min_shards > self.max_shards {
            Some(("min_shards", "min_shards must not be greater than max_shards"))
        } else if self.max_samples_per_send <= 0 {
            Some(("max_samples_per_send", "max_samples_per_send must be positive"))
        } else if self.capacity <= 0 {
            Some(("capacity", "capacity must be positive"))
        } else if self.max_backoff < self.min_backoff {
            Some(("max_backoff", "max_backoff must not be less than min_backoff"))
        } else {
            None
        }
    }
}

impl Default for MetadataConfig {
    fn default() -> Self {
        MetadataConfig {
            send: true,
            send_interval: Duration::from_ms(60_000),
            max_samples_per_send: 2_000,
        }
    }
}

impl MetadataConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("metadata_config")?;
        let defaults = MetadataConfig::default();
        let metadata = MetadataConfig {
            send: section.get_or("send", defaults.send)?,
            send_interval: section.get_or("send_interval", defaults.send_interval)?,
            max_samples_per_send: section.get_or("max_samples_per_send", defaults.max_samples_per_send)?,
        };
        section.finish()?;
        Ok(metadata)
    }
}

impl RemoteReadConfig {
    pub(super) fn read(value: Value<'_>) -> Result<Self, YamlError> {
        if value.is_null() {
            return Err(value.error("empty or null remote read config section"));
        }
        let mut section = value.section("remote_read")?;
        let config = RemoteReadConfig {
            url: read_url(&mut section, "url for remote_read is empty")?,
            remote_timeout: section.get_or("remote_timeout", Duration::from_ms(60_000))?,
            chunked_read_limit: section.get_or("chunked_read_limit", CHUNKED_READ_LIMIT)?,
            headers: headers(&mut section, AUTHORIZATION_ELSEWHERE)?,
            read_recent: section.get_or("read_recent", false)?,
            name: section.get_or("name", String::new())?,
            http: HttpClientConfig::read(&mut section)?,
            required_matchers: section.get_or("required_matchers", BTreeMap::new())?,
            filter_external_labels: section.get_or("filter_external_labels", true)?,
        };
        section.finish()?;
        Ok(config)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}
