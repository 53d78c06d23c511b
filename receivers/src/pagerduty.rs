//! PagerDuty: events of version 2 (`routing_key`) and of version 1 (`service_key`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use tokio::time::Instant;
use yaml::{FromYaml, Secret, Section, Value, YamlError};

use crate::config::Kind;
use crate::group_key::hash;
use crate::http::{Answer, Client, read_word};
use crate::integration::{Setup, Unbuilt};
use crate::loose::Loose;
use crate::receiver::{Failure, FailureReason, Memory, Receiver};
use crate::rendering::Rendering;
use crate::settings::{GoDuration, Settings as _, WebUrl, is_default, is_named, is_unnamed};
use crate::{Global, Notification, json, shorten};

/// PagerDuty's limits: of the summary in characters, of the event in bytes.
const SUMMARY_CHARS_MAX: usize = 1024;
const EVENT_BYTES_MAX: usize = 512_000;
/// What fields are where nothing is said.
const CLIENT: &str = r#"{{ template "pagerduty.default.client" . }}"#;
const CLIENT_URL: &str = r#"{{ template "pagerduty.default.clientURL" . }}"#;
const SEVERITY: &str = "error";
/// Where events of version 1 go.
const V1_URL: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";
/// Details that every event has unless they are given otherwise.
const DETAILS: [(&str, &str); 4] = [
    ("firing", "{{ .Alerts.Firing | toJson }}"),
    ("resolved", "{{ .Alerts.Resolved | toJson }}"),
    ("num_firing", "{{ .Alerts.Firing | len }}"),
    ("num_resolved", "{{ .Alerts.Resolved | len }}"),
];

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PagerDutyConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "is_default")]
    service_key: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    service_key_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    routing_key: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    routing_key_file: PathBuf,
    url: WebUrl,
    #[serde(skip_serializing_if = "is_default")]
    client: String,
    #[serde(skip_serializing_if = "is_default")]
    client_url: String,
    #[serde(skip_serializing_if = "is_default")]
    description: String,
    details: BTreeMap<String, Loose>,
    #[serde(skip_serializing_if = "is_default")]
    images: Vec<Image>,
    #[serde(skip_serializing_if = "is_default")]
    links: Vec<Link>,
    #[serde(skip_serializing_if = "is_default")]
    source: String,
    #[serde(skip_serializing_if = "is_default")]
    severity: String,
    #[serde(skip_serializing_if = "is_default")]
    class: String,
    #[serde(skip_serializing_if = "is_default")]
    component: String,
    #[serde(skip_serializing_if = "is_default")]
    group: String,
    timeout: GoDuration,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Image {
    #[serde(skip_serializing_if = "is_default")]
    src: String,
    #[serde(skip_serializing_if = "is_default")]
    alt: String,
    #[serde(skip_serializing_if = "is_default")]
    href: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Link {
    #[serde(skip_serializing_if = "is_default")]
    href: String,
    #[serde(skip_serializing_if = "is_default")]
    text: String,
}

impl FromYaml for Image {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type pagerduty.PagerdutyImage")?;
        let image = Image {
            src: section.text("src")?,
            alt: section.text("alt")?,
            href: section.text("href")?,
        };
        section.finish()?;
        Ok(image)
    }
}

impl FromYaml for Link {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type pagerduty.PagerdutyLink")?;
        let link = Link {
            href: section.text("href")?,
            text: section.text("text")?,
        };
        section.finish()?;
        Ok(link)
    }
}

