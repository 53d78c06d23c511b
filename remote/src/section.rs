//! What the sections `remote_write` and `remote_read` have in common: addresses, headers, names.

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest, Md5};
use serde::{Serialize, Serializer};
use yaml::{Section, YamlError};

/// What is said of a header that has settings of its own.
pub const AUTHORIZATION_ELSEWHERE: &str = "authorization header must be changed via the basic_auth, authorization, \
                                           oauth2, sigv4, azuread or google_iam parameter";

/// Headers of these clients that a configuration may not set, in lower case.
const RESERVED_HEADERS: [&str; 10] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "accept-encoding",
];

/// Reads `headers`; `on_authorization` is what a header of that name is answered with.
///
/// # Errors
/// When one is reserved.
pub fn headers(
    section: &mut Section<'_>,
    on_authorization: &str,
) -> Result<BTreeMap<String, String>, YamlError> {
    let headers: BTreeMap<String, String> = section.get_or("headers", BTreeMap::new())?;
    for name in headers.keys() {
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" {
            return Err(section.error_at("headers", on_authorization));
        }
        if RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("x-amz-") {
            let message = format!("{name} is a reserved header. It must not be changed");
            return Err(section.error_at("headers", message));
        }
    }
    Ok(headers)
}

/// Two entries of one name could not be told apart; those without one are named by their contents.
///
/// # Errors
/// When two of `names`, those of the entries of `key`, are the same.
pub fn refuse_twins(section: &Section<'_>, key: &str, names: &[&str]) -> Result<(), YamlError> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !name.is_empty() && !seen.insert(**name)) {
        Some(twin) => {
            let kind = key.replace('_', " ");
            Err(section.error_at(
                key,
                format_args!("found multiple {kind} configs with job name {twin:?}"),
            ))
        }
        None => Ok(()),
    }
}

/// Reads `url`; `on_missing` is said where it is absent.
///
/// Compat: a relative URL is one, as for Go (push: `relative-url`).
///
/// # Errors
/// When it is none.
pub fn read_url(section: &mut Section<'_>, on_missing: &str) -> Result<String, YamlError> {
    let Some(url) = section.get::<String>("url")? else {
        return Err(section.error(on_missing));
    };
    match url::Url::parse(&url) {
        Ok(_) => Ok(url),
        Err(url::ParseError::RelativeUrlWithoutBase) if !url.starts_with(':') => Ok(url),
        Err(error) => Err(section.error_at("url", format_args!("parse {url:?}: {error}"))),
    }
}

/// What metrics call an entry without a name.
pub(crate) fn name_of(config: &impl Serialize) -> String {
    let text = yaml::to_string(config).unwrap_or_default();
    let hash = Md5::digest(text.as_bytes());
    hash.iter().take(3).map(|b| format!("{b:02x}")).collect()
}

/// An address as it may be shown: without its password.
pub fn redacted(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let _ = parsed.set_password(Some("xxxxx"));
            parsed.into()
        }
        _ => url.to_owned(),
    }
}

/// Writes an address as it may be shown.
///
/// # Errors
/// As the serializer has them.
pub fn url_to_yaml<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redacted(url))
}
