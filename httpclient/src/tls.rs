//! From TLS settings to a TLS client configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};

use crate::client::HttpClientError;
use crate::config::{TlsConfig, TlsVersion};

/// Builds the client side of TLS. Files are read here.
pub(crate) fn client_config(tls: &TlsConfig, http2: bool) -> Result<ClientConfig, HttpClientError> {
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
        let roots = Arc::new(roots(tls)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| HttpClientError::Certificate {
                what: "CA cert",
                detail: error.to_string(),
            })?;
        if tls.server_name.is_empty() {
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            let name = ServerName::try_from(tls.server_name.clone())
                .map_err(|_| HttpClientError::ServerName(tls.server_name.clone()))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(FixedName { name, verifier }))
        }
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

fn roots(tls: &TlsConfig) -> Result<RootCertStore, HttpClientError> {
    let mut store = RootCertStore::empty();
    if let Some(pem) = pem(&tls.ca, &tls.ca_file, "CA cert")? {
        for certificate in certificates(&pem, "CA cert")? {
            store.add(certificate).map_err(|e| HttpClientError::Certificate {
                what: "CA cert",
                detail: e.to_string(),
            })?;
        }
        return Ok(store);
    }
    // Bad certificates in the machine's store are the machine's; as many as can be used are used.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(store)
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

/// Checks certificates against a name that is not the host's (`server_name`).
#[derive(Debug)]
struct FixedName {
    name: ServerName<'static>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for FixedName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
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
