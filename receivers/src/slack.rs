//! Slack: incoming webhooks, and the app's own method, which can change a message that it has sent.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::{Authorization, HttpClientConfig};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use yaml::{FromYaml, Secret, Section, Value, YamlError};

use crate::config::Kind;
use crate::http::{Answer, Client, json_error, read_word};
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, FailureReason, Memory, MemoryValue, Receiver};
use crate::settings::{GoDuration, SecretUrl, Settings as _, WebUrl, is_default, is_named, is_unnamed};
use crate::templates::Rendering;
use crate::{Global, Notification, json, shorten};

/// Slack's limit, in characters.
const TITLE_CHARS_MAX: usize = 1024;
/// The one method whose messages can be changed.
const POST_MESSAGE: &str = "https://slack.com/api/chat.postMessage";
/// What changes them.
const UPDATE: &str = "https://slack.com/api/chat.update";
/// What is remembered of a message: its time, which is its name, and its channel's name.
const THREAD: &str = "threadTs";
const CHANNEL: &str = "channelId";

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SlackConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_url: Option<SecretUrl>,
    #[serde(skip_serializing_if = "is_unnamed")]
    api_url_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    app_token: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    app_token_file: PathBuf,
    app_url: WebUrl,
    #[serde(skip_serializing_if = "is_default")]
    channel: String,
    #[serde(skip_serializing_if = "is_default")]
    username: String,
    #[serde(skip_serializing_if = "is_default")]
    color: String,
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    title_link: String,
    #[serde(skip_serializing_if = "is_default")]
    pretext: String,
    #[serde(skip_serializing_if = "is_default")]
    text: String,
    #[serde(skip_serializing_if = "is_default")]
    message_text: String,
    #[serde(skip_serializing_if = "is_default")]
    fields: Vec<Field>,
    short_fields: bool,
    #[serde(skip_serializing_if = "is_default")]
    footer: String,
    #[serde(skip_serializing_if = "is_default")]
    fallback: String,
    #[serde(skip_serializing_if = "is_default")]
    callback_id: String,
    #[serde(skip_serializing_if = "is_default")]
    icon_emoji: String,
    #[serde(skip_serializing_if = "is_default")]
    icon_url: String,
    #[serde(skip_serializing_if = "is_default")]
    image_url: String,
    #[serde(skip_serializing_if = "is_default")]
    thumb_url: String,
    link_names: bool,
    #[serde(skip_serializing_if = "is_default")]
    mrkdwn_in: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    actions: Vec<Action>,
    update_message: bool,
    timeout: GoDuration,
}

/// A field of an attachment, in the configuration as in the message.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Field {
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    short: Option<bool>,
}

/// A button, in the configuration as in the message.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Action {
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    kind: String,
    #[serde(skip_serializing_if = "is_default")]
    text: String,
    #[serde(skip_serializing_if = "is_default")]
    url: String,
    #[serde(skip_serializing_if = "is_default")]
    style: String,
    #[serde(skip_serializing_if = "is_default")]
    name: String,
    #[serde(skip_serializing_if = "is_default")]
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm: Option<Confirmation>,
}

/// What is asked before a button does something.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Confirmation {
    #[serde(skip_serializing_if = "is_default")]
    text: String,
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    ok_text: String,
    #[serde(skip_serializing_if = "is_default")]
    dismiss_text: String,
}

impl FromYaml for Field {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type config.plain")?;
        let field = Field {
            title: section.text("title")?,
            value: section.text("value")?,
            short: section.get("short")?,
        };
        for (key, text) in [("title", &field.title), ("value", &field.value)] {
            if text.is_empty() {
                return Err(section.error(format_args!("missing {key} in Slack field configuration")));
            }
        }
        section.finish()?;
        Ok(field)
    }
}

