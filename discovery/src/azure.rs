//! `azure_sd_configs`: virtual machines of Azure, alone and in scale sets.

use std::collections::{BTreeMap, HashMap};

use ::http::StatusCode;
use credentials::azure::{Azure, Cloud, Method};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::Request;
use metrics::Counter;
use model::labels::Labels;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use url::Url;
use yaml::{Secret, Section, YamlError};

use crate::TargetGroup;
use crate::api::{Answer, Api, ApiSettings, MINUTE, Pages, Round, answers, files_of, some_at_a_time};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::metrics::Metrics;
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const DEFAULT_REFRESH_INTERVAL: yaml::Duration = yaml::Duration::from_ms(5 * 60_000);
const DEFAULT_ENVIRONMENT: &str = "AzurePublicCloud";
const OAUTH: &str = "OAuth";
const MANAGED_IDENTITY: &str = "ManagedIdentity";
const SDK: &str = "SDK";
const WORKLOAD_IDENTITY: &str = "WorkloadIdentity";
/// Versions of the interfaces.
const COMPUTE_VERSION: &str = "2024-03-01";
const NETWORK_VERSION: &str = "2023-05-01";
const SCALE_SET_NETWORK_VERSION: &str = "2018-10-01";
/// Interfaces that are asked for at the same time.
const CONCURRENCY: usize = 32;
/// An interface is asked for again after so many intervals, and up to [`KEPT_MORE_INTERVALS`] more, so that not all are
/// at once.
const KEPT_INTERVALS: u32 = 10;
const KEPT_MORE_INTERVALS: u32 = 3;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AzureConfig {
    /// Which of Azure's clouds.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub environment: String,
    /// Port of the targets.
    pub port: i64,
    /// Subscription.
    pub subscription_id: String,
    /// Directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
    /// Application, or managed identity.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// The application's secret.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_secret: Secret,
    /// `OAuth`, `ManagedIdentity`, `SDK` or `WorkloadIdentity`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authentication_method: String,
    /// Resource group; all if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_group: String,
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
}

