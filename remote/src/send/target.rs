//! Where messages are sent, and what its answers mean.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use credentials::Machine;
use httpclient::{HttpClient, HttpClientError, Request, Resolve, Resolving, Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use model::clock::Clock;
use url::Url;

use super::auth::{Auth, AuthError};
use super::config::{MessageKind, RemoteWriteConfig};
use crate::reason::reason_of;

/// Longest pause that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a receiver says that it has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Floats.
    pub floats: u64,
    /// Histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Whether it said so at all.
    pub is_told: bool,
}

impl Written {
    /// Together with what an earlier try has written.
    pub(super) fn and(self, other: Written) -> Written {
        Written {
            floats: self.floats + other.floats,
            histograms: self.histograms + other.histograms,
            exemplars: self.exemplars + other.exemplars,
            is_told: self.is_told || other.is_told,
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.floats == 0 && self.histograms == 0 && self.exemplars == 0
    }
}

/// What became of one try.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Taken.
    Delivered(Written),
    /// Not taken, and it never will be.
    Refused {
        /// Why, in words.
        reason: String,
        /// What was taken all the same.
        written: Written,
    },
    /// Not taken now.
    Failed {
        /// Why, in words.
        reason: String,
        /// What was taken all the same.
        written: Written,
        /// How long the receiver wants to be left alone.
        after: Option<Duration>,
    },
}

/// An answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Takes messages: the seam where tests put receivers of their own.
pub trait Target: Send + Sync {
    /// Sends a compressed message; `attempt` counts the tries before.
    fn send(&self, body: Bytes, attempt: u32) -> Answering<'_>;
}

/// A receiver behind HTTP.
pub(super) struct HttpTarget {
    client: HttpClient,
    auth: Auth,
    url: Url,
    headers: Vec<(String, String)>,
    message: MessageKind,
    timeout: Duration,
    retry_on_429: bool,
    clock: Arc<dyn Clock>,
}

/// A receiver cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The address names no host.
    #[error(
        "url {url:?} cannot be sent to: {source}; it needs a scheme and a host, as in http://example.test/api/v1/write"
    )]
    Url {
        /// It.
        url: String,
        /// Why not.
        source: url::ParseError,
    },
    /// The client cannot be built.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// The credentials cannot be had.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl HttpTarget {
    pub(super) fn new(config: &RemoteWriteConfig, machine: &Machine) -> Result<Self, TargetError> {
        let url = Url::parse(&config.url).map_err(|source| TargetError::Url {
            url: crate::section::redacted(&config.url),
            source,
        })?;
        let mut surroundings = machine.surroundings.clone();
        if config.round_robin_dns {
            surroundings.resolver = Arc::new(InTurn {
                inner: surroundings.resolver,
                turn: AtomicUsize::new(0),
            });
        }
        let client = HttpClient::within(&config.http, &machine.user_agent, surroundings)?;
        Ok(HttpTarget {
            auth: Auth::new(&config.auth, machine, &client)?,
            client,
            url,
            headers: config
                .headers
                .iter()
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect(),
            message: config.protobuf_message,
            timeout: Duration::from_millis(config.remote_timeout.as_ms().max(0) as u64),
            retry_on_429: config.queue_config.retry_on_http_429,
            clock: machine.clock.clone(),
        })
    }

    fn request(&self, body: Bytes, attempt: u32) -> Request {
        let (content_type, version) = match self.message {
            MessageKind::V1 => ("application/x-protobuf", "0.1.0"),
            MessageKind::V2 => (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "2.0.0",
            ),
        };
        let mut request = Request::post(self.url.clone(), content_type, body)
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", version)
            .timeout(self.timeout);
        let is_set = |name: &str| self.headers.iter().any(|(set, _)| set.eq_ignore_ascii_case(name));
        if attempt > 0 && !is_set("retry-attempt") {
            request = request.header("retry-attempt", attempt.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    async fn ask(&self, body: Bytes, attempt: u32) -> Answer {
        let request = match self.auth.sign(self.request(body, attempt)).await {
            Ok(request) => request,
            Err(error) => return failed(error),
        };
        match self.client.send(&request).await {
            Ok(response) => self.judge(response).await,
            Err(error) => failed(error),
        }
    }

    async fn judge(&self, response: Response) -> Answer {
        let (status, written) = (response.status(), written_of(&response));
        if status.is_success() {
            // What stands in the body is of no interest, but the connection is.
            response.discard().await;
            return Answer::Delivered(written);
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            self.auth.refused(response.header("www-authenticate"));
        }
        let is_passing =
            status.is_server_error() || (self.retry_on_429 && status == StatusCode::TOO_MANY_REQUESTS);
        let after = retry_after(response.header("retry-after"), self.clock.now_ms());
        let reason = format!(
            "server returned HTTP status {status}: {}",
            reason_of(response).await
        );
        match is_passing {
            true => Answer::Failed {
                reason,
                written,
                after,
            },
            false => Answer::Refused { reason, written },
        }
    }
}

impl Target for HttpTarget {
    fn send(&self, body: Bytes, attempt: u32) -> Answering<'_> {
        Box::pin(self.ask(body, attempt))
    }
}

fn failed(error: impl fmt::Display) -> Answer {
    Answer::Failed {
        reason: error.to_string(),
        written: Written::default(),
        after: None,
    }
}

/// Compat: any of the headers counts as a word on what was written, whatever it says, and the first that is no number ends
/// the reading (push: `v1/answer/garbage-header`).
fn written_of(response: &Response) -> Written {
    let mut written = Written::default();
    let counts = [
        ("x-prometheus-remote-write-samples-written", &mut written.floats),
        (
            "x-prometheus-remote-write-histograms-written",
            &mut written.histograms,
        ),
        (
            "x-prometheus-remote-write-exemplars-written",
            &mut written.exemplars,
        ),
    ];
    for (header, count) in counts {
        let text = response.header(header);
        if !text.is_empty() {
            written.is_told = true;
            let Ok(number) = text.parse() else { break };
            *count = number;
        }
    }
    written
}

/// What `Retry-After` asks for: seconds, or a date. Nothing, where it makes no sense or has passed.
///
/// Compat: of the time up to a date whole seconds count, rounded down (push: `v1/fail/503-retry-after-date`).
fn retry_after(text: &str, now_ms: i64) -> Option<Duration> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = text.strip_suffix("GMT").map(|rest| format!("{rest}+0000"))?;
            let at: Timestamp = PARSER.parse_timestamp(at).ok()?;
            (at.as_millisecond() - now_ms) / 1000
        }
    };
    let pause = Duration::from_secs(u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?);
    Some(pause.min(RETRY_AFTER_MAX))
}

