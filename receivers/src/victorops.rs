//! VictorOps (Splunk On-Call).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::Serialize;
use tokio::time::Instant;
use yaml::{Secret, Section, YamlError};

use crate::config::Kind;
use crate::group_key::hash;
use crate::http::{Client, read_word};
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, Memory, Receiver};
use crate::settings::{Settings as _, WebUrl, is_default, is_named, is_unnamed};
use crate::{Global, Notification, json, shorten};

/// VictorOps' limit, in characters.
const STATE_MESSAGE_CHARS_MAX: usize = 20_480;
/// What fields are where nothing is said.
const MESSAGE_TYPE: &str = "CRITICAL";
const MONITORING_TOOL: &str = r#"{{ template "victorops.default.monitoring_tool" . }}"#;
/// Fields that are not one's own.
const RESERVED: [&str; 7] = [
    "routing_key",
    "message_type",
    "state_message",
    "entity_display_name",
    "monitoring_tool",
    "entity_id",
    "entity_state",
];

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct VictorOpsConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "is_default")]
    api_key: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    api_key_file: PathBuf,
    /// Its path ends with a slash.
    api_url: WebUrl,
    routing_key: String,
    message_type: String,
    state_message: String,
    entity_display_name: String,
    monitoring_tool: String,
    #[serde(skip_serializing_if = "is_default")]
    custom_fields: BTreeMap<String, String>,
}

impl Kind for VictorOpsConfig {
    const NAME: &'static str = "victorops";
    const WHAT: &'static str = "type config.plain";
    const MISSING: &'static str = "missing victorops config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let api_url: Option<WebUrl> = section.get("api_url")?;
        let mut config = VictorOpsConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            api_key: section.secret("api_key")?,
            api_key_file: section.path("api_key_file")?,
            api_url: api_url
                .or_else(|| global.victorops_api_url.clone())
                .ok_or_else(|| section.error("no global VictorOps URL set"))?
                .with_slash(),
            routing_key: section.text("routing_key")?,
            message_type: section.text_or("message_type", MESSAGE_TYPE)?,
            state_message: section.text_or(
                "state_message",
                r#"{{ template "victorops.default.state_message" . }}"#,
            )?,
            entity_display_name: section.text_or(
                "entity_display_name",
                r#"{{ template "victorops.default.entity_display_name" . }}"#,
            )?,
            monitoring_tool: section.text_or("monitoring_tool", MONITORING_TOOL)?,
            custom_fields: section.get_or("custom_fields", BTreeMap::new())?,
        };
        if config.routing_key.is_empty() {
            return Err(section.error("missing Routing key in VictorOps config"));
        }
        section.at_most_one([
            ("api_key", !config.api_key.is_empty()),
            ("api_key_file", is_named(&config.api_key_file)),
        ])?;
        if let Some(field) = RESERVED
            .iter()
            .find(|field| config.custom_fields.contains_key(**field))
        {
            let message = format!(
                "victorOps config contains custom field {field} which cannot be used as it conflicts with the \
                 fixed/static fields"
            );
            return Err(section.error_at("custom_fields", message));
        }
        if config.api_key.is_empty() {
            config.api_key = global.victorops_api_key.clone();
        }
        if !is_named(&config.api_key_file) {
            config.api_key_file.clone_from(&global.victorops_api_key_file);
        }
        if config.api_key.is_empty() && !is_named(&config.api_key_file) {
            return Err(section.error("no global VictorOps API Key set"));
        }
        Ok(config)
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(VictorOps {
            client: Client::new(&self.http_config, setup)?,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct VictorOps {
    config: VictorOpsConfig,
    client: Client,
    setup: Setup,
}

impl Receiver for VictorOps {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let key = if self.config.api_key.is_empty() {
                let read = read_word(&self.config.api_key_file).await;
                read.map_err(|error| Failure::last(format!("failed to read API key from file: {error}")))?
            } else {
                self.config.api_key.reveal().to_owned()
            };
            let mut texts = self.setup.rendering(notification, &notification.alerts);
            let routing_key = texts.address(&self.config.routing_key);
            texts.check("templating error: ")?;
            // A percent sign is one, and no escape.
            let behind = format!("{key}/{routing_key}").replace('%', "%25");
            let url = self.config.api_url.join(&behind);
            let body = self.body(notification)?;
            self.client
                .post_json(url.as_str(), body, deadline)
                .await?
                .check(&[])
        })
    }
}

impl VictorOps {
    fn body(&self, notification: &Notification) -> Result<Vec<u8>, Failure> {
        let config = &self.config;
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let mut message_type = texts.choice(&config.message_type, MESSAGE_TYPE);
        if !notification.is_firing() {
            "RECOVERY".clone_into(&mut message_type);
        } else if !["INFO", "WARNING", "CRITICAL"].contains(&message_type.as_str()) {
            MESSAGE_TYPE.clone_into(&mut message_type);
        }
        let (state_message, _) =
            shorten::to_chars(texts.text(&config.state_message), STATE_MESSAGE_CHARS_MAX);
        let mut message = BTreeMap::from([
            ("message_type", message_type),
            ("entity_id", hash(&notification.group_key)),
            ("entity_display_name", texts.line(&config.entity_display_name)),
            ("state_message", state_message),
            (
                "monitoring_tool",
                texts.choice(&config.monitoring_tool, MONITORING_TOOL),
            ),
        ]);
        for (name, template) in &config.custom_fields {
            message.insert(name, texts.text(template));
        }
        // Compat: tried again, unlike a routing key that fails.
        texts.check("templating error: ").map_err(|failure| Failure {
            retry: true,
            ..failure
        })?;
        Ok(json::body(&message))
    }
}
