//! Relabelling: rules that keep, drop and rewrite label sets.
//!
//! A [`RelabelConfig`] is what a user writes, a [`RelabelRule`] what runs: checked once, with its pattern compiled and
//! its replacement taken apart. The steps of a chain of rules, for explaining it, come from calling
//! [`RelabelRule::apply`] one by one.
//!
//! ```
//! use narthex_model::labels::{LabelsBuilder, NameScheme};
//! use narthex_model::relabel::{RelabelConfig, RelabelRule, apply};
//! let rule = RelabelRule::new(
//!     RelabelConfig {
//!         source_labels: vec!["__address__".into()],
//!         regex: Some("(.*):.*".into()),
//!         target_label: "host".into(),
//!         ..RelabelConfig::default()
//!     },
//!     NameScheme::Utf8,
//! )?;
//! let mut labels = LabelsBuilder::new();
//! labels.set("__address__", "db:9100");
//! assert!(apply(&[rule], &mut labels));
//! assert_eq!(labels.value("host"), "db");
//! # Ok::<(), narthex_model::relabel::RelabelError>(())
//! ```

use crate::go::Quoted;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use md5::{Digest, Md5};

use crate::case;
use crate::labels::{LabelsBuilder, NameScheme, is_legacy_label_name};
use crate::regex::{Regex, RegexError, Template};

/// Separator between the values of source labels, unless another is set.
pub const DEFAULT_SEPARATOR: &str = ";";
/// Replacement, unless another is set.
pub const DEFAULT_REPLACEMENT: &str = "$1";

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RelabelAction {
    /// Writes the expanded replacement to the target label where the pattern matches.
    #[default]
    Replace,
    /// Keeps only what the pattern matches.
    Keep,
    /// Drops what the pattern matches.
    Drop,
    /// Keeps only what has the joined source values in the target label.
    KeepEqual,
    /// Drops what has the joined source values in the target label.
    DropEqual,
    /// Writes the hash of the joined source values, modulo `modulus`, to the target label.
    HashMod,
    /// Copies labels whose names the pattern matches to the names that the replacement gives.
    LabelMap,
    /// Removes labels whose names the pattern matches.
    LabelDrop,
    /// Removes labels whose names the pattern does not match.
    LabelKeep,
    /// Writes the joined source values in lower case to the target label.
    Lowercase,
    /// Writes the joined source values in upper case to the target label.
    Uppercase,
}

impl RelabelAction {
    /// All of them.
    pub const ALL: [RelabelAction; 11] = [
        RelabelAction::Replace,
        RelabelAction::Keep,
        RelabelAction::Drop,
        RelabelAction::KeepEqual,
        RelabelAction::DropEqual,
        RelabelAction::HashMod,
        RelabelAction::LabelMap,
        RelabelAction::LabelDrop,
        RelabelAction::LabelKeep,
        RelabelAction::Lowercase,
        RelabelAction::Uppercase,
    ];

    /// The word that configurations use.
    pub fn as_str(self) -> &'static str {
        match self {
            RelabelAction::Replace => "replace",
            RelabelAction::Keep => "keep",
            RelabelAction::Drop => "drop",
            RelabelAction::KeepEqual => "keepequal",
            RelabelAction::DropEqual => "dropequal",
            RelabelAction::HashMod => "hashmod",
            RelabelAction::LabelMap => "labelmap",
            RelabelAction::LabelDrop => "labeldrop",
            RelabelAction::LabelKeep => "labelkeep",
            RelabelAction::Lowercase => "lowercase",
            RelabelAction::Uppercase => "uppercase",
        }
    }
}

impl fmt::Display for RelabelAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads the word of an action; capital letters do not matter.
impl FromStr for RelabelAction {
    type Err = RelabelError;

