//! `kubernetes_sd_configs`: nodes, pods, services, endpoints and ingresses of a Kubernetes cluster.
//!
//! * `config` reads the settings, `selector` checks selectors, `access` finds the API server, perhaps by a `kubeconfig`, with
//!   tokens of an `exec`.
//! * `api` asks it; `stream` and `list` read its answers, bounded and as they arrive; `objects` says what is kept of them.
//! * `reflector` keeps a copy of all objects of a kind by list and watch, `store` holds it, `hub` shares it between
//!   discoveries.
//! * `cluster` is the door for other rooms: objects that are read and written one at a time.
//! * `unit` is a role in a namespace: `links` says which of its objects a change touches, `joined` what labels are made of
//!   besides the object itself, and `labels` makes groups.

mod access;
mod api;
mod cluster;
mod config;
mod exec;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod hub;
mod joined;
mod kubeconfig;
mod labels;
mod links;
mod list;
mod objects;
mod reflector;
mod selector;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod unit;

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use metrics::{Counter, Family};
use tokio::sync::watch;
use yaml::{Section, YamlError};

use self::access::AccessError;
use self::api::Scope;
pub use self::cluster::{Cluster, ClusterAnswer};
pub use self::config::{AttachMetadata, KubernetesConfig, Namespaces, Role, Selector};
pub(crate) use self::hub::Hub;
use self::hub::Source;
use self::joined::Joined;
use self::reflector::Health;
use self::unit::{Primary, Unit};
use crate::Updates;
use crate::mechanism::Discovery;
use crate::metrics::Metrics;
use crate::prepare::{Context, PrepareError, Runner, Watch};

impl Discovery for KubernetesConfig {
    const KEY: &'static str = "kubernetes_sd_configs";
    const NAME: &'static str = "kubernetes";
    const HELP: &'static str = "nodes, pods, services, endpoints and ingresses of a Kubernetes cluster";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        KubernetesConfig::from_section(section)
    }

    fn resolve_paths(&mut self, folder: &Path) {
        self.resolve(folder);
    }

    // Compat: a kubeconfig file need not be there when a configuration is checked.
    fn files(&self) -> Vec<&Path> {
        self.http.files()
    }

    fn register(metrics: &Metrics) {
        KubernetesMetrics::new(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let unavailable = |error: AccessError| PrepareError::Unavailable(Box::new(error));
        let access = access::access(self, context).map_err(unavailable)?;
        let client = match context.client(&access.http) {
            // What the cluster or a kubeconfig file says is not a mistake in the settings.
            Err(PrepareError::Settings(error)) if self.api_server.is_empty() => {
                return Err(PrepareError::Unavailable(error.into()));
            }
            client => client?,
        };
        let mut namespaces = self.namespaces.names.clone();
        if self.namespaces.own_namespace {
            namespaces.push(access::own_namespace(context).map_err(unavailable)?);
        }
        // Nodes are in no namespace; where none is named, all count.
        if namespaces.is_empty() || self.role == Role::Node {
            namespaces = vec![String::new()];
        }
        // Compat: one that is named twice is looked at twice, and its events count twice; the watches are shared.
        let metrics = KubernetesMetrics::new(&context.metrics);
        let source = Source::new(&context.kubernetes, access, client, &metrics.failures, context);
        let units = namespaces
            .iter()
            .map(|namespace| Arc::new(self.unit(namespace, &source, &metrics.events)))
            .collect();
        let health = source.into_health();
        Ok(Runner::watch(KubernetesWatch { units, health }))
    }
}

impl KubernetesConfig {
    fn scope(&self, of: Role, namespace: &str) -> Scope {
        let selector = self.selectors.iter().find(|selector| selector.role == of);
        let text = |pick: fn(&Selector) -> &String| selector.map(pick).cloned().unwrap_or_default();
        Scope {
            namespace: namespace.to_owned(),
            label_selector: text(|selector| &selector.label),
            field_selector: text(|selector| &selector.field),
        }
    }

