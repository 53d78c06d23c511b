//! `stackit_sd_configs`: servers of a STACKIT project.

mod account;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::http::StatusCode;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::Request;
use model::labels::Labels;
use serde::Serialize;
use serde_json::Value;
use url::Url;
use yaml::{Secret, Section, YamlError};

use self::account::Account;
use crate::TargetGroup;
use crate::api::{Api, ApiSettings, MINUTE, answers, files_of, is_empty_path};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StackitConfig {
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// The project.
    pub project: String,
    /// Port of the targets.
    pub port: i64,
    /// Where the API is, if no endpoint is given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// The API's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// A service account, as JSON.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub service_account_key: Secret,
    /// The account's private key, as PEM; without it, the one in the account's JSON.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub private_key: Secret,
    /// File that holds the account.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub service_account_key_path: PathBuf,
    /// File that holds the private key.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub private_key_path: PathBuf,
    /// File that says where the private key is.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub credentials_file_path: PathBuf,
}

impl Discovery for StackitConfig {
    const KEY: &'static str = "stackit_sd_configs";
    const NAME: &'static str = "stackit";
    const HELP: &'static str = "servers of a STACKIT project";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let region = section.get_or("region", "eu01".to_owned())?;
        let endpoint: String = section.get_or("endpoint", String::new())?;
        if region.is_empty() && endpoint.is_empty() {
            return Err(section.error_at("region", "stackit_sd: endpoint and region missing"));
        }
        if !endpoint.is_empty()
            && let Err(error) = Url::parse(&endpoint)
        {
            let message = format!("stackit_sd: invalid endpoint {endpoint:?}: {error}");
            return Err(section.error_at("endpoint", message));
        }
        let path = |section: &mut Section<'_>, key| section.get_or(key, String::new()).map(PathBuf::from);
        Ok(StackitConfig {
            project: section.get_or("project", String::new())?,
            port: section.get_or("port", 80)?,
            region,
            endpoint,
            service_account_key: section.get_or("service_account_key", Secret::default())?,
            private_key: section.get_or("private_key", Secret::default())?,
            service_account_key_path: path(section, "service_account_key_path")?,
            private_key_path: path(section, "private_key_path")?,
            credentials_file_path: path(section, "credentials_file_path")?,
            api: ApiSettings::read(section, MINUTE)?,
        })
    }

    files_of!(api);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let root = if self.endpoint.is_empty() {
            format!("https://iaas.api.{}.stackit.cloud", self.region)
        } else {
            self.endpoint.clone()
        };
        let mut servers = Url::parse(&root).map_err(|error| PrepareError::Unavailable(error.into()))?;
        if let Ok(mut path) = servers.path_segments_mut() {
            path.pop_if_empty()
                .extend(["v1", "projects", &self.project, "servers"]);
        }
        servers.query_pairs_mut().append_pair("details", "true");
        let account = Account::new(self, context).map_err(|error| PrepareError::Unavailable(error.into()))?;
        let poll = Stackit {
            api: self.api.client(context)?,
            account,
            servers,
            config: self.clone(),
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

struct Stackit {
    api: Api,
    /// Whose tokens are used; the client's own credentials where there is none.
    account: Option<Account>,
    servers: Url,
    config: StackitConfig,
}

impl Poll for Stackit {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let round = self.api.round();
            let mut request = Request::get(self.servers.clone()).header("accept", "application/json");
            if let Some(account) = &mut self.account {
                let token = account.token(&round).await?;
                request = request.secret_header("authorization", format!("Bearer {token}"));
            }
            let answer = round.send_any(request).await?;
            if answer.status == StatusCode::UNAUTHORIZED
                && let Some(account) = &mut self.account
            {
                account.forget();
            }
            let servers: Servers = answer.good()?.json()?;
            let mut targets = Vec::new();
            for server in &servers.items {
                targets.extend(of_server(server, &self.config)?);
            }
            Ok(group("stackit", targets))
        }
        .boxed()
    }
}

answers! {
    struct Servers {
        items: Vec<Server>,
    }
    #[serde(rename_all = "camelCase")]
    struct Server {
        availability_zone: String,
        id: String,
        labels: BTreeMap<String, Value>,
        machine_type: String,
        name: String,
        nics: Vec<Nic>,
        power_status: String,
        status: String,
    }
    #[serde(rename_all = "camelCase")]
    struct Nic {
        network_name: String,
        ipv4: String,
        public_ip: String,
    }
}

/// Nothing for a server without addresses.
fn of_server(server: &Server, config: &StackitConfig) -> Result<Option<Labels>, DiscoveryError> {
    let public = server
        .nics
        .iter()
        .map(|nic| nic.public_ip.as_str())
        .find(|ip| !ip.is_empty());
    let private = server
        .nics
        .iter()
        .map(|nic| nic.ipv4.as_str())
        .find(|ip| !ip.is_empty());
    // Compat: the first address that is found while interfaces are looked at in turn; a public one always wins.
    let Some(address) = public.or(private) else {
        return Ok(None);
    };
    let mut target = MetaLabels::new("__meta_stackit_");
    target
        .address(address, config.port)
        .meta("project", &config.project)
        .meta("id", &server.id)
        .meta("name", &server.name)
        .meta("availability_zone", &server.availability_zone)
        .meta("status", &server.status)
        .meta("power_status", &server.power_status)
        .meta("type", &server.machine_type)
        .meta("public_ipv4", public.unwrap_or(""));
    for nic in server.nics.iter().filter(|nic| !nic.ipv4.is_empty()) {
        target.meta_of("private_ipv4_", &nic.network_name, &nic.ipv4);
    }
    for (name, value) in &server.labels {
        if let Some(text) = value.as_str() {
            target
                .meta_of("labelpresent_", name, true)
                .meta_of("label_", name, text);
        }
    }
    target.build().map(Some)
}
