//! `consul_sd_configs`: services of a Consul catalogue, by blocking queries.
//!
//! One query waits for the list of services and one for each service: an answer comes when something has changed, and its
//! index goes into the next query. Where all names are configured and nothing filters them, the list is not asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use httpclient::{BasicAuth, HttpClient, HttpClientConfig, Request};
use metrics::{Counter, Family, Summary};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;
use yaml::{Secret, Section, YamlError};

use crate::api::{answers, files_of};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, surrounded};
use crate::metrics::{Metrics, QUANTILES};
use crate::prepare::{
    BODY_BYTES_MAX, Context, DiscoveryError, PrepareError, Runner, Watch, bad_status, send,
};
use crate::runner::INTERVAL_MIN;
use crate::{TargetGroup, Updates};

const PREFIX: &str = "__meta_consul_";
/// How long a query waits for a change, as it is asked for.
const WAIT: &str = "120000ms";
/// Longest wait for an answer: the above, and what Consul adds to it so that not all queries end in step.
const TIMEOUT: Duration = Duration::from_secs(135);
/// Pause after an error.
const RETRY_PAUSE: Duration = Duration::from_secs(15);

/// Where to ask, and for what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConsulConfig {
    /// Host and port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// Path before that of the API, behind a proxy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    /// Consul's own token.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub token: Secret,
    /// Of which datacenter; the agent's if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datacenter: String,
    /// Of which namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Of which admin partition.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub partition: String,
    /// What stands between and around tags.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag_separator: String,
    /// `http` or `https`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// The older way to give `basic_auth`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Its password.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// Whether any server may answer, not only the leader.
    pub allow_stale: bool,
    /// The least time between two queries of one kind.
    pub refresh_interval: yaml::Duration,
    /// Which services; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Tags that a service and its instances must all have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Metadata that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_meta: BTreeMap<String, String>,
    /// Filter of the catalogue.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Filter of the instances.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health_filter: String,
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
}

impl Discovery for ConsulConfig {
    const KEY: &'static str = "consul_sd_configs";
    const NAME: &'static str = "consul";
    const HELP: &'static str = "services of HashiCorp Consul";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let text = |section: &mut Section<'_>, key, default: &str| section.get_or(key, default.to_owned());
        let mut config = ConsulConfig {
            server: text(section, "server", "localhost:8500")?,
            path_prefix: text(section, "path_prefix", "")?,
            token: section.get_or("token", Secret::default())?,
            datacenter: text(section, "datacenter", "")?,
            namespace: text(section, "namespace", "")?,
            partition: text(section, "partition", "")?,
            tag_separator: text(section, "tag_separator", ",")?,
            scheme: text(section, "scheme", "http")?,
            username: text(section, "username", "")?,
            password: section.get_or("password", Secret::default())?,
            allow_stale: section.get_or("allow_stale", true)?,
            refresh_interval: section.get_or("refresh_interval", yaml::Duration::from_ms(30_000))?,
            services: section.get_or("services", Vec::new())?,
            tags: section.get_or("tags", Vec::new())?,
            node_meta: section.get_or("node_meta", BTreeMap::new())?,
            filter: text(section, "filter", "")?,
            health_filter: text(section, "health_filter", "")?,
            http: HttpClientConfig::read(section)?,
        };
        if config.server.trim().is_empty() {
            return Err(section.error_at("server", "consul SD configuration requires a server address"));
        }
        let has_other = config.http.authorization.is_some() || config.http.oauth2.is_some();
        if !config.username.is_empty() || !config.password.is_empty() {
            let message = if config.http.basic_auth.is_some() {
                "at most one of consul SD configuration username and password and basic auth can be configured"
            } else if has_other {
                "at most one of basic_auth, oauth2 & authorization must be configured"
            } else {
                ""
            };
            if !message.is_empty() {
                let key = if section.has("username") {
                    "username"
                } else {
                    "password"
                };
                return Err(section.error_at(key, message));
            }
            config.http.basic_auth = Some(BasicAuth {
                username: config.username.clone(),
                password: config.password.clone(),
                ..BasicAuth::default()
            });
        }
        if !config.token.is_empty() && has_other {
            return Err(section.error_at(
                "token",
                "at most one of consul SD token, authorization, or oauth2 can be configured",
            ));
        }
        Ok(config)
    }

    files_of!(http);

    fn register(metrics: &Metrics) {
        ConsulMetrics::new(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let unavailable = |detail: String| PrepareError::Unavailable(detail.into());
        // Compat: a scheme in the address wins over the setting.
        let server = if self.server.contains("://") {
            self.server.clone()
        } else {
            format!("{}://{}", self.scheme, self.server)
        };
        let text = format!("{server}/{}", self.path_prefix.trim_matches('/'));
        let base = Url::parse(&text).map_err(|error| unavailable(format!("server {server:?}: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(unavailable(format!(
                "server {server:?}: the scheme must be http or https"
            )));
        }
        // Compat: as Consul's own client, what is not configured may come from the environment.
        let or_env = |text: &str, name| match text {
            "" => context.var(name).unwrap_or_default(),
            text => text.to_owned(),
        };
        let client = Client {
            http: context.client(&self.http)?,
            base,
            token: or_env(self.token.reveal(), "CONSUL_HTTP_TOKEN"),
            namespace: or_env(&self.namespace, "CONSUL_NAMESPACE"),
            partition: or_env(&self.partition, "CONSUL_PARTITION"),
            metrics: ConsulMetrics::new(&context.metrics),
            config: self.clone(),
        };
        Ok(Runner::watch(ConsulWatch {
            client: Arc::new(client),
            datacenter: self.datacenter.clone(),
            told: BTreeSet::new(),
        }))
    }
}

