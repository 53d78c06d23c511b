//! One role in one namespace: which objects it needs, what a change of one of them touches, and the groups made of them.
//!
//! A change only marks what depends on it, by an index (node → pods, pod → endpoints); a task of its own looks at what
//! is marked, however many changes came meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{Counter, Family};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::config::Role;
use super::joined::{Joined, look};
use super::labels;
use super::links::{Link, Linked, Links};
use super::objects::{
    EndpointSlice, Endpoints, Ingress, Job, Namespace, Node, Object, Pod, ReplicaSet, Service,
};
use super::reflector::Reflector;
use super::store::Listener;
use crate::prepare::DiscoveryError;
use crate::{TargetGroup, Updates};

/// Groups that are reported together.
const BATCH: usize = 500;

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
    /// Which objects depend on what.
    links: Links,
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
            let joined = &self.joined;
            follow(joined.nodes.as_ref(), &self);
            follow(joined.namespaces.as_ref(), &self);
            follow(joined.pods.as_ref(), &self);
            follow(joined.services.as_ref(), &self);
            follow(joined.replica_sets.as_ref(), &self);
            follow(joined.jobs.as_ref(), &self);
            match &self.primary {
                Primary::Node | Primary::Pod | Primary::Service => {}
                Primary::Endpoints(reflector) => follow(Some(reflector), &self),
                Primary::EndpointSlice(reflector) => follow(Some(reflector), &self),
                Primary::Ingress(reflector) => follow(Some(reflector), &self),
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
            Primary::Endpoints(reflector) => reflector.store().is_complete(),
            Primary::EndpointSlice(reflector) => reflector.store().is_complete(),
            Primary::Ingress(reflector) => reflector.store().is_complete(),
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
            Primary::Endpoints(all) => {
                look(Some(all), key).map(|endpoints| labels::of_endpoints(source, &endpoints, joined))
            }
            Primary::EndpointSlice(all) => {
                look(Some(all), key).map(|slice| labels::of_slice(source, &slice, joined))
            }
            Primary::Ingress(all) => {
                look(Some(all), key).map(|ingress| labels::of_ingress(source, &ingress, joined))
            }
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
        state.links.change(key, old, new, self.joined.attach);
        state.marked.insert(key.clone());
        drop(state);
        self.wake.notify_one();
    }

    /// Something has changed that objects depend on.
    fn mark(&self, link: Link, name: &str) {
        let mut state = self.state.lock();
        let State { marked, links } = &mut *state;
        let before = marked.len();
        marked.extend(links.of(link, name).cloned());
        if marked.len() > before {
            drop(state);
            self.wake.notify_one();
        }
    }

    fn is_of_endpoints(&self) -> bool {
        matches!(self.role, Role::Endpoints | Role::EndpointSlice)
    }
}

/// Has `unit` told of what a watch sees, and starts it.
fn follow<T: Object>(reflector: Option<&Arc<Reflector<T>>>, unit: &Arc<Unit>)
where
    Unit: Listener<T>,
{
    if let Some(reflector) = reflector {
        reflector.store().subscribe(unit);
        reflector.start();
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
            marked.extend(links.all().cloned());
        }
        drop(state);
        self.wake.notify_one();
    }
}
