//! `dockerswarm_sd_configs`: services, tasks or nodes of a Docker swarm.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use model::labels::Labels;
use serde::{Deserialize, Serialize};
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::answer::or_null;
use crate::mechanism::Discovery;
use crate::meta::MetaLabels;
use crate::moby::{self, Engine, Filter};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const PREFIX: &str = "__meta_dockerswarm_";

/// What becomes a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SwarmRole {
    /// Each published port of a service.
    Services,
    /// Each port of each task of a service.
    Tasks,
    /// Each machine.
    Nodes,
}

/// Which swarm, and what of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DockerSwarmConfig {
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// URL of a manager's engine.
    pub host: String,
    /// What becomes a target.
    pub role: SwarmRole,
    /// The port of what publishes none.
    pub port: i64,
    /// Which ones.
    pub filters: Vec<Filter>,
    /// How often to ask; also the longest wait for an answer.
    pub refresh_interval: yaml::Duration,
}

impl Discovery for DockerSwarmConfig {
    const KEY: &'static str = "dockerswarm_sd_configs";
    const NAME: &'static str = "dockerswarm";
    const HELP: &'static str = "services, tasks or nodes of a Docker swarm";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let host = moby::read_host(section)?;
        let role: String = section.get_or("role", String::new())?;
        let role = match &*role {
            "services" => SwarmRole::Services,
            "tasks" => SwarmRole::Tasks,
            "nodes" => SwarmRole::Nodes,
            "" => {
                return Err(section.error_at("role", "role missing (one of: tasks, services, nodes)"));
            }
            role => {
                let message = format!("invalid role {role}, expected tasks, services, or nodes");
                return Err(section.error_at("role", message));
            }
        };
        Ok(DockerSwarmConfig {
            host,
            role,
            port: section.get_or("port", moby::DEFAULT_PORT)?,
            filters: section.list("filters", Filter::read)?,
            refresh_interval: section.get_or("refresh_interval", moby::DEFAULT_REFRESH_INTERVAL)?,
            http: HttpClientConfig::read(section)?,
        })
    }

    fn resolve_paths(&mut self, folder: &Path) {
        self.http.resolve_paths(folder);
    }

    fn files(&self) -> Vec<&Path> {
        self.http.files()
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = SwarmPoll {
            engine: Engine::new(context, &self.host, &self.http, self.refresh_interval)?,
            config: self.clone(),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

struct SwarmPoll {
    engine: Engine,
    config: DockerSwarmConfig,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(deserialize_with = "or_null")]
    spec: ServiceSpec,
    #[serde(deserialize_with = "or_null")]
    endpoint: Endpoint,
    update_status: Option<State>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ServiceSpec {
    name: String,
    #[serde(deserialize_with = "or_null")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_null")]
    mode: BTreeMap<String, Option<serde::de::IgnoredAny>>,
    #[serde(deserialize_with = "or_null")]
    task_template: TaskSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TaskSpec {
    container_spec: Option<ContainerSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerSpec {
    image: String,
    hostname: String,
    #[serde(deserialize_with = "or_null")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Endpoint {
    #[serde(deserialize_with = "or_null")]
    ports: Vec<Port>,
    #[serde(deserialize_with = "or_null", rename = "VirtualIPs")]
    virtual_ips: Vec<VirtualIp>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Port {
    name: String,
    protocol: String,
    published_port: u32,
    publish_mode: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct VirtualIp {
    #[serde(rename = "NetworkID")]
    network_id: String,
    addr: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct State {
    state: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "ID")]
    id: String,
    #[serde(deserialize_with = "or_null")]
    spec: NodeSpec,
    #[serde(deserialize_with = "or_null")]
    description: NodeDescription,
    #[serde(deserialize_with = "or_null")]
    status: NodeStatus,
    manager_status: Option<ManagerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeSpec {
    role: String,
    availability: String,
    #[serde(deserialize_with = "or_null")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeDescription {
    hostname: String,
    #[serde(deserialize_with = "or_null")]
    platform: Platform,
    #[serde(deserialize_with = "or_null")]
    engine: EngineDescription,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Platform {
    architecture: String,
    #[serde(rename = "OS")]
    os: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct EngineDescription {
    engine_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeStatus {
    state: String,
    addr: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ManagerStatus {
    leader: bool,
    reachability: String,
    addr: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Task {
    #[serde(rename = "ID")]
    id: String,
    #[serde(deserialize_with = "or_null")]
    spec: TaskSpec,
    #[serde(rename = "ServiceID")]
    service_id: String,
    slot: i64,
    #[serde(rename = "NodeID")]
    node_id: String,
    #[serde(deserialize_with = "or_null")]
    status: TaskStatus,
    desired_state: String,
    #[serde(deserialize_with = "or_null")]
    networks_attachments: Vec<Attachment>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TaskStatus {
    state: String,
    container_status: Option<ContainerStatus>,
    #[serde(deserialize_with = "or_null")]
    port_status: PortStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerStatus {
    #[serde(rename = "ContainerID")]
    container_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PortStatus {
    #[serde(deserialize_with = "or_null")]
    ports: Vec<Port>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Attachment {
    #[serde(deserialize_with = "or_null")]
    network: AttachedNetwork,
    #[serde(deserialize_with = "or_null")]
    addresses: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AttachedNetwork {
    #[serde(rename = "ID")]
    id: String,
}

impl Poll for SwarmPoll {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let targets = match self.config.role {
                SwarmRole::Services => self.services().await,
                SwarmRole::Tasks => self.tasks().await,
                SwarmRole::Nodes => self.nodes().await,
            };
            Ok(vec![TargetGroup {
                source: "DockerSwarm".to_owned(),
                targets: targets?,
                ..TargetGroup::default()
            }])
        }
        .boxed()
    }
}

impl SwarmPoll {
    async fn services(&mut self) -> Result<Vec<Labels>, DiscoveryError> {
        let services: Vec<Service> = self.engine.list("services", &self.config.filters).await?;
        let networks = moby::networks(&mut self.engine, PREFIX).await?;
        let mut targets = Vec::new();
        for service in &services {
            let mut common = of_service(service);
            if let Some(container) = &service.spec.task_template.container_spec {
                common
                    .set(
                        "__meta_dockerswarm_service_task_container_hostname",
                        &container.hostname,
                    )
                    .set(
                        "__meta_dockerswarm_service_task_container_image",
                        &container.image,
                    );
            }
            if let Some(update) = &service.update_status {
                common.set("__meta_dockerswarm_service_updating_status", &update.state);
            }
            for vip in &service.endpoint.virtual_ips {
                let mut common = common.clone();
                if let Some(network) = networks.get(&vip.network_id) {
                    common.add(network);
                }
                let name_port = |labels: &mut MetaLabels, port: &Port| {
                    labels
                        .set("__meta_dockerswarm_service_endpoint_port_name", &port.name)
                        .set(
                            "__meta_dockerswarm_service_endpoint_port_publish_mode",
                            &port.publish_mode,
                        );
                };
                let ports = &service.endpoint.ports;
                add_targets(
                    &mut targets,
                    &common,
                    &vip.addr,
                    ports,
                    self.config.port,
                    name_port,
                )?;
            }
        }
        Ok(targets)
    }

    async fn tasks(&mut self) -> Result<Vec<Labels>, DiscoveryError> {
        let tasks: Vec<Task> = self.engine.list("tasks", &self.config.filters).await?;
        let services: Vec<Service> = self.engine.list("services", &[]).await?;
        let services: HashMap<&str, &Service> =
            services.iter().map(|service| (&*service.id, service)).collect();
        let nodes: Vec<Node> = self.engine.list("nodes", &[]).await?;
        let nodes: HashMap<&str, &Node> = nodes.iter().map(|node| (&*node.id, node)).collect();
        let networks = moby::networks(&mut self.engine, PREFIX).await?;
        let set_mode = |labels: &mut MetaLabels, port: &Port| {
            labels.set("__meta_dockerswarm_task_port_publish_mode", &port.publish_mode);
        };
        let mut targets = Vec::new();
        for task in &tasks {
            let service = services.get(&*task.service_id).copied();
            let node = nodes.get(&*task.node_id).copied();
            let mut common = of_task(task);
            service.inspect(|service| {
                common.add(&of_service(service));
            });
            node.inspect(|node| {
                common.add(&of_node(node));
            });
            for port in task.status.port_status.ports.iter().filter(|port| port.is_tcp()) {
                let mut labels = common.clone();
                set_mode(&mut labels, port);
                let host = node.map_or("", |node| &node.status.addr);
                targets.push(labels.address(host, port.published_port).build()?);
            }
            let ports = service.map_or(&[][..], |service| &service.endpoint.ports);
            for attachment in &task.networks_attachments {
                let mut common = common.clone();
                if let Some(network) = networks.get(&attachment.network.id) {
                    common.add(network);
                }
                for address in &attachment.addresses {
                    add_targets(&mut targets, &common, address, ports, self.config.port, set_mode)?;
                }
            }
        }
        Ok(targets)
    }

    async fn nodes(&mut self) -> Result<Vec<Labels>, DiscoveryError> {
        let nodes: Vec<Node> = self.engine.list("nodes", &self.config.filters).await?;
        let targets = nodes.iter().map(|node| {
            let mut labels = of_node(node);
            let version = &node.description.engine.engine_version;
            labels
                .address(&node.status.addr, self.config.port)
                .set("__meta_dockerswarm_node_engine_version", version);
            if let Some(manager) = &node.manager_status {
                labels
                    .set(
                        "__meta_dockerswarm_node_manager_leader",
                        &manager.leader.to_string(),
                    )
                    .set(
                        "__meta_dockerswarm_node_manager_reachability",
                        &manager.reachability,
                    )
                    .set("__meta_dockerswarm_node_manager_address", &manager.addr);
            }
            labels.build()
        });
        targets.collect()
    }
}

impl Port {
    fn is_tcp(&self) -> bool {
        self.protocol == "tcp"
    }
}

/// A target at `address` for each TCP port, or one at `default_port` if there is none.
fn add_targets(
    targets: &mut Vec<Labels>,
    common: &MetaLabels,
    address: &str,
    ports: &[Port],
    default_port: i64,
    set_port: impl Fn(&mut MetaLabels, &Port),
) -> Result<(), DiscoveryError> {
    let ip = ip_of(address)?;
    let before = targets.len();
    for port in ports.iter().filter(|port| port.is_tcp()) {
        let mut labels = common.clone();
        set_port(&mut labels, port);
        targets.push(labels.address(&ip, port.published_port).build()?);
    }
    if targets.len() == before {
        targets.push(common.clone().address(&ip, default_port).build()?);
    }
    Ok(())
}

/// The address of `address/bits`.
fn ip_of(address: &str) -> Result<String, DiscoveryError> {
    let ip = address
        .split_once('/')
        .and_then(|(ip, _)| ip.parse::<IpAddr>().ok());
    ip.map(|ip| ip.to_string()).ok_or_else(|| {
        DiscoveryError::content(
            "the swarm's answer",
            format_args!("{address:?} is no address with a network"),
        )
    })
}

fn of_service(service: &Service) -> MetaLabels {
    let mode = &service.spec.mode;
    let has = |name| mode.get(name).is_some_and(Option::is_some);
    let mode = match (has("Global"), has("Replicated")) {
        (true, _) => "global",
        (_, true) => "replicated",
        _ => "",
    };
    let mut labels = MetaLabels::default();
    labels
        .set("__meta_dockerswarm_service_id", &service.id)
        .set("__meta_dockerswarm_service_name", &service.spec.name)
        .set("__meta_dockerswarm_service_mode", mode)
        .set_all("__meta_dockerswarm_service_label_", &service.spec.labels);
    labels
}

fn of_node(node: &Node) -> MetaLabels {
    let (spec, description) = (&node.spec, &node.description);
    let mut labels = MetaLabels::default();
    labels
        .set("__meta_dockerswarm_node_id", &node.id)
        .set("__meta_dockerswarm_node_role", &spec.role)
        .set("__meta_dockerswarm_node_address", &node.status.addr)
        .set("__meta_dockerswarm_node_availability", &spec.availability)
        .set("__meta_dockerswarm_node_hostname", &description.hostname)
        .set(
            "__meta_dockerswarm_node_platform_architecture",
            &description.platform.architecture,
        )
        .set("__meta_dockerswarm_node_platform_os", &description.platform.os)
        .set("__meta_dockerswarm_node_status", &node.status.state)
        .set_all("__meta_dockerswarm_node_label_", &spec.labels);
    labels
}

fn of_task(task: &Task) -> MetaLabels {
    let mut labels = MetaLabels::default();
    labels
        .set("__meta_dockerswarm_task_id", &task.id)
        .set("__meta_dockerswarm_task_desired_state", &task.desired_state)
        .set("__meta_dockerswarm_task_state", &task.status.state)
        .set("__meta_dockerswarm_task_slot", &task.slot.to_string());
    if let Some(container) = &task.status.container_status {
        labels.set("__meta_dockerswarm_task_container_id", &container.container_id);
    }
    if let Some(container) = &task.spec.container_spec {
        labels.set_all("__meta_dockerswarm_container_label_", &container.labels);
    }
    labels
}
