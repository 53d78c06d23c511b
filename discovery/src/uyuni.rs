//! `uyuni_sd_configs`: systems that Uyuni (or SUSE Multi-Linux Manager) monitors.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod xmlrpc;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use model::labels::Labels;
use serde::Serialize;
use tokio::time::Instant;
use url::Url;
use yaml::{Secret, Section, YamlError};

use self::xmlrpc::{RpcError, Value};
use crate::TargetGroup;
use crate::api::{Api, MINUTE, Round, base_url, files_of};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// How long a login is asked to be good for.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UyuniConfig {
    /// The server's URL.
    pub server: String,
    /// Who asks.
    pub username: String,
    /// The user's password.
    pub password: Secret,
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// What systems must be entitled to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub entitlement: String,
    /// Between the names of groups.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub separator: String,
    /// How often to ask; also the longest wait for an answer.
    pub refresh_interval: yaml::Duration,
}

impl Discovery for UyuniConfig {
    const KEY: &'static str = "uyuni_sd_configs";
    const NAME: &'static str = "uyuni";
    const HELP: &'static str = "systems that Uyuni monitors";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let config = UyuniConfig {
            server: section.get_or("server", String::new())?,
            username: section.get_or("username", String::new())?,
            password: section.get_or("password", Secret::default())?,
            http: HttpClientConfig::read(section)?,
            entitlement: section.get_or("entitlement", "monitoring_entitled".to_owned())?,
            separator: section.get_or("separator", ",".to_owned())?,
            refresh_interval: section.get_or("refresh_interval", MINUTE)?,
        };
        for (key, is_missing, what) in [
            ("server", config.server.is_empty(), "server host"),
            ("username", config.username.is_empty(), "a username"),
            ("password", config.password.is_empty(), "a password"),
        ] {
            if is_missing {
                let message = format!("Uyuni SD configuration requires {what}");
                return Err(section.error_at(key, message));
            }
        }
        match Url::parse(&config.server) {
            Err(error) if error != url::ParseError::RelativeUrlWithoutBase => {
                let message = format!("Uyuni Server URL {:?} is not valid: {error}", config.server);
                Err(section.error_at("server", message))
            }
            _ => Ok(config),
        }
    }

    files_of!(http);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let mut url = base_url("server", &self.server)?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["rpc", "api"]);
        }
        let poll = Uyuni {
            api: Api::new(context.client(&self.http)?, self.refresh_interval),
            url,
            config: self.clone(),
            token: None,
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

struct Uyuni {
    api: Api,
    url: Url,
    config: UyuniConfig,
    /// What a login gave, and when to log in anew.
    token: Option<(String, Instant)>,
}

impl Poll for Uyuni {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let mut calls = Calls {
                round: self.api.round(),
                url: &self.url,
            };
            let kept = self.token.take().filter(|(_, until)| Instant::now() <= *until);
            let (token, until) = match kept {
                Some(kept) => kept,
                None => {
                    let token = log_in(&mut calls, &self.config).await?;
                    (token, Instant::now() + TOKEN_LIFE / 2)
                }
            };
            // After an error the next refresh logs in anew.
            let targets = targets(&mut calls, &self.config, &token).await?;
            self.token = Some((token, until));
            Ok(group(self.url.as_str(), targets))
        }
        .boxed()
    }
}

/// The calls of one refresh.
struct Calls<'a> {
    round: Round<'a>,
    url: &'a Url,
}

impl Calls<'_> {
    async fn call(&mut self, method: &str, parameters: &[Value]) -> Result<Value, DiscoveryError> {
        let body = xmlrpc::call(method, parameters);
        let request = Request::post(self.url.clone(), "text/xml", Vec::new()).secret_body(body);
        let answer = self.round.send(request).await?;
        xmlrpc::answer(&answer.body).map_err(|error| self.bad(method, error))
    }

    fn bad(&self, method: &str, error: RpcError) -> DiscoveryError {
        DiscoveryError::content(format_args!("{} {method}", self.url), error)
    }
}

