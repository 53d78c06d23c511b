//! `hetzner_sd_configs`: servers of Hetzner, in its cloud (`hcloud`) or dedicated (`robot`).

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::Request;
use model::labels::Labels;
use serde::Serialize;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, ApiSettings, MINUTE, Round, answers, files_of, read_role, url};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const HCLOUD: &str = "https://api.hetzner.cloud/v1";
const ROBOT: &str = "https://robot-ws.your-server.de/server";
/// Members of a page, the most that there are.
const PER_PAGE: &str = "50";
/// Compat: how the reference writes an address that a server does not have (conformance `discovery/hetzner/hcloud`).
const NO_ADDRESS: &str = "<nil>";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HetznerConfig {
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// Port of the targets.
    pub port: i64,
    /// `hcloud` or `robot`.
    pub role: &'static str,
    /// Servers of the cloud that are wanted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label_selector: String,
}

impl Discovery for HetznerConfig {
    const KEY: &'static str = "hetzner_sd_configs";
    const NAME: &'static str = "hetzner";
    const HELP: &'static str = "servers of Hetzner's cloud, and dedicated ones";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(HetznerConfig {
            port: section.get_or("port", 80)?,
            role: read_role(section, &["robot", "hcloud"], None)?,
            label_selector: section.get_or("label_selector", String::new())?,
            api: ApiSettings::read(section, MINUTE)?,
        })
    }

    files_of!(api);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = Hetzner {
            api: self.api.client(context)?,
            config: self.clone(),
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

struct Hetzner {
    api: Api,
    config: HetznerConfig,
}

impl Poll for Hetzner {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let mut round = self.api.round();
            let targets = match self.config.role {
                "robot" => robot(&mut round, &self.config).await?,
                _ => hcloud(&mut round, &self.config).await?,
            };
            Ok(group("hetzner", targets))
        }
        .boxed()
    }
}

answers! {
    struct Page {
        servers: Vec<Server>,
        networks: Vec<Network>,
        meta: Meta,
    }
    struct Meta {
        pagination: Pagination,
    }
    struct Pagination {
        next_page: u64,
    }
    struct Network {
        id: i64,
        name: String,
    }
    struct Server {
        id: i64,
        name: String,
        status: String,
        public_net: PublicNet,
        private_net: Vec<PrivateNet>,
        server_type: ServerType,
        location: Location,
        labels: BTreeMap<String, String>,
        image: Option<Image>,
    }
    struct PublicNet {
        ipv4: Address,
        ipv6: Address,
    }
    struct Address {
        ip: String,
    }
    struct PrivateNet {
        network: i64,
        ip: String,
    }
    struct ServerType {
        name: String,
        cores: i64,
        cpu_type: String,
        memory: f64,
        disk: i64,
    }
    struct Location {
        name: String,
        network_zone: String,
    }
    struct Image {
        name: String,
        description: String,
        os_flavor: String,
        os_version: String,
    }
    struct RobotEntry {
        server: RobotServer,
    }
    struct RobotServer {
        server_ip: String,
        server_number: i64,
        server_name: String,
        dc: String,
        status: String,
        product: String,
        cancelled: bool,
        subnet: Vec<Subnet>,
    }
    struct Subnet {
        ip: String,
        mask: String,
    }
}

/// All pages of a list.
async fn pages(
    round: &mut Round<'_>,
    list: &str,
    selector: &str,
    mut take: impl FnMut(Page),
) -> Result<(), DiscoveryError> {
    let mut page = 1;
    while page != 0 {
        let number = page.to_string();
        let mut parameters = vec![("page", number.as_str()), ("per_page", PER_PAGE)];
        if !selector.is_empty() {
            parameters.push(("label_selector", selector));
        }
        let answer: Page = round
            .get_json(url(&format!("{HCLOUD}/{list}"), &parameters)?)
            .await?;
        page = answer.meta.pagination.next_page;
        take(answer);
    }
    Ok(())
}

async fn hcloud(round: &mut Round<'_>, config: &HetznerConfig) -> Result<Vec<Labels>, DiscoveryError> {
    let mut servers = Vec::new();
    pages(round, "servers", &config.label_selector, |page| {
        servers.extend(page.servers);
    })
    .await?;
    let mut networks = HashMap::new();
    pages(round, "networks", "", |page| {
        networks.extend(
            page.networks
                .into_iter()
                .map(|network| (network.id, network.name)),
        );
    })
    .await?;
    servers
        .iter()
        .map(|server| of_cloud(server, &networks, config.port))
        .collect()
}