impl Kind for PagerDutyConfig {
    const NAME: &'static str = "pagerduty";
    const WHAT: &'static str = "type pagerduty.plain";
    const MISSING: &'static str = "missing pagerduty config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let client = section.text_or("client", CLIENT)?;
        let url: Option<WebUrl> = section.get("url")?;
        let source = section.text("source")?;
        let mut config = PagerDutyConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            service_key: section.secret("service_key")?,
            service_key_file: section.path("service_key_file")?,
            routing_key: section.secret("routing_key")?,
            routing_key_file: section.path("routing_key_file")?,
            url: url
                .or_else(|| global.pagerduty_url.clone())
                .ok_or_else(|| section.error("no global PagerDuty URL set"))?,
            client_url: section.text_or("client_url", CLIENT_URL)?,
            description: section.text_or(
                "description",
                r#"{{ template "pagerduty.default.description" .}}"#,
            )?,
            details: section.get_or("details", BTreeMap::new())?,
            images: section.get_or("images", Vec::new())?,
            links: section.get_or("links", Vec::new())?,
            source: if source.is_empty() { client.clone() } else { source },
            client,
            severity: section.text("severity")?,
            class: section.text("class")?,
            component: section.text("component")?,
            group: section.text("group")?,
            timeout: section.get_or("timeout", GoDuration::default())?,
        };
        let has_routing_key = !config.routing_key.is_empty();
        let has_routing_key_file = is_named(&config.routing_key_file);
        let has_service_key = !config.service_key.is_empty();
        let has_service_key_file = is_named(&config.service_key_file);
        if !(has_routing_key || has_routing_key_file || has_service_key || has_service_key_file) {
            return Err(section.error("missing service or routing key in PagerDuty config"));
        }
        section.at_most_one([
            ("routing_key", has_routing_key),
            ("routing_key_file", has_routing_key_file),
        ])?;
        section.at_most_one([
            ("service_key", has_service_key),
            ("service_key_file", has_service_key_file),
        ])?;
        for (name, template) in DETAILS {
            let entry = config.details.entry(name.to_owned());
            entry.or_insert_with(|| Loose::Text(template.to_owned()));
        }
        Ok(config)
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn secret_templates(&self) -> Vec<(&'static str, &Secret)> {
        vec![
            ("routing_key", &self.routing_key),
            ("service_key", &self.service_key),
        ]
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        let client = Client::new(&self.http_config, setup)?.open();
        Ok(Arc::new(PagerDuty {
            client: client.limited("pagerduty", self.timeout.0),
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct PagerDuty {
    config: PagerDutyConfig,
    client: Client,
    setup: Setup,
}

/// An event of either version.
#[derive(Serialize, Default)]
struct Event {
    #[serde(skip_serializing_if = "String::is_empty")]
    routing_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    service_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dedup_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    incident_key: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    event_type: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    event_action: &'static str,
    payload: Option<Payload>,
    #[serde(skip_serializing_if = "String::is_empty")]
    client: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_url: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    details: Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<SentImage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<SentLink>,
}

#[derive(Serialize)]
struct Payload {
    summary: String,
    source: String,
    severity: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    class: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    component: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    custom_details: Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct SentImage {
    src: String,
    alt: String,
    href: String,
}

#[derive(Serialize)]
struct SentLink {
    href: String,
    text: String,
}

/// What an answer 400 says.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    message: String,
    errors: Vec<String>,
}

impl Receiver for PagerDuty {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if self.is_v1() {
                self.notify_v1(notification, deadline).await
            } else {
                self.notify_v2(notification, deadline).await
            }
        })
    }
}

impl PagerDuty {
    fn is_v1(&self) -> bool {
        !self.config.service_key.is_empty() || is_named(&self.config.service_key_file)
    }

    async fn notify_v1(&self, notification: &Notification, deadline: Instant) -> Result<(), Failure> {
        let config = &self.config;
        let key = key("service", &config.service_key, &config.service_key_file).await?;
        let body = self.event_v1(notification, &key)?;
        let answer = self.client.post_json(V1_URL, body, deadline).await;
        let answer = answer.map_err(|failure| failure.within("failed to post message to PagerDuty v1: "))?;
        // Compat: version 1 says 403 where it means too much, and all its failures are counted alike.
        check(&answer, 403).map_err(|failure| failure.counted_as(FailureReason::Other))
    }

    async fn notify_v2(&self, notification: &Notification, deadline: Instant) -> Result<(), Failure> {
        let config = &self.config;
        let key = key("routing", &config.routing_key, &config.routing_key_file).await?;
        let body = self.event_v2(notification, &key)?;
        let answer = self.client.post_json(config.url.as_str(), body, deadline).await;
        let answer = answer.map_err(|failure| failure.within("failed to post message to PagerDuty: "))?;
        check(&answer, 429)
    }

    fn event_v1(&self, notification: &Notification, key: &str) -> Result<Vec<u8>, Failure> {
        let config = &self.config;
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let details = self.details(&mut texts)?;
        let (description, _) = shorten::to_chars(texts.line(&config.description), SUMMARY_CHARS_MAX);
        let service_key = texts.address(key);
        let mut event = Event {
            service_key,
            event_type: action(notification),
            incident_key: hash(&notification.group_key),
            description,
            details,
            ..Event::default()
        };
        if notification.is_firing() {
            event.client = texts.choice(&config.client, CLIENT);
            event.client_url = texts.choice(&config.client_url, CLIENT_URL);
        }
        texts.check("failed to template PagerDuty v1 message: ")?;
        if event.service_key.is_empty() {
            return Err(Failure::last("service key cannot be empty"));
        }
        Ok(encode(event, |event| &mut event.details))
    }

    fn event_v2(&self, notification: &Notification, key: &str) -> Result<Vec<u8>, Failure> {
        let config = &self.config;
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let custom_details = self.details(&mut texts)?;
        let (summary, _) = shorten::to_chars(texts.line(&config.description), SUMMARY_CHARS_MAX);
        let severity = if config.severity.is_empty() {
            SEVERITY
        } else {
            &config.severity
        };
        let mut event = Event {
            client: texts.choice(&config.client, CLIENT),
            client_url: texts.choice(&config.client_url, CLIENT_URL),
            routing_key: texts.address(key),
            event_action: action(notification),
            dedup_key: hash(&notification.group_key),
            ..Event::default()
        };
        let payload = event.payload.insert(Payload {
            summary,
            source: texts.choice(&config.source, CLIENT),
            severity: texts.choice(severity, SEVERITY),
            class: texts.extra(&config.class),
            component: texts.extra(&config.component),
            group: texts.extra(&config.group),
            custom_details: Map::new(),
        });
        payload.custom_details = custom_details;
        for image in &config.images {
            let image = SentImage {
                src: texts.extra(&image.src),
                alt: texts.label(&image.alt),
                href: texts.extra(&image.href),
            };
            event.images.extend((!image.src.is_empty()).then_some(image));
        }
        for link in &config.links {
            let link = SentLink {
                href: texts.extra(&link.href),
                text: texts.label(&link.text),
            };
            event.links.extend((!link.href.is_empty()).then_some(link));
        }
        texts.check("failed to template PagerDuty v2 message: ")?;
        if event.routing_key.is_empty() {
            return Err(Failure::last("routing key cannot be empty"));
        }
        Ok(encode(event, |event| match &mut event.payload {
            Some(payload) => &mut payload.custom_details,
            None => &mut event.details,
        }))
    }

    fn details(&self, texts: &mut Rendering<'_>) -> Result<Map<String, serde_json::Value>, Failure> {
        let mut details = Map::new();
        for (name, value) in &self.config.details {
            let rendered = value.render(&mut |template| texts.try_value(template));
            let rendered = rendered.map_err(|failure| failure.within("failed to render details: "))?;
            details.insert(name.clone(), rendered);
        }
        Ok(details)
    }
}

/// What happens to the incident.
fn action(notification: &Notification) -> &'static str {
    if notification.is_firing() {
        "trigger"
    } else {
        "resolve"
    }
}

