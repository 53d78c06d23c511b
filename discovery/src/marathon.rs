//! `marathon_sd_configs`: the tasks of Marathon's apps.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::Request;
use model::labels::Labels;
use serde::Serialize;
use yaml::{Secret, Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, ApiSettings, TokenFile, answers, is_empty_path, resolve, url};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, host_port};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const APPS: &str = "/v2/apps/?embed=apps.tasks";
const DEFAULT_REFRESH_INTERVAL: yaml::Duration = yaml::Duration::from_ms(30_000);

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MarathonConfig {
    /// Masters, one of which is asked.
    pub servers: Vec<String>,
    /// Token of DC/OS.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub auth_token: Secret,
    /// File that holds it.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub auth_token_file: PathBuf,
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
}

impl Discovery for MarathonConfig {
    const KEY: &'static str = "marathon_sd_configs";
    const NAME: &'static str = "marathon";
    const HELP: &'static str = "tasks of Marathon's apps";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let servers: Vec<String> = section.get_or("servers", Vec::new())?;
        if servers.is_empty() {
            return Err(section.error_at(
                "servers",
                "marathon_sd: must contain at least one Marathon server",
            ));
        }
        let auth_token: Secret = section.get_or("auth_token", Secret::default())?;
        let auth_token_file = PathBuf::from(section.get_or("auth_token_file", String::new())?);
        let problem = if !auth_token.is_empty() && !is_empty_path(&auth_token_file) {
            Some(("auth_token_file", "auth_token & auth_token_file"))
        } else if auth_token.is_empty() && is_empty_path(&auth_token_file) {
            None
        } else {
            let others = [
                ("basic_auth", "basic_auth, auth_token & auth_token_file"),
                (
                    "bearer_token",
                    "bearer_token, bearer_token_file, auth_token & auth_token_file",
                ),
                (
                    "bearer_token_file",
                    "bearer_token, bearer_token_file, auth_token & auth_token_file",
                ),
                ("authorization", "auth_token, auth_token_file & authorization"),
            ];
            others.into_iter().find(|(key, _)| section.has(key))
        };
        if let Some((key, names)) = problem {
            let message = format!("marathon_sd: at most one of {names} must be configured");
            return Err(section.error_at(key, message));
        }
        Ok(MarathonConfig {
            servers,
            auth_token,
            auth_token_file,
            api: ApiSettings::read(section, DEFAULT_REFRESH_INTERVAL)?,
        })
    }

    fn resolve_paths(&mut self, folder: &Path) {
        self.api.resolve_paths(folder);
        resolve(folder, &mut self.auth_token_file);
    }

    fn files(&self) -> Vec<&Path> {
        let mut files = self.api.files();
        files.push(&self.auth_token_file);
        files.retain(|file| !is_empty_path(file));
        files
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = Marathon {
            api: self.api.client(context)?,
            token_file: TokenFile::new(&self.auth_token_file),
            config: self.clone(),
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

struct Marathon {
    api: Api,
    token_file: Option<TokenFile>,
    config: MarathonConfig,
}

impl Poll for Marathon {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let servers = &self.config.servers;
            // Hash maps are seeded with a different number each time.
            let chosen = RandomState::new().build_hasher().finish() as usize % servers.len();
            let mut request = Request::get(url(&format!("{}{APPS}", servers[chosen]), &[])?);
            if let Some(file) = &self.token_file {
                request = request.secret_header("authorization", format!("token={}", file.read().await?));
            } else if !self.config.auth_token.is_empty() {
                let token = format!("token={}", self.config.auth_token.reveal());
                request = request.secret_header("authorization", token);
            }
            let apps: Apps = self.api.round().send(request).await?.json()?;
            // Of two with the same name the later one counts.
            let mut groups: HashMap<String, TargetGroup> = HashMap::new();
            for app in &apps.apps {
                groups.insert(app.id.clone(), of_app(app)?);
            }
            Ok(groups.into_values().collect())
        }
        .boxed()
    }
}

