//! Answers, and what goes wrong, in the shapes that the reference has for it.

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::web::answer::RequestEnded;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Numbers of what is wrong with a value, by which clients may tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// It is not of its type.
    Type = 601,
    /// It is not there.
    Required = 602,
    /// There are too few.
    TooFew = 612,
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The request cannot be understood: `{"code":400,"message":…}`.
    Request(StatusCode, String),
    /// The method is not the path's; these are, with commas.
    Method(String, &'static str),
    /// A value of the request cannot be: 422, `{"code":602,"message":…}`.
    Value(Code, String),
    /// What was asked makes no sense, or cannot be done: a JSON text.
    Asked(StatusCode, String),
    /// Nothing to say.
    Bare(StatusCode),
}

impl Fault {
    /// 400 with a JSON text.
    pub(super) fn bad(message: impl ToString) -> Self {
        Fault::Asked(StatusCode::BAD_REQUEST, message.to_string())
    }
}

impl From<RequestEnded> for Fault {
    fn from(error: RequestEnded) -> Self {
        Fault::Asked(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

#[derive(Serialize)]
struct Coded<'m> {
    code: u16,
    message: &'m str,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let coded = |status: StatusCode, code: u16, message: &str| {
            let body = serde_json::to_string(&Coded { code, message }).unwrap_or_default();
            (status, [(CONTENT_TYPE, JSON)], body).into_response()
        };
        match self {
            Fault::Request(status, message) => coded(status, status.as_u16(), &message),
            Fault::Method(method, allowed) => {
                let message = format!("method {method} is not allowed, but [{allowed}] are");
                let mut response = coded(StatusCode::METHOD_NOT_ALLOWED, 405, &message);
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static(allowed));
                response
            }
            Fault::Value(code, message) => coded(StatusCode::UNPROCESSABLE_ENTITY, code as u16, &message),
            Fault::Asked(status, message) => json_with(status, &message),
            Fault::Bare(status) => status.into_response(),
        }
    }
}

/// A good answer. Compat: a line ends it.
pub(super) fn json(value: &impl Serialize) -> Response {
    json_with(StatusCode::OK, value)
}

fn json_with<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            (status, [(CONTENT_TYPE, JSON)], body).into_response()
        }
        Err(error) => {
            // Only maps with keys that are no texts can fail, and there are none.
            tracing::error!(%error, "Answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
