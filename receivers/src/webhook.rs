//! Webhooks of one's own: the notification as JSON, or a payload of templates.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::Serialize;
use tokio::time::Instant;
use yaml::{Secret, Section, YamlError};

use crate::config::Kind;
use crate::http::{Client, read_word};
use crate::integration::{Setup, Unbuilt};
use crate::loose::Loose;
use crate::message::Message;
use crate::receiver::{Failure, Memory, Receiver};
use crate::settings::{GoDuration, Settings as _, WebUrl, is_named, is_template};
use crate::{Global, Notification, json};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WebhookConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    /// A template, and a secret.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    url: Secret,
    url_file: PathBuf,
    /// Alerts that one message has at most; 0: any number.
    max_alerts: u64,
    timeout: GoDuration,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Loose>,
}

impl Kind for WebhookConfig {
    const NAME: &'static str = "webhook";
    const WHAT: &'static str = "type webhook.plain";
    const MISSING: &'static str = "missing webhook config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let config = WebhookConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            url: section.secret("url")?,
            url_file: section.path("url_file")?,
            max_alerts: section.get_or("max_alerts", 0)?,
            timeout: section.get_or("timeout", GoDuration::default())?,
            payload: section.get("payload")?,
        };
        let url = config.url.reveal();
        let is_template = is_template(url)
            .map_err(|error| section.error_at("url", format_args!("invalid template syntax: {error}")))?;
        if !is_template && !url.is_empty() && url != "<secret>" {
            WebUrl::parse(url)
                .map_err(|error| section.error_at("url", format_args!("invalid URL: {error}")))?;
        }
        match (!url.is_empty(), is_named(&config.url_file)) {
            (false, false) => Err(section.error("one of url or url_file must be configured")),
            (true, true) => {
                Err(section.error_at("url_file", "at most one of url & url_file must be configured"))
            }
            _ => Ok(config),
        }
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn secret_templates(&self) -> Vec<(&'static str, &Secret)> {
        vec![("url", &self.url)]
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(Webhook {
            client: Client::new(&self.http_config, setup)?.limited("webhook", self.timeout.0),
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct Webhook {
    config: WebhookConfig,
    client: Client,
    setup: Setup,
}

impl Receiver for Webhook {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let from_file = if is_named(&self.config.url_file) {
                let read = read_word(&self.config.url_file).await;
                Some(read.map_err(|error| Failure::last(format!("read url_file: {error}")))?)
            } else {
                None
            };
            let (url, body) = self.message(notification, from_file.as_deref())?;
            self.client.post_json(&url, body, deadline).await?.check(&[])
        })
    }
}

impl Webhook {
    /// Where to, and what.
    fn message(&self, notification: &Notification, url: Option<&str>) -> Result<(String, Vec<u8>), Failure> {
        let (alerts, truncated_alerts) = first_alerts(notification, self.config.max_alerts);
        let mut texts = self.setup.rendering(notification, alerts);
        let body = match &self.config.payload {
            None => Message {
                data: texts.data(),
                status: None,
                version: "4",
                group_key: notification.group_key.clone(),
                truncated_alerts,
            }
            .body(),
            Some(payload) => {
                let rendered = payload.render(&mut |template| texts.try_value(template));
                json::body(&rendered.map_err(|failure| failure.within("failed to render custom payload: "))?)
            }
        };
        let url = texts.address(url.unwrap_or(self.config.url.reveal()));
        texts.check("failed to template webhook URL: ")?;
        if url.is_empty() {
            return Err(Failure::last("webhook URL is empty after templating"));
        }
        Ok((url, body))
    }
}

/// As many alerts as a message has at most (0: all), and how many are left out.
pub(crate) fn first_alerts(notification: &Notification, max: u64) -> (&[crate::Alert], usize) {
    let alerts = notification.alerts.as_slice();
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    if max == 0 || alerts.len() <= max {
        return (alerts, 0);
    }
    (&alerts[..max], alerts.len() - max)
}
