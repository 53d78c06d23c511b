//! Sending: connections used again, requests repeated where that is safe, redirects followed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, REFERER, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;
use url::Url;

use crate::config::{ProxyConfig, TlsConfig};
use crate::connect::{Connector, Surroundings};
use crate::error::HttpClientError;
use crate::pool::{Connection, Lease, Outgoing, Pool, keep_shared};
use crate::proxy::{Proxies, basic_auth};
use crate::reach::is_host_of_machine;
use crate::request::{Destination, Request, Response};
use crate::tls::TlsSource;

/// Redirects followed before giving up, as in Go.
pub const REDIRECTS_MAX: usize = 10;
/// How often files of certificates are looked at.
const FILES_INTERVAL: Duration = Duration::from_secs(1);

/// Which redirects are followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redirects {
    /// Any at all.
    pub(crate) follow: bool,
    /// From elsewhere to addresses that only the machine itself is meant to ask.
    pub(crate) to_link_local: bool,
}

/// Sends requests and knows nothing of credentials.
#[derive(Debug)]
pub(crate) struct Transport {
    pool: Arc<Pool>,
    connector: Arc<Connector>,
    redirects: Redirects,
    user_agent: HeaderValue,
    /// When the files of certificates were last looked at.
    files_seen: parking_lot::Mutex<Option<Instant>>,
    is_looking: Arc<AtomicBool>,
}

impl Transport {
    pub(crate) fn new(
        tls: &TlsConfig,
        proxy: &ProxyConfig,
        http2: bool,
        redirects: Redirects,
        user_agent: &str,
        surroundings: &Surroundings,
        socket: Option<Arc<Path>>,
    ) -> Result<Self, HttpClientError> {
        Ok(Transport {
            pool: Arc::default(),
            connector: Arc::new(Connector {
                socket,
                resolver: surroundings.resolver.clone(),
                proxies: Proxies::new(proxy)?,
                tls: TlsSource::new(tls, http2, surroundings.roots.as_ref())?,
            }),
            redirects,
            user_agent: HeaderValue::try_from(user_agent)
                .map_err(|_| HttpClientError::Header("User-Agent".to_owned()))?,
            files_seen: parking_lot::Mutex::new(None),
            is_looking: Arc::default(),
        })
    }

