//! The `tracing` section: read, so that a file that has one is taken and shown, and not acted on.

use std::collections::BTreeMap;

use httpclient::TlsConfig;
use serde::Serialize;
use yaml::{Duration, Value, YamlError};

/// Where the reference sends traces of its own. In the order of printing.
#[derive(Clone, Debug, Serialize)]
pub struct TracingConfig {
    /// `grpc` or `http`.
    pub client_type: String,
    /// Where to.
    pub endpoint: String,
    /// Which part of the traces.
    #[serde(skip_serializing_if = "is_zero")]
    pub sampling_fraction: f64,
    /// Without TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// Names of further headers; what they say may be secret.
    #[serde(skip)]
    pub headers: Vec<String>,
    /// `gzip` or nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
    /// How long sending may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

impl TracingConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// When a value is malformed or a key unknown.
    pub fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type tracing.plain")?;
        let headers = section.value("headers");
        let tracing = TracingConfig {
            client_type: section.get_or("client_type", "grpc".to_owned())?,
            endpoint: section.get_or("endpoint", String::new())?,
            sampling_fraction: section.get_or("sampling_fraction", 0.0)?,
            insecure: section.get_or("insecure", false)?,
            tls_config: section.value("tls_config").map(TlsConfig::read).transpose()?,
            headers: headers
                .map(<BTreeMap<String, AnyValue> as yaml::FromYaml>::from_yaml)
                .transpose()?
                .unwrap_or_default()
                .into_keys()
                .collect(),
            compression: section.get_or("compression", String::new())?,
            timeout: section.get("timeout")?,
        };
        if !matches!(tracing.client_type.as_str(), "grpc" | "http") {
            let message = format!(
                "expected tracing client type to be to be http or grpc, but got {}",
                tracing.client_type
            );
            return Err(section.error_at("client_type", message));
        }
        if tracing.endpoint.is_empty() {
            return Err(section.error("tracing endpoint must be set"));
        }
        if !matches!(tracing.compression.as_str(), "" | "gzip") {
            let message = format!(
                "invalid compression type {} provided, valid options: gzip",
                tracing.compression
            );
            return Err(section.error_at("compression", message));
        }
        section.finish()?;
        Ok(tracing)
    }
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// A value that is not looked at.
struct AnyValue;

impl yaml::FromYaml for AnyValue {
    fn null() -> Option<Self> {
        Some(AnyValue)
    }

    fn from_yaml(_: Value<'_>) -> Result<Self, YamlError> {
        Ok(AnyValue)
    }
}
