//! Asking an API server: how it is reached, and what its answers mean.

use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use httpclient::{HttpClient, HttpClientConfig, HttpClientError, Request, Response};
use url::Url;

use super::exec::{Exec, ExecToken};
use super::objects::Resource;
use super::stream::{Status, Unreadable};
use crate::prepare::{DiscoveryError, bad_status, send};

/// Longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How an API server is reached. Discoveries that reach it in the same way share their watches.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Access {
    /// Where it is; its path comes before that of the API.
    pub(super) server: Url,
    pub(super) http: HttpClientConfig,
    /// Further headers: as whom to act.
    pub(super) headers: Vec<(String, String)>,
    /// A program that gives tokens.
    pub(super) exec: Option<Exec>,
}

/// Which objects are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    /// All if empty.
    pub(super) namespace: String,
    pub(super) label_selector: String,
    pub(super) field_selector: String,
}

/// Objects of one kind behind an API server.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    url: Url,
    headers: Vec<(String, String)>,
}

/// What requests to one server are sent with.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: HttpClient,
    exec: Option<Arc<ExecToken>>,
}

impl Client {
    pub(super) fn new(http: HttpClient, access: &Access) -> Self {
        Client {
            http,
            exec: access.exec.clone().map(|exec| Arc::new(ExecToken::new(exec))),
        }
    }

    /// Sends a request as whoever asks here; the status is for the caller to judge.
    pub(super) async fn send(
        &self,
        mut request: Request,
        headers: &[(String, String)],
    ) -> Result<Response, Failure> {
        for (name, value) in headers {
            request = request.secret_header(name, value);
        }
        let mut token = None;
        if let Some(exec) = &self.exec {
            let given = exec.get().await.map_err(Failure::Refused)?;
            request = request.secret_header("authorization", format!("Bearer {given}"));
            token = Some((exec, given));
        }
        let answer = send(&self.http, &request).await.map_err(Failure::NoAnswer)?;
        if let (StatusCode::UNAUTHORIZED, Some((exec, token))) = (answer.status(), token) {
            exec.refused(&token).await;
        }
        Ok(answer)
    }
}

impl Api {
    pub(super) fn new(client: Client, access: &Access, resource: Resource, scope: &Scope) -> Self {
        let mut url = access.server.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(resource.group);
            if !scope.namespace.is_empty() {
                path.extend(["namespaces", &scope.namespace]);
            }
            path.push(resource.plural);
        }
        let selectors = [
            ("labelSelector", &scope.label_selector),
            ("fieldSelector", &scope.field_selector),
        ];
        for (name, selector) in selectors.into_iter().filter(|(_, selector)| !selector.is_empty()) {
            url.query_pairs_mut().append_pair(name, selector);
        }
        Api {
            client,
            url,
            headers: access.headers.clone(),
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Asks; the answer is a good one.
    pub(super) async fn ask(&self, query: &[(&str, &str)], limit: Duration) -> Result<Response, Failure> {
        let mut url = self.url.clone();
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let request = Request::get(url)
            .header("accept", "application/json")
            .timeout(limit);
        let answer = self.client.send(request, &self.headers).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let retry_after = answer.header("retry-after").parse().ok().map(Duration::from_secs);
        let error = bad_status(answer).await;
        Err(match status {
            StatusCode::GONE => Failure::Expired(error),
            StatusCode::TOO_MANY_REQUESTS => Failure::Throttled {
                error,
                wait: retry_after.unwrap_or_default().min(RETRY_AFTER_MAX),
            },
            _ if is_too_new(&error.to_string()) => Failure::Expired(error),
            _ => Failure::Refused(error),
        })
    }

    /// What a broken answer means.
    pub(super) fn broken(&self, source: HttpClientError) -> Failure {
        Failure::Broken(DiscoveryError::Http {
            url: self.url.to_string(),
            source,
        })
    }

    /// What it means that there is no answer in time.
    pub(super) fn silent(&self) -> Failure {
        Failure::NoAnswer(DiscoveryError::Http {
            url: self.url.to_string(),
            source: HttpClientError::Timeout,
        })
    }

    /// What an answer means that cannot be read.
    pub(super) fn unreadable(&self, error: &Unreadable) -> Failure {
        Failure::Refused(DiscoveryError::content(&self.url, error))
    }

    /// What an error within a watch means.
    pub(super) fn told(&self, status: &Status) -> Failure {
        let error = DiscoveryError::content(&self.url, status);
        match status.code {
            410 => Failure::Expired(error),
            429 => Failure::Throttled {
                error,
                wait: Duration::ZERO,
            },
            _ if matches!(&*status.reason, "Expired" | "Gone") || is_too_new(&status.message) => {
                Failure::Expired(error)
            }
            _ => Failure::Refused(error),
        }
    }
}

/// A version from the future: the server has been restored to an earlier state.
fn is_too_new(message: &str) -> bool {
    message.contains("ResourceVersionTooLarge") || message.contains("Too large resource version")
}

/// Why there is no list or no watch.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server cannot be reached.
    #[error(transparent)]
    NoAnswer(DiscoveryError),
    /// It asks for fewer requests.
    #[error("{error}")]
    Throttled { error: DiscoveryError, wait: Duration },
    /// An answer breaks off.
    #[error(transparent)]
    Broken(DiscoveryError),
    /// It does not know the version that was asked for.
    #[error(transparent)]
    Expired(DiscoveryError),
    /// Anything else.
    #[error(transparent)]
    Refused(DiscoveryError),
}

impl Failure {
    /// How long the server wants to be left alone.
    pub(super) fn wait(&self) -> Duration {
        match self {
            Failure::Throttled { wait, .. } => *wait,
            _ => Duration::ZERO,
        }
    }

    /// What is wrong, whatever it means for a watch.
    pub(super) fn into_error(self) -> DiscoveryError {
        match self {
            Failure::NoAnswer(error)
            | Failure::Throttled { error, .. }
            | Failure::Broken(error)
            | Failure::Expired(error)
            | Failure::Refused(error) => error,
        }
    }
}
