//! `tls_server_config`: how the server proves who it is, and whom it lets in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::VerifierBuilderError;
use rustls::{
    CipherSuite, NamedGroup, ProtocolVersion, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    version,
};
use yaml::{Secret, Section, Value, YamlError};

use super::client_auth::{ClientAuth, verifier};
use super::read_named;

/// Largest file of certificates or a key, in bytes: all of the world's roots take half of one MiB.
const PEM_BYTES_MAX: u64 = 16 << 20;

/// Cipher suites by the names that the file has; those without one are known and not in this version.
const CIPHERS: [(&str, Option<CipherSuite>); 13] = [
    (
        "TLS_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS13_AES_128_GCM_SHA256),
    ),
    (
        "TLS_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384),
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", None),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
];

/// Groups by the names that the file has; P-521 is known and not in this version.
const CURVES: [(&str, Option<NamedGroup>); 4] = [
    ("CurveP256", Some(NamedGroup::secp256r1)),
    ("CurveP384", Some(NamedGroup::secp384r1)),
    ("CurveP521", None),
    ("X25519", Some(NamedGroup::X25519)),
];

/// `tls_server_config`
#[derive(Debug)]
pub(crate) struct TlsServerConfig {
    certificate: Source,
    key: Source,
    /// `None` where clients show nothing.
    pub(super) client_ca: Option<Source>,
    pub(super) client_auth: ClientAuth,
    /// Names of which a client's certificate must have one; `None` for any.
    pub(super) client_allowed_sans: Option<Vec<String>>,
    cipher_suites: Vec<CipherSuite>,
    curves: Vec<NamedGroup>,
    /// Of TLS 1.2 and 1.3, those that may be spoken.
    versions: Vec<&'static SupportedProtocolVersion>,
    prefer_server_cipher_suites: bool,
    http2: bool,
}

/// Where something in PEM stands: a file, or the configuration itself. It never shows what it is.
pub(super) enum Source {
    File { key: &'static str, path: PathBuf },
    Text { key: &'static str, pem: Secret },
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { key, path } => write!(f, "{key} {}", path.display()),
            Source::Text { key, .. } => f.write_str(key),
        }
    }
}

/// What keeps TLS from being served as the file says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    #[error("failed to read {key} ({}): {source}", path.display())]
    Read {
        key: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{what}: not PEM: {source}")]
    Pem {
        what: String,
        source: rustls::pki_types::pem::Error,
    },
    #[error("{what}: no certificate in it")]
    NoCertificate { what: String },
    #[error("certificate and key: {0}")]
    Pair(#[source] rustls::Error),
    #[error("{what}: {source}")]
    ClientCa { what: String, source: rustls::Error },
    #[error("client certificates: {0}")]
    Verifier(#[from] VerifierBuilderError),
    #[error("TLS: {0}")]
    Protocol(#[source] rustls::Error),
}

impl TlsServerConfig {
    /// Reads the section; `None` where it asks for no TLS.
    pub(super) fn read(value: Value<'_>, http2: bool) -> Result<Option<Self>, YamlError> {
        let mut section = value.section("tls_server_config")?;
        let certificate = source(&mut section, "cert_file", "cert")?;
        let key = source(&mut section, "key_file", "key")?;
        let client_ca = source(&mut section, "client_ca_file", "client_ca")?;
        let auth: String = section.get_or("client_auth_type", String::new())?;
        let client_auth = match auth.as_str() {
            "" | "NoClientCert" => ClientAuth::None,
            "RequestClientCert" => ClientAuth::Request,
            "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
            "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
            "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
            other => {
                let error = section.error_at("client_auth_type", format_args!("invalid ClientAuth: {other}"));
                return Err(error.with_help(
                    "it is NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or \
                     RequireAndVerifyClientCert",
                ));
            }
        };
        let versions = read_versions(&mut section)?;
        let cipher_suites = read_names(&mut section, "cipher_suites", "cipher", &CIPHERS)?;
        let curves = read_names(&mut section, "curve_preferences", "curve", &CURVES)?;
        // Compat: an empty list is one that nobody is on (`names_that_clients_may_have`).
        let client_allowed_sans = section.get("client_allowed_sans")?;
        let prefer_server_cipher_suites = section.get_or("prefer_server_cipher_suites", true)?;
        let asks_for_nothing =
            certificate.is_none() && key.is_none() && client_ca.is_none() && auth.is_empty();
        if !asks_for_nothing {
            if certificate.is_none() {
                return Err(section.error("missing one of cert or cert_file"));
            }
            if key.is_none() {
                return Err(section.error("missing one of key or key_file"));
            }
            if client_ca.is_some() && client_auth == ClientAuth::None {
                return Err(section.error("client CA's have been configured without a Client Auth Policy"));
            }
        }
        section.finish()?;
        let (Some(certificate), Some(key)) = (certificate, key) else {
            return Ok(None);
        };
        Ok(Some(TlsServerConfig {
            certificate,
            key,
            client_ca,
            client_auth,
            client_allowed_sans,
            cipher_suites,
            curves,
            versions,
            prefer_server_cipher_suites,
            http2,
        }))
    }

    /// Files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let sources = [&self.certificate, &self.key].into_iter();
        let all = sources.chain(&self.client_ca);
        all.filter_map(|source| match source {
            Source::File { path, .. } => Some(path.as_path()),
            Source::Text { .. } => None,
        })
    }

    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let sources = [&mut self.certificate, &mut self.key].into_iter();
        for source in sources.chain(&mut self.client_ca) {
            if let Source::File { path, .. } = source {
                *path = folder.join(&*path);
            }
        }
    }
}

/// What stands in a file or in the configuration itself; the file goes first.
fn source(
    section: &mut Section<'_>,
    file_key: &'static str,
    text_key: &'static str,
) -> Result<Option<Source>, YamlError> {
    let file: String = section.get_or(file_key, String::new())?;
    let text: String = section.get_or(text_key, String::new())?;
    Ok(match (file.as_str(), text.as_str()) {
        ("", "") => None,
        ("", _) => Some(Source::Text {
            key: text_key,
            pem: Secret::new(text),
        }),
        _ => Some(Source::File {
            key: file_key,
            path: file.into(),
        }),
    })
}

/// Versions from `min_version` to `max_version`. Compat: TLS 1.0 and 1.1 are known as lowest versions, and nothing below 1.2
/// is spoken; as highest ones they leave nothing (testdata/web-config/version-old.bad.yml).
fn read_versions(section: &mut Section<'_>) -> Result<Vec<&'static SupportedProtocolVersion>, YamlError> {
    let mut number = |key: &'static str, default: u8| {
        let name: Option<String> = section.get(key)?;
        match name.as_deref() {
            None => Ok(default),
            Some("TLS10") => Ok(10),
            Some("TLS11") => Ok(11),
            Some("TLS12") => Ok(12),
            Some("TLS13") => Ok(13),
            Some(other) => {
                let error = section.error_at(key, format_args!("unknown TLS version: {other}"));
                Err(error.with_help("it is TLS12 or TLS13"))
            }
        }
    };
    let (min, max) = (number("min_version", 12)?, number("max_version", 13)?);
    let spoken = [(12, &version::TLS12), (13, &version::TLS13)];
    let versions: Vec<_> = spoken
        .into_iter()
        .filter(|(number, _)| (min..=max).contains(number))
        .map(|(_, version)| version)
        .collect();
    if versions.is_empty() {
        let message =
            "no version is left between min_version and max_version: this server speaks TLS 1.2 and 1.3";
        return Err(section.error_at("max_version", message));
    }
    Ok(versions)
}

/// Reads a list of names from a table; those that are known and not in this version are passed over, unless no other is
/// named.
fn read_names<T: Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    what: &str,
    known: &[(&'static str, Option<T>)],
) -> Result<Vec<T>, YamlError> {
    let found = section.list(key, |value| {
        let name = <String as yaml::FromYaml>::from_yaml(value)?;
        match known.iter().find(|(known, _)| *known == name) {
            Some((_, thing)) => Ok(*thing),
            None => {
                let error = value.error(format_args!("unknown {what}: {name}"));
                Err(
                    match model::nearest::nearest(&name, known.iter().map(|(known, _)| *known)) {
                        Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
                        None => error,
                    },
                )
            }
        }
    })?;
    let there: Vec<T> = found.iter().copied().flatten().collect();
    if there.is_empty() && !found.is_empty() {
        let message = format_args!("none of these is in this version: name another {what}");
        return Err(section.error_at(key, message));
    }
    Ok(there)
}

/// Reads everything that the section names, and makes what handshakes are done with.
///
/// # Errors
/// When a file cannot be read, is not what it should be, or does not go with the others.
pub(crate) fn server(config: &TlsServerConfig) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider(config));
    let certificates = certificates(&config.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&pem(&config.key)?).map_err(|source| TlsError::Pem {
        what: format!("{:?}", config.key),
        source,
    })?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&config.versions)
        .map_err(TlsError::Protocol)?;
    let builder = match verifier(config, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder
        .with_single_cert(certificates, key)
        .map_err(TlsError::Pair)?;
    server.ignore_client_order = config.prefer_server_cipher_suites;
    server.alpn_protocols = match config.http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Ok(server)
}

/// The suites and groups that may be used. Compat: a list of suites says nothing of TLS 1.3, whose suites are always on, as
/// for Go.
fn provider(config: &TlsServerConfig) -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    let is_listed = |suite: &SupportedCipherSuite| {
        config.cipher_suites.is_empty()
            || suite.version().version == ProtocolVersion::TLSv1_3
            || config.cipher_suites.contains(&suite.suite())
    };
    provider.cipher_suites.retain(is_listed);
    if !config.curves.is_empty() {
        let groups: Vec<&'static dyn SupportedKxGroup> = provider.kx_groups;
        let in_order = config
            .curves
            .iter()
            .filter_map(|name| groups.iter().find(|group| group.name() == *name));
        provider.kx_groups = in_order.copied().collect();
    }
    provider
}

fn pem(source: &Source) -> Result<Vec<u8>, TlsError> {
    match source {
        Source::Text { pem, .. } => Ok(pem.reveal().as_bytes().to_vec()),
        Source::File { key, path } => read_named(path, PEM_BYTES_MAX).map_err(|source| TlsError::Read {
            key,
            path: path.clone(),
            source,
        }),
    }
}

pub(super) fn certificates(source: &Source) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = || format!("{source:?}");
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem(source)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::NoCertificate { what: what() }),
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Pem { what: what(), source }),
    }
}
