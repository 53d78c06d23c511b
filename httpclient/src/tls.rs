//! From TLS settings to a TLS client configuration.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::config::{TlsConfig, TlsVersion};
use crate::error::HttpClientError;
use crate::files::Fingerprint;

/// The machine's roots. Reading them takes milliseconds, and most of thousands of jobs never speak TLS.
static MACHINE_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut store = RootCertStore::empty();
    // Bad certificates in the machine's store are the machine's; as many as can be used are used.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Arc::new(store)
});

/// What clients without TLS settings use, without and with HTTP/2.
static PLAIN: [LazyLock<Option<Arc<ClientConfig>>>; 2] = [
    LazyLock::new(|| {
        client_config(&TlsConfig::default(), false, &MACHINE_ROOTS)
            .ok()
            .map(Arc::new)
    }),
    LazyLock::new(|| {
        client_config(&TlsConfig::default(), true, &MACHINE_ROOTS)
            .ok()
            .map(Arc::new)
    }),
];

/// TLS settings and what was made of them.
#[derive(Debug)]
pub(crate) struct TlsSource {
    settings: TlsConfig,
    http2: bool,
    files: Vec<PathBuf>,
    /// Other roots than the machine's.
    roots: Option<Arc<RootCertStore>>,
    /// `None` where nothing was set.
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    from: Fingerprint,
    config: Arc<ClientConfig>,
}

impl TlsSource {
    /// Reads what the settings name.
    pub(crate) fn new(
        settings: &TlsConfig,
        http2: bool,
        roots: Option<&Arc<RootCertStore>>,
    ) -> Result<Self, HttpClientError> {
        let files: Vec<PathBuf> = settings.files().into_iter().map(Path::to_owned).collect();
        let made = if settings.is_default() && roots.is_none() {
            None
        } else {
            Some(Made {
                from: Fingerprint::of(&files),
                config: Arc::new(client_config(settings, http2, roots.unwrap_or(&MACHINE_ROOTS))?),
            })
        };
        Ok(TlsSource {
            settings: settings.clone(),
            http2,
            files,
            roots: roots.cloned(),
            made: Mutex::new(made),
        })
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let made = self.made.lock().as_ref().map(|made| made.config.clone());
        made.or_else(|| PLAIN[usize::from(self.http2)].clone())
            .expect("the default settings make a configuration: they name no file and no version")
    }

    /// The name that a server's certificate must carry, which is also the one we ask for.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, HttpClientError> {
        let name = if self.settings.server_name.is_empty() {
            host
        } else {
            &self.settings.server_name
        };
        match name.parse::<IpAddr>() {
            Ok(address) => Ok(ServerName::from(address)),
            Err(_) => ServerName::try_from(name.to_owned())
                .map_err(|_| HttpClientError::ServerName(name.to_owned())),
        }
    }

    pub(crate) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Reads the files again if they have changed; says whether they have. A change that fails is tried once.
    pub(crate) fn refresh(&self) -> Result<bool, HttpClientError> {
        let now = Fingerprint::of(&self.files);
        {
            let mut made = self.made.lock();
            match made.as_mut() {
                Some(made) if made.from != now => made.from = now,
                _ => return Ok(false),
            }
        }
        let roots = self.roots.as_ref().unwrap_or(&MACHINE_ROOTS);
        let config = Arc::new(client_config(&self.settings, self.http2, roots)?);
        if let Some(made) = self.made.lock().as_mut() {
            made.config = config;
        }
        Ok(true)
    }
}

/// Builds the client side of TLS. Files are read here.
fn client_config(
    tls: &TlsConfig,
    http2: bool,
    machine: &Arc<RootCertStore>,
) -> Result<ClientConfig, HttpClientError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls))
        .map_err(|source| HttpClientError::Tls {
            what: "protocol versions",
            source,
        })?;
    let builder = if tls.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else {
        let (roots, own) = roots(tls, machine)?;
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| HttpClientError::Certificate {
                what: "CA cert",
                detail: error.to_string(),
            })?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Vouched { inner, own }))
    };
    let certificate = pem(&tls.cert, &tls.cert_file, "client cert")?;
    let key = pem(tls.key.reveal(), &tls.key_file, "client key")?;
    let mut config = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(&certificate, "client cert")?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| HttpClientError::Certificate {
                what: "client key",
                detail: e.to_string(),
            })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| HttpClientError::Tls {
                    what: "client certificate and key",
                    source,
                })?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    Ok(config)
}

/// TLS 1.0 and 1.1 are read from configurations but never spoken: the library does not have them.
fn versions(tls: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let lowest = tls.min_version.unwrap_or(TlsVersion::Tls12);
    let highest = tls.max_version.unwrap_or(TlsVersion::Tls13);
    [
        (TlsVersion::Tls12, &rustls::version::TLS12),
        (TlsVersion::Tls13, &rustls::version::TLS13),
    ]
    .into_iter()
    .filter(|(version, _)| lowest <= *version && *version <= highest)
    .map(|(_, supported)| supported)
    .collect()
}

/// Who vouches for servers, and their certificates where the settings name them.
fn roots(
    tls: &TlsConfig,
    machine: &Arc<RootCertStore>,
) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), HttpClientError> {
    let Some(pem) = pem(&tls.ca, &tls.ca_file, "CA cert")? else {
        return Ok((machine.clone(), Vec::new()));
    };
    let own = certificates(&pem, "CA cert")?;
    let mut store = RootCertStore::empty();
    for certificate in &own {
        store
            .add(certificate.clone())
            .map_err(|e| HttpClientError::Certificate {
                what: "CA cert",
                detail: e.to_string(),
            })?;
    }
    Ok((Arc::new(store), own))
}

fn pem(text: &str, file: &Path, what: &'static str) -> Result<Option<Vec<u8>>, HttpClientError> {
    if !text.is_empty() {
        return Ok(Some(text.as_bytes().to_vec()));
    }
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let bytes = std::fs::read(file).map_err(|source| HttpClientError::File {
        what,
        path: file.to_owned(),
        source,
    })?;
    Ok(Some(bytes))
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, HttpClientError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|e| HttpClientError::Certificate {
        what,
        detail: e.to_string(),
    })?;
    if chain.is_empty() {
        return Err(HttpClientError::Certificate {
            what,
            detail: "no certificate found".to_owned(),
        });
    }
    Ok(chain)
}

/// Takes what the roots vouch for, and the certificates themselves that the settings name.
///
/// Compat: a server may show a certificate that it signed itself, where `ca` has that very certificate
/// (`a_server_may_vouch_for_itself`). The library takes no certificate of an authority for a server's, and tools mark
/// those that sign themselves as such.
#[derive(Debug)]
struct Vouched {
    inner: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl Vouched {
    /// Whether nothing is wrong but that the certificate is an authority's. Its time has been looked at by then.
    fn is_authority(error: &rustls::Error) -> bool {
        let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
            return false;
        };
        matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
    }
}

impl ServerCertVerifier for Vouched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict =
            self.inner
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            Err(error) if Self::is_authority(&error) && self.own.iter().any(|own| own == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// `insecure_skip_verify`: any certificate will do, as long as the server holds its key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
