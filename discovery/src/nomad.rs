//! `nomad_sd_configs`: services that Nomad knows.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use metrics::Counter;
use serde::Serialize;
use url::Url;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, MINUTE, answers, base_url, files_of};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::metrics::Metrics;
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const PREFIX: &str = "__meta_nomad_";
/// Longest wait for one answer.
const TIMEOUT: yaml::Duration = MINUTE;

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
            refresh_interval: section.get_or("refresh_interval", MINUTE)?,
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

    files_of!(http);

    fn register(metrics: &Metrics) {
        failures(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = NomadPoll {
            api: Api::new(context.client(&self.http)?, TIMEOUT),
            base: base_url("server", &self.server)?,
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
    api: Api,
    base: Url,
    config: NomadConfig,
    failures: Counter,
}

answers! {
    /// Services of one namespace, as the list has them.
    #[serde(rename_all = "PascalCase")]
    struct Stub {
        services: Vec<StubService>,
    }
    #[serde(rename_all = "PascalCase")]
    struct StubService {
        service_name: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct Instance {
        #[serde(rename = "ID")]
        id: String,
        service_name: String,
        namespace: String,
        #[serde(rename = "NodeID")]
        node_id: String,
        datacenter: String,
        tags: Vec<String>,
        address: String,
        port: i64,
    }
}

impl Poll for NomadPoll {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async { self.ask().await.inspect_err(|_| self.failures.inc()) }.boxed()
    }
}

impl NomadPoll {
    async fn ask(&self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let round = self.api.round();
        let stubs: Vec<Stub> = round.send(self.request(&["v1", "services"])).await?.json_list()?;
        let mut targets = Vec::new();
        for service in stubs.into_iter().flat_map(|stub| stub.services) {
            let request = self.request(&["v1", "service", &service.service_name]);
            let instances: Vec<Instance> = round.send(request).await?.json_list()?;
            for instance in instances {
                targets.push(self.labels(&instance).build()?);
            }
        }
        Ok(group("Nomad", targets))
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
        Request::get(url)
    }

    fn labels(&self, instance: &Instance) -> MetaLabels {
        let mut labels = MetaLabels::new(PREFIX);
        labels
            .address(&instance.address, instance.port)
            .meta("address", &instance.address)
            .meta("dc", &instance.datacenter)
            .meta("namespace", &instance.namespace)
            .meta("node_id", &instance.node_id)
            .meta("service", &instance.service_name)
            .meta("service_address", &instance.address)
            .meta("service_id", &instance.id)
            .meta("service_port", instance.port)
            .list("tags", &instance.tags, &self.config.tag_separator);
        labels
    }
}
