//! `ec2_sd_configs`: instances of EC2.

use std::collections::HashMap;

use credentials::xml::Element;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::labels::Labels;
use serde::Serialize;
use yaml::{Section, YamlError};

use super::{AwsApiSettings, AwsFilter, Service, members, pair, tags, xml};
use crate::TargetGroup;
use crate::api::{Answer, Pages, Round, files_of};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, SEPARATOR, group, surrounded};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// The version of the interface.
const VERSION: &str = "2016-11-15";
/// Highest number of a network interface that has a place among the primary addresses; instances have at most some dozens.
const DEVICE_INDEX_MAX: usize = 1_000;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ec2Config {
    /// What all of AWS have.
    #[serde(flatten)]
    pub settings: AwsApiSettings,
    /// Which instances; all if empty.
    pub filters: Vec<AwsFilter>,
}

impl Discovery for Ec2Config {
    const KEY: &'static str = "ec2_sd_configs";
    const NAME: &'static str = "ec2";
    const HELP: &'static str = "instances of AWS EC2";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let filters: Vec<AwsFilter> = section.get_or("filters", Vec::new())?;
        if filters.iter().any(|filter| filter.values.is_empty()) {
            let message = "EC2 SD configuration filter values cannot be empty";
            return Err(section.error_at("filters", message));
        }
        Ok(Ec2Config {
            settings: AwsApiSettings::read(section)?,
            filters,
        })
    }

    files_of!(settings);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let filters = self.filters.iter().zip(1..).flat_map(|(filter, number)| {
            let name = pair(format!("Filter.{number}.Name"), &filter.name);
            let values = members("Value", &filter.values);
            let values = values.map(move |(key, value)| pair(format!("Filter.{number}.{key}"), value));
            std::iter::once(name).chain(values)
        });
        let poll = Ec2 {
            service: self.settings.service(context, "ec2")?,
            filters: filters.collect(),
            port: self.settings.port,
            zone_ids: None,
        };
        Ok(Runner::poll(self.settings.api.refresh_interval, poll))
    }
}

struct Ec2 {
    service: Service,
    /// As parameters.
    filters: Vec<(String, String)>,
    port: i64,
    /// Zone → its ID, which is the same in all accounts. Read until it worked once.
    zone_ids: Option<HashMap<String, String>>,
}

impl Poll for Ec2 {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let region = self.service.region().await?;
            let round = self.service.round();
            if self.zone_ids.is_none() {
                match zones(&self.service, &round).await {
                    Ok(zones) => self.zone_ids = Some(zones),
                    // Compat: their label is left out until they can be read (conformance `discovery/ec2/changes-and-errors`).
                    Err(error) => tracing::debug!(%error, "Unable to describe availability zones"),
                }
            }
            let found = Found {
                region: &region,
                port: self.port,
                zone_ids: self.zone_ids.as_ref(),
            };
            let mut targets = Vec::new();
            each_page(
                &self.service,
                &round,
                "DescribeInstances",
                &self.filters,
                |page| {
                    for reservation in page.list("reservationSet") {
                        for instance in reservation.list("instancesSet") {
                            targets.extend(found.target(instance, reservation.text_of("ownerId"))?);
                        }
                    }
                    Ok(())
                },
            )
            .await?;
            Ok(group(&region, targets))
        }
        .boxed()
    }
}

/// Gives `read` each page of what an action of EC2 lists.
pub(super) async fn each_page(
    service: &Service,
    round: &Round<'_>,
    action: &str,
    parameters: &[(String, String)],
    mut read: impl FnMut(&Element<'_>) -> Result<(), DiscoveryError>,
) -> Result<(), DiscoveryError> {
    let mut pages = Pages::default();
    let mut token: Option<String> = None;
    loop {
        let mut form = parameters.to_vec();
        form.extend(token.map(|token| pair("NextToken", token)));
        let answer: Answer = service.query(round, VERSION, action, &form).await?;
        let page = xml(&answer)?;
        read(&page)?;
        token = pages.next(&answer.url, page.text_of("nextToken"))?;
        if token.is_none() {
            return Ok(());
        }
    }
}

async fn zones(service: &Service, round: &Round<'_>) -> Result<HashMap<String, String>, DiscoveryError> {
    let answer = service
        .query(round, VERSION, "DescribeAvailabilityZones", &[])
        .await?;
    let page = xml(&answer)?;
    let zones = page.list("availabilityZoneInfo").filter_map(|zone| {
        let (name, id) = (zone.text_of("zoneName")?, zone.text_of("zoneId")?);
        Some((name.to_owned(), id.to_owned()))
    });
    Ok(zones.collect())
}

/// What is known besides the instance.
struct Found<'f> {
    region: &'f str,
    port: i64,
    zone_ids: Option<&'f HashMap<String, String>>,
}

