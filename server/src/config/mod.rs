//! The configuration file: what is in it, how it is read, and the text that says what counts.
//!
//! This module puts the sections together; each section's keys, defaults and messages live in the room that they
//! steer. `parse` reads a text, [`load_file`] a file and every scrape configuration file that it names. Nothing is
//! applied here: a configuration that does not load leaves everything as it was.

mod expand;
mod global;
mod load;
mod storage;
mod unserved;
mod watch;
pub(crate) mod web;

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

use notify::AlertingConfig;
use remote::otlp::OtlpConfig;
use scraper::ScrapeConfig;
use serde::Serialize;
use yaml::{Document, Section, Value, YamlError};

pub(crate) use global::{GlobalConfig, RuntimeConfig};
pub(crate) use load::{
    ConfigError, LoadOptions, Loaded, Warning, load_default, load_file, read_aggregation, read_alertmanager,
    read_file,
};
pub(crate) use storage::StorageConfig;
pub(crate) use unserved::UnservedSections;
pub(crate) use watch::fingerprint;

/// A configuration file, everything it left out filled in. It serialises in the reference's order of keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Config {
    /// `global`
    pub(crate) global: GlobalConfig,
    /// `runtime`
    pub(crate) runtime: RuntimeConfig,
    /// `alerting`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) alerting: AlertingConfig,
    /// `rule_files`: patterns
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rule_files: Vec<String>,
    /// `scrape_config_files`: patterns
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) scrape_config_files: Vec<String>,
    /// `scrape_configs` of the file itself; [`Loaded::jobs`] has those of the other files too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) scrape_configs: Vec<ScrapeConfig>,
    /// `storage`
    pub(crate) storage: StorageConfig,
    /// Sections that are read and checked, but not served.
    #[serde(flatten)]
    pub(crate) unserved: UnservedSections,
    /// `otlp`
    pub(crate) otlp: OtlpConfig,
    /// `aggregation`: how samples are thinned before they are stored; ours.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) aggregation: aggregate::Config,
    /// `alertmanager`: what one inside is to do; ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alertmanager: Option<AlertmanagerSection>,
}

/// The content of an Alertmanager's configuration file, as a section.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct AlertmanagerSection(pub(crate) notify::config::Config);

/// Two are equal that read the same.
impl PartialEq for AlertmanagerSection {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_yaml() == other.0.to_yaml()
    }
}

impl AlertmanagerSection {
    /// Reads the section, where there is one.
    fn read(section: &mut Section<'_>, options: &LoadOptions<'_>) -> Result<Option<Self>, YamlError> {
        const KEY: &str = "alertmanager";
        let Some(value) = section.value(KEY) else {
            return Ok(None);
        };
        if options.alertmanager_file.is_some() {
            let error = section.error_at(
                KEY,
                "the Alertmanager is configured here and in a file of its own",
            );
            return Err(error.with_help("keep this section, or --alertmanager.config.file"));
        }
        let config = notify::config::Config::read(value, notify::matcher::Syntax::default())?;
        Ok(Some(AlertmanagerSection(config)))
    }
}

/// Reads and checks the text of a configuration; `name` is what errors call it. Paths stay as they are written, and no
/// file is looked at.
///
/// # Errors
/// The first thing that is wrong, with its place.
#[cfg(test)]
pub(crate) fn parse(name: &str, text: &str) -> Result<(Config, Vec<Warning>), YamlError> {
    Config::read(&yaml::parse(name, text)?, &LoadOptions::default())
}

impl Config {
    /// Reads a whole document.
    fn read(document: &Document, options: &LoadOptions<'_>) -> Result<(Self, Vec<Warning>), YamlError> {
        let mut section = document.root().section("the configuration")?;
        let mut warnings = Vec::new();
        let global = match section.value("global") {
            Some(value) => GlobalConfig::read(value, options, &mut warnings)?,
            None => GlobalConfig::default().with_features(options, false),
        };
        let scheme = global.scrape.metric_name_validation_scheme;
        let config = Config {
            runtime: section
                .value("runtime")
                .map(RuntimeConfig::read)
                .transpose()?
                .unwrap_or_default(),
            alerting: match section.value("alerting") {
                Some(value) => AlertingConfig::read(value, scheme)?,
                None => AlertingConfig::default(),
            },
            rule_files: patterns(&mut section, "rule_files", "rule")?,
            scrape_config_files: patterns(&mut section, "scrape_config_files", "scrape config")?,
            scrape_configs: ScrapeConfig::read_list(&mut section, &global.scrape)?,
            storage: section
                .value("storage")
                .map(StorageConfig::read)
                .transpose()?
                .unwrap_or_default(),
            unserved: UnservedSections::read(&mut section, scheme)?,
            otlp: match section.value("otlp") {
                Some(value) => OtlpConfig::read(value, scheme)?,
                None => OtlpConfig::default(),
            },
            aggregation: match section.value("aggregation") {
                Some(value) => aggregate::Config::read(value)?,
                None => aggregate::Config::default(),
            },
            alertmanager: AlertmanagerSection::read(&mut section, options)?,
            global,
        };
        if options.agent_mode {
            config.check_agent_mode(&section)?;
        }
        section.finish()?;
        Ok((config, warnings))
    }

    /// Sections that are configured and that this version does not serve.
    pub(crate) fn unserved(&self) -> Vec<&'static str> {
        let mut sections = self.unserved.unserved();
        if self.runtime != RuntimeConfig::default() {
            sections.push("runtime");
        }
        sections
    }

    /// An agent scrapes and sends on; it neither evaluates nor alerts nor reads.
    fn check_agent_mode(&self, section: &Section<'_>) -> Result<(), YamlError> {
        let refused = [
            ("alerting", self.alerting != AlertingConfig::default()),
            ("alertmanager", self.alertmanager.is_some()),
            ("rule_files", !self.rule_files.is_empty()),
            ("remote_read", !self.unserved.remote_read.is_empty()),
        ];
        match refused.iter().find(|(_, there)| *there) {
            Some((key, _)) => {
                Err(section.error_at(key, format_args!("field {key} is not allowed in agent mode")))
            }
            None => Ok(()),
        }
    }

    /// The configuration as text, with all defaults and without secrets, in the reference's layout.
    pub(crate) fn to_yaml(&self) -> String {
        // Text for people: what cannot be shown must not keep a configuration from counting.
        yaml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}

/// Reads a list of path patterns.
fn patterns(section: &mut Section<'_>, key: &'static str, what: &str) -> Result<Vec<String>, YamlError> {
    section.list(key, |value: Value<'_>| {
        let pattern = <String as yaml::FromYaml>::from_yaml(value)?;
        if is_valid_pattern(&pattern) {
            Ok(pattern)
        } else {
            let error = value.error(format_args!("invalid {what} file path {pattern:?}"));
            Err(error.with_help("a `*` may stand only in the last part of a path"))
        }
    })
}

/// A star may stand in the last part only.
fn is_valid_pattern(pattern: &str) -> bool {
    pattern
        .split_once('*')
        .is_none_or(|(_, behind)| !behind.contains('/'))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