#[derive(Clone)]
struct ConsulMetrics {
    failures: Counter,
    seconds: Family<Summary>,
}

impl ConsulMetrics {
    fn new(metrics: &Metrics) -> Self {
        let registry = metrics.registry();
        let metrics = ConsulMetrics {
            failures: registry.counter(
                "prometheus_sd_consul_rpc_failures_total",
                "The number of Consul RPC call failures.",
            ),
            seconds: registry.summary_vec(
                "prometheus_sd_consul_rpc_duration_seconds",
                "The duration of a Consul RPC call in seconds.",
                &["endpoint", "call"],
                &QUANTILES,
            ),
        };
        for call in ["service", "services"] {
            metrics.seconds.with(&["catalog", call]);
        }
        metrics
    }
}

struct Client {
    http: HttpClient,
    base: Url,
    token: String,
    namespace: String,
    partition: String,
    config: ConsulConfig,
    metrics: ConsulMetrics,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Agent {
    config: AgentConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    datacenter: String,
}

/// The catalogue: names and tags of services.
type Services = BTreeMap<String, Option<Vec<String>>>;

answers! {
    #[serde(rename_all = "PascalCase")]
    struct Instance {
        node: Node,
        service: Service,
        checks: Vec<Check>,
    }
    #[serde(rename_all = "PascalCase")]
    struct Node {
        node: String,
        address: String,
        tagged_addresses: BTreeMap<String, String>,
        meta: BTreeMap<String, String>,
    }
    #[serde(rename_all = "PascalCase")]
    struct Service {
        #[serde(rename = "ID")]
        id: String,
        tags: Vec<String>,
        address: String,
        meta: BTreeMap<String, String>,
        port: i64,
        namespace: String,
        partition: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct Check {
        #[serde(rename = "CheckID")]
        id: String,
        status: String,
    }
}

impl Client {
    /// One call; the answer and its index, which is 0 where there is none.
    async fn call<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<(T, u64), DiscoveryError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        let common = [
            ("dc", &*self.config.datacenter),
            ("ns", &*self.namespace),
            ("partition", &*self.partition),
        ];
        let common = common.into_iter().filter(|(_, value)| !value.is_empty());
        for (name, value) in common.chain(query.iter().copied()) {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = Request::get(url).timeout(TIMEOUT);
        if !self.token.is_empty() {
            request = request.secret_header("x-consul-token", &self.token);
        }
        let answer = send(&self.http, &request).await?;
        if answer.status() != ::http::StatusCode::OK {
            return Err(bad_status(answer).await);
        }
        let index = match answer.header("x-consul-index") {
            "" => 0,
            text => text.parse().map_err(|_| {
                DiscoveryError::content(
                    request.url(),
                    format_args!("X-Consul-Index {text:?} is no number"),
                )
            })?,
        };
        let body = answer.bytes(BODY_BYTES_MAX).await;
        let body = body.map_err(|source| DiscoveryError::Http {
            url: request.url().to_string(),
            source,
        })?;
        let read = serde_json::from_slice(&body);
        Ok((
            read.map_err(|error| DiscoveryError::content(request.url(), error))?,
            index,
        ))
    }

    async fn datacenter(&self) -> Result<String, DiscoveryError> {
        let (agent, _): (serde_json::Value, u64) = self
            .call(&["agent", "self"], &[])
            .await
            .inspect_err(|_| self.metrics.failures.inc())?;
        let agent = Agent::deserialize(&agent).map_err(|error| {
            let place = format!("{}v1/agent/self", self.base);
            DiscoveryError::content(place, format_args!("no datacenter at Config.Datacenter: {error}"))
        })?;
        Ok(agent.config.datacenter)
    }

    /// Whether a service of the catalogue is wanted.
    fn wants(&self, name: &str, tags: &[String]) -> bool {
        let config = &self.config;
        (config.services.is_empty() || config.services.iter().any(|wanted| wanted == name))
            && config.tags.iter().all(|wanted| tags.contains(wanted))
    }

    /// The whole group of a service.
    fn group(
        &self,
        name: &str,
        datacenter: &str,
        instances: &[Instance],
    ) -> Result<TargetGroup, DiscoveryError> {
        let mut labels = MetaLabels::new(PREFIX);
        labels.meta("service", name).meta("dc", datacenter);
        let targets = instances.iter().map(|instance| self.labels(instance).build());
        Ok(TargetGroup {
            source: name.to_owned(),
            targets: targets.collect::<Result<_, _>>()?,
            labels: labels.build()?,
        })
    }

    fn labels(&self, instance: &Instance) -> MetaLabels {
        let Instance {
            node,
            service,
            checks,
        } = instance;
        let mut labels = MetaLabels::new(PREFIX);
        // A service may have been registered through another node than the one that it runs on.
        let host = if service.address.is_empty() {
            &node.address
        } else {
            &service.address
        };
        labels
            .address(host, service.port)
            .all("metadata_", &node.meta)
            .all("service_metadata_", &service.meta)
            .all("tagged_address_", &node.tagged_addresses)
            .meta("address", &node.address)
            .meta("node", &node.node)
            .meta("namespace", &service.namespace)
            .meta("partition", &service.partition)
            .meta("tags", surrounded(&service.tags, &self.config.tag_separator))
            .meta("service_address", &service.address)
            .meta("service_port", service.port)
            .meta("service_id", &service.id)
            .meta("health", health(checks));
        labels
    }
}

/// The worst of all checks; maintenance beats them, and a status that Consul does not have makes it unknown.
fn health(checks: &[Check]) -> &'static str {
    let mut worst = 0;
    for check in checks {
        let level = if check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:") {
            3
        } else {
            match &*check.status {
                "passing" => 0,
                "warning" => 1,
                "critical" => 2,
                _ => return "",
            }
        };
        worst = worst.max(level);
    }
    ["passing", "warning", "critical", "maintenance"][worst]
}

