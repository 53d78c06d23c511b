//! Webex.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::Serialize;
use tokio::time::Instant;
use yaml::{Section, YamlError};

use crate::config::Kind;
use crate::http::Client;
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, Memory, Receiver};
use crate::settings::{Settings as _, WebUrl, is_default};
use crate::{Global, Notification, json, shorten};

/// Webex's limit, in bytes.
const MESSAGE_BYTES_MAX: usize = 7439;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WebexConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    api_url: WebUrl,
    #[serde(skip_serializing_if = "is_default")]
    message: String,
    room_id: String,
}

impl Kind for WebexConfig {
    const NAME: &'static str = "webex";
    const WHAT: &'static str = "type config.plain";
    const MISSING: &'static str = "missing webex config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let http_config = section.own_http_config()?;
        let api_url: Option<WebUrl> = section.get("api_url")?;
        let message = section.text_or("message", r#"{{ template "webex.default.message" . }}"#)?;
        let room_id = section.text("room_id")?;
        if room_id.is_empty() {
            return Err(section.error("missing room_id on webex_config"));
        }
        // Compat: the global settings do not count.
        let Some(http_config) = http_config.filter(|http| http.authorization.is_some()) else {
            return Err(section.error("missing webex_configs.http_config.authorization"));
        };
        Ok(WebexConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config,
            api_url: api_url
                .or_else(|| global.webex_api_url.clone())
                .ok_or_else(|| section.error("no global Webex URL set"))?,
            message,
            room_id,
        })
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(Webex {
            client: Client::new(&self.http_config, setup)?,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct Webex {
    config: WebexConfig,
    client: Client,
    setup: Setup,
}

#[derive(Serialize)]
struct Message {
    markdown: String,
    #[serde(rename = "roomId", skip_serializing_if = "String::is_empty")]
    room_id: String,
}

impl Receiver for Webex {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let body = self.body(notification)?;
            let url = self.config.api_url.as_str();
            self.client.post_json(url, body, deadline).await?.check(&[])
        })
    }
}

impl Webex {
    fn body(&self, notification: &Notification) -> Result<Vec<u8>, Failure> {
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let message = texts.text(&self.config.message);
        texts.check("")?;
        let (markdown, _) = shorten::to_bytes(message, MESSAGE_BYTES_MAX);
        // Compat: a room whose template fails is no room, and the server's to refuse.
        let room_id = texts.address(&self.config.room_id);
        texts.check_addresses()?;
        Ok(json::body(&Message { markdown, room_id }))
    }
}
