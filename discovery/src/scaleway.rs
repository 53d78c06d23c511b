//! `scaleway_sd_configs`: instances or bare metal servers of Scaleway.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::Request;
use model::labels::Labels;
use serde::Serialize;
use url::Url;
use yaml::{Secret, Section, YamlError};

use crate::TargetGroup;
use crate::api::{
    Api, ApiSettings, MINUTE, Round, TokenFile, answers, is_empty_path, read_role, resolve, url,
};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, SEPARATOR, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalewayConfig {
    /// The project.
    pub project_id: String,
    /// The API's address.
    pub api_url: String,
    /// The zone that is looked at.
    pub zone: String,
    /// Names the key.
    pub access_key: String,
    /// The key.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub secret_key: Secret,
    /// File that holds it.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub secret_key_file: PathBuf,
    /// Name that is wanted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_filter: String,
    /// Tags that are wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags_filter: Vec<String>,
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// Port of the targets.
    pub port: i64,
    /// `instance` or `baremetal`.
    pub role: &'static str,
}

impl Discovery for ScalewayConfig {
    const KEY: &'static str = "scaleway_sd_configs";
    const NAME: &'static str = "scaleway";
    const HELP: &'static str = "instances and bare metal servers of Scaleway";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let config = ScalewayConfig {
            project_id: section.get_or("project_id", String::new())?,
            api_url: section.get_or("api_url", "https://api.scaleway.com".to_owned())?,
            zone: section.get_or("zone", "fr-par-1".to_owned())?,
            access_key: section.get_or("access_key", String::new())?,
            secret_key: section.get_or("secret_key", Secret::default())?,
            secret_key_file: PathBuf::from(section.get_or("secret_key_file", String::new())?),
            name_filter: section.get_or("name_filter", String::new())?,
            tags_filter: section.get_or("tags_filter", Vec::new())?,
            port: section.get_or("port", 80)?,
            role: read_role(section, &["instance", "baremetal"], None)?,
            api: ApiSettings::read(section, MINUTE)?,
        };
        match config.problem() {
            Some((key, message)) => Err(section.error_at(key, message)),
            None => Ok(config),
        }
    }

    fn resolve_paths(&mut self, folder: &Path) {
        self.api.resolve_paths(folder);
        resolve(folder, &mut self.secret_key_file);
    }

    fn files(&self) -> Vec<&Path> {
        let mut files = self.api.files();
        files.push(&self.secret_key_file);
        files.retain(|file| !is_empty_path(file));
        files
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = Scaleway {
            api: self.api.client(context)?,
            key_file: TokenFile::new(&self.secret_key_file),
            config: self.clone(),
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

impl ScalewayConfig {
    /// What is wrong, and at which key.
    fn problem(&self) -> Option<(&'static str, String)> {
        let (key, file) = (self.secret_key.reveal(), !is_empty_path(&self.secret_key_file));
        let is_access_key = self.access_key.strip_prefix("SCW").is_some_and(|rest| {
            rest.len() == 17
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        });
        let uuid = "expected a UUID: xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
        let (at, message) = if self.project_id.is_empty() {
            ("project_id", "project_id is mandatory".to_owned())
        } else if key.is_empty() && !file {
            (
                "secret_key",
                "one of secret_key & secret_key_file must be configured".to_owned(),
            )
        } else if !key.is_empty() && file {
            let message = "at most one of secret_key & secret_key_file must be configured";
            ("secret_key_file", message.to_owned())
        } else if self.access_key.is_empty() {
            ("access_key", "access_key is mandatory".to_owned())
        } else if !is_access_key {
            let message = format!(
                "invalid access key format {:?}, expected SCWXXXXXXXXXXXXXXXXX format",
                self.access_key
            );
            ("access_key", message)
        } else if !file && !is_uuid(key) {
            ("secret_key", format!("invalid secret key format, {uuid}"))
        } else if !is_uuid(&self.project_id) {
            (
                "project_id",
                format!("invalid project ID format {:?}, {uuid}", self.project_id),
            )
        } else if region(&self.zone).is_none() {
            (
                "zone",
                format!("invalid zone {:?}, expected one like fr-par-1", self.zone),
            )
        } else if let Err(error) = Url::parse(&self.api_url) {
            ("api_url", format!("invalid url {:?}: {error}", self.api_url))
        } else {
            return None;
        };
        Some((at, message))
    }
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The region of a zone: `fr-par` of `fr-par-1`.
fn region(zone: &str) -> Option<&str> {
    let (region, number) = zone.rsplit_once('-')?;
    let (country, city) = region.split_once('-')?;
    let letters =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_zone = letters(country, 2) && letters(city, 3) && matches!(number.as_bytes(), [b'0'..=b'9']);
    is_zone.then_some(region)
}

struct Scaleway {
    api: Api,
    key_file: Option<TokenFile>,
    config: ScalewayConfig,
}

impl Poll for Scaleway {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let key = match &self.key_file {
                Some(file) => file.read().await?,
                None => self.config.secret_key.reveal().to_owned(),
            };
            let mut lists = Lists {
                round: self.api.round(),
                root: self.config.api_url.trim_end_matches('/'),
                key,
            };
            let targets = match self.config.role {
                "baremetal" => baremetal(&mut lists, &self.config).await?,
                _ => instances(&mut lists, &self.config).await?,
            };
            Ok(group("scaleway", targets))
        }
        .boxed()
    }
}

struct Lists<'a> {
    round: Round<'a>,
    root: &'a str,
    key: String,
}

