//! `eureka_sd_configs`: instances of the applications that a Eureka server knows, as XML.

use std::str::FromStr;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::Request;
use model::labels::Labels;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde::Serialize;
use url::Url;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, ApiSettings, files_of};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const DEFAULT_REFRESH_INTERVAL: yaml::Duration = yaml::Duration::from_ms(30_000);
/// Of an instance that names no port.
const DEFAULT_PORT: i64 = 80;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EurekaConfig {
    /// The server's address.
    pub server: String,
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
}

impl Discovery for EurekaConfig {
    const KEY: &'static str = "eureka_sd_configs";
    const NAME: &'static str = "eureka";
    const HELP: &'static str = "instances of applications of a Eureka server";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let server: String = section.get_or("server", String::new())?;
        if server.is_empty() {
            return Err(section.error_at("server", "eureka_sd: empty or null eureka server"));
        }
        if let Err(error) = Url::parse(&server) {
            let message = format!("eureka_sd: invalid eureka server URL {server:?}: {error}");
            return Err(section.error_at("server", message));
        }
        Ok(EurekaConfig {
            server,
            api: ApiSettings::read(section, DEFAULT_REFRESH_INTERVAL)?,
        })
    }

    files_of!(api);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        // Compat: a server with a slash at its end is asked for `//apps` (conformance `discovery/eureka/auth`).
        let apps = format!("{}/apps", self.server);
        let apps = Url::parse(&apps).map_err(|error| PrepareError::Unavailable(error.into()))?;
        let poll = Eureka {
            api: self.api.client(context)?,
            apps,
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

struct Eureka {
    api: Api,
    apps: Url,
}

impl Poll for Eureka {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let answer = self.api.round().send(Request::get(self.apps.clone())).await?;
            let targets = std::str::from_utf8(&answer.body)
                .map_err(|_| XmlProblem::NotUtf8)
                .and_then(targets)
                .map_err(|error| DiscoveryError::content(&answer.url, error))?;
            let labels: Result<_, _> = targets.iter().map(MetaLabels::build).collect();
            let labels: Vec<Labels> = labels?;
            Ok(group("eureka", labels))
        }
        .boxed()
    }
}

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
enum XmlProblem {
    #[error("not UTF-8")]
    NotUtf8,
    #[error("no XML element")]
    NoElement,
    #[error(transparent)]
    Xml(#[from] quick_xml::Error),
    #[error("{name}: {text:?} is not {wanted}")]
    Value {
        name: String,
        text: String,
        wanted: &'static str,
    },
}

/// An element, with what stands in it as it is written.
struct Element<'x> {
    start: BytesStart<'x>,
    inner: &'x str,
}

/// The elements directly in a piece of XML, up to `max` of them.
fn children(xml: &str, max: usize) -> Result<Vec<Element<'_>>, XmlProblem> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut found = Vec::new();
    while found.len() < max {
        match reader.read_event()? {
            Event::Start(start) => {
                let span = reader.read_to_end(start.name())?;
                let inner = xml.get(span.start as usize..span.end as usize).unwrap_or("");
                found.push(Element { start, inner });
            }
            Event::Eof => break,
            _ => {}
        }
    }
    Ok(found)
}

impl Element<'_> {
    fn name(&self) -> String {
        String::from_utf8_lossy(self.start.local_name().as_ref()).into_owned()
    }

    /// The text directly in it.
    fn text(&self) -> Result<String, XmlProblem> {
        let mut reader = Reader::from_str(self.inner);
        reader.config_mut().expand_empty_elements = true;
        let mut text = String::new();
        loop {
            match reader.read_event()? {
                Event::Start(start) => {
                    reader.read_to_end(start.name())?;
                }
                Event::Text(part) => text.push_str(&part.decode().map_err(quick_xml::Error::from)?),
                Event::CData(part) => text.push_str(&part.decode().map_err(quick_xml::Error::from)?),
                Event::GeneralRef(name) => {
                    let name = name.decode().map_err(quick_xml::Error::from)?;
                    let entity = format!("&{name};");
                    text.push_str(&quick_xml::escape::unescape(&entity).map_err(quick_xml::Error::from)?);
                }
                Event::Eof => return Ok(text),
                _ => {}
            }
        }
    }

    fn value<T: FromStr>(&self, text: &str, wanted: &'static str) -> Result<T, XmlProblem> {
        text.trim().parse().map_err(|_| XmlProblem::Value {
            name: self.name(),
            text: text.to_owned(),
            wanted,
        })
    }

    /// A number; 0 where nothing stands.
    fn number(&self) -> Result<i64, XmlProblem> {
        let text = self.text()?;
        if text.is_empty() {
            Ok(0)
        } else {
            self.value(&text, "a number")
        }
    }

    /// Whether the attribute `enabled` says so.
    fn is_enabled(&self) -> Result<bool, XmlProblem> {
        let found = self
            .start
            .try_get_attribute("enabled")
            .map_err(quick_xml::Error::from)?;
        let Some(found) = found else { return Ok(false) };
        self.value(&String::from_utf8_lossy(&found.value), "true or false")
    }
}

