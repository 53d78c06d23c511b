//! The section of HTTP client settings that scrape, discovery, remote and notification configurations share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use yaml::{FromYaml, Node, NodeKind, ScalarKind, Secret, Section, Value, YamlError};

use crate::rsa::Algorithm;

/// The grant of OAuth 2.0 by which we sign a token ourselves and show it for another one (RFC 7523).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How to reach HTTP servers. All keys stand directly in the section that carries them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpClientConfig {
    /// User name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// `Authorization` header; the older `bearer_token` keys end up here too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// OAuth 2.0 client credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// Certificates.
    #[serde(skip_serializing_if = "TlsConfig::is_default")]
    pub tls_config: TlsConfig,
    /// Follow redirects.
    pub follow_redirects: bool,
    /// Let servers elsewhere redirect to link-local addresses and metadata services.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_link_local_redirects: bool,
    /// Offer HTTP/2 over TLS.
    pub enable_http2: bool,
    /// Proxy settings.
    #[serde(flatten)]
    pub proxy: ProxyConfig,
    /// Further headers of each request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http_headers: BTreeMap<String, HeaderValues>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        HttpClientConfig {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            tls_config: TlsConfig::default(),
            follow_redirects: true,
            allow_link_local_redirects: false,
            enable_http2: true,
            proxy: ProxyConfig::default(),
            http_headers: BTreeMap::new(),
        }
    }
}

/// User name and password, or the files that hold them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BasicAuth {
    /// User name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// File that holds the user name.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub username_file: PathBuf,
    /// Password.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// File that holds the password.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub password_file: PathBuf,
}

/// An `Authorization` header.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Authorization {
    /// Scheme, `Bearer` by default.
    #[serde(rename = "type")]
    pub scheme: String,
    /// Credentials.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub credentials: Secret,
    /// File that holds the credentials.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub credentials_file: PathBuf,
}

/// OAuth 2.0 with client credentials, or with tokens that we sign ourselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OAuth2 {
    /// Client.
    pub client_id: String,
    /// Its secret.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_secret: Secret,
    /// File that holds the secret.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub client_secret_file: PathBuf,
    /// Name of the key that tokens are signed with, for who checks them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_key_id: String,
    /// RSA key that tokens are signed with.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_certificate_key: Secret,
    /// File that holds the key.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub client_certificate_key_file: PathBuf,
    /// [`JWT_BEARER`]; anything else means client credentials.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grant_type: String,
    /// `RS256`, `RS384` or `RS512`; `RS256` if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature_algorithm: String,
    /// Who asks; `client_id` if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub iss: String,
    /// Whom the token that we sign is meant for; `token_url` if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audience: String,
    /// What it says besides.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// Scopes to ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Where to ask.
    pub token_url: String,
    /// Further parameters of the token request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoint_params: BTreeMap<String, String>,
    /// Certificates of the token endpoint.
    #[serde(skip_serializing_if = "TlsConfig::is_default")]
    pub tls_config: TlsConfig,
    /// Proxy to the token endpoint.
    #[serde(flatten)]
    pub proxy: ProxyConfig,
}

/// Lowest or highest TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "each is the version of its name")]
pub enum TlsVersion {
    #[serde(rename = "TLS10")]
    Tls10,
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// Certificates and how they are checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TlsConfig {
    /// Roots, as PEM text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    /// File of roots.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub ca_file: PathBuf,
    /// Our certificate, as PEM text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// File of our certificate.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub cert_file: PathBuf,
    /// Our key, as PEM text.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key: Secret,
    /// File of our key.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub key_file: PathBuf,
    /// Name that the server's certificate must carry, where it is not the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Lowest version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// Highest version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
}

impl TlsConfig {
    /// Whether nothing was set.
    pub fn is_default(&self) -> bool {
        *self == TlsConfig::default()
    }
}

/// How to reach servers through a proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProxyConfig {
    /// Proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_url: Option<String>,
    /// Hosts that are reached without it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub no_proxy: String,
    /// Take the proxy from `HTTP_PROXY` and its like.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_from_environment: bool,
    /// Headers for the proxy's `CONNECT`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

/// Values of a header: given, secret, or in files.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeaderValues {
    /// Given values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Secret values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Files that hold values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

/// Headers that a configuration may not set, in lower case.
const RESERVED_HEADERS: [&str; 16] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
];

