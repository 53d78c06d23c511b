//! Asking a running server, for the commands that do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Arg;
use http::Method;
use httpclient::{HttpClient, HttpClientConfig, HttpClientError, Request};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use url::Url;

/// Longest answer that is read, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 30;

/// A server and the way to it.
pub(crate) struct Client {
    http: HttpClient,
    server: Url,
    headers: Vec<(String, String)>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ClientError {
    /// Not a URL.
    #[error("server {server:?}: {source}")]
    Server { server: String, source: url::ParseError },
    /// The file of client settings cannot be read.
    #[error("Failed to load HTTP config file: {}: {source}", path.display())]
    ReadConfig { path: PathBuf, source: std::io::Error },
    /// The file of client settings is wrong.
    #[error("Failed to load HTTP config file: {0}")]
    Config(#[from] yaml::YamlError),
    /// Credentials stand in the URL and in the file.
    #[error("Cannot set base auth in the server URL and use a http.config.file at the same time")]
    TwoCredentials,
    /// The client cannot be built, or has no credentials.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// No connection, or it broke.
    #[error("{method} {url:?}: {source}")]
    Send {
        method: Method,
        url: String,
        source: Box<HttpClientError>,
    },
    /// The server refuses.
    #[error("{kind}: {message}")]
    Refused { kind: String, message: String },
    /// The answer is not one of the API.
    #[error("{}: {}: {status} (detail: {})", side(*.status), side(*.status).replace('_', " "), .body.trim())]
    NotTheApi { status: u16, body: String },
    /// The answer is not what was asked for.
    #[error("the answer cannot be read: {0}")]
    Shape(#[from] serde_json::Error),
    /// The answer has nothing in it.
    #[error("the answer has no data")]
    NoData,
}

/// The reference's words for who is to blame.
fn side(status: u16) -> &'static str {
    match status {
        400..=499 => "client_error",
        500..=599 => "server_error",
        _ => "bad_response",
    }
}

/// What the API wraps every answer in.
#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    data: Option<T>,
    #[serde(rename = "errorType", default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

/// The flag that names a file of client settings.
pub(crate) fn http_config_arg() -> Arg {
    Arg::new("http.config.file")
        .long("http.config.file")
        .value_name("FILE")
        .help("File of HTTP client settings: credentials, TLS, proxy")
}

impl Client {
    /// A client for `server`, a URL or `host:port`; `http_config` names a file of client settings.
    pub(crate) fn new(
        server: &str,
        http_config: Option<&str>,
        headers: &[(String, String)],
    ) -> Result<Self, ClientError> {
        let text = if server.contains("://") {
            server.to_owned()
        } else {
            format!("http://{server}")
        };
        let server = Url::parse(&text).map_err(|source| ClientError::Server {
            server: server.to_owned(),
            source,
        })?;
        let config = match http_config {
            Some(_) if !server.username().is_empty() => return Err(ClientError::TwoCredentials),
            Some(path) => read_config(Path::new(path))?,
            None => HttpClientConfig::default(),
        };
        let http = HttpClient::new(&config, concat!("narthex/", env!("CARGO_PKG_VERSION")))?;
        Ok(Client {
            http,
            server,
            headers: headers.to_vec(),
        })
    }

    /// Asks for a path below the server's; status and body.
    pub(crate) async fn get(&self, path: &str, timeout: Duration) -> Result<(u16, String), ClientError> {
        self.send(Method::GET, self.url(path), None, timeout).await
    }

    /// Asks the API with parameters in the URL.
    pub(crate) async fn api_get<T: DeserializeOwned>(
        &self,
        path: &str,
        params: &[(&str, String)],
        timeout: Duration,
    ) -> Result<Answer<T>, ClientError> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(params);
        let (status, body) = self.send(Method::GET, url, None, timeout).await?;
        Answer::new(status, &body)
    }

    /// Asks the API with parameters in the body, where long queries have room.
    pub(crate) async fn api_post<T: DeserializeOwned>(
        &self,
        path: &str,
        params: &[(&str, String)],
        timeout: Duration,
    ) -> Result<Answer<T>, ClientError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(params)
            .finish();
        let (status, body) = self
            .send(Method::POST, self.url(path), Some(form), timeout)
            .await?;
        Answer::new(status, &body)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.server.clone();
        url.set_path(&format!("{}/{path}", self.server.path().trim_end_matches('/')));
        url
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        form: Option<String>,
        timeout: Duration,
    ) -> Result<(u16, String), ClientError> {
        let failed = |source: HttpClientError| ClientError::Send {
            method: method.clone(),
            url: url.to_string(),
            source: Box::new(source),
        };
        // All that is asked this way reads: once more does no harm.
        let mut request = Request::new(method.clone(), url.clone())
            .timeout(timeout)
            .repeatable();
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(form) = form {
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form);
        }
        let answer = self.http.send(&request).await.map_err(failed)?;
        let status = answer.status().as_u16();
        let body = answer.bytes(ANSWER_BYTES_MAX).await.map_err(failed)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Reads a file of client settings.
///
/// # Errors
/// When it cannot be read, or something in it is wrong.
pub(super) fn read_config(path: &Path) -> Result<HttpClientConfig, ClientError> {
    let text = std::fs::read(path)
        .and_then(yaml::text_of)
        .map_err(|source| ClientError::ReadConfig {
            path: path.to_owned(),
            source,
        })?;
    let document = yaml::parse(&path.to_string_lossy(), &text)?;
    let mut section = document.root().section("type config.plain")?;
    let mut config = HttpClientConfig::read(&mut section)?;
    section.finish()?;
    config.resolve_paths(path.parent().unwrap_or(Path::new("")));
    Ok(config)
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) data: T,
    /// Remarks that do not make the answer wrong.
    pub(crate) notes: Vec<String>,
}

