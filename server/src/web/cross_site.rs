//! A page of somebody else, open in the browser of one who may reach this server, must not reload, end or empty it.
//!
//! Browsers say where a request comes from (`Sec-Fetch-Site`, `Origin`); programs say nothing and are let through.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Method, StatusCode, Uri};
use model::regex::Regex;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whose pages may change something.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    /// `--web.cors.origin`, where it was given: its default lets everybody read, which is no leave to change.
    origins: Option<Regex>,
    /// Host and port under which this server is known outside.
    external: Option<String>,
}

impl Trust {
    /// From the flags.
    pub(crate) fn new(origins: Option<Regex>, external_url: &url::Url) -> Self {
        Trust {
            origins,
            external: origin_host(external_url.as_str()),
        }
    }

    /// Whether the page that asks, if it is one, is ours or one of those that are trusted.
    fn allows(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let origin = text(&ORIGIN);
        let trusted = origin.is_some_and(|origin| {
            let known = self
                .origins
                .as_ref()
                .is_some_and(|origins| origins.is_match(origin));
            known || (self.external.is_some() && origin_host(origin) == self.external)
        });
        if trusted {
            return true;
        }
        match text(&FETCH_SITE) {
            Some("same-origin" | "none") => true,
            Some(_) => false,
            // Older browsers. Over HTTP/2 the host stands in the URI.
            None => origin.is_none_or(|origin| {
                let host = text(&HOST).or(uri.authority().map(http::uri::Authority::as_str));
                origin_host(origin)
                    .is_some_and(|of_origin| host.is_some_and(|host| same_host(&of_origin, host)))
            }),
        }
    }
}

/// Host and port of an origin, as a `Host` header has them.
fn origin_host(origin: &str) -> Option<String> {
    let url = url::Url::parse(origin).ok()?;
    let host = url.host_str()?.to_ascii_lowercase();
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

/// Whether a `Host` header names the host of an origin; a browser leaves out the scheme's own port in both.
fn same_host(of_origin: &str, host: &str) -> bool {
    host.eq_ignore_ascii_case(of_origin)
}

/// Refuses other people's pages what changes something.
pub(super) async fn layer(State(trust): State<Arc<Trust>>, request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && !trust.allows(request.headers(), request.uri()) {
        tracing::warn!(
            path = request.uri().path(),
            origin = ?request.headers().get(ORIGIN),
            "Request of a foreign page refused"
        );
        let text = "Cross-site request refused: a page of another site must not change this server. \
            Name its origin in --web.cors.origin if it may.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_and_trusted_pages_may_change_something() {
        let external = url::Url::parse("https://mon.example/prom").expect("URL");
        let default = Trust::new(None, &external);
        let named = Trust::new(
            Some(Regex::new("https://grafana\\.example").expect("pattern")),
            &external,
        );
        let allows = |trust: &Trust, origin: Option<&str>, site: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "10.0.0.1:9090".parse().expect("header"));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().expect("header"));
            }
            if let Some(site) = site {
                headers.insert(FETCH_SITE, site.parse().expect("header"));
            }
            trust.allows(&headers, &Uri::from_static("/-/reload"))
        };
        for (origin, site, allowed) in [
            (None, None, true),
            (None, Some("none"), true),
            (None, Some("same-origin"), true),
            (None, Some("cross-site"), false),
            (Some("http://10.0.0.1:9090"), None, true),
            (Some("http://10.0.0.1:9090"), Some("same-origin"), true),
            (Some("https://mon.example"), None, true),
            (Some("https://evil.example"), None, false),
            (Some("https://evil.example"), Some("same-site"), false),
            (Some("http://10.0.0.1:9091"), None, false),
            (Some("null"), None, false),
            (Some("https://grafana.example"), Some("cross-site"), false),
        ] {
            assert_eq!(allows(&default, origin, site), allowed, "{origin:?} {site:?}");
        }
        assert!(allows(
            &named,
            Some("https://grafana.example"),
            Some("cross-site")
        ));
        assert!(!allows(
            &named,
            Some("https://grafana.example.evil"),
            Some("cross-site")
        ));
    }
}
