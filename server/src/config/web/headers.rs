//! Headers that a web configuration may add to answers.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
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
pub(super) fn read(section: &mut Section<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, YamlError> {
    let headers: BTreeMap<String, String> = section.get_or("headers", BTreeMap::new())?;
    let mut read = Vec::new();
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
        let (Ok(name), Ok(value)) = (name.parse(), HeaderValue::from_str(value)) else {
            let message = format!("invalid value for {name}: {value:?} cannot stand in a header");
            return Err(section.error_at("headers", message));
        };
        read.push((name, value));
    }
    Ok(read)
}
