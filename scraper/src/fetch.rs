//! Asking a target: one GET, its body into a buffer that is used again; and inflating it, which is done elsewhere.

use std::io::{Cursor, Read};
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use flate2::bufread::GzDecoder;
use http::StatusCode;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use httpclient::{HttpClient, Request};

use crate::buffers::Buffer;
use crate::error::FetchError;

/// Largest body, inflated, where `body_size_limit` does not say. No exporter that is known comes near: the largest,
/// kube-state-metrics of a cluster of thousands of nodes, stay below a third of it.
pub(crate) const BODY_BYTES_MAX: u64 = 512 << 20;
/// The clock is looked at after this many inflated bytes: about a millisecond.
const INFLATE_STEP_BYTES: u64 = 1 << 20;

/// How to ask a target.
#[derive(Clone, Debug)]
pub(crate) struct FetchRules {
    pub(crate) url: String,
    /// Formats that are asked for.
    pub(crate) accept: String,
    /// Built once for all scrapes; an error where the target's labels do not make a URL.
    request: Result<Request, url::ParseError>,
    pub(crate) timeout: Duration,
    pub(crate) body_limit: BodyLimit,
}

impl FetchRules {
    /// A GET of `url` that accepts what `accept` says, through a Unix socket where there is one.
    pub(crate) fn new(
        url: &str,
        socket: Option<&str>,
        accept: &str,
        compression: bool,
        timeout: Duration,
        body_limit: BodyLimit,
    ) -> Self {
        let encoding = if compression { "gzip" } else { "identity" };
        let timeout_s = model::float::format_float(timeout.as_secs_f64());
        let request = url::Url::parse(url).map(|url| {
            let request = Request::get(url)
                .header(ACCEPT.as_str(), accept)
                .header(ACCEPT_ENCODING.as_str(), encoding)
                .header("X-Prometheus-Scrape-Timeout-Seconds", timeout_s);
            match socket {
                Some(path) => request.through_socket(Path::new(path)),
                None => request,
            }
        });
        FetchRules {
            url: url.to_owned(),
            accept: accept.to_owned(),
            request,
            timeout,
            body_limit,
        }
    }
}

/// Largest body, as it comes and inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyLimit {
    pub(crate) bytes: u64,
    /// Nothing is configured: the limit is ours.
    pub(crate) is_default: bool,
}

impl BodyLimit {
    /// The limit of a job with this `body_size_limit`, where 0 says nothing.
    pub(crate) fn new(configured: i64) -> Self {
        match u64::try_from(configured) {
            Ok(bytes) if bytes > 0 => BodyLimit {
                bytes,
                is_default: false,
            },
            _ => BodyLimit {
                bytes: BODY_BYTES_MAX,
                is_default: true,
            },
        }
    }

    pub(crate) fn exceeded(self) -> FetchError {
        match self.is_default {
            true => FetchError::DefaultBodySize { limit: self.bytes },
            false => FetchError::BodySize,
        }
    }
}

/// A body; the buffers are kept for the next one.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// The body; inflated once [`Body::inflate`] was called.
    pub(crate) bytes: Vec<u8>,
    /// The body as it came, where it came compressed.
    pub(crate) packed: Vec<u8>,
    pub(crate) is_packed: bool,
    pub(crate) content_type: String,
}

impl Buffer for Body {
    fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.packed.capacity() + self.content_type.capacity()
    }
}

impl Body {
    /// Empties the body and keeps its buffers.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.packed.clear();
        self.is_packed = false;
        self.content_type.clear();
    }

    /// Inflates the body if it came compressed, all gzip members of it, as long as `deadline` allows.
    ///
    /// # Errors
    /// When it is no gzip, becomes larger than the limit, or takes too long.
    pub(crate) fn inflate(&mut self, rules: &FetchRules, deadline: Instant) -> Result<(), FetchError> {
        if !self.is_packed {
            return Ok(());
        }
        self.is_packed = false;
        let mut rest = Cursor::new(self.packed.as_slice());
        while rest.position() < self.packed.len() as u64 {
            inflate_member(&mut rest, &mut self.bytes, rules, deadline)?;
        }
        Ok(())
    }
}

/// The future of a fetch.
pub(crate) type Fetching<'f> = Pin<Box<dyn Future<Output = Result<(), FetchError>> + Send + 'f>>;

/// Fetches bodies. The seam behind which tests have targets without a network.
pub(crate) trait Fetch: Send + Sync {
    /// Asks the target and fills `body`, which is not inflated yet.
    fn fetch<'f>(&'f self, rules: &'f FetchRules, body: &'f mut Body) -> Fetching<'f>;
}