    /// Sends a request with further headers, which replace its own; the answer's body is still to be read.
    pub(crate) async fn send(
        &self,
        request: &Request,
        extra: &[(HeaderName, Vec<HeaderValue>)],
    ) -> Result<Response, HttpClientError> {
        let deadline = request.timeout.map(|timeout| Instant::now() + timeout);
        let exchange = self.follow(request, extra);
        let mut response = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, exchange)
                .await
                .map_err(|_| HttpClientError::Timeout)??,
            None => exchange.await?,
        };
        response.deadline = deadline;
        Ok(response)
    }

    async fn follow(
        &self,
        request: &Request,
        extra: &[(HeaderName, Vec<HeaderValue>)],
    ) -> Result<Response, HttpClientError> {
        self.look_at_files().await;
        let first = request.destination()?;
        let mut hop = Hop {
            method: request.method.clone(),
            url: request.url.clone(),
            to: first.clone(),
            headers: self.headers(request, extra),
            body: request.body.clone(),
            is_repeatable: request.is_repeatable(),
        };
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&hop).await?;
            let Some(location) = self.redirect(&response)? else {
                return Ok(response);
            };
            let status = response.status();
            response.discard().await;
            let may_be_of_machine = self.redirects.to_link_local || is_host_of_machine(&first.host);
            hop.turn_to(status, location, |to| {
                if may_be_of_machine || to.host == first.host {
                    Ok(to)
                } else {
                    to.guarded()
                }
            })?;
            if !first.trusts(&hop.to) {
                hop.drop_secrets();
                if request.secret_body && !hop.body.is_empty() {
                    return Err(HttpClientError::Url {
                        detail: format!(
                            "redirect to {} refused: the request's body holds credentials",
                            hop.to.key
                        ),
                    });
                }
            }
        }
        Err(HttpClientError::Redirects)
    }

    fn headers(&self, request: &Request, extra: &[(HeaderName, Vec<HeaderValue>)]) -> HeaderMap {
        let mut headers = request.headers.clone();
        for (name, values) in extra {
            headers.remove(name);
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
        if !headers.contains_key(AUTHORIZATION)
            && let Some(auth) = basic_auth(&request.url)
        {
            headers.insert(AUTHORIZATION, auth);
        }
        if !headers.contains_key(USER_AGENT) && !self.user_agent.is_empty() {
            headers.insert(USER_AGENT, self.user_agent.clone());
        }
        headers
    }

    /// Where an answer sends us, if it does and we follow.
    fn redirect(&self, response: &Response) -> Result<Option<Url>, HttpClientError> {
        let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        // Compat: Go takes a redirect without a place to go to as it is.
        let location = response.headers().get(LOCATION).filter(|value| !value.is_empty());
        let Some(location) = location.filter(|_| self.redirects.follow && is_redirect) else {
            return Ok(None);
        };
        let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
        match response.url().join(&location) {
            Ok(url) => Ok(Some(url)),
            Err(source) => Err(HttpClientError::Location { location, source }),
        }
    }

    /// One exchange, on a kept connection if there is one.
    ///
    /// Compat: Go's rule (conformance `keepalive-race`). On a connection that was used before, the end may come just as
    /// the request goes out: the server found it idle for too long. A request of which nothing was written is sent
    /// again; one that was written only if doing it twice does no harm and nothing of an answer has come. A new
    /// connection that fails is the server's word.
    async fn ask(&self, hop: &Hop) -> Result<Response, HttpClientError> {
        loop {
            let (mut connection, was_used) = match self.pool.take(&hop.to.key).await {
                Some(kept) => (kept, true),
                None => {
                    let headers_max = self.pool.headers_max(&hop.to.key);
                    let connection = self
                        .connector
                        .connect(&hop.to, self.pool.epoch(), headers_max)
                        .await?;
                    keep_shared(&self.pool, &hop.to.key, &connection);
                    (connection, false)
                }
            };
            let failure = match connection.exchange(self.to_http(hop, &connection)).await {
                Ok(answer) => {
                    // One of HTTP/2 stays in the pool while it is used.
                    let lease = (!connection.is_http2())
                        .then(|| Lease::new(self.pool.clone(), hop.to.key.clone(), connection));
                    return Ok(Response::new(answer, lease, hop.url.clone()));
                }
                Err(failure) => failure,
            };
            if failure.error.is_parse_too_large() {
                // From now on there is room for more; what may be asked twice is asked again at once.
                if self.pool.allow_headers(&hop.to.key) && hop.is_repeatable {
                    continue;
                }
                return Err(HttpClientError::HeadTooLong);
            }
            let again = failure.unsent || (failure.silent && hop.is_repeatable);
            if !(was_used && again) {
                return Err(HttpClientError::Exchange(failure.error));
            }
        }
    }

    fn to_http(&self, hop: &Hop, connection: &Connection) -> http::Request<Outgoing> {
        let mut request = http::Request::new(Full::new(hop.body.clone()));
        *request.method_mut() = hop.method.clone();
        *request.headers_mut() = hop.headers.clone();
        let whole = connection.is_http2() || connection.to_proxy;
        *request.uri_mut() = if whole {
            &hop.to.absolute_form
        } else {
            &hop.to.origin_form
        }
        .clone();
        if !connection.is_http2() {
            request
                .headers_mut()
                .entry(HOST)
                .or_insert_with(|| hop.to.authority.clone());
        }
        if connection.to_proxy
            && let Some(auth) = self.connector.proxy_auth(&hop.to)
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, auth);
        }
        request
    }

    /// Reads certificates again when their files have changed. What cannot be read is said, and the old ones stay.
    async fn look_at_files(&self) {
        if !self.connector.tls.has_files() {
            return;
        }
        let now = Instant::now();
        {
            let mut seen = self.files_seen.lock();
            if seen.is_some_and(|seen| now < seen + FILES_INTERVAL)
                || self.is_looking.swap(true, Ordering::Relaxed)
            {
                return;
            }
            *seen = Some(now);
        }
        let (connector, pool, is_looking) =
            (self.connector.clone(), self.pool.clone(), self.is_looking.clone());
        let looked = tokio::task::spawn_blocking(move || {
            match connector.tls.refresh() {
                Ok(true) => pool.clear(),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "Changed certificates cannot be used; those read before stay in force");
                }
            }
            is_looking.store(false, Ordering::Relaxed);
        });
        let _ = looked.await;
    }
}

/// An address without who asks and where in the page.
fn referer(url: &Url) -> String {
    let mut url = url.clone();
    // An address that has them can be without.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url.into()
}

/// A request on its way through redirects.
struct Hop {
    method: Method,
    url: Url,
    to: Arc<Destination>,
    headers: HeaderMap,
    body: Bytes,
    is_repeatable: bool,
}

impl Hop {
    fn turn_to(
        &mut self,
        status: StatusCode,
        url: Url,
        guard: impl FnOnce(Destination) -> Result<Destination, HttpClientError>,
    ) -> Result<(), HttpClientError> {
        let to = Arc::new(guard(Destination::new(&url, self.to.socket.clone())?)?);
        // Compat: as Go (conformance `redirect-307`), but within a host alone: what is behind one may be a secret.
        let referer = self.to.trusts(&to).then(|| referer(&self.url));
        match referer.and_then(|url| HeaderValue::try_from(url).ok()) {
            Some(url) => self.headers.insert(REFERER, url),
            None => self.headers.remove(REFERER),
        };
        self.to = to;
        self.url = url;
        // A `Host` of the caller's own is that of the first place.
        self.headers.remove(HOST);
        if !matches!(status.as_u16(), 307 | 308) {
            if self.method != Method::HEAD {
                self.method = Method::GET;
            }
            self.body = Bytes::new();
            self.is_repeatable = true;
            let of_body = |name: &HeaderName| name.as_str().starts_with("content-");
            let names: Vec<HeaderName> = self
                .headers
                .keys()
                .filter(|name| of_body(name))
                .cloned()
                .collect();
            for name in names {
                self.headers.remove(name);
            }
        }
        Ok(())
    }

    /// Another host gets no credentials.
    fn drop_secrets(&mut self) {
        let mut names: Vec<HeaderName> =
            [AUTHORIZATION, COOKIE, WWW_AUTHENTICATE, PROXY_AUTHORIZATION].into();
        let secret = self.headers.iter().filter(|(_, value)| value.is_sensitive());
        names.extend(secret.map(|(name, _)| name.clone()));
        for name in names {
            self.headers.remove(name);
        }
    }
}
