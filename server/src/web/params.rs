//! Parameters of requests: the URL's and the form's, merged as Go merges them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
pub(crate) use model::go::Quoted;
use model::matcher::Matcher;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::{ApiError, ErrorType};
use super::api::parameter::Declared;
use super::form::{self, FORM_BYTES_MAX, FormError, PARAMETERS_MAX, Pair};
use super::listener::query_of;

/// Earliest time that the API can say, in milliseconds: Go's zero for a range without a start.
pub(crate) const MIN_TIME_MS: i64 = (i64::MIN / 1000 + 62_135_596_801) * 1000;
/// Latest time that the API can say, in milliseconds.
pub(crate) const MAX_TIME_MS: i64 = (i64::MAX / 1000 - 62_135_596_801) * 1000 + 999;
const MIN_TIME_TEXT: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";
/// Most matchers that the selectors of a request may have together, in `match[]`: each may be a regular expression.
/// They are counted before any is read.
const MATCHERS_MAX: usize = 20_000;
/// Most bytes that the compiled regular expressions of all `match[]` of a request may take: as much as a single one may.
const SELECTOR_PATTERN_BYTES_MAX: usize = model::regex::AUTOMATON_BYTES_MAX;
/// Bytes of a body that is too large that are read and thrown away, so that the client gets to see the answer.
pub(super) const DISCARDED_BYTES_MAX: usize = 64 << 20;
/// Forms of up to this many bytes are read at once, whatever others there are.
const SMALL_FORM_BYTES: usize = 64 << 10;
/// What larger forms may take at the same time, in MiB; further ones wait.
pub(super) const LARGE_FORMS_MIB_MAX: usize = 128;

static LARGE_FORMS: Semaphore = Semaphore::const_new(LARGE_FORMS_MIB_MAX);

/// Parameters in the order in which they count: of equal names the first wins.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<Pair>,
    /// What could not be read beside these.
    fault: Option<FormError>,
    /// What the route says it takes; only while debug assertions are on, and for routes of the API.
    declared: Option<Declared>,
    /// Held while the parameters live.
    _room: Option<Arc<SemaphorePermit<'static>>>,
}

/// A form whose bytes are read already, so that a request can be asked twice. Kept with the request in place of its body.
#[derive(Clone, Debug)]
pub(super) struct ReadForm {
    bytes: Bytes,
    room: Option<Arc<SemaphorePermit<'static>>>,
}

impl ReadForm {
    /// Reads it, if there is room for it now: whoever keeps a form for long must not keep others waiting.
    ///
    /// # Errors
    /// As reading a form at once.
    pub(super) async fn keep(headers: &HeaderMap, body: Body) -> Result<Option<Self>, FormError> {
        let room = match room_mib(headers) {
            0 => None,
            mib => match LARGE_FORMS.try_acquire_many(mib) {
                Ok(room) => Some(Arc::new(room)),
                Err(_) => return Ok(None),
            },
        };
        let bytes = read_body(body).await?.into();
        Ok(Some(ReadForm { bytes, room }))
    }

    /// Whether requests of this method bring a form.
    pub(super) fn is_brought_by(method: &Method) -> bool {
        matches!(*method, Method::POST | Method::PUT | Method::PATCH)
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let kept = parts.extensions.remove::<ReadForm>();
        let declared = parts.extensions.remove::<Declared>();
        let url = query_of(&parts.uri, &parts.extensions).unwrap_or_default();
        let has_form = ReadForm::is_brought_by(&parts.method);
        let read = match (Encoding::new(&parts.headers).filter(|_| has_form), kept) {
            (Some(encoding), Some(form)) => Params::from_form(url, encoding, &form.bytes, form.room),
            (Some(encoding), None) => Params::from_body(url, encoding, &parts.headers, body).await,
            (None, _) => Params::from_url(url),
        };
        let mut params = read.map_err(|error| ApiError::form(&error).into_response())?;
        params.declared = declared;
        Ok(params)
    }
}

/// How a body carries a form.
enum Encoding {
    Url,
    Parts { boundary: String },
}

impl Encoding {
    fn new(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let media = text.split(';').next().unwrap_or("").trim();
        if media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Some(Encoding::Url);
        }
        let boundary = form::boundary(text)?.to_owned();
        media
            .eq_ignore_ascii_case("multipart/form-data")
            .then_some(Encoding::Parts { boundary })
    }
}

/// The bytes of a form.
async fn read_body(mut body: Body) -> Result<Vec<u8>, FormError> {
    let (mut bytes, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FormError::Read(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen <= FORM_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
            if seen > DISCARDED_BYTES_MAX {
                break;
            }
        }
    }
    if seen > FORM_BYTES_MAX {
        return Err(FormError::TooLarge);
    }
    Ok(bytes)
}

/// Room for a form of the length that its head tells, the largest where it tells none, in MiB; 0 for small ones.
fn room_mib(headers: &HeaderMap) -> u32 {
    let told = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let bytes = told.unwrap_or(FORM_BYTES_MAX).min(FORM_BYTES_MAX);
    match bytes <= SMALL_FORM_BYTES {
        true => 0,
        false => bytes.div_ceil(1 << 20) as u32,
    }
}

