//! The table of kinds, and one entry of `receivers:`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use httpclient::HttpClientConfig;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use yaml::{Secret, Section, Value, YamlError};

use crate::global::Global;
use crate::integration::{Setup, Unbuilt};
use crate::receiver::Receiver;
use crate::{
    discord, email, incidentio, jira, mattermost, msteams, msteamsv2, opsgenie, pagerduty, pushover,
    rocketchat, slack, sns, telegram, victorops, webex, webhook, wechat,
};

/// A kind of receiver: one entry of its list in the configuration, and what sends by it.
///
/// An implementation is one file. Reading the list, unknown keys, paths, printing and trying again come from the table
/// and from [`crate::deliver`].
pub(crate) trait Kind: Clone + fmt::Debug + PartialEq + Serialize + Send + Sync + 'static {
    /// The name in metrics and in the log of notifications; the list's key is this and `_configs`.
    const NAME: &'static str;
    /// What the section is called in errors.
    const WHAT: &'static str;
    /// The complaint about an entry that is nothing at all; empty where that is as good as one without keys.
    const MISSING: &'static str;

    /// Takes the keys of one entry, and what it leaves open from the global section. Unknown keys are refused by whoever
    /// calls.
    ///
    /// # Errors
    /// When a value is malformed or missing, or settings contradict each other.
    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError>;

    /// Whether it is told of resolved alerts.
    fn send_resolved(&self) -> bool;

    /// The settings of its HTTP client, whose paths are the configuration's.
    fn http_config(&mut self) -> Option<&mut HttpClientConfig>;

    /// Secrets that are templates, by their keys; those in files are not known yet.
    fn secret_templates(&self) -> Vec<(&'static str, &Secret)> {
        Vec::new()
    }

    /// The key whose text is for HTML.
    fn html_key(&self) -> Option<&'static str> {
        None
    }

    /// Builds what sends.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt>;
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct KindOfReceiver {
    /// The name in metrics and in the log of notifications: `webhook`.
    pub name: &'static str,
    /// The list's key: `webhook_configs`.
    pub key: &'static str,
    read: fn(Value<'_>, &Global) -> Result<Entry, YamlError>,
}

/// Makes the enum of all kinds and the table.
macro_rules! kinds {
    ($($key:literal $variant:ident($config:ty),)*) => {
        /// One entry.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum Entry {
            $($variant(Box<$config>),)*
        }

        /// All kinds, in the order in which a configuration is printed.
        pub const KINDS: &[KindOfReceiver] = &[$(KindOfReceiver {
            name: <$config as Kind>::NAME,
            key: $key,
            read: |value, global| Ok(Entry::$variant(Box::new(read_entry::<$config>(value, global)?))),
        },)*];

        impl Entry {
            pub(crate) fn name(&self) -> &'static str {
                match self { $(Entry::$variant(_) => <$config as Kind>::NAME,)* }
            }

            pub(crate) fn send_resolved(&self) -> bool {
                match self { $(Entry::$variant(config) => config.send_resolved(),)* }
            }

            fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
                match self { $(Entry::$variant(config) => config.http_config(),)* }
            }

            pub(crate) fn secret_templates(&self) -> Vec<(&'static str, &Secret)> {
                match self { $(Entry::$variant(config) => config.secret_templates(),)* }
            }

            pub(crate) fn html_key(&self) -> Option<&'static str> {
                match self { $(Entry::$variant(config) => config.html_key(),)* }
            }

            pub(crate) fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
                match self { $(Entry::$variant(config) => config.build(setup),)* }
            }
        }

        impl Serialize for Entry {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Entry::$variant(config) => config.serialize(serializer),)* }
            }
        }
    };
}

// Adding a kind is one line here and one file.
kinds! {
    "discord_configs" Discord(discord::DiscordConfig),
    "email_configs" Email(email::EmailConfig),
    "incidentio_configs" IncidentIo(incidentio::IncidentIoConfig),
    "pagerduty_configs" PagerDuty(pagerduty::PagerDutyConfig),
    "slack_configs" Slack(slack::SlackConfig),
    "webhook_configs" Webhook(webhook::WebhookConfig),
    "opsgenie_configs" OpsGenie(opsgenie::OpsGenieConfig),
    "wechat_configs" WeChat(wechat::WeChatConfig),
    "pushover_configs" Pushover(pushover::PushoverConfig),
    "victorops_configs" VictorOps(victorops::VictorOpsConfig),
    "sns_configs" Sns(sns::SnsConfig),
    "telegram_configs" Telegram(telegram::TelegramConfig),
    "webex_configs" Webex(webex::WebexConfig),
    "msteams_configs" MsTeams(msteams::MsTeamsConfig),
    "msteamsv2_configs" MsTeamsV2(msteamsv2::MsTeamsV2Config),
    "jira_configs" Jira(jira::JiraConfig),
    "rocketchat_configs" RocketChat(rocketchat::RocketChatConfig),
    "mattermost_configs" Mattermost(mattermost::MattermostConfig),
}

fn read_entry<K: Kind>(value: Value<'_>, global: &Global) -> Result<K, YamlError> {
    if value.is_null() && !K::MISSING.is_empty() {
        return Err(value.error(K::MISSING));
    }
    let mut section = value.section(K::WHAT)?;
    let config = K::read(&mut section, global)?;
    section.finish()?;
    Ok(config)
}

/// One entry of `receivers:`: a name, and whom to tell. Printed, it is the entry with defaults filled in and secrets
/// hidden.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiverConfig {
    /// The name that routes refer to.
    pub name: String,
    /// What receivers are searched by; `name` is among them.
    pub labels: BTreeMap<String, String>,
    /// In the order of the table, within a kind in that of the file.
    entries: Vec<Entry>,
}

impl ReceiverConfig {
    /// Reads an entry; what it leaves open comes from `global`.
    ///
    /// # Errors
    /// When a value is malformed or missing, settings contradict each other, or a key is unknown.
    pub fn read(value: Value<'_>, global: &Global) -> Result<Self, YamlError> {
        let mut section = value.section("type config.plain")?;
        let name: String = section.get_or("name", String::new())?;
        let mut labels: BTreeMap<String, String> = section.get_or("labels", BTreeMap::new())?;
        let mut entries = Vec::new();
        for kind in KINDS {
            entries.extend(section.list(kind.key, |value| (kind.read)(value, global))?);
        }
        if name.is_empty() {
            return Err(section.error("missing name in receiver"));
        }
        if let Some(other) = labels.get("name").filter(|other| **other != name) {
            let message = format!("receiver label \"name\" must match receiver name {name:?}, got {other:?}");
            return Err(section.error_at("labels", message));
        }
        labels.insert("name".to_owned(), name.clone());
        section.finish()?;
        Ok(ReceiverConfig {
            name,
            labels,
            entries,
        })
    }

    /// Kinds of what it tells, in the order of its entries: `email`, `webhook`.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(Entry::name)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Makes relative file names relative to `folder`, that of the configuration file.
    ///
    /// Compat: those of HTTP clients alone; files of secrets that a receiver names itself are relative to where the server
    /// runs, as in the reference.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for entry in &mut self.entries {
            if let Some(http) = entry.http_config() {
                http.resolve_paths(folder);
            }
        }
    }
}

impl Serialize for ReceiverConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("labels", &self.labels)?;
        for kind in KINDS {
            let list: Vec<&Entry> = self
                .entries
                .iter()
                .filter(|entry| entry.name() == kind.name)
                .collect();
            if !list.is_empty() {
                map.serialize_entry(kind.key, &list)?;
            }
        }
        map.end()
    }
}
