//! `openstack_sd_configs`: servers, hypervisors or load balancers of an OpenStack cloud.
//!
//! Each refresh logs in, looks up the services in the catalogue that comes with the token, and reads all pages of the
//! lists that the role needs.

mod identity;

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, TlsConfig};
use model::labels::Labels;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use yaml::{Secret, Section, YamlError};

use self::identity::{Login, Session, log_in, parse};
use crate::TargetGroup;
use crate::api::{Api, MINUTE, Round, answers, files_of, read_role};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const PREFIX: &str = "__meta_openstack_";
const AVAILABILITIES: [&str; 3] = ["public", "internal", "admin"];
/// The protocol of listeners that serve a load balancer's own metrics.
const PROMETHEUS: &str = "PROMETHEUS";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenStackConfig {
    /// Keystone's address; without it, all that says who asks comes from the environment.
    pub identity_endpoint: String,
    /// Who asks.
    pub username: String,
    /// Who asks, by number.
    pub userid: String,
    /// The user's password.
    pub password: Secret,
    /// For which project.
    pub project_name: String,
    /// For which project, by number.
    pub project_id: String,
    /// Where the names of user and project are unique.
    pub domain_name: String,
    /// The same by number.
    pub domain_id: String,
    /// An application's credential, instead of a password.
    pub application_credential_name: String,
    /// The same by number.
    pub application_credential_id: String,
    /// Its secret.
    pub application_credential_secret: Secret,
    /// `instance`, `hypervisor` or `loadbalancer`.
    pub role: &'static str,
    /// The region that is looked at.
    pub region: String,
    /// How often to ask; also the longest wait for an answer.
    pub refresh_interval: yaml::Duration,
    /// Port of the targets.
    pub port: i64,
    /// Servers of all projects, not only the one that is logged into.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all_tenants: bool,
    /// Which certificates are trusted.
    pub tls_config: TlsConfig,
    /// Which interface of the services is asked: `public`, `internal` or `admin`.
    pub availability: String,
}

impl Discovery for OpenStackConfig {
    const KEY: &'static str = "openstack_sd_configs";
    const NAME: &'static str = "openstack";
    const HELP: &'static str = "servers, hypervisors and load balancers of OpenStack";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let text = |section: &mut Section<'_>, key| section.get_or(key, String::new());
        let role = read_role(section, &["instance", "hypervisor", "loadbalancer"], None)?;
        let availability = section.get_or("availability", "public".to_owned())?;
        if !AVAILABILITIES.contains(&&*availability) {
            let message =
                format!("unknown availability {availability:?}, must be one of admin, internal or public");
            return Err(section.error_at("availability", message));
        }
        let region = text(section, "region")?;
        if region.is_empty() {
            return Err(section.error_at("region", "openstack SD configuration requires a region"));
        }
        let tls_config = section.value("tls_config").map(TlsConfig::read).transpose()?;
        Ok(OpenStackConfig {
            identity_endpoint: text(section, "identity_endpoint")?,
            username: text(section, "username")?,
            userid: text(section, "userid")?,
            password: section.get_or("password", Secret::default())?,
            project_name: text(section, "project_name")?,
            project_id: text(section, "project_id")?,
            domain_name: text(section, "domain_name")?,
            domain_id: text(section, "domain_id")?,
            application_credential_name: text(section, "application_credential_name")?,
            application_credential_id: text(section, "application_credential_id")?,
            application_credential_secret: section
                .get_or("application_credential_secret", Secret::default())?,
            role,
            region,
            refresh_interval: section.get_or("refresh_interval", MINUTE)?,
            port: section.get_or("port", 80)?,
            all_tenants: section.get_or("all_tenants", false)?,
            tls_config: tls_config.unwrap_or_default(),
            availability,
        })
    }

    files_of!(tls_config);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let http = HttpClientConfig {
            tls_config: self.tls_config.clone(),
            enable_http2: false,
            ..HttpClientConfig::default()
        };
        let login = if self.identity_endpoint.is_empty() {
            Login::from_env(context).map_err(|error| PrepareError::Unavailable(error.into()))?
        } else {
            self.login()
        };
        let poll = OpenStack {
            api: Api::new(context.client(&http)?, self.refresh_interval),
            login,
            config: self.clone(),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

impl OpenStackConfig {
    fn login(&self) -> Login {
        Login {
            endpoint: self.identity_endpoint.clone(),
            user_name: self.username.clone(),
            user_id: self.userid.clone(),
            password: self.password.reveal().to_owned(),
            project_name: self.project_name.clone(),
            project_id: self.project_id.clone(),
            domain_name: self.domain_name.clone(),
            domain_id: self.domain_id.clone(),
            application_name: self.application_credential_name.clone(),
            application_id: self.application_credential_id.clone(),
            application_secret: self.application_credential_secret.reveal().to_owned(),
            ..Login::default()
        }
    }
}

struct OpenStack {
    api: Api,
    login: Login,
    config: OpenStackConfig,
}

impl Poll for OpenStack {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let mut round = self.api.round();
            let session = log_in(&mut round, &self.login).await?;
            let mut cloud = Cloud {
                round,
                session,
                config: &self.config,
            };
            let targets = match self.config.role {
                "hypervisor" => cloud.hypervisors().await,
                "loadbalancer" => cloud.load_balancers().await,
                _ => cloud.instances().await,
            };
            Ok(group(&format!("OS_{}", self.config.region), targets?))
        }
        .boxed()
    }
}

