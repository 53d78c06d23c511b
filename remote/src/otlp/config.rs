//! The `otlp` section.

use std::collections::BTreeSet;

use model::labels::NameScheme;
use serde::{Serialize, Serializer};
use yaml::{Section, Value, YamlError};

/// How names become names of series and labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TranslationStrategy {
    /// Underscores in place of what names could not have before UTF-8; units and kinds at the end.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Underscores, and nothing at the end.
    UnderscoreEscapingWithoutSuffixes,
    /// Names as they are, and units and kinds at the end.
    NoUtf8EscapingWithSuffixes,
    /// Names as they are.
    NoTranslation,
}

impl TranslationStrategy {
    const ALL: [TranslationStrategy; 4] = [
        TranslationStrategy::UnderscoreEscapingWithSuffixes,
        TranslationStrategy::UnderscoreEscapingWithoutSuffixes,
        TranslationStrategy::NoUtf8EscapingWithSuffixes,
        TranslationStrategy::NoTranslation,
    ];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            TranslationStrategy::UnderscoreEscapingWithSuffixes => "UnderscoreEscapingWithSuffixes",
            TranslationStrategy::UnderscoreEscapingWithoutSuffixes => "UnderscoreEscapingWithoutSuffixes",
            TranslationStrategy::NoUtf8EscapingWithSuffixes => "NoUTF8EscapingWithSuffixes",
            TranslationStrategy::NoTranslation => "NoTranslation",
        }
    }

    /// Whether names are escaped.
    pub(super) fn escapes(self) -> bool {
        matches!(
            self,
            TranslationStrategy::UnderscoreEscapingWithSuffixes
                | TranslationStrategy::UnderscoreEscapingWithoutSuffixes
        )
    }

    /// Whether units and kinds are told at the end of names.
    pub(super) fn adds_suffixes(self) -> bool {
        matches!(
            self,
            TranslationStrategy::UnderscoreEscapingWithSuffixes
                | TranslationStrategy::NoUtf8EscapingWithSuffixes
        )
    }
}

impl Serialize for TranslationStrategy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// `otlp`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OtlpConfig {
    /// All attributes of resources become labels of their series.
    #[serde(skip_serializing_if = "is_off")]
    pub promote_all_resource_attributes: bool,
    /// These do, without blanks around them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub promote_resource_attributes: Vec<String>,
    /// All but these do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_resource_attributes: Vec<String>,
    /// How names are translated.
    pub translation_strategy: TranslationStrategy,
    /// `target_info` has the attributes that `job` and `instance` are made from.
    #[serde(skip_serializing_if = "is_off")]
    pub keep_identifying_resource_attributes: bool,
    /// Histograms are stored as native ones with custom buckets.
    #[serde(skip_serializing_if = "is_off")]
    pub convert_histograms_to_nhcb: bool,
    /// Name, version and attributes of libraries that measure become labels.
    #[serde(skip_serializing_if = "is_off")]
    pub promote_scope_metadata: bool,
    /// Labels that would begin with one underscore begin with `key_`.
    #[serde(skip_serializing_if = "is_off")]
    pub label_name_underscore_sanitization: bool,
    /// Several underscores in labels' names stay several.
    #[serde(skip_serializing_if = "is_off")]
    pub label_name_preserve_multiple_underscores: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        OtlpConfig {
            promote_all_resource_attributes: false,
            promote_resource_attributes: Vec::new(),
            ignore_resource_attributes: Vec::new(),
            translation_strategy: TranslationStrategy::default(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_off(switch: &bool) -> bool {
    !*switch
}

impl OtlpConfig {
    /// Reads the section; `scheme` says which names metrics may have.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn read(value: Value<'_>, scheme: NameScheme) -> Result<Self, YamlError> {
        let mut section = value.section("otlp")?;
        let mut switch = |key, default| section.get_or(key, default);
        let promote_all_resource_attributes = switch("promote_all_resource_attributes", false)?;
        let keep_identifying_resource_attributes = switch("keep_identifying_resource_attributes", false)?;
        let convert_histograms_to_nhcb = switch("convert_histograms_to_nhcb", false)?;
        let promote_scope_metadata = switch("promote_scope_metadata", false)?;
        let label_name_underscore_sanitization = switch("label_name_underscore_sanitization", true)?;
        let label_name_preserve_multiple_underscores =
            switch("label_name_preserve_multiple_underscores", true)?;
        let config = OtlpConfig {
            promote_all_resource_attributes,
            promote_resource_attributes: attributes(&mut section, "promote_resource_attributes", "promoted")?,
            ignore_resource_attributes: attributes(&mut section, "ignore_resource_attributes", "ignored")?,
            translation_strategy: strategy(&mut section, scheme)?,
            keep_identifying_resource_attributes,
            convert_histograms_to_nhcb,
            promote_scope_metadata,
            label_name_underscore_sanitization,
            label_name_preserve_multiple_underscores,
        };
        let all = config.promote_all_resource_attributes;
        if all && !config.promote_resource_attributes.is_empty() {
            let message = "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured \
                           simultaneously";
            return Err(section.error_at("promote_resource_attributes", message));
        }
        if !all && !config.ignore_resource_attributes.is_empty() {
            let message = "'ignore_resource_attributes' cannot be configured unless \
                           'promote_all_resource_attributes' is true";
            return Err(section.error_at("ignore_resource_attributes", message));
        }
        section.finish()?;
        Ok(config)
    }
}

fn strategy(section: &mut Section<'_>, scheme: NameScheme) -> Result<TranslationStrategy, YamlError> {
    const KEY: &str = "translation_strategy";
    let word = section.get::<String>(KEY)?.unwrap_or_default();
    if word.is_empty() {
        return Ok(TranslationStrategy::default());
    }
    let named = |strategy: &TranslationStrategy| strategy.as_str() == word;
    let Some(strategy) = TranslationStrategy::ALL.into_iter().find(named) else {
        let message = format!("unsupported OTLP translation strategy {word:?}");
        let words = TranslationStrategy::ALL
            .map(TranslationStrategy::as_str)
            .join(", ");
        return Err(section
            .error_at(KEY, message)
            .with_help(format!("one of {words}")));
    };
    if !strategy.escapes() && scheme == NameScheme::Legacy {
        let message = format!("OTLP translation strategy {word:?} is not allowed when UTF8 is disabled");
        return Err(section.error_at(KEY, message));
    }
    Ok(strategy)
}

fn attributes(section: &mut Section<'_>, key: &'static str, word: &str) -> Result<Vec<String>, YamlError> {
    let written: Vec<String> = section.get_or(key, Vec::new())?;
    let mut seen = BTreeSet::new();
    for attribute in written.iter().map(|attribute| attribute.trim()) {
        let problem = if attribute.is_empty() {
            format!("empty {word} OTel resource attribute")
        } else if !seen.insert(attribute) {
            format!("duplicated {word} OTel resource attribute {attribute:?}")
        } else {
            continue;
        };
        return Err(section.error_at(key, format_args!("invalid '{key}': {problem}")));
    }
    Ok(written
        .iter()
        .map(|attribute| attribute.trim().to_owned())
        .collect())
}
