//! `vultr_sd_configs`: instances of Vultr.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::labels::Labels;
use serde::Serialize;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, ApiSettings, MINUTE, answers, files_of, url};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, SEPARATOR, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const INSTANCES: &str = "https://api.vultr.com/v2/instances";
const PER_PAGE: &str = "100";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VultrConfig {
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// Port of the targets.
    pub port: i64,
}

impl Discovery for VultrConfig {
    const KEY: &'static str = "vultr_sd_configs";
    const NAME: &'static str = "vultr";
    const HELP: &'static str = "instances of Vultr";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(VultrConfig {
            port: section.get_or("port", 80)?,
            api: ApiSettings::read(section, MINUTE)?,
        })
    }

    files_of!(api);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = Vultr {
            api: self.api.client(context)?,
            port: self.port,
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

struct Vultr {
    api: Api,
    port: i64,
}

impl Poll for Vultr {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let round = self.api.round();
            let mut targets = Vec::new();
            let mut cursor = String::new();
            loop {
                let mut parameters = vec![("per_page", PER_PAGE)];
                if !cursor.is_empty() {
                    parameters.push(("cursor", &cursor));
                }
                let page: Page = round.get_json(url(INSTANCES, &parameters)?).await?;
                for instance in &page.instances {
                    targets.push(of_instance(instance, self.port)?);
                }
                cursor = page.meta.links.next;
                if cursor.is_empty() {
                    return Ok(group("Vultr", targets));
                }
            }
        }
        .boxed()
    }
}

answers! {
    struct Page {
        instances: Vec<Instance>,
        meta: Meta,
    }
    struct Meta {
        links: Links,
    }
    struct Links {
        next: String,
    }
    struct Instance {
        id: String,
        label: String,
        os: String,
        os_id: i64,
        region: String,
        plan: String,
        vcpu_count: i64,
        ram: i64,
        allowed_bandwidth: i64,
        disk: i64,
        main_ip: String,
        v6_main_ip: String,
        internal_ip: String,
        hostname: String,
        server_status: String,
        features: Vec<String>,
        tags: Vec<String>,
    }
}

fn of_instance(instance: &Instance, port: i64) -> Result<Labels, DiscoveryError> {
    let mut target = MetaLabels::new("__meta_vultr_instance_");
    target
        .address(&instance.main_ip, port)
        .meta("id", &instance.id)
        .meta("label", &instance.label)
        .meta("os", &instance.os)
        .meta("os_id", instance.os_id)
        .meta("region", &instance.region)
        .meta("plan", &instance.plan)
        .meta("vcpu_count", instance.vcpu_count)
        .meta("ram_mb", instance.ram)
        .meta("allowed_bandwidth_gb", instance.allowed_bandwidth)
        .meta("disk_gb", instance.disk)
        .meta("main_ip", &instance.main_ip)
        .meta("main_ipv6", &instance.v6_main_ip)
        .meta("internal_ip", &instance.internal_ip)
        .meta("hostname", &instance.hostname)
        .meta("server_status", &instance.server_status)
        .list("features", &instance.features, SEPARATOR)
        .list("tags", &instance.tags, SEPARATOR);
    target.build()
}
