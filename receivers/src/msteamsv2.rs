//! Microsoft Teams, by workflows: an adaptive card.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use yaml::{Section, YamlError};

use crate::address::WebhookAddress;
use crate::config::Kind;
use crate::http::Client;
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, Memory, Receiver};
use crate::settings::{Settings as _, is_default};
use crate::{Global, Notification, json};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MsTeamsV2Config {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(flatten)]
    address: WebhookAddress,
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    text: String,
}

impl Kind for MsTeamsV2Config {
    const NAME: &'static str = "msteamsv2";
    const WHAT: &'static str = "type msteamsv2.plain";
    const MISSING: &'static str = "missing msteamsv2 config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let http_config = match section.own_http_config()? {
            None => global.http_config.clone(),
            // Compat: settings of its own without a proxy take over the global one's proxy, and nothing else; no other
            // kind does so.
            Some(mut own) => {
                if own.proxy.proxy_url.is_none() {
                    own.proxy
                        .proxy_url
                        .clone_from(&global.http_config.proxy.proxy_url);
                }
                own
            }
        };
        Ok(MsTeamsV2Config {
            send_resolved: section.flag("send_resolved", true)?,
            http_config,
            address: WebhookAddress::required(section)?,
            title: section.text_or("title", r#"{{ template "msteamsv2.default.title" . }}"#)?,
            text: section.text_or("text", r#"{{ template "msteamsv2.default.text" . }}"#)?,
        })
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(MsTeamsV2 {
            client: Client::new(&self.http_config, setup)?,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct MsTeamsV2 {
    config: MsTeamsV2Config,
    client: Client,
    setup: Setup,
}

impl Receiver for MsTeamsV2 {
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

impl MsTeamsV2 {
    fn body(&self, notification: &Notification) -> Result<Vec<u8>, Failure> {
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let title = texts.line(&self.config.title);
        let text = texts.text(&self.config.text);
        texts.check("")?;
        let color = if notification.is_firing() {
            "Attention"
        } else {
            "Good"
        };
        Ok(json::body(&json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.2",
                    "body": [
                        {
                            "type": "TextBlock",
                            "text": title,
                            "weight": "Bolder",
                            "size": "Medium",
                            "wrap": true,
                            "style": "heading",
                            "color": color,
                        },
                        {"type": "TextBlock", "text": text, "wrap": true},
                    ],
                    "msteams": {"width": "full"},
                },
            }],
        })))
    }
}
