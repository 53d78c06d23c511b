//! Signing with RSA keys: tokens (RFC 7515, 7519) that say who asks.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use ring::digest;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Map, Value};

/// How a token is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the algorithm of its name")]
pub enum Algorithm {
    #[default]
    Rs256,
    Rs384,
    Rs512,
    /// Of tokens that name a certificate.
    Ps256,
}

impl Algorithm {
    /// Those that a configuration may name, by name.
    pub const NAMED: [(&'static str, Algorithm); 3] = [
        ("RS256", Algorithm::Rs256),
        ("RS384", Algorithm::Rs384),
        ("RS512", Algorithm::Rs512),
    ];

    fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
        }
    }

    fn encoding(self) -> &'static dyn RsaEncoding {
        match self {
            Algorithm::Rs256 => &RSA_PKCS1_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_SHA512,
            Algorithm::Ps256 => &RSA_PSS_SHA256,
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No private key in PEM.
    #[error("no private key in PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    /// A private key of another kind.
    #[error("not an RSA key; write one as PKCS #8 (BEGIN PRIVATE KEY) or PKCS #1 (BEGIN RSA PRIVATE KEY)")]
    Kind,
    /// An RSA key that is refused.
    #[error("RSA key refused: {0}; it needs 2048 to 8192 bits")]
    Refused(ring::error::KeyRejected),
    /// No certificate in PEM.
    #[error("no certificate in PEM; files in PFX form are not read: write it and its key as PEM")]
    NoCertificate,
    /// Signing failed.
    #[error("signing failed")]
    Signing,
}

/// A private RSA key.
#[derive(Debug)]
pub struct SigningKey(KeyPair);

impl SigningKey {
    /// Reads the first private key of a PEM text.
    ///
    /// # Errors
    /// When there is none, or none that can be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let pair = match PrivateKeyDer::from_pem_slice(pem).map_err(KeyError::Pem)? {
            PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(KeyError::Kind),
        };
        pair.map(SigningKey).map_err(KeyError::Refused)
    }

    /// The signature of `message`.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(
                algorithm.encoding(),
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(|_| KeyError::Signing)?;
        Ok(signature)
    }

    /// A signed token with `claims`; `key_id` names the key to whoever checks it.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn token(
        &self,
        algorithm: Algorithm,
        key_id: &str,
        claims: &Map<String, Value>,
    ) -> Result<String, KeyError> {
        let mut header = Map::new();
        if !key_id.is_empty() {
            header.insert("kid".to_owned(), key_id.into());
        }
        self.token_of(algorithm, header, claims)
    }

    fn token_of(
        &self,
        algorithm: Algorithm,
        mut header: Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> Result<String, KeyError> {
        header.insert("alg".to_owned(), algorithm.name().into());
        header.insert("typ".to_owned(), "JWT".into());
        let part = |map: &Map<String, Value>| BASE64URL.encode(Value::Object(map.clone()).to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = self.sign(algorithm, message.as_bytes())?;
        Ok(format!("{message}.{}", BASE64URL.encode(signature)))
    }
}

/// A private RSA key with the certificate that says whose it is.
#[derive(Debug)]
pub struct CertifiedKey {
    key: SigningKey,
    /// The key's own certificate, then those that vouch for it.
    chain: Vec<CertificateDer<'static>>,
}

impl CertifiedKey {
    /// Reads all certificates of one PEM text and the first private key of another, which may be the same.
    ///
    /// # Errors
    /// When there is none, or none that can be used.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, KeyError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(KeyError::Pem)?;
        if chain.is_empty() {
            return Err(KeyError::NoCertificate);
        }
        Ok(CertifiedKey {
            key: SigningKey::from_pem(key)?,
            chain,
        })
    }

    /// A signed token with `claims` that names the certificate by its thumbprint (`x5t#S256`, RFC 7515), and brings all of them
    /// along where `with_chain` is set.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn token(&self, with_chain: bool, claims: &Map<String, Value>) -> Result<String, KeyError> {
        let mut header = Map::new();
        let own = self.chain.first().ok_or(KeyError::NoCertificate)?;
        let thumbprint = digest::digest(&digest::SHA256, own);
        header.insert("x5t#S256".to_owned(), BASE64URL.encode(thumbprint).into());
        if with_chain {
            let chain = self
                .chain
                .iter()
                .map(|certificate| Value::from(BASE64.encode(certificate)));
            header.insert("x5c".to_owned(), chain.collect());
        }
        self.key.token_of(Algorithm::Ps256, header, claims)
    }
}
