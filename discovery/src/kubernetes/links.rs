//! What objects depend on: an index from a node, a pod, a service to the objects whose groups it touches, so that a change
//! costs what depends on it and no search.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::config::AttachMetadata;
use super::labels;
use super::objects::{EndpointSlice, Endpoints, Ingress, Meta, Node, Pod, Service, TargetRef};

/// What an object may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Node,
    Namespace,
    Pod,
    Service,
    Owner,
}

/// How many there are.
const LINKS: usize = 5;

/// Which objects depend on a thing of some name.
#[derive(Debug, Default)]
pub(super) struct Links([HashMap<Box<str>, HashSet<Arc<str>>>; LINKS]);

impl Links {
    /// What an object depends on has changed: from that of `old` to that of `new`.
    pub(super) fn change<T: Linked>(
        &mut self,
        key: &Arc<str>,
        old: Option<&T>,
        new: Option<&T>,
        attach: AttachMetadata,
    ) {
        if let Some(old) = old {
            old.links(attach, &mut |link, name| self.remove(link, name, key));
        }
        if let Some(new) = new {
            new.links(attach, &mut |link, name| self.add(link, name, key));
        }
    }

    /// The objects that depend on a thing.
    pub(super) fn of(&self, link: Link, name: &str) -> impl Iterator<Item = &Arc<str>> {
        self.0[link as usize].get(name).into_iter().flatten()
    }

    /// All objects that depend on anything.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().flat_map(HashMap::values).flatten()
    }

    fn add(&mut self, link: Link, name: &str, key: &Arc<str>) {
        let links = &mut self.0[link as usize];
        let dependants = match links.get_mut(name) {
            Some(dependants) => dependants,
            None => links.entry(name.into()).or_default(),
        };
        dependants.insert(key.clone());
    }

    fn remove(&mut self, link: Link, name: &str, key: &str) {
        let links = &mut self.0[link as usize];
        if let Some(dependants) = links.get_mut(name) {
            dependants.remove(key);
            if dependants.is_empty() {
                links.remove(name);
            }
        }
    }
}

/// An object that groups are made of, and what it depends on.
pub(super) trait Linked {
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
        // Compat: addresses that are not ready are not looked at again for their pod's or node's sake
        // (`a_change_finds_what_depends_on_it_and_nothing_is_left_when_it_does_no_more`).
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

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(subsets: serde_json::Value) -> Endpoints {
        let object = serde_json::json!({"metadata": {"name": "e", "namespace": "n"}, "subsets": subsets});
        serde_json::from_value(object).expect("endpoints")
    }

    #[test]
    fn a_change_finds_what_depends_on_it_and_nothing_is_left_when_it_does_no_more() {
        let attach = AttachMetadata {
            node: true,
            ..AttachMetadata::default()
        };
        let address = |pod: &str, node: &str| serde_json::json!({"ip": "192.0.2.1", "nodeName": node, "targetRef": {"kind": "Pod", "namespace": "n", "name": pod}});
        let old = endpoints(serde_json::json!([
            {"addresses": [address("a", "x"), address("b", "x")], "notReadyAddresses": [address("c", "y")]},
        ]));
        let new = endpoints(serde_json::json!([{"addresses": [address("b", "z")]}]));
        let key: Arc<str> = Arc::from("n/e");
        let mut links = Links::default();
        let found = |links: &Links, link, name| links.of(link, name).count();
        links.change(&key, None, Some(&old), attach);
        assert_eq!(
            (found(&links, Link::Pod, "n/a"), found(&links, Link::Pod, "n/b")),
            (1, 1)
        );
        assert_eq!(
            (found(&links, Link::Node, "x"), found(&links, Link::Node, "y")),
            (1, 0)
        );
        assert_eq!(
            (
                found(&links, Link::Service, "n/e"),
                found(&links, Link::Pod, "n/c")
            ),
            (1, 0)
        );
        links.change(&key, Some(&old), Some(&new), attach);
        assert_eq!(
            (found(&links, Link::Pod, "n/a"), found(&links, Link::Pod, "n/b")),
            (0, 1)
        );
        assert_eq!(
            (found(&links, Link::Node, "x"), found(&links, Link::Node, "z")),
            (0, 1)
        );
        links.change(&key, Some(&new), None, attach);
        assert!(links.0.iter().all(HashMap::is_empty));
    }
}