fn is_empty_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

impl HttpClientConfig {
    /// Takes the keys of this section out of the section that carries them.
    ///
    /// # Errors
    /// When a value is of the wrong kind, or settings contradict each other.
    pub fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let (mut config, token) = HttpClientConfig::take(section)?;
        config.check(section, token)?;
        Ok(config)
    }

    /// As [`HttpClientConfig::read`], but settings that contradict each other pass, and the older `bearer_token` keys
    /// count for nothing.
    ///
    /// # Errors
    /// When a value is of the wrong kind.
    pub fn read_unchecked(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(HttpClientConfig::take(section)?.0)
    }

    /// Takes the keys; the older ones for a token by themselves.
    fn take(section: &mut Section<'_>) -> Result<(Self, (Secret, PathBuf)), YamlError> {
        let defaults = HttpClientConfig::default();
        let bearer_token: Secret = section.get_or("bearer_token", Secret::default())?;
        let bearer_token_file = path(section, "bearer_token_file")?;
        let config = HttpClientConfig {
            basic_auth: section.value("basic_auth").map(BasicAuth::read).transpose()?,
            authorization: section
                .value("authorization")
                .map(Authorization::read)
                .transpose()?,
            oauth2: section.value("oauth2").map(OAuth2::read).transpose()?,
            tls_config: section
                .value("tls_config")
                .map(TlsConfig::read)
                .transpose()?
                .unwrap_or_default(),
            follow_redirects: section.get_or("follow_redirects", defaults.follow_redirects)?,
            allow_link_local_redirects: section.get_or("allow_link_local_redirects", false)?,
            enable_http2: section.get_or("enable_http2", defaults.enable_http2)?,
            proxy: ProxyConfig::read(section)?,
            http_headers: read_headers(section)?,
        };
        Ok((config, (bearer_token, bearer_token_file)))
    }

    fn check(
        &mut self,
        section: &Section<'_>,
        (bearer_token, bearer_token_file): (Secret, PathBuf),
    ) -> Result<(), YamlError> {
        let config = self;
        let has_token = !bearer_token.is_empty();
        let has_token_file = !is_empty_path(&bearer_token_file);
        if has_token && has_token_file {
            return Err(section.error_at(
                "bearer_token_file",
                "at most one of bearer_token & bearer_token_file must be configured",
            ));
        }
        if (has_token || has_token_file) && (config.basic_auth.is_some() || config.oauth2.is_some()) {
            let key = if has_token {
                "bearer_token"
            } else {
                "bearer_token_file"
            };
            return Err(section.error_at(
                key,
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
            ));
        }
        if config.authorization.is_some() {
            if has_token || has_token_file {
                return Err(section.error_at(
                    "authorization",
                    "authorization is not compatible with bearer_token & bearer_token_file",
                ));
            }
            if config.basic_auth.is_some() || config.oauth2.is_some() {
                return Err(section.error_at(
                    "authorization",
                    "at most one of basic_auth, oauth2 & authorization must be configured",
                ));
            }
        } else if has_token || has_token_file {
            config.authorization = Some(Authorization {
                scheme: "Bearer".to_owned(),
                credentials: bearer_token,
                credentials_file: bearer_token_file,
            });
        }
        if config.oauth2.is_some() && config.basic_auth.is_some() {
            return Err(section.error_at(
                "oauth2",
                "at most one of basic_auth, oauth2 & authorization must be configured",
            ));
        }
        Ok(())
    }

    /// Makes relative file names relative to `folder`, that of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        if let Some(auth) = &mut self.basic_auth {
            resolve(folder, &mut auth.username_file);
            resolve(folder, &mut auth.password_file);
        }
        if let Some(auth) = &mut self.authorization {
            resolve(folder, &mut auth.credentials_file);
        }
        if let Some(oauth2) = &mut self.oauth2 {
            resolve(folder, &mut oauth2.client_secret_file);
            resolve(folder, &mut oauth2.client_certificate_key_file);
            oauth2.tls_config.resolve_paths(folder);
        }
        self.tls_config.resolve_paths(folder);
        for header in self.http_headers.values_mut() {
            for file in &mut header.files {
                resolve(folder, file);
            }
        }
    }

    /// Every file that the settings name: what a configuration check looks for.
    pub fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = self.tls_config.files();
        if let Some(auth) = &self.basic_auth {
            files.extend([auth.username_file.as_path(), auth.password_file.as_path()]);
        }
        files.extend(
            self.authorization
                .as_ref()
                .map(|auth| auth.credentials_file.as_path()),
        );
        if let Some(oauth2) = &self.oauth2 {
            files.push(&oauth2.client_secret_file);
            files.push(&oauth2.client_certificate_key_file);
            files.extend(oauth2.tls_config.files());
        }
        files.extend(
            self.http_headers
                .values()
                .flat_map(|header| header.files.iter().map(PathBuf::as_path)),
        );
        files.retain(|file| !is_empty_path(file));
        files
    }
}

