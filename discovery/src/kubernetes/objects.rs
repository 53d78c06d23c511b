//! What is kept of Kubernetes' objects: the fields that become labels, and those that join objects with each other.
//! All else (managed fields, volumes, environments) is passed over while an answer is read.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::api::null_is_default;

/// Texts that are never changed.
pub(super) type Text = Box<str>;

/// Names and values of labels or annotations, in the order of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pairs(pub(super) Box<[(Text, Text)]>);

impl Pairs {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| &**key == name);
        found.map(|(_, value)| &**value)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of texts")
            }

            fn visit_unit<E>(self) -> Result<Pairs, E> {
                Ok(Pairs::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text, Option<Text>>()? {
                    pairs.push((name, value.unwrap_or_default()));
                }
                Ok(Pairs(pairs.into()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// What all objects have.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) name: Text,
    pub(super) namespace: Text,
    pub(super) uid: Text,
    pub(super) labels: Pairs,
    pub(super) annotations: Pairs,
    /// Who has made it and looks after it.
    #[serde(rename = "ownerReferences", deserialize_with = "controller")]
    pub(super) controller: Option<Box<Owner>>,
    /// Taken out once it is known: it would make every object differ from its earlier self.
    resource_version: Text,
}

impl Meta {
    /// What the object is known under: `namespace/name`, or the name alone where there is no namespace.
    pub(super) fn key(&self) -> String {
        if self.namespace.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }

    pub(super) fn take_version(&mut self) -> Text {
        std::mem::take(&mut self.resource_version)
    }
}

/// One of an object's owners.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Owner {
    pub(super) kind: Text,
    pub(super) name: Text,
}

/// The first owner that says it is the controller.
fn controller<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Owner>>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Reference {
        controller: Option<bool>,
        kind: Text,
        name: Text,
    }
    first(deserializer, |reference: Reference| {
        let (kind, name) = (reference.kind, reference.name);
        (reference.controller == Some(true)).then(|| Box::new(Owner { kind, name }))
    })
}

/// The first element that `pick` takes; the others are not kept.
fn first<'de, D, T, R>(deserializer: D, pick: impl FnMut(T) -> Option<R>) -> Result<Option<R>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Reader<T, F>(F, PhantomData<T>);
    impl<'de, T: Deserialize<'de>, R, F: FnMut(T) -> Option<R>> Visitor<'de> for Reader<T, F> {
        type Value = Option<R>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Option<R>, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Option<R>, A::Error> {
            let mut found = None;
            while let Some(element) = list.next_element::<T>()? {
                if found.is_none() {
                    found = (self.0)(element);
                }
            }
            Ok(found)
        }
    }
    deserializer.deserialize_any(Reader(pick, PhantomData))
}

/// Where a kind of object is found in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// First parts of the path.
    pub(super) group: &'static [&'static str],
    /// The last one.
    pub(super) plural: &'static str,
}

const CORE: &[&str] = &["api", "v1"];

/// A kind of object.
pub(super) trait Object: DeserializeOwned + PartialEq + fmt::Debug + Send + Sync + 'static {
    const RESOURCE: Resource;

    fn meta(&self) -> &Meta;
    fn meta_mut(&mut self) -> &mut Meta;

    /// Drops what no label is made of.
    fn trim(&mut self) {
        self.meta_mut().uid = Text::default();
        self.meta_mut().controller = None;
    }
}

/// Says of each kind where it is found, and where its metadata lies.
macro_rules! objects {
    ($($kind:ident: $group:expr, $plural:literal $(, trim: $trim:expr)?;)*) => {$(
        impl Object for $kind {
            const RESOURCE: Resource = Resource { group: $group, plural: $plural };

            fn meta(&self) -> &Meta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut Meta {
                &mut self.metadata
            }

            $(fn trim(&mut self) {
                let trim: fn(&mut Meta) = $trim;
                trim(&mut self.metadata);
            })?
        }
    )*};
}

objects! {
    Node: CORE, "nodes";
    Pod: CORE, "pods", trim: |_| {};
    Service: CORE, "services";
    Endpoints: CORE, "endpoints";
    EndpointSlice: &["apis", "discovery.k8s.io", "v1"], "endpointslices";
    Ingress: &["apis", "networking.k8s.io", "v1"], "ingresses";
    Namespace: CORE, "namespaces";
    ReplicaSet: &["apis", "apps", "v1"], "replicasets", trim: only_controller;
    Job: &["apis", "batch", "v1"], "jobs", trim: only_controller;
}

fn only_controller(meta: &mut Meta) {
    meta.uid = Text::default();
    (meta.labels, meta.annotations) = (Pairs::default(), Pairs::default());
}

