//! The section `remote_write`.

use std::collections::BTreeMap;
use std::path::Path;

use httpclient::HttpClientConfig;
use model::labels::NameScheme;
use model::relabel::RelabelRule;
use serde::Serialize;
use yaml::{Duration, Section, Value, YamlError, relabel_rules, relabel_rules_to_yaml};

use super::auth::{self, AuthConfig};
use crate::section::{AUTHORIZATION_ELSEWHERE, headers, read_url, url_to_yaml};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum MessageKind {
    /// Version 1.0.
    #[serde(rename = "prometheus.WriteRequest")]
    V1,
    /// Version 2.0.
    #[serde(rename = "io.prometheus.write.v2.Request")]
    V2,
}

/// One entry of `remote_write`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemoteWriteConfig {
    /// Where samples are sent.
    #[serde(serialize_with = "url_to_yaml")]
    pub url: String,
    /// Longest time of a request.
    pub remote_timeout: Duration,
    /// Headers of every request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What becomes of labels, external ones included.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "relabel_rules_to_yaml"
    )]
    pub write_relabel_configs: Vec<RelabelRule>,
    /// What metrics and logs call it; empty: named by its contents.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether exemplars are sent.
    #[serde(skip_serializing_if = "is_off")]
    pub send_exemplars: bool,
    /// Whether native histograms are sent.
    #[serde(skip_serializing_if = "is_off")]
    pub send_native_histograms: bool,
    /// Whether each connection goes to another address of the name.
    #[serde(skip_serializing_if = "is_off")]
    pub round_robin_dns: bool,
    /// Which message.
    pub protobuf_message: MessageKind,
    /// Whether requests that fail are logged.
    #[serde(skip_serializing_if = "is_off")]
    pub failed_request_logging: bool,
    /// The HTTP client.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// The queue.
    pub queue_config: QueueConfig,
    /// What is told of metric families, in messages of version 1.0.
    pub metadata_config: MetadataConfig,
    /// Credentials of clouds.
    #[serde(flatten)]
    pub auth: AuthConfig,
}

/// `queue_config`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueConfig {
    /// Samples that may wait in a shard.
    pub capacity: usize,
    /// Most shards.
    pub max_shards: usize,
    /// Least shards.
    pub min_shards: usize,
    /// Samples of a request.
    pub max_samples_per_send: usize,
    /// Longest time that a sample waits for others.
    pub batch_send_deadline: Duration,
    /// First pause after a failure.
    pub min_backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
    /// Whether 429 is tried again.
    #[serde(skip_serializing_if = "is_off")]
    pub retry_on_http_429: bool,
    /// Age of samples from which on they are dropped; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub sample_age_limit: Duration,
}

/// `metadata_config`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetadataConfig {
    /// Whether it is sent.
    pub send: bool,
    /// How often.
    pub send_interval: Duration,
    /// Families of a request.
    pub max_samples_per_send: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_off(switch: &bool) -> bool {
    !*switch
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(duration: &Duration) -> bool {
    *duration == Duration::default()
}

impl RemoteWriteConfig {
    /// Reads one entry; `scheme` says which names labels may have.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn read(value: Value<'_>, scheme: NameScheme) -> Result<Self, YamlError> {
        if value.is_null() {
            return Err(value.error("empty or null remote write config section"));
        }
        let mut section = value.section("remote_write")?;
        let mut http = HttpClientConfig::read(&mut section)?;
        // Unlike for other clients, HTTP/2 is off unless asked for: it would put all shards on one connection.
        http.enable_http2 &= section.has("enable_http2");
        auth::refuse_several(&section, &http)?;
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
            queue_config: match section.value("queue_config") {
                Some(value) => QueueConfig::read(value)?,
                None => QueueConfig::default(),
            },
            metadata_config: match section.value("metadata_config") {
                Some(value) => MetadataConfig::read(value)?,
                None => MetadataConfig::default(),
            },
            auth: AuthConfig::read(&mut section)?,
            http,
        };
        section.finish()?;
        Ok(config)
    }

    /// Makes relative file names relative to `folder`.
    pub fn resolve_paths(&mut self, folder: &Path) {
        self.http.resolve_paths(folder);
        self.auth.resolve_paths(folder);
    }
}

fn read_message(section: &mut Section<'_>) -> Result<MessageKind, YamlError> {
    let message = section.get::<String>("protobuf_message")?;
    match message.as_deref() {
        None | Some("prometheus.WriteRequest") => Ok(MessageKind::V1),
        Some("io.prometheus.write.v2.Request") => Ok(MessageKind::V2),
        Some(message) => {
            let what = format!(
                "invalid protobuf_message value: unknown type for remote write protobuf message {message}, supported: \
                 prometheus.WriteRequest, io.prometheus.write.v2.Request"
            );
            Err(section.error_at("protobuf_message", what))
        }
    }
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
        let mut positive = |key: &'static str, default: usize| {
            let number: i64 = section.get_or(key, default as i64)?;
            let positive = usize::try_from(number).ok().filter(|number| *number > 0);
            positive.ok_or_else(|| {
                section.error_at(key, format_args!("remote write queue {key} must be positive"))
            })
        };
        let (max_shards, min_shards) = (
            positive("max_shards", defaults.max_shards)?,
            positive("min_shards", defaults.min_shards)?,
        );
        let queue = QueueConfig {
            max_shards,
            min_shards,
            max_samples_per_send: positive("max_samples_per_send", defaults.max_samples_per_send)?,
            capacity: positive("capacity", defaults.capacity)?,
            batch_send_deadline: section.get_or("batch_send_deadline", defaults.batch_send_deadline)?,
            min_backoff: section.get_or("min_backoff", defaults.min_backoff)?,
            max_backoff: section.get_or("max_backoff", defaults.max_backoff)?,
            retry_on_http_429: section.get_or("retry_on_http_429", false)?,
            sample_age_limit: section.get_or("sample_age_limit", Duration::default())?,
        };
        if queue.min_shards > queue.max_shards {
            let what = "remote write queue min_shards must not be greater than max_shards";
            return Err(section.error_at("min_shards", what));
        }
        if queue.max_backoff < queue.min_backoff {
            let what = "remote write queue max_backoff must not be less than min_backoff";
            return Err(section.error_at("max_backoff", what));
        }
        section.finish()?;
        Ok(queue)
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
        let most: i64 = section.get_or("max_samples_per_send", defaults.max_samples_per_send as i64)?;
        let metadata = MetadataConfig {
            send: section.get_or("send", defaults.send)?,
            send_interval: section.get_or("send_interval", defaults.send_interval)?,
            // The reference takes any number here and divides by it.
            max_samples_per_send: usize::try_from(most).unwrap_or(0).max(1),
        };
        section.finish()?;
        Ok(metadata)
    }
}