fn resolve(folder: &Path, file: &mut PathBuf) {
    if !is_empty_path(file) && file.is_relative() {
        *file = folder.join(&*file);
    }
}

fn path(section: &mut Section<'_>, key: &'static str) -> Result<PathBuf, YamlError> {
    Ok(PathBuf::from(section.get_or(key, String::new())?))
}

impl BasicAuth {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("basic_auth")?;
        let auth = BasicAuth {
            username: section.get_or("username", String::new())?,
            username_file: path(&mut section, "username_file")?,
            password: section.get_or("password", Secret::default())?,
            password_file: path(&mut section, "password_file")?,
        };
        if !auth.username.is_empty() && !is_empty_path(&auth.username_file) {
            return Err(section.error_at(
                "username_file",
                "at most one of basic_auth username, username_file & username_ref must be configured",
            ));
        }
        if !auth.password.is_empty() && !is_empty_path(&auth.password_file) {
            return Err(section.error_at(
                "password_file",
                "at most one of basic_auth password, password_file & password_ref must be configured",
            ));
        }
        section.finish()?;
        Ok(auth)
    }
}

impl Authorization {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("authorization")?;
        let scheme: String = section.get_or("type", String::new())?;
        let auth = Authorization {
            scheme: if scheme.trim().is_empty() {
                "Bearer".to_owned()
            } else {
                scheme.trim().to_owned()
            },
            credentials: section.get_or("credentials", Secret::default())?,
            credentials_file: path(&mut section, "credentials_file")?,
        };
        if !auth.credentials.is_empty() && !is_empty_path(&auth.credentials_file) {
            return Err(section.error_at(
                "credentials_file",
                "at most one of authorization credentials & credentials_file must be configured",
            ));
        }
        if auth.scheme.eq_ignore_ascii_case("basic") {
            return Err(section.error_at(
                "type",
                r#"authorization type cannot be set to "basic", use "basic_auth" instead"#,
            ));
        }
        section.finish()?;
        Ok(auth)
    }
}

impl OAuth2 {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("oauth2")?;
        let oauth2 = OAuth2 {
            client_id: section.get_or("client_id", String::new())?,
            client_secret: section.get_or("client_secret", Secret::default())?,
            client_secret_file: path(&mut section, "client_secret_file")?,
            client_certificate_key_id: section.get_or("client_certificate_key_id", String::new())?,
            client_certificate_key: section.get_or("client_certificate_key", Secret::default())?,
            client_certificate_key_file: path(&mut section, "client_certificate_key_file")?,
            grant_type: section.get_or("grant_type", String::new())?,
            signature_algorithm: section.get_or("signature_algorithm", String::new())?,
            iss: section.get_or("iss", String::new())?,
            audience: section.get_or("audience", String::new())?,
            claims: read_claims(&mut section)?,
            scopes: section.get_or("scopes", Vec::new())?,
            token_url: section.get_or("token_url", String::new())?,
            endpoint_params: section.get_or("endpoint_params", BTreeMap::new())?,
            tls_config: section
                .value("tls_config")
                .map(TlsConfig::read)
                .transpose()?
                .unwrap_or_default(),
            proxy: ProxyConfig::read(&mut section)?,
        };
        if oauth2.client_id.is_empty() {
            return Err(section.error("oauth2 client_id must be configured"));
        }
        if oauth2.token_url.is_empty() {
            return Err(section.error("oauth2 token_url must be configured"));
        }
        oauth2.check_grant(&section)?;
        section.finish()?;
        Ok(oauth2)
    }

    /// Whether tokens that we sign ourselves are what we show.
    pub(crate) fn signs(&self) -> bool {
        self.grant_type == JWT_BEARER
    }

    fn check_grant(&self, section: &Section<'_>) -> Result<(), YamlError> {
        if self.signs() {
            if !self.client_certificate_key.is_empty() && !is_empty_path(&self.client_certificate_key_file) {
                return Err(section.error_at(
                    "client_certificate_key_file",
                    format_args!(
                        "at most one of oauth2 client_certificate_key, client_certificate_key_file & \
                         client_certificate_key_ref must be configured using grant-type={JWT_BEARER}"
                    ),
                ));
            }
            let known = Algorithm::NAMED
                .iter()
                .any(|(name, _)| *name == self.signature_algorithm);
            if !self.signature_algorithm.is_empty() && !known {
                let message = "valid signature algorithms are RS256, RS384 and RS512";
                return Err(section.error_at("signature_algorithm", message));
            }
            return Ok(());
        }
        if !self.client_secret.is_empty() && !is_empty_path(&self.client_secret_file) {
            return Err(section.error_at(
                "client_secret_file",
                "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be \
                 configured using grant-type=client_credentials",
            ));
        }
        Ok(())
    }
}