    fn from_str(word: &str) -> Result<Self, RelabelError> {
        RelabelAction::ALL
            .into_iter()
            .find(|action| action.as_str().eq_ignore_ascii_case(word))
            .ok_or_else(|| RelabelError::UnknownAction {
                action: word.to_owned(),
            })
    }
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelConfig {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// Pattern that must match the whole joined text (for the label… actions: a label's whole name). Nothing means that
    /// none was written: `(.*)`.
    pub regex: Option<String>,
    /// For `hashmod`.
    pub modulus: u64,
    /// Label that is written or compared.
    pub target_label: String,
    /// What is written, with references to the pattern's groups.
    pub replacement: String,
    /// What to do.
    pub action: RelabelAction,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        RelabelConfig {
            source_labels: Vec::new(),
            separator: DEFAULT_SEPARATOR.to_owned(),
            regex: None,
            modulus: 0,
            target_label: String::new(),
            replacement: DEFAULT_REPLACEMENT.to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

/// Why a rule is refused. The texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelabelError {
    /// No such action.
    #[error("unknown relabel action {}", Quoted(.action))]
    UnknownAction {
        /// What was written.
        action: String,
    },
    /// The pattern does not compile.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// `hashmod` without `modulus`.
    #[error("relabel configuration for hashmod requires non-zero modulus")]
    ModulusMissing,
    /// An action that writes or compares a label, without `target_label`.
    #[error("relabel configuration for {action} action requires 'target_label' value")]
    TargetMissing {
        /// Which action.
        action: RelabelAction,
    },
    /// A source label whose name no label can have.
    #[error("{} is not a valid label name", Quoted(.name))]
    InvalidSourceLabel {
        /// The name.
        name: String,
    },
    /// A target label whose name no label can have.
    #[error("{} is invalid 'target_label' for {action} action", Quoted(.target))]
    InvalidTarget {
        /// The name.
        target: String,
        /// Which action.
        action: RelabelAction,
    },
    /// A replacement that gives no label name.
    #[error("{} is invalid 'replacement' for {action} action", Quoted(.replacement))]
    InvalidReplacement {
        /// The replacement.
        replacement: String,
        /// Which action.
        action: RelabelAction,
    },
    /// `replacement` on an action that has none.
    #[error("'replacement' can not be set for {action} action")]
    ReplacementNotAllowed {
        /// Which action.
        action: RelabelAction,
    },
    /// More than `source_labels` and `target_label` on an action that compares.
    #[error("{action} action requires only 'source_labels' and `target_label`, and no other fields")]
    OnlySourceAndTarget {
        /// Which action.
        action: RelabelAction,
    },
    /// More than `regex` on an action that removes labels.
    #[error("{action} action requires only 'regex', and no other fields")]
    OnlyRegex {
        /// Which action.
        action: RelabelAction,
    },
}

/// A rule ready to run.
#[derive(Clone, Debug)]
pub struct RelabelRule {
    config: RelabelConfig,
    scheme: NameScheme,
    /// Nothing for the default pattern, which matches everything with all of it as group 1.
    regex: Option<Regex>,
    target: Template,
    replacement: Template,
}

/// Rules that were written alike run alike.
impl PartialEq for RelabelRule {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.scheme == other.scheme
    }
}

impl Eq for RelabelRule {}

/// Applies `rules` in order; `false` as soon as one drops the label set, which is then left as that rule found it.
pub fn apply(rules: &[RelabelRule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

impl RelabelRule {
    /// Checks and compiles a rule; `scheme` says which names labels may have.
    ///
    /// # Errors
    /// See [`RelabelError`].
    pub fn new(config: RelabelConfig, scheme: NameScheme) -> Result<Self, RelabelError> {
        let needs_groups = matches!(config.action, RelabelAction::Replace | RelabelAction::LabelMap);
        let regex = match config.regex.as_deref() {
            None | Some("(.*)") => None,
            Some(pattern) if needs_groups => Some(Regex::anchored_with_groups(pattern)?),
            Some(pattern) => Some(Regex::anchored(pattern)?),
        };
        validate(&config, scheme)?;
        Ok(RelabelRule {
            target: Template::new(&config.target_label),
            replacement: Template::new(&config.replacement),
            config,
            scheme,
            regex,
        })
    }

    /// The rule as it was written.
    pub fn config(&self) -> &RelabelConfig {
        &self.config
    }

    /// Applies the rule; `false` if it drops the label set.
    pub fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let target = self.config.target_label.as_str();
        match self.config.action {
            RelabelAction::Keep => self.is_match(&self.source(labels)),
            RelabelAction::Drop => !self.is_match(&self.source(labels)),
            RelabelAction::KeepEqual => labels.value(target) == self.source(labels),
            RelabelAction::DropEqual => labels.value(target) != self.source(labels),
            RelabelAction::Replace => {
                self.replace(labels);
                true
            }
            RelabelAction::HashMod => {
                let hash = hash(&self.source(labels)) % self.config.modulus.max(1);
                labels.set(target, itoa::Buffer::new().format(hash));
                true
            }
            RelabelAction::Lowercase => {
                let value = case::to_lower(&self.source(labels));
                labels.set(target, &value);
                true
            }
            RelabelAction::Uppercase => {
                let value = case::to_upper(&self.source(labels));
                labels.set(target, &value);
                true
            }
            RelabelAction::LabelMap => {
                self.map_labels(labels);
                true
            }
            RelabelAction::LabelDrop => {
                labels.retain(|name, _| !self.is_match(name));
                true
            }
            RelabelAction::LabelKeep => {
                labels.retain(|name, _| self.is_match(name));
                true
            }
        }
    }

    /// The values of the source labels, joined.
    fn source<'l>(&self, labels: &'l LabelsBuilder) -> Cow<'l, str> {
        if let [name] = self.config.source_labels.as_slice() {
            return Cow::Borrowed(labels.value(name));
        }
        let mut joined = String::new();
        for (i, name) in self.config.source_labels.iter().enumerate() {
            if i > 0 {
                joined.push_str(&self.config.separator);
            }
            joined.push_str(labels.value(name));
        }
        Cow::Owned(joined)
    }

