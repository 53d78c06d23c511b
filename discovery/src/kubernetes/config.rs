//! The settings of `kubernetes_sd_configs`.

use std::path::{Path, PathBuf};

use httpclient::HttpClientConfig;
use serde::Serialize;
use url::Url;
use yaml::{Section, Value, YamlError};

use super::selector;
use crate::api::{is_empty_path, resolve};

/// Which API server, and which of its objects.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KubernetesConfig {
    /// Where it is; without it and without a kubeconfig file, the cluster that we run in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_server: String,
    /// What targets are made of.
    pub role: Role,
    /// A file that says where the server is and who asks.
    pub kubeconfig_file: PathBuf,
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// Where to look.
    #[serde(skip_serializing_if = "Namespaces::is_default")]
    pub namespaces: Namespaces,
    /// What the server is to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<Selector>,
    /// Whose labels are added.
    #[serde(skip_serializing_if = "AttachMetadata::is_default")]
    pub attach_metadata: AttachMetadata,
}

/// What targets are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is the kind of object of its name")]
pub enum Role {
    Node,
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] = [
        Role::Pod,
        Role::Service,
        Role::Endpoints,
        Role::EndpointSlice,
        Role::Node,
        Role::Ingress,
    ];

    /// As it is configured.
    pub fn name(self) -> &'static str {
        match self {
            Role::Node => "node",
            Role::Pod => "pod",
            Role::Service => "service",
            Role::Endpoints => "endpoints",
            Role::EndpointSlice => "endpointslice",
            Role::Ingress => "ingress",
        }
    }

    /// What its groups' sources begin with.
    pub(super) fn source(self) -> &'static str {
        match self {
            Role::Service => "svc",
            other => other.name(),
        }
    }

    /// Whose selectors it takes.
    fn selectors(self) -> &'static [Role] {
        match self {
            Role::Node => &[Role::Node],
            Role::Pod => &[Role::Pod, Role::Node],
            Role::Service => &[Role::Service],
            Role::Endpoints => &[Role::Pod, Role::Service, Role::Endpoints],
            Role::EndpointSlice => &[Role::Pod, Role::Service, Role::EndpointSlice],
            Role::Ingress => &[Role::Ingress],
        }
    }
}

/// Where to look: everywhere, if nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Namespaces {
    /// In the one that we run in.
    pub own_namespace: bool,
    /// In these.
    pub names: Vec<String>,
}

impl Namespaces {
    fn is_default(&self) -> bool {
        *self == Namespaces::default()
    }
}

/// What the server is to leave out of the objects of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Selector {
    /// Of which kind.
    pub role: Role,
    /// By labels.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// By fields.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// Whose labels are added to the targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AttachMetadata {
    /// Those of the node.
    pub node: bool,
    /// Those of the namespace.
    pub namespace: bool,
    /// The name of the Deployment.
    pub deployment: bool,
    /// The name of the Job.
    pub job: bool,
    /// The name of the CronJob.
    #[serde(rename = "cronjob")]
    pub cron_job: bool,
}

impl AttachMetadata {
    fn is_default(&self) -> bool {
        *self == AttachMetadata::default()
    }

    pub(super) fn has_owners(self) -> bool {
        self.deployment || self.job || self.cron_job
    }
}

impl KubernetesConfig {
    /// Takes the keys of an entry.
    pub(super) fn from_section(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let api_server: String = section.get_or("api_server", String::new())?;
        let role = read_role(section, "role")?;
        let Some(role) = role else {
            let names = Role::ALL.map(Role::name).join(", ");
            return Err(section.error_at("role", format_args!("role missing (one of: {names})")));
        };
        let config = KubernetesConfig {
            role,
            kubeconfig_file: PathBuf::from(section.get_or("kubeconfig_file", String::new())?),
            http: HttpClientConfig::read(section)?,
            namespaces: match section.value("namespaces") {
                Some(value) => read_namespaces(value)?,
                None => Namespaces::default(),
            },
            selectors: read_selectors(section, role)?,
            attach_metadata: match section.value("attach_metadata") {
                Some(value) => read_attach_metadata(value)?,
                None => AttachMetadata::default(),
            },
            api_server,
        };
        config.check(section)?;
        Ok(config)
    }

