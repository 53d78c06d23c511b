//! `dockerswarm_sd_configs`: services, tasks or nodes of a Docker swarm.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use model::labels::Labels;
use serde::Serialize;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{MINUTE, answers, files_of, read_role};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
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
        let role = match read_role(section, &["tasks", "services", "nodes"], None)? {
            "services" => SwarmRole::Services,
            "tasks" => SwarmRole::Tasks,
            _ => SwarmRole::Nodes,
        };
        Ok(DockerSwarmConfig {
            host,
            role,
            port: section.get_or("port", moby::DEFAULT_PORT)?,
            filters: section.list("filters", Filter::read)?,
            refresh_interval: section.get_or("refresh_interval", MINUTE)?,
            http: HttpClientConfig::read(section)?,
        })
    }

    files_of!(http);

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

answers! {
    #[serde(rename_all = "PascalCase")]
    struct Service {
        #[serde(rename = "ID")]
        id: String,
        spec: ServiceSpec,
        endpoint: Endpoint,
        update_status: Option<State>,
    }
    #[serde(rename_all = "PascalCase")]
    struct ServiceSpec {
        name: String,
        labels: BTreeMap<String, String>,
        mode: BTreeMap<String, Option<serde::de::IgnoredAny>>,
        task_template: TaskSpec,
    }
    #[serde(rename_all = "PascalCase")]
    struct TaskSpec {
        container_spec: Option<ContainerSpec>,
    }
    #[serde(rename_all = "PascalCase")]
    struct ContainerSpec {
        image: String,
        hostname: String,
        labels: BTreeMap<String, String>,
    }
    #[serde(rename_all = "PascalCase")]
    struct Endpoint {
        ports: Vec<Port>,
        #[serde(rename = "VirtualIPs")]
        virtual_ips: Vec<VirtualIp>,
    }
    #[serde(rename_all = "PascalCase")]
    struct Port {
        name: String,
        protocol: String,
        published_port: u32,
        publish_mode: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct VirtualIp {
        #[serde(rename = "NetworkID")]
        network_id: String,
        addr: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct State {
        state: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct Node {
        #[serde(rename = "ID")]
        id: String,
        spec: NodeSpec,
        description: NodeDescription,
        status: NodeStatus,
        manager_status: Option<ManagerStatus>,
    }
    #[serde(rename_all = "PascalCase")]
    struct NodeSpec {
        role: String,
        availability: String,
        labels: BTreeMap<String, String>,
    }
    #[serde(rename_all = "PascalCase")]
    struct NodeDescription {
        hostname: String,
        platform: Platform,
        engine: EngineDescription,
    }
    #[serde(rename_all = "PascalCase")]
    struct Platform {
        architecture: String,
        #[serde(rename = "OS")]
        os: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct EngineDescription {
        engine_version: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct NodeStatus {
        state: String,
        addr: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct ManagerStatus {
        leader: bool,
        reachability: String,
        addr: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct Task {
        #[serde(rename = "ID")]
        id: String,
        spec: TaskSpec,
        #[serde(rename = "ServiceID")]
        service_id: String,
        slot: i64,
        #[serde(rename = "NodeID")]
        node_id: String,
        status: TaskStatus,
        desired_state: String,
        networks_attachments: Vec<Attachment>,
    }
    #[serde(rename_all = "PascalCase")]
    struct TaskStatus {
        state: String,
        container_status: Option<ContainerStatus>,
        port_status: PortStatus,
    }
    #[serde(rename_all = "PascalCase")]
    struct ContainerStatus {
        #[serde(rename = "ContainerID")]
        container_id: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct PortStatus {
        ports: Vec<Port>,
    }
    #[serde(rename_all = "PascalCase")]
    struct Attachment {
        network: AttachedNetwork,
        addresses: Vec<String>,
    }
    struct AttachedNetwork {
        #[serde(rename = "ID")]
        id: String,
    }
}

impl Poll for SwarmPoll {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let targets = match self.config.role {
                SwarmRole::Services => self.services().await,
                SwarmRole::Tasks => self.tasks().await,
                SwarmRole::Nodes => self.nodes().await,
            };
            Ok(group("DockerSwarm", targets?))
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
                    .meta("service_task_container_hostname", &container.hostname)
                    .meta("service_task_container_image", &container.image);
            }
            if let Some(update) = &service.update_status {
                common.meta("service_updating_status", &update.state);
            }
            for vip in &service.endpoint.virtual_ips {
                let mut common = common.clone();
                if let Some(network) = networks.get(&vip.network_id) {
                    common.add(network);
                }
                let name_port = |labels: &mut MetaLabels, port: &Port| {
                    labels
                        .meta("service_endpoint_port_name", &port.name)
                        .meta("service_endpoint_port_publish_mode", &port.publish_mode);
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
            labels.meta("task_port_publish_mode", &port.publish_mode);
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
                .meta("node_engine_version", version);
            if let Some(manager) = &node.manager_status {
                labels
                    .meta("node_manager_leader", manager.leader)
                    .meta("node_manager_reachability", &manager.reachability)
                    .meta("node_manager_address", &manager.addr);
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
    let mut labels = MetaLabels::new(PREFIX);
    labels
        .meta("service_id", &service.id)
        .meta("service_name", &service.spec.name)
        .meta("service_mode", mode)
        .all("service_label_", &service.spec.labels);
    labels
}

fn of_node(node: &Node) -> MetaLabels {
    let (spec, description) = (&node.spec, &node.description);
    let mut labels = MetaLabels::new(PREFIX);
    labels
        .meta("node_id", &node.id)
        .meta("node_role", &spec.role)
        .meta("node_address", &node.status.addr)
        .meta("node_availability", &spec.availability)
        .meta("node_hostname", &description.hostname)
        .meta("node_platform_architecture", &description.platform.architecture)
        .meta("node_platform_os", &description.platform.os)
        .meta("node_status", &node.status.state)
        .all("node_label_", &spec.labels);
    labels
}

fn of_task(task: &Task) -> MetaLabels {
    let mut labels = MetaLabels::new(PREFIX);
    labels
        .meta("task_id", &task.id)
        .meta("task_desired_state", &task.desired_state)
        .meta("task_state", &task.status.state)
        .meta("task_slot", task.slot);
    if let Some(container) = &task.status.container_status {
        labels.meta("task_container_id", &container.container_id);
    }
    if let Some(container) = &task.spec.container_spec {
        labels.all("container_label_", &container.labels);
    }
    labels
}
