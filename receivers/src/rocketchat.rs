//! Rocket.Chat.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use yaml::{FromYaml, Secret, Section, Value, YamlError};

use crate::config::Kind;
use crate::http::{Answer, Client, JSON, json_error, read_word_now};
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, FailureReason, Memory, Receiver};
use crate::settings::{Settings as _, WebUrl, is_default, is_named, is_unnamed};
use crate::{Global, Notification, json, shorten};

/// The limit of a title, in characters.
const TITLE_CHARS_MAX: usize = 1024;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RocketChatConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_url: Option<WebUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<Secret>,
    #[serde(skip_serializing_if = "is_unnamed")]
    token_id_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Secret>,
    #[serde(skip_serializing_if = "is_unnamed")]
    token_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    channel: String,
    #[serde(skip_serializing_if = "is_default")]
    color: String,
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    title_link: String,
    #[serde(skip_serializing_if = "is_default")]
    text: String,
    #[serde(skip_serializing_if = "is_default")]
    fields: Vec<Field>,
    short_fields: bool,
    #[serde(skip_serializing_if = "is_default")]
    emoji: String,
    #[serde(skip_serializing_if = "is_default")]
    icon_url: String,
    #[serde(skip_serializing_if = "is_default")]
    image_url: String,
    #[serde(skip_serializing_if = "is_default")]
    thumb_url: String,
    /// Read and of no effect, as in the reference.
    link_names: bool,
    #[serde(skip_serializing_if = "is_default")]
    actions: Vec<Action>,
}

/// A field of an attachment, in the configuration.
///
/// Compat: printed with all its keys, and they are one word each (`msgprocessingtype`), as in the reference, whose
/// structure names no keys for YAML.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Field {
    short: Option<bool>,
    title: String,
    value: String,
}

/// A button, in the configuration; see [`Field`].
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Action {
    #[serde(rename = "type")]
    kind: String,
    text: String,
    url: String,
    imageurl: String,
    iswebview: bool,
    webviewheightratio: String,
    msg: String,
    msginchatwindow: bool,
    msgprocessingtype: String,
}

impl FromYaml for Field {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type rocketchat.RocketchatAttachmentField")?;
        let field = Field {
            short: section.get("short")?,
            title: section.text("title")?,
            value: section.text("value")?,
        };
        section.finish()?;
        Ok(field)
    }
}

impl FromYaml for Action {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type rocketchat.RocketchatAttachmentAction")?;
        let action = Action {
            kind: section.text("type")?,
            text: section.text("text")?,
            url: section.text("url")?,
            imageurl: section.text("imageurl")?,
            iswebview: section.flag("iswebview", false)?,
            webviewheightratio: section.text("webviewheightratio")?,
            msg: section.text("msg")?,
            msginchatwindow: section.flag("msginchatwindow", false)?,
            msgprocessingtype: section.text("msgprocessingtype")?,
        };
        section.finish()?;
        Ok(action)
    }
}

