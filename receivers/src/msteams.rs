//! Microsoft Teams, by connectors of the older kind: a message card.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::Serialize;
use tokio::time::Instant;
use yaml::{Section, YamlError};

use crate::address::WebhookAddress;
use crate::config::Kind;
use crate::http::Client;
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, Memory, Receiver};
use crate::settings::{Settings as _, is_default};
use crate::{Global, Notification, json};

const RED: &str = "8C1A1A";
const GREEN: &str = "2DC72D";

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MsTeamsConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(flatten)]
    address: WebhookAddress,
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    summary: String,
    #[serde(skip_serializing_if = "is_default")]
    text: String,
}

impl Kind for MsTeamsConfig {
    const NAME: &'static str = "msteams";
    const WHAT: &'static str = "type msteams.plain";
    const MISSING: &'static str = "missing msteams config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        Ok(MsTeamsConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            address: WebhookAddress::required(section)?,
            title: section.text_or("title", r#"{{ template "msteams.default.title" . }}"#)?,
            summary: section.text_or("summary", r#"{{ template "msteams.default.summary" . }}"#)?,
            text: section.text_or("text", r#"{{ template "msteams.default.text" . }}"#)?,
        })
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(MsTeams {
            client: Client::new(&self.http_config, setup)?,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct MsTeams {
    config: MsTeamsConfig,
    client: Client,
    setup: Setup,
}

#[derive(Serialize)]
struct MessageCard {
    #[serde(rename = "@context")]
    context: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    title: String,
    summary: String,
    text: String,
    #[serde(rename = "themeColor")]
    theme_color: &'static str,
}

impl Receiver for MsTeams {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let body = self.body(notification)?;
            self.config.address.post(&self.client, body, deadline).await
        })
    }
}

impl MsTeams {
    fn body(&self, notification: &Notification) -> Result<Vec<u8>, Failure> {
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let card = MessageCard {
            context: "http://schema.org/extensions",
            kind: "MessageCard",
            title: texts.line(&self.config.title),
            summary: texts.line(&self.config.summary),
            text: texts.text(&self.config.text),
            theme_color: if notification.is_firing() { RED } else { GREEN },
        };
        texts.check("")?;
        Ok(json::body(&card))
    }
}