impl Discovery for AzureConfig {
    const KEY: &'static str = "azure_sd_configs";
    const NAME: &'static str = "azure";
    const HELP: &'static str = "virtual machines of Azure";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let config = AzureConfig {
            environment: section.get_or("environment", DEFAULT_ENVIRONMENT.to_owned())?,
            port: section.get_or("port", 80)?,
            subscription_id: section.get_or("subscription_id", String::new())?,
            tenant_id: section.get_or("tenant_id", String::new())?,
            client_id: section.get_or("client_id", String::new())?,
            client_secret: section.get_or("client_secret", Secret::default())?,
            authentication_method: section.get_or("authentication_method", OAUTH.to_owned())?,
            resource_group: section.get_or("resource_group", String::new())?,
            api: ApiSettings::read(section, DEFAULT_REFRESH_INTERVAL)?,
        };
        let mut needed = vec![("subscription_id", config.subscription_id.is_empty())];
        match config.authentication_method.as_str() {
            OAUTH => needed.extend([
                ("tenant_id", config.tenant_id.is_empty()),
                ("client_id", config.client_id.is_empty()),
                ("client_secret", config.client_secret.is_empty()),
            ]),
            MANAGED_IDENTITY | SDK | WORKLOAD_IDENTITY => {}
            other => {
                let message = format!(
                    "unknown authentication_type {other:?}. Supported types are {OAUTH:?}, {MANAGED_IDENTITY:?}, \
                     {SDK:?} or {WORKLOAD_IDENTITY:?}"
                );
                return Err(section.error_at("authentication_method", message));
            }
        }
        if let Some((name, _)) = needed.iter().find(|(_, is_missing)| *is_missing) {
            return Err(section.error_at(name, format_args!("azure SD configuration requires a {name}")));
        }
        Ok(config)
    }

    files_of!(api);

    fn register(metrics: &Metrics) {
        failures(metrics);
        cache_hits(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let text = String::clone;
        let method = match self.authentication_method.as_str() {
            MANAGED_IDENTITY => Method::ManagedIdentity {
                client: text(&self.client_id),
            },
            WORKLOAD_IDENTITY => Method::WorkloadIdentity {
                tenant: String::new(),
                client: String::new(),
                token_file: String::new(),
            },
            SDK => Method::Sdk {
                tenant: text(&self.tenant_id),
            },
            _ => Method::ClientSecret {
                tenant: text(&self.tenant_id),
                client: text(&self.client_id),
                secret: self.client_secret.reveal().to_owned(),
            },
        };
        // Compat: a cloud that does not exist passes the check of the configuration, and fails each refresh.
        let cloud = Cloud::named(&self.environment);
        let signed_in = cloud.map(|cloud| Ok((cloud, Azure::new(context.machine(), cloud, method)?)));
        let poll = AzureMachines {
            signed_in: signed_in.transpose().map_err(PrepareError::Settings)?,
            api: Api::new(context.client(&self.api.http)?, MINUTE),
            failures: failures(&context.metrics),
            cache_hits: cache_hits(&context.metrics),
            kept: Mutex::default(),
            config: self.clone(),
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

fn failures(metrics: &Metrics) -> Counter {
    metrics.registry().counter(
        "prometheus_sd_azure_failures_total",
        "Number of Azure service discovery refresh failures.",
    )
}

fn cache_hits(metrics: &Metrics) -> Counter {
    metrics.registry().counter(
        "prometheus_sd_azure_cache_hit_total",
        "Number of cache hit during refresh.",
    )
}

struct AzureMachines {
    /// `None` where there is no cloud of the configured name.
    signed_in: Option<(Cloud, Azure)>,
    api: Api,
    config: AzureConfig,
    failures: Counter,
    cache_hits: Counter,
    /// Interfaces of the machines that the last refresh found, by their IDs, and until when they are believed.
    kept: Mutex<HashMap<String, (Interface, Instant)>>,
}

answers! {
    #[serde(rename_all = "camelCase")]
    struct Machine {
        id: String,
        name: String,
        location: String,
        instance_id: String,
        tags: BTreeMap<String, String>,
        properties: MachineProperties,
    }
    #[serde(rename_all = "camelCase")]
    struct MachineProperties {
        storage_profile: StorageProfile,
        network_profile: NetworkProfile,
        os_profile: OsProfile,
        hardware_profile: HardwareProfile,
    }
    #[serde(rename_all = "camelCase")]
    struct StorageProfile {
        os_disk: OsDisk,
    }
    #[serde(rename_all = "camelCase")]
    struct OsDisk {
        os_type: String,
    }
    #[serde(rename_all = "camelCase")]
    struct NetworkProfile {
        network_interfaces: Vec<Reference>,
    }
    struct Reference {
        id: String,
    }
    #[serde(rename_all = "camelCase")]
    struct OsProfile {
        computer_name: String,
    }
    #[serde(rename_all = "camelCase")]
    struct HardwareProfile {
        vm_size: String,
    }
    struct ScaleSet {
        id: String,
        name: String,
    }
    #[derive(Clone)]
    struct Interface {
        properties: Option<InterfaceProperties>,
    }
    #[derive(Clone)]
    #[serde(rename_all = "camelCase")]
    struct InterfaceProperties {
        primary: Option<bool>,
        ip_configurations: Vec<IpConfiguration>,
    }
    #[derive(Clone)]
    struct IpConfiguration {
        properties: IpProperties,
    }
    #[derive(Clone)]
    #[serde(rename_all = "camelCase")]
    struct IpProperties {
        #[serde(rename = "privateIPAddress")]
        private_ip_address: Option<String>,
        #[serde(rename = "publicIPAddress")]
        public_ip_address: PublicAddress,
    }
    #[derive(Clone)]
    struct PublicAddress {
        properties: PublicProperties,
    }
    #[derive(Clone)]
    #[serde(rename_all = "camelCase")]
    struct PublicProperties {
        ip_address: String,
    }
}

/// A page of any list.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default = "Vec::new", deserialize_with = "crate::api::null_is_default")]
    value: Vec<T>,
    #[serde(default)]
    next_link: Option<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Page {
            value: Vec::new(),
            next_link: None,
        }
    }
}

impl Poll for AzureMachines {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let refreshed = self.targets().await;
            let targets = refreshed.inspect_err(|_| self.failures.inc())?;
            Ok(group("azure", targets))
        }
        .boxed()
    }
}

