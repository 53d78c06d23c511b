//! incident.io.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::{Authorization, HttpClientConfig};
use serde::{Deserialize, Serialize};
use template::notification::Data;
use tokio::time::Instant;
use yaml::{Secret, Section, YamlError};

use crate::config::Kind;
use crate::http::{Client, read_word, read_word_now};
use crate::integration::{Setup, Unbuilt};
use crate::message::Message;
use crate::receiver::{Failure, Memory, Receiver};
use crate::settings::{GoDuration, Settings as _, WebUrl, is_default, is_named, is_unnamed};
use crate::webhook::first_alerts;
use crate::{Global, Notification};

/// incident.io's limit. A larger message tells of the first alert alone.
const BODY_BYTES_MAX: usize = 512 << 10;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct IncidentIoConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    url: Option<WebUrl>,
    url_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    alert_source_token: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    alert_source_token_file: PathBuf,
    /// Alerts that one message has at most; 0: any number.
    max_alerts: u64,
    timeout: GoDuration,
}

impl Kind for IncidentIoConfig {
    const NAME: &'static str = "incidentio";
    const WHAT: &'static str = "type incidentio.plain";
    const MISSING: &'static str = "missing incidentio config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let http_config = section.own_http_config()?;
        let has_own_client = http_config.is_some();
        let config = IncidentIoConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: http_config.unwrap_or_else(|| global.http_config.clone()),
            url: section.get("url")?,
            url_file: section.path("url_file")?,
            alert_source_token: section.secret("alert_source_token")?,
            alert_source_token_file: section.path("alert_source_token_file")?,
            max_alerts: section.get_or("max_alerts", 0)?,
            timeout: section.get_or("timeout", GoDuration::default())?,
        };
        let has_url_file = is_named(&config.url_file);
        if config.url.is_none() && !has_url_file {
            return Err(section.error("one of url or url_file must be configured"));
        }
        section.at_most_one([("url", config.url.is_some()), ("url_file", has_url_file)])?;
        let has_token = !config.alert_source_token.is_empty();
        let has_token_file = is_named(&config.alert_source_token_file);
        section.at_most_one([
            ("alert_source_token", has_token),
            ("alert_source_token_file", has_token_file),
        ])?;
        // Compat: only settings of its own are looked at.
        if has_own_client {
            let is_authorized = config.http_config.authorization.is_some();
            if is_authorized && (has_token || has_token_file) {
                return Err(section.error(
                    "cannot specify alert_source_token or alert_source_token_file when using http_config.authorization",
                ));
            }
            if !is_authorized && !has_token && !has_token_file {
                return Err(section.error(
                    "at least one of alert_source_token, alert_source_token_file or http_config.authorization must be \
                     configured",
                ));
            }
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
        let token = if is_named(&self.alert_source_token_file) {
            let read = read_word_now(&self.alert_source_token_file);
            let failed = |error| Unbuilt::Secret(format!("failed to read alert_source_token_file: {error}"));
            Secret::new(read.map_err(failed)?)
        } else {
            self.alert_source_token.clone()
        };
        let mut http_config = self.http_config.clone();
        if !token.is_empty() {
            http_config.authorization = Some(Authorization {
                scheme: "Bearer".to_owned(),
                credentials: token,
                credentials_file: PathBuf::new(),
            });
        }
        Ok(Arc::new(IncidentIo {
            client: Client::new(&http_config, setup)?.limited("incident.io", self.timeout.0),
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct IncidentIo {
    config: IncidentIoConfig,
    client: Client,
    setup: Setup,
}

/// What an answer says of an error.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    message: String,
    error: String,
    errors: Vec<String>,
}

impl Receiver for IncidentIo {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let body = self.body(notification);
            let url = match &self.config.url {
                Some(url) => url.as_str().to_owned(),
                None => {
                    let read = read_word(&self.config.url_file).await;
                    read.map_err(|error| Failure::last(format!("read url_file: {error}")))?
                }
            };
            let answer = self.client.post_json(&url, body, deadline).await?;
            answer.check_with(&[429], details(answer.so_far()))
        })
    }
}

impl IncidentIo {
    fn body(&self, notification: &Notification) -> Vec<u8> {
        let (alerts, truncated_alerts) = first_alerts(notification, self.config.max_alerts);
        let all = self.setup.templates.data_of(notification, alerts);
        let status = if all.alerts.iter().any(|alert| alert.firing) {
            "firing"
        } else {
            "resolved"
        };
        let message = |told: usize| {
            let alerts = if told < all.alerts.len() {
                Arc::new(all.alerts[..told].to_vec())
            } else {
                all.alerts.clone()
            };
            // Compat: what alerts have in common, and their status, stay those of all.
            let data = template::Value::object(Data {
                alerts,
                ..all.clone()
            });
            let message = Message {
                data,
                status: Some(status),
                version: "1",
                group_key: notification.group_key.clone(),
                truncated_alerts,
            };
            message.body()
        };
        let whole = message(alerts.len());
        if whole.len() <= BODY_BYTES_MAX {
            return whole;
        }
        let first = message(1);
        tracing::warn!(
            integration = "incidentio",
            original_size = whole.len(),
            final_size = first.len(),
            max_size = BODY_BYTES_MAX,
            "told of the first alert alone: incident.io takes no larger messages"
        );
        first
    }
}

fn details(body: &[u8]) -> String {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else {
        return String::new();
    };
    let parts = [refusal.message, refusal.error, refusal.errors.join(", ")];
    let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    said.join(": ")
}
