//! `serverset_sd_configs` and `nerve_sd_configs`: members that services register in ZooKeeper.
//!
//! Everything below the configured paths is read once and watched: a node whose data is a member is a target, and its path
//! is the target's source. Both kinds differ in nothing but what a member's data looks like.
//!
//! The client is our own: of ZooKeeper's protocol two questions are needed, and the crates that speak it bring their own
//! runtimes, or have not been kept. After a lost connection everything is read again; until then the targets stay.

mod client;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod jute;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use metrics::{Counter, Gauge};
use serde::Serialize;
use tokio::time::Instant;
use xxhash_rust::xxh64::xxh64;
use yaml::{Section, YamlError};

use self::client::{Connection, Said, Servers};
use self::jute::Question;
use crate::api::{answers, read_object};
use crate::mechanism::Discovery;
use crate::meta::MetaLabels;
use crate::metrics::Metrics;
use crate::prepare::{Context, DiscoveryError, PrepareError, Runner, Watch};
use crate::{TargetGroup, Updates};

/// Most nodes below the paths of one entry.
const NODES_MAX: usize = 100_000;
/// Groups that are told at once while a whole tree is read.
const GROUPS_MAX: usize = 1_000;
/// Pause before another server is tried.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Pause before everything is read again, when a path is not there or may not be read.
const READ_PAUSE: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: yaml::Duration = yaml::Duration::from_ms(10_000);
/// What is agreed with a server at least.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// What can go wrong with a server.
#[derive(Debug, thiserror::Error)]
enum ZooKeeperError {
    #[error("{server}: {source}")]
    Server {
        server: String,
        source: Box<ZooKeeperError>,
    },
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("not host or host:port")]
    Address,
    #[error("the server closed the connection")]
    Closed,
    #[error("the server said nothing for {0:?}")]
    Silent(Duration),
    #[error("the session has expired")]
    Expired,
    #[error("a packet of {0} bytes; at most {max} are taken", max = jute::PACKET_BYTES_MAX)]
    Length(i32),
    #[error("a packet ends early")]
    Short,
    #[error("a text that is not UTF-8")]
    NotUtf8,
    #[error("an answer that nobody asked for")]
    Order,
    #[error("{path}: refused with error {code}")]
    Refused { path: String, code: i32 },
    #[error("path {0} does not exist")]
    NoPath(String),
    #[error("more than {NODES_MAX} nodes below the paths")]
    Many,
    #[error(transparent)]
    Labels(#[from] DiscoveryError),
}

/// What members look like.
pub trait Members: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// The list's key.
    const KEY: &'static str;
    /// The name in metrics and logs.
    const NAME: &'static str;
    /// What it finds.
    const HELP: &'static str;

    /// The labels of a member; `None` where data is none.
    fn read(data: &[u8], path: &str) -> Option<Member>;
}

/// The labels of a member.
#[derive(Debug)]
pub struct Member(MetaLabels);

/// One entry of either list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZooKeeperConfig<M> {
    /// Hosts, with or without a port.
    pub servers: Vec<String>,
    /// Below which members are looked for.
    pub paths: Vec<String>,
    /// How long a session outlives a lost connection.
    pub timeout: yaml::Duration,
    #[serde(skip)]
    members: std::marker::PhantomData<M>,
}

/// `serverset_sd_configs`
pub(crate) type ServersetConfig = ZooKeeperConfig<Serverset>;
/// `nerve_sd_configs`
pub(crate) type NerveConfig = ZooKeeperConfig<Nerve>;

impl<M: Members> Discovery for ZooKeeperConfig<M> {
    const KEY: &'static str = M::KEY;
    const NAME: &'static str = M::NAME;
    const HELP: &'static str = M::HELP;

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let servers: Vec<String> = section.get_or("servers", Vec::new())?;
        let paths: Vec<String> = section.get_or("paths", Vec::new())?;
        let name = M::NAME;
        if servers.is_empty() {
            let message = format!("{name} SD config must contain at least one Zookeeper server");
            return Err(section.error_at("servers", message));
        }
        if paths.is_empty() {
            let message = format!("{name} SD config must contain at least one path");
            return Err(section.error_at("paths", message));
        }
        if let Some(index) = paths.iter().position(|path| !path.starts_with('/')) {
            let message = format!("{name} SD config paths must begin with '/': {}", paths[index]);
            return Err(section.error_at_item("paths", index, message));
        }
        Ok(ZooKeeperConfig {
            servers,
            paths,
            timeout: section.get_or("timeout", DEFAULT_TIMEOUT)?,
            members: std::marker::PhantomData,
        })
    }

    fn register(metrics: &Metrics) {
        TreeMetrics::of(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let timeout = self.timeout.as_std().max(TIMEOUT_MIN);
        Ok(Runner::watch(ZooKeeper {
            servers: Servers::new(
                self.servers.clone(),
                context.surroundings.resolver.clone(),
                timeout,
            ),
            paths: self.paths.clone(),
            read: M::read,
            nodes: BTreeMap::new(),
            round: 0,
            metrics: TreeMetrics::of(&context.metrics),
        }))
    }
}