/// Gives one of a host's addresses at a time, each in its turn.
#[derive(Debug)]
struct InTurn {
    inner: Arc<dyn Resolve>,
    turn: AtomicUsize,
}

impl Resolve for InTurn {
    fn resolve<'r>(&'r self, host: &'r str, port: u16) -> Resolving<'r> {
        Box::pin(async move {
            let mut found: Vec<SocketAddr> = self.inner.resolve(host, port).await?;
            found.sort_unstable();
            found.dedup();
            if found.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("{host} has no address"),
                ));
            }
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % found.len();
            // The others stay behind it: where one is down, the next one is tried.
            found.rotate_left(first);
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_asks_for_is_waited() {
        let now_ms = 1_700_000_000_000;
        let cases = [
            ("2", Some(2)),
            ("0", None),
            ("-5", None),
            ("soon", None),
            ("", None),
            ("1.5", None),
            ("Tue, 14 Nov 2023 22:13:25 GMT", Some(5)),
            ("Tue, 14 Nov 2023 22:13:19 GMT", None),
            ("Tue, 14 Nov 2023 22:13:25", None),
            ("99999999999999", Some(24 * 3600)),
        ];
        for (text, seconds) in cases {
            assert_eq!(
                retry_after(text, now_ms),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
        // Whole seconds, rounded down.
        assert_eq!(
            retry_after("Tue, 14 Nov 2023 22:13:25 GMT", now_ms + 500),
            Some(Duration::from_secs(4))
        );
    }

    #[tokio::test]
    async fn addresses_have_their_turns() {
        #[derive(Debug)]
        struct Three;
        impl Resolve for Three {
            fn resolve<'r>(&'r self, _: &'r str, port: u16) -> Resolving<'r> {
                Box::pin(
                    async move { Ok((1..=3).map(|n| SocketAddr::from(([10, 0, 0, n], port))).collect()) },
                )
            }
        }
        let turns = InTurn {
            inner: Arc::new(Three),
            turn: AtomicUsize::new(0),
        };
        let mut firsts = Vec::new();
        for _ in 0..4 {
            firsts.push(turns.resolve("example.test", 1).await.expect("three")[0].to_string());
        }
        assert_eq!(firsts, ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"]);
    }
}
