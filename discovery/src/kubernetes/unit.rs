//! One role in one namespace: which objects it needs, what a change of one of them touches, and the groups made of them.
//!
//! A change only marks what depends on it, by an index (node → pods, pod → endpoints); a task of its own looks at what
//! is marked, however many changes came meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{Counter, Family};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::config::{AttachMetadata, Role};
use super::labels;
use super::objects::{
    EndpointSlice, Endpoints, Ingress, Job, Meta, Namespace, Node, Object, Pod, ReplicaSet, Service,
    TargetRef,
};
use super::reflector::{Listener, Reflector};
use crate::prepare::DiscoveryError;
use crate::{TargetGroup, Updates};

/// Groups that are reported together.
const BATCH: usize = 500;

/// The objects that labels are made of. What a role does not need is not there.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) attach: AttachMetadata,
    pub(super) nodes: Option<Arc<Reflector<Node>>>,
    pub(super) namespaces: Option<Arc<Reflector<Namespace>>>,
    pub(super) pods: Option<Arc<Reflector<Pod>>>,
    pub(super) services: Option<Arc<Reflector<Service>>>,
    pub(super) replica_sets: Option<Arc<Reflector<ReplicaSet>>>,
    pub(super) jobs: Option<Arc<Reflector<Job>>>,
}

fn look<T: Object>(from: Option<&Arc<Reflector<T>>>, key: &str) -> Option<Arc<T>> {
    from?.get(key)
}

/// The name of an object's controller, if it is of this kind.
fn controller(meta: &Meta, kind: &str) -> Option<String> {
    let owner = meta.controller.as_deref().filter(|owner| &*owner.kind == kind)?;
    Some(owner.name.to_string())
}

impl Joined {
    pub(super) fn node(&self, name: &str) -> Option<Arc<Node>> {
        look(self.nodes.as_ref(), name).filter(|_| self.attach.node)
    }

    pub(super) fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        look(self.namespaces.as_ref(), name)
    }

    pub(super) fn pod(&self, key: &str) -> Option<Arc<Pod>> {
        look(self.pods.as_ref(), key)
    }

    pub(super) fn service(&self, key: &str) -> Option<Arc<Service>> {
        look(self.services.as_ref(), key)
    }

    /// The name of the Deployment that a ReplicaSet belongs to.
    pub(super) fn deployment_of(&self, replica_set: &str) -> Option<String> {
        let found = look(self.replica_sets.as_ref(), replica_set)?;
        controller(&found.metadata, "Deployment")
    }

    /// The name of the CronJob that a Job belongs to.
    pub(super) fn cron_job_of(&self, job: &str) -> Option<String> {
        let found = look(self.jobs.as_ref(), job).filter(|_| self.attach.cron_job)?;
        controller(&found.metadata, "CronJob")
    }

    /// Starts all watches, and tells `unit` of what they see.
    fn subscribe(&self, unit: &Arc<Unit>) {
        fn one<T: Object>(reflector: Option<&Arc<Reflector<T>>>, unit: &Arc<Unit>)
        where
            Unit: Listener<T>,
        {
            if let Some(reflector) = reflector {
                reflector.subscribe(unit);
                reflector.start();
            }
        }
        one(self.nodes.as_ref(), unit);
        one(self.namespaces.as_ref(), unit);
        one(self.pods.as_ref(), unit);
        one(self.services.as_ref(), unit);
        one(self.replica_sets.as_ref(), unit);
        one(self.jobs.as_ref(), unit);
    }

    /// Whether all is known that labels are made of.
    fn is_ready(&self, role: Role) -> bool {
        let all = [
            complete(self.nodes.as_ref()),
            complete(self.namespaces.as_ref()),
            complete(self.pods.as_ref()),
            complete(self.services.as_ref()),
        ];
        // Compat: endpoints do not wait for what they may have to do without. The reference does not wait at all, so
        // that chance says which names are there; here a failure does.
        let owners = match role {
            Role::Pod => [complete(self.replica_sets.as_ref()), complete(self.jobs.as_ref())],
            _ => [settled(self.replica_sets.as_ref()), settled(self.jobs.as_ref())],
        };
        all.into_iter().chain(owners).all(|is_ready| is_ready)
    }
}

