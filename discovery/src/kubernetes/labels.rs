//! From objects to target groups.

use std::collections::HashMap;

use super::joined::Joined;
use super::objects::{
    Container, ContainerPort, Endpoint, EndpointAddress, EndpointPort, EndpointSlice, Endpoints, Ingress,
    Meta, Node, Pairs, Pod, Service, SlicePort, TargetRef,
};
use crate::TargetGroup;
use crate::meta::{ADDRESS, MetaLabels, host_port};
use crate::prepare::DiscoveryError;

const PREFIX: &str = "__meta_kubernetes_";
const NAMESPACE: &str = "namespace";
/// The label by which a slice names its service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

type Group = Result<TargetGroup, DiscoveryError>;

fn group(source: String, labels: &MetaLabels, targets: &[MetaLabels]) -> Group {
    Ok(TargetGroup {
        source,
        targets: targets.iter().map(MetaLabels::build).collect::<Result<_, _>>()?,
        labels: labels.build()?,
    })
}

/// A port as Go's unsigned conversion writes it.
fn unsigned(port: i32) -> u64 {
    i64::from(port).cast_unsigned()
}

/// Each pair, and that it is there: a label's value may be empty.
fn set_pairs(labels: &mut MetaLabels, resource: &str, kind: &str, pairs: &Pairs) {
    let (value_of, present) = (
        format!("{resource}_{kind}_"),
        format!("{resource}_{kind}present_"),
    );
    for (name, value) in &pairs.0 {
        labels
            .meta_of(&value_of, name, value)
            .meta_of(&present, name, "true");
    }
}

fn set_labels_and_annotations(labels: &mut MetaLabels, meta: &Meta, resource: &str) {
    set_pairs(labels, resource, "label", &meta.labels);
    set_pairs(labels, resource, "annotation", &meta.annotations);
}

/// Name, labels and annotations.
fn set_meta(labels: &mut MetaLabels, meta: &Meta, resource: &str) {
    labels.meta(&format!("{resource}_name"), &meta.name);
    set_labels_and_annotations(labels, meta, resource);
}

fn set_node(labels: &mut MetaLabels, joined: &Joined, name: &str) {
    if let Some(node) = joined.node(name) {
        set_meta(labels, &node.metadata, "node");
    }
}

fn set_namespace(labels: &mut MetaLabels, joined: &Joined, name: &str) {
    if let Some(namespace) = joined.namespace(name) {
        set_labels_and_annotations(labels, &namespace.metadata, "namespace");
    }
}

/// Types of addresses of nodes, the best one first.
const NODE_ADDRESSES: [&str; 6] = [
    "InternalIP",
    "InternalDNS",
    "ExternalIP",
    "ExternalDNS",
    "LegacyHostIP",
    "Hostname",
];

/// A node; `None` where it has no address.
pub(super) fn of_node(source: String, node: &Node) -> Option<Group> {
    let mut labels = MetaLabels::new(PREFIX);
    labels.meta("node_provider_id", &node.spec.provider_id);
    for condition in &node.status.conditions {
        let kind = condition.kind.to_lowercase();
        labels.meta_of("node_condition_", &kind, condition.status.to_lowercase());
    }
    set_meta(&mut labels, &node.metadata, "node");
    let addresses = &node.status.addresses;
    let best = NODE_ADDRESSES
        .iter()
        .find_map(|kind| addresses.iter().find(|address| &*address.kind == *kind))?;
    let mut target = MetaLabels::new(PREFIX);
    target
        .address(&best.address, node.status.daemon_endpoints.kubelet_endpoint.port)
        .set("instance", &node.metadata.name);
    // The first one of each type counts.
    for address in addresses.iter().rev() {
        target.meta_of("node_address_", &address.kind, &address.address);
    }
    Some(group(source, &labels, &[target]))
}

fn pod_labels(pod: &Pod, joined: &Joined) -> MetaLabels {
    let mut labels = MetaLabels::new(PREFIX);
    labels
        .meta("pod_ip", &pod.status.pod_ip)
        .meta("pod_ready", &pod.status.ready.0)
        .meta("pod_phase", &pod.status.phase)
        .meta("pod_node_name", &pod.spec.node_name)
        .meta("pod_host_ip", &pod.status.host_ip)
        .meta("pod_uid", &pod.metadata.uid);
    set_meta(&mut labels, &pod.metadata, "pod");
    let Some(owner) = &pod.metadata.controller else {
        return labels;
    };
    labels
        .meta("pod_controller_kind", &owner.kind)
        .meta("pod_controller_name", &owner.name);
    let key = || format!("{}/{}", pod.metadata.namespace, owner.name);
    match &*owner.kind {
        "ReplicaSet" => {
            if let Some(name) = joined.deployment_of(&key()) {
                labels.meta("pod_deployment_name", &name);
            }
        }
        "Job" => {
            if joined.attach.job {
                labels.meta("pod_job_name", &owner.name);
            }
            if let Some(name) = joined.cron_job_of(&key()) {
                labels.meta("pod_cronjob_name", &name);
            }
        }
        _ => {}
    }
    labels
}

