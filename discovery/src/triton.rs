//! `triton_sd_configs`: containers, or the nodes below them, of a Triton data centre.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request, TlsConfig};
use serde::Serialize;
use url::Url;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, ApiSettings, MINUTE, answers, files_of, read_role};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, SEPARATOR, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TritonConfig {
    /// Whose machines.
    pub account: String,
    /// `container` or `cn`.
    pub role: &'static str,
    /// What the machines' names end in.
    pub dns_suffix: String,
    /// Host to ask.
    pub endpoint: String,
    /// Groups that are wanted; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Port, of the endpoint and the targets.
    pub port: i64,
    /// How often to ask; also the longest wait for an answer.
    pub refresh_interval: yaml::Duration,
    /// Certificates.
    #[serde(skip_serializing_if = "TlsConfig::is_default")]
    pub tls_config: TlsConfig,
    /// Of the API.
    pub version: i64,
}

impl Discovery for TritonConfig {
    const KEY: &'static str = "triton_sd_configs";
    const NAME: &'static str = "triton";
    const HELP: &'static str = "containers and compute nodes of a Triton data centre";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let role = read_role(section, &["container", "cn"], Some("container"))?;
        let mut needed = |key: &'static str, article: &str| -> Result<String, YamlError> {
            let text: String = section.get_or(key, String::new())?;
            if text.is_empty() {
                let message = format!("triton SD configuration requires {article} {key}");
                return Err(section.error_at(key, message));
            }
            Ok(text)
        };
        let account = needed("account", "an")?;
        let dns_suffix = needed("dns_suffix", "a")?;
        let endpoint = needed("endpoint", "an")?;
        let refresh_interval = section.get_or("refresh_interval", MINUTE)?;
        if refresh_interval.as_std().is_zero() {
            let message = "triton SD configuration requires RefreshInterval to be a positive integer";
            return Err(section.error_at("refresh_interval", message));
        }
        let tls_config = section.value("tls_config").map(TlsConfig::read).transpose()?;
        Ok(TritonConfig {
            account,
            role,
            dns_suffix,
            endpoint,
            groups: section.get_or("groups", Vec::new())?,
            port: section.get_or("port", 9163)?,
            refresh_interval,
            tls_config: tls_config.unwrap_or_default(),
            version: section.get_or("version", 1)?,
        })
    }

    files_of!(tls_config);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let way = if self.role == "cn" {
            "gz/discover"
        } else {
            "discover"
        };
        let url = format!("https://{}:{}/v{}/{way}", self.endpoint, self.port, self.version);
        let mut url = Url::parse(&url).map_err(|error| PrepareError::Unavailable(error.into()))?;
        if !self.groups.is_empty() {
            url.query_pairs_mut()
                .append_pair("groups", &self.groups.join(","));
        }
        let settings = ApiSettings {
            http: HttpClientConfig {
                tls_config: self.tls_config.clone(),
                enable_http2: false,
                ..HttpClientConfig::default()
            },
            refresh_interval: self.refresh_interval,
        };
        let poll = Triton {
            api: settings.client(context)?,
            url,
            config: self.clone(),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

struct Triton {
    api: Api,
    url: Url,
    config: TritonConfig,
}

impl Poll for Triton {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            // Compat: the status is not looked at (conformance `discovery/triton/errors`).
            let answer = self.api.round().send_any(Request::get(self.url.clone())).await?;
            let answer: Answer = answer.json()?;
            let (suffix, port) = (&self.config.dns_suffix, self.config.port);
            let mut targets = Vec::new();
            let is_node = self.config.role == "cn";
            for node in answer.cns.iter().filter(|_| is_node) {
                let mut target = MetaLabels::new("__meta_triton_");
                target
                    .set("__address__", &format!("{}.{suffix}:{port}", node.server_uuid))
                    .meta("machine_id", &node.server_uuid)
                    .meta("machine_alias", &node.server_hostname);
                targets.push(target.build()?);
            }
            for container in answer.containers.iter().filter(|_| !is_node) {
                let mut target = MetaLabels::new("__meta_triton_");
                target
                    .set("__address__", &format!("{}.{suffix}:{port}", container.vm_uuid))
                    .meta("machine_id", &container.vm_uuid)
                    .meta("machine_alias", &container.vm_alias)
                    .meta("machine_brand", &container.vm_brand)
                    .meta("machine_image", &container.vm_image_uuid)
                    .meta("server_id", &container.server_uuid)
                    .list("groups", &container.groups, SEPARATOR);
                targets.push(target.build()?);
            }
            Ok(group(self.url.as_str(), targets))
        }
        .boxed()
    }
}

answers! {
    struct Answer {
        containers: Vec<Container>,
        cns: Vec<Node>,
    }
    struct Container {
        groups: Vec<String>,
        server_uuid: String,
        vm_alias: String,
        vm_brand: String,
        vm_image_uuid: String,
        vm_uuid: String,
    }
    struct Node {
        server_uuid: String,
        server_hostname: String,
    }
}
