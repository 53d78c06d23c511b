//! Sections of rooms that are not built yet: tracing. Remote write and remote read, which are served, stand with it for the
//! order of keys.
//!
//! They are read and checked in full, so that a configuration is judged as the reference judges it. The server says at
//! every start and reload which of them it does not serve; see [`UnservedSections::unserved`].

use std::collections::BTreeMap;
use std::path::Path;

use httpclient::TlsConfig;
use model::labels::NameScheme;
use remote::read::RemoteReadConfig;
use remote::section::{headers, refuse_twins};
use remote::send::RemoteWriteConfig;
use serde::Serialize;
use yaml::{Duration, Section, Value, YamlError};

/// What is configured of all that.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct UnservedSections {
    /// `tracing`
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<TracingConfig>,
    /// `remote_write`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remote_write: Vec<RemoteWriteConfig>,
    /// `remote_read`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remote_read: Vec<RemoteReadConfig>,
}

/// `tracing`
#[derive(Clone, Debug, PartialEq, Serialize)]
struct TracingConfig {
    client_type: String,
    endpoint: String,
    #[serde(skip_serializing_if = "is_default")]
    sampling_fraction: f64,
    #[serde(skip_serializing_if = "is_off")]
    insecure: bool,
    #[serde(skip_serializing_if = "TlsConfig::is_default")]
    tls_config: TlsConfig,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    compression: String,
    #[serde(skip_serializing_if = "is_default")]
    timeout: Duration,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_off(switch: &bool) -> bool {
    !*switch
}

impl UnservedSections {
    /// Takes the sections out of the whole; `scheme` says which names labels may have.
    pub(crate) fn read(section: &mut Section<'_>, scheme: NameScheme) -> Result<Self, YamlError> {
        let tracing = section.value("tracing").map(TracingConfig::read).transpose()?;
        let remote_write = section.list("remote_write", |value| RemoteWriteConfig::read(value, scheme))?;
        let remote_read = section.list("remote_read", RemoteReadConfig::read)?;
        let names: Vec<&str> = remote_write.iter().map(|remote| remote.name.as_str()).collect();
        refuse_twins(section, "remote_write", &names)?;
        let names: Vec<&str> = remote_read.iter().map(|remote| remote.name.as_str()).collect();
        refuse_twins(section, "remote_read", &names)?;
        Ok(UnservedSections {
            tracing,
            remote_write,
            remote_read,
        })
    }

    /// Sections that are configured and that this version does not serve.
    pub(crate) fn unserved(&self) -> Vec<&'static str> {
        let configured = [("tracing", self.tracing.is_some())];
        configured
            .into_iter()
            .filter(|(_, there)| *there)
            .map(|(name, _)| name)
            .collect()
    }

    /// Makes relative file names relative to `folder`.
    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        if let Some(tracing) = &mut self.tracing {
            tracing.tls_config.resolve_paths(folder);
        }
        for remote in &mut self.remote_write {
            remote.resolve_paths(folder);
        }
        for remote in &mut self.remote_read {
            remote.resolve_paths(folder);
        }
    }
}

impl TracingConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("tracing")?;
        let client_type: String = section.get_or("client_type", "grpc".to_owned())?;
        if !matches!(client_type.as_str(), "http" | "grpc") {
            let message =
                format!("expected tracing client type to be to be http or grpc, but got {client_type}");
            return Err(section.error_at("client_type", message));
        }
        let config = TracingConfig {
            client_type,
            endpoint: section.get_or("endpoint", String::new())?,
            sampling_fraction: section.get_or("sampling_fraction", 0.0)?,
            insecure: section.get_or("insecure", false)?,
            tls_config: section
                .value("tls_config")
                .map(TlsConfig::read)
                .transpose()?
                .unwrap_or_default(),
            headers: headers(
                &mut section,
                "custom authorization header configuration is not yet supported",
            )?,
            compression: section.get_or("compression", String::new())?,
            timeout: section.get_or("timeout", Duration::default())?,
        };
        if config.endpoint.is_empty() {
            return Err(section.error("tracing endpoint must be set"));
        }
        if !matches!(config.compression.as_str(), "" | "gzip") {
            let message = format!(
                "invalid compression type {} provided, valid options: gzip",
                config.compression
            );
            return Err(section.error_at("compression", message));
        }
        section.finish()?;
        Ok(config)
    }
}
