//! `outscale_sd_configs`: virtual machines of 3DS Outscale.

use std::path::{Path, PathBuf};

use credentials::aws::AwsCredentials;
use credentials::sigv4::{Scope, sign};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use jiff::Timestamp;
use model::labels::Labels;
use serde::Serialize;
use url::Url;
use yaml::{Secret, Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, MINUTE, Pages, TokenFile, answers, base_url, is_empty_path, resolve};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// The service's name in signatures.
const SERVICE: &str = "oapi";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutscaleConfig {
    /// The API's address.
    pub endpoint: String,
    /// The region that is looked at.
    pub region: String,
    /// Names the key.
    pub access_key: String,
    /// The key.
    pub secret_key: Secret,
    /// File that holds it.
    pub secret_key_file: PathBuf,
    /// How often to ask; also the longest wait for an answer.
    pub refresh_interval: yaml::Duration,
    /// Port of the targets.
    pub port: i64,
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
}

impl Discovery for OutscaleConfig {
    const KEY: &'static str = "outscale_sd_configs";
    const NAME: &'static str = "outscale";
    const HELP: &'static str = "virtual machines of Outscale";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let region: String = section.get_or("region", "eu-west-2".to_owned())?;
        let mut endpoint: String = section.get_or("endpoint", String::new())?;
        if endpoint.is_empty() {
            endpoint = format!("https://api.{region}.outscale.com/api/v1");
        }
        let config = OutscaleConfig {
            endpoint,
            region,
            access_key: section.get_or("access_key", String::new())?,
            secret_key: section.get_or("secret_key", Secret::default())?,
            secret_key_file: PathBuf::from(section.get_or("secret_key_file", String::new())?),
            refresh_interval: section.get_or("refresh_interval", MINUTE)?,
            port: section.get_or("port", 80)?,
            http: HttpClientConfig::read(section)?,
        };
        let (at, message) = match (
            config.secret_key.is_empty(),
            is_empty_path(&config.secret_key_file),
        ) {
            _ if config.region.is_empty() => ("region", "outscale SD configuration requires a region"),
            _ if config.access_key.is_empty() => {
                ("access_key", "outscale SD configuration requires access_key")
            }
            (true, true) => (
                "secret_key",
                "one of secret_key & secret_key_file must be configured",
            ),
            (false, false) => (
                "secret_key_file",
                "at most one of secret_key & secret_key_file must be configured",
            ),
            _ => return Ok(config),
        };
        Err(section.error_at(at, message))
    }

    fn resolve_paths(&mut self, folder: &Path) {
        self.http.resolve_paths(folder);
        resolve(folder, &mut self.secret_key_file);
    }

    fn files(&self) -> Vec<&Path> {
        let mut files = self.http.files();
        files.push(&self.secret_key_file);
        files.retain(|file| !is_empty_path(file));
        files
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let mut url = base_url("endpoint", &self.endpoint)?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("ReadVms");
        }
        let poll = Outscale {
            api: Api::new(context.client(&self.http)?, self.refresh_interval),
            url,
            secret_file: TokenFile::new(&self.secret_key_file),
            config: self.clone(),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

struct Outscale {
    api: Api,
    url: Url,
    secret_file: Option<TokenFile>,
    config: OutscaleConfig,
}

answers! {
    #[serde(rename_all = "PascalCase")]
    struct Page {
        vms: Vec<Vm>,
        next_page_token: Option<String>,
    }
    #[serde(rename_all = "PascalCase")]
    struct Vm {
        vm_id: String,
        state: String,
        private_ip: String,
        public_ip: String,
        placement: Placement,
        tags: Vec<Tag>,
    }
    #[serde(rename_all = "PascalCase")]
    struct Placement {
        subregion_name: String,
    }
    #[serde(rename_all = "PascalCase")]
    struct Tag {
        key: String,
        value: String,
    }
}

impl Poll for Outscale {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let secret = match &self.secret_file {
                Some(file) => file.read().await?,
                None => self.config.secret_key.reveal().to_owned(),
            };
            let key = AwsCredentials::lasting(&self.config.access_key, secret, "outscale_sd_configs");
            let (round, mut pages, mut next) = (self.api.round(), Pages::default(), None);
            let mut targets = Vec::new();
            loop {
                let answer = round.send(self.request(&key, next.as_deref())?).await?;
                let page: Page = answer.json()?;
                for vm in &page.vms {
                    targets.extend(of_vm(vm, &self.config)?);
                }
                next = pages.next(&self.url, page.next_page_token.as_deref())?;
                if next.is_none() {
                    return Ok(group(&self.config.region, targets));
                }
            }
        }
        .boxed()
    }
}

impl Outscale {
    fn request(&self, key: &AwsCredentials, page: Option<&str>) -> Result<Request, DiscoveryError> {
        let body = match page {
            Some(token) => serde_json::json!({"NextPageToken": token}),
            None => serde_json::json!({}),
        };
        let request = Request::post(self.url.clone(), "application/json", body.to_string())
            .header("accept", "application/json")
            .repeatable();
        let scope = Scope {
            region: &self.config.region,
            service: SERVICE,
            at: Timestamp::now(),
        };
        sign(request, key, scope).map_err(|source| DiscoveryError::Http {
            url: self.url.to_string(),
            source,
        })
    }
}

/// Nothing for a machine without addresses.
fn of_vm(vm: &Vm, config: &OutscaleConfig) -> Result<Option<Labels>, DiscoveryError> {
    let address = if vm.private_ip.is_empty() {
        &vm.public_ip
    } else {
        &vm.private_ip
    };
    if address.is_empty() {
        return Ok(None);
    }
    let mut target = MetaLabels::new("__meta_outscale_vm_");
    target
        .address(address, config.port)
        .meta("instance_id", &vm.vm_id)
        .meta("region", &config.region)
        .meta("state", &vm.state)
        .meta("subregion", &vm.placement.subregion_name)
        .meta("private_ip", &vm.private_ip)
        .meta("public_ip", &vm.public_ip);
    for tag in vm.tags.iter().filter(|tag| !tag.key.is_empty()) {
        target.meta_of("tag_", &tag.key, &tag.value);
    }
    target.build().map(Some)
}