answers! {
    struct Port {
        id: String,
        device_id: String,
    }
    struct FloatingIp {
        floating_ip_address: String,
        fixed_ip_address: String,
        port_id: String,
    }
    struct Server {
        id: String,
        name: String,
        status: String,
        tenant_id: String,
        user_id: String,
        flavor: Value,
        image: Value,
        metadata: BTreeMap<String, String>,
        addresses: BTreeMap<String, Vec<Address>>,
    }
    struct Address {
        addr: String,
    }
    struct Hypervisor {
        /// A number; since microversion 2.53 a UUID.
        id: Value,
        hypervisor_hostname: String,
        host_ip: String,
        status: String,
        state: String,
        hypervisor_type: String,
    }
    struct LoadBalancer {
        id: String,
        name: String,
        vip_address: String,
        vip_port_id: String,
        operating_status: String,
        provisioning_status: String,
        availability_zone: String,
        provider: String,
        project_id: String,
        tags: Vec<String>,
    }
    struct Listener {
        protocol: String,
        protocol_port: i64,
        loadbalancers: Vec<Id>,
    }
    struct Id {
        id: String,
    }
    struct Link {
        rel: String,
        href: String,
    }
}

/// One refresh of a cloud that is logged into.
struct Cloud<'a> {
    round: Round<'a>,
    session: Session,
    config: &'a OpenStackConfig,
}

impl Cloud<'_> {
    async fn address(&mut self, service: &str) -> Result<String, DiscoveryError> {
        let OpenStackConfig {
            region, availability, ..
        } = self.config;
        self.session
            .address(&mut self.round, service, region, availability)
            .await
    }

    /// All pages of a list, which stands under `key` in each.
    async fn list<T: DeserializeOwned>(
        &mut self,
        address: &str,
        key: &str,
    ) -> Result<Vec<T>, DiscoveryError> {
        let mut all = Vec::new();
        let mut next = Some(address.to_owned());
        while let Some(address) = next.take() {
            let request = self.session.get(parse(&address)?);
            let answer = self
                .round
                .send_for(request, |status| status == ::http::StatusCode::OK);
            let answer = answer.await?;
            let mut page: Value = answer.json()?;
            let bad = |error: serde_json::Error| DiscoveryError::content(&answer.url, error);
            all.extend(
                serde_json::from_value::<Option<Vec<T>>>(page[key].take())
                    .map_err(bad)?
                    .unwrap_or_default(),
            );
            let links: Option<Vec<Link>> =
                serde_json::from_value(page[format!("{key}_links")].take()).map_err(bad)?;
            let links = links.into_iter().flatten();
            next = links
                .into_iter()
                .find(|link| link.rel == "next")
                .map(|link| link.href);
        }
        Ok(all)
    }

    async fn instances(&mut self) -> Result<Vec<Labels>, DiscoveryError> {
        let compute = self.address("compute").await?;
        let network = format!("{}v2.0/", self.address("network").await?);
        let ports: Vec<Port> = self.list(&format!("{network}ports"), "ports").await?;
        let devices: HashMap<String, String> =
            ports.into_iter().map(|port| (port.id, port.device_id)).collect();
        let floating: Vec<FloatingIp> = self.list(&format!("{network}floatingips"), "floatingips").await?;
        let mut known = Floating::default();
        for ip in floating {
            if let Some(device) = devices
                .get(&ip.port_id)
                .filter(|_| !ip.fixed_ip_address.is_empty())
            {
                known.all.insert(ip.floating_ip_address.clone());
                known
                    .by_fixed
                    .insert((device.clone(), ip.fixed_ip_address), ip.floating_ip_address);
            }
        }
        let all = if self.config.all_tenants {
            "?all_tenants=true"
        } else {
            ""
        };
        let servers: Vec<Server> = self
            .list(&format!("{compute}servers/detail{all}"), "servers")
            .await?;
        let mut targets = Vec::new();
        for server in &servers {
            of_server(server, &known, self.config.port, &mut targets)?;
        }
        Ok(targets)
    }

    async fn hypervisors(&mut self) -> Result<Vec<Labels>, DiscoveryError> {
        let compute = self.address("compute").await?;
        let hypervisors: Vec<Hypervisor> = self
            .list(&format!("{compute}os-hypervisors/detail"), "hypervisors")
            .await?;
        let targets = hypervisors.iter().map(|hypervisor| {
            MetaLabels::new(PREFIX)
                .address(&hypervisor.host_ip, self.config.port)
                .meta(
                    "hypervisor_id",
                    hypervisor
                        .id
                        .as_str()
                        .map_or(hypervisor.id.to_string(), str::to_owned),
                )
                .meta("hypervisor_hostname", &hypervisor.hypervisor_hostname)
                .meta("hypervisor_host_ip", &hypervisor.host_ip)
                .meta("hypervisor_status", &hypervisor.status)
                .meta("hypervisor_state", &hypervisor.state)
                .meta("hypervisor_type", &hypervisor.hypervisor_type)
                .build()
        });
        targets.collect()
    }

    async fn load_balancers(&mut self) -> Result<Vec<Labels>, DiscoveryError> {
        let balancing = self.address("load-balancer").await?.replace("v2.0/", "");
        let balancing = format!("{balancing}v2.0/lbaas/");
        let network = format!("{}v2.0/", self.address("network").await?);
        let balancers: Vec<LoadBalancer> = self
            .list(&format!("{balancing}loadbalancers"), "loadbalancers")
            .await?;
        let listeners: Vec<Listener> = self.list(&format!("{balancing}listeners"), "listeners").await?;
        let floating: Vec<FloatingIp> = self.list(&format!("{network}floatingips"), "floatingips").await?;
        // The first listener of each balancer that serves metrics.
        let mut ports: HashMap<&str, i64> = HashMap::new();
        for listener in listeners
            .iter()
            .filter(|listener| listener.protocol == PROMETHEUS)
        {
            for balancer in &listener.loadbalancers {
                ports.entry(&balancer.id).or_insert(listener.protocol_port);
            }
        }
        let floating = floating.iter().filter(|ip| !ip.port_id.is_empty());
        let floating: HashMap<&str, &str> = floating
            .map(|ip| (&*ip.port_id, &*ip.floating_ip_address))
            .collect();
        let mut targets = Vec::new();
        for balancer in &balancers {
            if let Some(port) = ports.get(&*balancer.id) {
                let public = floating.get(&*balancer.vip_port_id).copied();
                targets.push(of_balancer(balancer, *port, public.unwrap_or(""))?);
            }
        }
        Ok(targets)
    }
}

