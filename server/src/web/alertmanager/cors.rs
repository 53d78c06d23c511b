//! Pages of other servers may use the Alertmanager's API: interfaces of others do. The reference lets all of them.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// What pages may do. Compat: not end silences.
const METHODS: [&str; 3] = ["GET", "POST", "HEAD"];
const HEADERS: [&str; 3] = ["accept", "content-type", "x-requested-with"];
const ANYBODY: HeaderValue = HeaderValue::from_static("*");

/// Answers browsers that ask for leave, and says in every other answer who may read it, and that nobody should keep it.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if *request.method() == Method::OPTIONS
        && let Some(method) = headers.get(ACCESS_CONTROL_REQUEST_METHOD)
    {
        return preflight(headers, method);
    }
    let readable = headers.contains_key(ORIGIN) && METHODS.contains(&request.method().as_str());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if readable {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANYBODY);
    }
    response
}

fn preflight(headers: &HeaderMap, method: &HeaderValue) -> Response {
    let varies = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    let mut response = (StatusCode::NO_CONTENT, [(VARY, varies)]).into_response();
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
    let may = |header: &str| {
        HEADERS
            .iter()
            .any(|known| header.trim().eq_ignore_ascii_case(known))
    };
    let headers_may =
        wanted.is_none_or(|wanted| wanted.to_str().is_ok_and(|names| names.split(',').all(may)));
    let method_may = method.to_str().is_ok_and(|method| METHODS.contains(&method));
    if headers.contains_key(ORIGIN) && method_may && headers_may {
        let out = response.headers_mut();
        out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANYBODY);
        out.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        if let Some(wanted) = wanted {
            out.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
    }
    response
}
