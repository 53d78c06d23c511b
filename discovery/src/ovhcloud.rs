//! `ovhcloud_sd_configs`: virtual private servers or dedicated servers of OVHcloud.
//!
//! The list first, then details and addresses of each server. Requests are signed with the application's secret and a
//! time, which is the server's own: it is asked for it at the beginning of each refresh.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use model::labels::Labels;
use ring::digest::{Context as Digest, SHA1_FOR_LEGACY_USE_ONLY as SHA1};
use serde::Serialize;
use url::Url;
use url::form_urlencoded::byte_serialize;
use yaml::{Secret, Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, MINUTE, Round, Skipped, answers};
use crate::mechanism::Discovery;
use crate::meta::{ADDRESS, MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// Endpoints by name.
const ENDPOINTS: [(&str, &str); 7] = [
    ("ovh-eu", "https://eu.api.ovh.com/1.0"),
    ("ovh-ca", "https://ca.api.ovh.com/1.0"),
    ("ovh-us", "https://api.us.ovhcloud.com/1.0"),
    ("kimsufi-eu", "https://eu.api.kimsufi.com/1.0"),
    ("kimsufi-ca", "https://ca.api.kimsufi.com/1.0"),
    ("soyoustart-eu", "https://eu.api.soyoustart.com/1.0"),
    ("soyoustart-ca", "https://ca.api.soyoustart.com/1.0"),
];

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OvhCloudConfig {
    /// The API: its name or its URL.
    pub endpoint: String,
    /// Names the application.
    pub application_key: String,
    /// What it signs with.
    pub application_secret: Secret,
    /// Who allowed the application to ask.
    pub consumer_key: Secret,
    /// How often to ask; also the longest wait for an answer.
    pub refresh_interval: yaml::Duration,
    /// `vps` or `dedicated_server`.
    pub service: String,
}

impl Discovery for OvhCloudConfig {
    const KEY: &'static str = "ovhcloud_sd_configs";
    const NAME: &'static str = "ovhcloud";
    const HELP: &'static str = "virtual and dedicated servers of OVHcloud";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let config = OvhCloudConfig {
            endpoint: section.get_or("endpoint", "ovh-eu".to_owned())?,
            application_key: section.get_or("application_key", String::new())?,
            application_secret: section.get_or("application_secret", Secret::default())?,
            consumer_key: section.get_or("consumer_key", Secret::default())?,
            refresh_interval: section.get_or("refresh_interval", MINUTE)?,
            service: section.get_or("service", String::new())?,
        };
        for (key, is_missing) in [
            ("endpoint", config.endpoint.is_empty()),
            ("application_key", config.application_key.is_empty()),
            ("application_secret", config.application_secret.is_empty()),
            ("consumer_key", config.consumer_key.is_empty()),
        ] {
            if is_missing {
                let message = format!("{} can not be empty", key.replace('_', " "));
                return Err(section.error_at(key, message));
            }
        }
        if !matches!(&*config.service, "vps" | "dedicated_server") {
            let error = section.error_at("service", format_args!("unknown service: {:?}", config.service));
            return Err(error.with_help("vps or dedicated_server"));
        }
        Ok(config)
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let named = ENDPOINTS.iter().find(|(name, _)| *name == self.endpoint);
        let endpoint = match named {
            Some((_, url)) => *url,
            None if self.endpoint.contains('/') && !self.endpoint.ends_with('/') => &self.endpoint,
            None => {
                let names: Vec<&str> = ENDPOINTS.iter().map(|(name, _)| *name).collect();
                let message = format!(
                    "unknown endpoint {:?}: write a URL without a slash at its end, or one of {}",
                    self.endpoint,
                    names.join(", ")
                );
                return Err(PrepareError::Unavailable(message.into()));
            }
        };
        let poll = OvhCloud {
            api: Api::new(
                context.client(&HttpClientConfig::default())?,
                self.refresh_interval,
            ),
            endpoint: endpoint.to_owned(),
            config: self.clone(),
            skipped: Skipped::new(Self::NAME),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

struct OvhCloud {
    api: Api,
    endpoint: String,
    config: OvhCloudConfig,
    skipped: Skipped,
}

impl Poll for OvhCloud {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let mut calls = Calls::begin(self.api.round(), &self.endpoint, &self.config).await?;
            let is_vps = self.config.service == "vps";
            let list = if is_vps { "/vps" } else { "/dedicated/server" };
            let names: Vec<String> = calls.get(list).await?.json_list()?;
            let mut targets = Vec::new();
            self.skipped.begin();
            for name in names {
                let escaped: String = byte_serialize(name.as_bytes()).collect();
                let path = format!("{list}/{escaped}");
                let target = if is_vps {
                    vps(&mut calls, &path).await
                } else {
                    dedicated(&mut calls, &path).await
                };
                match target {
                    Ok(target) => targets.push(target),
                    Err(error) => self.skipped.skip(&calls.round, &name, error)?,
                }
            }
            Ok(group(&format!("ovhcloud_{}", self.config.service), targets))
        }
        .boxed()
    }
}