async fn log_in(calls: &mut Calls<'_>, config: &UyuniConfig) -> Result<String, DiscoveryError> {
    let life = Value::Int(TOKEN_LIFE.as_secs() as i64);
    let user = Value::Text(config.username.clone());
    let password = Value::Text(config.password.reveal().to_owned());
    let token = calls.call("auth.login", &[user, password, life]).await?;
    token.into_text().map_err(|error| calls.bad("auth.login", error))
}

async fn targets(
    calls: &mut Calls<'_>,
    config: &UyuniConfig,
    token: &str,
) -> Result<Vec<Labels>, DiscoveryError> {
    const SYSTEMS: &str = "system.listSystemGroupsForSystemsWithEntitlement";
    const ENDPOINTS: &str = "system.monitoring.listEndpoints";
    const NETWORKS: &str = "system.getNetworkForSystems";
    let token = Value::Text(token.to_owned());
    let entitlement = Value::Text(config.entitlement.clone());
    let systems = calls.call(SYSTEMS, &[token.clone(), entitlement]).await?;
    let groups = groups(systems).map_err(|error| calls.bad(SYSTEMS, error))?;
    let ids = Value::List(groups.keys().map(|id| Value::Int(*id)).collect());
    let endpoints = calls.call(ENDPOINTS, &[token.clone(), ids.clone()]).await?;
    let endpoints = endpoints.list().map_err(|error| calls.bad(ENDPOINTS, error))?;
    let networks = calls.call(NETWORKS, &[token, ids]).await?;
    let networks = by_id(networks, "system_id").map_err(|error| calls.bad(NETWORKS, error))?;
    let mut targets = Vec::new();
    for endpoint in &endpoints {
        let target = of_endpoint(endpoint, &groups, &networks, &config.separator);
        targets.push(target.map_err(|error| calls.bad(ENDPOINTS, error))?.build()?);
    }
    Ok(targets)
}

/// Names of groups by system.
fn groups(systems: Value) -> Result<BTreeMap<i64, Vec<String>>, RpcError> {
    let named = systems.list()?.into_iter().map(|system| {
        let names = system.members("system_groups")?;
        let names = names.iter().map(|group| group.text("name"));
        Ok((system.int("id")?, names.collect::<Result<_, _>>()?))
    });
    named.collect()
}

fn by_id(list: Value, key: &str) -> Result<BTreeMap<i64, Value>, RpcError> {
    list.list()?
        .into_iter()
        .map(|member| Ok((member.int(key)?, member)))
        .collect()
}

fn of_endpoint(
    endpoint: &Value,
    groups: &BTreeMap<i64, Vec<String>>,
    networks: &BTreeMap<i64, Value>,
    separator: &str,
) -> Result<MetaLabels, RpcError> {
    let system = endpoint.int("system_id")?;
    let network = |name| {
        networks
            .get(&system)
            .map_or(Ok(String::new()), |network| network.text(name))
    };
    let host = network("hostname")?;
    let scheme = if endpoint.bool("tls_enabled")? {
        "https"
    } else {
        "http"
    };
    let mut target = MetaLabels::new("__meta_uyuni_");
    target
        // Compat: the host's name as it stands, without brackets.
        .set("__address__", &format!("{host}:{}", endpoint.int("port")?))
        .meta("minion_hostname", &host)
        .meta("primary_fqdn", network("primary_fqdn")?)
        .meta("system_id", system)
        .meta("groups", groups.get(&system).map_or(String::new(), |names| names.join(separator)))
        .meta("endpoint_name", endpoint.text("endpoint_name")?)
        .meta("exporter", endpoint.text("exporter_name")?)
        .meta("proxy_module", endpoint.text("module")?)
        .meta("metrics_path", endpoint.text("path")?)
        .meta("scheme", scheme);
    Ok(target)
}
