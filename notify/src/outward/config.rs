//! The `alerting` section.

use std::path::Path;

use discovery::Mechanisms;
use httpclient::HttpClientConfig;
use model::labels::NameScheme;
use model::relabel::RelabelRule;
use serde::Serialize;
use yaml::{Duration, Section, Value, YamlError};

const DEFAULT_TIMEOUT: Duration = Duration::from_ms(10_000);

/// Where alerts go.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AlertingConfig {
    /// Rules that every alert passes before it is sent anywhere.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "yaml::relabel_rules_to_yaml"
    )]
    pub alert_relabel_configs: Vec<RelabelRule>,
    /// Alertmanagers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alertmanagers: Vec<AlertmanagerConfig>,
    /// Plain webhooks: an addition of ours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookConfig>,
}

/// A set of Alertmanagers that share settings; the fields are in the order in which the reference prints them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertmanagerConfig {
    /// Credentials and certificates.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// `http` or `https`.
    pub scheme: String,
    /// Stands in front of `/api/v2/alerts`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    /// How long one request may take.
    pub timeout: Duration,
    /// Always `v2`.
    pub api_version: String,
    /// Rules that the Alertmanagers' own labels pass.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "yaml::relabel_rules_to_yaml"
    )]
    pub relabel_configs: Vec<RelabelRule>,
    /// Rules that alerts pass before they are sent to this set.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "yaml::relabel_rules_to_yaml"
    )]
    pub alert_relabel_configs: Vec<RelabelRule>,
    /// Where they are.
    #[serde(flatten)]
    pub discovery: Mechanisms,
}

/// An HTTP endpoint that is told each change of an alert once, in the form of the Alertmanager's webhook receiver.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebhookConfig {
    /// Where to.
    pub url: String,
    /// How long one request may take.
    pub timeout: Duration,
    /// Tell when an alert is resolved.
    pub send_resolved: bool,
    /// Credentials and certificates.
    #[serde(flatten)]
    pub http: HttpClientConfig,
}

impl AlertingConfig {
    /// Reads the section; `scheme` says which names labels may have.
    ///
    /// # Errors
    /// When a value is malformed or a key unknown.
    pub fn read(value: Value<'_>, scheme: NameScheme) -> Result<Self, YamlError> {
        let mut section = value.section("alerting")?;
        let config = AlertingConfig {
            alert_relabel_configs: rules(&mut section, "empty or null alert relabeling rule", scheme)?,
            alertmanagers: section.list("alertmanagers", |value| AlertmanagerConfig::read(value, scheme))?,
            webhooks: section.list("webhooks", WebhookConfig::read)?,
        };
        section.finish()?;
        Ok(config)
    }

    /// Makes relative file names relative to `folder`, that of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for alertmanager in &mut self.alertmanagers {
            alertmanager.http.resolve_paths(folder);
            alertmanager.discovery.resolve_paths(folder);
        }
        for webhook in &mut self.webhooks {
            webhook.http.resolve_paths(folder);
        }
    }
}

fn rules(
    section: &mut Section<'_>,
    on_null: &str,
    scheme: NameScheme,
) -> Result<Vec<RelabelRule>, YamlError> {
    yaml::relabel_rules(section, "alert_relabel_configs", on_null, scheme)
}

impl AlertmanagerConfig {
    fn read(value: Value<'_>, scheme: NameScheme) -> Result<Self, YamlError> {
        let mut section = value.section("alertmanagers")?;
        let api_version: String = section.get_or("api_version", "v2".to_owned())?;
        if api_version != "v2" {
            let message =
                format!("expected Alertmanager api version to be one of [v2] but got {api_version}");
            return Err(section.error_at("api_version", message));
        }
        let relabel_configs = yaml::relabel_rules(
            &mut section,
            "relabel_configs",
            "empty or null Alertmanager target relabeling rule",
            scheme,
        )?;
        let config = AlertmanagerConfig {
            scheme: section.get_or("scheme", "http".to_owned())?,
            path_prefix: section.get_or("path_prefix", String::new())?,
            timeout: section.get_or("timeout", DEFAULT_TIMEOUT)?,
            api_version,
            http: HttpClientConfig::read(&mut section)?,
            discovery: Mechanisms::read(&mut section)?,
            relabel_configs,
            alert_relabel_configs: rules(
                &mut section,
                "empty or null Alertmanager alert relabeling rule",
                scheme,
            )?,
        };
        // Without rules that could repair it, a malformed address is an error at once.
        if config.relabel_configs.is_empty() {
            Mechanisms::check_addresses(&section)?;
        }
        section.finish()?;
        Ok(config)
    }
}

impl WebhookConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("webhooks")?;
        let Some(url) = section.get::<String>("url")? else {
            return Err(section.error("url of the webhook is missing"));
        };
        match url::Url::parse(&url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => {}
            Ok(_) => return Err(section.error_at("url", "URL scheme must be 'http' or 'https'")),
            Err(error) => return Err(section.error_at("url", format!("invalid URL: {error}"))),
        }
        let config = WebhookConfig {
            url,
            timeout: section.get_or("timeout", DEFAULT_TIMEOUT)?,
            send_resolved: section.get_or("send_resolved", true)?,
            http: HttpClientConfig::read(&mut section)?,
        };
        section.finish()?;
        Ok(config)
    }
}