/// Takes `claims`: anything that JSON can say.
fn read_claims(section: &mut Section<'_>) -> Result<serde_json::Map<String, serde_json::Value>, YamlError> {
    let Some(value) = section.value("claims") else {
        return Ok(serde_json::Map::new());
    };
    match to_json(value.node) {
        serde_json::Value::Object(claims) => Ok(claims),
        _ => Err(value.unexpected("a mapping of claims")),
    }
}

/// Compat: numbers, truth values and texts are what they are in YAML. The depth is that of the file, which has a bound.
fn to_json(node: &Node) -> serde_json::Value {
    match &node.kind {
        NodeKind::Scalar(scalar) => match scalar.kind {
            ScalarKind::Null => serde_json::Value::Null,
            ScalarKind::Bool(is) => is.into(),
            ScalarKind::Int(number) => number.into(),
            ScalarKind::Float(number) => number.into(),
            ScalarKind::String => scalar.text.clone().into(),
        },
        NodeKind::Sequence(items) => items.iter().map(to_json).collect::<Vec<_>>().into(),
        NodeKind::Mapping(pairs) => {
            let text = |key: &Node| match &key.kind {
                NodeKind::Scalar(scalar) => scalar.text.clone(),
                _ => String::new(),
            };
            let pairs = pairs.iter().map(|(key, value)| (text(key), to_json(value)));
            serde_json::Value::Object(pairs.collect())
        }
    }
}

impl TlsConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// When settings contradict each other.
    pub fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("tls_config")?;
        let tls = TlsConfig {
            ca: section.get_or("ca", String::new())?,
            ca_file: path(&mut section, "ca_file")?,
            cert: section.get_or("cert", String::new())?,
            cert_file: path(&mut section, "cert_file")?,
            key: section.get_or("key", Secret::default())?,
            key_file: path(&mut section, "key_file")?,
            server_name: section.get_or("server_name", String::new())?,
            insecure_skip_verify: section.get_or("insecure_skip_verify", false)?,
            min_version: section.get("min_version")?,
            max_version: section.get("max_version")?,
        };
        let has = |text: &str, file: &Path| (!text.is_empty(), !is_empty_path(file));
        let (ca, ca_file) = has(&tls.ca, &tls.ca_file);
        let (cert, cert_file) = has(&tls.cert, &tls.cert_file);
        let (key, key_file) = has(tls.key.reveal(), &tls.key_file);
        let problem = if ca && ca_file {
            Some((
                "ca_file",
                "at most one of ca, ca_file & ca_ref must be configured",
            ))
        } else if cert && cert_file {
            Some((
                "cert_file",
                "at most one of cert, cert_file & cert_ref must be configured",
            ))
        } else if key && key_file {
            Some(("key_file", "at most one of key and key_file must be configured"))
        } else if (cert || cert_file) && !(key || key_file) {
            let message =
                "exactly one of key or key_file must be configured when a client certificate is configured";
            Some((if cert { "cert" } else { "cert_file" }, message))
        } else if (key || key_file) && !(cert || cert_file) {
            let message =
                "exactly one of cert or cert_file must be configured when a client key is configured";
            Some((if key { "key" } else { "key_file" }, message))
        } else if tls.max_version.is_some() && tls.max_version < tls.min_version {
            let message = "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified";
            Some(("max_version", message))
        } else {
            None
        };
        if let Some((key, message)) = problem {
            return Err(section.error_at(key, message));
        }
        section.finish()?;
        Ok(tls)
    }

    /// Makes relative file names relative to `folder`.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for file in [&mut self.ca_file, &mut self.cert_file, &mut self.key_file] {
            resolve(folder, file);
        }
    }

    /// Files that the settings name.
    pub fn files(&self) -> Vec<&Path> {
        let all = [self.ca_file.as_path(), &self.cert_file, &self.key_file];
        all.into_iter().filter(|file| !is_empty_path(file)).collect()
    }
}

