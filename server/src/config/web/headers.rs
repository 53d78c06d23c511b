//! Headers that a web configuration may add to answers.

use std::collections::BTreeMap;

use http::HeaderValue;
use yaml::{Section, YamlError};

/// Names, and the values that they may have; none means any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// Reads `headers`.
pub(super) fn read(section: &mut Section<'_>) -> Result<BTreeMap<String, String>, YamlError> {
    let headers: BTreeMap<String, String> = section.get_or("headers", BTreeMap::new())?;
    for (name, value) in &headers {
        let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| known == name) else {
            let error = section.error_at(
                "headers",
                format_args!("HTTP header {name:?} can not be configured"),
            );
            let known: Vec<&str> = HEADERS.iter().map(|(name, _)| *name).collect();
            return Err(error.with_help(format!("these can: {}", known.join(", "))));
        };
        if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
            let message =
                format!("invalid value for {name}. Expected one of: {allowed:?}, but got: {value:?}");
            return Err(section.error_at("headers", message));
        }
        if HeaderValue::from_str(value).is_err() {
            let message = format!("invalid value for {name}: {value:?} cannot stand in a header");
            return Err(section.error_at("headers", message));
        }
    }
    Ok(headers)
}
