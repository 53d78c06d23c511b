//! The `global` section: what receivers leave open.

use std::path::{Path, PathBuf};

use httpclient::{HttpClientConfig, TlsConfig};
use serde::Serialize;
use yaml::{Duration, Secret, Section, Value, YamlError};

use crate::email::HostPort;
use crate::settings::{SecretUrl, Settings as _, WebUrl, is_default, is_named, is_unnamed};

/// The `global` section. Printed, it has the reference's keys in the reference's order, with secrets hidden.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Global {
    /// How long after its last sign of life an alert without an end counts as resolved.
    pub resolve_timeout: Duration,
    /// How receivers without settings of their own reach servers.
    pub http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jira_api_url: Option<WebUrl>,
    #[serde(flatten)]
    pub(crate) smtp: Smtp,
    #[serde(flatten)]
    pub(crate) slack: Slack,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pagerduty_url: Option<WebUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) opsgenie_api_url: Option<WebUrl>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) opsgenie_api_key: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(crate) opsgenie_api_key_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wechat_api_url: Option<WebUrl>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) wechat_api_secret: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(crate) wechat_api_secret_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) wechat_api_corp_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) victorops_api_url: Option<WebUrl>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) victorops_api_key: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(crate) victorops_api_key_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) telegram_api_url: Option<WebUrl>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) telegram_bot_token: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(crate) telegram_bot_token_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webex_api_url: Option<WebUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rocketchat_api_url: Option<WebUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rocketchat_token: Option<Secret>,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(crate) rocketchat_token_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rocketchat_token_id: Option<Secret>,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(crate) rocketchat_token_id_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mattermost_webhook_url: Option<SecretUrl>,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(crate) mattermost_webhook_url_file: PathBuf,
}

/// How mail is sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Smtp {
    #[serde(rename = "smtp_from", skip_serializing_if = "is_default")]
    pub(crate) from: String,
    #[serde(rename = "smtp_hello", skip_serializing_if = "is_default")]
    pub(crate) hello: String,
    #[serde(rename = "smtp_smarthost", skip_serializing_if = "is_default")]
    pub(crate) smarthost: HostPort,
    #[serde(rename = "smtp_auth_username", skip_serializing_if = "is_default")]
    pub(crate) auth_username: String,
    #[serde(rename = "smtp_auth_password", skip_serializing_if = "is_default")]
    pub(crate) auth_password: Secret,
    #[serde(rename = "smtp_auth_password_file", skip_serializing_if = "is_unnamed")]
    pub(crate) auth_password_file: PathBuf,
    #[serde(rename = "smtp_auth_secret", skip_serializing_if = "is_default")]
    pub(crate) auth_secret: Secret,
    #[serde(rename = "smtp_auth_secret_file", skip_serializing_if = "is_unnamed")]
    pub(crate) auth_secret_file: PathBuf,
    #[serde(rename = "smtp_auth_identity", skip_serializing_if = "is_default")]
    pub(crate) auth_identity: String,
    #[serde(rename = "smtp_require_tls")]
    pub(crate) require_tls: bool,
    #[serde(rename = "smtp_tls_config")]
    pub(crate) tls_config: TlsConfig,
    #[serde(rename = "smtp_force_implicit_tls", skip_serializing_if = "Option::is_none")]
    pub(crate) force_implicit_tls: Option<bool>,
}

/// Where Slack is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Slack {
    #[serde(rename = "slack_api_url", skip_serializing_if = "Option::is_none")]
    pub(crate) api_url: Option<SecretUrl>,
    #[serde(rename = "slack_api_url_file", skip_serializing_if = "is_unnamed")]
    pub(crate) api_url_file: PathBuf,
    #[serde(rename = "slack_app_token", skip_serializing_if = "is_default")]
    pub(crate) app_token: Secret,
    #[serde(rename = "slack_app_token_file", skip_serializing_if = "is_unnamed")]
    pub(crate) app_token_file: PathBuf,
    #[serde(rename = "slack_app_url", skip_serializing_if = "Option::is_none")]
    pub(crate) app_url: Option<WebUrl>,
}

