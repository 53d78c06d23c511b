//! What is asked, and what comes back.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;
use url::{Position, Url};

use crate::error::HttpClientError;
use crate::pool::Lease;
use crate::proxy::bare;
use crate::reach::is_host_of_machine;

/// Bytes of a body nobody wants that are read all the same, so that the connection can be used again.
const UNWANTED_BYTES_MAX: usize = 2 << 10;
/// How long such a body is waited for.
const UNWANTED_WAIT: Duration = Duration::from_millis(50);

/// One request. It is built once and may be sent again and again: what a URL means is worked out only once.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) secret_body: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) socket: Option<Arc<Path>>,
    repeatable: bool,
    /// The first header that cannot be sent; said when the request is.
    bad_header: Option<String>,
    destination: OnceLock<Arc<Destination>>,
}

impl Request {
    /// A request without headers, body and time limit.
    pub fn new(method: Method, url: Url) -> Self {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            secret_body: false,
            timeout: None,
            socket: None,
            repeatable: false,
            bad_header: None,
            destination: OnceLock::new(),
        }
    }

    /// A GET.
    pub fn get(url: Url) -> Self {
        Request::new(Method::GET, url)
    }

    /// A POST with a body.
    pub fn post(url: Url, content_type: &str, body: impl Into<Bytes>) -> Self {
        Request::new(Method::POST, url)
            .header("content-type", content_type)
            .body(body)
    }

    /// Adds a header. One that cannot be sent is an error of sending.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.with_header(name, value.as_ref(), false)
    }

    /// Adds a header that no redirect carries to another host.
    #[must_use]
    pub fn secret_header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.with_header(name, value.as_ref(), true)
    }

    fn with_header(mut self, name: &str, value: &[u8], secret: bool) -> Self {
        match (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(secret);
                self.headers.append(name, value);
            }
            _ => {
                self.bad_header.get_or_insert_with(|| name.to_owned());
            }
        }
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a body that no redirect carries to another host.
    #[must_use]
    pub fn secret_body(self, body: impl Into<Bytes>) -> Self {
        Request {
            secret_body: true,
            ..self.body(body)
        }
    }

    /// Limits the time from sending to the last byte of the answer's body.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it, and whatever redirects it leads to, through a Unix socket: what the URL says of the host is only what the
    /// server is told, and what its certificate is checked against.
    #[must_use]
    pub fn through_socket(mut self, path: impl Into<Arc<Path>>) -> Self {
        self.socket = Some(path.into());
        self.destination = OnceLock::new();
        self
    }

    /// Whether it has a limit of its own.
    pub fn has_timeout(&self) -> bool {
        self.timeout.is_some()
    }

    /// Says that doing twice what is asked does no harm although the method leaves it open, so that the request may be
    /// sent again when a connection that was used before ends without a word.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Where it goes.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The headers, without those that the client adds.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What is sent: for who signs it.
    pub fn content(&self) -> &Bytes {
        &self.body
    }

    /// The `Host` that the server is told.
    ///
    /// # Errors
    /// When no request can be sent to the URL.
    pub fn host(&self) -> Result<HeaderValue, HttpClientError> {
        Ok(self.destination()?.authority.clone())
    }

    /// Compat: as Go's transport, by the method or by a key that names the deed.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.repeatable
            || matches!(
                self.method,
                Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
            )
            || self.headers.contains_key("idempotency-key")
            || self.headers.contains_key("x-idempotency-key")
    }

    pub(crate) fn destination(&self) -> Result<Arc<Destination>, HttpClientError> {
        if let Some(name) = &self.bad_header {
            return Err(HttpClientError::Header(name.clone()));
        }
        if let Some(known) = self.destination.get() {
            return Ok(known.clone());
        }
        let destination = Arc::new(Destination::new(&self.url, self.socket.clone())?);
        Ok(self.destination.get_or_init(|| destination).clone())
    }
}

/// Where a request goes, in the forms that are sent.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) https: bool,
    /// Name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The `Host` header.
    pub(crate) authority: HeaderValue,
    /// Path and query.
    pub(crate) origin_form: Uri,
    /// All of it, for proxies and HTTP/2.
    pub(crate) absolute_form: Uri,
    /// The Unix socket that leads there.
    pub(crate) socket: Option<Arc<Path>>,
    /// A server has sent us here, so no address of the machine's own will do.
    pub(crate) is_guarded: bool,
    /// What connections are kept under: scheme, host, port and socket.
    pub(crate) key: Arc<str>,
}