/// One refresh.
struct Refresh<'r> {
    azure: &'r Azure,
    root: Url,
    round: &'r Round<'r>,
    of: &'r AzureMachines,
}

impl AzureMachines {
    async fn targets(&self) -> Result<Vec<Labels>, DiscoveryError> {
        let Some((cloud, azure)) = &self.signed_in else {
            let detail = "there is no cloud configuration matching this name";
            return Err(DiscoveryError::content(&self.config.environment, detail));
        };
        let round = self.api.round();
        let refresh = Refresh {
            azure,
            root: Url::parse(cloud.management)
                .map_err(|error| DiscoveryError::content(cloud.management, error))?,
            round: &round,
            of: self,
        };
        let machines = refresh.machines().await?;
        self.forget_others(&machines);
        let targets = machines
            .iter()
            .map(|(machine, scale_set)| refresh.target(machine, scale_set.as_deref()));
        let targets = some_at_a_time(CONCURRENCY, targets).await?;
        Ok(targets.into_iter().flatten().collect())
    }

    /// Keeps the interfaces of these machines only.
    fn forget_others(&self, machines: &[(Machine, Option<String>)]) {
        let profiles = machines
            .iter()
            .map(|(machine, _)| &machine.properties.network_profile);
        let ids = profiles.flat_map(|profile| &profile.network_interfaces);
        let ids: std::collections::HashSet<&str> = ids.map(|reference| &*reference.id).collect();
        self.kept.lock().retain(|id, _| ids.contains(&**id));
    }

    fn kept(&self, id: &str) -> Option<Interface> {
        let kept = self.kept.lock();
        let (interface, until) = kept.get(id)?;
        let is_good = Instant::now() < *until;
        is_good
            .then(|| interface.clone())
            .inspect(|_| self.cache_hits.inc())
    }

    fn keep(&self, id: &str, interface: &Interface) {
        let interval = self.config.api.refresh_interval.as_std();
        let more = interval.mul_f64(f64::from(KEPT_MORE_INTERVALS) * share_of(id));
        let until = Instant::now() + interval * KEPT_INTERVALS + more;
        self.kept.lock().insert(id.to_owned(), (interface.clone(), until));
    }
}

/// Some number from 0 to 1 that is an interface's own.
fn share_of(id: &str) -> f64 {
    xxhash_rust::xxh64::xxh64(id.as_bytes(), 0) as f64 / u64::MAX as f64
}

/// A part of a resource's ID that follows a word: the group's name, the machine's.
fn part_of<'i>(id: &'i str, word: &str) -> Option<&'i str> {
    let mut segments = id.strip_prefix('/')?.split('/');
    segments.find(|segment| segment.eq_ignore_ascii_case(word))?;
    segments.next().filter(|part| !part.is_empty())
}

