//! Slack: incoming webhooks, and the app's own method, which can change a message that it has sent.

mod settings;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub(crate) use self::settings::SlackConfig;
use self::settings::{Action, Confirmation, Field, USERNAME};
use crate::http::{Answer, Client, json_error, read_word};
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, FailureReason, Memory, MemoryValue, Receiver};
use crate::rendering::Rendering;
use crate::{Notification, json, shorten};

/// Slack's limit, in characters.
const TITLE_CHARS_MAX: usize = 1024;
/// What actions are, nearly all.
const BUTTON: &str = "button";
/// What changes them.
const UPDATE: &str = "https://slack.com/api/chat.update";
/// What is remembered of a message: its time, which is its name, and its channel's name.
const THREAD: &str = "threadTs";
const CHANNEL: &str = "channelId";

/// Builds what sends to Slack by these settings.
fn receiver(config: &SlackConfig, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
    Ok(Arc::new(Slack {
        client: Client::new(&config.http_config, setup)?.limited("slack", config.timeout.0),
        config: config.clone(),
        setup: setup.clone(),
    }))
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
            let mut message = self.message(notification)?;
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
    let body = answer.whole()?;
    if !answer.content_type.starts_with(crate::http::JSON) {
        if body == b"ok" {
            return Ok(Said::default());
        }
        let message = format!("received an error response from Slack: {}", answer.quoted());
        return Err(Failure::last(message).counted_as(FailureReason::ClientError));
    }
    let said: Said = serde_json::from_slice(body).map_err(|error| {
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
    fn message(&self, notification: &Notification) -> Result<Message<'_>, Failure> {
        let config = &self.config;
        let texts = &mut self.setup.rendering(notification, &notification.alerts);
        let (title, _) = shorten::to_chars(texts.line(&config.title), TITLE_CHARS_MAX);
        let mut attachment = Attachment {
            title,
            title_link: texts.extra(&config.title_link),
            pretext: texts.line(&config.pretext),
            text: texts.text(&config.text),
            fallback: texts.line(&config.fallback),
            callback_id: texts.extra(&config.callback_id),
            fields: Vec::new(),
            actions: Vec::new(),
            image_url: texts.extra(&config.image_url),
            thumb_url: texts.extra(&config.thumb_url),
            footer: texts.line(&config.footer),
            color: texts.extra(&config.color),
            mrkdwn_in: if config.mrkdwn_in.is_empty() {
                vec!["fallback", "pretext", "text"]
            } else {
                config.mrkdwn_in.iter().map(String::as_str).collect()
            },
        };
        for field in &config.fields {
            attachment.fields.push(Field {
                title: texts.label(&field.title),
                value: texts.text(&field.value),
                short: Some(field.short.unwrap_or(config.short_fields)),
            });
        }
        for action in &config.actions {
            attachment.actions.extend(action.rendered(texts));
        }
        // A webhook has a channel of its own; the app has none.
        let channel = match config.is_of_app() {
            true => texts.address(&config.channel),
            false => texts.extra(&config.channel),
        };
        let message = Message {
            channel,
            ts: String::new(),
            username: texts.choice(&config.username, USERNAME),
            icon_emoji: texts.extra(&config.icon_emoji),
            icon_url: texts.extra(&config.icon_url),
            link_names: config.link_names,
            text: texts.text(&config.message_text),
            attachments: [attachment],
        };
        texts.check_addresses()?;
        if let Err(failure) = texts.check("") {
            tracing::warn!(integration = "slack", err = %failure, "a template failed; what comes behind it is empty");
        }
        Ok(message)
    }
}

impl Action {
    /// None where what it does is unknown: a button that does something else is worse than none.
    fn rendered(&self, texts: &mut Rendering<'_>) -> Option<Self> {
        let (kind, text) = (texts.choice(&self.kind, BUTTON), texts.label(&self.text));
        let url = texts.part(&self.url);
        let style = texts.extra(&self.style);
        let (name, value) = (texts.part(&self.name), texts.part(&self.value));
        let confirm = self.confirm.as_ref().map(|confirm| Confirmation {
            title: texts.label(&confirm.title),
            text: texts.line(&confirm.text),
            ok_text: texts.extra(&confirm.ok_text),
            dismiss_text: texts.extra(&confirm.dismiss_text),
        });
        Some(Action {
            kind,
            text,
            url: url?,
            style,
            name: name?,
            value: value?,
            confirm,
        })
    }
}
