//! `nomad_sd_configs`: services that Nomad knows.

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::{HttpClient, HttpClientConfig, Request};
use metrics::Counter;
use serde::{Deserialize, Serialize};
use url::Url;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::answer::{fetch_json, or_null};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, surrounded};
use crate::metrics::Metrics;
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where to ask, and for what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NomadConfig {
    /// Whether any server may answer, not only the leader.
    pub allow_stale: bool,
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// Of which namespace; `*` is all.
    pub namespace: String,
    /// How often to ask.
    pub refresh_interval: yaml::Duration,
    /// Of which region.
    pub region: String,
    /// Whom: a URL.
    pub server: String,
    /// What stands between and around tags.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag_separator: String,
}

impl Discovery for NomadConfig {
    const KEY: &'static str = "nomad_sd_configs";
    const NAME: &'static str = "nomad";
    const HELP: &'static str = "services of HashiCorp Nomad";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let text = |section: &mut Section<'_>, key, default: &str| section.get_or(key, default.to_owned());
        let config = NomadConfig {
            allow_stale: section.get_or("allow_stale", true)?,
            namespace: text(section, "namespace", "default")?,
            refresh_interval: section.get_or("refresh_interval", yaml::Duration::from_ms(60_000))?,
            region: text(section, "region", "global")?,
            server: text(section, "server", "http://localhost:4646")?,
            tag_separator: text(section, "tag_separator", ",")?,
            http: HttpClientConfig::read(section)?,
        };
        if config.server.trim().is_empty() {
            return Err(section.error_at("server", "nomad SD configuration requires a server address"));
        }
        Ok(config)
    }

    fn resolve_paths(&mut self, folder: &Path) {
        self.http.resolve_paths(folder);
    }

    fn files(&self) -> Vec<&Path> {
        self.http.files()
    }

    fn register(metrics: &Metrics) {
        failures(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let base = Url::parse(&self.server).map_err(|error| PrepareError::Unavailable(error.into()))?;
        if base.cannot_be_a_base() {
            let detail = format!(
                "nomad server {:?} is not a URL such as http://host:4646",
                self.server
            );
            return Err(PrepareError::Unavailable(detail.into()));
        }
        let poll = NomadPoll {
            client: context.client(&self.http)?,
            base,
            config: self.clone(),
            failures: failures(&context.metrics),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

fn failures(metrics: &Metrics) -> Counter {
    metrics.registry().counter(
        "prometheus_sd_nomad_failures_total",
        "Number of nomad service discovery refresh failures.",
    )
}

struct NomadPoll {
    client: HttpClient,
    base: Url,
    config: NomadConfig,
    failures: Counter,
}

/// Services of one namespace, as the list has them.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Stub {
    #[serde(deserialize_with = "or_null")]
    services: Vec<StubService>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct StubService {
    service_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Instance {
    #[serde(rename = "ID")]
    id: String,
    service_name: String,
    namespace: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    datacenter: String,
    #[serde(deserialize_with = "or_null")]
    tags: Vec<String>,
    address: String,
    port: i64,
}

impl Poll for NomadPoll {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let groups = self.ask().await;
            if groups.is_err() {
                self.failures.inc();
            }
            groups
        }
        .boxed()
    }
}

impl NomadPoll {
    async fn ask(&self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let stubs: Option<Vec<Stub>> = fetch_json(&self.client, &self.request(&["v1", "services"])).await?;
        let mut targets = Vec::new();
        for service in stubs.into_iter().flatten().flat_map(|stub| stub.services) {
            let request = self.request(&["v1", "service", &service.service_name]);
            let instances: Option<Vec<Instance>> = fetch_json(&self.client, &request).await?;
            for instance in instances.into_iter().flatten() {
                targets.push(self.labels(&instance).build()?);
            }
        }
        Ok(vec![TargetGroup {
            source: "Nomad".to_owned(),
            targets,
            ..TargetGroup::default()
        }])
    }

    fn request(&self, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        {
            let mut query = url.query_pairs_mut();
            for (name, value) in [
                ("region", &self.config.region),
                ("namespace", &self.config.namespace),
            ] {
                if !value.is_empty() {
                    query.append_pair(name, value);
                }
            }
            if self.config.allow_stale {
                query.append_pair("stale", "");
            }
        }
        Request::get(url).timeout(TIMEOUT)
    }

    fn labels(&self, instance: &Instance) -> MetaLabels {
        let mut labels = MetaLabels::default();
        labels
            .address(&instance.address, instance.port)
            .set("__meta_nomad_address", &instance.address)
            .set("__meta_nomad_dc", &instance.datacenter)
            .set("__meta_nomad_namespace", &instance.namespace)
            .set("__meta_nomad_node_id", &instance.node_id)
            .set("__meta_nomad_service", &instance.service_name)
            .set("__meta_nomad_service_address", &instance.address)
            .set("__meta_nomad_service_id", &instance.id)
            .set("__meta_nomad_service_port", &instance.port.to_string());
        if !instance.tags.is_empty() {
            let tags = surrounded(&instance.tags, &self.config.tag_separator);
            labels.set("__meta_nomad_tags", &tags);
        }
        labels
    }
}
