//! `kuma_sd_configs`: data planes that a Kuma control plane assigns for monitoring (MADS v1, xDS by HTTP polling).
//!
//! Version and nonce of the last answer go into the next question; a server that has nothing new waits up to
//! `fetch_timeout` and says 304.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::http::StatusCode;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use metrics::{Counter, Summary};
use model::labels::Labels;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;
use yaml::{Section, YamlError};

use crate::api::{Api, answers, base_url, files_of};
use crate::mechanism::Discovery;
use crate::meta::{ADDRESS, MetaLabels, group};
use crate::metrics::{Metrics, QUANTILES};
use crate::prepare::{Context, DiscoveryError, PrepareError, Runner, Watch};
use crate::runner::INTERVAL_MIN;
use crate::{TargetGroup, Updates};

const ASSIGNMENT: &str = "type.googleapis.com/kuma.observability.v1.MonitoringAssignment";
const DEFAULT_REFRESH_INTERVAL: yaml::Duration = yaml::Duration::from_ms(15_000);
const DEFAULT_FETCH_TIMEOUT: yaml::Duration = yaml::Duration::from_ms(120_000);
/// What a request may take beyond the time that the server may wait.
const BEYOND_FETCH_TIMEOUT_MS: i64 = 15_000;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KumaConfig {
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// The pause between two questions.
    pub refresh_interval: yaml::Duration,
    /// How long the server may wait for something new.
    pub fetch_timeout: yaml::Duration,
    /// The control plane's URL.
    pub server: String,
    /// What the server knows this client by; the machine's name if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
}

impl Discovery for KumaConfig {
    const KEY: &'static str = "kuma_sd_configs";
    const NAME: &'static str = "kuma";
    const HELP: &'static str = "data planes of a Kuma service mesh";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let server: String = section.get_or("server", String::new())?;
        if !Url::parse(&server).is_ok_and(|url| url.has_host()) {
            let message = format!("kuma SD server must not be empty and have a scheme: {server:?}");
            return Err(section.error_at("server", message));
        }
        Ok(KumaConfig {
            server,
            refresh_interval: section.get_or("refresh_interval", DEFAULT_REFRESH_INTERVAL)?,
            fetch_timeout: section.get_or("fetch_timeout", DEFAULT_FETCH_TIMEOUT)?,
            client_id: section.get_or("client_id", String::new())?,
            http: HttpClientConfig::read(section)?,
        })
    }

    files_of!(http);

    fn register(metrics: &Metrics) {
        KumaMetrics::of(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let mut url = base_url("server", &self.server)?;
        if !matches!(url.scheme(), "http" | "https") {
            let message = format!("server {:?}: must be http or https", self.server);
            return Err(PrepareError::Unavailable(message.into()));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["v3", "discovery:monitoringassignments"]);
        }
        url.query_pairs_mut()
            .clear()
            .append_pair("fetch-timeout", &self.fetch_timeout.to_string());
        let client_id = if self.client_id.is_empty() {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        } else {
            self.client_id.clone()
        };
        let timeout_ms = self.fetch_timeout.as_ms().saturating_add(BEYOND_FETCH_TIMEOUT_MS);
        let timeout = yaml::Duration::from_ms(timeout_ms);
        Ok(Runner::watch(Kuma {
            api: Api::new(context.client(&self.http)?, timeout),
            url,
            client_id,
            pause: self.refresh_interval.as_std().max(INTERVAL_MIN),
            last: Last::default(),
            metrics: KumaMetrics::of(&context.metrics),
        }))
    }
}

struct KumaMetrics {
    failures: Counter,
    skipped: Counter,
    seconds: Summary,
}

impl KumaMetrics {
    fn of(metrics: &Metrics) -> Self {
        let registry = metrics.registry();
        KumaMetrics {
            failures: registry.counter(
                "prometheus_sd_kuma_fetch_failures_total",
                "The number of Kuma MADS fetch call failures.",
            ),
            skipped: registry.counter(
                "prometheus_sd_kuma_fetch_skipped_updates_total",
                "The number of Kuma MADS fetch calls that result in no updates to the targets.",
            ),
            seconds: registry.summary(
                "prometheus_sd_kuma_fetch_duration_seconds",
                "The duration of a Kuma MADS fetch call.",
                &QUANTILES,
            ),
        }
    }
}

