//! `/api/v1/notifications`, and its live stream: what people should know of this server.
//!
//! The stream is one of events, as browsers read them: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answer::success_json;
use super::status::rfc3339_nanos;
use crate::notices::{Notice, Notices};

/// How often a stream says that it is still there: a connection on which nothing happens is cut by us, and by much that
/// stands between.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

pub(crate) async fn list(State(notices): State<Arc<Notices>>) -> Response {
    let notices: Vec<Value> = notices.active().iter().map(notice_json).collect();
    success_json(&notices)
}

pub(crate) async fn live(State(notices): State<Arc<Notices>>) -> Response {
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    // Compat: nothing, and no fault, when there is no room for another.
    let Some(changes) = notices.subscribe() else {
        return (StatusCode::NO_CONTENT, headers).into_response();
    };
    let events = stream::unfold(Subscription { changes, notices }, |mut subscription| async {
        let event = subscription.next().await?;
        Some((Ok::<Bytes, Infallible>(event), subscription))
    });
    (headers, Body::from_stream(events)).into_response()
}

/// Leaves when it is dropped.
struct Subscription {
    changes: mpsc::Receiver<Notice>,
    notices: Arc<Notices>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.changes.close();
        self.notices.left();
    }
}

impl Subscription {
    /// What is sent next; `None` once the server ends and all is said.
    async fn next(&mut self) -> Option<Bytes> {
        match tokio::time::timeout(SIGN_OF_LIFE, self.changes.recv()).await {
            Ok(notice) => Some(format!("data: {}\n\n", notice_json(&notice?)).into()),
            // A comment.
            Err(_) => Some(Bytes::from_static(b":\n\n")),
        }
    }
}

fn notice_json(notice: &Notice) -> Value {
    json!({
        "text": notice.matter.text(),
        "date": rfc3339_nanos(notice.since_ms),
        "active": notice.active,
    })
}
