//! `/api/v1/otlp/v1/metrics`: metrics of OpenTelemetry.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use model::clock::Clock;
use model::storage::Appender;
use remote::otlp::{Encoding, OtlpError, OtlpOptions, Receiver, TranslateOptions};

use super::{BODY_BYTES_MAX, PushError, PushState, TRY_AGAIN_SECONDS, plain};
use crate::cli::serve_options::ServeOptions;

/// What takes metrics, where the command line wants it.
pub(crate) fn receiver(
    options: &ServeOptions,
    appender: Arc<dyn Appender>,
    clock: Arc<dyn Clock>,
    registry: &metrics::Registry,
) -> Option<Arc<Receiver>> {
    if !options.otlp.http && options.otlp.grpc_address.is_none() {
        return None;
    }
    let features = &options.features;
    let options = OtlpOptions {
        translate: TranslateOptions {
            native_delta: features.otlp_native_delta,
            type_and_unit_labels: features.promql.type_and_unit_labels,
            zero_samples: features.start_zeros,
            lookback_ms: options.query.lookback.as_millis() as i64,
        },
        delta_to_cumulative: features.otlp_delta_to_cumulative,
    };
    Some(Arc::new(Receiver::new(appender, options, clock, registry)))
}

/// Takes a request.
pub(super) async fn export(State(push): State<Arc<PushState>>, request: Request) -> Response {
    let taken = match take(&push, request).await {
        Ok(taken) => taken,
        Err(error) => return error.into_response(),
    };
    match taken {
        // Compat: nothing in it, and no type (push/otlp/cases: protobuf).
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => refuse(&error),
    }
}

async fn take(push: &PushState, request: Request) -> Result<Result<(), OtlpError>, PushError> {
    let pushed = push.read(request, BODY_BYTES_MAX).await?;
    let Some(receiver) = push.otlp.clone() else {
        return Ok(Ok(()));
    };
    let sender = pushed.sender.clone();
    push.work(&sender, move || {
        let header = |name| text(&pushed.parts, name);
        let encoding = Encoding::of(header(CONTENT_TYPE))?;
        receiver.receive(encoding, header(CONTENT_ENCODING), &pushed.body)
    })
    .await
}

/// A header's text, or nothing.
pub(super) fn text(parts: &Parts, name: HeaderName) -> &str {
    let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn refuse(error: &OtlpError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    tracing::debug!(%error, %status, "OTLP request refused");
    let mut response = plain(status, format!("{error}\n"));
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(TRY_AGAIN_SECONDS));
    }
    response
}