impl FromYaml for Action {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type config.plain")?;
        let mut action = Action {
            kind: section.text("type")?,
            text: section.text("text")?,
            url: section.text("url")?,
            style: section.text("style")?,
            name: section.text("name")?,
            value: section.text("value")?,
            confirm: section.get("confirm")?,
        };
        for (key, text) in [("type", &action.kind), ("text", &action.text)] {
            if text.is_empty() {
                return Err(section.error(format_args!("missing {key} in Slack action configuration")));
            }
        }
        if !action.url.is_empty() {
            // A link does nothing else.
            action.name.clear();
            action.value.clear();
            action.confirm = None;
        } else if action.name.is_empty() {
            return Err(section.error("missing name or url in Slack action configuration"));
        }
        section.finish()?;
        Ok(action)
    }
}

impl FromYaml for Confirmation {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type config.plain")?;
        let confirmation = Confirmation {
            text: section.text("text")?,
            title: section.text("title")?,
            ok_text: section.text("ok_text")?,
            dismiss_text: section.text("dismiss_text")?,
        };
        if confirmation.text.is_empty() {
            return Err(section.error("missing text in Slack confirmation configuration"));
        }
        section.finish()?;
        Ok(confirmation)
    }
}

impl Kind for SlackConfig {
    const NAME: &'static str = "slack";
    const WHAT: &'static str = "type config.plain";
    const MISSING: &'static str = "";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let own_http_config = section.own_http_config()?;
        let has_authorization = own_http_config
            .as_ref()
            .is_some_and(|http| http.authorization.is_some());
        let app_url: Option<WebUrl> = section.get("app_url")?;
        let mut config = SlackConfig {
            send_resolved: section.flag("send_resolved", false)?,
            http_config: own_http_config.unwrap_or_else(|| global.http_config.clone()),
            api_url: section.get("api_url")?,
            api_url_file: section.path("api_url_file")?,
            app_token: section.secret("app_token")?,
            app_token_file: section.path("app_token_file")?,
            app_url: app_url
                .or_else(|| global.slack.app_url.clone())
                .ok_or_else(|| section.error("no global Slack App URL set"))?,
            channel: section.text("channel")?,
            username: section.text_or("username", r#"{{ template "slack.default.username" . }}"#)?,
            color: section.text_or("color", r#"{{ template "slack.default.color" . }}"#)?,
            title: section.text_or("title", r#"{{ template "slack.default.title" . }}"#)?,
            title_link: section.text_or("title_link", r#"{{ template "slack.default.titlelink" . }}"#)?,
            pretext: section.text_or("pretext", r#"{{ template "slack.default.pretext" . }}"#)?,
            text: section.text_or("text", r#"{{ template "slack.default.text" . }}"#)?,
            message_text: section.text("message_text")?,
            fields: section.get_or("fields", Vec::new())?,
            short_fields: section.flag("short_fields", false)?,
            footer: section.text_or("footer", r#"{{ template "slack.default.footer" . }}"#)?,
            fallback: section.text_or("fallback", r#"{{ template "slack.default.fallback" . }}"#)?,
            callback_id: section.text_or("callback_id", r#"{{ template "slack.default.callbackid" . }}"#)?,
            icon_emoji: section.text_or("icon_emoji", r#"{{ template "slack.default.iconemoji" . }}"#)?,
            icon_url: section.text_or("icon_url", r#"{{ template "slack.default.iconurl" . }}"#)?,
            image_url: section.text("image_url")?,
            thumb_url: section.text("thumb_url")?,
            link_names: section.flag("link_names", false)?,
            mrkdwn_in: section.get_or("mrkdwn_in", Vec::new())?,
            actions: section.get_or("actions", Vec::new())?,
            update_message: section.flag("update_message", false)?,
            timeout: section.get_or("timeout", GoDuration::default())?,
        };
        config.check(section)?;
        config.fill_in(section, global, has_authorization)?;
        Ok(config)
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(Slack {
            client: Client::new(&self.http_config, setup)?.limited("slack", self.timeout.0),
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

impl SlackConfig {
    fn has_api_url(&self) -> bool {
        self.api_url.is_some() || is_named(&self.api_url_file)
    }

    fn has_app_token(&self) -> bool {
        !self.app_token.is_empty() || is_named(&self.app_token_file)
    }

    fn check(&self, section: &Section<'_>) -> Result<(), YamlError> {
        section.at_most_one([
            ("api_url", self.api_url.is_some()),
            ("api_url_file", is_named(&self.api_url_file)),
        ])?;
        section.at_most_one([
            ("app_token", !self.app_token.is_empty()),
            ("app_token_file", is_named(&self.app_token_file)),
        ])?;
        if self.has_api_url() && self.has_app_token() {
            return Err(section
                .error("at most one of api_url/api_url_file & app_token/app_token_file must be configured"));
        }
        let url = self.api_url.as_ref().map_or("", SecretUrl::reveal);
        if self.update_message && url != POST_MESSAGE {
            return Err(section.error_at(
                "update_message",
                "update_message can only be used with bot tokens. api_url must be set to \
                 https://slack.com/api/chat.postMessage",
            ));
        }
        Ok(())
    }

    /// What the global section has; `has_authorization`: the own HTTP settings say who we are.
    fn fill_in(
        &mut self,
        section: &Section<'_>,
        global: &Global,
        has_authorization: bool,
    ) -> Result<(), YamlError> {
        if !self.has_app_token() && !has_authorization && self.api_url.is_none() {
            self.app_token = global.slack.app_token.clone();
            self.app_token_file.clone_from(&global.slack.app_token_file);
        }
        if !self.has_api_url() {
            self.api_url.clone_from(&global.slack.api_url);
            self.api_url_file.clone_from(&global.slack.api_url_file);
        }
        if !self.has_api_url() && !self.has_app_token() {
            return Err(section.error("no Slack API URL nor App token set either inline or in a file"));
        }
        if self.has_app_token() {
            if self.http_config.authorization.is_some() {
                return Err(section.error("http authorization can't be set when using Slack App tokens"));
            }
            self.http_config.authorization = Some(Authorization {
                scheme: "Bearer".to_owned(),
                credentials: self.app_token.clone(),
                credentials_file: self.app_token_file.clone(),
            });
            self.api_url = Some(SecretUrl::new(self.app_url.clone()));
        }
        Ok(())
    }
}

struct Slack {
    config: SlackConfig,
    client: Client,
    setup: Setup,
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "String::is_empty")]
    channel: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ts: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    icon_emoji: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    icon_url: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    link_names: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    attachments: [Attachment<'a>; 1],
}

#[derive(Serialize)]
struct Attachment<'a> {
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    title_link: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pretext: String,
    text: String,
    fallback: String,
    callback_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<Action>,
    #[serde(skip_serializing_if = "String::is_empty")]
    image_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thumb_url: String,
    footer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    color: String,
    mrkdwn_in: Vec<&'a str>,
}

/// An answer of the app's methods.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    ok: bool,
    error: String,
    channel: String,
    ts: String,
}

impl Receiver for Slack {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut message = self.message(notification);
            let mut url = match &self.config.api_url {
                Some(url) => url.reveal().to_owned(),
                None => read_word(&self.config.api_url_file)
                    .await
                    .map_err(Failure::last)?,
            };
            if self.config.update_message
                && let (Some(MemoryValue::Text(ts)), Some(MemoryValue::Text(channel))) =
                    (memory.get(THREAD), memory.get(CHANNEL))
            {
                UPDATE.clone_into(&mut url);
                message.ts.clone_from(ts);
                message.channel.clone_from(channel);
            }
            let answer = self
                .client
                .post_json(&url, json::body(&message), deadline)
                .await?;
            let read = answer.check(&[]).and_then(|()| said(&answer));
            let said = read.map_err(|failure| failure.within(format!("channel {:?}: ", message.channel)))?;
            if self.config.update_message && !said.ts.is_empty() && !said.channel.is_empty() {
                memory.insert(THREAD.to_owned(), MemoryValue::Text(said.ts));
                memory.insert(CHANNEL.to_owned(), MemoryValue::Text(said.channel));
            }
            Ok(())
        })
    }
}

/// What an answer of status 200 says: webhooks say `ok`, methods answer with JSON.
fn said(answer: &Answer) -> Result<Said, Failure> {
    if !answer.content_type.starts_with(crate::http::JSON) {
        if answer.body == b"ok" {
            return Ok(Said::default());
        }
        let message = format!("received an error response from Slack: {}", answer.quoted());
        return Err(Failure::last(message).counted_as(FailureReason::ClientError));
    }
    let said: Said = serde_json::from_slice(&answer.body).map_err(|error| {
        let message = format!(
            "could not unmarshal JSON response {:?}: {}",
            answer.quoted(),
            json_error(&error)
        );
        Failure::again(message).counted_as(FailureReason::ClientError)
    })?;
    if !said.ok {
        let message = format!("error response from Slack: {}", said.error);
        return Err(Failure::last(message).counted_as(FailureReason::ClientError));
    }
    Ok(said)
}

impl Slack {
    /// Compat: what comes after a template that fails is empty, and the message goes out all the same (conformance
    /// `template-error`).
    fn message(&self, notification: &Notification) -> Message<'_> {
        let config = &self.config;
        let texts = &mut self.setup.rendering(notification, &notification.alerts);
        let (title, _) = shorten::to_chars(texts.text(&config.title), TITLE_CHARS_MAX);
        let mut attachment = Attachment {
            title,
            title_link: texts.text(&config.title_link),
            pretext: texts.text(&config.pretext),
            text: texts.text(&config.text),
            fallback: texts.text(&config.fallback),
            callback_id: texts.text(&config.callback_id),
            fields: Vec::new(),
            actions: Vec::new(),
            image_url: texts.text(&config.image_url),
            thumb_url: texts.text(&config.thumb_url),
            footer: texts.text(&config.footer),
            color: texts.text(&config.color),
            mrkdwn_in: if config.mrkdwn_in.is_empty() {
                vec!["fallback", "pretext", "text"]
            } else {
                config.mrkdwn_in.iter().map(String::as_str).collect()
            },
        };
        for field in &config.fields {
            attachment.fields.push(Field {
                title: texts.text(&field.title),
                value: texts.text(&field.value),
                short: Some(field.short.unwrap_or(config.short_fields)),
            });
        }
        for action in &config.actions {
            attachment.actions.push(action.rendered(texts));
        }
        let message = Message {
            channel: texts.text(&config.channel),
            ts: String::new(),
            username: texts.text(&config.username),
            icon_emoji: texts.text(&config.icon_emoji),
            icon_url: texts.text(&config.icon_url),
            link_names: config.link_names,
            text: texts.text(&config.message_text),
            attachments: [attachment],
        };
        if let Err(failure) = texts.check("") {
            tracing::warn!(integration = "slack", err = %failure, "a template failed; what comes behind it is empty");
        }
        message
    }
}

impl Action {
    fn rendered(&self, texts: &mut Rendering<'_>) -> Self {
        Action {
            kind: texts.text(&self.kind),
            text: texts.text(&self.text),
            url: texts.text(&self.url),
            style: texts.text(&self.style),
            name: texts.text(&self.name),
            value: texts.text(&self.value),
            confirm: self.confirm.as_ref().map(|confirm| Confirmation {
                title: texts.text(&confirm.title),
                text: texts.text(&confirm.text),
                ok_text: texts.text(&confirm.ok_text),
                dismiss_text: texts.text(&confirm.dismiss_text),
            }),
        }
    }
}