impl Kind for RocketChatConfig {
    const NAME: &'static str = "rocketchat";
    const WHAT: &'static str = "type rocketchat.plain";
    const MISSING: &'static str = "";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let api_url: Option<WebUrl> = section.get("api_url")?;
        let mut config = RocketChatConfig {
            send_resolved: section.flag("send_resolved", false)?,
            http_config: section.http_config(global)?,
            api_url: api_url.or_else(|| global.rocketchat_api_url.clone()),
            token_id: section.get("token_id")?,
            token_id_file: section.path("token_id_file")?,
            token: section.get("token")?,
            token_file: section.path("token_file")?,
            channel: section.text("channel")?,
            color: section.text_or(
                "color",
                r#"{{ if eq .Status "firing" }}red{{ else }}green{{ end }}"#,
            )?,
            title: section.text_or("title", r#"{{ template "rocketchat.default.title" . }}"#)?,
            title_link: section
                .text_or("title_link", r#"{{ template "rocketchat.default.titlelink" . }}"#)?,
            text: section.text_or("text", r#"{{ template "rocketchat.default.text" . }}"#)?,
            fields: section.get_or("fields", Vec::new())?,
            short_fields: section.flag("short_fields", false)?,
            emoji: section.text_or("emoji", r#"{{ template "rocketchat.default.emoji" . }}"#)?,
            icon_url: section.text_or("icon_url", r#"{{ template "rocketchat.default.iconurl" . }}"#)?,
            image_url: section.text("image_url")?,
            thumb_url: section.text("thumb_url")?,
            link_names: section.flag("link_names", false)?,
            actions: section.get_or("actions", Vec::new())?,
        };
        section.at_most_one([
            ("token", config.token.is_some()),
            ("token_file", is_named(&config.token_file)),
        ])?;
        section.at_most_one([
            ("token_id", config.token_id.is_some()),
            ("token_id_file", is_named(&config.token_id_file)),
        ])?;
        config.token_id = config.token_id.or_else(|| global.rocketchat_token_id.clone());
        if !is_named(&config.token_id_file) {
            config.token_id_file.clone_from(&global.rocketchat_token_id_file);
        }
        if config.token_id.is_none() && !is_named(&config.token_id_file) {
            return Err(section.error("no global Rocketchat TokenID set either inline or in a file"));
        }
        config.token = config.token.or_else(|| global.rocketchat_token.clone());
        if !is_named(&config.token_file) {
            config.token_file.clone_from(&global.rocketchat_token_file);
        }
        if config.token.is_none() && !is_named(&config.token_file) {
            return Err(section.error("no global Rocketchat Token set either inline or in a file"));
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
        Ok(Arc::new(RocketChat {
            client: Client::new(&self.http_config, setup)?,
            token: secret(self.token.as_ref(), &self.token_file)?,
            token_id: secret(self.token_id.as_ref(), &self.token_id_file)?,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

/// Compat: read once, when the receiver is built; its file goes before the secret itself.
fn secret(given: Option<&Secret>, file: &Path) -> Result<Secret, Unbuilt> {
    if !is_named(file) {
        return Ok(given.cloned().unwrap_or_default());
    }
    let failed = |error| Unbuilt::Secret(format!("could not read {}: {error}", file.display()));
    Ok(Secret::new(read_word_now(file).map_err(failed)?))
}

struct RocketChat {
    config: RocketChatConfig,
    client: Client,
    token: Secret,
    token_id: Secret,
    setup: Setup,
}

#[derive(Serialize)]
struct Message {
    #[serde(skip_serializing_if = "String::is_empty")]
    channel: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    emoji: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    avatar: String,
    attachments: [Attachment; 1],
}

#[derive(Serialize)]
struct Attachment {
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    title_link: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    image_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thumb_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    color: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<SentField>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<SentAction>,
}

#[derive(Serialize)]
struct SentField {
    short: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
}

/// Compat: text, address and message are all that is sent of a button.
#[derive(Serialize)]
struct SentAction {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    is_webview: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    msg: String,
    msg_in_chat_window: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    success: bool,
    error: String,
}

impl Receiver for RocketChat {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let message = self.message(notification)?;
            let Some(url) = &self.config.api_url else {
                return Err(Failure::last("no Rocketchat URL set"));
            };
            let request = Request::post(url.join("api/v1/chat.postMessage"), JSON, json::body(&message))
                .secret_header("x-auth-token", self.token.reveal())
                .secret_header("x-user-id", self.token_id.reveal());
            let answer = self.client.send(request, deadline).await?;
            answer
                .check(&[])
                .and_then(|()| check(&answer))
                .map_err(|failure| failure.within(format!("channel {:?}: ", message.channel)))
        })
    }
}

/// Errors come with status 200, too.
fn check(answer: &Answer) -> Result<(), Failure> {
    let said: Said = serde_json::from_slice(answer.whole()?).map_err(|error| {
        let message = format!(
            "could not unmarshal JSON response {:?}: {}",
            answer.quoted(),
            json_error(&error)
        );
        Failure::again(message).counted_as(FailureReason::ClientError)
    })?;
    if said.success {
        return Ok(());
    }
    let message = format!("error response from Rocketchat: {}", said.error);
    Err(Failure::last(message).counted_as(FailureReason::ClientError))
}

impl RocketChat {
    fn message(&self, notification: &Notification) -> Result<Message, Failure> {
        let config = &self.config;
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let (title, _) = shorten::to_chars(texts.line(&config.title), TITLE_CHARS_MAX);
        let mut attachment = Attachment {
            title,
            title_link: texts.extra(&config.title_link),
            text: texts.text(&config.text),
            image_url: texts.extra(&config.image_url),
            thumb_url: texts.extra(&config.thumb_url),
            color: texts.extra(&config.color),
            fields: Vec::new(),
            actions: Vec::new(),
        };
        for field in &config.fields {
            attachment.fields.push(SentField {
                short: field.short.unwrap_or(config.short_fields),
                title: texts.label(&field.title),
                value: texts.text(&field.value),
            });
        }
        for action in &config.actions {
            // A button that does something else than it should is worse than none.
            let (Some(url), Some(msg)) = (texts.part(&action.url), texts.part(&action.msg)) else {
                continue;
            };
            attachment.actions.push(SentAction {
                kind: "button",
                text: texts.label(&action.text),
                url,
                is_webview: false,
                msg,
                msg_in_chat_window: false,
            });
        }
        let message = Message {
            channel: texts.address(&config.channel),
            emoji: texts.extra(&config.emoji),
            avatar: texts.extra(&config.icon_url),
            attachments: [attachment],
        };
        texts.check("")?;
        Ok(message)
    }
}
