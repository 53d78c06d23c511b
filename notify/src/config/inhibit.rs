//! Inhibition rules as they are written.

use std::collections::BTreeMap;

use model::go::Quoted;
use serde::Serialize;
use yaml::{Value, YamlError};

use super::route::{all_matchers, equals, matchers, patterns};
use crate::matcher::{Matchers, Syntax};

/// A rule: alerts like the source inhibit alerts like the target. In the order of printing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InhibitRuleConfig {
    /// What it is called; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Labels of the source and their values: the old way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source_match: BTreeMap<String, String>,
    /// Labels of the source and patterns: the old way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source_match_re: BTreeMap<String, String>,
    /// What the source is like.
    #[serde(skip_serializing_if = "Matchers::is_empty")]
    pub source_matchers: Matchers,
    /// Labels of the target and their values: the old way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target_match: BTreeMap<String, String>,
    /// Labels of the target and patterns: the old way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target_match_re: BTreeMap<String, String>,
    /// What the target is like.
    #[serde(skip_serializing_if = "Matchers::is_empty")]
    pub target_matchers: Matchers,
    /// Labels whose values both must have in common.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub equal: Vec<String>,
}

impl InhibitRuleConfig {
    /// Reads a rule.
    ///
    /// # Errors
    /// When a value is malformed or a key unknown.
    pub fn read(value: Value<'_>, syntax: Syntax) -> Result<Self, YamlError> {
        let mut section = value.section("type common.plain")?;
        let rule = InhibitRuleConfig {
            name: section.get_or("name", String::new())?,
            source_match: equals(&mut section, "source_match")?,
            source_match_re: patterns(&mut section, "source_match_re")?,
            source_matchers: matchers(&mut section, "source_matchers", syntax)?,
            target_match: equals(&mut section, "target_match")?,
            target_match_re: patterns(&mut section, "target_match_re")?,
            target_matchers: matchers(&mut section, "target_matchers", syntax)?,
            equal: section.get_or("equal", Vec::new())?,
        };
        if let Some(index) = rule.equal.iter().position(|name| !syntax.is_label_name(name)) {
            let message = format!("invalid label name {} in equal list", Quoted(&rule.equal[index]));
            return Err(section.error_at_item("equal", index, message));
        }
        section.finish()?;
        Ok(rule)
    }

    /// What the source is like, in all three ways of writing it.
    pub(crate) fn source(&self) -> Matchers {
        all_matchers(&self.source_match, &self.source_match_re, &self.source_matchers)
    }

    /// What the target is like, in all three ways of writing it.
    pub(crate) fn target(&self) -> Matchers {
        all_matchers(&self.target_match, &self.target_match_re, &self.target_matchers)
    }
}
