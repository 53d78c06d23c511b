//! Sections of rooms that are not built yet: tracing, remote write and remote read.
//!
//! They are read and checked in full, so that a configuration is judged as the reference judges it. The server says at
//! every start and reload which of them it does not serve; see [`UnservedSections::unserved`].

mod remote;

use std::collections::BTreeMap;
use std::path::Path;

use httpclient::TlsConfig;
use model::labels::NameScheme;
use serde::Serialize;
use yaml::{Duration, Section, Value, YamlError};

use remote::{RemoteReadConfig, RemoteWriteConfig, refuse_twins};

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

/// What is configured of all that.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct UnservedSections {
    /// `tracing`
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<TracingConfig>,
    /// `remote_write`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remote_write: Vec<RemoteWriteConfig>,
    /// `remote_read`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) remote_read: Vec<RemoteReadConfig>,
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
        let names: Vec<&str> = remote_write.iter().map(RemoteWriteConfig::name).collect();
        refuse_twins(section, "remote_write", &names)?;
        let names: Vec<&str> = remote_read.iter().map(RemoteReadConfig::name).collect();
        refuse_twins(section, "remote_read", &names)?;
        Ok(UnservedSections {
            tracing,
            remote_write,
            remote_read,
        })
    }

    /// Sections that are configured and that this version does not serve.
    pub(crate) fn unserved(&self) -> Vec<&'static str> {
        let configured = [
            ("tracing", self.tracing.is_some()),
            ("remote_write", !self.remote_write.is_empty()),
            ("remote_read", !self.remote_read.is_empty()),
        ];
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
        let written = self.remote_write.iter_mut().map(|remote| &mut remote.http);
        for http in written.chain(self.remote_read.iter_mut().map(|remote| &mut remote.http)) {
            http.resolve_paths(folder);
        }
    }
}

fn headers(section: &mut Section<'_>, on_authorization: &str) -> Result<BTreeMap<String, String>, YamlError> {
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
