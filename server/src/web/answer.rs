//! The envelope of every answer of the API, and what goes wrong in it.

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use model::storage::StorageError;
use promql::annotations::{Annotations, Severity};
use promql::engine::{CancelHandle, QueryError};

use super::{json, readiness};

/// What clients branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorType {
    /// 400: the request makes no sense.
    BadData,
    /// 422: the query makes no sense of the data.
    Execution,
    /// 499: somebody stopped it.
    Canceled,
    /// 503: it took too long.
    Timeout,
    /// 500: our fault.
    Internal,
    /// 503: the newest samples are not there yet.
    NotReady,
    /// 404: there is no such thing.
    NotFound,
    /// 500: switched off. Compat: the reference says so with the status of an internal error.
    Unavailable,
}

impl ErrorType {
    fn as_str(self) -> &'static str {
        match self {
            ErrorType::BadData => "bad_data",
            ErrorType::Execution => "execution",
            ErrorType::Canceled => "canceled",
            ErrorType::Timeout => "timeout",
            ErrorType::Internal => "internal",
            ErrorType::NotReady => "not_ready",
            ErrorType::NotFound => "not_found",
            ErrorType::Unavailable => "unavailable",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            ErrorType::BadData => StatusCode::BAD_REQUEST,
            ErrorType::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // Not a registered code, but the one that clients of the reference know.
            ErrorType::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            ErrorType::NotFound => StatusCode::NOT_FOUND,
            ErrorType::Timeout | ErrorType::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::Internal | ErrorType::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error of the API.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorType,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(kind: ErrorType, message: impl fmt::Display) -> Self {
        ApiError {
            kind,
            message: message.to_string(),
        }
    }

    /// 400 without naming a parameter.
    pub(crate) fn bad_data(message: impl fmt::Display) -> Self {
        ApiError::new(ErrorType::BadData, message)
    }

    /// 400 about a parameter.
    pub(crate) fn parameter(name: &str, what: impl fmt::Display) -> Self {
        ApiError::bad_data(format_args!("invalid parameter \"{name}\": {what}"))
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        ApiError::of(&error)
    }
}

impl ApiError {
    /// Every error of a query, and what a client sees of it.
    pub(crate) fn of(error: &QueryError) -> Self {
        let kind = match error {
            QueryError::Parse(_) | QueryError::Invalid { .. } => {
                return ApiError::parameter("query", error);
            }
            QueryError::Timeout { .. } => ErrorType::Timeout,
            QueryError::Canceled { .. } => ErrorType::Canceled,
            QueryError::Storage(StorageError::NotReady) => ErrorType::NotReady,
            QueryError::Storage(_) | QueryError::Panicked { .. } => ErrorType::Internal,
            // Execution, too many samples, too many bytes, and what later versions add.
            _ => ErrorType::Execution,
        };
        ApiError::new(kind, error)
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let kind = match error {
            StorageError::NotReady => ErrorType::NotReady,
            _ => ErrorType::Execution,
        };
        ApiError::new(kind, error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.kind == ErrorType::NotReady {
            return readiness::not_yet();
        }
        let mut body = Vec::with_capacity(128);
        body.extend_from_slice(b"{\"status\":\"error\",\"errorType\":");
        json::string(&mut body, self.kind.as_str());
        body.extend_from_slice(b",\"error\":");
        json::string(&mut body, &self.message);
        body.push(b'}');
        json_response(self.kind.status(), body)
    }
}

/// Warning of an answer that was cut to `limit`.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";

/// Stops work when the client hangs up: the handler's future is dropped then, and this with it.
pub(crate) struct CancelOnDrop(pub(crate) CancelHandle);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The runtime ended before an answer was there.
#[derive(Debug, thiserror::Error)]
#[error("request ended unexpectedly")]
pub(crate) struct RequestEnded;

impl From<RequestEnded> for ApiError {
    fn from(error: RequestEnded) -> Self {
        ApiError::new(ErrorType::Internal, error)
    }
}

/// Runs work that reads or changes the store, or is long, off the async threads.
pub(crate) async fn blocking<T: Send + 'static, E: From<RequestEnded> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(move || supervise::hold(work)).await {
        Ok(Ok(result)) => result,
        // Counted and said where all requests are watched over.
        Ok(Err(panic)) => panic.resume(),
        Err(_) => Err(RequestEnded.into()),
    }
}

/// A response of JSON bytes.
pub(crate) fn json_response(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A successful answer whose `data` is written by `write`.
pub(crate) fn success(warnings: &[String], write: impl FnOnce(&mut Vec<u8>)) -> Response {
    let mut body = Vec::with_capacity(1024);
    body.extend_from_slice(SUCCESS_HEAD);
    write(&mut body);
    tail(&mut body, warnings, &[]);
    json_response(StatusCode::OK, body)
}

/// A successful answer whose `data` is a value that serialises itself.
pub(crate) fn success_json(data: &impl serde::Serialize) -> Response {
    success(&[], |out| {
        if let Err(error) = serde_json::to_writer(out, data) {
            // Only maps with keys that are no texts can fail, and there are none.
            tracing::error!(%error, "Answer cannot be written as JSON");
        }
    })
}

/// What stands in front of `data`.
pub(crate) const SUCCESS_HEAD: &[u8] = b"{\"status\":\"success\",\"data\":";

/// What stands behind `data`: warnings, infos, the closing brace.
pub(crate) fn tail(out: &mut Vec<u8>, warnings: &[String], infos: &[String]) {
    for (name, list) in [("warnings", warnings), ("infos", infos)] {
        if !list.is_empty() {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            json::strings(out, list.iter().map(String::as_str));
        }
    }
    out.push(b'}');
}

/// Warnings and infos as the API says them, with positions in `query`; at most ten of each, as in the reference.
pub(crate) fn annotation_texts(annotations: &Annotations, query: &str) -> (Vec<String>, Vec<String>) {
    const SHOWN_MAX: usize = 10;
    let texts = |severity: Severity, word: &str| {
        let all = annotations
            .iter()
            .filter(|annotation| annotation.severity == severity);
        let mut shown: Vec<String> = all.map(|annotation| annotation.text(query)).collect();
        let more = shown.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            shown.truncate(SHOWN_MAX);
            shown.push(format!("{more} more {word} annotations omitted"));
        }
        shown
    };
    (texts(Severity::Warning, "warning"), texts(Severity::Info, "info"))
}
