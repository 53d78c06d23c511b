//! What a mechanism is built with, and what it builds.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use credentials::Machine;
use futures_util::future::BoxFuture;
use httpclient::{HttpClient, HttpClientConfig, HttpClientError, Request, Response, Surroundings};

use crate::metrics::Metrics;
use crate::{TargetGroup, Troubles, Updates};

/// Longest answer that a mechanism reads, in bytes: ten times what 50,000 targets with many labels need.
pub const BODY_BYTES_MAX: usize = 256 << 20;
/// Where name servers listen.
const DNS_PORT: u16 = 53;
/// Characters of an answer that an error quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// What mechanisms are built with.
#[derive(Clone, Debug)]
pub struct Context {
    /// What clients call themselves.
    pub user_agent: String,
    /// From names to addresses, and the machine's roots; a test puts its own server behind a cloud's name here.
    pub surroundings: Surroundings,
    /// The environment; `None` is the process's own.
    pub env: Option<Arc<HashMap<String, String>>>,
    /// What absolute paths of the machine (a pod's service account) are looked up below; `/` outside tests.
    pub root: PathBuf,
    /// The port of name servers; 53 outside tests.
    pub dns_port: u16,
    /// Counters.
    pub metrics: Metrics,
    /// Where it is told what fails.
    pub troubles: Troubles,
    /// Watches of Kubernetes that are shared.
    pub(crate) kubernetes: crate::kubernetes::Hub,
}

impl Context {
    /// The ordinary one.
    pub fn new(user_agent: impl Into<String>, metrics: Metrics) -> Self {
        Context {
            user_agent: user_agent.into(),
            surroundings: Surroundings::default(),
            env: None,
            root: PathBuf::from("/"),
            dns_port: DNS_PORT,
            troubles: Troubles::default(),
            kubernetes: crate::kubernetes::Hub::default(),
            metrics,
        }
    }

