//! What is not the API: health, reload, and the way to the pages for people.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{Method, StatusCode};
use tokio::sync::oneshot;

use super::listener::WholeQuery;
use super::paths::redirect;
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
pub(crate) async fn reload(State(state): State<Arc<LifecycleState>>) -> Response {
    if !state.enabled {
        return text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.");
    }
    let (answer, answered) = oneshot::channel();
    if state.reload.send(answer).await.is_err() {
        return reload_failed("server is stopping");
    }
    match answered.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(error)) => reload_failed(error),
        Err(_) => reload_failed("server is stopping"),
    }
}

fn reload_failed(why: impl std::fmt::Display) -> Response {
    let body = format!("failed to reload config: {why}\n");
    let headers = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::INTERNAL_SERVER_ERROR, headers, body).into_response()
}

pub(crate) async fn quit(State(state): State<Arc<LifecycleState>>) -> Response {
    if !state.enabled {
        return text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.");
    }
    tracing::warn!("Received termination request via web service, exiting gracefully...");
    state.stop.cancel();
    text(StatusCode::OK, "Requesting termination... Goodbye!")
}

/// GET of what changes something.
pub(crate) async fn only_post_or_put() -> Response {
    text(
        StatusCode::METHOD_NOT_ALLOWED,
        "Only POST or PUT requests allowed",
    )
}

/// `/`: to the page, by the path under which the outside knows it.
pub(crate) async fn home(State(state): State<Arc<PageState>>, method: Method) -> Response {
    let page = format!("{}/query", state.external_path);
    redirect(StatusCode::FOUND, &method, &page, None)
}

/// `/graph`, the page's address of old: with all that was asked there.
pub(crate) async fn graph(
    State(state): State<Arc<PageState>>,
    method: Method,
    WholeQuery(query): WholeQuery,
) -> Response {
    let page = format!("{}/query", state.external_path);
    redirect(
        StatusCode::FOUND,
        &method,
        &page,
        Some(query.as_deref().unwrap_or_default()),
    )
}
