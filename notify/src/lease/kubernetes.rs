//! The lease as a `Lease` of Kubernetes (`coordination.k8s.io/v1`), what lies beside it as `ConfigMap`s.
//!
//! Writes are conditional by `resourceVersion`: a cluster refuses (409) what is not about the version that it has. A
//! `ConfigMap` holds a mebibyte at most, so that a book is cut into some; a `Lease`'s own annotations would hold a quarter of
//! one, together.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use credentials::Machine;
use discovery::kubernetes::{Cluster, ClusterAnswer};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Method;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    KubernetesLease, LeaseStore, OpenError, Part, Record, Room, StoreError, Version, beginning, micro_time,
    time,
};

/// `ConfigMap`s that a book is cut into, and bytes of each: below a `ConfigMap`'s mebibyte, with room for its envelope.
const ROOM: Room = Room {
    parts: 4,
    part_bytes_max: 900 << 10,
};
/// The key of a `ConfigMap` that a part stands under.
const KEY: &str = "entries";

pub(super) struct Kubernetes {
    cluster: Cluster,
    namespace: String,
    name: String,
    ask_max: Duration,
    /// The lease as it was last read: what others have written on it, labels for instance, is kept.
    last: Mutex<Option<Value>>,
}

/// What is read and written of a `Lease`.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct LeaseSpec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<i32>,
    acquire_time: Option<String>,
    renew_time: Option<String>,
    lease_transitions: Option<u32>,
}

#[derive(Deserialize)]
struct LeaseObject {
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
}

#[derive(Deserialize)]
struct ConfigMap {
    metadata: Metadata,
    #[serde(rename = "binaryData", default)]
    binary_data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

impl Kubernetes {
    pub(super) fn open(
        lease: &KubernetesLease,
        machine: &Machine,
        ask_max: Duration,
    ) -> Result<Self, OpenError> {
        let metrics = discovery::Metrics::new(&metrics::Registry::new());
        let mut context = discovery::Context::new(&machine.user_agent, metrics);
        context.surroundings = machine.surroundings.clone();
        context.env.clone_from(&machine.env);
        context.root.clone_from(&machine.root);
        Ok(Kubernetes {
            cluster: Cluster::open(&lease.kubeconfig_file, &context)?,
            namespace: match lease.namespace.as_str() {
                "" => Cluster::own_namespace(&context)?,
                namespace => namespace.to_owned(),
            },
            name: lease.name.clone(),
            ask_max,
            last: Mutex::default(),
        })
    }

    /// Asks about objects of a kind in our namespace; `None` where there is none.
    async fn ask(
        &self,
        method: Method,
        kind: Kind,
        name: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Option<ClusterAnswer>, StoreError> {
        let object = format!("{} {}/{}", kind.name(), self.namespace, name.unwrap_or("(new)"));
        let mut path = kind.group().to_vec();
        path.extend(["namespaces", &self.namespace, kind.plural()]);
        path.extend(name);
        let is_write = body.is_some();
        let body = body.map(|body| body.to_string().into_bytes());
        let answer = self.cluster.ask(method, &path, body, self.ask_max).await;
        let answer = answer.map_err(|error| StoreError::Ask(Box::new(error)))?;
        match answer.status.as_u16() {
            200..300 => Ok(Some(answer)),
            409 => Err(StoreError::Conflict { object }),
            // What is to be replaced is gone.
            404 if is_write && name.is_some() => Err(StoreError::Conflict { object }),
            404 if !is_write => Ok(None),
            status => Err(StoreError::Refused {
                object,
                status,
                message: status_message(&answer.body),
            }),
        }
    }

    /// Makes the object, or replaces the version that is known.
    async fn write(
        &self,
        kind: Kind,
        name: &str,
        mut object: Value,
        over: Option<&Version>,
    ) -> Result<Version, StoreError> {
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(self.namespace);
        let answer = match over {
            Some(Version(version)) => {
                object["metadata"]["resourceVersion"] = json!(version);
                self.ask(Method::PUT, kind, Some(name), Some(&object)).await?
            }
            None => {
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                    metadata.remove("uid");
                }
                self.ask(Method::POST, kind, None, Some(&object)).await?
            }
        };
        let written: LeaseObject = self.parse(name, answer.as_ref())?;
        if let Kind::Lease = kind {
            *self.last.lock() = answer.and_then(|answer| serde_json::from_slice(&answer.body).ok());
        }
        Ok(Version(written.metadata.resource_version))
    }

