//! Opsgenie.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ::http::Method;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use url::Url;
use yaml::{FromYaml, Secret, Section, Value, YamlError};

use crate::config::Kind;
use crate::group_key::hash;
use crate::http::{Client, JSON, read_file};
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, Memory, Receiver};
use crate::rendering::Rendering;
use crate::settings::{Settings as _, WebUrl, is_default, is_named, is_template, is_unnamed};
use crate::{Global, Notification, json, shorten};

/// Opsgenie's limit, in characters.
const MESSAGE_CHARS_MAX: usize = 130;
/// What a responder can be, as the message about another one has it.
const RESPONDER_TYPES: &str = "^(team|teams|user|escalation|schedule)$";
/// Who tells, where nothing is said.
const SOURCE: &str = r#"{{ template "opsgenie.default.source" . }}"#;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct OpsGenieConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "is_default")]
    api_key: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    api_key_file: PathBuf,
    /// Its path ends with a slash.
    api_url: WebUrl,
    #[serde(skip_serializing_if = "is_default")]
    message: String,
    #[serde(skip_serializing_if = "is_default")]
    description: String,
    #[serde(skip_serializing_if = "is_default")]
    source: String,
    #[serde(skip_serializing_if = "is_default")]
    details: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    entity: String,
    #[serde(skip_serializing_if = "is_default")]
    responders: Vec<Responder>,
    #[serde(skip_serializing_if = "is_default")]
    actions: String,
    #[serde(skip_serializing_if = "is_default")]
    tags: String,
    #[serde(skip_serializing_if = "is_default")]
    note: String,
    #[serde(skip_serializing_if = "is_default")]
    priority: String,
    #[serde(skip_serializing_if = "is_default")]
    update_alerts: bool,
}

/// Who is told, in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Responder {
    #[serde(skip_serializing_if = "is_default")]
    id: String,
    #[serde(skip_serializing_if = "is_default")]
    name: String,
    #[serde(skip_serializing_if = "is_default")]
    username: String,
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    kind: String,
}

impl FromYaml for Responder {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type opsgenie.OpsGenieConfigResponder")?;
        let responder = Responder {
            id: section.text("id")?,
            name: section.text("name")?,
            username: section.text("username")?,
            kind: section.text("type")?,
        };
        let Responder {
            id,
            name,
            username,
            kind,
        } = &responder;
        let shown = format!("opsGenieConfig responder {{{id} {name} {username} {kind}}}");
        if id.is_empty() && name.is_empty() && username.is_empty() {
            let message = format!("{shown} has to have at least one of id, username or name specified");
            return Err(section.error(message));
        }
        let is_template = is_template(kind).map_err(|error| {
            section.error_at(
                "type",
                format!("{shown} type contains invalid template syntax: {error}"),
            )
        })?;
        let known = ["team", "teams", "user", "escalation", "schedule"];
        if !is_template && !known.contains(&kind.to_lowercase().as_str()) {
            let kind = kind.to_lowercase();
            let shown = format!("opsGenieConfig responder {{{id} {name} {username} {kind}}}");
            let message = format!("{shown} type does not match valid options {RESPONDER_TYPES}");
            return Err(section.error_at("type", message));
        }
        section.finish()?;
        Ok(responder)
    }
}

