//! What is answered while the write-ahead log is read, and whether the server says that it is ready.
//!
//! The reference refuses all requests until its log is read. Here, queries whose range lies in blocks are answered at
//! once; others wait for the log, as long as a query may take. None is answered with a hole where the newest samples
//! belong: the store refuses such a view ([`StorageError::NotReady`](model::storage::StorageError::NotReady)).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::HeaderName;
use http::{HeaderValue, StatusCode};

use super::answer::ApiError;
use super::form::FormError;
use super::params::ReadForm;
use super::state::StartState;

/// Compat: tells probes whether a server that is not ready starts or stops.
const STOPPING: HeaderName = HeaderName::from_static("x-prometheus-stopping");

/// On a response: the answer needs samples that are still in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotYet;

/// `/-/ready`: 503 while starting or stopping, and while nothing can be stored (queries go on then).
pub(super) async fn ready(State(state): State<Arc<StartState>>) -> Response {
    if !*state.ready.borrow() || state.stop.is_cancelled() {
        return unavailable(&state);
    }
    let name = state.calls_itself;
    if let Some(why) = state.store.write_failure() {
        let text = format!("{name} is not Ready: nothing can be stored: {why}\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    // Compat: the text is the reference's; probes that compare it exist (api-shapes/root_-_ready).
    (StatusCode::OK, format!("{name} is Ready.\n")).into_response()
}

/// Compat: as the reference refuses whatever it cannot answer yet.
pub(super) fn unavailable(state: &StartState) -> Response {
    let stopping = if state.stop.is_cancelled() {
        "true"
    } else {
        "false"
    };
    let mut response = not_yet();
    response
        .headers_mut()
        .insert(STOPPING, HeaderValue::from_static(stopping));
    response
}

/// The answer to a request that needs the log.
pub(super) fn not_yet() -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response();
    response.extensions_mut().insert(NotYet);
    response
}

/// Whether a path of the API asks for samples or series.
fn reads(path: &str) -> bool {
    let path = path.rsplit_once("/api/v1").map_or(path, |(_, path)| path);
    matches!(
        path,
        "/query" | "/query_range" | "/query_exemplars" | "/series" | "/labels"
    ) || (path.starts_with("/label/") && path.ends_with("/values"))
}

/// A request, and once more the same. `None` when there is no room to keep its form.
async fn twice(request: Request) -> Result<Option<(Request, Request)>, FormError> {
    let (mut parts, body) = request.into_parts();
    if ReadForm::is_brought_by(&parts.method) {
        let Some(form) = ReadForm::keep(&parts.headers, body).await? else {
            return Ok(None);
        };
        parts.extensions.insert(form);
    }
    let again = Request::from_parts(parts.clone(), Body::empty());
    Ok(Some((Request::from_parts(parts, Body::empty()), again)))
}

/// Lets requests pass once the log is read; before that those that need nothing of it.
pub(super) async fn layer(State(state): State<Arc<StartState>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if *state.ready.borrow() || path.ends_with("/status/walreplay") {
        return next.run(request).await;
    }
    if !reads(path) {
        return unavailable(&state);
    }
    let (request, again) = match twice(request).await {
        Ok(Some(both)) => both,
        // As many forms wait as may.
        Ok(None) => return unavailable(&state),
        Err(error) => return ApiError::form(&error).into_response(),
    };
    let from_blocks = next.clone().run(request).await;
    if from_blocks.extensions().get::<NotYet>().is_none() {
        return from_blocks;
    }
    let mut ready = state.ready.subscribe();
    let waiting = tokio::time::timeout(state.patience, ready.wait_for(|ready| *ready));
    let is_ready = tokio::select! {
        waited = waiting => matches!(waited, Ok(Ok(_))),
        () = state.stop.cancelled() => false,
    };
    if is_ready {
        next.run(again).await
    } else {
        unavailable(&state)
    }
}

#[cfg(test)]
mod tests;