impl Destination {
    pub(crate) fn new(url: &Url, socket: Option<Arc<Path>>) -> Result<Self, HttpClientError> {
        let bad = |detail: String| HttpClientError::Url { detail };
        let https = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(bad(format!("unsupported protocol scheme {other:?}"))),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| bad("no Host in request URL".to_owned()))?;
        let port = url.port().unwrap_or(if https { 443 } else { 80 });
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let absolute = format!("{}://{authority}{path}", url.scheme());
        let uri = |text: &str| Uri::try_from(text).map_err(|error| bad(format!("{text:?}: {error}")));
        Ok(Destination {
            https,
            host: bare(host).to_owned(),
            port,
            origin_form: uri(if path.is_empty() { "/" } else { path })?,
            absolute_form: uri(&absolute)?,
            key: Arc::from(match &socket {
                None => format!("{}://{host}:{port}", url.scheme()),
                Some(path) => format!("{}://{host}:{port} {}", url.scheme(), path.display()),
            }),
            socket,
            is_guarded: false,
            authority: HeaderValue::try_from(authority)
                .map_err(|_| HttpClientError::Header("Host".to_owned()))?,
        })
    }

    /// Itself, as a place that a server has sent us to. Its connections are kept apart: one that was made when nobody
    /// looked where a name leads must not serve.
    pub(crate) fn guarded(self) -> Result<Self, HttpClientError> {
        if is_host_of_machine(&self.host) {
            return Err(HttpClientError::LinkLocal { host: self.host });
        }
        Ok(Destination {
            is_guarded: true,
            key: Arc::from(format!("{} guarded", self.key)),
            ..self
        })
    }

    /// Whether credentials for `self` may go to `other`: the same host, and never out of TLS.
    pub(crate) fn trusts(&self, other: &Destination) -> bool {
        self.host == other.host && (other.https || !self.https)
    }
}

/// An answer, whose body comes as it is asked for.
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Incoming,
    /// The connection, given back once the body has been read.
    lease: Option<Lease>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) url: Url,
}

impl Response {
    pub(crate) fn new(answer: http::Response<Incoming>, lease: Option<Lease>, url: Url) -> Self {
        let (head, body) = answer.into_parts();
        let mut response = Response {
            status: head.status,
            version: head.version,
            headers: head.headers,
            body,
            lease,
            deadline: None,
            url,
        };
        response.give_back_at_end();
        response
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The protocol's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of a header; empty where there is none that is text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// Where the answer came from, after all redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks before the end, or the request's time is over.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpClientError> {
        loop {
            let frame = match self.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, self.body.frame())
                    .await
                    .map_err(|_| HttpClientError::Timeout)?,
                None => self.body.frame().await,
            };
            let frame = frame.transpose().map_err(HttpClientError::Exchange)?;
            self.give_back_at_end();
            match frame {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, unless it is longer than `bytes_max`.
    ///
    /// # Errors
    /// As [`Response::chunk`], and when the body is longer.
    pub async fn bytes(mut self, bytes_max: usize) -> Result<Bytes, HttpClientError> {
        let too_long = HttpClientError::BodyTooLong { bytes_max };
        if self.body.size_hint().lower() > bytes_max as u64 {
            return Err(too_long);
        }
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.chunk().await? else {
            return if first.len() > bytes_max {
                Err(too_long)
            } else {
                Ok(first)
            };
        };
        let mut all = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if all.len() + piece.len() > bytes_max {
                return Err(too_long);
            }
            all.extend_from_slice(&piece);
            next = self.chunk().await?;
        }
        Ok(all.freeze())
    }

    /// Reads a short body to its end, so that its connection can be used again; a longer one costs the connection.
    pub async fn discard(mut self) {
        let rest = async {
            let mut read = 0;
            while read <= UNWANTED_BYTES_MAX
                && let Ok(Some(piece)) = self.chunk().await
            {
                read += piece.len();
            }
        };
        // Late or not: who asked does not want it.
        let _ = tokio::time::timeout(UNWANTED_WAIT, rest).await;
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}
