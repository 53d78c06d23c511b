//! Discord, by a channel's webhook.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::Serialize;
use tokio::time::Instant;
use url::Url;
use yaml::{Section, YamlError};

use crate::address::WebhookAddress;
use crate::config::Kind;
use crate::http::Client;
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, Memory, Receiver};
use crate::settings::{Settings as _, is_default};
use crate::{Global, Notification, json, shorten};

/// Discord's limits, in characters.
const TITLE_CHARS_MAX: usize = 256;
const DESCRIPTION_CHARS_MAX: usize = 4096;
const CONTENT_CHARS_MAX: usize = 2000;

const RED: u32 = 0x99_2d_22;
const GREEN: u32 = 0x2e_cc_71;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct DiscordConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(flatten)]
    address: WebhookAddress,
    #[serde(skip_serializing_if = "is_default")]
    content: String,
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    message: String,
    /// No template, nor is the next.
    #[serde(skip_serializing_if = "is_default")]
    username: String,
    #[serde(skip_serializing_if = "is_default")]
    avatar_url: String,
}

impl Kind for DiscordConfig {
    const NAME: &'static str = "discord";
    const WHAT: &'static str = "type discord.plain";
    const MISSING: &'static str = "missing discord config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        Ok(DiscordConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            address: WebhookAddress::required(section)?,
            content: section.text("content")?,
            title: section.text_or("title", r#"{{ template "discord.default.title" . }}"#)?,
            message: section.text_or("message", r#"{{ template "discord.default.message" . }}"#)?,
            username: section.text("username")?,
            avatar_url: section.text("avatar_url")?,
        })
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(Discord {
            client: Client::new(&self.http_config, setup)?,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct Discord {
    config: DiscordConfig,
    client: Client,
    setup: Setup,
}

#[derive(Serialize)]
struct Message<'a> {
    content: String,
    embeds: [Embed; 1],
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    avatar_url: &'a str,
}

#[derive(Serialize)]
struct Embed {
    title: String,
    description: String,
    color: u32,
}

impl Receiver for Discord {
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

impl Discord {
    fn body(&self, notification: &Notification) -> Result<Vec<u8>, Failure> {
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let (title, _) = shorten::to_chars(texts.line(&self.config.title), TITLE_CHARS_MAX);
        let (description, _) = shorten::to_chars(texts.text(&self.config.message), DESCRIPTION_CHARS_MAX);
        let (content, _) = shorten::to_chars(texts.text(&self.config.content), CONTENT_CHARS_MAX);
        texts.check("")?;
        Ok(json::body(&Message {
            content,
            embeds: [Embed {
                title,
                description,
                color: if notification.is_firing() { RED } else { GREEN },
            }],
            username: &self.config.username,
            avatar_url: avatar(&self.config.avatar_url),
        }))
    }
}

/// The avatar's address; what is none is left out.
fn avatar(text: &str) -> &str {
    match Url::parse(text) {
        Ok(_) | Err(url::ParseError::RelativeUrlWithoutBase) => text,
        Err(error) => {
            tracing::warn!(integration = "discord", err = %error, "bad avatar_url; it is not sent");
            ""
        }
    }
}