    /// What the role needs in one namespace; all if that is empty.
    fn unit(&self, namespace: &str, source: &Source<'_>, events: &Family<Counter>) -> Unit {
        let role = self.role;
        let scope = |of| self.scope(of, namespace);
        let is_of_endpoints = matches!(role, Role::Endpoints | Role::EndpointSlice);
        let has_pods = is_of_endpoints || role == Role::Pod;
        let attach = if has_pods {
            self.attach_metadata
        } else {
            // Compat: services and ingresses take their namespace's labels, nodes none.
            AttachMetadata {
                namespace: self.attach_metadata.namespace && role != Role::Node,
                ..AttachMetadata::default()
            }
        };
        // Not of one namespace only.
        let everywhere = Scope::default();
        let owners = Scope {
            namespace: namespace.to_owned(),
            ..Scope::default()
        };
        let joined = Joined {
            attach,
            nodes: (role == Role::Node || attach.node).then(|| source.get(&self.scope(Role::Node, ""))),
            namespaces: attach.namespace.then(|| source.get(&everywhere)),
            pods: has_pods.then(|| source.get(&scope(Role::Pod))),
            services: (is_of_endpoints || role == Role::Service).then(|| source.get(&scope(Role::Service))),
            replica_sets: attach.deployment.then(|| source.get(&owners)),
            jobs: (attach.job || attach.cron_job).then(|| source.get(&owners)),
        };
        let primary = match role {
            Role::Node => Primary::Node,
            Role::Pod => Primary::Pod,
            Role::Service => Primary::Service,
            Role::Endpoints => Primary::Endpoints(source.get(&scope(role))),
            Role::EndpointSlice => Primary::EndpointSlice(source.get(&scope(role))),
            Role::Ingress => Primary::Ingress(source.get(&scope(role))),
        };
        Unit::new(role, joined, primary, events.clone())
    }
}

struct KubernetesMetrics {
    events: Family<Counter>,
    failures: Counter,
}

impl KubernetesMetrics {
    fn new(metrics: &Metrics) -> Self {
        let registry = metrics.registry();
        let metrics = KubernetesMetrics {
            events: registry.counter_vec(
                "prometheus_sd_kubernetes_events_total",
                "The number of Kubernetes events handled.",
                &["role", "event"],
            ),
            failures: registry.counter(
                "prometheus_sd_kubernetes_failures_total",
                "The number of failed WATCH/LIST requests.",
            ),
        };
        for role in Role::ALL {
            for event in ["add", "delete", "update"] {
                metrics.events.with(&[role.name(), event]);
            }
        }
        metrics
    }
}

struct KubernetesWatch {
    units: Vec<Arc<Unit>>,
    /// Of the copies that the units look at, which others may look at as well.
    health: Vec<watch::Receiver<Health>>,
}

impl Watch for KubernetesWatch {
    fn run<'w>(&'w mut self, updates: &'w Updates) -> BoxFuture<'w, ()> {
        let units = self.units.iter().map(|unit| unit.clone().run(updates));
        let all: FuturesUnordered<_> = units.collect();
        let health = tell_health(&mut self.health, updates);
        futures_util::future::join(all.collect::<()>(), health)
            .map(drop)
            .boxed()
    }
}

/// Tells whether any of the copies cannot be kept up to date; the log has it already.
async fn tell_health(health: &mut [watch::Receiver<Health>], updates: &Updates) {
    loop {
        let trouble = health.iter_mut().find_map(|one| one.borrow_and_update().clone());
        match trouble {
            Some(error) => updates.trouble(&error),
            None => updates.trouble_ends(),
        }
        let changes: FuturesUnordered<_> = health.iter_mut().map(watch::Receiver::changed).collect();
        // A copy lives as long as its unit: they end together.
        let (change, _) = changes.into_future().await;
        if !matches!(change, Some(Ok(()))) {
            return;
        }
    }
}
