//! `linode_sd_configs`: instances of Linode, with their addresses.
//!
//! Everything is read at the first refresh, after an event of the account, and every tenth time; between, only events
//! are asked for. A token that may not read events costs a full read each time.

use std::collections::HashMap;
use std::net::IpAddr;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::Request;
use jiff::Timestamp;
use metrics::Counter;
use model::labels::Labels;
use serde::Serialize;
use serde::de::DeserializeOwned;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, ApiSettings, MINUTE, Round, answers, files_of, url};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::metrics::Metrics;
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const API: &str = "https://api.linode.com/v4";
const PER_PAGE: &str = "500";
const EVENTS_PER_PAGE: &str = "25";
/// Refreshes without events before everything is read again: what happens within an instance makes no event.
const QUIET_REFRESHES_MAX: u32 = 10;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinodeConfig {
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// Port of the targets.
    pub port: i64,
    /// Between the members of lists.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag_separator: String,
    /// The region that is wanted; all if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
}

impl Discovery for LinodeConfig {
    const KEY: &'static str = "linode_sd_configs";
    const NAME: &'static str = "linode";
    const HELP: &'static str = "instances of Linode";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(LinodeConfig {
            port: section.get_or("port", 80)?,
            tag_separator: section.get_or("tag_separator", ",".to_owned())?,
            region: section.get_or("region", String::new())?,
            api: ApiSettings::read(section, MINUTE)?,
        })
    }

    files_of!(api);

    fn register(metrics: &Metrics) {
        failures(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = Linode {
            api: self.api.client(context)?,
            config: self.clone(),
            failures: failures(&context.metrics),
            found: None,
            asked_at: Timestamp::now(),
            may_read_events: true,
            quiet: 0,
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

fn failures(metrics: &Metrics) -> Counter {
    metrics.registry().counter(
        "prometheus_sd_linode_failures_total",
        "Number of Linode service discovery refresh failures.",
    )
}

struct Linode {
    api: Api,
    config: LinodeConfig,
    /// Full reads that failed.
    failures: Counter,
    /// The last full read's result.
    found: Option<Vec<TargetGroup>>,
    /// When the last refresh that succeeded began.
    asked_at: Timestamp,
    may_read_events: bool,
    /// Refreshes since the last full read.
    quiet: u32,
}

impl Poll for Linode {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let now = Timestamp::now();
            let unchanged = match &self.found {
                Some(found) if self.may_read_events => Some(found.clone()),
                _ => None,
            };
            if let Some(found) = unchanged
                && !self.has_events().await?
            {
                self.asked_at = now;
                return Ok(found);
            }
            let found = read_all(&mut self.api.round(), &self.config).await;
            let found = found.inspect_err(|_| self.failures.inc())?;
            self.quiet = 0;
            self.found = Some(found.clone());
            self.asked_at = now;
            Ok(found)
        }
        .boxed()
    }
}

impl Linode {
    /// Whether everything has to be read again.
    async fn has_events(&mut self) -> Result<bool, DiscoveryError> {
        let since = self.asked_at.strftime("%Y-%m-%dT%H:%M:%S");
        let filter = format!("{{\"created\": {{\"+gte\": \"{since}\"}}}}");
        let url = url(
            &format!("{API}/account/events"),
            &[("page", "1"), ("page_size", EVENTS_PER_PAGE)],
        )?;
        let request = Request::get(url)
            .header("accept", "application/json")
            .header("x-filter", filter);
        match self.api.round().send(request).await {
            Ok(answer) => {
                let events: Page<serde::de::IgnoredAny> = answer.json()?;
                self.quiet += 1;
                Ok(!events.data.is_empty() || self.quiet >= QUIET_REFRESHES_MAX)
            }
            Err(DiscoveryError::Status { status, .. }) if status == ::http::StatusCode::UNAUTHORIZED => {
                self.may_read_events = false;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

/// A page of any list.
#[derive(serde::Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default = "Vec::new", deserialize_with = "crate::api::null_is_default")]
    data: Vec<T>,
    #[serde(default)]
    pages: u64,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Page {
            data: Vec::new(),
            pages: 0,
        }
    }
}

answers! {
    struct Instance {
        id: i64,
        label: String,
        group: String,
        status: String,
        #[serde(rename = "type")]
        kind: String,
        region: String,
        image: String,
        hypervisor: String,
        ipv4: Vec<String>,
        ipv6: String,
        tags: Vec<String>,
        specs: Specs,
        backups: Backups,
    }
    struct Specs {
        disk: i64,
        memory: i64,
        vcpus: i64,
        transfer: i64,
        gpus: i64,
    }
    struct Backups {
        enabled: bool,
    }
    struct Address {
        address: String,
        public: bool,
        rdns: String,
    }
    struct Range {
        range: String,
        prefix: i64,
        route_target: String,
    }
}

/// All pages of a list.
async fn list<T: DeserializeOwned>(
    round: &mut Round<'_>,
    path: &str,
    region: &str,
) -> Result<Vec<T>, DiscoveryError> {
    let mut all = Vec::new();
    for number in 1_u64.. {
        let parameters = [("page", &*number.to_string()), ("page_size", PER_PAGE)];
        let mut request =
            Request::get(url(&format!("{API}/{path}"), &parameters)?).header("accept", "application/json");
        if !region.is_empty() {
            request = request.header("x-filter", format!("{{\"region\": \"{region}\"}}"));
        }
        let page: Page<T> = round.send(request).await?.json()?;
        all.extend(page.data);
        if number >= page.pages {
            break;
        }
    }
    Ok(all)
}

async fn read_all(round: &mut Round<'_>, config: &LinodeConfig) -> Result<Vec<TargetGroup>, DiscoveryError> {
    let instances: Vec<Instance> = list(round, "linode/instances", &config.region).await?;
    let addresses: Vec<Address> = list(round, "networking/ips", &config.region).await?;
    let ranges: Vec<Range> = list(round, "networking/ipv6/ranges", &config.region).await?;
    let mut known = Known::default();
    for address in &addresses {
        known.addresses.entry(&address.address).or_default().push(address);
    }
    for range in &ranges {
        let text = format!("{}/{}", range.range, range.prefix);
        known.ranges.entry(&range.route_target).or_default().push(text);
    }
    let with_address = instances.iter().filter(|instance| !instance.ipv4.is_empty());
    let targets: Result<_, _> = with_address
        .map(|instance| of_instance(instance, &known, config))
        .collect();
    Ok(group("Linode", targets?))
}

/// What is known of addresses.
#[derive(Default)]
struct Known<'a> {
    addresses: HashMap<&'a str, Vec<&'a Address>>,
    /// By the address that they are routed to.
    ranges: HashMap<&'a str, Vec<String>>,
}

fn of_instance(
    instance: &Instance,
    known: &Known<'_>,
    config: &LinodeConfig,
) -> Result<Labels, DiscoveryError> {
    let details = |address: &str| known.addresses.get(address).into_iter().flatten().copied();
    let (mut private, mut public, mut extra) = (None, None, Vec::new());
    for text in &instance.ipv4 {
        let ip: IpAddr = text
            .parse()
            .map_err(|_| DiscoveryError::content(API, format_args!("{text:?} is no address")))?;
        for found in details(&ip.to_string()) {
            let place = if found.public { &mut public } else { &mut private };
            match place {
                None => *place = Some(found),
                Some(_) => extra.push(&found.address),
            }
        }
    }
    let own_v6 = instance.ipv6.split('/').next().unwrap_or("");
    let public_v6 = details(own_v6).last();
    let mut target = MetaLabels::new("__meta_linode_");
    for (name, found) in [
        ("private_ipv4", private),
        ("public_ipv4", public),
        ("public_ipv6", public_v6),
    ] {
        let Some(found) = found else { continue };
        target.meta(name, &found.address);
        if found.rdns != "null" {
            target.meta(&format!("{name}_rdns"), &found.rdns);
        }
    }
    let specs = &instance.specs;
    let mebibytes = |amount: i64| amount << 20;
    target
        .address(public.map_or("", |found| &found.address), config.port)
        .meta("instance_id", instance.id)
        .meta("instance_label", &instance.label)
        .meta("image", &instance.image)
        .meta("region", &instance.region)
        .meta("type", &instance.kind)
        .meta("status", &instance.status)
        .meta("group", &instance.group)
        .meta("gpus", specs.gpus)
        .meta("hypervisor", &instance.hypervisor)
        .meta(
            "backups",
            if instance.backups.enabled {
                "enabled"
            } else {
                "disabled"
            },
        )
        .meta("specs_disk_bytes", mebibytes(specs.disk))
        .meta("specs_memory_bytes", mebibytes(specs.memory))
        .meta("specs_vcpus", specs.vcpus)
        .meta("specs_transfer_bytes", mebibytes(specs.transfer))
        .list("tags", &instance.tags, &config.tag_separator)
        .list("extra_ips", &extra, &config.tag_separator);
    if let Some(ranges) = known.ranges.get(own_v6).filter(|_| !own_v6.is_empty()) {
        target.list("ipv6_ranges", ranges, &config.tag_separator);
    }
    target.build()
}
