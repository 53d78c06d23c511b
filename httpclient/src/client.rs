//! A client with its credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Method, NoProxy, Proxy, RequestBuilder, redirect};

use crate::config::{HttpClientConfig, OAuth2, ProxyConfig, TlsConfig};
use crate::tls;

/// Idle connections are closed after this time, as in the reference.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Redirects followed before giving up, as in Go.
const REDIRECTS_MAX: usize = 10;
/// A token is renewed this long before it expires.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// Why a client could not be built, or a request not be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpClientError {
    /// A file that the settings name cannot be read.
    #[error("unable to read {what} {}: {source}", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate or key is not what it should be.
    #[error("unable to use specified {what}: {detail}")]
    Certificate {
        /// Which.
        what: &'static str,
        /// Why not.
        detail: String,
    },
    /// The TLS library refused the settings.
    #[error("unable to use {what}: {source}")]
    Tls {
        /// Which.
        what: &'static str,
        /// Why not.
        source: rustls::Error,
    },
    /// `server_name` is neither a host name nor an address.
    #[error("server_name {0:?} is not a host name")]
    ServerName(String),
    /// A header's name or value cannot be sent.
    #[error("header {0:?} cannot be sent")]
    Header(String),
    /// The HTTP library refused the settings.
    #[error("HTTP client: {0}")]
    Build(#[source] reqwest::Error),
    /// The token endpoint did not give a token.
    #[error("oauth2 token from {url}: {detail}")]
    Token {
        /// The endpoint.
        url: String,
        /// What happened.
        detail: String,
    },
}

/// A client with its credentials. Cloning shares connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: reqwest::Client,
    config: HttpClientConfig,
    oauth2: Option<TokenSource>,
}

impl HttpClient {
    /// Builds a client; `user_agent` is sent with each request. Certificates are read here.
    ///
    /// # Errors
    /// When a file cannot be read or holds no certificate.
    pub fn new(config: &HttpClientConfig, user_agent: &str) -> Result<Self, HttpClientError> {
        let redirects = if config.follow_redirects {
            redirect::Policy::limited(REDIRECTS_MAX)
        } else {
            redirect::Policy::none()
        };
        let client = build(
            &config.tls_config,
            &config.proxy,
            config.enable_http2,
            redirects,
            user_agent,
        )?;
        let oauth2 = config
            .oauth2
            .as_ref()
            .map(|oauth2| TokenSource::new(oauth2, user_agent))
            .transpose()?;
        Ok(HttpClient {
            shared: Arc::new(Shared {
                client,
                config: config.clone(),
                oauth2,
            }),
        })
    }

    /// Starts a request that carries the configured headers and credentials. No timeout is set: each caller has its own.
    ///
    /// # Errors
    /// When a secret's file cannot be read, or no token can be had.
    pub async fn request(&self, method: Method, url: url::Url) -> Result<RequestBuilder, HttpClientError> {
        let config = &self.shared.config;
        let mut request = self.shared.client.request(method, url);
        for (name, header) in &config.http_headers {
            let key =
                HeaderName::try_from(name.as_str()).map_err(|_| HttpClientError::Header(name.clone()))?;
            let mut values: Vec<String> = header.values.clone();
            values.extend(header.secrets.iter().map(|secret| secret.reveal().to_owned()));
            for file in &header.files {
                values.push(read_secret(file, "headers file")?);
            }
            for value in values {
                let value =
                    HeaderValue::try_from(value).map_err(|_| HttpClientError::Header(name.clone()))?;
                request = request.header(key.clone(), value);
            }
        }
        if let Some(value) = self.authorization().await? {
            let mut value =
                HeaderValue::try_from(value).map_err(|_| HttpClientError::Header("Authorization".into()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request)
    }

    async fn authorization(&self) -> Result<Option<String>, HttpClientError> {
        let config = &self.shared.config;
        if let Some(basic) = &config.basic_auth {
            let username = secret_or_file(&basic.username, &basic.username_file, "basic auth username")?;
            let password = secret_or_file(
                basic.password.reveal(),
                &basic.password_file,
                "basic auth password",
            )?;
            if username.is_empty() && password.is_empty() {
                return Ok(None);
            }
            return Ok(Some(format!(
                "Basic {}",
                BASE64.encode(format!("{username}:{password}"))
            )));
        }
        if let Some(auth) = &config.authorization {
            let credentials = secret_or_file(
                auth.credentials.reveal(),
                &auth.credentials_file,
                "authorization credentials",
            )?;
            return Ok((!credentials.is_empty()).then(|| format!("{} {credentials}", auth.scheme)));
        }
        match &self.shared.oauth2 {
            Some(source) => Ok(Some(source.header().await?)),
            None => Ok(None),
        }
    }
}

fn build(
    tls: &TlsConfig,
    proxy: &ProxyConfig,
    http2: bool,
    redirects: redirect::Policy,
    user_agent: &str,
) -> Result<reqwest::Client, HttpClientError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config(tls, http2)?)
        .redirect(redirects)
        .user_agent(user_agent)
        .pool_idle_timeout(IDLE_TIMEOUT);
    if !http2 {
        builder = builder.http1_only();
    }
    builder = match &proxy.proxy_url {
        Some(url) => {
            let mut through = Proxy::all(url).map_err(HttpClientError::Build)?;
            through = through.no_proxy(NoProxy::from_string(&proxy.no_proxy));
            for (name, values) in &proxy.proxy_connect_header {
                let key =
                    HeaderName::try_from(name.as_str()).map_err(|_| HttpClientError::Header(name.clone()))?;
                let mut headers = reqwest::header::HeaderMap::new();
                for value in values {
                    let value = HeaderValue::try_from(value.reveal())
                        .map_err(|_| HttpClientError::Header(name.clone()))?;
                    headers.append(key.clone(), value);
                }
                through = through.headers(headers);
            }
            builder.proxy(through)
        }
        None if proxy.proxy_from_environment => builder,
        None => builder.no_proxy(),
    };
    builder.build().map_err(HttpClientError::Build)
}