impl<T: DeserializeOwned> Answer<T> {
    fn new(status: u16, body: &str) -> Result<Self, ClientError> {
        // Who answers is asked first: a refusal has no data, and a stranger no envelope.
        let Ok(envelope) = serde_json::from_str::<Envelope<IgnoredAny>>(body) else {
            return Err(ClientError::NotTheApi {
                status,
                body: body.to_owned(),
            });
        };
        if envelope.status != "success" {
            return Err(ClientError::Refused {
                kind: envelope.error_type,
                message: envelope.error,
            });
        }
        let answer: Envelope<T> = serde_json::from_str(body)?;
        let data = answer.data.ok_or(ClientError::NoData)?;
        Ok(Answer {
            data,
            notes: [answer.warnings, answer.infos].concat(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Answer<Vec<String>>, String> {
        Answer::new(status, body).map_err(|error| error.to_string())
    }

    #[test]
    fn refusals_and_strangers_are_told_apart() {
        let answer = read(200, r#"{"status":"success","data":["a"],"warnings":["w"]}"#).expect("success");
        assert_eq!(
            (answer.data, answer.notes),
            (vec!["a".to_owned()], vec!["w".to_owned()])
        );
        let refused = read(
            400,
            r#"{"status":"error","errorType":"bad_data","error":"1:1: parse error: x"}"#,
        );
        assert_eq!(refused.expect_err("refused"), "bad_data: 1:1: parse error: x");
        let stranger = read(404, "404 page not found\n").expect_err("no API");
        assert_eq!(
            stranger,
            "client_error: client error: 404 (detail: 404 page not found)"
        );
        assert!(read(200, r#"{"status":"success","data":5}"#).is_err());
        assert!(read(200, r#"{"status":"success"}"#).is_err());
    }

    #[test]
    fn servers_are_urls_or_addresses() {
        let url = |server: &str, path: &str| {
            Client::new(server, None, &[]).map(|client| client.url(path).to_string())
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert_eq!(
            url("localhost:9090", "-/ready").expect("URL"),
            "http://localhost:9090/-/ready"
        );
        assert_eq!(
            url("https://a/prefix/", "api/v1/query").expect("URL"),
            "https://a/prefix/api/v1/query"
        );
        assert!(url("http://", "x").is_err());
    }
}