fn of_cloud(server: &Server, networks: &HashMap<i64, String>, port: i64) -> Result<Labels, DiscoveryError> {
    let ipv4 = address(&server.public_net.ipv4.ip);
    let mut target = MetaLabels::new("__meta_hetzner_");
    target
        .address(&ipv4, port)
        .meta("role", "hcloud")
        .meta("server_id", server.id)
        .meta("server_name", &server.name)
        .meta("server_status", &server.status)
        .meta("public_ipv4", &ipv4)
        .meta("public_ipv6_network", network(&server.public_net.ipv6.ip))
        .meta("hcloud_location", &server.location.name)
        .meta("hcloud_location_network_zone", &server.location.network_zone)
        // The same under the names of before.
        .meta("hcloud_datacenter_location", &server.location.name)
        .meta("hcloud_datacenter_location_network_zone", &server.location.network_zone)
        .meta("hcloud_server_type", &server.server_type.name)
        .meta("hcloud_cpu_cores", server.server_type.cores)
        .meta("hcloud_cpu_type", &server.server_type.cpu_type)
        // Compat: cut to whole gigabytes.
        .meta("hcloud_memory_size_gb", server.server_type.memory as i64)
        .meta("hcloud_disk_size_gb", server.server_type.disk);
    if let Some(image) = &server.image {
        target
            .meta("hcloud_image_name", &image.name)
            .meta("hcloud_image_description", &image.description)
            .meta("hcloud_image_os_version", &image.os_version)
            .meta("hcloud_image_os_flavor", &image.os_flavor);
    }
    for private in &server.private_net {
        if let Some(name) = networks.get(&private.network) {
            target.meta_of("hcloud_private_ipv4_", name, address(&private.ip));
        }
    }
    for (name, value) in &server.labels {
        target
            .meta_of("hcloud_labelpresent_", name, true)
            .meta_of("hcloud_label_", name, value);
    }
    target.build()
}

fn address(text: &str) -> String {
    text.parse::<IpAddr>()
        .map_or_else(|_| NO_ADDRESS.to_owned(), |ip| ip.to_canonical().to_string())
}

/// A network without the bits behind its prefix.
fn network(text: &str) -> String {
    let read = || {
        let (ip, length) = text.split_once('/')?;
        let (ip, length): (Ipv6Addr, u32) = (ip.parse().ok()?, length.parse().ok()?);
        let mask = u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
        Some(format!("{}/{length}", Ipv6Addr::from(u128::from(ip) & mask)))
    };
    read().unwrap_or_else(|| NO_ADDRESS.to_owned())
}

async fn robot(round: &mut Round<'_>, config: &HetznerConfig) -> Result<Vec<Labels>, DiscoveryError> {
    let request = Request::get(url(ROBOT, &[])?);
    let servers: Vec<RobotEntry> = round.send(request).await?.json_list()?;
    let labels = servers.iter().map(|RobotEntry { server }| {
        let mut target = MetaLabels::new("__meta_hetzner_");
        let datacenter = server.dc.to_lowercase();
        target
            .address(&server.server_ip, config.port)
            .meta("role", "robot")
            .meta("server_id", server.server_number)
            .meta("server_name", &server.server_name)
            .meta("server_status", &server.status)
            .meta("public_ipv4", &server.server_ip)
            .meta("datacenter", &datacenter)
            .meta("robot_datacenter", &datacenter)
            .meta("robot_product", &server.product)
            .meta("robot_cancelled", server.cancelled);
        let is_v4 = |subnet: &&Subnet| {
            subnet
                .ip
                .parse()
                .is_ok_and(|ip: IpAddr| ip.to_canonical().is_ipv4())
        };
        if let Some(subnet) = server.subnet.iter().find(|subnet| !is_v4(subnet)) {
            target.meta(
                "public_ipv6_network",
                format_args!("{}/{}", subnet.ip, subnet.mask),
            );
        }
        target.build()
    });
    labels.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_lose_the_bits_behind_their_prefix() {
        assert_eq!(network("2001:db8:1:2:3::9/64"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8::1/128"), "2001:db8::1/128");
        assert_eq!(network("2001:db8::1/0"), "::/0");
        for bad in ["", "2001:db8::1", "2001:db8::/129", "192.0.2.1/24x"] {
            assert_eq!(network(bad), NO_ADDRESS, "{bad}");
        }
    }
}
