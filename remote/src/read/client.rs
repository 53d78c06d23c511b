//! A store elsewhere, asked over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use httpclient::{HttpClient, HttpClientError, Request, Response, Surroundings};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::storage::{Interrupted, SelectHints};
use url::Url;

use super::config::RemoteReadConfig;
use super::fanin::PrepareError;
use super::fetched::{Account, AnswerFault, Fetched, Samples, Streamed};
use super::message::{Query, ReadRequest};
use super::metrics::{ReadMetrics, StoreMetrics};
use super::sampled::{self, ANSWER_BYTES_MAX};
use crate::reason::reason_of;
use crate::section::redacted;

/// Forms of answer that are asked for: chunks before samples.
const ACCEPTED: [u64; 2] = [1, 0];

/// Type of an answer as samples.
const SAMPLES: &str = "application/x-protobuf";
/// Type of an answer as chunks.
const CHUNKS: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Why a store gave no answer: what a warning tells.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum StoreError {
    /// The query cannot be written.
    #[error("remote_read: unable to write the query: {0}")]
    Encode(#[source] snap::Error),
    /// It cannot be reached, or does not answer in time.
    #[error("remote_read: error sending request to {url}: {source}")]
    Send {
        /// Its address.
        url: Arc<str>,
        /// What happened.
        source: HttpClientError,
    },
    /// It does not want to.
    #[error("remote_read: remote server {url} returned http status {status}: {reason}")]
    Status {
        /// Its address.
        url: Arc<str>,
        /// Number and words.
        status: httpclient::StatusCode,
        /// What it says.
        reason: String,
    },
    /// What it answers is neither of the two.
    #[error("remote_read: unsupported content type: {0}")]
    ContentType(String),
    /// What it answers is damaged.
    #[error("remote_read: {url}: {source}")]
    Answer {
        /// Its address.
        url: Arc<str>,
        /// How.
        source: AnswerFault,
    },
    /// The query does not go on.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// A store elsewhere.
pub(super) struct Store {
    client: HttpClient,
    url: Url,
    /// The same, as it may be shown.
    shown: Arc<str>,
    headers: Vec<(String, String)>,
    timeout: Duration,
    frame_bytes_max: u64,
    pub(super) read_recent: bool,
    required: Vec<(String, String)>,
    /// Labels that are asked for unless a selector has a condition on them.
    external: Labels,
    pub(super) metrics: StoreMetrics,
}

impl Store {
    pub(super) fn new(
        config: &RemoteReadConfig,
        name: &str,
        external: &Labels,
        (user_agent, surroundings): (&str, &Surroundings),
        metrics: &ReadMetrics,
    ) -> Result<Self, PrepareError> {
        let shown: Arc<str> = redacted(&config.url).into();
        let url = Url::parse(&config.url).map_err(|source| PrepareError::Url {
            url: shown.to_string(),
            source,
        })?;
        let pairs =
            |map: &BTreeMap<String, String>| map.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        Ok(Store {
            client: HttpClient::within(&config.http, user_agent, surroundings.clone())?,
            url,
            metrics: metrics.of(name, &shown),
            shown,
            headers: pairs(&config.headers),
            timeout: Duration::from_millis(config.remote_timeout.as_ms().max(0) as u64),
            frame_bytes_max: config.chunked_read_limit,
            read_recent: config.read_recent,
            required: pairs(&config.required_matchers),
            external: match config.filter_external_labels {
                true => external.clone(),
                false => Labels::empty(),
            },
        })
    }

    /// Whether a selector is one for this store.
    pub(super) fn is_for(&self, matchers: &[Matcher]) -> bool {
        self.required.iter().all(|(name, value)| {
            matchers
                .iter()
                .any(|m| m.op == MatchOp::Equal && m.name == *name && m.value == *value)
        })
    }

    /// Labels that are asked for without a word from the selector, and so are no part of the answer.
    pub(super) fn added(&self, matchers: &[Matcher]) -> Vec<(&str, &str)> {
        let external = self.external.iter();
        external
            .filter(|(name, _)| !matchers.iter().any(|matcher| matcher.name == *name))
            .collect()
    }

    /// Asks for the series of `query`, without labels of the names `added`.
    pub(super) async fn read(
        &self,
        query: Query,
        added: &[&str],
        hints: &SelectHints,
    ) -> Result<Fetched, StoreError> {
        let _under_way = self.metrics.begin();
        let request = ReadRequest {
            queries: vec![query],
            accepted: ACCEPTED.to_vec(),
        };
        let body = request.encode().map_err(StoreError::Encode)?;
        let begun = Instant::now();
        let response = self.client.send(&self.request(body)).await;
        let response = response.map_err(|source| self.not_sent(source))?;
        if !response.status().is_success() {
            return Err(StoreError::Status {
                url: self.shown.clone(),
                status: response.status(),
                reason: reason_of(response).await,
            });
        }
        let series = self.answer(response, begun.elapsed(), hints).await?;
        let fetched = Fetched::new(self.shown.clone(), series).without(added);
        Ok(if hints.sorted { fetched.sorted() } else { fetched })
    }

    async fn answer(
        &self,
        mut response: Response,
        after: Duration,
        hints: &SelectHints,
    ) -> Result<Vec<(Labels, Samples)>, StoreError> {
        let status = response.status().as_u16().to_string();
        let content_type = response.header("content-type").to_owned();
        let mut account = Account::new(hints);
        if content_type.starts_with(SAMPLES) {
            self.metrics.began("sampled", after);
            self.metrics.count("sampled", &status);
            let body = self.whole(response, &mut account).await?;
            return sampled::read(&body, &mut account).map_err(|fault| self.bad(fault));
        }
        if content_type.starts_with(CHUNKS) {
            self.metrics.began("chunked", after);
            let streamed = self.streamed(&mut response, &mut account).await;
            let code = if streamed.is_ok() {
                status.as_str()
            } else {
                "aborted_stream"
            };
            self.metrics.count("chunked", code);
            return streamed;
        }
        self.metrics.began("unsupported", after);
        self.metrics.count("unsupported", &status);
        Err(StoreError::ContentType(content_type))
    }

    async fn whole(&self, mut response: Response, account: &mut Account<'_>) -> Result<Vec<u8>, StoreError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut response).await? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(self.bad(AnswerFault::TooLarge {
                    bytes_max: ANSWER_BYTES_MAX,
                }));
            }
            if body.capacity() - body.len() < piece.len() {
                // Twice as much, told before there is room for it.
                let more = body.capacity().max(piece.len());
                account.add(more)?;
                account.tell()?;
                body.reserve_exact(more);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    async fn streamed(
        &self,
        response: &mut Response,
        account: &mut Account<'_>,
    ) -> Result<Vec<(Labels, Samples)>, StoreError> {
        let mut streamed = Streamed::new(self.frame_bytes_max);
        while let Some(piece) = self.piece(response).await? {
            streamed.push(&piece, account).map_err(|fault| self.bad(fault))?;
        }
        streamed.finish(account).map_err(|fault| self.bad(fault))
    }

    async fn piece(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, StoreError> {
        response.chunk().await.map_err(|source| self.not_sent(source))
    }

    fn request(&self, body: Vec<u8>) -> Request {
        let mut request = Request::post(self.url.clone(), SAMPLES, body)
            .header("content-encoding", "snappy")
            .header("accept-encoding", "snappy")
            .header("x-prometheus-remote-read-version", "0.1.0")
            .timeout(self.timeout)
            // Reading twice does no harm.
            .repeatable();
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    fn not_sent(&self, source: HttpClientError) -> StoreError {
        StoreError::Send {
            url: self.shown.clone(),
            source,
        }
    }

    fn bad(&self, source: AnswerFault) -> StoreError {
        match source {
            AnswerFault::Interrupted(interrupted) => interrupted.into(),
            source => StoreError::Answer {
                url: self.shown.clone(),
                source,
            },
        }
    }
}
