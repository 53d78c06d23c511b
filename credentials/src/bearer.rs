//! Tokens that are shown to a service as they are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use httpclient::renew::Age;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::ask::json;
use crate::error::CredentialsError;

/// Tokens are renewed this long before they end.
const MARGIN: Duration = Duration::from_secs(2 * 60);
/// The end of a token that names a later one, or none, in seconds.
const LIFE_SECONDS_MAX: f64 = 1e9;

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer {
    /// What `Authorization: Bearer` carries.
    pub token: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Where it came from, in words.
    pub source: Arc<str>,
}

impl fmt::Debug for Bearer {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `token of the metadata server (until 2026-01-01T00:00:00Z)`.
impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token of {} (until {:.0})", self.source, self.expires)
    }
}

#[derive(serde::Deserialize)]
struct Answer {
    #[serde(default)]
    access_token: String,
    /// Seconds; some write them as a text.
    #[serde(default)]
    expires_in: Value,
}

impl Bearer {
    /// Reads a token endpoint's answer.
    pub(crate) fn read(body: &[u8], now: Timestamp, of: &str) -> Result<Self, CredentialsError> {
        let answer: Answer = json(body, of)?;
        if answer.access_token.is_empty() {
            return Err(CredentialsError::unusable(of, "the answer holds no access_token"));
        }
        let seconds = match &answer.expires_in {
            Value::String(text) => text.parse().ok(),
            value => value.as_f64(),
        };
        let seconds = seconds
            .filter(|seconds| *seconds > 0.0)
            .unwrap_or(LIFE_SECONDS_MAX);
        let life = SignedDuration::from_secs(seconds.min(LIFE_SECONDS_MAX) as i64);
        Ok(Bearer {
            token: answer.access_token,
            expires: now.saturating_add(life).unwrap_or(now),
            source: of.into(),
        })
    }

    pub(crate) fn age(&self, now: Timestamp) -> Age {
        match Duration::try_from(self.expires.duration_since(now)).unwrap_or_default() {
            Duration::ZERO => Age::Gone,
            left if left <= MARGIN => Age::Waning,
            _ => Age::Fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_numbers_or_texts_and_waning_comes_before_them() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("time");
        let read = |text: &str| Bearer::read(text.as_bytes(), now, "a test");
        let token = read(r#"{"access_token":"t","expires_in":"3600"}"#).expect("a token");
        assert_eq!(token.to_string(), "token of a test (until 2026-01-01T01:00:00Z)");
        let at = |minutes| token.age(now + jiff::Span::new().minutes(minutes));
        assert_eq!(
            (at(57), at(58), at(60), at(61)),
            (Age::Fresh, Age::Waning, Age::Gone, Age::Gone)
        );
        for lasting in [
            r#"{"access_token":"t"}"#,
            r#"{"access_token":"t","expires_in":1e300}"#,
        ] {
            assert_eq!(read(lasting).expect("a token").age(now), Age::Fresh);
        }
        for bad in ["{}", "", r#"{"access_token":5}"#, "<html>"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