impl FromYaml for TlsVersion {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        match value.scalar().map(|scalar| scalar.text.as_str()) {
            Some("TLS10") => Ok(TlsVersion::Tls10),
            Some("TLS11") => Ok(TlsVersion::Tls11),
            Some("TLS12") => Ok(TlsVersion::Tls12),
            Some("TLS13") => Ok(TlsVersion::Tls13),
            Some(other) => Err(value.error(format_args!("unknown TLS version: {other}"))),
            None => Err(value.unexpected("a TLS version like TLS12")),
        }
    }
}

impl ProxyConfig {
    /// Takes the proxy keys out of the section that carries them.
    ///
    /// # Errors
    /// When settings contradict each other.
    pub fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let proxy = ProxyConfig {
            proxy_url: section.get::<String>("proxy_url")?.filter(|url| !url.is_empty()),
            no_proxy: section.get_or("no_proxy", String::new())?,
            proxy_from_environment: section.get_or("proxy_from_environment", false)?,
            proxy_connect_header: section.get_or("proxy_connect_header", BTreeMap::new())?,
        };
        // Compat: `foo` passes here, as an address without a scheme is one to Go (conformance `conf.http-config.good`);
        // the client that is to use it cannot be built.
        if let Some(url) = &proxy.proxy_url
            && let Err(error) = url::Url::parse(url)
            && error != url::ParseError::RelativeUrlWithoutBase
        {
            return Err(section.error_at("proxy_url", format_args!("invalid proxy URL: {error}")));
        }
        let has_proxy = proxy.proxy_url.is_some();
        let problem = if !proxy.proxy_connect_header.is_empty() && !has_proxy && !proxy.proxy_from_environment
        {
            let message = "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured";
            Some(("proxy_connect_header", message))
        } else if proxy.proxy_from_environment && has_proxy {
            Some((
                "proxy_url",
                "if proxy_from_environment is configured, proxy_url must not be configured",
            ))
        } else if proxy.proxy_from_environment && !proxy.no_proxy.is_empty() {
            Some((
                "no_proxy",
                "if proxy_from_environment is configured, no_proxy must not be configured",
            ))
        } else if !proxy.no_proxy.is_empty() && !has_proxy {
            Some((
                "no_proxy",
                "if no_proxy is configured, proxy_url must also be configured",
            ))
        } else {
            None
        };
        match problem {
            Some((key, message)) => Err(section.error_at(key, message)),
            None => Ok(proxy),
        }
    }
}

fn read_headers(section: &mut Section<'_>) -> Result<BTreeMap<String, HeaderValues>, YamlError> {
    let Some(value) = section.value("http_headers") else {
        return Ok(BTreeMap::new());
    };
    let headers: BTreeMap<String, HeaderValues> = FromYaml::from_yaml(value)?;
    for name in headers.keys() {
        let lower = name.to_ascii_lowercase();
        if RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("x-amz-") {
            let shown = canonical_header(name);
            return Err(value.error(format_args!("setting header \"{shown}\" is not allowed")));
        }
    }
    Ok(headers)
}

/// `x-amz-date` as `X-Amz-Date`.
fn canonical_header(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut chars = word.chars();
        chars.next().map_or_else(String::new, |first| {
            first.to_ascii_uppercase().to_string() + &chars.as_str().to_ascii_lowercase()
        })
    });
    words.collect::<Vec<_>>().join("-")
}

impl FromYaml for HeaderValues {
    fn null() -> Option<Self> {
        Some(HeaderValues::default())
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("http_headers")?;
        let files: Vec<String> = section.get_or("files", Vec::new())?;
        let header = HeaderValues {
            values: section.get_or("values", Vec::new())?,
            secrets: section.get_or("secrets", Vec::new())?,
            files: files.into_iter().map(PathBuf::from).collect(),
        };
        section.finish()?;
        Ok(header)
    }
}
