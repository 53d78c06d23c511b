//! `/api/v1/search/…`: names of metrics and labels, and values of labels, by what they resemble; for editors that complete
//! what is typed. `--enable-feature=search-api`.
//!
//! An answer is lines of JSON: results in batches, and at the end whether there are more.

mod resemblance;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use model::labels::METRIC_NAME;
use model::matcher::Matcher;
use model::sample::Metadata;
use model::storage::{Querier, SelectHints, StorageError, TimeRange};
use serde::Serialize;

use self::resemblance::{Measure, TEXT_CHARS_MAX, Words};
use super::answer::{ApiError, ErrorType, json_response};
use super::chunks::{self, ChunkSink};
use super::json;
use super::params::{Params, Quoted};
use super::series::{Kept, search};
use super::state::{QueryState, TargetState};

/// Names of the measures; the first is the default.
pub(super) const ALGORITHMS: [&str; 2] = ["subsequence", "jarowinkler"];

/// Results of an answer, and of a line, where nothing else is said.
const LIMIT_DEFAULT: usize = 100;
const BATCH_DEFAULT: usize = 100;
/// Most words of a search.
const WORDS_MAX: usize = 32;
/// How far back is looked where no begin is given, in milliseconds.
const RANGE_DEFAULT_MS: i64 = 3_600_000;
/// Texts between two looks at whether the client still waits.
const LOOKED_UP_EVERY: usize = 512;

/// What a request asks for.
struct Asked {
    range: TimeRange,
    selectors: Vec<Vec<Matcher>>,
    words: Words,
    order: Order,
    with_score: bool,
    limit: usize,
    batch: usize,
}

/// In which order results come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Text,
    TextBackwards,
    /// What resembles most comes first.
    Score,
}

/// What is searched.
enum Subject {
    LabelNames,
    ValuesOf(String),
}

impl Subject {
    fn all(
        &self,
        querier: &dyn Querier,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        match self {
            Subject::LabelNames => querier.label_names(hints, matchers),
            Subject::ValuesOf(label) => querier.label_values(label, hints, matchers),
        }
    }
}

/// What a result's text is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Name,
    Value,
}

/// What was found: texts with their scores, and whether there is more.
struct Found {
    results: Vec<(String, f64)>,
    has_more: bool,
}

pub(crate) async fn metric_names(
    State(state): State<Arc<QueryState>>,
    State(targets): State<Arc<TargetState>>,
    params: Params,
) -> Response {
    let subject = Subject::ValuesOf(METRIC_NAME.to_owned());
    let asked = asked(&state, &params, "metric_names");
    let with_metadata = asked.and_then(|asked| Ok((asked, switch(&params, "include_metadata", false)?)));
    match with_metadata {
        Ok((asked, with_metadata)) => {
            let targets = with_metadata.then_some(targets);
            answer(state, asked, subject, Key::Name, targets).await
        }
        Err(error) => error.into_response(),
    }
}

pub(crate) async fn label_names(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    match asked(&state, &params, "label_names") {
        Ok(asked) => answer(state, asked, Subject::LabelNames, Key::Name, None).await,
        Err(error) => error.into_response(),
    }
}

pub(crate) async fn label_values(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    let asked = asked(&state, &params, "label_values").and_then(|asked| match params.get("label") {
        "" => Err(ApiError::bad_data("missing required parameter \"label\"")),
        label => Ok((asked, Subject::ValuesOf(label.to_owned()))),
    });
    match asked {
        Ok((asked, subject)) => answer(state, asked, subject, Key::Value, None).await,
        Err(error) => error.into_response(),
    }
}

fn asked(state: &QueryState, params: &Params, route: &str) -> Result<Asked, ApiError> {
    let Some(limit_max) = state.search_limit else {
        let what = "search API disabled: start with --enable-feature=search-api";
        return Err(ApiError::new(ErrorType::Unavailable, what));
    };
    params.whole().map_err(|error| ApiError::form(&error))?;
    let now_ms = state.clock.now_ms();
    let start_ms = params.time_ms("start", Some(now_ms - RANGE_DEFAULT_MS))?;
    let end_ms = params.time_ms("end", Some(now_ms))?;
    if end_ms < start_ms {
        return Err(ApiError::bad_data(
            "end timestamp must not be before start timestamp",
        ));
    }
    let selectors = params.selectors().map_err(ApiError::bad_data)?;
    let words = words(params)?;
    let with_score = switch(params, "include_score", false)?;
    let order = order(params, route)?;
    let limit = positive(params, "limit", LIMIT_DEFAULT)?;
    let limit = match limit_max {
        0 => limit,
        max if params.get("limit").is_empty() => limit.min(max),
        max if limit > max => {
            let what = "exceeds the configured maximum";
            return Err(ApiError::bad_data(format_args!(
                "limit {limit} {what} ({max}, see --web.search.max-limit)"
            )));
        }
        _ => limit,
    };
    Ok(Asked {
        range: TimeRange::new(start_ms, end_ms),
        selectors,
        words,
        order,
        with_score,
        limit,
        batch: positive(params, "batch_size", BATCH_DEFAULT)?,
    })
}

