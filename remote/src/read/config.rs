//! The section `remote_read`.

use std::collections::BTreeMap;
use std::path::Path;

use httpclient::HttpClientConfig;
use serde::Serialize;
use yaml::{Duration, Value, YamlError};

use crate::section::{AUTHORIZATION_ELSEWHERE, headers, read_url, url_to_yaml};

/// Largest frame of a streamed answer, in bytes.
const CHUNKED_READ_LIMIT: u64 = 50_000_000;

/// One entry of `remote_read`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemoteReadConfig {
    /// Where queries are sent.
    #[serde(serialize_with = "url_to_yaml")]
    pub url: String,
    /// Longest time of a request, its answer included.
    pub remote_timeout: Duration,
    /// Largest frame of a streamed answer, in bytes.
    pub chunked_read_limit: u64,
    /// Headers of every request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Whether it is asked for times that the local store has, too.
    #[serde(skip_serializing_if = "is_off")]
    pub read_recent: bool,
    /// What metrics call it; empty: named by its contents.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The HTTP client.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// What a selector must ask for to be asked for here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub required_matchers: BTreeMap<String, String>,
    /// Whether the external labels are asked for, and taken out of the answers.
    #[serde(skip_serializing_if = "is_off")]
    pub filter_external_labels: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_off(switch: &bool) -> bool {
    !*switch
}

impl RemoteReadConfig {
    /// Reads one entry.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn read(value: Value<'_>) -> Result<Self, YamlError> {
        if value.is_null() {
            return Err(value.error("empty or null remote read config section"));
        }
        let mut section = value.section("remote_read")?;
        let config = RemoteReadConfig {
            url: read_url(&mut section, "url for remote_read is empty")?,
            remote_timeout: section.get_or("remote_timeout", Duration::from_ms(60_000))?,
            chunked_read_limit: section.get_or("chunked_read_limit", CHUNKED_READ_LIMIT)?,
            headers: headers(&mut section, AUTHORIZATION_ELSEWHERE)?,
            read_recent: section.get_or("read_recent", false)?,
            name: section.get_or("name", String::new())?,
            http: HttpClientConfig::read(&mut section)?,
            required_matchers: section.get_or("required_matchers", BTreeMap::new())?,
            filter_external_labels: section.get_or("filter_external_labels", true)?,
        };
        section.finish()?;
        Ok(config)
    }

    /// Makes relative file names relative to `folder`.
    pub fn resolve_paths(&mut self, folder: &Path) {
        self.http.resolve_paths(folder);
    }
}
