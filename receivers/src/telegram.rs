//! Telegram, as a bot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::HttpClientConfig;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use yaml::{Secret, Section, YamlError};

use crate::config::Kind;
use crate::http::{Answer, Client, SILENT_USER_AGENT, json_error, read_word};
use crate::integration::{Setup, Unbuilt};
use crate::receiver::{Failure, FailureReason, Memory, Receiver};
use crate::settings::{Settings as _, WebUrl, is_default, is_named, is_unnamed};
use crate::{Global, Notification, json, shorten};

/// Telegram's limit, in characters.
const MESSAGE_CHARS_MAX: usize = 4096;
/// What HTML that is too long is replaced by: cut, it would not be HTML any more.
const TOO_LONG: &str = "Alertmanager notification could not be sent: message length exceeds Telegram limits.\n\t\t\tPlease \
                        check the template used for producing the message content.";
/// Characters that mean something in its two Markdowns.
const MARKDOWN: &str = "_*`[";
const MARKDOWN_V2: &str = "_*[]()~`>#+-=|{}.!\\";
/// Compat: refusals whose status counts; all others count as `other`, whatever their status.
const COUNTED: [&str; 16] = [
    "Unauthorized",
    "Not Found",
    "Internal Server Error",
    "Request Entity Too Large",
    "Bad Request: chat not found",
    "Bad Request: chat_id is empty",
    "Bad Request: have no rights to send a message",
    "Bad Request: message is too long",
    "Bad Request: message must be non-empty",
    "Bad Request: text is empty",
    "Forbidden: bot can't initiate conversation with a user",
    "Forbidden: bot was blocked by the user",
    "Forbidden: bot was kicked from the channel chat",
    "Forbidden: bot was kicked from the group chat",
    "Forbidden: bot was kicked from the supergroup chat",
    "Forbidden: user is deactivated",
];

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TelegramConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    api_url: Option<WebUrl>,
    #[serde(skip_serializing_if = "is_default")]
    bot_token: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    bot_token_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    chat_id: i64,
    #[serde(skip_serializing_if = "is_unnamed")]
    chat_id_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    message_thread_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    message: String,
    #[serde(skip_serializing_if = "is_default")]
    disable_notifications: bool,
    #[serde(skip_serializing_if = "is_default")]
    parse_mode: String,
}

impl Kind for TelegramConfig {
    const NAME: &'static str = "telegram";
    const WHAT: &'static str = "type telegram.plain";
    const MISSING: &'static str = "missing telegram config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let api_url: Option<WebUrl> = section.get("api_url")?;
        let mut config = TelegramConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            api_url: api_url.or_else(|| global.telegram_api_url.clone()),
            bot_token: section.secret("bot_token")?,
            bot_token_file: section.path("bot_token_file")?,
            chat_id: section.get_or("chat_id", 0)?,
            chat_id_file: section.path("chat_id_file")?,
            message_thread_id: section.get_or("message_thread_id", 0)?,
            message: section.text_or("message", r#"{{ template "telegram.default.message" . }}"#)?,
            disable_notifications: section.flag("disable_notifications", false)?,
            parse_mode: section.text_or("parse_mode", "HTML")?,
        };
        let has_token =
            |config: &TelegramConfig| (!config.bot_token.is_empty(), is_named(&config.bot_token_file));
        let (token, token_file) = has_token(&config);
        section.at_most_one([("bot_token", token), ("bot_token_file", token_file)])?;
        let (chat, chat_file) = (config.chat_id != 0, is_named(&config.chat_id_file));
        if !chat && !chat_file {
            return Err(section.error("missing chat_id or chat_id_file on telegram_config"));
        }
        section.at_most_one([("chat_id", chat), ("chat_id_file", chat_file)])?;
        if !matches!(
            config.parse_mode.as_str(),
            "" | "Markdown" | "MarkdownV2" | "HTML"
        ) {
            return Err(section.error_at(
                "parse_mode",
                "unknown parse_mode on telegram_config, must be Markdown, MarkdownV2, HTML or empty string",
            ));
        }
        if !token && !token_file {
            config.bot_token = global.telegram_bot_token.clone();
            config.bot_token_file.clone_from(&global.telegram_bot_token_file);
        }
        if has_token(&config) == (false, false) {
            return Err(section.error("missing bot_token or bot_token_file on telegram_config"));
        }
        Ok(config)
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn html_key(&self) -> Option<&'static str> {
        (self.parse_mode == "HTML").then_some("message")
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(Telegram {
            client: Client::called(&self.http_config, setup, SILENT_USER_AGENT)?,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct Telegram {
    config: TelegramConfig,
    client: Client,
    setup: Setup,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    ok: bool,
    error_code: u16,
    description: String,
}

impl Receiver for Telegram {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let text = self.text(notification)?;
            let token = self.token().await.map_err(Failure::again)?;
            let chat_id = self.chat_id().await.map_err(Failure::again)?;
            let config = &self.config;
            // Compat: whatever it is, it is sent as a text.
            let mut message = BTreeMap::from([
                ("chat_id", chat_id.to_string()),
                ("text", text),
                ("disable_web_page_preview", "true".to_owned()),
            ]);
            if config.disable_notifications {
                message.insert("disable_notification", "true".to_owned());
            }
            if config.message_thread_id != 0 {
                message.insert("message_thread_id", config.message_thread_id.to_string());
            }
            if !config.parse_mode.is_empty() {
                message.insert("parse_mode", config.parse_mode.clone());
            }
            let url = config.api_url.as_ref().map_or("", WebUrl::as_str);
            let url = format!("{url}/bot{token}/sendMessage");
            let answer = self.client.post_json(&url, json::body(&message), deadline).await;
            check(&answer.map_err(|failure| failure.within("telebot: "))?)
        })
    }
}