fn complete<T: Object>(reflector: Option<&Arc<Reflector<T>>>) -> bool {
    reflector.is_none_or(|reflector| reflector.is_complete())
}

fn settled<T: Object>(reflector: Option<&Arc<Reflector<T>>>) -> bool {
    reflector.is_none_or(|reflector| reflector.is_settled())
}

/// The objects that groups are made of: one each.
#[derive(Debug)]
pub(super) enum Primary {
    Node,
    Pod,
    Service,
    Endpoints(Arc<Reflector<Endpoints>>),
    EndpointSlice(Arc<Reflector<EndpointSlice>>),
    Ingress(Arc<Reflector<Ingress>>),
}

/// What an object may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Node,
    Namespace,
    Pod,
    Service,
    Owner,
}

/// How many there are.
const LINKS: usize = 5;

/// A role in a namespace.
#[derive(Debug)]
pub(super) struct Unit {
    role: Role,
    joined: Joined,
    primary: Primary,
    events: Family<Counter>,
    is_subscribed: AtomicBool,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Objects whose groups must be looked at.
    marked: HashSet<Arc<str>>,
    /// Which objects depend on a thing of some name.
    links: [HashMap<Box<str>, HashSet<Arc<str>>>; LINKS],
}

impl State {
    fn link(&mut self, link: Link, name: &str, key: &Arc<str>) {
        let dependants = match self.links[link as usize].get_mut(name) {
            Some(dependants) => dependants,
            None => self.links[link as usize].entry(name.into()).or_default(),
        };
        dependants.insert(key.clone());
    }

    fn unlink(&mut self, link: Link, name: &str, key: &str) {
        let links = &mut self.links[link as usize];
        if let Some(dependants) = links.get_mut(name) {
            dependants.remove(key);
            if dependants.is_empty() {
                links.remove(name);
            }
        }
    }
}