impl Fetch for HttpClient {
    fn fetch<'f>(&'f self, rules: &'f FetchRules, body: &'f mut Body) -> Fetching<'f> {
        Box::pin(async move {
            match tokio::time::timeout(rules.timeout, get(self, rules, body)).await {
                Ok(result) => result,
                Err(_) => Err(timed_out(rules)),
            }
        })
    }
}

fn timed_out(rules: &FetchRules) -> FetchError {
    FetchError::Timeout {
        url: rules.url.clone(),
    }
}

async fn get(client: &HttpClient, rules: &FetchRules, body: &mut Body) -> Result<(), FetchError> {
    body.clear();
    let request = rules.request.as_ref().map_err(|source| FetchError::Url {
        url: rules.url.clone(),
        source: *source,
    })?;
    let failed = |source| FetchError::Request {
        url: rules.url.clone(),
        source,
    };
    let mut response = client.send(request).await.map_err(failed)?;
    let status = response.status();
    if status != StatusCode::OK {
        response.discard().await;
        return Err(FetchError::Status(status));
    }
    body.content_type.push_str(response.header(CONTENT_TYPE.as_str()));
    body.is_packed = response.header(CONTENT_ENCODING.as_str()) == "gzip";
    let into = if body.is_packed {
        &mut body.packed
    } else {
        &mut body.bytes
    };
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        into.extend_from_slice(&chunk);
        // Compat: a body of exactly the limit is too large (scraper/tests/it/http.rs, answers_that_fail).
        if into.len() as u64 >= rules.body_limit.bytes {
            return Err(rules.body_limit.exceeded());
        }
    }
    Ok(())
}

/// Inflates the next gzip member of `rest`.
fn inflate_member(
    rest: &mut Cursor<&[u8]>,
    bytes: &mut Vec<u8>,
    rules: &FetchRules,
    deadline: Instant,
) -> Result<(), FetchError> {
    let limit = rules.body_limit;
    let mut decoder = GzDecoder::new(rest);
    loop {
        let room = limit.bytes.saturating_sub(bytes.len() as u64);
        let step = room.min(INFLATE_STEP_BYTES);
        let read = (&mut decoder)
            .take(step)
            .read_to_end(bytes)
            .map_err(FetchError::Gzip)?;
        if bytes.len() as u64 >= limit.bytes {
            return Err(limit.exceeded());
        }
        if (read as u64) < step {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(timed_out(rules));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use yaml::Bytes;

    use super::*;

    fn packed(text: &[u8]) -> Body {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        Body {
            packed: encoder.finish().unwrap(),
            is_packed: true,
            ..Body::default()
        }
    }

    fn rules(body_limit: BodyLimit) -> FetchRules {
        FetchRules::new("http://x/", None, "", true, Duration::from_secs(1), body_limit)
    }

    #[test]
    fn inflating_ends_at_the_deadline_and_at_the_limit() {
        let text = vec![b'\n'; 3 * INFLATE_STEP_BYTES as usize];
        let later = Instant::now() + Duration::from_secs(600);
        let none = rules(BodyLimit::new(0));
        let mut body = packed(&text);
        body.inflate(&none, later).unwrap();
        assert_eq!(body.bytes.len(), text.len());
        let mut body = packed(&text);
        let error = body.inflate(&none, Instant::now()).unwrap_err();
        assert_eq!(error.to_string(), r#"Get "http://x/": context deadline exceeded"#);
        assert!(
            body.bytes.len() as u64 <= INFLATE_STEP_BYTES,
            "at the first look at the clock"
        );
        let mut body = packed(&text);
        let limit = BodyLimit::new(text.len() as i64);
        let error = body.inflate(&rules(limit), later).unwrap_err();
        assert_eq!(error.to_string(), "body size limit exceeded");
    }

    #[test]
    fn the_default_limit_is_named() {
        let limit = BodyLimit::new(0);
        assert_eq!((limit.bytes, limit.is_default), (BODY_BYTES_MAX, true));
        let limit = BodyLimit { bytes: 1000, ..limit };
        let error = packed(&[b'\n'; 1000])
            .inflate(&rules(limit), Instant::now() + Duration::from_secs(600))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "body size limit exceeded: 1000B is the default, body_size_limit sets another"
        );
        assert_eq!(Bytes(BODY_BYTES_MAX as i64).to_string(), "512MiB");
    }
}
