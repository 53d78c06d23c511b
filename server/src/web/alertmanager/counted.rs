//! What is counted of requests.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use hyper::body::Body as _;

use super::state::AlertmanagerState;

/// Paths of the API that have a name of their own in metrics; whatever else somebody asks for shares one.
const HANDLERS: [&str; 5] = ["/alerts", "/alerts/groups", "/silences", "/receivers", "/status"];
/// What stands for all silences.
const SILENCE: &str = "/silence/";

/// Counts requests of the API.
pub(super) async fn api_layer(
    State(state): State<Arc<AlertmanagerState>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let known = HANDLERS
        .iter()
        .find(|known| path.trim_end_matches('/') == **known);
    let handler = match known {
        Some(known) => format!("/api/v2{known}"),
        None if path.starts_with(SILENCE) => "/api/v2/silence/{silenceID}".to_owned(),
        None => "/api/v2/".to_owned(),
    };
    counted(&state, handler, request, next).await
}

/// Counts requests of the rest of the site, by their routes.
pub(super) async fn site_layer(
    State(state): State<Arc<AlertmanagerState>>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let Some(handler) = matched.map(|path| path.as_str().to_owned()) else {
        return next.run(request).await;
    };
    let method = method(request.method());
    let response = counted(&state, handler.clone(), request, next).await;
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    state
        .metrics()
        .bytes
        .with(&[&handler, method])
        .observe(bytes as f64);
    response
}

async fn counted(state: &AlertmanagerState, handler: String, request: Request, next: Next) -> Response {
    let (began, method) = (Instant::now(), method(request.method()));
    let response = next.run(request).await;
    let code = response.status();
    let labels = [code.as_str(), &handler, method];
    state
        .metrics()
        .seconds
        .with(&labels)
        .observe(began.elapsed().as_secs_f64());
    response
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::HEAD => "head",
        Method::PUT => "put",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::PATCH => "patch",
        _ => "unknown",
    }
}