/// Signed calls of one refresh.
struct Calls<'a> {
    round: Round<'a>,
    endpoint: &'a str,
    config: &'a OvhCloudConfig,
    /// How far the server's clock is ahead, in seconds.
    ahead_s: i64,
}

impl<'a> Calls<'a> {
    async fn begin(
        round: Round<'a>,
        endpoint: &'a str,
        config: &'a OvhCloudConfig,
    ) -> Result<Self, DiscoveryError> {
        let request = Request::get(parse(&format!("{endpoint}/auth/time"))?)
            .header("accept", "application/json")
            .header("x-ovh-application", &config.application_key);
        let answer = round.send(request).await?;
        let theirs: i64 = serde_json::from_slice(&answer.body)
            .map_err(|error| DiscoveryError::content(&answer.url, error))?;
        Ok(Calls {
            round,
            endpoint,
            config,
            ahead_s: theirs.saturating_sub(now_s()),
        })
    }

    async fn get(&mut self, path: &str) -> Result<crate::api::Answer, DiscoveryError> {
        let url = parse(&format!("{}{path}", self.endpoint))?;
        let time = now_s().saturating_add(self.ahead_s).to_string();
        let signature = sign(
            self.config.application_secret.reveal(),
            self.config.consumer_key.reveal(),
            &url,
            &time,
        );
        let request = Request::get(url)
            .header("accept", "application/json")
            .header("x-ovh-application", &self.config.application_key)
            .header("x-ovh-timestamp", &time)
            .secret_header("x-ovh-consumer", self.config.consumer_key.reveal())
            .secret_header("x-ovh-signature", signature);
        self.round.send(request).await
    }
}

/// The signature of a GET: `$1$` and the SHA-1 of secret, consumer, method, address, (empty) body and time.
fn sign(secret: &str, consumer: &str, url: &Url, time: &str) -> String {
    let mut digest = Digest::new(&SHA1);
    digest.update(
        [secret, consumer, "GET", url.as_str(), "", time]
            .join("+")
            .as_bytes(),
    );
    let hex: String = digest
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("$1${hex}")
}

fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() as i64
}

fn parse(address: &str) -> Result<Url, DiscoveryError> {
    Url::parse(address).map_err(|error| DiscoveryError::content(address, error))
}

answers! {
    #[serde(rename_all = "camelCase")]
    struct Vps {
        zone: String,
        model: Model,
        display_name: String,
        cluster: String,
        state: String,
        name: String,
        netboot_mode: String,
        memory_limit: i64,
        offer_type: String,
        vcore: i64,
    }
    struct Model {
        // As the API writes it.
        #[serde(rename = "maximumAdditionnalIp")]
        maximum_additional_ip: i64,
        offer: String,
        datacenter: Vec<String>,
        vcore: i64,
        version: String,
        name: String,
        disk: i64,
        memory: i64,
    }
    #[serde(rename_all = "camelCase")]
    struct Dedicated {
        state: String,
        commercial_range: String,
        link_speed: i64,
        rack: String,
        no_intervention: bool,
        os: String,
        support_level: String,
        server_id: i64,
        reverse: String,
        datacenter: String,
        name: String,
    }
}