fn words(params: &Params) -> Result<Words, ApiError> {
    let words = params.all("search[]");
    if words.len() > WORDS_MAX {
        let count = words.len();
        return Err(ApiError::bad_data(format_args!(
            "too many search[] terms: got {count}, maximum is {WORDS_MAX}"
        )));
    }
    if words.iter().any(|word| word.chars().count() > TEXT_CHARS_MAX) {
        return Err(ApiError::bad_data(format_args!(
            "a search[] term is too long: at most {TEXT_CHARS_MAX} characters are searched"
        )));
    }
    let least = match params.get("fuzz_threshold") {
        "" => 0,
        text => match text.parse() {
            Ok(percent @ 0..=100) => percent,
            _ => {
                return Err(ApiError::bad_data(format_args!(
                    "invalid fuzz_threshold {}: must be 0-100",
                    Quoted(text)
                )));
            }
        },
    };
    let measure = match params.get("fuzz_alg") {
        "" | "subsequence" => Measure::Subsequence,
        "jarowinkler" => Measure::JaroWinkler,
        text => {
            let names = ALGORITHMS.join(" ");
            let what = format_args!("unsupported fuzz_alg {}: must be one of [{names}]", Quoted(text));
            return Err(ApiError::bad_data(what));
        }
    };
    let case_sensitive = switch(params, "case_sensitive", true)?;
    Ok(Words::new(
        words,
        measure,
        f64::from(least) / 100.0,
        case_sensitive,
    ))
}

fn order(params: &Params, route: &str) -> Result<Order, ApiError> {
    let (by, direction) = (params.get("sort_by"), params.get("sort_dir"));
    match (by, direction) {
        ("", direction) if !direction.is_empty() => {
            Err(ApiError::bad_data("sort_dir is only valid when sort_by is set"))
        }
        ("score", direction) if !direction.is_empty() => {
            Err(ApiError::bad_data("sort_dir is not supported for sort_by=score"))
        }
        (_, direction) if !matches!(direction, "" | "asc" | "dsc") => {
            let direction = Quoted(direction);
            let what = format_args!("invalid sort_dir {direction}: must be \"asc\" or \"dsc\"");
            Err(ApiError::bad_data(what))
        }
        ("score", _) if params.all("search[]").is_empty() => {
            Err(ApiError::bad_data("sort_by=score requires search[] to be set"))
        }
        ("score", _) => Ok(Order::Score),
        ("" | "alpha", "dsc") => Ok(Order::TextBackwards),
        ("" | "alpha", _) => Ok(Order::Text),
        (by, _) => {
            let by = Quoted(by);
            let what = format_args!("invalid sort_by {by} for {route}: must be \"alpha\" or \"score\"");
            Err(ApiError::bad_data(what))
        }
    }
}

fn switch(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.get(name) {
        "" => Ok(default),
        text => model::go::parse_bool(text).ok_or_else(|| {
            ApiError::bad_data(format_args!("invalid {name} {}: must be boolean", Quoted(text)))
        }),
    }
}

fn positive(params: &Params, name: &str, default: usize) -> Result<usize, ApiError> {
    match params.get(name) {
        "" => Ok(default),
        text => text.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
            ApiError::bad_data(format_args!(
                "invalid {name} {}: must be a positive integer",
                Quoted(text)
            ))
        }),
    }
}