/// A query that is asked again and again, each time for what has changed since.
struct Query {
    client: Arc<Client>,
    call: &'static str,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    index: u64,
    /// When the next one may be asked.
    due: Instant,
    /// Says of each query alone whether it fails.
    updates: Updates,
}

impl Query {
    fn new(client: &Arc<Client>, updates: &Updates, call: &'static str, path: &[&str], filter: &str) -> Self {
        let mut query = vec![("wait", WAIT.to_owned())];
        if client.config.allow_stale {
            query.push(("stale", String::new()));
        }
        for (name, value) in &client.config.node_meta {
            query.push(("node-meta", format!("{name}:{value}")));
        }
        if !filter.is_empty() {
            query.push(("filter", filter.to_owned()));
        }
        Query {
            client: client.clone(),
            call,
            path: path.iter().map(|&part| part.to_owned()).collect(),
            query,
            index: 0,
            due: Instant::now(),
            updates: Updates {
                failing: Arc::default(),
                ..updates.clone()
            },
        }
    }

    /// Waits until there is an answer with another index than the last, however long it takes.
    async fn next<T: DeserializeOwned>(&mut self) -> T {
        loop {
            tokio::time::sleep_until(self.due).await;
            let start = Instant::now();
            self.due = start + self.client.config.refresh_interval.as_std().max(INTERVAL_MIN);
            let index = self.index.to_string();
            let path: Vec<&str> = self.path.iter().map(|part| &**part).collect();
            let mut query: Vec<(&str, &str)> =
                self.query.iter().map(|(name, value)| (*name, &**value)).collect();
            if self.index != 0 {
                query.push(("index", &index));
            }
            let result = self.client.call(&path, &query).await;
            let seconds = &self.client.metrics.seconds;
            seconds
                .with(&["catalog", self.call])
                .observe(start.elapsed().as_secs_f64());
            match result {
                Ok((answer, index)) => {
                    self.updates.succeeded();
                    // The same index says that the time is over and nothing has changed.
                    if index != self.index {
                        self.index = index;
                        return answer;
                    }
                }
                Err(error) => {
                    self.client.metrics.failures.inc();
                    self.updates.failed(&error);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

struct ConsulWatch {
    client: Arc<Client>,
    /// Empty until the agent has said it.
    datacenter: String,
    /// Services that were watched: if the watch is begun anew, those that are gone by then are taken back.
    told: BTreeSet<String>,
}

impl Watch for ConsulWatch {
    fn run<'w>(&'w mut self, updates: &'w Updates) -> BoxFuture<'w, ()> {
        async {
            while self.datacenter.is_empty() {
                match self.client.datacenter().await {
                    Ok(datacenter) if !datacenter.is_empty() => {
                        updates.succeeded();
                        self.datacenter = datacenter;
                    }
                    // Compat: the reference takes an empty one for good, and asks again at every start.
                    Ok(_) => break,
                    Err(error) => {
                        updates.failed(&error);
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            }
            let config = &self.client.config;
            if config.services.is_empty() || !config.tags.is_empty() || !config.filter.is_empty() {
                self.watch_catalog(updates).await;
            } else {
                let names: BTreeSet<&String> = config.services.iter().collect();
                let watches: FuturesUnordered<_> = names
                    .into_iter()
                    .map(|name| self.service(name, updates))
                    .collect();
                watches.collect::<()>().await;
            }
        }
        .boxed()
    }
}

impl ConsulWatch {
    /// Watches the list of services, and those of them that are wanted.
    async fn watch_catalog(&mut self, updates: &Updates) {
        let filter = &self.client.config.filter;
        let query = Query::new(
            &self.client,
            updates,
            "services",
            &["catalog", "services"],
            filter,
        );
        let ask = |mut query: Query| async move {
            let services: Option<Services> = query.next().await;
            (services.unwrap_or_default(), query)
        };
        let mut catalogue = ask(query).boxed();
        let mut watches = FuturesUnordered::new();
        let mut watched: HashMap<String, AbortHandle> = HashMap::new();
        loop {
            let (services, query) = tokio::select! {
                answer = &mut catalogue => answer,
                Some(_) = watches.next() => continue,
            };
            catalogue = ask(query).boxed();
            for (name, tags) in &services {
                let tags = tags.as_deref().unwrap_or_default();
                if !watched.contains_key(name) && self.client.wants(name, tags) {
                    let (handle, registration) = AbortHandle::new_pair();
                    watches.push(Abortable::new(self.service(name, updates), registration));
                    watched.insert(name.clone(), handle);
                    self.told.insert(name.clone());
                }
            }
            let gone: Vec<String> = self
                .told
                .iter()
                .filter(|name| !services.contains_key(*name))
                .cloned()
                .collect();
            for name in &gone {
                self.told.remove(name);
                if let Some(handle) = watched.remove(name) {
                    handle.abort();
                }
            }
            let empty = |source| TargetGroup {
                source,
                ..TargetGroup::default()
            };
            updates.send(gone.into_iter().map(empty).collect());
        }
    }

    /// Watches one service, until it is dropped.
    fn service(&self, name: &str, updates: &Updates) -> BoxFuture<'static, ()> {
        let filter = &self.client.config.health_filter;
        let mut query = Query::new(
            &self.client,
            updates,
            "service",
            &["health", "service", name],
            filter,
        );
        for tag in &self.client.config.tags {
            query.query.push(("tag", tag.clone()));
        }
        let (name, datacenter) = (name.to_owned(), self.datacenter.clone());
        async move {
            loop {
                let instances: Option<Vec<Instance>> = query.next().await;
                let instances = instances.unwrap_or_default();
                match query.client.group(&name, &datacenter, &instances) {
                    Ok(group) => query.updates.send(vec![group]),
                    Err(error) => query.updates.failed(&error),
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
