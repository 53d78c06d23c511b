//! The `otlp` section.

use std::collections::BTreeSet;

use model::labels::NameScheme;
use serde::Serialize;
use yaml::{Section, Value, YamlError};

use super::is_off;

/// How OTLP names become metric names; the first is the default. Those that start with `No` keep UTF-8.
const TRANSLATION_STRATEGIES: [&str; 4] = [
    "UnderscoreEscapingWithSuffixes",
    "UnderscoreEscapingWithoutSuffixes",
    "NoUTF8EscapingWithSuffixes",
    "NoTranslation",
];

/// `otlp`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct OtlpConfig {
    #[serde(skip_serializing_if = "is_off")]
    promote_all_resource_attributes: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    promote_resource_attributes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignore_resource_attributes: Vec<String>,
    translation_strategy: String,
    #[serde(skip_serializing_if = "is_off")]
    keep_identifying_resource_attributes: bool,
    #[serde(skip_serializing_if = "is_off")]
    convert_histograms_to_nhcb: bool,
    #[serde(skip_serializing_if = "is_off")]
    promote_scope_metadata: bool,
    #[serde(skip_serializing_if = "is_off")]
    label_name_underscore_sanitization: bool,
    #[serde(skip_serializing_if = "is_off")]
    label_name_preserve_multiple_underscores: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        OtlpConfig {
            promote_all_resource_attributes: false,
            promote_resource_attributes: Vec::new(),
            ignore_resource_attributes: Vec::new(),
            translation_strategy: TRANSLATION_STRATEGIES[0].to_owned(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

impl OtlpConfig {
    pub(super) fn read(value: Value<'_>, scheme: NameScheme) -> Result<Self, YamlError> {
        let mut section = value.section("otlp")?;
        let defaults = OtlpConfig::default();
        let mut switch = |key, default| section.get_or(key, default);
        let config = OtlpConfig {
            promote_all_resource_attributes: switch("promote_all_resource_attributes", false)?,
            keep_identifying_resource_attributes: switch("keep_identifying_resource_attributes", false)?,
            convert_histograms_to_nhcb: switch("convert_histograms_to_nhcb", false)?,
            promote_scope_metadata: switch("promote_scope_metadata", false)?,
            label_name_underscore_sanitization: switch("label_name_underscore_sanitization", true)?,
            label_name_preserve_multiple_underscores: switch(
                "label_name_preserve_multiple_underscores",
                true,
            )?,
            promote_resource_attributes: section.get_or("promote_resource_attributes", Vec::new())?,
            ignore_resource_attributes: section.get_or("ignore_resource_attributes", Vec::new())?,
            translation_strategy: section
                .get::<String>("translation_strategy")?
                .filter(|strategy| !strategy.is_empty())
                .unwrap_or(defaults.translation_strategy),
        };
        config.check(&section, scheme)?;
        section.finish()?;
        Ok(config)
    }

    fn check(&self, section: &Section<'_>, scheme: NameScheme) -> Result<(), YamlError> {
        let strategy = self.translation_strategy.as_str();
        if !TRANSLATION_STRATEGIES.contains(&strategy) {
            let message = format!("unsupported OTLP translation strategy {strategy:?}");
            return Err(section.error_at("translation_strategy", message));
        }
        if strategy.starts_with("No") && scheme == NameScheme::Legacy {
            let message =
                format!("OTLP translation strategy {strategy:?} is not allowed when UTF8 is disabled");
            return Err(section.error_at("translation_strategy", message));
        }
        let all = self.promote_all_resource_attributes;
        if all && !self.promote_resource_attributes.is_empty() {
            let message = "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured \
                           simultaneously";
            return Err(section.error_at("promote_resource_attributes", message));
        }
        if !all && !self.ignore_resource_attributes.is_empty() {
            let message = "'ignore_resource_attributes' cannot be configured unless \
                           'promote_all_resource_attributes' is true";
            return Err(section.error_at("ignore_resource_attributes", message));
        }
        check_attributes(
            section,
            "ignore_resource_attributes",
            &self.ignore_resource_attributes,
            "ignored",
        )?;
        check_attributes(
            section,
            "promote_resource_attributes",
            &self.promote_resource_attributes,
            "promoted",
        )
    }
}

fn check_attributes(
    section: &Section<'_>,
    key: &str,
    attributes: &[String],
    word: &str,
) -> Result<(), YamlError> {
    let mut seen = BTreeSet::new();
    for attribute in attributes.iter().map(|attribute| attribute.trim()) {
        let problem = if attribute.is_empty() {
            format!("empty {word} OTel resource attribute")
        } else if !seen.insert(attribute) {
            format!("duplicated {word} OTel resource attribute {attribute:?}")
        } else {
            continue;
        };
        return Err(section.error_at(key, format_args!("invalid '{key}': {problem}")));
    }
    Ok(())
}