    /// A variable of the environment; `None` where it is empty, too.
    pub fn var(&self, name: &str) -> Option<String> {
        let value = match &self.env {
            Some(env) => env.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// Where credentials are looked for: in the same surroundings.
    pub fn machine(&self) -> Machine {
        Machine {
            surroundings: self.surroundings.clone(),
            env: self.env.clone(),
            root: self.root.clone(),
            ..Machine::new(&self.user_agent)
        }
    }

    /// A file of the machine at an absolute path.
    pub fn machine_path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// A client with these settings.
    ///
    /// # Errors
    /// When a certificate cannot be read.
    pub fn client(&self, config: &HttpClientConfig) -> Result<HttpClient, PrepareError> {
        HttpClient::within(config, &self.user_agent, self.surroundings.clone())
            .map_err(PrepareError::Settings)
    }
}

/// Why a mechanism cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The settings do not hold here (a certificate that is missing): the whole reload is refused.
    #[error(transparent)]
    Settings(#[from] HttpClientError),
    /// The surroundings lack something (credentials of the machine): the job goes on without this mechanism, which is
    /// counted in `prometheus_sd_failed_configs` and tried again by the next reload.
    #[error("{0}")]
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
}

/// How a mechanism runs.
pub enum Runner {
    /// It asks at an interval and hears of everything each time.
    Poll {
        /// The pause between two attempts.
        interval: Duration,
        /// What asks.
        poll: Box<dyn Poll>,
        /// How it is counted.
        counted: Counted,
    },
    /// It stays connected and hears of changes.
    Watch(Box<dyn Watch>),
}

impl Runner {
    /// Asks every `interval`.
    pub fn poll(interval: yaml::Duration, poll: impl Poll + 'static) -> Self {
        Runner::Poll {
            interval: interval.as_std(),
            poll: Box::new(poll),
            counted: Counted::default(),
        }
    }

    /// Counts refreshes under no job's name. Compat: the reference forgot it for ecs, elasticache, msk and rds
    /// (conformance `discovery/ecs/tasks`: `config=""`).
    #[must_use]
    pub(crate) fn under_no_job(mut self) -> Self {
        if let Runner::Poll { counted, .. } = &mut self {
            counted.under_no_job = true;
        }
        self
    }

    /// Counts refreshes under another mechanism's name.
    #[must_use]
    pub(crate) fn counted_as(mut self, name: &'static str) -> Self {
        if let Runner::Poll { counted, .. } = &mut self {
            counted.mechanism = Some(name);
        }
        self
    }

    /// Watches.
    pub fn watch(watch: impl Watch + 'static) -> Self {
        Runner::Watch(Box::new(watch))
    }
}

/// Under which names refreshes are counted: those of the mechanism and the job, where nothing else is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub(crate) mechanism: Option<&'static str>,
    pub(crate) under_no_job: bool,
}

/// A mechanism that asks for everything, again and again.
pub trait Poll: Send {
    /// Asks once. The groups are the whole picture: sources that were there before and are not now are taken back.
    /// After an error the picture stays as it was; nothing of a half is shown.
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>>;
}

/// A mechanism that hears of changes.
pub trait Watch: Send {
    /// Watches until it is dropped, and tells `updates` what it finds and what fails. One that returns or panics is
    /// called again after a pause.
    fn run<'w>(&'w mut self, updates: &'w Updates) -> BoxFuture<'w, ()>;
}

/// Why nothing was found out this time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// No answer.
    #[error("{url}: {source}")]
    Http {
        /// Of what.
        url: String,
        /// Why.
        source: HttpClientError,
    },
    /// An answer of the wrong kind.
    #[error("{url}: server returned HTTP status {status}{}", colon(.body))]
    Status {
        /// Of what.
        url: String,
        /// The status.
        status: ::http::StatusCode,
        /// The beginning of the body.
        body: String,
    },
    /// An answer that cannot be read.
    #[error("{place}: {detail}")]
    Content {
        /// Whose.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// Anything else.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

fn colon(body: &str) -> String {
    if body.is_empty() {
        String::new()
    } else {
        format!(": {body}")
    }
}

impl DiscoveryError {
    /// An answer of the wrong kind, with the beginning of what it says.
    pub(crate) fn status(url: &str, status: ::http::StatusCode, body: &[u8]) -> Self {
        DiscoveryError::Status {
            url: url.to_owned(),
            status,
            body: beginning(body),
        }
    }

    /// An answer that cannot be read.
    pub fn content(place: impl ToString, detail: impl ToString) -> Self {
        DiscoveryError::Content {
            place: place.to_string(),
            detail: detail.to_string(),
        }
    }
}

/// As much of a foreign text as an error quotes.
pub(crate) fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(QUOTED_CHARS_MAX).collect()
}

/// Sends a request and reads the answer, which must be a good one (2xx), up to [`BODY_BYTES_MAX`].
///
/// # Errors
/// When there is no answer, its status is another, or it is too long.
pub async fn fetch(client: &HttpClient, request: &Request) -> Result<bytes::Bytes, DiscoveryError> {
    let answer = send(client, request).await?;
    if !answer.status().is_success() {
        return Err(bad_status(answer).await);
    }
    let url = answer.url().to_string();
    answer
        .bytes(BODY_BYTES_MAX)
        .await
        .map_err(|source| DiscoveryError::Http { url, source })
}

/// Sends a request; the status is for the caller to judge.
///
/// # Errors
/// When there is no answer.
pub async fn send(client: &HttpClient, request: &Request) -> Result<Response, DiscoveryError> {
    client.send(request).await.map_err(|source| DiscoveryError::Http {
        url: request.url().to_string(),
        source,
    })
}

/// The error of an answer whose status is not the one wanted, with the beginning of what it says.
pub async fn bad_status(answer: Response) -> DiscoveryError {
    let (status, url) = (answer.status(), answer.url().to_string());
    let body = answer.bytes(64 << 10).await.unwrap_or_default();
    DiscoveryError::status(&url, status, &body)
}
