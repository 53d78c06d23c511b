//! The section of a Slack receiver.

use std::path::PathBuf;
use std::sync::Arc;

use httpclient::{Authorization, HttpClientConfig};
use serde::Serialize;
use yaml::{FromYaml, Secret, Section, Value, YamlError};

use crate::Global;
use crate::config::Kind;
use crate::integration::{Setup, Unbuilt};
use crate::receiver::Receiver;
use crate::settings::{GoDuration, SecretUrl, Settings as _, WebUrl, is_default, is_named, is_unnamed};

/// Who tells, where nothing is said.
pub(super) const USERNAME: &str = r#"{{ template "slack.default.username" . }}"#;
/// The one method whose messages can be changed.
const POST_MESSAGE: &str = "https://slack.com/api/chat.postMessage";

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SlackConfig {
    pub(super) send_resolved: bool,
    pub(super) http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api_url: Option<SecretUrl>,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(super) api_url_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) app_token: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(super) app_token_file: PathBuf,
    pub(super) app_url: WebUrl,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) channel: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) username: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) color: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) title: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) title_link: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) pretext: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) text: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) message_text: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) fields: Vec<Field>,
    pub(super) short_fields: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) footer: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) fallback: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) callback_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) icon_emoji: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) icon_url: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) image_url: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) thumb_url: String,
    pub(super) link_names: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) mrkdwn_in: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) actions: Vec<Action>,
    pub(super) update_message: bool,
    pub(super) timeout: GoDuration,
}

/// A field of an attachment, in the configuration as in the message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Field {
    #[serde(skip_serializing_if = "is_default")]
    pub(super) title: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) short: Option<bool>,
}

/// A button, in the configuration as in the message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Action {
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) text: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) url: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) style: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confirm: Option<Confirmation>,
}

/// What is asked before a button does something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Confirmation {
    #[serde(skip_serializing_if = "is_default")]
    pub(super) text: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) title: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) ok_text: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) dismiss_text: String,
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
            username: section.text_or("username", USERNAME)?,
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
        super::receiver(self, setup)
    }
}

impl SlackConfig {
    /// Whether messages go by the app's method, which is told a channel, and not to a webhook, which has one.
    pub(super) fn is_of_app(&self) -> bool {
        let url = self.api_url.as_ref().map_or("", SecretUrl::reveal);
        self.has_app_token() || url == POST_MESSAGE
    }

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
