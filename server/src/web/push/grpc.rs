//! Metrics of OpenTelemetry over gRPC, on an address of their own.
//!
//! gRPC is HTTP/2 with five bytes in front of a message and a status behind it, and a service of one method without
//! streams needs no more of it than stands here. Connections, TLS, who may ask, bounds and deadlines are those of the
//! other addresses. <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Full};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use remote::otlp::{Encoding, OtlpError, Verdict};

use super::body::BodyError;
use super::otlp::text;
use super::{BODY_BYTES_MAX, PushError, PushState, WRITE};
use crate::web::auth::scope::guarded;
use crate::web::guard::Guard;
use crate::web::state::StartState;
use crate::web::{auth, readiness};

/// The one method.
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// Bytes in front of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Characters of an error's text that are told.
const MESSAGE_CHARS_MAX: usize = 1000;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// What may not stand in a status's text as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// What a call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    /// The same call is never taken.
    InvalidArgument = 3,
    /// No such method, or a compression that is not known.
    Unimplemented = 12,
    /// To be tried again.
    Unavailable = 14,
}

/// Why a call was not taken.
#[derive(Debug, thiserror::Error)]
enum CallError {
    /// What it was sent in does not hold one message.
    #[error("the call does not hold one message of the length that it says")]
    Frame,
    /// A compression that is not known.
    #[error("compression {0:?} is not known: gzip is")]
    Compression(String),
    /// It did not come.
    #[error(transparent)]
    Push(#[from] PushError),
    /// What it says was not taken.
    #[error(transparent)]
    Refused(#[from] OtlpError),
}

impl CallError {
    fn code(&self) -> Code {
        match self {
            CallError::Frame | CallError::Push(PushError::Body(BodyError::TooLarge { .. })) => {
                Code::InvalidArgument
            }
            CallError::Compression(_) => Code::Unimplemented,
            CallError::Push(_) => Code::Unavailable,
            CallError::Refused(error) => match error.verdict() {
                Verdict::Full | Verdict::Unavailable => Code::Unavailable,
                _ => Code::InvalidArgument,
            },
        }
    }
}

/// All that is answered on the address. `guard` says who has to say who it is.
pub(crate) fn router(push: Arc<PushState>, start: Arc<StartState>, guard: Option<Arc<Guard>>) -> Router {
    let ready = middleware::from_fn_with_state(start, readiness::layer);
    let methods = guarded(WRITE, post(export).layer(ready));
    let unknown = || async { failed(Code::Unimplemented, "only the export of metrics is served here") };
    let router = Router::new()
        .route(EXPORT, methods)
        .fallback(unknown)
        .with_state(push);
    match guard {
        Some(guard) => router.layer(middleware::from_fn_with_state(guard, auth::layer)),
        None => router,
    }
}

async fn export(State(push): State<Arc<PushState>>, request: Request) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE);
    if !content_type.is_some_and(|is| is.as_bytes().starts_with(b"application/grpc")) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    match take(&push, request).await {
        Ok(()) => succeeded(),
        Err(error) => {
            tracing::debug!(%error, code = ?error.code(), "OTLP call refused");
            failed(error.code(), &error.to_string())
        }
    }
}

async fn take(push: &PushState, request: Request) -> Result<(), CallError> {
    let bytes_max = BODY_BYTES_MAX + PREFIX_BYTES;
    let pushed = push.read(request, bytes_max).await.map_err(PushError::from)?;
    let (compressed, message) = message(&pushed.body)?;
    let content_encoding = match (compressed, text(&pushed.parts, GRPC_ENCODING)) {
        (false, _) | (true, "identity") => "",
        (true, "gzip") => "gzip",
        (true, other) => return Err(CallError::Compression(other.to_owned())),
    };
    let Some(receiver) = push.otlp.clone() else {
        return Ok(());
    };
    let sender = pushed.sender.clone();
    let taking = push.work(&sender, move || {
        // What holds the room for the body ends with it.
        let _pushed = pushed;
        receiver.receive(Encoding::Protobuf, content_encoding, &message)
    });
    Ok(taking.await??)
}

/// The only message of a call, and whether it is compressed.
fn message(body: &Bytes) -> Result<(bool, Bytes), CallError> {
    let Some(&[compressed @ (0 | 1), a, b, c, d]) = body.first_chunk::<PREFIX_BYTES>() else {
        return Err(CallError::Frame);
    };
    let message = body.slice(PREFIX_BYTES..);
    if message.len() != u32::from_be_bytes([a, b, c, d]) as usize {
        return Err(CallError::Frame);
    }
    Ok((compressed == 1, message))
}

fn headers(code: u32) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    headers
}

fn answer(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip"));
    response
}

/// An empty message, and that all went well.
fn succeeded() -> Response {
    let body =
        Full::new(Bytes::from_static(&[0; PREFIX_BYTES])).with_trailers(async { Some(Ok(headers(0))) });
    answer(Body::new(body))
}

/// No message, and why.
fn failed(code: Code, why: &str) -> Response {
    let mut response = answer(Body::empty());
    response.headers_mut().extend(headers(code as u32));
    let why: String = why.chars().take(MESSAGE_CHARS_MAX).collect();
    let escaped = utf8_percent_encode(&why, ESCAPED).to_string();
    if let Ok(message) = HeaderValue::from_str(&escaped) {
        response.headers_mut().insert(GRPC_MESSAGE, message);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_holds_one_message() {
        let of = |bytes: &'static [u8]| message(&Bytes::from_static(bytes)).ok();
        assert_eq!(of(&[0, 0, 0, 0, 0]), Some((false, Bytes::new())));
        assert_eq!(
            of(&[1, 0, 0, 0, 2, 7, 8]),
            Some((true, Bytes::from_static(&[7, 8])))
        );
        for wrong in [
            &[][..],
            &[0, 0, 0, 0],
            &[2, 0, 0, 0, 0],
            &[0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 1],
            &[0, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