    fn parse<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        answer: Option<&ClusterAnswer>,
    ) -> Result<T, StoreError> {
        let body = answer.map_or(&[][..], |answer| &answer.body);
        serde_json::from_slice(body).map_err(|error| self.meaningless(name, &error))
    }

    fn meaningless(&self, name: &str, what: &dyn std::fmt::Display) -> StoreError {
        StoreError::Content {
            object: format!("{}/{name}", self.namespace),
            what: what.to_string(),
        }
    }

    fn part_name(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }
}

impl LeaseStore for Kubernetes {
    fn read_lease(&self) -> BoxFuture<'_, Result<Option<(Record, Version)>, StoreError>> {
        async move {
            let answer = self.ask(Method::GET, Kind::Lease, Some(&self.name), None).await?;
            let Some(answer) = answer else {
                return Ok(None);
            };
            let object: LeaseObject = self.parse(&self.name, Some(&answer))?;
            *self.last.lock() = serde_json::from_slice(&answer.body).ok();
            let version = Version(object.metadata.resource_version);
            let Ok(spec) = serde_json::from_value::<Option<LeaseSpec>>(object.spec) else {
                return Ok(Some((Record::unreadable(), version)));
            };
            let spec = spec.unwrap_or_default();
            let time = |text: Option<String>| time(text.as_deref().unwrap_or_default());
            let record = Record {
                holder: spec.holder_identity.unwrap_or_default(),
                term: spec.lease_transitions.unwrap_or_default().into(),
                acquired: time(spec.acquire_time),
                renewed: time(spec.renew_time),
                duration: Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).max(0) as u64),
            };
            Ok(Some((record, version)))
        }
        .boxed()
    }

    fn write_lease<'a>(
        &'a self,
        record: &'a Record,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        async move {
            let spec = LeaseSpec {
                holder_identity: Some(record.holder.clone()),
                lease_duration_seconds: i32::try_from(record.duration.as_secs().max(1)).ok(),
                acquire_time: Some(micro_time(record.acquired)),
                renew_time: Some(micro_time(record.renewed)),
                lease_transitions: u32::try_from(record.term).ok(),
            };
            let known = self.last.lock().clone();
            let known = known.filter(|known| {
                over.is_some_and(|Version(version)| known["metadata"]["resourceVersion"] == version.as_str())
            });
            let mut object = known.unwrap_or_else(
                || json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {}}),
            );
            object["spec"] = json!(spec);
            self.write(Kind::Lease, &self.name, object, over).await
        }
        .boxed()
    }

    fn read_part<'a>(
        &'a self,
        name: &'a str,
        known: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Part, StoreError>> {
        async move {
            let name = self.part_name(name);
            let answer = self.ask(Method::GET, Kind::ConfigMap, Some(&name), None).await?;
            let Some(answer) = answer else {
                return Ok(Part::Absent);
            };
            let map: ConfigMap = self.parse(&name, Some(&answer))?;
            let version = Version(map.metadata.resource_version);
            if known == Some(&version) {
                return Ok(Part::Unchanged);
            }
            let text = map.binary_data.get(KEY).map_or("", String::as_str);
            // What is no base64 is damaged, and told as such where it is merged.
            let bytes = STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec());
            Ok(Part::Present { bytes, version })
        }
        .boxed()
    }

    fn write_part<'a>(
        &'a self,
        name: &'a str,
        bytes: Vec<u8>,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        async move {
            let object = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"labels": {"app.kubernetes.io/managed-by": "narthex"}},
                "binaryData": {KEY: STANDARD.encode(&bytes)},
            });
            let name = self.part_name(name);
            self.write(Kind::ConfigMap, &name, object, over).await
        }
        .boxed()
    }

    fn room(&self) -> Room {
        ROOM
    }
}

/// Kinds of objects.
#[derive(Clone, Copy)]
enum Kind {
    Lease,
    ConfigMap,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Lease => "Lease",
            Kind::ConfigMap => "ConfigMap",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Kind::Lease => "leases",
            Kind::ConfigMap => "configmaps",
        }
    }

    fn group(self) -> &'static [&'static str] {
        match self {
            Kind::Lease => &["apis", "coordination.k8s.io", "v1"],
            Kind::ConfigMap => &["api", "v1"],
        }
    }
}

/// The cluster's words about what is wrong.
fn status_message(body: &[u8]) -> String {
    let status: Option<Value> = serde_json::from_slice(body).ok();
    let message = status.as_ref().and_then(|status| status["message"].as_str());
    beginning(message.map_or(body, str::as_bytes))
}