fn set_container(target: &mut MetaLabels, container: &Container, is_init: bool) {
    target
        .meta("pod_container_name", &container.name)
        .meta("pod_container_image", &container.image)
        .meta("pod_container_init", if is_init { "true" } else { "false" });
}

fn set_container_port(target: &mut MetaLabels, port: &ContainerPort, protocol: &str) {
    target
        .meta("pod_container_port_name", &port.name)
        .meta("pod_container_port_number", unsigned(port.container_port))
        .meta("pod_container_port_protocol", protocol);
}

/// A target for each port of each container, and one for each container without ports.
pub(super) fn of_pod(source: String, pod: &Pod, joined: &Joined) -> Group {
    let is_hidden = joined.attach.node && joined.node(&pod.spec.node_name).is_none();
    if pod.status.pod_ip.is_empty() || is_hidden {
        return Ok(TargetGroup {
            source,
            ..TargetGroup::default()
        });
    }
    let mut labels = pod_labels(pod, joined);
    labels.meta(NAMESPACE, &pod.metadata.namespace);
    set_node(&mut labels, joined, &pod.spec.node_name);
    set_namespace(&mut labels, joined, &pod.metadata.namespace);
    let mut targets = Vec::new();
    for (container, is_init) in pod.containers() {
        let statuses = if is_init {
            &pod.status.init_container_statuses
        } else {
            &pod.status.container_statuses
        };
        let status = statuses.iter().find(|status| status.name == container.name);
        let mut target = MetaLabels::new(PREFIX);
        set_container(&mut target, container, is_init);
        target.meta(
            "pod_container_id",
            status.map_or("", |status| &*status.container_id),
        );
        if container.ports.is_empty() {
            target.set(ADDRESS, &pod.status.pod_ip);
            targets.push(target);
            continue;
        }
        for port in &container.ports {
            let mut target = target.clone();
            target.address(&pod.status.pod_ip, unsigned(port.container_port));
            set_container_port(&mut target, port, &port.protocol);
            targets.push(target);
        }
    }
    group(source, &labels, &targets)
}

fn service_labels(labels: &mut MetaLabels, service: &Service) {
    labels.meta(NAMESPACE, &service.metadata.namespace);
    set_meta(labels, &service.metadata, "service");
}

/// A target for each port of a service.
pub(super) fn of_service(source: String, service: &Service, joined: &Joined) -> Group {
    let (meta, spec) = (&service.metadata, &service.spec);
    let mut labels = MetaLabels::new(PREFIX);
    service_labels(&mut labels, service);
    set_namespace(&mut labels, joined, &meta.namespace);
    let host = format!("{}.{}.svc", meta.name, meta.namespace);
    let targets: Vec<MetaLabels> = spec
        .ports
        .iter()
        .map(|port| {
            let mut target = MetaLabels::new(PREFIX);
            target
                .address(&host, port.port)
                .meta("service_port_name", &port.name)
                .meta("service_port_number", port.port)
                .meta("service_port_protocol", &port.protocol)
                .meta("service_type", &spec.kind);
            if &*spec.kind == "ExternalName" {
                target.meta("service_external_name", &spec.external_name);
            } else {
                target.meta("service_cluster_ip", &spec.cluster_ip);
            }
            if &*spec.kind == "LoadBalancer" {
                target.meta("service_loadbalancer_ip", load_balancer_ips(service));
            }
            target
        })
        .collect();
    group(source, &labels, &targets)
}

fn load_balancer_ips(service: &Service) -> String {
    let given = service
        .status
        .load_balancer
        .ingress
        .iter()
        .map(|ingress| &*ingress.ip);
    let given: Vec<&str> = given.filter(|ip| !ip.is_empty()).collect();
    if given.is_empty() {
        service.spec.load_balancer_ip.to_string()
    } else {
        given.join(",")
    }
}

