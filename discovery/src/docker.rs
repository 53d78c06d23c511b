//! `docker_sd_configs`: containers of a Docker engine.
//!
//! The engine's interface is asked with our own client and not with bollard: host, credentials, TLS files that change,
//! proxies and redirects are those of every HTTP client section here, and of the whole interface two lists are needed.

use std::collections::{BTreeMap, HashMap};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::Serialize;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{MINUTE, answers, files_of};
use crate::mechanism::Discovery;
use crate::meta::{ADDRESS, MetaLabels, group};
use crate::moby::{self, Engine, Filter, Networks};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// Containers that share their network with another that does so itself: how long a chain is followed. The engine makes
/// none that long; a circle would be without end.
const SHARED_DEPTH_MAX: usize = 16;
const PREFIX: &str = "__meta_docker_";

/// Which engine, and what of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DockerConfig {
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// The engine's URL.
    pub host: String,
    /// The port of containers that expose none.
    pub port: i64,
    /// Which containers.
    pub filters: Vec<Filter>,
    /// The address of containers in the host's network.
    pub host_networking_host: String,
    /// How often to ask; also the longest wait for an answer.
    pub refresh_interval: yaml::Duration,
    /// Whether of several networks of a container only the first counts.
    pub match_first_network: bool,
}

impl Discovery for DockerConfig {
    const KEY: &'static str = "docker_sd_configs";
    const NAME: &'static str = "docker";
    const HELP: &'static str = "containers of a Docker engine";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(DockerConfig {
            host: moby::read_host(section)?,
            port: section.get_or("port", moby::DEFAULT_PORT)?,
            filters: section.list("filters", Filter::read)?,
            host_networking_host: section.get_or("host_networking_host", "localhost".to_owned())?,
            refresh_interval: section.get_or("refresh_interval", MINUTE)?,
            match_first_network: section.get_or("match_first_network", true)?,
            http: HttpClientConfig::read(section)?,
        })
    }

    files_of!(http);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = DockerPoll {
            engine: Engine::new(context, &self.host, &self.http, self.refresh_interval)?,
            config: self.clone(),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

struct DockerPoll {
    engine: Engine,
    config: DockerConfig,
}

answers! {
    #[serde(rename_all = "PascalCase")]
    struct Container {
        id: String,
        names: Vec<String>,
        image: String,
        #[serde(rename = "ImageID")]
        image_id: String,
        ports: Vec<Port>,
        labels: BTreeMap<String, String>,
        host_config: HostConfig,
        network_settings: NetworkSettings,
    }
    #[serde(rename_all = "PascalCase")]
    struct Port {
        #[serde(rename = "IP")]
        ip: String,
        private_port: u16,
        public_port: u16,
        r#type: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct HostConfig {
        network_mode: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct NetworkSettings {
        networks: BTreeMap<String, Option<Endpoint>>,
    }
    #[serde(rename_all = "PascalCase")]
    struct Endpoint {
        #[serde(rename = "NetworkID")]
        network_id: String,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        #[serde(rename = "GlobalIPv6Address")]
        ipv6_address: String,
    }
}

impl Poll for DockerPoll {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let filters = &self.config.filters;
            let containers: Vec<Container> = self.engine.list("containers/json", filters).await?;
            let networks = moby::networks(&mut self.engine, PREFIX).await?;
            let by_id: HashMap<&str, &Container> = containers
                .iter()
                .map(|container| (&*container.id, container))
                .collect();
            let mut targets = Vec::new();
            for container in containers.iter().filter(|container| !container.names.is_empty()) {
                for endpoint in endpoints(container, &by_id, self.config.match_first_network) {
                    for labels in self.labels(container, endpoint, &networks) {
                        targets.push(labels.build()?);
                    }
                }
            }
            Ok(group("Docker", targets))
        }
        .boxed()
    }
}

/// The networks that a container is in: its own, or those of the container whose network it shares.
fn endpoints<'c>(
    container: &'c Container,
    by_id: &HashMap<&str, &'c Container>,
    only_first: bool,
) -> Vec<&'c Endpoint> {
    let mut of = container;
    for _ in 0..SHARED_DEPTH_MAX {
        if !of.network_settings.networks.is_empty() {
            break;
        }
        let shared = of.host_config.network_mode.strip_prefix("container:");
        let Some(next) = shared.and_then(|id| by_id.get(id)) else {
            break;
        };
        of = next;
    }
    // Sorted by name already.
    let networks = of.network_settings.networks.values().flatten();
    networks.take(if only_first { 1 } else { usize::MAX }).collect()
}

impl DockerPoll {
    /// A target for each TCP port in one network, or one if there is none.
    fn labels(&self, container: &Container, endpoint: &Endpoint, networks: &Networks) -> Vec<MetaLabels> {
        let ip = [&endpoint.ip_address, &endpoint.ipv6_address]
            .into_iter()
            .map(|ip| canonical(ip))
            .find(|ip| !ip.is_empty())
            .unwrap_or_default();
        let mode = &container.host_config.network_mode;
        let mut common = MetaLabels::new(PREFIX);
        common
            .all("container_label_", &container.labels)
            .meta("container_id", &container.id)
            .meta("container_name", &container.names[0])
            .meta("container_network_mode", mode)
            .meta("container_image", &container.image)
            .meta("container_image_id", &container.image_id)
            .meta("network_ip", &ip);
        if let Some(network) = networks.get(&endpoint.network_id) {
            common.add(network);
        }
        let mut all = Vec::new();
        for port in container.ports.iter().filter(|port| port.r#type == "tcp") {
            let mut labels = common.clone();
            labels
                .address(&ip, port.private_port)
                .meta("port_private", port.private_port);
            if port.public_port > 0 {
                labels
                    .meta("port_public", port.public_port)
                    .meta("port_public_ip", canonical(&port.ip));
            }
            all.push(labels);
        }
        if all.is_empty() {
            if mode == "host" {
                common.set(ADDRESS, &self.config.host_networking_host);
            } else {
                common.address(&ip, self.config.port);
            }
            all.push(common);
        }
        all
    }
}

/// An address in its usual form; nothing where it is none.
fn canonical(ip: &str) -> String {
    ip.parse::<std::net::IpAddr>()
        .map(|ip| ip.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