answers! {
    struct Apps {
        apps: Vec<App>,
    }
    #[serde(rename_all = "camelCase")]
    struct App {
        id: String,
        tasks: Vec<Task>,
        labels: BTreeMap<String, String>,
        container: Container,
        port_definitions: Vec<PortDefinition>,
        networks: Vec<Network>,
        require_ports: bool,
    }
    #[serde(rename_all = "camelCase")]
    struct Task {
        id: String,
        host: String,
        ports: Vec<u32>,
        ip_addresses: Vec<Address>,
    }
    struct Address {
        #[serde(rename = "ipAddress")]
        ip_address: String,
    }
    #[serde(rename_all = "camelCase")]
    struct Container {
        docker: Docker,
        port_mappings: Vec<PortMapping>,
    }
    #[serde(rename_all = "camelCase")]
    struct Docker {
        image: String,
        port_mappings: Vec<PortMapping>,
    }
    #[serde(rename_all = "camelCase")]
    struct PortMapping {
        labels: BTreeMap<String, String>,
        container_port: u32,
        host_port: u32,
    }
    struct PortDefinition {
        labels: BTreeMap<String, String>,
        port: u32,
    }
    struct Network {
        mode: String,
    }
}

fn of_app(app: &App) -> Result<TargetGroup, DiscoveryError> {
    let mut common = MetaLabels::new("__meta_marathon_");
    common
        .meta("app", &app.id)
        .meta("image", &app.container.docker.image);
    for (name, value) in &app.labels {
        common.meta_of("app_label_", name, value);
    }
    Ok(TargetGroup {
        source: app.id.clone(),
        targets: targets(app)?,
        labels: common.build()?,
    })
}

/// A port as the app defines it; 0 where it is chosen for each task.
struct Port<'a> {
    number: u32,
    labels: Option<&'a BTreeMap<String, String>>,
}

/// The ports that the app itself defines, and the prefix of their labels.
fn defined_ports(app: &App, is_container_net: bool) -> (Vec<Port<'_>>, &'static str) {
    // Before Marathon 1.5 the mappings stood below docker.
    let mappings = [&app.container.port_mappings, &app.container.docker.port_mappings];
    if let Some(mappings) = mappings.into_iter().find(|mappings| !mappings.is_empty()) {
        let ports = mappings.iter().map(|mapping| Port {
            number: if is_container_net {
                mapping.container_port
            } else {
                mapping.host_port
            },
            labels: Some(&mapping.labels),
        });
        return (ports.collect(), "port_mapping_label_");
    }
    let ports = app.port_definitions.iter().map(|definition| Port {
        // A port that is not required is that of the service, not the one listened on.
        number: if app.require_ports { definition.port } else { 0 },
        labels: Some(&definition.labels),
    });
    (ports.collect(), "port_definition_label_")
}

fn targets(app: &App) -> Result<Vec<Labels>, DiscoveryError> {
    let is_container_net = app
        .networks
        .first()
        .is_some_and(|network| network.mode == "container");
    let (mut ports, prefix) = defined_ports(app, is_container_net);
    let mut targets = Vec::new();
    for task in &app.tasks {
        if ports.is_empty() {
            // Compat: the first task that has ports decides for those after it.
            ports.extend(task.ports.iter().map(|number| Port {
                number: *number,
                labels: None,
            }));
        }
        let host = match task.ip_addresses.first() {
            Some(address) if is_container_net => &address.ip_address,
            _ => &task.host,
        };
        for (index, port) in ports.iter().enumerate() {
            let chosen = task
                .ports
                .get(index)
                .filter(|_| port.number == 0 && task.ports.len() == ports.len());
            let mut target = MetaLabels::new("__meta_marathon_");
            target
                .set(
                    "__address__",
                    &host_port(host, chosen.copied().unwrap_or(port.number)),
                )
                .meta("task", &task.id)
                .meta("port_index", index);
            for (name, value) in port.labels.into_iter().flatten() {
                target.meta_of(prefix, name, value);
            }
            targets.push(target.build()?);
        }
    }
    Ok(targets)
}
