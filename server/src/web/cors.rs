//! Which web pages may call the API: `--web.cors.origin`.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use model::regex::Regex;

/// Origins that may call.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    origins: Regex,
}

impl Cors {
    /// From the pattern of the flag.
    pub(crate) fn new(pattern: &str) -> Result<Self, model::regex::RegexError> {
        Ok(Cors {
            origins: Regex::new(pattern)?,
        })
    }

    /// The answer to a browser that asks before it asks.
    pub(crate) fn preflight(&self, headers: &HeaderMap) -> Response {
        let mut response = (StatusCode::NO_CONTENT, [(VARY, "Accept-Encoding")]).into_response();
        self.set(response.headers_mut(), headers.get(ORIGIN));
        response
    }

    fn set(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin else { return };
        let allowed = HeaderValue::from_static("Accept, Authorization, Content-Type, Origin");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, OPTIONS"),
        );
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date"));
        // Compat: the origin itself is named even where all are let in (api: `Origin: null`).
        if origin.to_str().is_ok_and(|text| self.origins.is_match(text)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
}

/// Adds the headers to every answer of the API.
pub(crate) async fn layer(State(cors): State<Cors>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = next.run(request).await;
    cors.set(response.headers_mut(), origin.as_ref());
    response
}

/// Answers browsers that ask before they ask, where answers bear none of the headers.
pub(crate) async fn preflight_layer(State(cors): State<Cors>, request: Request, next: Next) -> Response {
    match *request.method() {
        Method::OPTIONS => cors.preflight(request.headers()),
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_matching_origins_are_let_in() {
        let cors = Cors::new(r"https?://(a|b)\.example").expect("pattern");
        let headers = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            cors.set(&mut headers, Some(&HeaderValue::from_static(origin)));
            headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert_eq!(
            headers("https://a.example"),
            Some(HeaderValue::from_static("https://a.example"))
        );
        assert_eq!(headers("https://a.example.evil"), None);
    }
}