impl Kind for OpsGenieConfig {
    const NAME: &'static str = "opsgenie";
    const WHAT: &'static str = "type opsgenie.plain";
    const MISSING: &'static str = "";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let api_url: Option<WebUrl> = section.get("api_url")?;
        let mut config = OpsGenieConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            api_key: section.secret("api_key")?,
            api_key_file: section.path("api_key_file")?,
            api_url: api_url
                .or_else(|| global.opsgenie_api_url.clone())
                .ok_or_else(|| section.error("no global OpsGenie URL set"))?
                .with_slash(),
            message: section.text_or("message", r#"{{ template "opsgenie.default.message" . }}"#)?,
            description: section.text_or(
                "description",
                r#"{{ template "opsgenie.default.description" . }}"#,
            )?,
            source: section.text_or("source", SOURCE)?,
            details: section.get_or("details", BTreeMap::new())?,
            entity: section.text("entity")?,
            responders: section.get_or("responders", Vec::new())?,
            actions: section.text("actions")?,
            tags: section.text("tags")?,
            note: section.text("note")?,
            priority: section.text("priority")?,
            update_alerts: section.flag("update_alerts", false)?,
        };
        section.at_most_one([
            ("api_key", !config.api_key.is_empty()),
            ("api_key_file", is_named(&config.api_key_file)),
        ])?;
        if config.api_key.is_empty() {
            config.api_key = global.opsgenie_api_key.clone();
        }
        if !is_named(&config.api_key_file) {
            config.api_key_file.clone_from(&global.opsgenie_api_key_file);
        }
        if config.api_key.is_empty() && !is_named(&config.api_key_file) {
            return Err(section.error("no global OpsGenie API Key set either inline or in a file"));
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
        vec![("api_key", &self.api_key)]
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(OpsGenie {
            client: Client::new(&self.http_config, setup)?.open(),
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct OpsGenie {
    config: OpsGenieConfig,
    client: Client,
    setup: Setup,
}

#[derive(Serialize)]
struct Create {
    alias: String,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    details: BTreeMap<String, String>,
    source: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    responders: Vec<SentResponder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    priority: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    entity: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<String>,
}

#[derive(Serialize, Default, PartialEq)]
struct SentResponder {
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Receiver for OpsGenie {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let key = if self.config.api_key.is_empty() {
                let read = read_file(&self.config.api_key_file).await;
                read.map_err(|error| Failure::last(format!("read key_file error: {error}")))?
            } else {
                self.config.api_key.reveal().to_owned()
            };
            for request in self.requests(notification, &key)? {
                let answer = self.client.send(request, deadline).await?;
                answer.check(&[429])?;
            }
            Ok(())
        })
    }
}

impl OpsGenie {
    /// What is asked, in order.
    fn requests(&self, notification: &Notification, key: &str) -> Result<Vec<Request>, Failure> {
        let texts = &mut self.setup.rendering(notification, &notification.alerts);
        let mut asked = Vec::new();
        let alias = hash(&notification.group_key);
        if notification.is_firing() {
            let create = self.create(notification, texts, &alias);
            asked.push((Method::POST, self.url("v2/alerts"), json::body(&create)));
            if self.config.update_alerts {
                let mut message = json!({});
                let mut description = json!({});
                if !create.message.is_empty() {
                    message["message"] = create.message.into();
                }
                if !create.description.is_empty() {
                    description["description"] = create.description.into();
                }
                asked.push((Method::PUT, self.url_of(&alias, "message"), json::body(&message)));
                asked.push((
                    Method::PUT,
                    self.url_of(&alias, "description"),
                    json::body(&description),
                ));
            }
        } else {
            let close = json!({"source": texts.choice(&self.config.source, SOURCE)});
            asked.push((Method::POST, self.url_of(&alias, "close"), json::body(&close)));
        }
        let key = texts.address(key);
        texts.check("templating error: ")?;
        let request = |(method, url, body): (Method, Url, Vec<u8>)| {
            Request::new(method, url)
                .header("content-type", JSON)
                .body(body)
                .secret_header("authorization", format!("GenieKey {}", key.trim()))
        };
        Ok(asked.into_iter().map(request).collect())
    }

    fn create(&self, notification: &Notification, texts: &mut Rendering<'_>, alias: &str) -> Create {
        let config = &self.config;
        let common = self.setup.templates.data(notification).common_labels;
        let mut details: BTreeMap<String, String> = common
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, template) in &config.details {
            details.insert(name.clone(), texts.text(template));
        }
        let (message, _) = shorten::to_chars(texts.line(&config.message), MESSAGE_CHARS_MAX);
        Create {
            alias: alias.to_owned(),
            message,
            responders: config
                .responders
                .iter()
                .flat_map(|responder| responder.sent(texts))
                .collect(),
            description: texts.text(&config.description),
            details,
            source: texts.choice(&config.source, SOURCE),
            tags: split(&texts.extra(&config.tags)),
            note: texts.text(&config.note),
            priority: texts.extra(&config.priority),
            entity: texts.extra(&config.entity),
            actions: split(&texts.extra(&config.actions)),
        }
    }

    fn url(&self, path: &str) -> Url {
        self.config.api_url.join(path)
    }

    /// Where something is done to the alert of that alias.
    fn url_of(&self, alias: &str, what: &str) -> Url {
        let mut url = self.url(&format!("v2/alerts/{alias}/{what}"));
        url.query_pairs_mut().append_pair("identifierType", "alias");
        url
    }
}

impl Responder {
    /// Those who are told: none where all is empty or a template fails, several where `teams` are listed.
    fn sent(&self, texts: &mut Rendering<'_>) -> Vec<SentResponder> {
        let mut part = |template| texts.part(template);
        let parts = (
            part(&self.id),
            part(&self.name),
            part(&self.username),
            part(&self.kind),
        );
        let (Some(id), Some(name), Some(username), Some(kind)) = parts else {
            return Vec::new();
        };
        let sent = SentResponder {
            id,
            name,
            username,
            kind,
        };
        if sent == SentResponder::default() {
            return Vec::new();
        }
        if sent.kind != "teams" {
            return vec![sent];
        }
        let team = |name| SentResponder {
            name,
            kind: "team".to_owned(),
            ..SentResponder::default()
        };
        split(&sent.name).into_iter().map(team).collect()
    }
}

/// Parts between commas that are not empty.
fn split(list: &str) -> Vec<String> {
    let parts = list.trim().split(',').filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}