/// A target for each path of an ingress.
pub(super) fn of_ingress(source: String, ingress: &Ingress, joined: &Joined) -> Group {
    let mut labels = MetaLabels::new(PREFIX);
    labels.meta(NAMESPACE, &ingress.metadata.namespace).meta(
        "ingress_class_name",
        ingress.spec.ingress_class_name.as_deref().unwrap_or(""),
    );
    set_meta(&mut labels, &ingress.metadata, "ingress");
    set_namespace(&mut labels, joined, &ingress.metadata.namespace);
    let mut targets = Vec::new();
    for rule in &ingress.spec.rules {
        let mut hosts = ingress.spec.tls.iter().flat_map(|tls| &tls.hosts);
        let scheme = if hosts.any(|pattern| covers(pattern, &rule.host)) {
            "https"
        } else {
            "http"
        };
        let paths = match &rule.http {
            None => vec!["/"],
            Some(http) => http.paths.iter().map(|path| &*path.path).collect(),
        };
        targets.extend(paths.into_iter().map(|path| {
            let mut target = MetaLabels::new(PREFIX);
            target
                .set(ADDRESS, &rule.host)
                .meta("ingress_scheme", scheme)
                .meta("ingress_host", &rule.host)
                .meta("ingress_path", if path.is_empty() { "/" } else { path });
            target
        }));
    }
    group(source, &labels, &targets)
}

/// Whether a host of TLS is a rule's host, or a wildcard for exactly one label of it.
fn covers(pattern: &str, host: &str) -> bool {
    let rest = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
    let is_wildcard = pattern == "*" || pattern.starts_with("*.");
    pattern == host || is_wildcard && rest(pattern) == rest(host)
}

/// Pods behind endpoints, in the order in which they were seen, and which of their ports are targets already.
#[derive(Default)]
struct Seen {
    places: HashMap<String, usize>,
    pods: Vec<(std::sync::Arc<Pod>, Vec<i32>)>,
}

impl Seen {
    /// Adds the labels of the pod that an address belongs to, and of its containers that have the port.
    fn add_pod(
        &mut self,
        target: &mut MetaLabels,
        reference: Option<&TargetRef>,
        port: Option<i32>,
        protocol: Option<&str>,
        joined: &Joined,
    ) {
        let Some(reference) = reference.filter(|reference| &*reference.kind == "Pod") else {
            return;
        };
        let key = format!("{}/{}", reference.namespace, reference.name);
        let Some(pod) = joined.pod(&key) else { return };
        target.add(&pod_labels(&pod, joined));
        for (container, is_init) in pod.containers() {
            let same = container
                .ports
                .iter()
                .find(|of_pod| Some(of_pod.container_port) == port);
            if let Some(of_pod) = same {
                set_container(target, container, is_init);
                set_container_port(target, of_pod, protocol.unwrap_or(&of_pod.protocol));
            }
        }
        let at = *self.places.entry(key).or_insert(self.pods.len());
        if at == self.pods.len() {
            self.pods.push((pod, Vec::new()));
        }
        self.pods[at].1.extend(port);
    }

    /// Targets for ports of the pods that no port of the endpoints covers.
    fn rest(&self, joined: &Joined) -> Vec<MetaLabels> {
        let mut targets = Vec::new();
        for (pod, covered) in &self.pods {
            if pod.status.pod_ip.is_empty() {
                continue;
            }
            for (container, is_init) in pod.containers() {
                for port in &container.ports {
                    if covered.contains(&port.container_port) {
                        continue;
                    }
                    let mut target = MetaLabels::new(PREFIX);
                    target.address(&pod.status.pod_ip, unsigned(port.container_port));
                    set_container(&mut target, container, is_init);
                    set_container_port(&mut target, port, &port.protocol);
                    target.add(&pod_labels(pod, joined));
                    targets.push(target);
                }
            }
        }
        targets
    }
}

/// A target for each address and port, and one for each further port of the pods behind them.
pub(super) fn of_endpoints(source: String, endpoints: &Endpoints, joined: &Joined) -> Group {
    let meta = &endpoints.metadata;
    let mut labels = MetaLabels::new(PREFIX);
    labels.meta(NAMESPACE, &meta.namespace);
    if let Some(service) = joined.service(&meta.key()) {
        service_labels(&mut labels, &service);
    }
    set_meta(&mut labels, meta, "endpoints");
    set_namespace(&mut labels, joined, &meta.namespace);
    let mut targets = Vec::new();
    let mut seen = Seen::default();
    for subset in &endpoints.subsets {
        for port in &subset.ports {
            let ready = subset.addresses.iter().map(|address| (address, "true"));
            let not_ready = subset
                .not_ready_addresses
                .iter()
                .map(|address| (address, "false"));
            for (address, ready) in ready.chain(not_ready) {
                let mut target = of_address(address, port, ready, joined);
                let reference = address.target_ref.as_deref();
                seen.add_pod(
                    &mut target,
                    reference,
                    Some(port.port),
                    Some(&port.protocol),
                    joined,
                );
                targets.push(target);
            }
        }
    }
    targets.extend(seen.rest(joined));
    group(source, &labels, &targets)
}

