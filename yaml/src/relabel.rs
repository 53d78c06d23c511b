//! Relabelling rules, which every section that carries them writes alike.

use model::labels::NameScheme;
use model::nearest::nearest;
use model::relabel::{RelabelAction, RelabelConfig, RelabelError, RelabelRule};
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_yaml::FlowSeq;

use crate::convert::FromYaml as _;
use crate::error::YamlError;
use crate::node::Value;
use crate::section::Section;

/// Reads the list of rules at `key`. `on_null` is the message for an element that is empty; `scheme` says which names
/// labels may have.
///
/// # Errors
/// When a rule is malformed or makes no sense; the error stands at the rule's offending value where there is one.
pub fn relabel_rules(
    section: &mut Section<'_>,
    key: &'static str,
    on_null: &str,
    scheme: NameScheme,
) -> Result<Vec<RelabelRule>, YamlError> {
    section.list(key, |value| {
        if value.is_null() {
            Err(value.error(on_null))
        } else {
            read_rule(value, scheme)
        }
    })
}

fn read_rule(value: Value<'_>, scheme: NameScheme) -> Result<RelabelRule, YamlError> {
    let mut section = value.section("a relabeling rule")?;
    let defaults = RelabelConfig::default();
    let action = match section.raw_value("action") {
        None => defaults.action,
        Some(written) => match written.scalar().map_or("", |scalar| scalar.text.as_str()) {
            _ if written.is_null() => {
                return Err(section.error_at("action", "relabel action cannot be empty"));
            }
            "" => return Err(written.error("relabel action cannot be empty")),
            word => word.parse::<RelabelAction>().map_err(|error| {
                let error = written.error(error);
                match nearest(word, RelabelAction::ALL.map(RelabelAction::as_str)) {
                    Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
                    None => error,
                }
            })?,
        },
    };
    let config = RelabelConfig {
        source_labels: section.get_or("source_labels", defaults.source_labels)?,
        separator: section.get_or("separator", defaults.separator)?,
        // Compat: a null expression is the empty one, not the default.
        regex: match section.raw_value("regex") {
            Some(written) => Some(String::from_yaml(written)?),
            None => None,
        },
        modulus: section.get_or("modulus", defaults.modulus)?,
        target_label: section.get_or("target_label", defaults.target_label)?,
        replacement: section.get_or("replacement", defaults.replacement)?,
        action,
    };
    let rule = RelabelRule::new(config, scheme).map_err(|error| section.error_at(place_of(&error), error))?;
    section.finish()?;
    Ok(rule)
}

/// The key whose value an error speaks of.
fn place_of(error: &RelabelError) -> &'static str {
    match error {
        RelabelError::Regex(_) => "regex",
        RelabelError::InvalidSourceLabel { .. } => "source_labels",
        RelabelError::InvalidTarget { .. } => "target_label",
        RelabelError::InvalidReplacement { .. } | RelabelError::ReplacementNotAllowed { .. } => "replacement",
        _ => "action",
    }
}

/// Writes rules as the reference prints them; for `#[serde(serialize_with)]`.
///
/// # Errors
/// Those of the serialiser.
pub fn relabel_rules_to_yaml<S: Serializer>(rules: &[RelabelRule], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(rules.len()))?;
    for rule in rules {
        list.serialize_element(&Written(rule.config()))?;
    }
    list.end()
}

struct Written<'r>(&'r RelabelConfig);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rule = self.0;
        let mut map = serializer.serialize_struct("RelabelConfig", 7)?;
        if !rule.source_labels.is_empty() {
            map.serialize_field("source_labels", &FlowSeq(&rule.source_labels))?;
        }
        map.serialize_field("separator", &rule.separator)?;
        if let Some(regex) = &rule.regex {
            map.serialize_field("regex", regex)?;
        }
        if rule.modulus != 0 {
            map.serialize_field("modulus", &rule.modulus)?;
        }
        if !rule.target_label.is_empty() {
            map.serialize_field("target_label", &rule.target_label)?;
        }
        map.serialize_field("replacement", &rule.replacement)?;
        map.serialize_field("action", rule.action.as_str())?;
        map.end()
    }
}
