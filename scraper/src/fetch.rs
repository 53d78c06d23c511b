//! Asking a target: one GET, the body inflated into a buffer that is used again.

use std::io::{Cursor, Read};
use std::pin::Pin;
use std::time::Duration;

use flate2::bufread::GzDecoder;
use http::StatusCode;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use httpclient::{HttpClient, Request};

use crate::error::FetchError;

/// How to ask a target.
#[derive(Clone, Debug)]
pub(crate) struct FetchRules {
    pub(crate) url: String,
    pub(crate) accept: String,
    pub(crate) compression: bool,
    pub(crate) timeout: Duration,
    /// Largest body, inflated; 0 is no limit.
    pub(crate) body_bytes_max: u64,
}

/// A body; the buffers are kept for the next one.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// The body, inflated.
    pub(crate) bytes: Vec<u8>,
    /// The body as it came, where it came compressed.
    packed: Vec<u8>,
    pub(crate) content_type: String,
}

/// The future of a fetch.
pub(crate) type Fetching<'f> = Pin<Box<dyn Future<Output = Result<(), FetchError>> + Send + 'f>>;

/// Fetches bodies. The seam behind which tests have targets without a network.
pub(crate) trait Fetch: Send + Sync {
    /// Asks the target and fills `body`.
    fn fetch<'f>(&'f self, rules: &'f FetchRules, body: &'f mut Body) -> Fetching<'f>;
}

impl Fetch for HttpClient {
    fn fetch<'f>(&'f self, rules: &'f FetchRules, body: &'f mut Body) -> Fetching<'f> {
        Box::pin(async move {
            match tokio::time::timeout(rules.timeout, get(self, rules, body)).await {
                Ok(result) => result,
                Err(_) => Err(FetchError::Timeout {
                    url: rules.url.clone(),
                }),
            }
        })
    }
}

async fn get(client: &HttpClient, rules: &FetchRules, body: &mut Body) -> Result<(), FetchError> {
    body.bytes.clear();
    body.packed.clear();
    body.content_type.clear();
    let url = url::Url::parse(&rules.url).map_err(|source| FetchError::Url {
        url: rules.url.clone(),
        source,
    })?;
    let failed = |source| FetchError::Request {
        url: rules.url.clone(),
        source,
    };
    let request = Request::get(url)
        .header(ACCEPT.as_str(), &rules.accept)
        .header(
            ACCEPT_ENCODING.as_str(),
            if rules.compression { "gzip" } else { "identity" },
        )
        .header(
            "X-Prometheus-Scrape-Timeout-Seconds",
            model::float::format_float(rules.timeout.as_secs_f64()),
        );
    let mut response = client.send(&request).await.map_err(failed)?;
    let status = response.status();
    if status != StatusCode::OK {
        response.discard().await;
        return Err(FetchError::Status(status));
    }
    body.content_type.push_str(response.header(CONTENT_TYPE.as_str()));
    let gzip = response.header(CONTENT_ENCODING.as_str()) == "gzip";
    let limit = if rules.body_bytes_max == 0 {
        u64::MAX
    } else {
        rules.body_bytes_max
    };
    let into = if gzip { &mut body.packed } else { &mut body.bytes };
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        into.extend_from_slice(&chunk);
        // Compat: a body of exactly the limit is too large.
        if into.len() as u64 >= limit {
            return Err(FetchError::BodySize);
        }
    }
    if gzip {
        inflate(&mut body.packed, &mut body.bytes, limit)?;
    }
    Ok(())
}

/// Inflates all gzip members of `packed`.
fn inflate(packed: &mut Vec<u8>, bytes: &mut Vec<u8>, limit: u64) -> Result<(), FetchError> {
    let mut rest = Cursor::new(std::mem::take(packed));
    let result = loop {
        let mut decoder = GzDecoder::new(&mut rest);
        let room = limit.saturating_sub(bytes.len() as u64);
        if let Err(error) = (&mut decoder).take(room).read_to_end(bytes) {
            break Err(FetchError::Gzip(error));
        }
        if bytes.len() as u64 >= limit {
            break Err(FetchError::BodySize);
        }
        if rest.position() >= rest.get_ref().len() as u64 {
            break Ok(());
        }
    };
    *packed = rest.into_inner();
    result
}