async fn key(of: &str, given: &Secret, file: &Path) -> Result<String, Failure> {
    if !given.is_empty() {
        return Ok(given.reveal().to_owned());
    }
    let read = read_word(file).await;
    read.map_err(|error| Failure::last(format!("failed to read {of} key from file: {error}")))
}

/// The event's body; one that is too large loses its details.
fn encode(mut event: Event, details: impl Fn(&mut Event) -> &mut Map<String, serde_json::Value>) -> Vec<u8> {
    let body = json::body(&event);
    if body.len() <= EVENT_BYTES_MAX {
        return body;
    }
    tracing::warn!(
        integration = "pagerduty",
        bytes = body.len(),
        max = EVENT_BYTES_MAX,
        "an event lost its details: PagerDuty takes no larger ones"
    );
    let notice =
        "Custom details have been removed because the original event exceeds the maximum size of 512KB";
    let details = details(&mut event);
    details.clear();
    details.insert("error".to_owned(), notice.into());
    json::body(&event)
}

fn check(answer: &Answer, again: u16) -> Result<(), Failure> {
    let details = match serde_json::from_slice::<Refusal>(answer.so_far()) {
        Ok(refusal) if answer.status == 400 => {
            format!("{}: {}", refusal.message, refusal.errors.join(","))
        }
        _ => String::new(),
    };
    answer.check_with(&[again], details)
}