/// Refuses more parameters than a request may have.
fn bounded(count: usize) -> Result<(), FormError> {
    if count > PARAMETERS_MAX {
        return Err(FormError::TooMany { count });
    }
    Ok(())
}

impl Params {
    /// Those of a URL alone.
    pub(crate) fn from_url(query: &[u8]) -> Result<Self, FormError> {
        bounded(form::count(query))?;
        let mut params = Params::default();
        params.fault = form::read_pairs(query, &mut params.pairs)?;
        Ok(params)
    }

    async fn from_body(
        url: &[u8],
        encoding: Encoding,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, FormError> {
        let room = match room_mib(headers) {
            0 => None,
            // It is never closed.
            mib => LARGE_FORMS.acquire_many(mib).await.ok().map(Arc::new),
        };
        let body = read_body(body).await?;
        Params::from_form(url, encoding, &body, room)
    }

    fn from_form(
        url: &[u8],
        encoding: Encoding,
        body: &[u8],
        room: Option<Arc<SemaphorePermit<'static>>>,
    ) -> Result<Self, FormError> {
        let mut params = match encoding {
            Encoding::Url => {
                bounded(form::count(body) + form::count(url))?;
                let mut params = Params::default();
                params.fault = form::read_pairs(body, &mut params.pairs)?;
                let fault = form::read_pairs(url, &mut params.pairs)?;
                params.fault = params.fault.or(fault);
                params
            }
            // Compat: here the URL's come first, as Go appends the parts (reports/multipart-form).
            Encoding::Parts { boundary } => {
                let mut params = Params::from_url(url)?;
                form::read_parts(body, &boundary, &mut params.pairs)?;
                params
            }
        };
        params._room = room;
        Ok(params)
    }

    /// Refuses what could not be read as a whole, where the reference does.
    pub(crate) fn whole(&self) -> Result<(), FormError> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    /// The table of routes is what clients are told: a handler must not know of more.
    fn assert_declared(&self, name: &str) {
        debug_assert!(
            self.declared.as_ref().is_none_or(|declared| declared.has(name)),
            "the route does not declare the parameter {name:?}: see web/api/table.rs"
        );
    }

    /// First value of `name`, or the empty text.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.assert_declared(name);
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value)
    }

    /// Every value of `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.assert_declared(name);
        self.pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// A time in milliseconds; `default` where there is none.
    pub(crate) fn time_ms(&self, name: &'static str, default: Option<i64>) -> Result<i64, ApiError> {
        let text = self.get(name);
        if let ("", Some(default)) = (text, default) {
            return Ok(default);
        }
        parse_time_ms(text).ok_or_else(|| {
            // Compat: a time that may be left out has more words (conformance `api`, parameters that are no times).
            let more = match default {
                Some(_) => format!("invalid time value for '{name}': "),
                None => String::new(),
            };
            let what = format_args!("{more}cannot parse {} to a valid timestamp", Quoted(text));
            ApiError::parameter(name, what)
        })
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
    pub(crate) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, SelectorError> {
        let selectors = self.any_selectors()?;
        match selectors
            .iter()
            .any(|matchers| matchers.iter().all(Matcher::matches_empty))
        {
            true => Err(SelectorError::MatchesEmpty),
            false => Ok(selectors),
        }
    }

    /// The selectors of `match[]`, even such as match everything.
    pub(crate) fn any_selectors(&self) -> Result<Vec<Vec<Matcher>>, SelectorError> {
        let texts = self.all("match[]");
        // Each matcher has one of these; values may have more.
        let signs = |text: &&str| text.bytes().filter(|byte| matches!(byte, b'=' | b'~')).count();
        let count = texts.iter().map(|text| signs(text).max(1)).sum();
        if count > MATCHERS_MAX {
            return Err(SelectorError::TooMany { count });
        }
        Ok(promql::parser::parse_selectors(
            texts.iter().copied(),
            SELECTOR_PATTERN_BYTES_MAX,
        )?)
    }
}

/// Why `match[]` cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SelectorError {
    /// One is not a selector.
    #[error(transparent)]
    Parse(#[from] promql::parser::ParseError),
    /// One would select everything.
    #[error("match[] must contain at least one non-empty matcher")]
    MatchesEmpty,
    /// There are more matchers than a request may have.
    #[error("match[] has up to {count} matchers, at most {MATCHERS_MAX} are read")]
    TooMany {
        /// How many there may be.
        count: usize,
    },
}

impl ApiError {
    /// A form that cannot be used: 400.
    pub(crate) fn form(error: &FormError) -> Self {
        ApiError::new(
            ErrorType::BadData,
            format_args!("error parsing form values: {error}"),
        )
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
    // Compat: the letters of RFC 3339 are large ones, and the parser would take more than RFC 3339 allows.
    let bytes = text.as_bytes();
    if bytes.get(10) != Some(&b'T')
        || bytes
            .iter()
            .any(|byte| byte.is_ascii_lowercase() || *byte == b' ' || *byte == b'[')
    {
        return None;
    }
    // Nor does a minute have a leap second in Go.
    if bytes.get(17..19) == Some(b"60") {
        return None;
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
            ("2026-11-23t04:00:31z", None),
            ("2026-11-23T04:00:60Z", None),
            ("2026-11-23 04:00:31Z", None),
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