/// The texts of `subject` that resemble what is asked for, in order.
fn find(
    state: &QueryState,
    asked: &Asked,
    subject: &Subject,
    hints: &SelectHints,
) -> Result<Found, StorageError> {
    let querier = state.storage.querier(asked.range)?;
    let mut seen = HashSet::new();
    let mut results = Vec::new();
    let no_selector = [Vec::new()];
    let selectors = match asked.selectors.as_slice() {
        [] => &no_selector[..],
        selectors => selectors,
    };
    for matchers in selectors {
        let texts = subject.all(&*querier, hints, matchers)?;
        for (index, text) in texts.into_iter().enumerate() {
            if index % LOOKED_UP_EVERY == 0 {
                hints.took(0)?;
            }
            let Some(score) = asked.words.score(&text) else {
                continue;
            };
            // One selector gives each text once.
            if selectors.len() > 1 && !seen.insert(text.clone()) {
                continue;
            }
            results.push((text, score));
        }
    }
    drop(seen);
    match asked.order {
        Order::Text => results.sort_unstable_by(|a, b| a.0.cmp(&b.0)),
        Order::TextBackwards => results.sort_unstable_by(|a, b| b.0.cmp(&a.0)),
        Order::Score => results.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0))),
    }
    let has_more = results.len() > asked.limit;
    results.truncate(asked.limit);
    results.shrink_to_fit();
    let bytes = results
        .iter()
        .map(|(text, _)| size_of::<(String, f64)>() + text.len());
    hints.took(bytes.sum())?;
    Ok(Found { results, has_more })
}

async fn answer(
    state: Arc<QueryState>,
    asked: Asked,
    subject: Subject,
    key: Key,
    targets: Option<Arc<TargetState>>,
) -> Response {
    let supervisor = state.supervisor.clone();
    let (with_score, batch) = (asked.with_score, asked.batch);
    let found = search(state, move |state, watch| {
        let hints = SelectHints {
            watch: Some(watch),
            ..SelectHints::default()
        };
        find(state, &asked, &subject, &hints)
    });
    let kept = match found.await {
        Ok(kept) => kept,
        Err(error) => return error.into_response(),
    };
    let (mut sink, chunks) = chunks::channel();
    let writer = async move {
        let Kept { found, _memory } = kept;
        let metadata = targets
            .map(|targets| said_of(&targets, &found.results))
            .unwrap_or_default();
        for results in found
            .results
            .chunks(batch)
            .chain(found.results.is_empty().then_some(&[][..]))
        {
            let lines = results
                .iter()
                .map(|(text, score)| Line::new(key, text, with_score.then_some(*score), &metadata));
            write_batch(&mut sink, lines);
            if sink.is_full() && !sink.hand_on().await {
                return;
            }
        }
        let end = if found.has_more { "true" } else { "false" };
        sink.extend_from_slice(format!("{{\"status\":\"success\",\"has_more\":{end}}}\n").as_bytes());
        sink.finish().await;
    };
    tokio::task::spawn_blocking(move || chunks::write(&supervisor, writer));
    let Some(body) = chunks.into_body().await else {
        return ApiError::new(ErrorType::Internal, chunks::BrokenOff).into_response();
    };
    let mut response = json_response(StatusCode::OK, body);
    let lines = HeaderValue::from_static("application/x-ndjson; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, lines);
    response
}

fn write_batch<'l>(sink: &mut ChunkSink, lines: impl Iterator<Item = Line<'l>>) {
    sink.extend_from_slice(b"{\"results\":[");
    for (index, line) in lines.enumerate() {
        if index > 0 {
            sink.push(b',');
        }
        json::serialized(sink, &line);
    }
    sink.extend_from_slice(b"]}\n");
}

/// What targets say of the metrics that were found; the first to say something is believed.
fn said_of(state: &TargetState, results: &[(String, f64)]) -> BTreeMap<String, Metadata> {
    let wanted: HashSet<&str> = results.iter().map(|(name, _)| name.as_str()).collect();
    let mut said = BTreeMap::new();
    for target in state.scraper.targets().iter().flat_map(|pool| &pool.active) {
        for of_family in target.metadata() {
            if wanted.contains(of_family.family.as_str()) {
                said.entry(of_family.family).or_insert(of_family.metadata);
            }
        }
    }
    said
}

/// A result.
#[derive(Serialize)]
struct Line<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    kind: &'l str,
    #[serde(skip_serializing_if = "str::is_empty")]
    help: &'l str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'l str,
}

impl<'l> Line<'l> {
    fn new(key: Key, text: &'l str, score: Option<f64>, metadata: &'l BTreeMap<String, Metadata>) -> Self {
        let said = metadata.get(text);
        Line {
            name: (key == Key::Name).then_some(text),
            value: (key == Key::Value).then_some(text),
            score,
            kind: said.map_or("", |said| said.metric_type.as_str()),
            help: said.map_or("", |said| &said.help),
            unit: said.map_or("", |said| &said.unit),
        }
    }
}
