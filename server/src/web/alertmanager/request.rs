//! What comes with a request: the form of answers that a client takes, a body of JSON, filters.

use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body as HttpBody;
use jiff::Timestamp;
use model::regex::Regex;
use notify::matcher::{Matchers, Syntax};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::Fault;
use super::time::{self, Moment};
use crate::web::form::{self, FormError, PARAMETERS_MAX, Pair};
use crate::web::listener::query_of;
use crate::web::params::DISCARDED_BYTES_MAX;

/// Longest body, in bytes. Some 100,000 alerts; who has more sends them in parts.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;
/// Bodies of up to this many bytes are read at once, whatever others there are.
const SMALL_BODY_BYTES: usize = 256 << 10;
/// What larger bodies may take at the same time, in MiB; further ones wait.
const LARGE_BODIES_MIB_MAX: usize = 128;

static LARGE_BODIES: Semaphore = Semaphore::const_new(LARGE_BODIES_MIB_MAX);

const JSON: &str = "application/json";

/// A request whose client takes JSON.
pub(super) struct TakesJson;

impl<S: Send + Sync> FromRequestParts<S> for TakesJson {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        check_accept(&parts.headers)?;
        Ok(TakesJson)
    }
}

fn check_accept(headers: &HeaderMap) -> Result<(), Fault> {
    let mut ranges = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("").split(','))
        .peekable();
    let is_json = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
        !refused
            && ["*/*", "application/*", JSON]
                .iter()
                .any(|name| media.eq_ignore_ascii_case(name))
    };
    if ranges.peek().is_none() || ranges.any(is_json) {
        return Ok(());
    }
    let message = format!("unsupported media type requested, only [{JSON}] are available");
    Err(Fault::Request(StatusCode::NOT_ACCEPTABLE, message))
}