    fn is_match(&self, text: &str) -> bool {
        self.regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }

    fn replace(&self, labels: &mut LabelsBuilder) {
        let source = self.source(labels);
        let (mut target, mut value) = (String::new(), String::new());
        if !self.expand(
            &source,
            &mut [(&self.target, &mut target), (&self.replacement, &mut value)],
        ) {
            return;
        }
        if self.scheme.is_valid_label_name(&target) {
            labels.set(&target, &value);
        }
    }

    fn map_labels(&self, labels: &mut LabelsBuilder) {
        let mut mapped = Vec::new();
        for (name, value) in labels.iter() {
            let mut new_name = String::new();
            if self.expand(name, &mut [(&self.replacement, &mut new_name)]) {
                mapped.push((new_name, value.to_owned()));
            }
        }
        for (name, value) in mapped {
            labels.set(&name, &value);
        }
    }

    /// Expands templates with the groups of the match in `text`; `false` if there is none.
    fn expand(&self, text: &str, templates: &mut [(&Template, &mut String)]) -> bool {
        let Some(regex) = &self.regex else {
            for (template, out) in templates {
                template.expand(out, |group| (group <= 1).then_some(text), |_| None);
            }
            return true;
        };
        let Some(found) = regex.captures(text) else {
            return false;
        };
        for (template, out) in templates {
            found.expand(template, out);
        }
        true
    }
}

/// The last eight bytes of the text's MD5 sum, high byte first.
fn hash(text: &str) -> u64 {
    let sum: [u8; 16] = Md5::digest(text.as_bytes()).into();
    sum[8..].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

fn validate(config: &RelabelConfig, scheme: NameScheme) -> Result<(), RelabelError> {
    use RelabelAction as A;
    let action = config.action;
    let target = config.target_label.as_str();
    if let Some(name) = config.source_labels.iter().find(|name| name.is_empty()) {
        return Err(RelabelError::InvalidSourceLabel { name: name.clone() });
    }
    if action == A::HashMod && config.modulus == 0 {
        return Err(RelabelError::ModulusMissing);
    }
    let has_target = matches!(
        action,
        A::Replace | A::HashMod | A::Lowercase | A::Uppercase | A::KeepEqual | A::DropEqual
    );
    if has_target && target.is_empty() {
        return Err(RelabelError::TargetMissing { action });
    }
    let target_ok = match action {
        A::Replace if target.contains('$') => is_valid_name_template(target, scheme),
        _ => scheme.is_valid_label_name(target),
    };
    let invalid_target = || RelabelError::InvalidTarget {
        target: target.to_owned(),
        action,
    };
    if has_target && action != A::HashMod && !target_ok {
        return Err(invalid_target());
    }
    let replacement_set = config.replacement != DEFAULT_REPLACEMENT;
    if matches!(action, A::Lowercase | A::Uppercase | A::KeepEqual | A::DropEqual) && replacement_set {
        return Err(RelabelError::ReplacementNotAllowed { action });
    }
    if action == A::LabelMap && !is_valid_name_template(&config.replacement, scheme) {
        return Err(RelabelError::InvalidReplacement {
            replacement: config.replacement.clone(),
            action,
        });
    }
    if action == A::HashMod && !target_ok {
        return Err(invalid_target());
    }
    let joins_differently = config.modulus != 0 || config.separator != DEFAULT_SEPARATOR;
    if matches!(action, A::KeepEqual | A::DropEqual) && (config.regex.is_some() || joins_differently) {
        return Err(RelabelError::OnlySourceAndTarget { action });
    }
    let sources_or_target = !config.source_labels.is_empty() || !target.is_empty();
    if matches!(action, A::LabelDrop | A::LabelKeep)
        && (sources_or_target || joins_differently || replacement_set)
    {
        return Err(RelabelError::OnlyRegex { action });
    }
    Ok(())
}

/// Whether a text with references to groups can give a label name: with the old names, letters, digits and underscores
/// around `$1`, `$name` and `${name}`, not starting with a digit.
fn is_valid_name_template(text: &str, scheme: NameScheme) -> bool {
    if scheme == NameScheme::Utf8 {
        return scheme.is_valid_label_name(text);
    }
    // A reference stands for a letter.
    let mut name = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        let braced = after.strip_prefix('{');
        let body = braced.unwrap_or(after);
        let len = body
            .bytes()
            .take_while(|b| *b == b'_' || b.is_ascii_alphanumeric())
            .count();
        let behind = if braced.is_some() {
            body[len..].strip_prefix('}')
        } else {
            Some(&body[len..])
        };
        let (Some(behind), true) = (behind, len > 0) else {
            return false;
        };
        name.push_str(before);
        name.push('a');
        rest = behind;
    }
    name.push_str(rest);
    is_legacy_label_name(&name)
}