impl Refresh<'_> {
    /// A URL of the subscription; segments are escaped.
    fn url(&self, group: &str, segments: &[&str], parameters: &[(&str, &str)]) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["subscriptions", &self.of.config.subscription_id]);
            if !group.is_empty() {
                path.extend(["resourceGroups", group]);
            }
            path.push("providers").extend(segments);
        }
        url.query_pairs_mut().extend_pairs(parameters);
        url
    }

    /// Asks with a token; another one where the first is refused, saying what the refusal wants it to say.
    async fn get(&self, url: Url) -> Result<Answer, DiscoveryError> {
        let mut is_again = false;
        loop {
            let bearer = self.azure.token().await;
            let bearer = bearer.map_err(|error| DiscoveryError::Other(error.into()))?;
            let request = Request::get(url.clone())
                .header("accept", "application/json")
                .secret_header("authorization", format!("Bearer {}", bearer.token));
            let answer = self.round.send_patiently(&request).await?;
            match answer.status {
                StatusCode::UNAUTHORIZED => {
                    self.azure.refused(answer.header("www-authenticate"));
                    if is_again {
                        return Err(answer.refused_to(&bearer));
                    }
                    is_again = true;
                }
                StatusCode::FORBIDDEN => return Err(answer.refused_to(&bearer)),
                _ => return Ok(answer),
            }
        }
    }

    /// All pages of a list.
    async fn list<T: DeserializeOwned>(&self, first: Url) -> Result<Vec<T>, DiscoveryError> {
        let (mut all, mut pages, mut url) = (Vec::new(), Pages::default(), first);
        loop {
            let place = url.to_string();
            let page: Page<T> = self.get(url).await?.good()?.json()?;
            all.extend(page.value);
            let Some(next) = pages.next(&place, page.next_link.as_deref())? else {
                return Ok(all);
            };
            url = Url::parse(&next).map_err(|error| DiscoveryError::content(&place, error))?;
            if url.origin() != self.root.origin() {
                let detail = format!(
                    "the next page is at {}, which gets no token of ours",
                    url.origin().ascii_serialization()
                );
                return Err(DiscoveryError::content(place, detail));
            }
        }
    }

    /// The machines, and the scale set of each that is in one.
    async fn machines(&self) -> Result<Vec<(Machine, Option<String>)>, DiscoveryError> {
        let group = &self.of.config.resource_group;
        let version = [("api-version", COMPUTE_VERSION)];
        let compute = |kind| self.url(group, &["Microsoft.Compute", kind], &version);
        let alone: Vec<Machine> = self.list(compute("virtualMachines")).await?;
        let mut machines: Vec<_> = alone.into_iter().map(|machine| (machine, None)).collect();
        let sets: Vec<ScaleSet> = self.list(compute("virtualMachineScaleSets")).await?;
        for set in sets {
            let group = part_of(&set.id, "resourceGroups")
                .ok_or_else(|| DiscoveryError::content(&set.id, "no ID of a scale set"))?;
            let path = [
                "Microsoft.Compute",
                "virtualMachineScaleSets",
                &set.name,
                "virtualMachines",
            ];
            let found: Vec<Machine> = self.list(self.url(group, &path, &version)).await?;
            machines.extend(found.into_iter().map(|machine| (machine, Some(set.name.clone()))));
        }
        Ok(machines)
    }

    /// An interface; `None` where there is none of that ID.
    async fn interface(
        &self,
        id: &str,
        machine: &Machine,
        scale_set: Option<&str>,
    ) -> Result<Option<Interface>, DiscoveryError> {
        if let Some(kept) = self.of.kept(id) {
            return Ok(Some(kept));
        }
        let bad = || DiscoveryError::content(id, "no ID of a network interface");
        let group = part_of(id, "resourceGroups").ok_or_else(bad)?;
        let name = id
            .rsplit('/')
            .next()
            .filter(|name| !name.is_empty())
            .ok_or_else(bad)?;
        let in_set;
        let (path, version): (&[&str], _) = match scale_set {
            None => {
                in_set = ["Microsoft.Network", "networkInterfaces", name, "", "", "", ""];
                (&in_set[..3], NETWORK_VERSION)
            }
            Some(set) => {
                let machine = machine.instance_id.as_str();
                in_set = [
                    "microsoft.Compute",
                    "virtualMachineScaleSets",
                    set,
                    "virtualMachines",
                    machine,
                    "networkInterfaces",
                    name,
                ];
                (&in_set, SCALE_SET_NETWORK_VERSION)
            }
        };
        let parameters = [
            ("$expand", "IPConfigurations/PublicIPAddress"),
            ("api-version", version),
        ];
        let answer = self.get(self.url(group, path, &parameters)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            tracing::warn!(name = id, "Network interface does not exist");
            return Ok(None);
        }
        let interface: Interface = answer.good()?.json()?;
        self.of.keep(id, &interface);
        Ok(Some(interface))
    }

    /// Nothing for a machine without a primary interface, or one whose interface is missing.
    async fn target(
        &self,
        machine: &Machine,
        scale_set: Option<&str>,
    ) -> Result<Option<Labels>, DiscoveryError> {
        let config = &self.of.config;
        let properties = &machine.properties;
        let group = part_of(&machine.id, "resourceGroups")
            .ok_or_else(|| DiscoveryError::content(&machine.id, "no ID of a machine"))?;
        for reference in &properties.network_profile.network_interfaces {
            let Some(interface) = self.interface(&reference.id, machine, scale_set).await? else {
                return Ok(None);
            };
            let Some(interface) = interface.properties else {
                continue;
            };
            // Compat: of a machine that is switched off this is not there (conformance `discovery/azure/vms`).
            let Some(is_primary) = interface.primary else {
                return Ok(None);
            };
            let first = interface.ip_configurations.first().filter(|_| is_primary);
            let Some(first) = first.map(|first| &first.properties) else {
                continue;
            };
            let Some(private) = &first.private_ip_address else {
                let detail = "unable to find a private IP";
                return Err(DiscoveryError::content(&machine.name, detail));
            };
            let mut target = MetaLabels::new("__meta_azure_");
            target
                .address(private, config.port)
                .meta("subscription_id", &config.subscription_id)
                .meta("tenant_id", &config.tenant_id)
                .meta("machine_id", &machine.id)
                .meta("machine_name", &machine.name)
                .meta("machine_computer_name", &properties.os_profile.computer_name)
                .meta("machine_os_type", &properties.storage_profile.os_disk.os_type)
                .meta("machine_location", &machine.location)
                .meta("machine_resource_group", group)
                .meta("machine_size", &properties.hardware_profile.vm_size)
                .meta("machine_scale_set", scale_set.unwrap_or(""))
                .meta("machine_private_ip", private)
                .meta(
                    "machine_public_ip",
                    &first.public_ip_address.properties.ip_address,
                )
                .all("machine_tag_", &machine.tags);
            return target.build().map(Some);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::try_damaged;

    #[test]
    fn parts_of_ids_are_found_whatever_their_case() {
        let id = "/subscriptions/s/resourcegroups/RG/providers/Microsoft.Network/networkInterfaces/nic";
        assert_eq!(part_of(id, "resourceGroups"), Some("RG"));
        for bad in [
            "",
            "/",
            "resourceGroups/x",
            "/subscriptions/s",
            "/resourceGroups",
            "/resourceGroups/",
        ] {
            assert_eq!(part_of(bad, "resourceGroups"), None, "{bad}");
        }
        assert!((0.0..=1.0).contains(&share_of(id)));
    }

    #[test]
    fn damaged_answers_never_panic() {
        let machines = br#"{"value": [{"id": "/subscriptions/s/resourceGroups/g/x/m", "name": "m", "tags": {"a": "b"}, "properties":
            {"networkProfile": {"networkInterfaces": [{"id": "/subscriptions/s/resourceGroups/g/x/nic"}]}, "osProfile":
            {"computerName": "c"}, "hardwareProfile": {"vmSize": "v"}}}], "nextLink": "https://x/"}"#;
        try_damaged(machines, |bytes| {
            let page: Option<Page<Machine>> = serde_json::from_slice(bytes).ok();
            for machine in page.into_iter().flat_map(|page| page.value) {
                let _ = part_of(&machine.id, "resourceGroups");
            }
        });
        let interface = br#"{"properties": {"primary": true, "ipConfigurations": [{"properties": {"privateIPAddress": "192.0.2.1",
            "publicIPAddress": {"properties": {"ipAddress": "203.0.113.1"}}}}]}}"#;
        try_damaged(interface, |bytes| {
            let _: Result<Interface, _> = serde_json::from_slice(bytes);
        });
    }
}