fn of_address(address: &EndpointAddress, port: &EndpointPort, ready: &str, joined: &Joined) -> MetaLabels {
    let mut target = MetaLabels::new(PREFIX);
    target
        .address(&address.ip, unsigned(port.port))
        .meta("endpoint_port_name", &port.name)
        .meta("endpoint_port_protocol", &port.protocol)
        .meta("endpoint_ready", ready)
        .meta("endpoint_hostname", &address.hostname);
    let node = address.node_name.as_deref();
    target.meta("endpoint_node_name", node.unwrap_or(""));
    let reference = address.target_ref.as_deref();
    if let Some(reference) = reference {
        target
            .meta("endpoint_address_target_kind", &reference.kind)
            .meta("endpoint_address_target_name", &reference.name);
    }
    if let Some(node) = node.or(node_of(reference)) {
        set_node(&mut target, joined, node);
    }
    target
}

/// The node that an address is one of.
fn node_of(reference: Option<&TargetRef>) -> Option<&str> {
    let reference = reference.filter(|reference| &*reference.kind == "Node")?;
    Some(&reference.name)
}

/// As [`of_endpoints`], for a slice.
pub(super) fn of_slice(source: String, slice: &EndpointSlice, joined: &Joined) -> Group {
    let meta = &slice.metadata;
    let mut labels = MetaLabels::new(PREFIX);
    labels
        .meta(NAMESPACE, &meta.namespace)
        .meta("endpointslice_address_type", &slice.address_type);
    set_meta(&mut labels, meta, "endpointslice");
    let service = meta.labels.get(SERVICE_NAME);
    let service = service.and_then(|name| joined.service(&format!("{}/{name}", meta.namespace)));
    if let Some(service) = &service {
        service_labels(&mut labels, service);
    }
    set_namespace(&mut labels, joined, &meta.namespace);
    let mut targets = Vec::new();
    if !service.is_some_and(|service| is_of_second_family(slice, &service)) {
        let mut seen = Seen::default();
        for endpoint in &slice.endpoints {
            for port in &slice.ports {
                for address in &endpoint.addresses {
                    let mut target = of_endpoint(address, endpoint, port, joined);
                    let reference = endpoint.target_ref.as_deref();
                    seen.add_pod(&mut target, reference, port.port, None, joined);
                    targets.push(target);
                }
            }
        }
        targets.extend(seen.rest(joined));
    }
    group(source, &labels, &targets)
}

/// Dual-stack services have slices of both families, for the same pods: only those of the first one count.
fn is_of_second_family(slice: &EndpointSlice, service: &Service) -> bool {
    let is_dual = matches!(
        &*service.spec.ip_family_policy,
        "PreferDualStack" | "RequireDualStack"
    );
    let first = service.spec.ip_families.first();
    is_dual && first.is_some_and(|first| *first != slice.address_type)
}

fn of_endpoint(address: &str, endpoint: &Endpoint, port: &SlicePort, joined: &Joined) -> MetaLabels {
    let mut target = MetaLabels::new(PREFIX);
    let number = port.port.map(|port| unsigned(port).to_string());
    match &number {
        Some(number) => target.set(ADDRESS, &host_port(address, number)),
        None => target.set(ADDRESS, address),
    };
    let truth = |value: Option<bool>| match value {
        Some(true) => "true",
        Some(false) => "false",
        None => "",
    };
    let reference = endpoint.target_ref.as_deref();
    let optional = [
        ("port", number.as_deref()),
        ("port_name", port.name.as_deref()),
        ("port_protocol", port.protocol.as_deref()),
        ("port_app_protocol", port.app_protocol.as_deref()),
        (
            "endpoint_conditions_ready",
            Some(truth(endpoint.conditions.ready)),
        ),
        (
            "endpoint_conditions_serving",
            Some(truth(endpoint.conditions.serving)),
        ),
        (
            "endpoint_conditions_terminating",
            Some(truth(endpoint.conditions.terminating)),
        ),
        ("endpoint_hostname", endpoint.hostname.as_deref()),
        ("endpoint_node_name", endpoint.node_name.as_deref()),
        ("endpoint_zone", endpoint.zone.as_deref()),
        ("address_target_kind", reference.map(|reference| &*reference.kind)),
        ("address_target_name", reference.map(|reference| &*reference.name)),
    ];
    for (name, value) in optional {
        target.meta(&format!("endpointslice_{name}"), value.unwrap_or(""));
    }
    for (name, value) in &endpoint.deprecated_topology.0 {
        target
            .meta_of("endpointslice_endpoint_topology_", name, value)
            .meta_of("endpointslice_endpoint_topology_present_", name, "true");
    }
    if let Some(node) = node_of(reference).or(endpoint.node_name.as_deref()) {
        set_node(&mut target, joined, node);
    }
    target
}