/// `#[serde(default)]` on all, and null where Go's empty value is meant.
macro_rules! lean {
    ($($(#[$doc:meta])* struct $name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub(super) struct $name {
            $(
                $(#[$attribute])*
                #[serde(deserialize_with = "null_is_default")]
                pub(super) $field: $kind,
            )*
        }
    )*};
}

lean! {
    struct Namespace {
        metadata: Meta,
    }

    struct ReplicaSet {
        metadata: Meta,
    }

    struct Job {
        metadata: Meta,
    }

    struct Node {
        metadata: Meta,
        spec: NodeSpec,
        status: NodeStatus,
    }

    struct NodeSpec {
        #[serde(rename = "providerID")]
        provider_id: Text,
    }

    struct NodeStatus {
        conditions: Box<[Condition]>,
        addresses: Box<[NodeAddress]>,
        daemon_endpoints: DaemonEndpoints,
    }

    struct Condition {
        #[serde(rename = "type")]
        kind: Text,
        status: Text,
    }

    struct NodeAddress {
        #[serde(rename = "type")]
        kind: Text,
        address: Text,
    }

    struct DaemonEndpoints {
        kubelet_endpoint: DaemonEndpoint,
    }

    struct DaemonEndpoint {
        #[serde(rename = "Port")]
        port: i32,
    }

    struct Pod {
        metadata: Meta,
        spec: PodSpec,
        status: PodStatus,
    }

    struct PodSpec {
        node_name: Text,
        containers: Box<[Container]>,
        init_containers: Box<[Container]>,
    }

    struct Container {
        name: Text,
        image: Text,
        ports: Box<[ContainerPort]>,
    }

    struct ContainerPort {
        name: Text,
        container_port: i32,
        protocol: Text,
    }

    struct PodStatus {
        phase: Text,
        #[serde(rename = "podIP")]
        pod_ip: Text,
        #[serde(rename = "hostIP")]
        host_ip: Text,
        /// What the condition `Ready` says.
        #[serde(rename = "conditions")]
        ready: Ready,
        container_statuses: Box<[ContainerStatus]>,
        init_container_statuses: Box<[ContainerStatus]>,
    }

    struct ContainerStatus {
        name: Text,
        #[serde(rename = "containerID")]
        container_id: Text,
    }

    struct Service {
        metadata: Meta,
        spec: ServiceSpec,
        status: ServiceStatus,
    }

    struct ServiceSpec {
        #[serde(rename = "type")]
        kind: Text,
        #[serde(rename = "clusterIP")]
        cluster_ip: Text,
        external_name: Text,
        #[serde(rename = "loadBalancerIP")]
        load_balancer_ip: Text,
        ports: Box<[ServicePort]>,
        ip_families: Box<[Text]>,
        ip_family_policy: Text,
    }

    struct ServicePort {
        name: Text,
        port: i32,
        protocol: Text,
    }

    struct ServiceStatus {
        load_balancer: LoadBalancer,
    }

    struct LoadBalancer {
        ingress: Box<[LoadBalancerIngress]>,
    }

    struct LoadBalancerIngress {
        ip: Text,
    }

    struct Endpoints {
        metadata: Meta,
        subsets: Box<[Subset]>,
    }

    struct Subset {
        addresses: Box<[EndpointAddress]>,
        not_ready_addresses: Box<[EndpointAddress]>,
        ports: Box<[EndpointPort]>,
    }

    struct EndpointAddress {
        ip: Text,
        hostname: Text,
        node_name: Option<Text>,
        target_ref: Option<Box<TargetRef>>,
    }

    struct TargetRef {
        kind: Text,
        namespace: Text,
        name: Text,
    }

    struct EndpointPort {
        name: Text,
        port: i32,
        protocol: Text,
    }

    struct EndpointSlice {
        metadata: Meta,
        address_type: Text,
        endpoints: Box<[Endpoint]>,
        ports: Box<[SlicePort]>,
    }

    struct Endpoint {
        addresses: Box<[Text]>,
        conditions: EndpointConditions,
        hostname: Option<Text>,
        target_ref: Option<Box<TargetRef>>,
        deprecated_topology: Pairs,
        node_name: Option<Text>,
        zone: Option<Text>,
    }

    struct EndpointConditions {
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    }

    struct SlicePort {
        name: Option<Text>,
        protocol: Option<Text>,
        port: Option<i32>,
        app_protocol: Option<Text>,
    }

    struct Ingress {
        metadata: Meta,
        spec: IngressSpec,
    }

    struct IngressSpec {
        ingress_class_name: Option<Text>,
        tls: Box<[IngressTls]>,
        rules: Box<[IngressRule]>,
    }

    struct IngressTls {
        hosts: Box<[Text]>,
    }

    struct IngressRule {
        host: Text,
        http: Option<IngressHttp>,
    }

    struct IngressHttp {
        paths: Box<[IngressPath]>,
    }

    struct IngressPath {
        path: Text,
    }
}

/// The status of a pod's condition `Ready`, in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ready(pub(super) Text);

impl Default for Ready {
    fn default() -> Self {
        Ready("unknown".into())
    }
}

impl<'de> Deserialize<'de> for Ready {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = first(deserializer, |condition: Condition| {
            (&*condition.kind == "Ready").then(|| Ready(condition.status.to_lowercase().into()))
        })?;
        Ok(found.unwrap_or_default())
    }
}

impl Pod {
    /// Containers, then those that run before them; `true` marks the latter.
    pub(super) fn containers(&self) -> impl Iterator<Item = (&Container, bool)> {
        let plain = self.spec.containers.iter().map(|container| (container, false));
        plain.chain(
            self.spec
                .init_containers
                .iter()
                .map(|container| (container, true)),
        )
    }
}