struct Kuma {
    api: Api,
    url: Url,
    client_id: String,
    pause: Duration,
    last: Last,
    metrics: KumaMetrics,
}

/// What the last answer was.
#[derive(Default)]
struct Last {
    version: String,
    nonce: String,
}

impl Watch for Kuma {
    fn run<'w>(&'w mut self, updates: &'w Updates) -> BoxFuture<'w, ()> {
        async move {
            loop {
                let start = Instant::now();
                let answer = self.fetch().await;
                self.metrics.seconds.observe(start.elapsed().as_secs_f64());
                match answer {
                    Ok(Some(groups)) => {
                        updates.succeeded();
                        updates.replace(groups);
                        updates.settled();
                    }
                    Ok(None) => {
                        updates.succeeded();
                        self.metrics.skipped.inc();
                    }
                    Err(error) => {
                        self.metrics.failures.inc();
                        updates.failed(&error);
                    }
                }
                tokio::time::sleep(self.pause.saturating_sub(start.elapsed())).await;
            }
        }
        .boxed()
    }
}

impl Kuma {
    /// What the server assigns, or nothing where that is as before.
    async fn fetch(&mut self) -> Result<Option<Vec<TargetGroup>>, DiscoveryError> {
        let mut question = Map::new();
        for (name, value) in [
            ("version_info", &self.last.version),
            ("response_nonce", &self.last.nonce),
        ] {
            // As protobuf has it in JSON: what is empty is left out.
            if !value.is_empty() {
                question.insert(name.to_owned(), value.as_str().into());
            }
        }
        question.insert("node".to_owned(), json!({"id": self.client_id}));
        question.insert("type_url".to_owned(), ASSIGNMENT.into());
        let body = Value::Object(question).to_string();
        let request = Request::post(self.url.clone(), "application/json", body)
            .header("accept", "application/json")
            .repeatable();
        let is_wanted = |status| matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED);
        let answer = self.api.round().send_for(request, is_wanted).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let bad = |error: &dyn std::fmt::Display| DiscoveryError::content(&answer.url, error);
        let read: Answer = answer.json()?;
        if let Some(other) = read
            .resources
            .iter()
            .find(|resource| resource["@type"] != ASSIGNMENT)
        {
            return Err(bad(&format_args!(
                "a resource of an unknown type: {}",
                other["@type"]
            )));
        }
        // Taken over before the rest is looked at: a server whose answer is of no use is not asked for it again.
        self.last = Last {
            version: read.version_info,
            nonce: read.nonce,
        };
        if read.type_url != ASSIGNMENT {
            return Err(bad(&format_args!(
                "received resources of type {:?}",
                read.type_url
            )));
        }
        let mut targets = Vec::new();
        for resource in read.resources {
            let assignment = Assignment::deserialize(resource).map_err(|error| bad(&error))?;
            assignment.targets(&mut targets)?;
        }
        Ok(Some(group("kuma", targets)))
    }
}

// Names are protobuf's own or JSON's.
answers! {
    struct Answer {
        #[serde(alias = "versionInfo")]
        version_info: String,
        nonce: String,
        #[serde(alias = "typeUrl")]
        type_url: String,
        resources: Vec<Value>,
    }
    struct Assignment {
        mesh: String,
        service: String,
        labels: BTreeMap<String, String>,
        targets: Vec<Target>,
    }
    struct Target {
        name: String,
        scheme: String,
        address: String,
        #[serde(alias = "metricsPath")]
        metrics_path: String,
        labels: BTreeMap<String, String>,
    }
}

impl Assignment {
    fn targets(&self, targets: &mut Vec<Labels>) -> Result<(), DiscoveryError> {
        for target in &self.targets {
            let labels = MetaLabels::new("__meta_kuma_")
                .all("label_", &target.labels)
                // The assignment's win over the target's.
                .all("label_", &self.labels)
                .meta("mesh", &self.mesh)
                .meta("service", &self.service)
                .meta("dataplane", &target.name)
                .set(ADDRESS, &target.address)
                .set("instance", &target.name)
                .set("__scheme__", &target.scheme)
                .set("__metrics_path__", &target.metrics_path)
                .build()?;
            targets.push(labels);
        }
        Ok(())
    }
}
