//! What receivers that send by HTTP have in common: the client, the one request, and how an answer is read.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use httpclient::{HttpClient, HttpClientConfig, HttpClientError, Request};
use model::go::system_words;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use crate::integration::Setup;
use crate::preview;
use crate::receiver::{Failure, FailureReason};

/// Longest answer that is read, in bytes; of a longer one this much.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Most of an answer that an error quotes, in bytes.
const QUOTED_BYTES_MAX: usize = 16 << 10;
/// Longest file of a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 1 << 20;
/// Files that are read at a time: a disk that does not answer holds so many threads, and no more.
const READS_MAX: usize = 16;
static READS: Semaphore = Semaphore::const_new(READS_MAX);
/// What the reference calls itself where it says nothing of its own.
pub(crate) const SILENT_USER_AGENT: &str = "Go-http-client/1.1";
/// The type of nearly all bodies.
pub(crate) const JSON: &str = "application/json";

/// A client that says of failures what a user may read.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: HttpClient,
    /// Whether addresses are secrets.
    redact: bool,
    limit: Option<Limit>,
}

/// A receiver's own time limit for one request.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// Whose, for the message.
    of: &'static str,
    timeout: Duration,
}

/// An answer, read as far as it matters.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// What has come of it.
    body: Vec<u8>,
    /// Why that is not all.
    broken_off: Option<String>,
}

impl Client {
    /// A client whose addresses are secrets.
    pub(crate) fn new(config: &HttpClientConfig, setup: &Setup) -> Result<Self, HttpClientError> {
        Client::called(config, setup, &setup.machine.user_agent)
    }

    /// A client that calls itself otherwise.
    pub(crate) fn called(
        config: &HttpClientConfig,
        setup: &Setup,
        user_agent: &str,
    ) -> Result<Self, HttpClientError> {
        Ok(Client {
            http: HttpClient::within(config, user_agent, setup.machine.surroundings.clone())?,
            redact: true,
            limit: None,
        })
    }

    /// A client whose errors name addresses.
    pub(crate) fn open(self) -> Self {
        Client {
            redact: false,
            ..self
        }
    }

    /// A client with a time limit of `of`'s own; zero is none.
    pub(crate) fn limited(self, of: &'static str, timeout: Duration) -> Self {
        let limit = (!timeout.is_zero()).then_some(Limit { of, timeout });
        Client { limit, ..self }
    }

    /// The client below.
    pub(crate) fn inner(&self) -> &HttpClient {
        &self.http
    }

    /// Posts JSON.
    pub(crate) async fn post_json(
        &self,
        url: &str,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        self.send(Request::post(self.parse("Post", url)?, JSON, body), deadline)
            .await
    }

    /// Reads an address that a template or a file gave.
    pub(crate) fn parse(&self, verb: &str, url: &str) -> Result<Url, Failure> {
        Url::parse(url).map_err(|error| {
            // Compat: an address of no kind is tried again, as a file may hold another one by then.
            let shown = if self.redact { "<redacted>" } else { url };
            Failure::again(format!("{verb} \"{shown}\": {error}"))
        })
    }

    /// Sends a request once and reads the answer. Any failure may heal.
    pub(crate) async fn send(&self, request: Request, deadline: Instant) -> Result<Answer, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let own = self.limit.filter(|limit| limit.timeout < left);
        let request = request.timeout(own.map_or(left, |limit| limit.timeout));
        self.exchange(&request).await.map_err(|error| {
            let method = request.method().as_str();
            let verb = format!("{}{}", &method[..1], method[1..].to_ascii_lowercase());
            let shown = self.shown(request.url());
            let cause = match own {
                Some(limit) if error.is_timeout() => {
                    let timeout = crate::settings::GoDuration(limit.timeout);
                    format!("configured {} timeout reached ({timeout})", limit.of)
                }
                _ => error.to_string(),
            };
            Failure::again(format!("{verb} \"{shown}\": {cause}"))
        })
    }

    /// An address as errors name it.
    fn shown(&self, url: &Url) -> String {
        if self.redact {
            return "<redacted>".to_owned();
        }
        let mut url = url.clone();
        if url.password().is_some() {
            // An address that has a password can have another one.
            let _ = url.set_password(Some("xxxxx"));
        }
        url.into()
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, HttpClientError> {
        if let Some(answer) = preview::request(request, &self.shown(request.url())) {
            return Ok(answer);
        }
        let mut response = self.http.send(request).await?;
        let mut answer = Answer {
            status: response.status().as_u16(),
            content_type: response.header("content-type").to_owned(),
            body: Vec::new(),
            broken_off: None,
        };
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    let room = ANSWER_BYTES_MAX - answer.body.len();
                    if piece.len() > room {
                        answer.body.extend_from_slice(&piece[..room]);
                        break;
                    }
                    answer.body.extend_from_slice(&piece);
                }
                Ok(None) => break,
                // Where the status says all, saying it again would say it twice; who reads the body asks for the whole.
                Err(error) => {
                    answer.broken_off = Some(end_of_reading(&error));
                    break;
                }
            }
        }
        Ok(answer)
    }
}