impl Lists<'_> {
    /// All pages of a list.
    async fn all<T>(
        &mut self,
        path: &str,
        parameters: &[(&str, &str)],
        members: impl Fn(Page) -> Vec<T>,
    ) -> Result<Vec<T>, DiscoveryError> {
        let mut all = Vec::new();
        for number in 1_u64.. {
            let number = number.to_string();
            let mut with_page = parameters.to_vec();
            with_page.push(("page", &number));
            let request = Request::get(url(&format!("{}/{path}", self.root), &with_page)?);
            let request = request
                .header("accept", "application/json")
                .secret_header("x-auth-token", &self.key);
            let answer = self.round.send(request).await?;
            let page: Page = answer.json()?;
            // Some say how many there are in a header, some in the answer.
            let total = answer.header("x-total-count").parse().unwrap_or(page.total_count);
            let found = members(page);
            let is_last = found.is_empty() || (all.len() + found.len()) as u64 >= total;
            all.extend(found);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    async fn servers(
        &mut self,
        product: &str,
        order: (&str, &str),
        config: &ScalewayConfig,
    ) -> Result<Vec<Server>, DiscoveryError> {
        let mut parameters = vec![order];
        if !config.name_filter.is_empty() {
            parameters.push(("name", &config.name_filter));
        }
        // Compat: the two products take their lists differently.
        let joined = config.tags_filter.join(",");
        if product == "baremetal" {
            parameters.extend(config.tags_filter.iter().map(|tag| ("tags", tag.as_str())));
        } else if !joined.is_empty() {
            parameters.push(("tags", &joined));
        }
        let path = format!("{product}/v1/zones/{}/servers", config.zone);
        self.all(&path, &parameters, |page| page.servers).await
    }
}

answers! {
    struct Page {
        total_count: u64,
        servers: Vec<Server>,
        ips: Vec<PrivateIp>,
        offers: Vec<Named>,
        os: Vec<Named>,
    }
    struct Server {
        id: String,
        name: String,
        organization: String,
        project: String,
        project_id: String,
        tags: Vec<String>,
        commercial_type: String,
        hostname: String,
        private_ip: Option<String>,
        // Of an instance.
        state: String,
        boot_type: String,
        zone: String,
        image: Option<Image>,
        public_ip: Option<Ip>,
        ipv6: Option<Ip>,
        public_ips: Vec<Ip>,
        location: Location,
        security_group: Named,
        private_nics: Vec<Named>,
        // Of bare metal.
        status: String,
        offer_id: String,
        install: Option<Install>,
        ips: Vec<Ip>,
    }
    struct Image {
        id: String,
        name: String,
        arch: String,
    }
    struct Ip {
        address: String,
        family: String,
        version: String,
    }
    struct Location {
        cluster_id: String,
        hypervisor_id: String,
        node_id: String,
    }
    struct Named {
        id: String,
        name: String,
        version: String,
    }
    struct Install {
        os_id: String,
    }
    struct PrivateIp {
        address: String,
        is_ipv6: bool,
        resource: Named,
    }
}

async fn instances(lists: &mut Lists<'_>, config: &ScalewayConfig) -> Result<Vec<Labels>, DiscoveryError> {
    let servers = lists
        .servers("instance", ("order", "creation_date_desc"), config)
        .await?;
    // Interfaces of private networks, of servers that have no address otherwise.
    let mut by_region: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for server in &servers {
        if server.private_ip.is_some() || server.public_ip.is_some() || server.ipv6.is_some() {
            continue;
        }
        for nic in server.private_nics.iter().filter(|nic| !nic.id.is_empty()) {
            let region = region(&server.zone).ok_or_else(|| {
                DiscoveryError::content(lists.root, format_args!("unknown zone {:?}", server.zone))
            })?;
            by_region.entry(region).or_default().push(&nic.id);
        }
    }
    let mut private = HashMap::new();
    for (region, nics) in by_region {
        let joined: Vec<(&str, &str)> = nics.iter().map(|nic| ("resource_ids", *nic)).collect();
        let fixed = [
            ("order_by", "created_at_desc"),
            ("resource_type", "unknown_type"),
            ("resource_types", "instance_private_nic"),
        ];
        let parameters = [&fixed[..], &joined].concat();
        let path = format!("ipam/v1/regions/{region}/ips");
        for ip in lists.all(&path, &parameters, |page| page.ips).await? {
            let address = ip.address.split('/').next().unwrap_or("");
            if !ip.is_ipv6 && !address.is_empty() {
                private.insert(ip.resource.id, address.to_owned());
            }
        }
    }
    let mut targets = Vec::new();
    for server in &servers {
        targets.extend(of_instance(server, &private, config.port)?);
    }
    Ok(targets)
}

/// Nothing for an instance without addresses.
fn of_instance(
    server: &Server,
    private: &HashMap<String, String>,
    port: i64,
) -> Result<Option<Labels>, DiscoveryError> {
    let mut target = MetaLabels::new("__meta_scaleway_instance_");
    let of_family = |family: &str| -> Vec<&str> {
        let ips = server.public_ips.iter().filter(|ip| ip.family == family);
        ips.map(|ip| ip.address.as_str()).collect()
    };
    target
        .meta("boot_type", &server.boot_type)
        .meta("hostname", &server.hostname)
        .meta("id", &server.id)
        .meta("name", &server.name)
        .meta("organization_id", &server.organization)
        .meta("project_id", &server.project)
        .meta("status", &server.state)
        .meta("type", &server.commercial_type)
        .meta("zone", &server.zone)
        .meta("region", region(&server.zone).unwrap_or(""))
        .meta("location_cluster_id", &server.location.cluster_id)
        .meta("location_hypervisor_id", &server.location.hypervisor_id)
        .meta("location_node_id", &server.location.node_id)
        .meta("security_group_id", &server.security_group.id)
        .meta("security_group_name", &server.security_group.name)
        .list("tags", &server.tags, SEPARATOR)
        .list("public_ipv4_addresses", &of_family("inet"), SEPARATOR)
        .list("public_ipv6_addresses", &of_family("inet6"), SEPARATOR);
    if let Some(image) = &server.image {
        target
            .meta("image_arch", &image.arch)
            .meta("image_id", &image.id)
            .meta("image_name", &image.name);
    }
    let mut address = "";
    if let Some(ip) = &server.ipv6 {
        target.meta("public_ipv6", &ip.address);
        address = &ip.address;
    }
    if let Some(ip) = &server.public_ip {
        if ip.family != "inet6" {
            target.meta("public_ipv4", &ip.address);
        }
        address = &ip.address;
    }
    if let Some(ip) = &server.private_ip {
        target.meta("private_ipv4", ip);
        address = ip;
    }
    if address.is_empty()
        && let Some(ip) = server.private_nics.iter().find_map(|nic| private.get(&nic.id))
    {
        target.meta("private_ipv4", ip);
        address = ip;
    }
    if address.is_empty() {
        return Ok(None);
    }
    target.address(address, port);
    target.build().map(Some)
}

async fn baremetal(lists: &mut Lists<'_>, config: &ScalewayConfig) -> Result<Vec<Labels>, DiscoveryError> {
    let servers = lists
        .servers("baremetal", ("order_by", "created_at_asc"), config)
        .await?;
    let zone = format!("baremetal/v1/zones/{}", config.zone);
    let any_period = [("subscription_period", "unknown_subscription_period")];
    let offers = lists
        .all(&format!("{zone}/offers"), &any_period, |page| page.offers)
        .await?;
    let systems = lists.all(&format!("{zone}/os"), &[], |page| page.os).await?;
    let by_id = |list: &[Named], id: &str| list.iter().position(|named| named.id == id);
    let targets = servers.iter().map(|server| {
        let mut target = MetaLabels::new("__meta_scaleway_baremetal_");
        target
            .meta("id", &server.id)
            .meta("name", &server.name)
            .meta("zone", &server.zone)
            .meta("status", &server.status)
            .meta("project_id", &server.project_id)
            .list("tags", &server.tags, SEPARATOR);
        if let Some(at) = by_id(&offers, &server.offer_id) {
            target.meta("type", &offers[at].name);
        }
        if let Some(at) = server
            .install
            .as_ref()
            .and_then(|install| by_id(&systems, &install.os_id))
        {
            target
                .meta("os_name", &systems[at].name)
                .meta("os_version", &systems[at].version);
        }
        let first = |version: &str| server.ips.iter().find(|ip| ip.version == version);
        let (v4, v6) = (first("IPv4"), first("IPv6"));
        if let Some(odd) = server
            .ips
            .iter()
            .find(|ip| !matches!(&*ip.version, "IPv4" | "IPv6"))
        {
            return Err(DiscoveryError::content(
                lists.root,
                format_args!("unknown IP version: {}", odd.version),
            ));
        }
        target.meta("public_ipv4", v4.map_or("", |ip| &ip.address));
        target.meta("public_ipv6", v6.map_or("", |ip| &ip.address));
        if let Some(ip) = v4.or(v6) {
            target.address(&ip.address, config.port);
        }
        target.build()
    });
    targets.collect()
}
