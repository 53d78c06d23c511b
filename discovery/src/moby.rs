//! What `docker_sd_configs` and `dockerswarm_sd_configs` share: the engine's interface, filters, networks.

use std::collections::{BTreeMap, HashMap};

use httpclient::{HttpClient, HttpClientConfig, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;
use yaml::{Section, Value, YamlError};

use crate::api::{Answer, Api, answers};
use crate::meta::MetaLabels;
use crate::prepare::{Context, DiscoveryError, PrepareError};

pub(crate) const DEFAULT_PORT: i64 = 80;
/// The interface's version where the engine names none: older than the header that names it.
const OLDEST_VERSION: (u32, u32) = (1, 24);
/// The newest version whose answers are known here; an engine that has a newer one speaks this, too.
const NEWEST_VERSION: (u32, u32) = (1, 52);
/// What an engine at a socket is told that it is called.
const SOCKET_URL: &str = "http://localhost/";

/// A filter of the engine's lists.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filter {
    /// By what.
    pub name: String,
    /// Any of these.
    pub values: Vec<String>,
}

impl Filter {
    pub(crate) fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("a filter")?;
        let filter = Filter {
            name: section.get_or("name", String::new())?,
            values: section.get_or("values", Vec::new())?,
        };
        section.finish()?;
        Ok(filter)
    }
}

/// Takes `host`, which must be there and a URL.
pub(crate) fn read_host(section: &mut Section<'_>) -> Result<String, YamlError> {
    let host: String = section.get_or("host", String::new())?;
    if host.is_empty() {
        return Err(section.error_at("host", "host missing"));
    }
    if let Err(error) = Url::parse(&host)
        && error != url::ParseError::RelativeUrlWithoutBase
    {
        return Err(section.error_at("host", format_args!("parse {host:?}: {error}")));
    }
    Ok(host)
}

/// An engine whose lists are asked for.
pub(crate) struct Engine {
    api: Api,
    base: Url,
    /// As agreed with the engine by the first call.
    version: Option<String>,
}

impl Engine {
    /// Builds the client.
    ///
    /// # Errors
    /// When the settings do not hold, or `host` is of a kind that cannot be reached.
    pub(crate) fn new(
        context: &Context,
        host: &str,
        http: &HttpClientConfig,
        interval: yaml::Duration,
    ) -> Result<Self, PrepareError> {
        let unavailable = |detail: String| PrepareError::Unavailable(detail.into());
        let mut base = Url::parse(host).map_err(|error| unavailable(format!("host {host:?}: {error}")))?;
        if base.scheme() == "tcp" {
            // Docker's own name for HTTP.
            let rest = host.split_once("://").map_or("", |(_, rest)| rest);
            let url = format!("http://{rest}");
            base = Url::parse(&url).map_err(|error| unavailable(format!("host {host:?}: {error}")))?;
        }
        let client = match base.scheme() {
            "http" | "https" => context.client(http)?,
            // Compat: at a socket nothing of the client's settings counts.
            "unix" => {
                let path = context.machine_path(base.path());
                base = Url::parse(SOCKET_URL).map_err(|error| unavailable(error.to_string()))?;
                HttpClient::at_unix_socket(&path, &context.user_agent)?
            }
            scheme => {
                return Err(unavailable(format!(
                    "host {host:?}: {scheme} is not supported; use unix://, http:// or https://"
                )));
            }
        };
        Ok(Engine {
            api: Api::new(client, interval),
            base,
            version: None,
        })
    }

    /// One list.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub(crate) async fn list<T: DeserializeOwned>(
        &mut self,
        what: &str,
        filters: &[Filter],
    ) -> Result<Vec<T>, DiscoveryError> {
        let version = self.version().await?;
        let mut url = self.url(&format!("v{version}/{what}"));
        let mut wanted: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
        for filter in filters {
            for value in &filter.values {
                wanted.entry(&filter.name).or_default().insert(value, true);
            }
        }
        if !wanted.is_empty() {
            let text = serde_json::to_string(&wanted).map_err(|error| DiscoveryError::Other(error.into()))?;
            url.query_pairs_mut().append_pair("filters", &text);
        }
        self.api.round().send(Request::get(url)).await?.json_list()
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let path = format!("{}/{path}", self.base.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// The interface's version that both sides know.
    async fn version(&mut self) -> Result<String, DiscoveryError> {
        if let Some(version) = &self.version {
            return Ok(version.clone());
        }
        let round = self.api.round();
        let ping = Request::new(::http::Method::HEAD, self.url("_ping"));
        let mut answer = round.send_any(ping).await?;
        let is_good =
            |answer: &Answer| answer.status.is_success() || !answer.header("api-version").is_empty();
        if !is_good(&answer) {
            // Engines before HEAD was known.
            answer = round.send_any(Request::get(self.url("_ping"))).await?;
            if !is_good(&answer) {
                return Err(answer.refused());
            }
        }
        let (major, minor) = parse_version(answer.header("api-version"))
            .unwrap_or(OLDEST_VERSION)
            .min(NEWEST_VERSION);
        Ok(self.version.insert(format!("{major}.{minor}")).clone())
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Labels of networks, by their id.
pub(crate) type Networks = HashMap<String, MetaLabels>;

answers! {
    #[serde(rename_all = "PascalCase")]
    struct Network {
        id: String,
        name: String,
        scope: String,
        internal: bool,
        ingress: bool,
        labels: BTreeMap<String, String>,
    }
}

/// Asks for all networks.
///
/// # Errors
/// See [`DiscoveryError`].
pub(crate) async fn networks(engine: &mut Engine, prefix: &'static str) -> Result<Networks, DiscoveryError> {
    let networks: Vec<Network> = engine.list("networks", &[]).await?;
    let labelled = networks.into_iter().map(|network| {
        let mut labels = MetaLabels::new(prefix);
        labels
            .meta("network_id", &network.id)
            .meta("network_name", &network.name)
            .meta("network_scope", &network.scope)
            .meta("network_internal", network.internal)
            .meta("network_ingress", network.ingress)
            .all("network_label_", &network.labels);
        (network.id, labels)
    });
    Ok(labelled.collect())
}
