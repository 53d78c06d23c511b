//! Parameters of requests: the URL's and the form's, merged as Go merges them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::Method;
use http::header::CONTENT_TYPE;
use model::matcher::Matcher;

use super::answer::ApiError;

/// Earliest time that the API can say, in milliseconds: Go's zero for a range without a start.
pub(crate) const MIN_TIME_MS: i64 = (i64::MIN / 1000 + 62_135_596_801) * 1000;
/// Latest time that the API can say, in milliseconds.
pub(crate) const MAX_TIME_MS: i64 = (i64::MAX / 1000 - 62_135_596_801) * 1000 + 999;
const MIN_TIME_TEXT: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// Parameters in order: the form's first, then the URL's, so that the form's win.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let query = request.uri().query().unwrap_or("").to_owned();
        let is_form = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let mut pairs = Vec::new();
        if is_form && matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
            let body = Bytes::from_request(request, state)
                .await
                .map_err(IntoResponse::into_response)?;
            pairs.extend(form_urlencoded::parse(&body).into_owned());
        }
        pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        Ok(Params { pairs })
    }
}

impl Params {
    /// First value of `name`, or the empty text.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value)
    }

    /// Every value of `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// A time in milliseconds; `default` where there is none.
    pub(crate) fn time_ms(&self, name: &'static str, default: Option<i64>) -> Result<i64, ApiError> {
        match (self.get(name), default) {
            ("", Some(default)) => Ok(default),
            (text, _) => parse_time_ms(text).ok_or_else(|| {
                ApiError::parameter(
                    name,
                    format_args!("cannot parse {} to a valid timestamp", Quoted(text)),
                )
            }),
        }
    }

    /// A duration in milliseconds; `None` where there is none.
    pub(crate) fn duration_ms(&self, name: &'static str) -> Result<Option<i64>, ApiError> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        parse_duration_ms(text)
            .map(Some)
            .map_err(|what| ApiError::parameter(name, what))
    }

    /// A limit; 0 where there is none.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(0);
        }
        match text.parse::<i64>() {
            Ok(limit) if limit < 0 => Err(ApiError::parameter("limit", "limit must be non-negative")),
            Ok(limit) => Ok(limit as usize),
            Err(_) => Err(ApiError::parameter(
                "limit",
                format_args!("strconv.Atoi: parsing {}: invalid syntax", Quoted(text)),
            )),
        }
    }

    /// The selectors of `match[]`.
    pub(crate) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let mut selectors = Vec::new();
        for text in self.all("match[]") {
            let matchers = promql::parser::parse_selector(text).map_err(|error| error.to_string())?;
            if matchers.iter().all(Matcher::matches_empty) {
                return Err("match[] must contain at least one non-empty matcher".to_owned());
            }
            selectors.push(matchers);
        }
        Ok(selectors)
    }
}

/// A text in Go's quotes.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        model::labels::write_quoted(f, self.0)
    }
}

/// Seconds with a fraction, or RFC 3339. Milliseconds are rounded, as the reference does.
fn parse_time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = model::float::parse_float(text) {
        if !seconds.is_finite() || seconds.abs() > 9e15 {
            return None;
        }
        return Some(seconds.trunc() as i64 * 1000 + (seconds.fract() * 1000.0).round() as i64);
    }
    match text {
        MIN_TIME_TEXT => return Some(MIN_TIME_MS),
        MAX_TIME_TEXT => return Some(MAX_TIME_MS),
        _ => {}
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond())
}

/// Seconds with a fraction, or the reference's text form.
fn parse_duration_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = model::float::parse_float(text) {
        if !(seconds * 1e9).is_finite() || (seconds * 1e9).abs() > i64::MAX as f64 {
            return Err(format!(
                "cannot parse {} to a valid duration. It overflows int64",
                Quoted(text)
            ));
        }
        return Ok((seconds * 1000.0) as i64);
    }
    model::duration::parse_duration(text)
        .map_err(|_| format!("cannot parse {} to a valid duration", Quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_read_as_the_reference_reads_them() {
        for (text, ms) in [
            ("1795402227", Some(1_795_402_227_000)),
            ("1795402227.5236", Some(1_795_402_227_524)),
            ("-1.5", Some(-1500)),
            ("1e3", Some(1_000_000)),
            ("2026-11-23T04:00:31.5Z", Some(1_795_406_431_500)),
            ("2026-11-23T05:00:31+01:00", Some(1_795_406_431_000)),
            ("", None),
            ("now", None),
            ("NaN", None),
        ] {
            assert_eq!(parse_time_ms(text), ms, "{text}");
        }
        for (text, ms) in [("15", 15_000), ("0.5", 500), ("1m", 60_000), ("-1", -1000)] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        assert_eq!(
            parse_duration_ms("x"),
            Err("cannot parse \"x\" to a valid duration".into())
        );
        assert!(
            parse_duration_ms("1e30")
                .expect_err("too long")
                .contains("overflows")
        );
    }
}
