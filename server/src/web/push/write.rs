//! `/api/v1/write`: what senders of remote write push.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use remote::write::{Answer, REQUEST_BYTES_MAX, Receiver};

use super::{PushError, PushState, plain};

/// What was written of a request of 2.0.
const SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// The receiver takes a request.
pub(super) async fn write(
    State(state): State<Arc<PushState>>,
    receiver: Arc<Receiver>,
    request: Request,
) -> Response {
    let answer = receive(&state, receiver, request).await;
    answer.map_or_else(IntoResponse::into_response, respond)
}

async fn receive(state: &PushState, receiver: Arc<Receiver>, request: Request) -> Result<Answer, PushError> {
    let pushed = state.read(request, REQUEST_BYTES_MAX).await?;
    let sender = pushed.sender.clone();
    let work = move || {
        receiver.receive(&remote::write::Request {
            content_type: &text(&pushed.parts.headers, &CONTENT_TYPE),
            content_encoding: &text(&pushed.parts.headers, &CONTENT_ENCODING),
            body: &pushed.body,
        })
    };
    state.work(&sender, work).await
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Cow<'h, str> {
    let value = headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    String::from_utf8_lossy(value)
}

fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match answer.text.as_str() {
        "" => status.into_response(),
        text => plain(status, format!("{text}\n")),
    };
    if let Some(written) = answer.written {
        let headers = response.headers_mut();
        headers.insert(SAMPLES, written.samples.into());
        headers.insert(HISTOGRAMS, written.histograms.into());
        headers.insert(EXEMPLARS, written.exemplars.into());
    }
    response
}