    fn check(&self, section: &Section<'_>) -> Result<(), YamlError> {
        let has_kubeconfig = !is_empty_path(&self.kubeconfig_file);
        let has_server = !self.api_server.is_empty();
        let has_settings = self.http != HttpClientConfig::default();
        let own = self.namespaces.own_namespace;
        let mistake = if has_server && has_kubeconfig {
            (
                "kubeconfig_file",
                "cannot use 'kubeconfig_file' and 'api_server' simultaneously",
            )
        } else if has_kubeconfig && has_settings {
            (
                "kubeconfig_file",
                "cannot use a custom HTTP client configuration together with 'kubeconfig_file'",
            )
        } else if !has_server && has_settings {
            (
                "",
                "to use custom HTTP client configuration please provide the 'api_server' URL explicitly",
            )
        } else if has_server && own {
            (
                "namespaces",
                "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously",
            )
        } else if has_kubeconfig && own {
            (
                "namespaces",
                "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously",
            )
        } else {
            return match has_server.then(|| server_url(&self.api_server, "http")) {
                Some(Err(error)) => {
                    Err(section.error_at("api_server", format_args!("{:?}: {error}", self.api_server)))
                }
                _ => Ok(()),
            };
        };
        Err(section.error_at(mistake.0, mistake.1))
    }
}

/// Where a server is: a URL, or host and port, with the scheme that is meant then.
///
/// # Errors
/// When it is neither.
pub(super) fn server_url(text: &str, scheme: &str) -> Result<Url, ServerUrlError> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        // Compat: without a scheme it must be no more than host and port.
        Ok(_) | Err(url::ParseError::RelativeUrlWithoutBase) => {
            let url = Url::parse(&format!("{scheme}://{text}"))?;
            if url.path() == "/" && url.query().is_none() {
                Ok(url)
            } else {
                Err(ServerUrlError::NoHost)
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Why text says of no server where it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerUrlError {
    #[error(transparent)]
    Url(#[from] url::ParseError),
    #[error("it must be an http or https URL, or host:port")]
    NoHost,
}

fn read_role(section: &mut Section<'_>, key: &'static str) -> Result<Option<Role>, YamlError> {
    let Some(name) = section.get::<String>(key)? else {
        return Ok(None);
    };
    let found = Role::ALL.into_iter().find(|role| role.name() == name);
    match found {
        Some(role) => Ok(Some(role)),
        None => Err(section.error_at(key, format_args!("unknown Kubernetes SD role {name:?}"))),
    }
}

fn read_namespaces(value: Value<'_>) -> Result<Namespaces, YamlError> {
    let mut section = value.section("namespaces")?;
    let namespaces = Namespaces {
        own_namespace: section.get_or("own_namespace", false)?,
        names: section.get_or("names", Vec::new())?,
    };
    section.finish()?;
    Ok(namespaces)
}

fn read_attach_metadata(value: Value<'_>) -> Result<AttachMetadata, YamlError> {
    let mut section = value.section("attach_metadata")?;
    let attach = AttachMetadata {
        node: section.get_or("node", false)?,
        namespace: section.get_or("namespace", false)?,
        deployment: section.get_or("deployment", false)?,
        job: section.get_or("job", false)?,
        cron_job: section.get_or("cronjob", false)?,
    };
    section.finish()?;
    Ok(attach)
}

fn read_selectors(section: &mut Section<'_>, role: Role) -> Result<Vec<Selector>, YamlError> {
    let mut seen = Vec::new();
    section.list("selectors", |value| {
        let mut section = value.section("a selector")?;
        let of = read_role(&mut section, "role")?;
        let allowed = role.selectors();
        let Some(of) = of.filter(|of| allowed.contains(of)) else {
            let names: Vec<&str> = allowed.iter().map(|role| role.name()).collect();
            let message = format!(
                "{} role supports only {} selectors",
                role.name(),
                names.join(", ")
            );
            return Err(section.error_at("role", message));
        };
        if seen.contains(&of) {
            return Err(section.error_at("role", format_args!("duplicated selector role: {}", of.name())));
        }
        seen.push(of);
        let selector = Selector {
            role: of,
            label: section.get_or("label", String::new())?,
            field: section.get_or("field", String::new())?,
        };
        selector::check_fields(&selector.field).map_err(|error| section.error_at("field", error))?;
        selector::check_labels(&selector.label).map_err(|error| section.error_at("label", error))?;
        section.finish()?;
        Ok(selector)
    })
}

impl KubernetesConfig {
    pub(super) fn resolve(&mut self, folder: &Path) {
        self.http.resolve_paths(folder);
        resolve(folder, &mut self.kubeconfig_file);
    }
}
