//! Asking an Alertmanager.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use httpclient::{HttpClient, HttpClientConfig, HttpClientError, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::api::{Alert, HistoryPage, NewAlert, Silence, SilenceId, Status};
use super::line::Line;
use crate::alertmanager::in_the_references_words;
use crate::cli::client::{ANSWER_BYTES_MAX, ClientError, read_config};
use crate::cli::render::err;
use crate::version::{ALERTMANAGER, USER_AGENT};

/// Where the API begins, below the server's address.
const API: &str = "/api/v2";
/// What parameters may have as it is; a space becomes a plus.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b' ');

/// Why the server cannot be asked, or what it answers instead. Words are the reference's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ApiError {
    /// No answer.
    #[error("{verb} \"{url}\": {source}")]
    Send {
        verb: &'static str,
        url: String,
        source: HttpClientError,
    },
    /// A refusal that the API tells of.
    #[error("[{} {}][{status}] {}{words}{}", operation.method, operation.path, operation.name, payload_text(.payload))]
    Refused {
        operation: &'static Operation,
        status: u16,
        words: &'static str,
        payload: Option<String>,
    },
    /// Something else than an answer of the API.
    #[error("[{} {}] {} (status {status}): {{}}", operation.method, operation.path, operation.name)]
    Status {
        operation: &'static Operation,
        status: u16,
    },
    /// An answer that is not what was asked for.
    #[error("[{} {}] {}: the answer cannot be read: {source}", operation.method, operation.path, operation.name)]
    Shape {
        operation: &'static Operation,
        source: serde_json::Error,
    },
    /// Something that Narthex alone can be asked is refused; what it says.
    #[error("{0}")]
    Own(String),
    /// The same was asked of another program.
    #[error("the Alertmanager at {0} is not Narthex, which alone knows of this")]
    Other(Url),
    /// Not HTTP.
    #[error("unsupported protocol scheme {0:?}; an address is written http://localhost:9093")]
    Scheme(String),
    /// The client cannot be built.
    #[error("failed to create a new HTTP client: {0}")]
    Client(HttpClientError),
    /// The file of client settings is wrong.
    #[error("failed to load HTTP config file: {}", config_words(.0))]
    Config(ClientError),
    /// Credentials stand in the address and in the file.
    #[error("basic authentication and http.config.file are mutually exclusive")]
    TwoCredentials,
}

fn payload_text(payload: &Option<String>) -> String {
    payload
        .as_ref()
        .map_or_else(String::new, |payload| format!(" {payload}"))
}

fn config_words(error: &ClientError) -> String {
    match error {
        ClientError::Config(error) => in_the_references_words(error),
        ClientError::ReadConfig { path, source } => {
            format!("open {}: {}", path.display(), model::go::system_words(source))
        }
        other => other.to_string(),
    }
}

/// Something that the API can be asked.
#[derive(Debug)]
pub(super) struct Operation {
    method: Method,
    path: &'static str,
    name: &'static str,
    refusals: &'static [Refusal],
    /// Whether Narthex alone can be asked this.
    is_own: bool,
}

/// An answer that refuses.
#[derive(Debug)]
struct Refusal {
    status: u16,
    words: &'static str,
    /// Whether it says why.
    has_payload: bool,
}

const BAD_REQUEST: Refusal = Refusal {
    status: 400,
    words: "BadRequest",
    has_payload: true,
};
const NOT_FOUND: Refusal = Refusal {
    status: 404,
    words: "NotFound",
    has_payload: true,
};
const NO_SUCH_SILENCE: Refusal = Refusal {
    has_payload: false,
    ..NOT_FOUND
};
const SERVER_ERROR: Refusal = Refusal {
    status: 500,
    words: "InternalServerError",
    has_payload: true,
};

const fn operation(
    method: Method,
    path: &'static str,
    name: &'static str,
    refusals: &'static [Refusal],
) -> Operation {
    Operation {
        method,
        path,
        name,
        refusals,
        is_own: false,
    }
}

const fn own(method: Method, path: &'static str, name: &'static str) -> Operation {
    Operation {
        method,
        path,
        name,
        refusals: &[],
        is_own: true,
    }
}

