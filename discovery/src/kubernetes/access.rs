//! Where the API server is and who asks: as configured, as a kubeconfig file says, or as the cluster tells those that run
//! in it.

use std::path::{Path, PathBuf};

use httpclient::{Authorization, HttpClientConfig, ProxyConfig};
use url::Url;
use yaml::{Secret, YamlError};

use super::api::Access;
use super::config::{KubernetesConfig, ServerUrlError, server_url};
use super::kubeconfig;
use crate::api::is_empty_path;
use crate::prepare::Context;

/// Where a pod finds what it may know of its cluster.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why it is not known where the API server is.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccessError {
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("kubeconfig: {0}")]
    Yaml(#[from] YamlError),
    #[error("kubeconfig {path}: {what}", path = path.display())]
    Kubeconfig { path: PathBuf, what: String },
    #[error(
        "there is neither 'api_server' nor 'kubeconfig_file', and this is no pod of a cluster: \
         KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be set"
    )]
    NotInCluster,
    #[error("could not determine the pod's namespace: {path} is empty", path = .0.display())]
    NoNamespace(PathBuf),
    #[error("server {text:?}: {source}")]
    Server { text: String, source: ServerUrlError },
}

pub(super) fn server(text: &str, scheme: &str) -> Result<Url, AccessError> {
    server_url(text, scheme).map_err(|source| AccessError::Server {
        text: text.to_owned(),
        source,
    })
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, AccessError> {
    std::fs::read(path).map_err(|source| AccessError::File {
        path: path.to_owned(),
        source,
    })
}

/// Finds out.
pub(super) fn access(config: &KubernetesConfig, context: &Context) -> Result<Access, AccessError> {
    if !is_empty_path(&config.kubeconfig_file) {
        return kubeconfig::access(&config.kubeconfig_file);
    }
    if config.api_server.is_empty() {
        return in_cluster(context);
    }
    Ok(Access {
        server: server(&config.api_server, "http")?,
        http: config.http.clone(),
        headers: Vec::new(),
        exec: None,
    })
}

/// The namespace that we run in.
pub(super) fn own_namespace(context: &Context) -> Result<String, AccessError> {
    let path = context.machine_path(&format!("{SERVICE_ACCOUNT}/namespace"));
    let text = read(&path)?;
    let name = String::from_utf8_lossy(&text).trim().to_owned();
    if name.is_empty() {
        return Err(AccessError::NoNamespace(path));
    }
    Ok(name)
}

/// The cluster that we run in.
pub(super) fn in_cluster(context: &Context) -> Result<Access, AccessError> {
    let (Some(host), Some(port)) = (
        context.var("KUBERNETES_SERVICE_HOST"),
        context.var("KUBERNETES_SERVICE_PORT"),
    ) else {
        return Err(AccessError::NotInCluster);
    };
    let (token, ca_file) = (
        context.machine_path(&format!("{SERVICE_ACCOUNT}/token")),
        context.machine_path(&format!("{SERVICE_ACCOUNT}/ca.crt")),
    );
    read(&token)?;
    let mut http = client_settings();
    // Compat: without the cluster's certificate the machine's roots are tried.
    match read(&ca_file) {
        Ok(_) => http.tls_config.ca_file = ca_file,
        Err(error) => tracing::error!(discovery = "kubernetes", %error, "No certificate of the cluster"),
    }
    // Read with each request: the kubelet puts a new token there before the old one expires.
    http.authorization = Some(bearer(Secret::default(), token));
    Ok(Access {
        server: server(&crate::meta::host_port(&host, port), "https")?,
        http,
        headers: Vec::new(),
        exec: None,
    })
}

/// Compat: where the settings do not say how, Kubernetes' own client takes the proxy from the environment.
pub(super) fn client_settings() -> HttpClientConfig {
    HttpClientConfig {
        proxy: ProxyConfig {
            proxy_from_environment: true,
            ..ProxyConfig::default()
        },
        ..HttpClientConfig::default()
    }
}

pub(super) fn bearer(credentials: Secret, credentials_file: PathBuf) -> Authorization {
    Authorization {
        scheme: "Bearer".to_owned(),
        credentials,
        credentials_file,
    }
}