fn targets(document: &str) -> Result<Vec<MetaLabels>, XmlProblem> {
    let root = children(document, 1)?.pop().ok_or(XmlProblem::NoElement)?;
    let mut targets = Vec::new();
    for application in children(root.inner, usize::MAX)?
        .iter()
        .filter(|element| element.name() == "application")
    {
        let parts = children(application.inner, usize::MAX)?;
        let name = parts
            .iter()
            .find(|part| part.name() == "name")
            .map(Element::text)
            .transpose()?;
        for instance in parts.iter().filter(|part| part.name() == "instance") {
            let mut target = of_instance(instance)?;
            target.meta("app_name", name.as_deref().unwrap_or(""));
            targets.push(target);
        }
    }
    Ok(targets)
}

fn of_instance(instance: &Element<'_>) -> Result<MetaLabels, XmlProblem> {
    let mut target = MetaLabels::new("__meta_eureka_");
    let (mut host, mut port) = (String::new(), DEFAULT_PORT);
    target.meta("app_instance_country_id", 0);
    for part in children(instance.inner, usize::MAX)? {
        let label = match &*part.name() {
            "hostName" => {
                host = part.text()?;
                "hostname"
            }
            "instanceId" => {
                target.set("instance", &part.text()?);
                "id"
            }
            "homePageUrl" => "homepage_url",
            "statusPageUrl" => "statuspage_url",
            "healthCheckUrl" => "healthcheck_url",
            "ipAddr" => "ip_addr",
            "vipAddress" => "vip_address",
            "secureVipAddress" => "secure_vip_address",
            "status" => "status",
            "countryId" => {
                target.meta("app_instance_country_id", part.number()?);
                continue;
            }
            "port" => {
                port = part.number()?;
                target
                    .meta("app_instance_port", port)
                    .meta("app_instance_port_enabled", part.is_enabled()?);
                continue;
            }
            "securePort" => {
                target
                    .meta("app_instance_secure_port", part.number()?)
                    .meta("app_instance_secure_port_enabled", part.is_enabled()?);
                continue;
            }
            "dataCenterInfo" => {
                data_center(&mut target, &part)?;
                continue;
            }
            "metadata" => {
                metadata(&mut target, "app_instance_metadata_", &part)?;
                continue;
            }
            _ => continue,
        };
        target.meta(&format!("app_instance_{label}"), part.text()?);
    }
    target.address(&host, port);
    Ok(target)
}

fn data_center(target: &mut MetaLabels, info: &Element<'_>) -> Result<(), XmlProblem> {
    for part in children(info.inner, usize::MAX)? {
        match &*part.name() {
            "name" => drop(target.meta("app_instance_datacenterinfo_name", part.text()?)),
            "metadata" => metadata(target, "app_instance_datacenterinfo_metadata_", &part)?,
            _ => {}
        }
    }
    Ok(())
}

/// Compat: values are the XML in the element as it stands (conformance `discovery/eureka/apps`).
fn metadata(target: &mut MetaLabels, prefix: &str, element: &Element<'_>) -> Result<(), XmlProblem> {
    for item in children(element.inner, usize::MAX)? {
        target.meta_of(prefix, &item.name(), item.inner);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_unescaped_and_what_is_broken_is_named() {
        let text = |xml| children(xml, 1).and_then(|found| found[0].text());
        assert_eq!(
            text("<a>x &amp; <b>no</b><![CDATA[<y>]]>&#33;</a>").expect("text"),
            "x & <y>!"
        );
        for bad in [
            "",
            "{}",
            "<a><b></a>",
            "<a>",
            "<a><application><instance><port>x</port></instance></application></a>",
        ] {
            assert!(targets(bad).is_err(), "{bad}");
        }
    }
}
