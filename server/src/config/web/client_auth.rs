//! `client_auth_type` and its like: whose certificates are taken.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::certificate;
use super::tls::{TlsError, TlsServerConfig, certificates};

/// `client_auth_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

/// Who looks at the certificates that clients show; `None` where they are asked for none.
pub(super) fn verifier(
    config: &TlsServerConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let inner: Arc<dyn ClientCertVerifier> = match config.client_auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Request | ClientAuth::RequireAny => Arc::new(AnyCertificate {
            mandatory: config.client_auth == ClientAuth::RequireAny,
            algorithms: provider.signature_verification_algorithms,
        }),
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
            let (roots, own) = client_roots(config)?;
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let inner = match config.client_auth {
                ClientAuth::VerifyIfGiven => builder.allow_unauthenticated().build()?,
                _ => builder.build()?,
            };
            Arc::new(Vouched { inner, own })
        }
    };
    Ok(Some(match &config.client_allowed_sans {
        None => inner,
        Some(allowed) => Arc::new(AllowedNames {
            inner,
            allowed: allowed.clone(),
        }),
    }))
}

/// Who vouches for clients, and their certificates where the configuration names them.
///
/// Compat: without a file the machine's roots do, as for Go.
fn client_roots(config: &TlsServerConfig) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(source) = &config.client_ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok((roots, Vec::new()));
    };
    let own = certificates(source)?;
    for certificate in &own {
        roots
            .add(certificate.clone())
            .map_err(|error| TlsError::ClientCa {
                what: format!("{source:?}"),
                source: error,
            })?;
    }
    Ok((roots, own))
}

/// Takes any certificate: who holds its key is proven, who that is is not asked.
#[derive(Debug)]
struct AnyCertificate {
    mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes what the roots vouch for, and the roots' certificates themselves.
///
/// Compat: a client may show a certificate that it signed itself, where the configuration has that very certificate
/// (`a_client_may_vouch_for_itself`). The library takes no certificate of an authority for a client's, and tools mark those
/// that sign themselves as such.
#[derive(Debug)]
struct Vouched {
    inner: Arc<dyn ClientCertVerifier>,
    own: Vec<CertificateDer<'static>>,
}

/// Takes what another one takes, if it has one of some names.
#[derive(Debug)]
struct AllowedNames {
    inner: Arc<dyn ClientCertVerifier>,
    allowed: Vec<String>,
}

/// What is the inner one's.
macro_rules! as_inner {
    () => {
        fn root_hint_subjects(&self) -> &[DistinguishedName] {
            self.inner.root_hint_subjects()
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.inner
                .verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.inner
                .verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.inner.supported_verify_schemes()
        }
    };
}

impl ClientCertVerifier for Vouched {
    as_inner!();

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let refused = match self.inner.verify_client_cert(certificate, chain, now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
                rustls::Error::InvalidCertificate(CertificateError::Other(other))
            }
            verdict => return verdict,
        };
        if !self.own.iter().any(|own| own == certificate) {
            return Err(refused);
        }
        match certificate::validity(certificate) {
            Some(validity) if validity.contains(&now.as_secs()) => Ok(ClientCertVerified::assertion()),
            Some(validity) if *validity.start() > now.as_secs() => Err(CertificateError::NotValidYet.into()),
            Some(_) => Err(CertificateError::Expired.into()),
            None => Err(refused),
        }
    }
}

impl ClientCertVerifier for AllowedNames {
    as_inner!();

    fn client_auth_mandatory(&self) -> bool {
        // Compat: whoever shows no certificate has none of the names, even where showing one is not asked for
        // (`names_that_clients_may_have`).
        true
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(certificate, chain, now)?;
        let names = certificate::names(certificate).unwrap_or_default();
        if names.iter().any(|name| self.allowed.contains(name)) {
            return Ok(verified);
        }
        tracing::debug!(
            ?names,
            "A client's certificate has none of the names in client_allowed_sans"
        );
        // Compat: the client is told that its certificate is a bad one.
        Err(CertificateError::NotValidForName.into())
    }
}
