//! `gce_sd_configs`: instances of Google's Compute Engine.

use std::collections::BTreeMap;

use credentials::google::Google;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use model::labels::Labels;
use serde::Serialize;
use url::Url;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, MINUTE, Pages, Round, answers};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const API: &str = "https://compute.googleapis.com/compute/v1";
const SCOPE: &str = "https://www.googleapis.com/auth/compute.readonly";
/// The kind of an access that gives an interface a public address.
const NAT: &str = "ONE_TO_ONE_NAT";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GceConfig {
    /// Project.
    pub project: String,
    /// Zone.
    pub zone: String,
    /// Which instances, in Google's words; all if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// How often to ask.
    pub refresh_interval: yaml::Duration,
    /// Port of the targets.
    pub port: i64,
    /// Between the tags.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag_separator: String,
}

impl Discovery for GceConfig {
    const KEY: &'static str = "gce_sd_configs";
    const NAME: &'static str = "gce";
    const HELP: &'static str = "instances of Google Compute Engine";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let config = GceConfig {
            project: section.get_or("project", String::new())?,
            zone: section.get_or("zone", String::new())?,
            filter: section.get_or("filter", String::new())?,
            refresh_interval: section.get_or("refresh_interval", MINUTE)?,
            port: section.get_or("port", 80)?,
            tag_separator: section.get_or("tag_separator", ",".to_owned())?,
        };
        for (name, value) in [("project", &config.project), ("zone", &config.zone)] {
            if value.is_empty() {
                return Err(section.error_at(name, format_args!("GCE SD configuration requires a {name}")));
            }
        }
        Ok(config)
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let google = Google::find(context.machine(), SCOPE);
        let mut http = HttpClientConfig::default();
        http.proxy.proxy_from_environment = context.env.is_none();
        let poll = Gce {
            google: google.map_err(|error| PrepareError::Unavailable(error.into()))?,
            api: Api::new(context.client(&http)?, MINUTE),
            config: self.clone(),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

struct Gce {
    google: Google,
    api: Api,
    config: GceConfig,
}

answers! {
    #[serde(rename_all = "camelCase")]
    struct Page {
        items: Vec<Instance>,
        next_page_token: Option<String>,
    }
    #[serde(rename_all = "camelCase")]
    struct Instance {
        /// A number, written as a text.
        id: String,
        name: String,
        zone: String,
        status: String,
        machine_type: String,
        network_interfaces: Vec<Interface>,
        tags: Tags,
        metadata: Metadata,
        labels: BTreeMap<String, String>,
    }
    #[serde(rename_all = "camelCase")]
    struct Interface {
        name: String,
        network: String,
        subnetwork: String,
        #[serde(rename = "networkIP")]
        network_ip: String,
        access_configs: Vec<Access>,
    }
    struct Access {
        #[serde(rename = "type")]
        kind: String,
        #[serde(rename = "natIP")]
        nat_ip: String,
    }
    struct Tags {
        items: Vec<String>,
    }
    struct Metadata {
        items: Vec<Item>,
    }
    struct Item {
        key: String,
        value: Option<String>,
    }
}

impl Poll for Gce {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let round = self.api.round();
            let config = &self.config;
            let mut targets = Vec::new();
            let (mut pages, mut token) = (Pages::default(), None::<String>);
            loop {
                let page = self.page(&round, token.as_deref()).await?;
                for instance in &page.items {
                    targets.extend(of_instance(instance, config)?);
                }
                token = pages.next("the instances", page.next_page_token.as_deref())?;
                if token.is_none() {
                    let source = format!("GCE_{}_{}", config.project, config.zone);
                    return Ok(group(&source, targets));
                }
            }
        }
        .boxed()
    }
}

impl Gce {
    async fn page(&self, round: &Round<'_>, token: Option<&str>) -> Result<Page, DiscoveryError> {
        let config = &self.config;
        let mut url = Url::parse(API).map_err(|error| DiscoveryError::content(API, error))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(["projects", &config.project, "zones", &config.zone, "instances"]);
        }
        url.query_pairs_mut()
            .append_pair("alt", "json")
            .append_pair("prettyPrint", "false");
        if !config.filter.is_empty() {
            url.query_pairs_mut().append_pair("filter", &config.filter);
        }
        if let Some(token) = token {
            url.query_pairs_mut().append_pair("pageToken", token);
        }
        let bearer = self.google.token().await;
        let bearer = bearer.map_err(|error| DiscoveryError::Other(error.into()))?;
        let request = Request::get(url).secret_header("authorization", format!("Bearer {}", bearer.token));
        let answer = round.send_patiently(&request).await?;
        if matches!(answer.status.as_u16(), 401 | 403) {
            self.google.forget();
            return Err(answer.refused_to(&bearer));
        }
        answer.good()?.json()
    }
}

/// Nothing for an instance without an interface.
fn of_instance(instance: &Instance, config: &GceConfig) -> Result<Option<Labels>, DiscoveryError> {
    let Some(first) = instance.network_interfaces.first() else {
        return Ok(None);
    };
    let mut target = MetaLabels::new("__meta_gce_");
    target
        // Compat: an IPv6 address gets no brackets here.
        .set("__address__", &format!("{}:{}", first.network_ip, config.port))
        .meta("project", &config.project)
        .meta("zone", &instance.zone)
        .meta("instance_id", &instance.id)
        .meta("instance_name", &instance.name)
        .meta("instance_status", &instance.status)
        .meta("machine_type", &instance.machine_type)
        .meta("network", &first.network)
        .meta("subnetwork", &first.subnetwork)
        .meta("private_ip", &first.network_ip)
        .list("tags", &instance.tags.items, &config.tag_separator)
        .all("label_", &instance.labels);
    for interface in &instance.network_interfaces {
        target.meta_of("interface_ipv4_", &interface.name, &interface.network_ip);
    }
    for item in &instance.metadata.items {
        if let Some(value) = &item.value {
            target.meta_of("metadata_", &item.key, value);
        }
    }
    if let Some(access) = first.access_configs.first().filter(|access| access.kind == NAT) {
        target.meta("public_ip", &access.nat_ip);
    }
    target.build().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::try_damaged;

    #[test]
    fn damaged_answers_never_panic() {
        let good = br#"{"items": [{"id": "7", "name": "n", "zone": "z", "networkInterfaces": [{"name": "nic0", "networkIP":
            "192.0.2.1", "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "natIP": "203.0.113.1"}]}], "tags": {"items": ["a"]},
            "metadata": {"items": [{"key": "k", "value": "v"}, {"key": "w"}]}, "labels": {"l": "v"}}], "nextPageToken": "p"}"#;
        let document = yaml::parse("f", "{project: p, zone: z}").expect("YAML");
        let config = GceConfig::read(&mut document.root().section("it").expect("mapping")).expect("settings");
        let mut whole = 0;
        try_damaged(good, |bytes| {
            let page: Page = serde_json::from_slice(bytes).unwrap_or_default();
            for instance in &page.items {
                whole += usize::from(of_instance(instance, &config).is_ok_and(|found| found.is_some()));
            }
        });
        assert!(whole > 0, "the good one is read");
    }
}
