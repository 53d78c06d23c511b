//! What ways in have in common whose bodies are lines of text: parameters, inflating, answers.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, StatusCode};
use remote::inflate::{InflateError, NoRoom, Taken, gunzip_counted};
use remote::intake::Outcome;
use serde_json::json;

use super::BODY_BYTES_MAX;
use crate::web::answer::json_response;
use crate::web::form;
use crate::web::listener::query_of;

/// The parameter that adds a label to all samples, `NAME=VALUE`; it may be given several times.
pub(super) const EXTRA_LABEL: &str = "extra_label";
/// Most labels that a request may add.
const EXTRA_LABELS_MAX: usize = 64;

/// Why a request was not even looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum LinesError {
    /// The body does not inflate.
    #[error("the body is no gzip: {0}")]
    Gzip(#[source] std::io::Error),
    /// It inflates to too much.
    #[error("request body too large: it may have {BODY_BYTES_MAX} bytes once it is inflated")]
    TooLong,
    /// Others take all memory that there is for bodies.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// It is no text.
    #[error("line {line}, byte {column}: the body is not UTF-8")]
    Utf8 {
        /// Which line, from 1.
        line: usize,
        /// Which byte of it, from 1.
        column: usize,
    },
    /// A parameter is not what it should be.
    #[error("invalid parameter extra_label={0:?}: write NAME=VALUE, at most {EXTRA_LABELS_MAX} of them")]
    ExtraLabel(String),
    /// It is compressed in a way that is not known.
    #[error("unsupported Content-Encoding {0:?}: gzip, or nothing, is read")]
    Encoding(String),
    /// A parameter is no time.
    #[error("invalid parameter timestamp={0:?}: milliseconds since the epoch are expected")]
    Timestamp(String),
}

/// The parameters of a URL.
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    pub(super) extra_labels: BTreeMap<String, String>,
}

impl Parameters {
    /// # Errors
    /// When a label to be added is none.
    pub(super) fn of(request: &Request) -> Result<Self, LinesError> {
        let query = query_of(request.uri(), request.extensions()).unwrap_or_default();
        let mut pairs = Vec::new();
        // What is not escaped as it should be is passed over, as everywhere.
        let _ = form::read_pairs(query, &mut pairs);
        let mut extra_labels = BTreeMap::new();
        for (_, given) in pairs.iter().filter(|(name, _)| name == EXTRA_LABEL) {
            let wrong = || LinesError::ExtraLabel(given.clone());
            let (name, value) = given
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(wrong)?;
            extra_labels.insert(name.to_owned(), value.to_owned());
            if extra_labels.len() > EXTRA_LABELS_MAX {
                return Err(wrong());
            }
        }
        Ok(Parameters { pairs, extra_labels })
    }

    /// The first value of a parameter, or the empty text.
    pub(super) fn first(&self, name: &str) -> &str {
        let found = self.pairs.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A header's value, or the empty text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
}

/// A body as it was before it was compressed, within the bound that bodies have; what it takes is counted in `taken`.
///
/// # Errors
/// When it is no gzip, or too large.
pub(super) fn inflated(body: Bytes, encoding: &str, taken: &mut Taken<'_>) -> Result<Bytes, LinesError> {
    if !encoding.eq_ignore_ascii_case("gzip") {
        return Ok(body);
    }
    match gunzip_counted(&body, BODY_BYTES_MAX, taken)? {
        Ok(inflated) => Ok(inflated.into()),
        Err(InflateError::TooLong { .. }) => Err(LinesError::TooLong),
        Err(InflateError::Malformed(error)) => Err(LinesError::Gzip(error)),
    }
}

/// A body as text.
///
/// # Errors
/// Where it is none.
pub(super) fn text(body: &[u8]) -> Result<&str, LinesError> {
    std::str::from_utf8(body).map_err(|error| {
        let before = &body[..error.valid_up_to()];
        let begin = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        LinesError::Utf8 {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: before.len() - begin + 1,
        }
    })
}

/// Says why a request is refused, in the form that agents of InfluxDB read.
pub(super) fn refused(status: StatusCode, why: &impl std::fmt::Display) -> Response {
    json_response(status, json!({"error": why.to_string()}).to_string())
}

/// The answer to what was stored.
pub(super) fn answer(done: Result<Outcome, LinesError>) -> Response {
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(error @ LinesError::TooLong) => return refused(StatusCode::PAYLOAD_TOO_LARGE, &error),
        Err(error @ LinesError::NoRoom(_)) => return refused(StatusCode::SERVICE_UNAVAILABLE, &error),
        Err(error @ LinesError::Encoding(_)) => return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error),
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error),
    };
    if outcome.is_whole() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let problems = outcome.problems();
    match (&outcome.failure, outcome.stored) {
        // Sent again it may be stored.
        (Some(_), _) => refused(StatusCode::SERVICE_UNAVAILABLE, &problems),
        (None, 0) => refused(StatusCode::BAD_REQUEST, &problems),
        (None, stored) => {
            let text = format!("partial write: {stored} samples were stored; not stored is:\n{problems}");
            refused(StatusCode::BAD_REQUEST, &text)
        }
    }
}