/// Any refusal is tried again.
fn check(answer: &Answer) -> Result<(), Failure> {
    let body = answer.whole().map_err(|failure| failure.within("telebot: "))?;
    let said: Said = serde_json::from_slice(body)
        .map_err(|error| Failure::again(format!("telebot: {}", json_error(&error))))?;
    if said.ok {
        return Ok(());
    }
    let is_counted = said.error_code == 429 || COUNTED.contains(&said.description.as_str());
    // Compat: what is counted is told without what it begins with.
    let told = match said.description.split_once(": ") {
        Some((_, rest)) if is_counted && !rest.contains(": ") => rest,
        _ => &said.description,
    };
    let failure = Failure::again(format!("telegram: {told} ({})", said.error_code));
    Err(failure.counted_as(if is_counted {
        FailureReason::of_status(said.error_code)
    } else {
        FailureReason::Other
    }))
}

impl Telegram {
    fn text(&self, notification: &Notification) -> Result<String, Failure> {
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let is_html = self.config.parse_mode == "HTML";
        let template = &self.config.message;
        let text = match self.config.parse_mode.as_str() {
            "HTML" => texts.html(template),
            "MarkdownV2" => texts.escaped(template, MARKDOWN_V2),
            "Markdown" => texts.escaped(template, MARKDOWN),
            _ => texts.text(template),
        };
        texts.check("")?;
        let (shortened, is_too_long) = shorten::to_chars(text, MESSAGE_CHARS_MAX);
        Ok(if is_too_long && is_html {
            TOO_LONG.to_owned()
        } else {
            shortened
        })
    }

    async fn token(&self) -> Result<String, String> {
        let path = &self.config.bot_token_file;
        if !is_named(path) {
            return Ok(self.config.bot_token.reveal().to_owned());
        }
        let read = read_word(path).await;
        read.map_err(|error| format!("could not read {}: {error}", path.display()))
    }

    async fn chat_id(&self) -> Result<i64, String> {
        let path = &self.config.chat_id_file;
        if !is_named(path) {
            return Ok(self.config.chat_id);
        }
        let read = read_word(path).await;
        let text = read.map_err(|error| format!("could not read {}: {error}", path.display()))?;
        text.parse()
            .map_err(|error| format!("could not parse chat_id from {}: {error}", path.display()))
    }
}
