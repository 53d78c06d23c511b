//! Pushover.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;
use yaml::{Secret, Section, YamlError};

use crate::config::Kind;
use crate::http::{Client, read_file};
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, Memory, Receiver};
use crate::settings::{GoDuration, Settings as _, is_default, is_named, is_unnamed};
use crate::{Global, Notification, shorten};

/// Pushover's limits, in characters.
const TITLE_CHARS_MAX: usize = 250;
const MESSAGE_CHARS_MAX: usize = 1024;
const URL_CHARS_MAX: usize = 512;
/// What fields are where nothing is said.
const URL: &str = r#"{{ template "pushover.default.url" . }}"#;
const PRIORITY: &str = r#"{{ if eq .Status "firing" }}2{{ else }}0{{ end }}"#;
const API_URL: &str = "https://api.pushover.net/1/messages.json";

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PushoverConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "is_default")]
    user_key: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    user_key_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    token: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    token_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    message: String,
    #[serde(skip_serializing_if = "is_default")]
    url: String,
    #[serde(skip_serializing_if = "is_default")]
    url_title: String,
    #[serde(skip_serializing_if = "is_default")]
    device: String,
    #[serde(skip_serializing_if = "is_default")]
    sound: String,
    #[serde(skip_serializing_if = "is_default")]
    priority: String,
    #[serde(skip_serializing_if = "is_default")]
    retry: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    expire: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    ttl: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    html: bool,
    #[serde(skip_serializing_if = "is_default")]
    monospace: bool,
}

impl Kind for PushoverConfig {
    const NAME: &'static str = "pushover";
    const WHAT: &'static str = "type pushover.plain";
    const MISSING: &'static str = "missing pushover config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let config = PushoverConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            user_key: section.secret("user_key")?,
            user_key_file: section.path("user_key_file")?,
            token: section.secret("token")?,
            token_file: section.path("token_file")?,
            title: section.text_or("title", r#"{{ template "pushover.default.title" . }}"#)?,
            message: section.text_or("message", r#"{{ template "pushover.default.message" . }}"#)?,
            url: section.text_or("url", URL)?,
            url_title: section.text("url_title")?,
            device: section.text("device")?,
            sound: section.text("sound")?,
            priority: section.text_or("priority", PRIORITY)?,
            retry: section.get_or("retry", GoDuration(Duration::from_secs(60)))?,
            expire: section.get_or("expire", GoDuration(Duration::from_secs(3600)))?,
            ttl: section.get_or("ttl", GoDuration::default())?,
            html: section.flag("html", false)?,
            monospace: section.flag("monospace", false)?,
        };
        for [(key, given), (file_key, in_file)] in [
            [
                ("user_key", !config.user_key.is_empty()),
                ("user_key_file", is_named(&config.user_key_file)),
            ],
            [
                ("token", !config.token.is_empty()),
                ("token_file", is_named(&config.token_file)),
            ],
        ] {
            if !given && !in_file {
                return Err(section.error(format_args!("one of {key} or {file_key} must be configured")));
            }
            section.at_most_one([(key, given), (file_key, in_file)])?;
        }
        section.at_most_one([("monospace", config.monospace), ("html", config.html)])?;
        Ok(config)
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn secret_templates(&self) -> Vec<(&'static str, &Secret)> {
        vec![("user_key", &self.user_key), ("token", &self.token)]
    }

    fn html_key(&self) -> Option<&'static str> {
        self.html.then_some("message")
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(Pushover {
            client: Client::new(&self.http_config, setup)?,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct Pushover {
    config: PushoverConfig,
    client: Client,
    setup: Setup,
}

impl Receiver for Pushover {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let config = &self.config;
            let token = key("token", &config.token, &config.token_file).await?;
            let user = key("user_key", &config.user_key, &config.user_key_file).await?;
            let mut url = self.client.parse("Post", API_URL)?;
            self.fill(notification, &token, &user, &mut url)?;
            // All is in the query, secrets too.
            let request = Request::post(url, "text/plain", "");
            self.client.send(request, deadline).await?.check(&[])
        })
    }
}

/// Compat: with the newline at the end of its file (conformance `monospace`).
async fn key(of: &str, given: &Secret, file: &Path) -> Result<String, Failure> {
    if !given.is_empty() {
        return Ok(given.reveal().to_owned());
    }
    let read = read_file(file).await;
    read.map_err(|error| Failure::last(format!("read {of}_file: {error}")))
}

impl Pushover {
    /// Puts the message into the address.
    fn fill(
        &self,
        notification: &Notification,
        token: &str,
        user: &str,
        address: &mut Url,
    ) -> Result<(), Failure> {
        let config = &self.config;
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let (token, user) = (texts.address(token), texts.address(user));
        let (title, _) = shorten::to_chars(texts.line(&config.title), TITLE_CHARS_MAX);
        let message = if config.html {
            texts.html(&config.message)
        } else {
            texts.text(&config.message)
        };
        let (message, _) = shorten::to_chars(message, MESSAGE_CHARS_MAX);
        // Pushover takes no empty ones.
        let message = match message.trim() {
            "" => "(no details)",
            message => message,
        };
        let (url, _) = shorten::to_chars(texts.choice(&config.url, URL), URL_CHARS_MAX);
        let seconds = |duration: GoDuration| duration.0.as_secs().to_string();
        let mut query = address.query_pairs_mut();
        query
            .append_pair("device", &texts.extra(&config.device))
            .append_pair("expire", &seconds(config.expire));
        if config.html {
            query.append_pair("html", "1");
        }
        query.append_pair("message", message);
        if config.monospace {
            query.append_pair("monospace", "1");
        }
        query
            .append_pair("priority", &texts.choice(&config.priority, PRIORITY))
            .append_pair("retry", &seconds(config.retry))
            .append_pair("sound", &texts.extra(&config.sound))
            .append_pair("title", &title)
            .append_pair("token", &token);
        if config.ttl.0.as_secs() > 0 {
            query.append_pair("ttl", &seconds(config.ttl));
        }
        query
            .append_pair("url", &url)
            .append_pair("url_title", &texts.label(&config.url_title))
            .append_pair("user", &user);
        drop(query);
        texts.check("")
    }
}