impl Found<'_> {
    /// Nothing for an instance without an address.
    fn target(&self, instance: &Element<'_>, owner: Option<&str>) -> Result<Option<Labels>, DiscoveryError> {
        let text = |name: &str| instance.text_of(name).unwrap_or("");
        let vpc = instance.text_of("vpcId");
        let ipv6 = vpc.map(|_| Ipv6::of(instance)).unwrap_or_default();
        let private = instance.text_of("privateIpAddress");
        let Some(host) = private.or(ipv6.default_address()) else {
            return Ok(None);
        };
        let mut target = MetaLabels::new("__meta_ec2_");
        target
            .address(host, self.port)
            .meta("instance_id", text("instanceId"))
            .meta("region", self.region)
            .meta("owner_id", owner.unwrap_or(""))
            .meta("default_ipv6_address", ipv6.default_address().unwrap_or(""))
            .meta("private_ip", private.unwrap_or(""))
            .meta("private_dns_name", text("privateDnsName"))
            .meta("platform", text("platform"))
            .list("primary_ipv6_addresses", &ipv6.primary, SEPARATOR)
            .list("ipv6_addresses", &ipv6.all, SEPARATOR)
            .meta("ami", text("imageId"))
            .meta("instance_type", text("instanceType"))
            .meta("instance_lifecycle", text("instanceLifecycle"))
            .meta("architecture", text("architecture"))
            .meta("vpc_id", vpc.unwrap_or(""));
        if let Some(public) = instance.text_of("ipAddress") {
            target
                .meta("public_ip", public)
                .meta("public_dns_name", text("dnsName"));
        }
        let at = |path: &[&str]| instance.at(path).map_or("", Element::text);
        let zone = at(&["placement", "availabilityZone"]);
        target
            .meta("availability_zone", zone)
            .meta("instance_state", at(&["instanceState", "name"]));
        if let Some(id) = self.zone_ids.and_then(|ids| ids.get(zone)) {
            target.meta("availability_zone_id", id);
        }
        if vpc.is_some() {
            let mut subnets: Vec<&str> = Vec::new();
            for interface in instance.list("networkInterfaceSet") {
                if let Some(subnet) = interface.text_of("subnetId")
                    && !subnets.contains(&subnet)
                {
                    subnets.push(subnet);
                }
            }
            target
                .meta("primary_subnet_id", text("subnetId"))
                .meta("subnet_id", surrounded(&subnets, SEPARATOR));
        }
        tags(&mut target, "tag_", instance, "tagSet");
        target.build().map(Some)
    }
}

/// Addresses of the instance's interfaces.
#[derive(Default)]
struct Ipv6<'x> {
    /// At the place of the interface's number.
    primary: Vec<&'x str>,
    all: Vec<&'x str>,
}

impl<'x> Ipv6<'x> {
    fn of(instance: &'x Element<'_>) -> Self {
        let mut found = Ipv6::default();
        for interface in instance.list("networkInterfaceSet") {
            if interface.text_of("subnetId").is_none() {
                continue;
            }
            let index = interface.at(&["attachment", "deviceIndex"]);
            let index = index.and_then(|index| index.text().parse::<usize>().ok());
            for address in interface.list("ipv6AddressesSet") {
                let Some(text) = address.text_of("ipv6Address") else {
                    continue;
                };
                found.all.push(text);
                // Compat: without a word on whether it is primary, it is not; the reference ends
                // (conformance `discovery/ec2/sparse-ipv6`).
                let is_primary = address.text_of("isPrimaryIpv6") == Some("true");
                if let Some(index) = index.filter(|index| is_primary && *index <= DEVICE_INDEX_MAX) {
                    if found.primary.len() <= index {
                        found.primary.resize(index + 1, "");
                    }
                    found.primary[index] = text;
                }
            }
        }
        found
    }

    /// The first primary one, or the first at all.
    fn default_address(&self) -> Option<&'x str> {
        let mut both = self.primary.iter().chain(&self.all);
        both.find(|address| !address.is_empty()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::try_damaged;

    #[test]
    fn a_primary_address_of_an_absurd_interface_takes_no_room() {
        let interface = |index: &str| {
            format!(
                "<item><subnetId>s</subnetId><attachment><deviceIndex>{index}</deviceIndex></attachment>\
                 <ipv6AddressesSet><item><ipv6Address>2001:db8::{}</ipv6Address>\
                 <isPrimaryIpv6>true</isPrimaryIpv6></item></ipv6AddressesSet></item>",
                index.len()
            )
        };
        let set: String = ["1", "4000000000", "-1"].map(interface).concat();
        let document = format!("<i><networkInterfaceSet>{set}</networkInterfaceSet></i>");
        let instance = Element::parse(document.as_bytes()).expect("XML");
        let found = Ipv6::of(&instance);
        assert_eq!(found.primary, ["", "2001:db8::1"]);
        assert_eq!(found.all, ["2001:db8::1", "2001:db8::10", "2001:db8::2"]);
        assert_eq!(found.default_address(), Some("2001:db8::1"));
    }

    #[test]
    fn damaged_answers_never_panic() {
        let good = b"<R><reservationSet><item><ownerId>o</ownerId><instancesSet><item><instanceId>i</instanceId>\
            <privateIpAddress>192.0.2.1</privateIpAddress><vpcId>v</vpcId><placement><availabilityZone>z</availabilityZone>\
            </placement><tagSet><item><key>k</key><value>v</value></item></tagSet><networkInterfaceSet><item><subnetId>s</subnetId>\
            <attachment><deviceIndex>1</deviceIndex></attachment><ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address>\
            <isPrimaryIpv6>true</isPrimaryIpv6></item></ipv6AddressesSet></item></networkInterfaceSet></item></instancesSet></item>\
            </reservationSet></R>";
        let found = Found {
            region: "r",
            port: 80,
            zone_ids: None,
        };
        let mut whole = 0;
        try_damaged(good, |bytes| {
            let Ok(page) = Element::parse(bytes) else { return };
            for reservation in page.list("reservationSet") {
                for instance in reservation.list("instancesSet") {
                    whole += usize::from(found.target(instance, None).is_ok_and(|found| found.is_some()));
                }
            }
        });
        assert!(whole > 0, "the good one is read");
    }
}