impl Default for Global {
    fn default() -> Self {
        let document = yaml::parse("", "{}").expect("an empty mapping");
        Global::read(Some(document.root())).expect("nothing is left to be wrong")
    }
}

impl Global {
    /// Reads the section; one that is absent or empty has defaults alone.
    ///
    /// # Errors
    /// When a value is malformed, a key unknown, or two ways to give the same are both taken.
    pub fn read(value: Option<Value<'_>>) -> Result<Self, YamlError> {
        let empty = yaml::parse("", "{}")?;
        let value = value.unwrap_or_else(|| empty.root());
        let mut section = value.section("type config.plain")?;
        let global = Global::take(&mut section)?;
        global.check(&section)?;
        section.finish()?;
        Ok(global)
    }

    fn take(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(Global {
            resolve_timeout: section.get_or("resolve_timeout", Duration::from_ms(5 * 60_000))?,
            http_config: section.own_http_config()?.unwrap_or_default(),
            jira_api_url: section.get("jira_api_url")?,
            smtp: Smtp::read(section)?,
            slack: Slack::read(section)?,
            pagerduty_url: url(
                section,
                "pagerduty_url",
                "https://events.pagerduty.com/v2/enqueue",
            )?,
            opsgenie_api_url: url(section, "opsgenie_api_url", "https://api.opsgenie.com/")?,
            opsgenie_api_key: section.secret("opsgenie_api_key")?,
            opsgenie_api_key_file: section.path("opsgenie_api_key_file")?,
            wechat_api_url: url(section, "wechat_api_url", "https://qyapi.weixin.qq.com/cgi-bin/")?,
            wechat_api_secret: section.secret("wechat_api_secret")?,
            wechat_api_secret_file: section.path("wechat_api_secret_file")?,
            wechat_api_corp_id: section.text("wechat_api_corp_id")?,
            victorops_api_url: url(
                section,
                "victorops_api_url",
                "https://alert.victorops.com/integrations/generic/20131114/alert/",
            )?,
            victorops_api_key: section.secret("victorops_api_key")?,
            victorops_api_key_file: section.path("victorops_api_key_file")?,
            telegram_api_url: url(section, "telegram_api_url", "https://api.telegram.org")?,
            telegram_bot_token: section.secret("telegram_bot_token")?,
            telegram_bot_token_file: section.path("telegram_bot_token_file")?,
            webex_api_url: url(section, "webex_api_url", "https://webexapis.com/v1/messages")?,
            rocketchat_api_url: url(section, "rocketchat_api_url", "https://open.rocket.chat/")?,
            rocketchat_token: section.get("rocketchat_token")?,
            rocketchat_token_file: section.path("rocketchat_token_file")?,
            rocketchat_token_id: section.get("rocketchat_token_id")?,
            rocketchat_token_id_file: section.path("rocketchat_token_id_file")?,
            mattermost_webhook_url: section.get("mattermost_webhook_url")?,
            mattermost_webhook_url_file: section.path("mattermost_webhook_url_file")?,
        })
    }

    fn check(&self, section: &Section<'_>) -> Result<(), YamlError> {
        let slack = &self.slack;
        let has_app_token = !slack.app_token.is_empty() || is_named(&slack.app_token_file);
        let has_api_url = slack.api_url.is_some() || is_named(&slack.api_url_file);
        section.at_most_one([
            ("slack_app_token", !slack.app_token.is_empty()),
            ("slack_app_token_file", is_named(&slack.app_token_file)),
        ])?;
        section.at_most_one([
            ("slack_api_url", slack.api_url.is_some()),
            ("slack_api_url_file", is_named(&slack.api_url_file)),
        ])?;
        // Compat: the one address of the app may be given as the other, too, as it once had to be.
        let app_url = slack.app_url.as_ref().map_or("", WebUrl::as_str);
        let is_app = slack.api_url.as_ref().is_some_and(|url| url.reveal() == app_url);
        if has_app_token && has_api_url && !is_app {
            return Err(section.error(
                "at most one of slack_app_token/slack_app_token_file & slack_api_url/slack_api_url_file must be \
                 configured",
            ));
        }
        for (key, file_key, given, file) in self.given_or_in_files() {
            section.at_most_one([(key, given), (file_key, is_named(file))])?;
        }
        Ok(())
    }