static GET_STATUS: Operation = operation(Method::GET, "/status", "getStatus", &[]);
static GET_ALERTS: Operation = operation(Method::GET, "/alerts", "getAlerts", &[BAD_REQUEST, SERVER_ERROR]);
static POST_ALERTS: Operation = operation(
    Method::POST,
    "/alerts",
    "postAlerts",
    &[BAD_REQUEST, SERVER_ERROR],
);
static GET_HISTORY: Operation = own(Method::GET, "/history", "getHistory");
static POST_PREVIEW: Operation = own(Method::POST, "/receivers/{name}/preview", "postPreview");
static POST_TEST: Operation = own(Method::POST, "/receivers/{name}/test", "postTest");
static GET_SILENCES: Operation = operation(
    Method::GET,
    "/silences",
    "getSilences",
    &[BAD_REQUEST, SERVER_ERROR],
);
static POST_SILENCES: Operation = operation(
    Method::POST,
    "/silences",
    "postSilences",
    &[BAD_REQUEST, NOT_FOUND],
);
static GET_SILENCE: Operation = operation(
    Method::GET,
    "/silence/{silenceID}",
    "getSilence",
    &[NO_SUCH_SILENCE, SERVER_ERROR],
);
static DELETE_SILENCE: Operation = operation(
    Method::DELETE,
    "/silence/{silenceID}",
    "deleteSilence",
    &[NO_SUCH_SILENCE, SERVER_ERROR],
);

/// An Alertmanager and the way to it.
pub(super) struct Client {
    http: HttpClient,
    /// Where the API begins.
    api: Url,
    /// The header that says who asks.
    authorization: Option<String>,
    deadline: Instant,
}

impl Client {
    /// The server that the line names, until the line's time is over. Warns of one of another version.
    ///
    /// # Errors
    /// When the address or the client's settings cannot be used.
    pub(super) async fn new(line: &Line) -> Result<Self, ApiError> {
        let address = line.text("alertmanager.url");
        let mut api = Url::parse(address).map_err(|_| ApiError::Scheme(String::new()))?;
        if !matches!(api.scheme(), "http" | "https") {
            return Err(ApiError::Scheme(api.scheme().to_owned()));
        }
        let config = match line.get("http.config.file") {
            Some(_) if !api.username().is_empty() => return Err(ApiError::TwoCredentials),
            Some(path) => read_config(Path::new(path)).map_err(ApiError::Config)?,
            None => HttpClientConfig::default(),
        };
        let path = format!("{}{API}", api.path().trim_end_matches('/'));
        api.set_path(&path);
        api.set_query(None);
        let authorization = take_credentials(&mut api);
        let client = Client {
            http: HttpClient::new(&config, USER_AGENT).map_err(ApiError::Client)?,
            api,
            authorization,
            deadline: Instant::now() + line.duration("timeout"),
        };
        if line.is_on("version-check") {
            client.check_version().await;
        }
        Ok(client)
    }

    /// Says that the server is of another version; nothing where it does not tell.
    async fn check_version(&self) {
        let Ok(status) = self.status().await else {
            return;
        };
        let theirs = status.version_info.version;
        if major_and_minor(&theirs) != major_and_minor(ALERTMANAGER) {
            err(format_args!(
                "Warning: amtool version ({ALERTMANAGER}) and alertmanager version ({theirs}) are different."
            ));
        }
    }

    pub(super) async fn status(&self) -> Result<Status, ApiError> {
        self.ask(&GET_STATUS, self.url(&["status"], &[]), None).await
    }

    /// Alerts that satisfy parameters: names in the order of the alphabet.
    pub(super) async fn alerts(&self, params: &[(&str, &str)]) -> Result<Vec<Alert>, ApiError> {
        self.ask(&GET_ALERTS, self.url(&["alerts"], params), None).await
    }

    /// What happened, a page of it.
    pub(super) async fn history(&self, params: &[(&str, &str)]) -> Result<HistoryPage, ApiError> {
        self.ask(&GET_HISTORY, self.url(&["history"], params), None).await
    }

    /// What a receiver would send.
    pub(super) async fn preview(&self, receiver: &str, asked: &Value) -> Result<Value, ApiError> {
        let url = self.url(&["receivers", receiver, "preview"], &[]);
        self.ask(&POST_PREVIEW, url, Some(receivers::json::body(asked)))
            .await
    }

    /// Sends by a receiver, once; what became of it.
    pub(super) async fn test_receiver(&self, receiver: &str, asked: &Value) -> Result<Vec<Value>, ApiError> {
        let url = self.url(&["receivers", receiver, "test"], &[]);
        self.ask(&POST_TEST, url, Some(receivers::json::body(asked)))
            .await
    }

    pub(super) async fn add_alert(&self, alert: NewAlert) -> Result<(), ApiError> {
        let body = receivers::json::body(&[alert]);
        self.tell(&POST_ALERTS, self.url(&["alerts"], &[]), Some(body))
            .await
    }

    /// Silences that satisfy matchers.
    pub(super) async fn silences(&self, matchers: &[String]) -> Result<Vec<Silence>, ApiError> {
        let params: Vec<(&str, &str)> = matchers
            .iter()
            .map(|matcher| ("filter", matcher.as_str()))
            .collect();
        self.ask(&GET_SILENCES, self.url(&["silences"], &params), None)
            .await
    }

