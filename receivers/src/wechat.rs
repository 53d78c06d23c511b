//! WeChat Work (WeCom).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use yaml::{Secret, Section, YamlError};

use crate::config::Kind;
use crate::http::{Client, JSON, json_error, read_word};
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, FailureReason, Memory, Receiver};
use crate::rendering::Rendering;
use crate::settings::{Settings as _, WebUrl, is_default, is_named, is_unnamed};
use crate::{Global, Notification, json};

/// How long a token is used.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(2 * 3600);
/// What the server says of a token that has ended.
const TOKEN_EXPIRED: i64 = 42_001;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WeChatConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "is_default")]
    api_secret: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    api_secret_file: PathBuf,
    corp_id: String,
    #[serde(skip_serializing_if = "is_default")]
    message: String,
    /// Its path ends with a slash.
    api_url: WebUrl,
    #[serde(skip_serializing_if = "is_default")]
    to_user: String,
    #[serde(skip_serializing_if = "is_default")]
    to_party: String,
    #[serde(skip_serializing_if = "is_default")]
    to_tag: String,
    #[serde(skip_serializing_if = "is_default")]
    agent_id: String,
    /// `text` or `markdown`.
    message_type: String,
}

impl Kind for WeChatConfig {
    const NAME: &'static str = "wechat";
    const WHAT: &'static str = "type config.plain";
    const MISSING: &'static str = "";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let api_url: Option<WebUrl> = section.get("api_url")?;
        let corp_id = section.text("corp_id")?;
        let mut config = WeChatConfig {
            send_resolved: section.flag("send_resolved", false)?,
            http_config: section.http_config(global)?,
            api_secret: section.secret("api_secret")?,
            api_secret_file: section.path("api_secret_file")?,
            corp_id: if corp_id.is_empty() {
                global.wechat_api_corp_id.clone()
            } else {
                corp_id
            },
            message: section.text_or("message", r#"{{ template "wechat.default.message" . }}"#)?,
            api_url: api_url
                .or_else(|| global.wechat_api_url.clone())
                .ok_or_else(|| section.error("no global Wechat URL set"))?
                .with_slash(),
            to_user: section.text_or("to_user", r#"{{ template "wechat.default.to_user" . }}"#)?,
            to_party: section.text_or("to_party", r#"{{ template "wechat.default.to_party" . }}"#)?,
            to_tag: section.text_or("to_tag", r#"{{ template "wechat.default.to_tag" . }}"#)?,
            agent_id: section.text_or("agent_id", r#"{{ template "wechat.default.agent_id" . }}"#)?,
            message_type: section.text("message_type")?,
        };
        if config.message_type.is_empty() {
            "text".clone_into(&mut config.message_type);
        }
        if !matches!(config.message_type.as_str(), "text" | "markdown") {
            let message = format!(
                "weChat message type {:?} does not match valid options ^(text|markdown)$",
                config.message_type
            );
            return Err(section.error_at("message_type", message));
        }
        let has_secret =
            |config: &WeChatConfig| (!config.api_secret.is_empty(), is_named(&config.api_secret_file));
        let (secret, file) = has_secret(&config);
        section.at_most_one([("api_secret", secret), ("api_secret_file", file)])?;
        if !secret && !file {
            config.api_secret = global.wechat_api_secret.clone();
            config.api_secret_file.clone_from(&global.wechat_api_secret_file);
        }
        if has_secret(&config) == (false, false) {
            return Err(section.error("no global Wechat Api Secret set either inline or in a file"));
        }
        if config.corp_id.is_empty() {
            return Err(section.error("no global Wechat CorpID set"));
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
        vec![("api_secret", &self.api_secret)]
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(WeChat {
            client: Client::new(&self.http_config, setup)?,
            config: self.clone(),
            setup: setup.clone(),
            token: Mutex::default(),
        }))
    }
}

struct WeChat {
    config: WeChatConfig,
    client: Client,
    setup: Setup,
    /// The token, and when it was fetched.
    token: Mutex<Option<(Secret, Instant)>>,
}

#[derive(Serialize)]
struct Message<'a> {
    text: Content,
    #[serde(rename = "touser", skip_serializing_if = "String::is_empty")]
    to_user: String,
    #[serde(rename = "toparty", skip_serializing_if = "String::is_empty")]
    to_party: String,
    #[serde(rename = "totag", skip_serializing_if = "String::is_empty")]
    to_tag: String,
    #[serde(rename = "agentid", skip_serializing_if = "String::is_empty")]
    agent_id: String,
    safe: &'static str,
    #[serde(rename = "msgtype")]
    kind: &'a str,
    markdown: Content,
}

#[derive(Serialize, Default)]
struct Content {
    content: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Token {
    access_token: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    errcode: i64,
    errmsg: String,
}

impl Receiver for WeChat {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut texts = self.setup.rendering(notification, &notification.alerts);
            let token = self.token(&mut texts, deadline).await?;
            let body = json::body(&self.message(&mut texts));
            texts.check("templating error: ")?;
            let mut url = self.config.api_url.join("message/send");
            url.query_pairs_mut().append_pair("access_token", token.reveal());
            let answer = self.client.send(Request::post(url, JSON, body), deadline).await?;
            // Compat: everything else is tried again.
            if answer.status != 200 {
                let message = format!("unexpected status code {}", answer.status);
                return Err(Failure::again(message).counted_as(FailureReason::of_status(answer.status)));
            }
            let said: Said = serde_json::from_slice(answer.whole()?)
                .map_err(|error| Failure::again(json_error(&error)))?;
            match said.errcode {
                0 => Ok(()),
                TOKEN_EXPIRED => {
                    *self.token.lock().await = None;
                    Err(Failure::again(said.errmsg))
                }
                _ => Err(Failure::last(said.errmsg)),
            }
        })
    }
}

impl WeChat {
    /// The token that is kept, or a new one.
    async fn token(&self, texts: &mut Rendering<'_>, deadline: Instant) -> Result<Secret, Failure> {
        let mut kept = self.token.lock().await;
        if let Some((token, since)) = &*kept
            && since.elapsed() <= TOKEN_AGE_MAX
        {
            return Ok(token.clone());
        }
        let path = &self.config.api_secret_file;
        let secret = if is_named(path) {
            read_word(path).await.map_err(Failure::last)?
        } else {
            self.config.api_secret.reveal().to_owned()
        };
        let secret = texts.address(&secret);
        let corp_id = texts.address(&self.config.corp_id);
        texts.check("templating error: ")?;
        let mut url = self.config.api_url.join("gettoken");
        url.query_pairs_mut()
            .append_pair("corpid", &corp_id)
            .append_pair("corpsecret", &secret);
        let answer = self.client.send(Request::get(url), deadline).await?;
        let token: Token =
            serde_json::from_slice(answer.whole()?).map_err(|error| Failure::last(json_error(&error)))?;
        if token.access_token.is_empty() {
            let message = format!("invalid APISecret for CorpID: {}", self.config.corp_id);
            return Err(Failure::last(message));
        }
        let token = Secret::new(token.access_token);
        *kept = Some((token.clone(), Instant::now()));
        Ok(token)
    }

    fn message(&self, texts: &mut Rendering<'_>) -> Message<'_> {
        let config = &self.config;
        let mut message = Message {
            to_user: texts.address(&config.to_user),
            to_party: texts.address(&config.to_party),
            to_tag: texts.address(&config.to_tag),
            agent_id: texts.address(&config.agent_id),
            safe: "0",
            kind: &config.message_type,
            text: Content::default(),
            markdown: Content::default(),
        };
        let content = texts.text(&config.message);
        if config.message_type == "markdown" {
            message.markdown.content = content;
        } else {
            message.text.content = content;
        }
        message
    }
}