/// Floating addresses that lead to servers.
#[derive(Default)]
struct Floating {
    all: HashSet<String>,
    /// By server and the fixed address that they lead to.
    by_fixed: HashMap<(String, String), String>,
}

/// A target for each fixed address in each pool.
fn of_server(
    server: &Server,
    floating: &Floating,
    port: i64,
    targets: &mut Vec<Labels>,
) -> Result<(), DiscoveryError> {
    let flavor = &server.flavor;
    let Some(flavor) = flavor["original_name"].as_str().or_else(|| flavor["id"].as_str()) else {
        return Ok(());
    };
    let mut common = MetaLabels::new(PREFIX);
    common
        .meta("instance_id", &server.id)
        .meta("instance_status", &server.status)
        .meta("instance_name", &server.name)
        .meta("project_id", &server.tenant_id)
        .meta("user_id", &server.user_id)
        .meta("instance_flavor", flavor)
        .meta("instance_image", server.image["id"].as_str().unwrap_or(""))
        .all("tag_", &server.metadata);
    for (pool, addresses) in &server.addresses {
        for Address { addr } in addresses
            .iter()
            .filter(|address| !floating.all.contains(&address.addr))
        {
            let mut target = common.clone();
            target
                .meta("address_pool", pool)
                .meta("private_ip", addr)
                .address(addr, port);
            if let Some(public) = floating.by_fixed.get(&(server.id.clone(), addr.clone())) {
                target.meta("public_ip", public);
            }
            targets.push(target.build()?);
        }
    }
    Ok(())
}

fn of_balancer(balancer: &LoadBalancer, port: i64, public: &str) -> Result<Labels, DiscoveryError> {
    MetaLabels::new(PREFIX)
        .address(&balancer.vip_address, port)
        .meta("loadbalancer_id", &balancer.id)
        .meta("loadbalancer_name", &balancer.name)
        .meta("loadbalancer_operating_status", &balancer.operating_status)
        .meta("loadbalancer_provisioning_status", &balancer.provisioning_status)
        .meta("loadbalancer_availability_zone", &balancer.availability_zone)
        .meta("loadbalancer_vip", &balancer.vip_address)
        .meta("loadbalancer_provider", &balancer.provider)
        .meta("project_id", &balancer.project_id)
        // Compat: joined, not surrounded (conformance `discovery/openstack/roles`).
        .meta("loadbalancer_tags", balancer.tags.join(","))
        .meta("loadbalancer_floating_ip", public)
        .build()
}
