//! `silence_expiry`, which is ours: who is told that a silence is about to end.

use std::collections::BTreeSet;

use model::go::Quoted;
use serde::Serialize;
use yaml::{Duration, FromYaml, Section, Value, YamlError};

/// Who is told that a silence is about to end, and how early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SilenceExpiryConfig {
    /// How long before the end.
    pub before: Duration,
    /// Name of the receiver.
    pub receiver: String,
}

impl SilenceExpiryConfig {
    /// Reads the section; `receivers` are those that there are.
    ///
    /// # Errors
    /// When a key is missing or unknown, or the receiver is none.
    pub(super) fn read(value: Value<'_>, receivers: &BTreeSet<&str>) -> Result<Self, YamlError> {
        let mut section = value.section("silence_expiry")?;
        let expiry = SilenceExpiryConfig {
            before: required(&mut section, "before")?,
            receiver: required(&mut section, "receiver")?,
        };
        if expiry.before.as_std().is_zero() {
            return Err(section.error_at("before", "before must be longer than 0s"));
        }
        if !receivers.contains(expiry.receiver.as_str()) {
            let message = format!(
                "undefined receiver {} used in silence_expiry",
                Quoted(&expiry.receiver)
            );
            return Err(section.error_at("receiver", message));
        }
        section.finish()?;
        Ok(expiry)
    }
}

fn required<T: FromYaml>(section: &mut Section<'_>, key: &'static str) -> Result<T, YamlError> {
    let value = section.get(key)?;
    value.ok_or_else(|| section.error(format_args!("missing {key} in silence_expiry")))
}