/// Compat: the reference's names, which are not `prometheus_sd_*`.
struct TreeMetrics {
    failures: Counter,
    watched: Gauge,
    /// What this tree adds to `watched`.
    mine: usize,
}

impl TreeMetrics {
    fn of(metrics: &Metrics) -> Self {
        let registry = metrics.registry();
        TreeMetrics {
            failures: registry.counter(
                "prometheus_treecache_zookeeper_failures_total",
                "The total number of ZooKeeper failures.",
            ),
            watched: registry.gauge(
                "prometheus_treecache_watcher_goroutines",
                "The current number of watcher goroutines.",
            ),
            mine: 0,
        }
    }

    fn watch(&mut self, count: usize) {
        self.watched.add(count as f64 - self.mine as f64);
        self.mine = count;
    }
}

impl Drop for TreeMetrics {
    fn drop(&mut self) {
        self.watch(0);
    }
}

struct ZooKeeper {
    servers: Servers,
    paths: Vec<String>,
    read: fn(&[u8], &str) -> Option<Member>,
    /// All that is known, by path.
    nodes: BTreeMap<String, Node>,
    /// Counts how often everything was read.
    round: u64,
    metrics: TreeMetrics,
}

#[derive(Debug, Default)]
struct Node {
    /// Of its data.
    hash: Option<u64>,
    children: BTreeSet<String>,
    /// When it was read last.
    round: u64,
    is_target: bool,
}

impl Watch for ZooKeeper {
    fn run<'w>(&'w mut self, updates: &'w Updates) -> BoxFuture<'w, ()> {
        async move {
            loop {
                let error = match self.servers.connect().await {
                    Ok(connection) => self.follow(connection, updates).await,
                    Err(error) => error,
                };
                self.metrics.failures.inc();
                self.metrics.watch(0);
                updates.failed(&error);
                let pause = match error {
                    ZooKeeperError::Refused { .. } | ZooKeeperError::Many => READ_PAUSE,
                    _ => CONNECT_PAUSE,
                };
                tokio::time::sleep(pause).await;
            }
        }
        .boxed()
    }
}

impl ZooKeeper {
    /// Reads everything and follows what changes, until the connection is lost.
    async fn follow(&mut self, mut connection: Connection, updates: &Updates) -> ZooKeeperError {
        let mut work = Work::default();
        loop {
            if let Err(error) = self.step(&mut connection, &mut work, updates).await {
                // What is known already is told.
                work.tell(updates);
                return error;
            }
        }
    }

    async fn step(
        &mut self,
        connection: &mut Connection,
        work: &mut Work,
        updates: &Updates,
    ) -> Result<(), ZooKeeperError> {
        if work.read_all_at.is_some_and(|at| Instant::now() >= at) {
            work.read_all_at = None;
            self.round += 1;
            work.todo.extend(self.paths.iter().cloned());
        }
        while connection.may_ask()
            && let Some(path) = work.todo.pop_front()
        {
            connection.ask(Question::Data, path).await?;
        }
        if !connection.is_waiting() || work.groups.len() >= GROUPS_MAX {
            work.tell(updates);
            if !connection.is_waiting() && work.read_all_at.is_none() {
                updates.succeeded();
                updates.settled();
            }
        }
        self.metrics.watch(self.nodes.len());
        let said = match work.read_all_at {
            Some(at) => match tokio::time::timeout_at(at, connection.listen()).await {
                Ok(said) => said?,
                Err(_) => return Ok(()),
            },
            None => connection.listen().await?,
        };
        match said {
            Said::Changed(path) => work.todo.push_back(path),
            Said::Data { path, data: None } | Said::Children { path, names: None } => {
                self.forget(&path, work);
                if self.paths.contains(&path) {
                    self.metrics.failures.inc();
                    updates.failed(&ZooKeeperError::NoPath(path));
                    work.read_all_at.get_or_insert(Instant::now() + READ_PAUSE);
                }
            }
            Said::Data {
                path,
                data: Some(data),
            } => {
                self.take_data(&path, &data, work)?;
                connection.ask(Question::Children, path).await?;
            }
            Said::Children {
                path,
                names: Some(names),
            } => self.take_children(&path, names, work),
        }
        Ok(())
    }