impl Answer {
    /// A success that says so in JSON.
    pub(crate) fn made_up(json: &str) -> Self {
        Answer {
            status: 200,
            content_type: JSON.to_owned(),
            body: json.as_bytes().to_vec(),
            broken_off: None,
        }
    }

    /// The body, for who decides by it what has happened. One that broke off may have said anything: that may heal.
    pub(crate) fn whole(&self) -> Result<&[u8], Failure> {
        match &self.broken_off {
            None => Ok(&self.body),
            Some(error) => Err(Failure::again(format!("could not read response body: {error}"))),
        }
    }

    /// What has come of the body, for who explains by it what the status says already.
    pub(crate) fn so_far(&self) -> &[u8] {
        &self.body
    }

    /// The body, as far as an error quotes it.
    pub(crate) fn quoted(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(QUOTED_BYTES_MAX)]);
        text.into_owned()
    }

    /// Whether it was a success; otherwise the failure with the body. 5xx may heal, and the statuses of `again`.
    pub(crate) fn check(&self, again: &[u16]) -> Result<(), Failure> {
        self.check_with(again, self.quoted())
    }

    /// As [`Answer::check`], with other details than the body.
    pub(crate) fn check_with(&self, again: &[u16], details: impl Into<String>) -> Result<(), Failure> {
        let status = self.status;
        if (200..300).contains(&status) {
            return Ok(());
        }
        let details: String = details.into();
        let message = match details.as_str() {
            "" => format!("unexpected status code {status}"),
            details => format!("unexpected status code {status}: {details}"),
        };
        Err(Failure {
            retry: (500..600).contains(&status) || again.contains(&status),
            reason: FailureReason::of_status(status),
            message,
        })
    }
}

/// Why an answer could not be read to its end, in the words that users know.
fn end_of_reading(error: &HttpClientError) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof) {
            return "unexpected EOF".to_owned();
        }
        cause = inner.source();
    }
    error.to_string()
}

/// What is wrong with a JSON answer, in the words that users know.
pub(crate) fn json_error(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    error.to_string()
}

/// Reads a file of a secret, off the network's threads.
pub(crate) async fn read_file(path: &Path) -> Result<String, String> {
    let owned = path.to_owned();
    let turn = READS.acquire().await.map_err(|closed| closed.to_string())?;
    let read = tokio::task::spawn_blocking(move || {
        // It lasts as long as the reading does, even when the attempt has given up.
        let _turn = turn;
        read_now(&owned)
    });
    let read = read.await;
    let text = read.map_err(|failed| failed.to_string())?;
    text.map_err(|error| unreadable(path, &error))
}

/// Reads a file of a secret while a receiver is built, without white space around.
pub(crate) fn read_word_now(path: &Path) -> Result<String, String> {
    let text = read_now(path).map_err(|error| unreadable(path, &error))?;
    Ok(text.trim().to_owned())
}

fn read_now(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("open {}: {}", path.display(), system_words(error))
}

/// As [`read_file`], without white space around.
pub(crate) async fn read_word(path: &Path) -> Result<String, String> {
    Ok(read_file(path).await?.trim().to_owned())
}