    pub(super) async fn silence(&self, id: &str) -> Result<Silence, ApiError> {
        self.ask(&GET_SILENCE, self.url(&["silence", id], &[]), None)
            .await
    }

    /// Adds or changes a silence; its id. Says what the server warns of.
    pub(super) async fn post_silence<S: Serialize>(&self, silence: &S) -> Result<String, ApiError> {
        let body = receivers::json::body(silence);
        let url = self.url(&["silences"], &[]);
        let answer: SilenceId = self.ask(&POST_SILENCES, url, Some(body)).await?;
        for warning in answer.warnings {
            err(format_args!("Warning: {warning}"));
        }
        Ok(answer.silence_id)
    }

    pub(super) async fn expire_silence(&self, id: &str) -> Result<(), ApiError> {
        self.tell(&DELETE_SILENCE, self.url(&["silence", id], &[]), None)
            .await
    }

    /// Fails where the server is another program than Narthex.
    pub(super) async fn expect_narthex(&self) -> Result<(), ApiError> {
        match self.history(&[("limit", "1")]).await {
            Err(error @ ApiError::Other(_)) => Err(error),
            // Whatever else is wrong is told by what comes next.
            _ => Ok(()),
        }
    }

    /// The server's address, without the API's.
    fn server(&self) -> Url {
        let mut url = self.api.clone();
        let path = url.path().trim_end_matches(API).to_owned();
        url.set_path(&path);
        url
    }

    fn url(&self, path: &[&str], params: &[(&str, &str)]) -> Url {
        let mut url = self.api.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        let encode = |text: &str| utf8_percent_encode(text, PLAIN).to_string().replace(' ', "+");
        let pairs = params
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)));
        let query = pairs.collect::<Vec<String>>().join("&");
        url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        url
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        operation: &'static Operation,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<T, ApiError> {
        let answer = self.exchange(operation, url, body).await?;
        serde_json::from_slice(&answer).map_err(|source| ApiError::Shape { operation, source })
    }

    async fn tell(
        &self,
        operation: &'static Operation,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<(), ApiError> {
        self.exchange(operation, url, body).await.map(drop)
    }

    /// Sends a request; the body of the answer that does what was asked.
    async fn exchange(
        &self,
        operation: &'static Operation,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, ApiError> {
        let failed = |source| ApiError::Send {
            verb: match operation.method {
                Method::GET => "Get",
                Method::POST => "Post",
                _ => "Delete",
            },
            url: url.to_string(),
            source,
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(HttpClientError::Timeout));
        }
        let mut request = Request::new(operation.method.clone(), url.clone())
            .header("accept", "application/json")
            .timeout(left);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        if let Some(authorization) = &self.authorization {
            request = request.secret_header("authorization", authorization);
        }
        if operation.method == Method::GET {
            request = request.repeatable();
        }
        let answer = self.http.send(&request).await.map_err(failed)?;
        let status = answer.status().as_u16();
        let body = answer.bytes(ANSWER_BYTES_MAX).await.map_err(failed)?;
        if status == 200 {
            return Ok(body.to_vec());
        }
        if operation.is_own {
            // Ours says why in a text; who does not know the way answers with something else.
            match serde_json::from_slice(&body) {
                Ok(said) => return Err(ApiError::Own(said)),
                Err(_) if status == 404 => return Err(ApiError::Other(self.server())),
                Err(_) => {}
            }
        }
        Err(refusal(operation, status, &body))
    }
}

/// Takes name and password out of an address; the header that says them.
fn take_credentials(url: &mut Url) -> Option<String> {
    if url.username().is_empty() {
        return None;
    }
    let decode = |text| percent_decode_str(text).decode_utf8_lossy();
    let pair = format!(
        "{}:{}",
        decode(url.username()),
        decode(url.password().unwrap_or(""))
    );
    // Both can be taken out of a URL that had them.
    let _ = (url.set_username(""), url.set_password(None));
    Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

fn refusal(operation: &'static Operation, status: u16, body: &[u8]) -> ApiError {
    let Some(refusal) = operation.refusals.iter().find(|refusal| refusal.status == status) else {
        return ApiError::Status { operation, status };
    };
    // What says why is a JSON text; whoever answers in its place may say it otherwise.
    let payload = || {
        let said: String =
            serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).trim().to_owned());
        let text = receivers::json::body(&said);
        String::from_utf8_lossy(&text).trim_end().to_owned()
    };
    ApiError::Refused {
        operation,
        status,
        words: refusal.words,
        payload: refusal.has_payload.then(payload),
    }
}

fn major_and_minor(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