    /// Secrets: their keys, those of their files, whether they are given, and the files.
    fn given_or_in_files(&self) -> [(&'static str, &'static str, bool, &Path); 9] {
        macro_rules! pair {
            ($key:literal, $file_key:literal, $given:expr, $file:expr) => {
                ($key, $file_key, $given, $file.as_path())
            };
        }
        let smtp = &self.smtp;
        [
            pair!(
                "opsgenie_api_key",
                "opsgenie_api_key_file",
                !self.opsgenie_api_key.is_empty(),
                self.opsgenie_api_key_file
            ),
            pair!(
                "victorops_api_key",
                "victorops_api_key_file",
                !self.victorops_api_key.is_empty(),
                self.victorops_api_key_file
            ),
            pair!(
                "telegram_bot_token",
                "telegram_bot_token_file",
                !self.telegram_bot_token.is_empty(),
                self.telegram_bot_token_file
            ),
            pair!(
                "smtp_auth_password",
                "smtp_auth_password_file",
                !smtp.auth_password.is_empty(),
                smtp.auth_password_file
            ),
            pair!(
                "rocketchat_token",
                "rocketchat_token_file",
                self.rocketchat_token.is_some(),
                self.rocketchat_token_file
            ),
            pair!(
                "rocketchat_token_id",
                "rocketchat_token_id_file",
                self.rocketchat_token_id.is_some(),
                self.rocketchat_token_id_file
            ),
            pair!(
                "smtp_auth_secret",
                "smtp_auth_secret_file",
                !smtp.auth_secret.is_empty(),
                smtp.auth_secret_file
            ),
            pair!(
                "wechat_api_secret",
                "wechat_api_secret_file",
                !self.wechat_api_secret.is_empty(),
                self.wechat_api_secret_file
            ),
            pair!(
                "mattermost_webhook_url",
                "mattermost_webhook_url_file",
                self.mattermost_webhook_url.is_some(),
                self.mattermost_webhook_url_file
            ),
        ]
    }

    /// Makes relative file names relative to `folder`, that of the configuration file: those of the HTTP client.
    pub fn resolve_paths(&mut self, folder: &Path) {
        self.http_config.resolve_paths(folder);
    }
}

fn url(
    section: &mut Section<'_>,
    key: &'static str,
    default: &'static str,
) -> Result<Option<WebUrl>, YamlError> {
    // Written as null it is none.
    match section.raw_value(key) {
        None => Ok(Some(WebUrl::fixed(default))),
        Some(value) if value.is_null() => Ok(None),
        Some(_) => section.get(key),
    }
}

impl Smtp {
    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(Smtp {
            from: section.text("smtp_from")?,
            hello: section.text_or("smtp_hello", "localhost")?,
            smarthost: section.get_or("smtp_smarthost", HostPort::default())?,
            auth_username: section.text("smtp_auth_username")?,
            auth_password: section.secret("smtp_auth_password")?,
            auth_password_file: section.path("smtp_auth_password_file")?,
            auth_secret: section.secret("smtp_auth_secret")?,
            auth_secret_file: section.path("smtp_auth_secret_file")?,
            auth_identity: section.text("smtp_auth_identity")?,
            require_tls: section.flag("smtp_require_tls", true)?,
            tls_config: section
                .value("smtp_tls_config")
                .map(TlsConfig::read)
                .transpose()?
                .unwrap_or_default(),
            force_implicit_tls: section.get("smtp_force_implicit_tls")?,
        })
    }
}

impl Slack {
    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(Slack {
            api_url: section.get("slack_api_url")?,
            api_url_file: section.path("slack_api_url_file")?,
            app_token: section.secret("slack_app_token")?,
            app_token_file: section.path("slack_app_token_file")?,
            app_url: url(section, "slack_app_url", "https://slack.com/api/chat.postMessage")?,
        })
    }
}
