//! How many reads are answered at the same time, and how long a request may take.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{Method, StatusCode};

use super::state::AlertmanagerState;

/// Refuses reads beyond the bound, and gives up on what takes too long.
pub(super) async fn layer(
    State(state): State<Arc<AlertmanagerState>>,
    request: Request,
    next: Next,
) -> Response {
    let answering = bounded(&state, request, next);
    let Some(timeout) = state.limits.timeout else {
        return answering.await;
    };
    tokio::time::timeout(timeout, answering)
        .await
        .unwrap_or_else(|_| {
            let shown = receivers::GoDuration(timeout);
            let text = format!("Exceeded configured timeout of {shown}.\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        })
}

async fn bounded(state: &AlertmanagerState, request: Request, next: Next) -> Response {
    if *request.method() != Method::GET {
        return next.run(request).await;
    }
    let Ok(_place) = state.limits.reads.try_acquire() else {
        state.metrics().refused.inc();
        // Compat: the reference's text ends its line twice.
        let text = format!(
            "Limit of concurrent GET requests reached ({}), try again later.\n\n",
            state.limits.reads_max
        );
        let headers = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
        return (StatusCode::SERVICE_UNAVAILABLE, headers, text).into_response();
    };
    state.metrics().reads.add(1.0);
    let _counted = Counted(&state.metrics().reads);
    next.run(request).await
}

/// A read under way.
struct Counted<'m>(&'m metrics::Gauge);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}