async fn vps(calls: &mut Calls<'_>, path: &str) -> Result<Labels, DiscoveryError> {
    let server: Vps = calls.get(path).await?.json()?;
    let addresses = addresses(calls, path).await?;
    let model = &server.model;
    let mut target = MetaLabels::new("__meta_ovhcloud_vps_");
    target
        .meta("offer", &model.offer)
        // Compat: as Go prints a list (conformance `discovery/ovhcloud/vps`).
        .meta("datacenter", format_args!("[{}]", model.datacenter.join(" ")))
        .meta("model_vcore", model.vcore)
        .meta("maximum_additional_ip", model.maximum_additional_ip)
        .meta("version", &model.version)
        .meta("model_name", &model.name)
        .meta("disk", model.disk)
        .meta("memory", model.memory)
        .meta("zone", &server.zone)
        .meta("display_name", &server.display_name)
        .meta("cluster", &server.cluster)
        .meta("state", &server.state)
        .meta("name", &server.name)
        .meta("netboot_mode", &server.netboot_mode)
        .meta("memory_limit", server.memory_limit)
        .meta("offer_type", &server.offer_type)
        .meta("vcore", server.vcore);
    addresses.set(&mut target);
    target.set("instance", &server.name).build()
}

async fn dedicated(calls: &mut Calls<'_>, path: &str) -> Result<Labels, DiscoveryError> {
    let server: Dedicated = calls.get(path).await?.json()?;
    let addresses = addresses(calls, path).await?;
    let mut target = MetaLabels::new("__meta_ovhcloud_dedicated_server_");
    target
        .meta("state", &server.state)
        .meta("commercial_range", &server.commercial_range)
        .meta("link_speed", server.link_speed)
        .meta("rack", &server.rack)
        .meta("no_intervention", server.no_intervention)
        .meta("os", &server.os)
        .meta("support_level", &server.support_level)
        .meta("server_id", server.server_id)
        .meta("reverse", &server.reverse)
        .meta("datacenter", &server.datacenter)
        .meta("name", &server.name);
    addresses.set(&mut target);
    target.set("instance", &server.name).build()
}

/// The addresses of a server: the last of each kind.
#[derive(Debug, Default, PartialEq)]
struct Addresses {
    v4: String,
    v6: String,
}

impl Addresses {
    /// Addresses and networks, of which only those of one address (`/32`) count. None where none is left, or one is
    /// neither.
    fn of(list: &[String]) -> Option<Self> {
        let mut found = Addresses::default();
        for text in list {
            let (ip, bits) = text
                .split_once('/')
                .map_or((&**text, None), |(ip, bits)| (ip, Some(bits)));
            let ip: IpAddr = ip.parse().ok()?;
            // Compat: 32 bits, whatever the kind of the address.
            let counts = match bits {
                Some(bits) => bits.parse::<u8>().ok()? == 32,
                None => true,
            };
            if counts && !ip.is_unspecified() {
                let place = if ip.is_ipv4() {
                    &mut found.v4
                } else {
                    &mut found.v6
                };
                *place = ip.to_string();
            }
        }
        (found != Addresses::default()).then_some(found)
    }

    fn set(&self, target: &mut MetaLabels) {
        let address = if self.v4.is_empty() { &self.v6 } else { &self.v4 };
        target
            .set(ADDRESS, address)
            .meta("ipv4", &self.v4)
            .meta("ipv6", &self.v6);
    }
}

async fn addresses(calls: &mut Calls<'_>, path: &str) -> Result<Addresses, DiscoveryError> {
    let answer = calls.get(&format!("{path}/ips")).await?;
    let list: Vec<String> = answer.json_list()?;
    Addresses::of(&list)
        .ok_or_else(|| DiscoveryError::content(&answer.url, "could not parse IP addresses from list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_the_apis_guide_says() {
        let url = Url::parse("https://eu.api.ovh.com/1.0/vps").expect("URL");
        // The digest that `printf %s 'secret+consumer+GET+https://eu.api.ovh.com/1.0/vps++1767225600' | sha1sum` prints.
        assert_eq!(
            sign("secret", "consumer", &url, "1767225600"),
            "$1$58d9958516b6856809c38e0e64c2b2a79ba615a9"
        );
    }

    #[test]
    fn addresses_are_the_last_of_each_kind_and_networks_of_one_address() {
        let of = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
            Addresses::of(&list).map(|found| (found.v4, found.v6))
        };
        let both = Some(("192.0.2.2".to_owned(), "2001:db8::1".to_owned()));
        assert_eq!(
            of(&["192.0.2.1", "2001:db8::1", "192.0.2.2/32", "192.0.2.0/24"]),
            both
        );
        for none in [
            &[][..],
            &["0.0.0.0"],
            &["2001:db8::/64"],
            &["192.0.2.1", "host"],
            &["192.0.2.1/x"],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