    fn take_data(&mut self, path: &str, data: &[u8], work: &mut Work) -> Result<(), ZooKeeperError> {
        if !self.nodes.contains_key(path) && self.nodes.len() == NODES_MAX {
            return Err(ZooKeeperError::Many);
        }
        let node = self.nodes.entry(path.to_owned()).or_default();
        node.round = self.round;
        let hash = Some(xxh64(data, 0));
        if node.hash == hash {
            return Ok(());
        }
        node.hash = hash;
        let member = (self.read)(data, path);
        let targets = member.map(|Member(labels)| labels.build()).transpose()?;
        let was_target = std::mem::replace(&mut node.is_target, targets.is_some());
        if was_target || targets.is_some() {
            work.groups.push(TargetGroup {
                source: path.to_owned(),
                targets: targets.into_iter().collect(),
                ..TargetGroup::default()
            });
        }
        Ok(())
    }

    fn take_children(&mut self, path: &str, names: Vec<String>, work: &mut Work) {
        // Gone in between; the event about it is on its way.
        let Some(node) = self.nodes.get_mut(path) else {
            return;
        };
        let children: BTreeSet<String> = names
            .into_iter()
            .map(|name| format!("{}/{name}", path.trim_end_matches('/')))
            .collect();
        let gone: Vec<String> = node.children.difference(&children).cloned().collect();
        node.children.clone_from(&children);
        for path in gone {
            self.forget(&path, work);
        }
        let is_known = |child: &String| self.nodes.get(child).is_some_and(|node| node.round == self.round);
        work.todo
            .extend(children.into_iter().filter(|child| !is_known(child)));
    }

    /// A node is gone, and all below it.
    fn forget(&mut self, path: &str, work: &mut Work) {
        let mut gone = vec![path.to_owned()];
        while let Some(path) = gone.pop() {
            let Some(node) = self.nodes.remove(&path) else {
                continue;
            };
            gone.extend(node.children);
            if node.is_target {
                work.groups.push(TargetGroup {
                    source: path,
                    ..TargetGroup::default()
                });
            }
        }
    }
}

/// What is to be done on a connection.
struct Work {
    /// Nodes to read.
    todo: VecDeque<String>,
    /// Not told yet.
    groups: Vec<TargetGroup>,
    /// When to read everything.
    read_all_at: Option<Instant>,
}

impl Default for Work {
    fn default() -> Self {
        Work {
            todo: VecDeque::new(),
            groups: Vec::new(),
            read_all_at: Some(Instant::now()),
        }
    }
}

impl Work {
    fn tell(&mut self, updates: &Updates) {
        if !self.groups.is_empty() {
            updates.send(std::mem::take(&mut self.groups));
        }
    }
}

/// Members as Twitter's serversets have them.
#[derive(Clone, Debug, PartialEq)]
pub struct Serverset;

answers! {
    #[serde(rename_all = "camelCase")]
    struct ServersetMember {
        service_endpoint: Endpoint,
        additional_endpoints: BTreeMap<String, Endpoint>,
        status: String,
        shard: i64,
    }
    struct Endpoint {
        host: String,
        port: i64,
    }
    struct NerveMember {
        host: String,
        port: i64,
        name: String,
    }
}

impl Members for Serverset {
    const KEY: &'static str = "serverset_sd_configs";
    const NAME: &'static str = "serverset";
    const HELP: &'static str = "members of serversets in ZooKeeper";

    fn read(data: &[u8], path: &str) -> Option<Member> {
        let member: ServersetMember = read_object(data).ok()?;
        let Endpoint { host, port } = &member.service_endpoint;
        let mut labels = MetaLabels::new("__meta_serverset_");
        labels
            .address(host, port)
            .meta("path", path)
            .meta("endpoint_host", host)
            .meta("endpoint_port", port)
            .meta("status", &member.status)
            .meta("shard", member.shard);
        for (name, endpoint) in &member.additional_endpoints {
            labels.meta_of("endpoint_host_", name, &endpoint.host).meta_of(
                "endpoint_port_",
                name,
                endpoint.port,
            );
        }
        Some(Member(labels))
    }
}

/// Members as AirBnB's Nerve has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Nerve;

impl Members for Nerve {
    const KEY: &'static str = "nerve_sd_configs";
    const NAME: &'static str = "nerve";
    const HELP: &'static str = "services that AirBnB's Nerve registers in ZooKeeper";

    fn read(data: &[u8], path: &str) -> Option<Member> {
        let member: NerveMember = read_object(data).ok()?;
        let mut labels = MetaLabels::new("__meta_nerve_");
        labels
            .address(&member.host, member.port)
            .meta("path", path)
            .meta("endpoint_host", &member.host)
            .meta("endpoint_port", member.port)
            .meta("endpoint_name", &member.name);
        Some(Member(labels))
    }
}

#[cfg(test)]
mod tests;
