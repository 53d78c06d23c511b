//! What is not the API: health, reload, a page for people.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::oneshot;

use super::state::{LifecycleState, PageState};

/// Text with a status.
fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (status, body.into()).into_response()
}

// Compat: the text is the reference's; probes that compare it exist (api-shapes/root_-_healthy).
pub(crate) async fn healthy() -> Response {
    text(StatusCode::OK, "Prometheus Server is Healthy.\n")
}

/// `POST /-/reload`: answers when the new configuration is in force, or says why the old one still is.
pub(crate) async fn reload(State(state): State<Arc<LifecycleState>>, method: Method) -> Response {
    if let Some(refusal) = refuse_lifecycle(&state, &method) {
        return refusal;
    }
    let (answer, answered) = oneshot::channel();
    if state.reload.send(answer).await.is_err() {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed to reload config: server is stopping\n",
        );
    }
    match answered.await {
        Ok(Ok(())) => text(StatusCode::OK, ""),
        Ok(Err(error)) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to reload config: {error}\n"),
        ),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed to reload config: server is stopping\n",
        ),
    }
}

pub(crate) async fn quit(State(state): State<Arc<LifecycleState>>, method: Method) -> Response {
    if let Some(refusal) = refuse_lifecycle(&state, &method) {
        return refusal;
    }
    tracing::warn!("Received termination request via web service, exiting gracefully...");
    state.stop.cancel();
    text(StatusCode::OK, "Requesting termination... Goodbye!")
}

fn refuse_lifecycle(state: &LifecycleState, method: &Method) -> Option<Response> {
    if !matches!(*method, Method::POST | Method::PUT) {
        return Some(text(
            StatusCode::METHOD_NOT_ALLOWED,
            "Only POST or PUT requests allowed",
        ));
    }
    (!state.enabled).then(|| text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled."))
}

/// `/graph` and the like: where the reference's pages are, ours is one page.
pub(crate) async fn to_front(State(state): State<Arc<PageState>>) -> Response {
    let location =
        HeaderValue::try_from(format!("{}/", state.prefix)).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::FOUND, [(LOCATION, location)]).into_response()
}

/// One page that says what is here. It asks the API for what it shows.
pub(crate) async fn front(State(state): State<Arc<PageState>>) -> Response {
    let page = include_str!("front.html")
        .replace("{{title}}", &escape(&state.title))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"));
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

pub(crate) async fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Our own metrics, in the form that the scraper asked for.
pub(crate) async fn metrics(State(state): State<Arc<PageState>>, headers: http::HeaderMap) -> Response {
    let accept = headers
        .get(http::header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let format = metrics::Format::negotiate(accept);
    (
        [(CONTENT_TYPE, format.content_type())],
        state.metrics.render(format),
    )
        .into_response()
}