impl Unit {
    pub(super) fn new(role: Role, joined: Joined, primary: Primary, events: Family<Counter>) -> Self {
        Unit {
            role,
            joined,
            primary,
            events,
            is_subscribed: AtomicBool::new(false),
            state: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Reports groups until it is dropped. Called again after a panic, it goes on.
    pub(super) async fn run(self: Arc<Self>, updates: &Updates) {
        if !self.is_subscribed.swap(true, Ordering::Relaxed) {
            // What joins first: the index of what depends on it is then made once.
            self.joined.subscribe(&self);
            match &self.primary {
                Primary::Node | Primary::Pod | Primary::Service => {}
                Primary::Endpoints(reflector) => {
                    reflector.subscribe(&self);
                    reflector.start();
                }
                Primary::EndpointSlice(reflector) => {
                    reflector.subscribe(&self);
                    reflector.start();
                }
                Primary::Ingress(reflector) => {
                    reflector.subscribe(&self);
                    reflector.start();
                }
            }
        }
        loop {
            if self.is_ready() {
                self.look_at_marked(updates).await;
            }
            self.wake.notified().await;
        }
    }

    fn is_ready(&self) -> bool {
        let is_complete = match &self.primary {
            Primary::Node | Primary::Pod | Primary::Service => true,
            Primary::Endpoints(reflector) => reflector.is_complete(),
            Primary::EndpointSlice(reflector) => reflector.is_complete(),
            Primary::Ingress(reflector) => reflector.is_complete(),
        };
        is_complete && self.joined.is_ready(self.role)
    }

    async fn look_at_marked(&self, updates: &Updates) {
        loop {
            let batch: Vec<Arc<str>> = {
                let mut state = self.state.lock();
                if state.marked.len() <= BATCH {
                    std::mem::take(&mut state.marked).into_iter().collect()
                } else {
                    let some: Vec<Arc<str>> = state.marked.iter().take(BATCH).cloned().collect();
                    for key in &some {
                        state.marked.remove(key);
                    }
                    some
                }
            };
            if batch.is_empty() {
                return;
            }
            let mut groups = Vec::with_capacity(batch.len());
            for key in batch {
                match self.group(&key) {
                    Some(Ok(group)) => groups.push(group),
                    Some(Err(error)) => updates.failed(&error),
                    None => {}
                }
            }
            updates.send(groups);
            tokio::task::yield_now().await;
        }
    }

    /// The group of an object; without targets where there is no such object any more. `None` leaves the group that is
    /// known as it is.
    fn group(&self, key: &str) -> Option<Result<TargetGroup, DiscoveryError>> {
        let joined = &self.joined;
        let source = format!("{}/{key}", self.role.source());
        let gone = TargetGroup {
            source: source.clone(),
            ..TargetGroup::default()
        };
        let made = match &self.primary {
            Primary::Node => match look(joined.nodes.as_ref(), key) {
                None => None,
                Some(node) => {
                    let group = labels::of_node(source, &node);
                    if group.is_none() {
                        // Compat: the last targets stay (case `node-watch`).
                        tracing::warn!(discovery = "kubernetes", node = key, "No node address found");
                        return None;
                    }
                    group
                }
            },
            Primary::Pod => joined.pod(key).map(|pod| labels::of_pod(source, &pod, joined)),
            Primary::Service => joined
                .service(key)
                .map(|service| labels::of_service(source, &service, joined)),
            Primary::Endpoints(all) => all
                .get(key)
                .map(|endpoints| labels::of_endpoints(source, &endpoints, joined)),
            Primary::EndpointSlice(all) => all.get(key).map(|slice| labels::of_slice(source, &slice, joined)),
            Primary::Ingress(all) => all
                .get(key)
                .map(|ingress| labels::of_ingress(source, &ingress, joined)),
        };
        Some(made.unwrap_or(Ok(gone)))
    }

    fn count<T>(&self, role: Role, old: Option<&T>, new: Option<&T>) {
        let event = match (old, new) {
            (None, _) => "add",
            (Some(_), Some(_)) => "update",
            (Some(_), None) => "delete",
        };
        self.events.with(&[role.name(), event]).inc();
    }

    /// An object that a group is made of has changed.
    fn primary_changed<T: Linked>(&self, key: &Arc<str>, old: Option<&T>, new: Option<&T>) {
        self.count(self.role, old, new);
        let mut state = self.state.lock();
        let attach = self.joined.attach;
        if let Some(old) = old {
            old.links(attach, &mut |link, name| state.unlink(link, name, key));
        }
        if let Some(new) = new {
            new.links(attach, &mut |link, name| state.link(link, name, key));
        }
        state.marked.insert(key.clone());
        drop(state);
        self.wake.notify_one();
    }

    /// Something has changed that objects depend on.
    fn mark(&self, link: Link, name: &str) {
        let mut state = self.state.lock();
        let State { marked, links } = &mut *state;
        if let Some(dependants) = links[link as usize].get(name) {
            marked.extend(dependants.iter().cloned());
            drop(state);
            self.wake.notify_one();
        }
    }

    fn is_of_endpoints(&self) -> bool {
        matches!(self.role, Role::Endpoints | Role::EndpointSlice)
    }
}

/// An object that groups are made of, and what it depends on.
trait Linked {
    fn links(&self, attach: AttachMetadata, each: &mut dyn FnMut(Link, &str));
}

impl Linked for Node {
    fn links(&self, _: AttachMetadata, _: &mut dyn FnMut(Link, &str)) {}
}

fn link_namespace(meta: &Meta, attach: AttachMetadata, each: &mut dyn FnMut(Link, &str)) {
    if attach.namespace {
        each(Link::Namespace, &meta.namespace);
    }
}

/// The node behind an address: its pod's, or itself.
fn link_node(reference: Option<&TargetRef>, node: Option<&str>, each: &mut dyn FnMut(Link, &str)) {
    match reference {
        Some(reference) if &*reference.kind == "Node" => each(Link::Node, &reference.name),
        Some(reference) if &*reference.kind == "Pod" => {
            if let Some(node) = node {
                each(Link::Node, node);
            }
        }
        _ => {}
    }
}

impl Linked for Pod {
    fn links(&self, attach: AttachMetadata, each: &mut dyn FnMut(Link, &str)) {
        link_namespace(&self.metadata, attach, each);
        if attach.node {
            each(Link::Node, &self.spec.node_name);
        }
        let owner = match self.metadata.controller.as_deref() {
            Some(owner) if attach.deployment && &*owner.kind == "ReplicaSet" => owner,
            Some(owner) if (attach.job || attach.cron_job) && &*owner.kind == "Job" => owner,
            _ => return,
        };
        each(
            Link::Owner,
            &owned_by(&owner.kind, &self.metadata.namespace, &owner.name),
        );
    }
}

/// What an owner is known as in the index.
fn owned_by(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

impl Linked for Service {
    fn links(&self, attach: AttachMetadata, each: &mut dyn FnMut(Link, &str)) {
        link_namespace(&self.metadata, attach, each);
    }
}

impl Linked for Ingress {
    fn links(&self, attach: AttachMetadata, each: &mut dyn FnMut(Link, &str)) {
        link_namespace(&self.metadata, attach, each);
    }
}

impl Linked for Endpoints {
    fn links(&self, attach: AttachMetadata, each: &mut dyn FnMut(Link, &str)) {
        link_namespace(&self.metadata, attach, each);
        each(Link::Service, &self.metadata.key());
        // Compat: addresses that are not ready are not looked at again for their pod's or node's sake.
        for address in self.subsets.iter().flat_map(|subset| &subset.addresses) {
            let reference = address.target_ref.as_deref();
            if let Some(pod) = reference.filter(|reference| &*reference.kind == "Pod") {
                each(Link::Pod, &format!("{}/{}", pod.namespace, pod.name));
            }
            if attach.node {
                link_node(reference, address.node_name.as_deref(), each);
            }
        }
    }
}

impl Linked for EndpointSlice {
    fn links(&self, attach: AttachMetadata, each: &mut dyn FnMut(Link, &str)) {
        let meta = &self.metadata;
        if attach.namespace || attach.has_owners() {
            each(Link::Namespace, &meta.namespace);
        }
        if let Some(service) = meta.labels.get(labels::SERVICE_NAME) {
            each(Link::Service, &format!("{}/{service}", meta.namespace));
        }
        if attach.node {
            for endpoint in &self.endpoints {
                link_node(
                    endpoint.target_ref.as_deref(),
                    endpoint.node_name.as_deref(),
                    each,
                );
            }
        }
    }
}

impl Listener<Node> for Unit {
    fn changed(&self, key: &Arc<str>, old: Option<&Node>, new: Option<&Node>) {
        match &self.primary {
            Primary::Node => self.primary_changed(key, old, new),
            // A node says every few seconds that it is alive. Pods are looked at with each change of their own, so that
            // only what differs can make a difference; endpoints may be behind (see `Listener<Pod>`).
            Primary::Pod if old == new => {}
            _ => self.mark(Link::Node, key),
        }
    }

    fn settled(&self) {
        self.wake.notify_one();
    }
}

impl Listener<Namespace> for Unit {
    fn changed(&self, key: &Arc<str>, old: Option<&Namespace>, new: Option<&Namespace>) {
        // Compat: one that comes or goes makes its objects come or go.
        if old.is_some() && new.is_some() {
            self.mark(Link::Namespace, key);
        }
    }

    fn settled(&self) {
        self.wake.notify_one();
    }
}

impl Listener<Pod> for Unit {
    fn changed(&self, key: &Arc<str>, old: Option<&Pod>, new: Option<&Pod>) {
        match &self.primary {
            Primary::Pod => self.primary_changed(key, old, new),
            // Compat: of a pod, endpoints look at its phase only, and slices at nothing, until something else makes them
            // look (cases `endpoints-watch`, `endpointslice-watch`).
            Primary::Endpoints(_) => {
                if let (Some(old), Some(new)) = (old, new) {
                    self.count(Role::Pod, Some(old), Some(new));
                    if old.status.phase != new.status.phase {
                        self.mark(Link::Pod, key);
                    }
                }
            }
            _ => {}
        }
    }

    fn settled(&self) {
        self.wake.notify_one();
    }
}

impl Listener<Service> for Unit {
    fn changed(&self, key: &Arc<str>, old: Option<&Service>, new: Option<&Service>) {
        if self.is_of_endpoints() {
            self.count(Role::Service, old, new);
            self.mark(Link::Service, key);
        } else {
            self.primary_changed(key, old, new);
        }
    }

    fn settled(&self) {
        self.wake.notify_one();
    }
}

impl Listener<Endpoints> for Unit {
    fn changed(&self, key: &Arc<str>, old: Option<&Endpoints>, new: Option<&Endpoints>) {
        self.primary_changed(key, old, new);
        let capacity = |endpoints: Option<&Endpoints>| {
            let value = endpoints?
                .metadata
                .labels
                .get("endpoints.kubernetes.io/over-capacity")?;
            matches!(value, "truncated" | "warning").then(|| value.to_owned())
        };
        if let Some(capacity) = capacity(new).filter(|now| capacity(old).as_ref() != Some(now)) {
            tracing::warn!(
                discovery = "kubernetes",
                endpoints = &**key,
                capacity,
                "Endpoints with more than 1000 addresses are cut by the API server; use \"role: endpointslice\" instead"
            );
        }
    }

    fn settled(&self) {
        self.wake.notify_one();
    }
}

impl Listener<EndpointSlice> for Unit {
    fn changed(&self, key: &Arc<str>, old: Option<&EndpointSlice>, new: Option<&EndpointSlice>) {
        self.primary_changed(key, old, new);
    }

    fn settled(&self) {
        self.wake.notify_one();
    }
}

impl Listener<Ingress> for Unit {
    fn changed(&self, key: &Arc<str>, old: Option<&Ingress>, new: Option<&Ingress>) {
        self.primary_changed(key, old, new);
    }

    fn settled(&self) {
        self.wake.notify_one();
    }
}

/// Of what owns pods, pods hear; endpoints look when they look at a pod (case `endpoints-attach-watch`).
impl Listener<ReplicaSet> for Unit {
    fn changed(&self, key: &Arc<str>, old: Option<&ReplicaSet>, new: Option<&ReplicaSet>) {
        if old != new {
            self.mark(Link::Owner, &format!("ReplicaSet/{key}"));
        }
    }

    fn settled(&self) {
        self.owners_settled();
    }
}

impl Listener<Job> for Unit {
    fn changed(&self, key: &Arc<str>, old: Option<&Job>, new: Option<&Job>) {
        if old != new {
            self.mark(Link::Owner, &format!("Job/{key}"));
        }
    }

    fn settled(&self) {
        self.owners_settled();
    }
}

impl Unit {
    /// Endpoints that did not wait for owners are looked at again when these are there.
    fn owners_settled(&self) {
        let mut state = self.state.lock();
        let State { marked, links } = &mut *state;
        if self.is_of_endpoints() {
            for dependants in links.iter().flat_map(HashMap::values) {
                marked.extend(dependants.iter().cloned());
            }
        }
        drop(state);
        self.wake.notify_one();
    }
}
