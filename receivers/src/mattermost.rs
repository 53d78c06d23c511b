//! Mattermost, by incoming webhooks.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::Serialize;
use tokio::time::Instant;
use yaml::{FromYaml, Section, Value, YamlError};

use crate::address::WebhookAddress;
use crate::config::Kind;
use crate::http::Client;
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, Memory, Receiver};
use crate::rendering::Rendering;
use crate::settings::{Settings as _, is_default};
use crate::{Global, Notification, json, shorten};

/// Mattermost's limit, in characters.
const TEXT_CHARS_MAX: usize = 16_383;
/// What fields are where nothing is said.
const USERNAME: &str = r#"{{ template "mattermost.default.username" . }}"#;
const PRIORITY: &str = "standard";

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MattermostConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(flatten)]
    address: WebhookAddress,
    #[serde(skip_serializing_if = "is_default")]
    channel: String,
    #[serde(skip_serializing_if = "is_default")]
    username: String,
    /// The message's where attachments are listed, else that of the one attachment.
    #[serde(skip_serializing_if = "is_default")]
    text: String,
    /// The attachment that there is where none are listed; it gets the text.
    #[serde(flatten)]
    attachment: Attachment,
    #[serde(skip_serializing_if = "is_default")]
    icon_url: String,
    #[serde(skip_serializing_if = "is_default")]
    icon_emoji: String,
    #[serde(skip_serializing_if = "is_default")]
    attachments: Vec<Attachment>,
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    props: Option<Props>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
}

/// An attachment, in the configuration as in the message.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Attachment {
    #[serde(skip_serializing_if = "is_default")]
    fallback: String,
    #[serde(skip_serializing_if = "is_default")]
    color: String,
    #[serde(skip_serializing_if = "is_default")]
    pretext: String,
    #[serde(skip_serializing_if = "is_default")]
    text: String,
    #[serde(skip_serializing_if = "is_default")]
    author_name: String,
    #[serde(skip_serializing_if = "is_default")]
    author_link: String,
    #[serde(skip_serializing_if = "is_default")]
    author_icon: String,
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    title_link: String,
    #[serde(skip_serializing_if = "is_default")]
    fields: Vec<Field>,
    #[serde(skip_serializing_if = "is_default")]
    thumb_url: String,
    #[serde(skip_serializing_if = "is_default")]
    footer: String,
    #[serde(skip_serializing_if = "is_default")]
    footer_icon: String,
    #[serde(skip_serializing_if = "is_default")]
    image_url: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Field {
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    short: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Props {
    #[serde(skip_serializing_if = "is_default")]
    card: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Priority {
    #[serde(skip_serializing_if = "is_default")]
    priority: String,
    #[serde(skip_serializing_if = "is_default")]
    requested_ack: bool,
    #[serde(skip_serializing_if = "is_default")]
    persistent_notifications: bool,
}

impl Attachment {
    /// Takes the keys; `default` has what they are where they are absent.
    fn read(section: &mut Section<'_>, default: &Attachment) -> Result<Self, YamlError> {
        Ok(Attachment {
            fallback: section.text_or("fallback", &default.fallback)?,
            color: section.text_or("color", &default.color)?,
            pretext: section.text("pretext")?,
            text: section.text_or("text", &default.text)?,
            author_name: section.text("author_name")?,
            author_link: section.text("author_link")?,
            author_icon: section.text("author_icon")?,
            title: section.text_or("title", &default.title)?,
            title_link: section.text_or("title_link", &default.title_link)?,
            fields: section.get_or("fields", Vec::new())?,
            thumb_url: section.text("thumb_url")?,
            footer: section.text("footer")?,
            footer_icon: section.text("footer_icon")?,
            image_url: section.text("image_url")?,
        })
    }

    fn rendered(&self, texts: &mut Rendering<'_>) -> Self {
        let field = |field: &Field, texts: &mut Rendering<'_>| Field {
            title: texts.label(&field.title),
            value: texts.text(&field.value),
            short: field.short,
        };
        Attachment {
            fallback: texts.line(&self.fallback),
            color: texts.extra(&self.color),
            pretext: texts.line(&self.pretext),
            text: texts.text(&self.text),
            author_name: texts.extra(&self.author_name),
            author_link: texts.extra(&self.author_link),
            author_icon: texts.extra(&self.author_icon),
            title: texts.line(&self.title),
            title_link: texts.extra(&self.title_link),
            fields: self.fields.iter().map(|given| field(given, texts)).collect(),
            thumb_url: texts.extra(&self.thumb_url),
            footer: texts.line(&self.footer),
            footer_icon: texts.extra(&self.footer_icon),
            image_url: texts.extra(&self.image_url),
        }
    }
}

impl FromYaml for Attachment {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type mattermost.MattermostAttachment")?;
        let attachment = Attachment::read(&mut section, &Attachment::default())?;
        section.finish()?;
        Ok(attachment)
    }
}

