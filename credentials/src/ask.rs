//! Asking those who give out credentials.

use std::time::Duration;

use bytes::Bytes;
use httpclient::{HttpClient, Request};
use jiff::Timestamp;
use serde::de::{Deserialize as _, Deserializer, Error as _};
use serde_json::Value;

use crate::aws::fault::Fault;
use crate::error::CredentialsError;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer, in bytes: tokens have a few thousand.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Characters of an answer that an error quotes.
const QUOTED_CHARS_MAX: usize = 300;

/// Sends a request for credentials; the answer must be a good one (2xx).
pub(crate) async fn ask(client: &HttpClient, request: Request, of: &str) -> Result<Bytes, CredentialsError> {
    let failed = |source| CredentialsError::Ask {
        of: of.to_owned(),
        source,
    };
    let request = match request.has_timeout() {
        true => request,
        false => request.timeout(TIMEOUT),
    };
    let answer = client.send(&request).await.map_err(failed)?;
    let status = answer.status();
    let body = answer.bytes(ANSWER_BYTES_MAX).await.map_err(failed)?;
    if status.is_success() {
        return Ok(body);
    }
    Err(CredentialsError::Refused {
        of: of.to_owned(),
        status,
        detail: what_it_says(&body),
    })
}

/// The reason that an answer gives, in any of the forms that clouds have; never more than [`QUOTED_CHARS_MAX`].
fn what_it_says(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let said = match (text(&json["error"]), text(&json["error_description"])) {
        (Some(error), Some(description)) => Some(format!("{error}: {description}")),
        (Some(error), None) => Some(error),
        _ => text(&json["error"]["message"]).or_else(|| text(&json["message"])),
    };
    let said = said
        .or_else(|| Fault::of_xml(body).map(|fault| fault.to_string()))
        .unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    said.chars().take(QUOTED_CHARS_MAX).collect()
}

/// Reads an answer as JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(body: &[u8], of: &str) -> Result<T, CredentialsError> {
    serde_json::from_slice(body).map_err(|error| CredentialsError::unusable(of, error))
}

/// A time, which may be missing, `null` or empty.
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(D::Error::custom))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_found_in_every_form_and_never_long() {
        let said = |body: &str| what_it_says(body.as_bytes());
        assert_eq!(
            said(r#"{"error":"invalid_grant","error_description":"expired"}"#),
            "invalid_grant: expired"
        );
        assert_eq!(said(r#"{"error":{"message":"no"}}"#), "no");
        assert_eq!(
            said("<ErrorResponse><Error><Code>C</Code><Message>m</Message></Error></ErrorResponse>"),
            "C: m"
        );
        assert_eq!(said(" plain "), "plain");
        assert_eq!(said(&"x".repeat(5_000)).len(), QUOTED_CHARS_MAX);
    }
}
