//! `static_configs`: targets that the configuration itself lists; the form that `file_sd_configs` files have too.

use std::collections::BTreeMap;

use model::labels::{LabelTooLong, Labels, is_legacy_label_name};
use serde::Serialize;
use yaml::{Value, YamlError};

use crate::TargetGroup;

/// Listed targets and the labels they share.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StaticConfig {
    /// Addresses, `host:port` as a rule.
    pub targets: Vec<String>,
    /// Labels of all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl StaticConfig {
    /// Reads one group.
    ///
    /// # Errors
    /// When a key is unknown, a label name is empty, or a text is longer than a label can hold.
    pub fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("a target group")?;
        let config = StaticConfig {
            targets: section.get_or("targets", Vec::new())?,
            labels: section.get_or("labels", BTreeMap::new())?,
        };
        // Compat: any UTF-8 text but the empty one is a label name since 3.0.
        if config
            .labels
            .keys()
            .any(|name| name.is_empty() && !is_legacy_label_name(name))
        {
            return Err(section.error_at("labels", r#""" is not a valid label name"#));
        }
        for target in &config.targets {
            LabelTooLong::check("__address__", target).map_err(|error| section.error_at("targets", error))?;
        }
        for (name, value) in &config.labels {
            LabelTooLong::check(name, value).map_err(|error| section.error_at("labels", error))?;
        }
        section.finish()?;
        Ok(config)
    }

    /// The group, under the name of its source.
    pub fn group(&self, source: String) -> TargetGroup {
        TargetGroup {
            source,
            targets: self
                .targets
                .iter()
                .map(|target| Labels::from_pairs([("__address__", target)]))
                .collect(),
            labels: Labels::from_pairs(&self.labels),
        }
    }
}