impl FromYaml for Field {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type mattermost.plain")?;
        let field = Field {
            title: section.text("title")?,
            value: section.text("value")?,
            short: section.get("short")?,
        };
        for (key, text) in [("title", &field.title), ("value", &field.value)] {
            if text.is_empty() {
                return Err(section.error(format_args!("missing {key} in Mattermost field configuration")));
            }
        }
        section.finish()?;
        Ok(field)
    }
}

impl FromYaml for Props {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type mattermost.MattermostProps")?;
        let card = section.text("card")?;
        section.finish()?;
        Ok(Props { card })
    }
}

impl FromYaml for Priority {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type mattermost.MattermostPriority")?;
        let priority = Priority {
            priority: section.text("priority")?,
            requested_ack: section.flag("requested_ack", false)?,
            persistent_notifications: section.flag("persistent_notifications", false)?,
        };
        section.finish()?;
        Ok(priority)
    }
}

impl Kind for MattermostConfig {
    const NAME: &'static str = "mattermost";
    const WHAT: &'static str = "type mattermost.plain";
    const MISSING: &'static str = "missing mattermost config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let defaults = Attachment {
            fallback: r#"{{ template "mattermost.default.fallback" . }}"#.to_owned(),
            color: r#"{{ template "mattermost.default.color" . }}"#.to_owned(),
            text: r#"{{ template "mattermost.default.text" . }}"#.to_owned(),
            title: r#"{{ template "mattermost.default.title" . }}"#.to_owned(),
            title_link: r#"{{ template "mattermost.default.titlelink" . }}"#.to_owned(),
            ..Attachment::default()
        };
        let address = WebhookAddress::read(section)?.or(
            global.mattermost_webhook_url.as_ref(),
            &global.mattermost_webhook_url_file,
        );
        if address.is_absent() {
            return Err(section.error("missing webhook_url or webhook_url_file on mattermost_config"));
        }
        let mut attachment = Attachment::read(section, &defaults)?;
        Ok(MattermostConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            address,
            channel: section.text("channel")?,
            username: section.text_or("username", USERNAME)?,
            text: std::mem::take(&mut attachment.text),
            attachment,
            icon_url: section.text("icon_url")?,
            icon_emoji: section.text("icon_emoji")?,
            attachments: section.get_or("attachments", Vec::new())?,
            kind: section.text("type")?,
            props: section.get("props")?,
            priority: section.get("priority")?,
        })
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(Mattermost {
            client: Client::new(&self.http_config, setup)?,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct Mattermost {
    config: MattermostConfig,
    client: Client,
    setup: Setup,
}

#[derive(Serialize)]
struct Message {
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    channel: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    icon_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    icon_emoji: String,
    attachments: Vec<Attachment>,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    props: Option<Props>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
}

impl Receiver for Mattermost {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let url = self.config.address.get().await?;
            if url.is_empty() {
                return Err(Failure::last("webhook url missing"));
            }
            let message = self.message(notification)?;
            let answer = self
                .client
                .post_json(&url, json::body(&message), deadline)
                .await?;
            let check = answer.check(&[]);
            check.map_err(|failure| failure.within(format!("channel {:?}: ", message.channel)))
        })
    }
}

impl Mattermost {
    fn message(&self, notification: &Notification) -> Result<Message, Failure> {
        let config = &self.config;
        let texts = &mut self.setup.rendering(notification, &notification.alerts);
        let (text, attachments) = if config.attachments.is_empty() {
            let text = texts.text(&config.text);
            let attachment = config.attachment.rendered(texts);
            (String::new(), vec![Attachment { text, ..attachment }])
        } else {
            let text = texts.text(&config.text);
            let attachments = config.attachments.iter();
            let attachments = attachments.map(|attachment| attachment.rendered(texts)).collect();
            (shorten::to_chars(text, TEXT_CHARS_MAX).0, attachments)
        };
        let props = config.props.as_ref().filter(|props| !props.card.is_empty());
        let priority = config
            .priority
            .as_ref()
            .filter(|given| !given.priority.is_empty());
        let message = Message {
            text,
            channel: texts.extra(&config.channel),
            username: texts.choice(&config.username, USERNAME),
            icon_url: texts.extra(&config.icon_url),
            icon_emoji: texts.extra(&config.icon_emoji),
            attachments,
            kind: texts.extra(&config.kind),
            props: props.map(|props| Props {
                card: texts.text(&props.card),
            }),
            priority: priority.map(|given| given.rendered(texts)),
        };
        texts.check("")?;
        Ok(message)
    }
}

impl Priority {
    /// Only what Mattermost takes: acknowledgements for important messages, persistence for urgent ones.
    fn rendered(&self, texts: &mut Rendering<'_>) -> Self {
        let given = texts.choice(&self.priority, PRIORITY).to_lowercase();
        let priority = match given.as_str() {
            "urgent" | "important" | "standard" => given,
            _ => {
                tracing::warn!(
                    integration = "mattermost",
                    priority = given,
                    "unknown priority; it is standard"
                );
                PRIORITY.to_owned()
            }
        };
        Priority {
            requested_ack: self.requested_ack && priority != PRIORITY,
            persistent_notifications: self.persistent_notifications && priority == "urgent",
            priority,
        }
    }
}