fn secret_or_file(text: &str, file: &Path, what: &'static str) -> Result<String, HttpClientError> {
    if file.as_os_str().is_empty() {
        Ok(text.to_owned())
    } else {
        read_secret(file, what)
    }
}

/// Secrets are a few bytes in memory-backed files as a rule; reading them does not warrant a thread of its own.
fn read_secret(file: &Path, what: &'static str) -> Result<String, HttpClientError> {
    let text = std::fs::read_to_string(file).map_err(|source| HttpClientError::File {
        what,
        path: file.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

/// Fetches and keeps an OAuth 2.0 token (RFC 6749, section 4.4).
#[derive(Debug)]
struct TokenSource {
    client: reqwest::Client,
    oauth2: OAuth2,
    token: Mutex<Option<Token>>,
}

#[derive(Clone, Debug)]
struct Token {
    header: String,
    secret: String,
    expires: Option<Instant>,
}

#[derive(serde::Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl TokenSource {
    fn new(oauth2: &OAuth2, user_agent: &str) -> Result<Self, HttpClientError> {
        let redirects = redirect::Policy::limited(REDIRECTS_MAX);
        let client = build(&oauth2.tls_config, &oauth2.proxy, true, redirects, user_agent)?;
        Ok(TokenSource {
            client,
            oauth2: oauth2.clone(),
            token: Mutex::new(None),
        })
    }

    async fn header(&self) -> Result<String, HttpClientError> {
        let oauth2 = &self.oauth2;
        let secret = secret_or_file(
            oauth2.client_secret.reveal(),
            &oauth2.client_secret_file,
            "oauth2 client secret",
        )?;
        let kept = self.token.lock().clone();
        if let Some(token) = kept
            && token.secret == secret
            && token
                .expires
                .is_none_or(|expires| Instant::now() + TOKEN_MARGIN < expires)
        {
            return Ok(token.header);
        }
        let token = self.fetch(secret).await?;
        let header = token.header.clone();
        *self.token.lock() = Some(token);
        Ok(header)
    }

    /// The body of the token request.
    fn form(&self) -> String {
        let oauth2 = &self.oauth2;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !oauth2.scopes.is_empty() {
            form.append_pair("scope", &oauth2.scopes.join(" "));
        }
        for (name, value) in &oauth2.endpoint_params {
            form.append_pair(name, value);
        }
        form.finish()
    }

    async fn fetch(&self, secret: String) -> Result<Token, HttpClientError> {
        let oauth2 = &self.oauth2;
        let failed = |detail: String| HttpClientError::Token {
            url: oauth2.token_url.clone(),
            detail,
        };
        let answer = self
            .client
            .post(&oauth2.token_url)
            .basic_auth(&oauth2.client_id, Some(&secret))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .timeout(Duration::from_secs(30))
            .body(self.form())
            .send()
            .await
            .map_err(|e| failed(e.to_string()))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|e| failed(e.to_string()))?;
        if !status.is_success() {
            return Err(failed(format!("status {status}")));
        }
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|e| failed(e.to_string()))?;
        let scheme = answer
            .token_type
            .filter(|t| !t.eq_ignore_ascii_case("bearer"))
            .unwrap_or("Bearer".into());
        let expires = answer
            .expires_in
            .filter(|s| *s > 0.0)
            .map(|s| Instant::now() + Duration::from_secs_f64(s.min(1e9)));
        Ok(Token {
            header: format!("{scheme} {}", answer.access_token),
            secret,
            expires,
        })
    }
}