/// A body of JSON that nobody has looked into yet; empty where there is none.
pub(super) struct JsonBody {
    pub(super) bytes: Vec<u8>,
    /// Held while the body lives.
    _room: Option<SemaphorePermit<'static>>,
}

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        let (parts, body) = request.into_parts();
        let headers = &parts.headers;
        let told = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        // Compat: the type of no body does not matter (`alerts-post`: an empty body); where there is one, it does not
        // matter which answers the client takes: the reference offers one of the body's own type.
        if told != Some(0) && !HttpBody::is_end_stream(&body) {
            check_content_type(headers)?;
        } else {
            check_accept(headers)?;
        }
        let bytes = told.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX);
        let room = match bytes <= SMALL_BODY_BYTES {
            true => None,
            // It is never closed.
            false => LARGE_BODIES
                .acquire_many(bytes.div_ceil(1 << 20) as u32)
                .await
                .ok(),
        };
        Ok(JsonBody {
            bytes: read(body).await?,
            _room: room,
        })
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Fault> {
    let media = match headers.get(CONTENT_TYPE) {
        Some(value) => value.to_str().unwrap_or(""),
        None => "application/octet-stream",
    };
    let media = media.split(';').next().unwrap_or("").trim();
    if media.eq_ignore_ascii_case(JSON) {
        return Ok(());
    }
    let shown = model::go::Quoted(media);
    let message = format!("unsupported media type {shown}, only [{JSON}] are allowed");
    Err(Fault::Request(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

async fn read(mut body: Body) -> Result<Vec<u8>, Fault> {
    let (mut bytes, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let message = format!("request body cannot be read: {error}");
            Fault::Request(StatusCode::BAD_REQUEST, message)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else if seen > BODY_BYTES_MAX + DISCARDED_BYTES_MAX {
            break;
        } else {
            // Read and thrown away, so that the client gets to see the answer.
            bytes = Vec::new();
        }
    }
    if seen > BODY_BYTES_MAX {
        let message = format!("request body too large: it may have {BODY_BYTES_MAX} bytes");
        return Err(Fault::Request(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    Ok(bytes)
}

/// The parameters of a URL.
pub(super) struct Query(Vec<Pair>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let query = query_of(&parts.uri, &parts.extensions).unwrap_or_default();
        let count = form::count(query);
        if count > PARAMETERS_MAX {
            return Err(Fault::bad(FormError::TooMany { count }));
        }
        let mut pairs = Vec::new();
        // Compat: what is not escaped as it should be is passed over.
        form::read_pairs(query, &mut pairs).map_err(Fault::bad)?;
        Ok(Query(pairs))
    }
}

impl Query {
    /// A switch that is on where nothing is said. Compat: every other word is no (`alerts-get`: `active=maybe`), and of
    /// several the last counts.
    pub(super) fn switch(&self, name: &str) -> bool {
        const YES: [&str; 10] = [
            "true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled",
        ];
        match self.last(name) {
            "" => true,
            word => YES.iter().any(|yes| word.eq_ignore_ascii_case(yes)),
        }
    }

    /// The last value of a parameter, or the empty text.
    fn last<'q>(&'q self, name: &'q str) -> &'q str {
        let mut values = self.all(name);
        values.next_back().unwrap_or("")
    }

    /// The time that a parameter gives: seconds since 1970, or as [`Moment::parse`] reads it.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Fault> {
        let text = self.last(name);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse().ok().and_then(time::of_seconds) {
            Some(time) => Ok(Some(time)),
            None => Moment::parse(text)
                .map(|moment| Some(moment.at))
                .map_err(|error| Fault::bad(format_args!("failed to parse {name} param: {error}"))),
        }
    }

    /// The whole number between two others that a parameter gives.
    pub(super) fn number_in(&self, name: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, Fault> {
        let number = self.number(name)?;
        match number.filter(|number| !range.contains(number)) {
            None => Ok(number),
            Some(number) => {
                let (least, most) = range.into_inner();
                Err(Fault::bad(format_args!(
                    "failed to parse {name} param: {number} is not between {least} and {most}"
                )))
            }
        }
    }

    /// The whole number that a parameter gives.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Fault> {
        match self.last(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Fault::bad(format_args!(
                    "failed to parse {name} param: {text:?} is no whole number"
                ))
            }),
        }
    }

    pub(super) fn all<'q>(&'q self, name: &'q str) -> impl DoubleEndedIterator<Item = &'q str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// The matchers of all `filter`.
    pub(super) fn filter(&self, syntax: Syntax) -> Result<Matchers, Fault> {
        self.matchers("filter", syntax).map_err(Fault::bad)
    }

    /// The matchers of all `receiver_matchers`.
    pub(super) fn receiver_matchers(&self, syntax: Syntax) -> Result<Matchers, Fault> {
        self.matchers("receiver_matchers", syntax)
            .map_err(|error| Fault::bad(format_args!("failed to parse receiver_matchers param: {error}")))
    }

    fn matchers(&self, name: &str, syntax: Syntax) -> Result<Matchers, notify::matcher::MatcherError> {
        self.all(name).map(|text| syntax.matcher(text)).collect()
    }

    /// The pattern of `receiver`, where there is one.
    pub(super) fn receiver(&self) -> Result<Option<Regex>, Fault> {
        match self.last("receiver") {
            "" => Ok(None),
            pattern => Regex::anchored_in_line(pattern)
                .map(Some)
                .map_err(|error| Fault::bad(format_args!("failed to parse receiver param: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    async fn posted(accept: &str, body: &'static str) -> Result<Vec<u8>, Fault> {
        let request = Request::builder()
            .method(Method::POST)
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, JSON)
            .header(CONTENT_LENGTH, body.len());
        let request = request.body(Body::from(body)).expect("a request");
        JsonBody::from_request(request, &()).await.map(|body| body.bytes)
    }

    #[tokio::test]
    async fn a_body_is_taken_whatever_answers_the_client_takes() {
        for accept in [
            "",
            "text/plain",
            "text/html",
            "text/*",
            "application/vnd.x",
            "*/*",
        ] {
            let taken = posted(accept, "[]").await;
            assert!(taken.is_ok_and(|bytes| bytes == b"[]"), "{accept}");
        }
        let refused = posted("text/plain", "").await;
        assert!(matches!(
            refused,
            Err(Fault::Request(StatusCode::NOT_ACCEPTABLE, _))
        ));
    }

    #[test]
    fn numbers_and_times_of_a_query_are_bounded() {
        let query = |value: &str| Query(vec![("n".to_owned(), value.to_owned())]);
        let message = |fault: Fault| match fault {
            Fault::Asked(_, message) => message,
            _ => "another fault".to_owned(),
        };
        for (value, outcome) in [
            ("1", Ok(Some(1))),
            ("1000", Ok(Some(1000))),
            ("", Ok(None)),
            ("0", Err("failed to parse n param: 0 is not between 1 and 1000")),
            (
                "1001",
                Err("failed to parse n param: 1001 is not between 1 and 1000"),
            ),
        ] {
            let number = query(value).number_in("n", 1..=1000).map_err(message);
            assert_eq!(number, outcome.map_err(str::to_owned));
        }
        assert!(query("NaN").time("n").is_err());
        let time = |value| query(value).time("n").ok().flatten();
        assert_eq!(time("9999-12-31"), Some(Timestamp::MAX));
        assert_eq!(time("1e18"), Some(Timestamp::MAX));
    }
}
