//! A client with its credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use crate::config::HttpClientConfig;
use crate::connect::Surroundings;
use crate::error::HttpClientError;
use crate::files::{SecretFile, Source};
use crate::oauth2::TokenSource;
use crate::request::{Request, Response};
use crate::transport::{Redirects, Transport};

/// A client with its credentials. Cloning shares connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    transport: Transport,
    credentials: Option<Credentials>,
    headers: Vec<ConfiguredHeader>,
}

/// What the `Authorization` header is made of.
#[derive(Debug)]
enum Credentials {
    Basic { username: Source, password: Source },
    Scheme { scheme: String, credentials: Source },
    OAuth2(TokenSource),
}

#[derive(Debug)]
struct ConfiguredHeader {
    name: HeaderName,
    /// Given values and secret ones.
    values: Vec<HeaderValue>,
    files: Vec<SecretFile>,
}

impl HttpClient {
    /// Builds a client; `user_agent` is sent with each request. Certificates are read here.
    ///
    /// # Errors
    /// When a file cannot be read or holds no certificate, or a header or proxy cannot be used.
    pub fn new(config: &HttpClientConfig, user_agent: &str) -> Result<Self, HttpClientError> {
        HttpClient::within(config, user_agent, Surroundings::default())
    }

    /// As [`HttpClient::new`], with another way from names to addresses or other roots than the machine's.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn within(
        config: &HttpClientConfig,
        user_agent: &str,
        surroundings: Surroundings,
    ) -> Result<Self, HttpClientError> {
        HttpClient::build(config, user_agent, surroundings, None)
    }

    /// A client without credentials whose every connection goes to a Unix socket; what a URL says of the host is only
    /// what the server is told.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn at_unix_socket(path: &Path, user_agent: &str) -> Result<Self, HttpClientError> {
        let config = HttpClientConfig::default();
        HttpClient::build(&config, user_agent, Surroundings::default(), Some(path.into()))
    }

    fn build(
        config: &HttpClientConfig,
        user_agent: &str,
        surroundings: Surroundings,
        socket: Option<Arc<Path>>,
    ) -> Result<Self, HttpClientError> {
        let transport = Transport::new(
            &config.tls_config,
            &config.proxy,
            config.enable_http2,
            Redirects {
                follow: config.follow_redirects,
                to_link_local: config.allow_link_local_redirects,
            },
            user_agent,
            &surroundings,
            socket,
        )?;
        Ok(HttpClient {
            shared: Arc::new(Shared {
                transport,
                credentials: Credentials::new(config, user_agent, &surroundings)?,
                headers: configured_headers(config)?,
            }),
        })
    }

    /// Sends a request with the configured headers and credentials; the answer's body is still to be read. A request
    /// that breaks on a connection used before is sent again where that is safe. Without [`Request::timeout`] the caller
    /// sets the limit.
    ///
    /// # Errors
    /// When there is no connection or no answer, a secret's file cannot be read, or no token can be had. An answer of
    /// any status is none.
    pub async fn send(&self, request: &Request) -> Result<Response, HttpClientError> {
        // Getting at credentials counts: a token endpoint may hang too.
        let Some(timeout) = request.timeout else {
            return self.send_now(request).await;
        };
        let deadline = tokio::time::Instant::now() + timeout;
        let sent = tokio::time::timeout_at(deadline, self.send_now(request)).await;
        let mut response = sent.map_err(|_| HttpClientError::Timeout)??;
        response.deadline = Some(deadline);
        Ok(response)
    }

    async fn send_now(&self, request: &Request) -> Result<Response, HttpClientError> {
        let mut extra = Vec::with_capacity(self.shared.headers.len() + 1);
        for header in &self.shared.headers {
            let mut values = header.values.clone();
            for file in &header.files {
                values.push(secret_value(file.read().await?, header.name.as_str())?);
            }
            extra.push((header.name.clone(), values));
        }
        // Compat: as the reference's, who signs a request himself is not overruled.
        if let Some(credentials) = &self.shared.credentials
            && !request.headers().contains_key(AUTHORIZATION)
            && let Some(value) = credentials.header().await?
        {
            extra.push((AUTHORIZATION, vec![secret_value(value, "Authorization")?]));
        }
        self.shared.transport.send(request, &extra).await
    }
}

fn secret_value(text: String, header: &str) -> Result<HeaderValue, HttpClientError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| HttpClientError::Header(header.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn configured_headers(config: &HttpClientConfig) -> Result<Vec<ConfiguredHeader>, HttpClientError> {
    let mut headers = Vec::new();
    for (name, header) in &config.http_headers {
        let bad = || HttpClientError::Header(name.clone());
        let mut values = Vec::new();
        for value in &header.values {
            values.push(HeaderValue::try_from(value).map_err(|_| bad())?);
        }
        for secret in &header.secrets {
            values.push(secret_value(secret.reveal().to_owned(), name)?);
        }
        let file = |path: &PathBuf| SecretFile::new(path, "headers file");
        headers.push(ConfiguredHeader {
            name: HeaderName::try_from(name.as_str()).map_err(|_| bad())?,
            values,
            files: header.files.iter().map(file).collect(),
        });
    }
    Ok(headers)
}

impl Credentials {
    fn new(
        config: &HttpClientConfig,
        user_agent: &str,
        surroundings: &Surroundings,
    ) -> Result<Option<Self>, HttpClientError> {
        if let Some(basic) = &config.basic_auth {
            return Ok(Some(Credentials::Basic {
                username: Source::new(&basic.username, &basic.username_file, "basic auth username"),
                password: Source::new(
                    basic.password.reveal(),
                    &basic.password_file,
                    "basic auth password",
                ),
            }));
        }
        if let Some(auth) = &config.authorization {
            return Ok(Some(Credentials::Scheme {
                scheme: auth.scheme.clone(),
                credentials: Source::new(
                    auth.credentials.reveal(),
                    &auth.credentials_file,
                    "authorization credentials",
                ),
            }));
        }
        let source = |oauth2| TokenSource::new(oauth2, user_agent, surroundings);
        Ok(config
            .oauth2
            .as_ref()
            .map(source)
            .transpose()?
            .map(Credentials::OAuth2))
    }

    async fn header(&self) -> Result<Option<String>, HttpClientError> {
        match self {
            Credentials::Basic { username, password } => {
                let (username, password) = (username.get().await?, password.get().await?);
                let pair = BASE64.encode(format!("{username}:{password}"));
                Ok((!username.is_empty() || !password.is_empty()).then(|| format!("Basic {pair}")))
            }
            Credentials::Scheme { scheme, credentials } => {
                let credentials = credentials.get().await?;
                Ok((!credentials.is_empty()).then(|| format!("{scheme} {credentials}")))
            }
            Credentials::OAuth2(source) => Ok(Some(source.header().await?)),
        }
    }
}
