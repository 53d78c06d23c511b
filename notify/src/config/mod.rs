//! `alertmanager.yml`, as Alertmanager 0.34 reads it: strictly, with the place of what is wrong, in the reference's words.
//!
//! Printed by [`Config::to_yaml`], it is what the reference shows in its status: defaults filled in, comments gone, secrets
//! hidden. `global`, `receivers` and `templates` are the room of receivers' to read.

mod expiry;
mod inhibit;
mod route;
mod tracing;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use model::go::Quoted;
use receivers::{Global, ReceiverConfig};
use serde::Serialize;
use yaml::{Section, Value, YamlError};

use crate::interval::NamedIntervals;
use crate::lease::HighAvailability;
use crate::matcher::Syntax;

pub use expiry::SilenceExpiryConfig;
pub use inhibit::InhibitRuleConfig;
pub use route::{GroupBy, RouteConfig};
pub use tracing::TracingConfig;

/// The whole file, in the order in which it is printed.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// What receivers leave open.
    pub global: Global,
    /// The root of the routing tree.
    pub route: RouteConfig,
    /// Alerts that inhibit others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inhibit_rules: Vec<InhibitRuleConfig>,
    /// Whom to tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<ReceiverConfig>,
    /// Patterns of template files.
    pub templates: Vec<PathBuf>,
    /// Intervals under the section's old name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mute_time_intervals: Vec<NamedIntervals>,
    /// Intervals that routes name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub time_intervals: Vec<NamedIntervals>,
    /// Where the reference sends traces of its own; read, and not acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingConfig>,
    /// Who of several servers sends; ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_availability: Option<HighAvailability>,
    /// Who is told that a silence is about to end; a key of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence_expiry: Option<SilenceExpiryConfig>,
}

impl Config {
    /// Reads the text of a file that is called `path`; relative file names in it are relative to its folder.
    ///
    /// # Errors
    /// When the text is not YAML, a value is malformed, a key unknown, or parts do not fit together.
    pub fn parse(path: &str, text: &str, syntax: Syntax) -> Result<Self, YamlError> {
        let document = yaml::parse(path, text)?;
        let mut config = Config::read(document.root(), syntax)?;
        config.resolve_paths(Path::new(path).parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Reads the file's outermost value, leaving file names as they are.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn read(value: Value<'_>, syntax: Syntax) -> Result<Self, YamlError> {
        if value.is_null() {
            return Err(value.error("no route provided in config"));
        }
        let mut section = value.section("type config.plain")?;
        let global = Global::read(section.value("global"))?;
        let receivers = section.list("receivers", |value| ReceiverConfig::read(value, &global))?;
        let names = unique(
            &section,
            "receivers",
            receivers.iter().map(|receiver| receiver.name.as_str()),
            |name| format!("notification config name {} is not unique", Quoted(name)),
        )?;
        let route = section
            .value("route")
            .map(|value| RouteConfig::read(value, syntax))
            .transpose()?;
        let inhibit_rules = section.list("inhibit_rules", |value| InhibitRuleConfig::read(value, syntax))?;
        let templates = section.get_or("templates", Vec::<String>::new())?;
        let old = section.list("mute_time_intervals", |value| {
            NamedIntervals::read(value, "mute time interval")
        })?;
        let new = section.list("time_intervals", |value| {
            NamedIntervals::read(value, "time interval")
        })?;
        let tracing = section.value("tracing").map(TracingConfig::read).transpose()?;
        event_recorder(&mut section)?;
        let high_availability = section
            .value("high_availability")
            .map(HighAvailability::read)
            .transpose()?;
        let silence_expiry = section
            .value("silence_expiry")
            .map(|value| SilenceExpiryConfig::read(value, &names))
            .transpose()?;
        let route = route.ok_or_else(|| section.error("no routes provided"))?;
        route.check_root(&section)?;
        let root = section.value("route").expect("read above");
        route.check_receivers(root, &names)?;
        let intervals = interval_names(&section, &old, &new)?;
        route.check_intervals(root, &intervals)?;
        if route.continues {
            let message = "cannot have continue in root route";
            return Err(root.entry("continue").unwrap_or(root).error(message));
        }
        section.finish()?;
        Ok(Config {
            global,
            route,
            inhibit_rules,
            receivers,
            templates: templates.into_iter().map(PathBuf::from).collect(),
            mute_time_intervals: old,
            time_intervals: new,
            tracing,
            high_availability,
            silence_expiry,
        })
    }

    /// Makes relative file names relative to `folder`, that of the file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        self.global.resolve_paths(folder);
        if let Some(high_availability) = &mut self.high_availability {
            high_availability.resolve_paths(folder);
        }
        for receiver in &mut self.receivers {
            receiver.resolve_paths(folder);
        }
        for pattern in &mut self.templates {
            if !pattern.as_os_str().is_empty() && pattern.is_relative() {
                *pattern = folder.join(&*pattern);
            }
        }
    }

    /// The text that the reference shows as its configuration.
    pub fn to_yaml(&self) -> String {
        match yaml::to_string(self) {
            Ok(printed) => yaml::with_single_quotes(&printed),
            Err(error) => format!("<error creating config string: {error}>"),
        }
    }
}

/// The names of a list's elements.
///
/// # Errors
/// When one stands twice; `complaint` makes the message.
fn unique<'n>(
    section: &Section<'_>,
    key: &str,
    names: impl Iterator<Item = &'n str>,
    complaint: impl Fn(&str) -> String,
) -> Result<BTreeSet<&'n str>, YamlError> {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            return Err(section.error_at_item(key, index, complaint(name)));
        }
    }
    Ok(seen)
}

/// The names that routes may use for intervals, of both sections.
fn interval_names<'n>(
    section: &Section<'_>,
    old: &'n [NamedIntervals],
    new: &'n [NamedIntervals],
) -> Result<BTreeSet<&'n str>, YamlError> {
    let names = |list: &'n [NamedIntervals]| list.iter().map(|named| named.name.as_str());
    let mut all = unique(section, "mute_time_intervals", names(old), |name| {
        format!("mute time interval {} is not unique", Quoted(name))
    })?;
    for (index, name) in names(new).enumerate() {
        if !all.insert(name) {
            let message = format!("time interval {} is not unique", Quoted(name));
            return Err(section.error_at_item("time_intervals", index, message));
        }
    }
    Ok(all)
}

/// The reference's recorder of events is an experiment that is off unless a flag asks for it; its section is taken and
/// not looked into.
fn event_recorder(section: &mut Section<'_>) -> Result<(), YamlError> {
    let Some(value) = section.value("event_recorder") else {
        return Ok(());
    };
    let mut section = value.section("type eventrecorder.Config")?;
    for key in [
        "file_outputs",
        "webhook_outputs",
        "kafka_outputs",
        "stdout_outputs",
    ] {
        section.value(key).map(|list| list.sequence()).transpose()?;
    }
    section.finish()
}
