//! `lightsail_sd_configs`: instances of Lightsail.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::labels::Labels;
use serde::Serialize;
use serde_json::json;
use yaml::{Section, YamlError};

use super::{AwsApiSettings, Service, Tag, json_tags};
use crate::TargetGroup;
use crate::api::{answers, files_of};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, SEPARATOR, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// The interface.
const TARGET: &str = "Lightsail_20161128";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LightsailConfig {
    /// What all of AWS have.
    #[serde(flatten)]
    pub settings: AwsApiSettings,
}

impl Discovery for LightsailConfig {
    const KEY: &'static str = "lightsail_sd_configs";
    const NAME: &'static str = "lightsail";
    const HELP: &'static str = "instances of AWS Lightsail";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(LightsailConfig {
            settings: AwsApiSettings::read(section)?,
        })
    }

    files_of!(settings);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = Lightsail {
            service: self.settings.service(context, "lightsail")?,
            port: self.settings.port,
        };
        Ok(Runner::poll(self.settings.api.refresh_interval, poll))
    }
}

struct Lightsail {
    service: Service,
    port: i64,
}

answers! {
    #[serde(rename_all = "camelCase")]
    struct Answer {
        instances: Vec<Instance>,
    }
    #[serde(rename_all = "camelCase")]
    struct Instance {
        name: String,
        support_code: String,
        location: Location,
        blueprint_id: String,
        bundle_id: String,
        private_ip_address: Option<String>,
        public_ip_address: String,
        ipv6_addresses: Vec<String>,
        state: State,
        tags: Vec<Tag>,
    }
    #[serde(rename_all = "camelCase")]
    struct Location {
        availability_zone: String,
    }
    struct State {
        name: String,
    }
}

impl Poll for Lightsail {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let region = self.service.region().await?;
            let round = self.service.round();
            // Compat: only the first page is read (conformance `discovery/lightsail/instances`).
            let answer: Answer = self
                .service
                .json(&round, TARGET, "GetInstances", &json!({}))
                .await?;
            let targets = answer.instances.iter().filter_map(|instance| {
                let address = instance.private_ip_address.as_deref()?;
                Some(of_instance(instance, address, &region, self.port))
            });
            Ok(group(&region, targets.collect::<Result<_, _>>()?))
        }
        .boxed()
    }
}

fn of_instance(
    instance: &Instance,
    address: &str,
    region: &str,
    port: i64,
) -> Result<Labels, DiscoveryError> {
    let mut target = MetaLabels::new("__meta_lightsail_");
    target
        .address(address, port)
        .meta("availability_zone", &instance.location.availability_zone)
        .meta("blueprint_id", &instance.blueprint_id)
        .meta("bundle_id", &instance.bundle_id)
        .meta("instance_name", &instance.name)
        .meta("instance_state", &instance.state.name)
        .meta("instance_support_code", &instance.support_code)
        .meta("private_ip", address)
        .meta("public_ip", &instance.public_ip_address)
        .meta("region", region)
        .list("ipv6_addresses", &instance.ipv6_addresses, SEPARATOR);
    json_tags(&mut target, "tag_", &instance.tags);
    target.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::try_damaged;

    #[test]
    fn damaged_answers_never_panic() {
        let good = br#"{"instances": [{"name": "n", "privateIpAddress": "192.0.2.1", "location": null, "ipv6Addresses": ["2001:db8::1"],
            "state": {"name": "running"}, "tags": [{"key": "k", "value": "v"}, {"key": "w"}]}]}"#;
        let mut whole = 0;
        try_damaged(good, |bytes| {
            let answer: Answer = serde_json::from_slice(bytes).unwrap_or_default();
            for instance in &answer.instances {
                whole += usize::from(of_instance(instance, "192.0.2.1", "r", 80).is_ok());
            }
        });
        assert!(whole > 0, "the good one is read");
    }
}
