//! The section `remote_read`.

use std::collections::BTreeMap;

use httpclient::HttpClientConfig;
use remote::section::{AUTHORIZATION_ELSEWHERE, headers, read_url};
use serde::Serialize;
use yaml::{Duration, Value, YamlError};

use super::is_off;

/// Largest frame of a streamed answer, in bytes.
const CHUNKED_READ_LIMIT: u64 = 50_000_000;

/// One entry of `remote_read`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::config) struct RemoteReadConfig {
    url: String,
    remote_timeout: Duration,
    chunked_read_limit: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_off")]
    read_recent: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(flatten)]
    pub(super) http: HttpClientConfig,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    required_matchers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_off")]
    filter_external_labels: bool,
}

impl RemoteReadConfig {
    pub(super) fn read(value: Value<'_>) -> Result<Self, YamlError> {
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

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}
