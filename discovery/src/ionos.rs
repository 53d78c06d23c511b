//! `ionos_sd_configs`: servers of a data centre of IONOS Cloud.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::labels::Labels;
use serde::Serialize;
use url::Url;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, ApiSettings, MINUTE, answers, files_of, url};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, SEPARATOR, group, surrounded};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const DATACENTERS: &str = "https://api.ionos.com/cloudapi/v6/datacenters";
/// What the reference's client asks for: all that belongs to a server, one page.
const PARAMETERS: [(&str, &str); 4] = [
    ("depth", "3"),
    ("limit", "1000"),
    ("offset", "0"),
    ("pretty", "true"),
];
const NIC_WITHOUT_NAME: &str = "unnamed";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IonosConfig {
    /// The data centre.
    pub datacenter_id: String,
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// Port of the targets.
    pub port: i64,
}

impl Discovery for IonosConfig {
    const KEY: &'static str = "ionos_sd_configs";
    const NAME: &'static str = "ionos";
    const HELP: &'static str = "servers of a data centre of IONOS Cloud";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let datacenter_id: String = section.get_or("datacenter_id", String::new())?;
        if datacenter_id.is_empty() {
            return Err(section.error_at("datacenter_id", "datacenter id can't be empty"));
        }
        Ok(IonosConfig {
            datacenter_id,
            port: section.get_or("port", 80)?,
            api: ApiSettings::read(section, MINUTE)?,
        })
    }

    files_of!(api);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let mut servers =
            url(DATACENTERS, &PARAMETERS).map_err(|error| PrepareError::Unavailable(error.into()))?;
        if let Ok(mut path) = servers.path_segments_mut() {
            path.push(&self.datacenter_id).push("servers");
        }
        let poll = Ionos {
            api: self.api.client(context)?,
            servers,
            port: self.port,
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

struct Ionos {
    api: Api,
    servers: Url,
    port: i64,
}

impl Poll for Ionos {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let servers: Servers = self.api.round().get_json(self.servers.clone()).await?;
            let mut targets = Vec::new();
            for server in &servers.items {
                targets.extend(of_server(server, &servers.id, self.port)?);
            }
            Ok(group("ionos", targets))
        }
        .boxed()
    }
}

answers! {
    struct Servers {
        id: String,
        items: Vec<Server>,
    }
    struct Server {
        id: String,
        metadata: Metadata,
        properties: Properties,
        entities: Entities,
    }
    struct Metadata {
        state: String,
    }
    #[serde(rename_all = "camelCase")]
    struct Properties {
        name: String,
        availability_zone: String,
        vm_state: String,
        cpu_family: String,
        #[serde(rename = "type")]
        kind: String,
        boot_cdrom: Reference,
        boot_volume: Reference,
    }
    struct Reference {
        id: String,
    }
    struct Entities {
        volumes: Volumes,
        nics: Nics,
    }
    struct Volumes {
        items: Vec<Volume>,
    }
    struct Volume {
        properties: VolumeProperties,
    }
    struct VolumeProperties {
        image: String,
    }
    struct Nics {
        items: Vec<Nic>,
    }
    struct Nic {
        properties: Option<NicProperties>,
    }
    struct NicProperties {
        name: Option<String>,
        ips: Vec<String>,
    }
}

/// Nothing for a server without addresses.
fn of_server(server: &Server, list: &str, port: i64) -> Result<Option<Labels>, DiscoveryError> {
    let mut all: Vec<&str> = Vec::new();
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // Compat: the addresses of the last interface come first (conformance `discovery/ionos/servers`).
    for nic in server.entities.nics.items.iter().rev() {
        let Some(nic) = &nic.properties else { continue };
        let name = nic.name.as_deref().unwrap_or(NIC_WITHOUT_NAME);
        let ips = || nic.ips.iter().map(String::as_str);
        all.extend(ips());
        by_name.entry(name).or_default().extend(ips());
    }
    let Some(first) = all.first() else { return Ok(None) };
    let properties = &server.properties;
    let mut target = MetaLabels::new("__meta_ionos_server_");
    target
        .address(first, port)
        .meta("ip", surrounded(&all, SEPARATOR))
        .meta("availability_zone", &properties.availability_zone)
        .meta("cpu_family", &properties.cpu_family)
        .meta("servers_id", list)
        .meta("id", &server.id)
        .meta("lifecycle", &server.metadata.state)
        .meta("name", &properties.name)
        .meta("state", &properties.vm_state)
        .meta("type", &properties.kind)
        .meta("boot_cdrom_id", &properties.boot_cdrom.id)
        .meta("boot_volume_id", &properties.boot_volume.id);
    if let Some(volume) = server.entities.volumes.items.first() {
        target.meta("boot_image_id", &volume.properties.image);
    }
    for (name, ips) in by_name {
        target.meta_of("nic_ip_", name, surrounded(&ips, SEPARATOR));
    }
    target.build().map(Some)
}
