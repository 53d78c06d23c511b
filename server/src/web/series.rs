//! `/api/v1/series`, `/api/v1/labels`, `/api/v1/label/<name>/values`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::labels::Labels;
use model::matcher::Matcher;
use model::purpose::{SelectPurpose, Selection};
use model::storage::{Interrupted, Querier, SelectHints, SeriesSet, StorageError, TimeRange, WatchSelect};
use promql::engine::{CancelHandle, Reservation};
use supervise::Supervisor;

use super::answer::{
    ApiError, CancelOnDrop, ErrorType, SUCCESS_HEAD, TRUNCATED, blocking, json_response, success, tail,
};
use super::chunks;
use super::json;
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params, Quoted};
use super::paths::not_found;
use super::state::QueryState;

/// Series of an answer that is written whole before it is sent; larger ones are sent while they are written.
const WRITTEN_AT_ONCE_MAX: usize = 10_000;

/// Label sets between two times that whoever accounts for them is told.
const TOLD_EVERY: usize = 512;

/// How long a search for names or values may go on where its request was read: most are over sooner than another thread
/// would begin.
const BRIEF: Duration = Duration::from_millis(1);

/// What the three requests share.
struct Asked {
    range: TimeRange,
    limit: usize,
    selectors: Vec<Vec<Matcher>>,
}

impl Asked {
    /// What storage is to know.
    fn hints(&self, watch: Arc<dyn WatchSelect>) -> SelectHints {
        SelectHints {
            sorted: self.selectors.len() > 1,
            // One more than asked for tells whether there were more.
            limit: if self.limit == 0 { 0 } else { self.limit + 1 },
            watch: Some(watch),
            purpose: None,
        }
    }

    /// What is looked for, for stores elsewhere.
    fn selections(&self) -> Vec<Selection> {
        let mut selections: Vec<Selection> = Vec::with_capacity(self.selectors.len());
        for matchers in &self.selectors {
            if !selections.iter().any(|known| known.matchers == *matchers) {
                selections.push(Selection {
                    matchers: matchers.clone(),
                    purpose: SelectPurpose::of("series", self.range),
                });
            }
        }
        selections
    }
}

/// Lets a search go on until then.
#[derive(Debug)]
struct Until(Instant);

impl WatchSelect for Until {
    fn took(&self, _: usize) -> Result<(), Interrupted> {
        match Instant::now() < self.0 {
            true => Ok(()),
            false => Err(Interrupted),
        }
    }
}

/// Lets a search go on as long as the client waits for it.
#[derive(Debug)]
pub(super) struct WhileWanted(pub(super) CancelHandle);

impl WatchSelect for WhileWanted {
    fn took(&self, _: usize) -> Result<(), Interrupted> {
        match self.0.is_canceled() {
            true => Err(Interrupted),
            false => Ok(()),
        }
    }
}

/// What a search found, accounted for among the memory of queries while it is kept.
pub(super) struct Kept<T> {
    pub(super) found: T,
    pub(super) _memory: Reservation,
}

/// Searches the indexes on a thread of its own, until the client hangs up, within what a query may take.
pub(super) async fn search<T: Send + 'static>(
    state: Arc<QueryState>,
    find: impl FnOnce(&QueryState, Arc<dyn WatchSelect>) -> Result<T, StorageError> + Send + 'static,
) -> Result<Kept<T>, ApiError> {
    let cancel = CancelHandle::new();
    let _hung_up = CancelOnDrop(cancel.clone());
    blocking(move || {
        let search = state.engine.search(cancel);
        let found = find(&state, search.watch());
        // Why a search was interrupted says more than that it was.
        if let Err(StorageError::Interrupted(_)) = &found {
            search.finish()?;
        }
        let found = found?;
        Ok(Kept {
            found,
            _memory: search.finish()?,
        })
    })
    .await
}

/// The parameters, `match[]` apart.
fn range_and_limit(params: &Params) -> Result<(TimeRange, usize), ApiError> {
    let limit = params.limit()?;
    let start_ms = params.time_ms("start", Some(MIN_TIME_MS))?;
    let end_ms = params.time_ms("end", Some(MAX_TIME_MS))?;
    Ok((TimeRange::new(start_ms, end_ms), limit))
}

fn asked(params: &Params) -> Result<Asked, ApiError> {
    let (range, limit) = range_and_limit(params)?;
    Ok(Asked {
        range,
        limit,
        selectors: params.selectors().map_err(ApiError::bad_data)?,
    })
}

pub(crate) async fn series(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    let select = || {
        params.whole().map_err(|error| ApiError::form(&error))?;
        if params.all("match[]").is_empty() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        let (range, limit) = range_and_limit(&params)?;
        let selectors = params
            .selectors()
            .map_err(|what| ApiError::parameter("match[]", what))?;
        Ok(Asked {
            range,
            limit,
            selectors,
        })
    };
    let found = match select() {
        Ok(asked) => {
            let find = move |state: &QueryState, watch| select_series(state, &asked, &asked.hints(watch));
            search(state.clone(), find).await
        }
        Err(error) => Err(error),
    };
    match found {
        Ok(Kept { found, _memory }) if found.len() <= WRITTEN_AT_ONCE_MAX => {
            success(&found.warnings, |out| {
                let texts = found.texts();
                out.push(b'[');
                for index in 0..found.len() {
                    found.write(out, index, texts.as_ref());
                }
                out.push(b']');
            })
        }
        Ok(found) => streamed(state.supervisor.clone(), found).await,
        Err(error) => error.into_response(),
    }
}

/// The series of an answer.
struct Found {
    series: Series,
    warnings: Vec<String>,
}

enum Series {
    /// The first so many of one selection.
    One(Arc<dyn SeriesSet>, usize),
    /// Of several.
    Merged(Vec<Labels>),
}

impl Found {
    fn len(&self) -> usize {
        match &self.series {
            Series::One(_, shown) => *shown,
            Series::Merged(all) => all.len(),
        }
    }

    fn texts(&self) -> Option<json::PairTexts<'_>> {
        match &self.series {
            Series::One(set, _) => set.label_table().map(json::PairTexts::new),
            Series::Merged(_) => None,
        }
    }

    /// Writes series `index`, behind a comma where it is not the first.
    fn write(&self, out: &mut Vec<u8>, index: usize, texts: Option<&json::PairTexts<'_>>) {
        if index > 0 {
            out.push(b',');
        }
        match (&self.series, texts) {
            (_, Some(texts)) => texts.write(out, index),
            (Series::One(set, _), None) => json::labels(out, &set.labels(index)),
            (Series::Merged(all), None) => json::labels(out, &all[index]),
        }
    }
}

/// An answer that is sent while it is written.
async fn streamed(supervisor: Supervisor, kept: Kept<Found>) -> Response {
    let (mut sink, chunks) = chunks::channel();
    let writer = async move {
        let Kept { found, _memory } = kept;
        sink.extend_from_slice(SUCCESS_HEAD);
        sink.push(b'[');
        let texts = found.texts();
        for index in 0..found.len() {
            found.write(&mut sink, index, texts.as_ref());
            if sink.is_full() && !sink.hand_on().await {
                return;
            }
        }
        sink.push(b']');
        tail(&mut sink, &found.warnings, &[]);
        sink.finish().await;
    };
    tokio::task::spawn_blocking(move || chunks::write(&supervisor, writer));
    match chunks.into_body().await {
        Some(body) => json_response(StatusCode::OK, body),
        None => ApiError::new(
            ErrorType::Internal,
            "the answer was given up while it was being written",
        )
        .into_response(),
    }
}

fn select_series(state: &QueryState, asked: &Asked, hints: &SelectHints) -> Result<Found, StorageError> {
    let querier = state.storage.querier(asked.range)?;
    querier.announce(&|| asked.selections());
    if let [matchers] = asked.selectors.as_slice() {
        let set = querier.select(hints, matchers)?;
        let (shown, warnings) = shown(set.len(), asked.limit);
        return Ok(Found {
            series: Series::One(set, shown),
            warnings,
        });
    }
    let mut merged = Vec::new();
    for matchers in &asked.selectors {
        let set = querier.select(hints, matchers)?;
        let mut bytes = 0;
        for index in 0..set.len() {
            let labels = set.labels(index);
            bytes += size_of::<Labels>() + labels.as_bytes().len();
            merged.push(labels);
            if index % TOLD_EVERY == 0 || index + 1 == set.len() {
                hints.took(std::mem::take(&mut bytes))?;
            }
        }
    }
    // Each selection is sorted: this merges them.
    merged.sort();
    merged.dedup();
    let (shown, warnings) = shown(merged.len(), asked.limit);
    merged.truncate(shown);
    Ok(Found {
        series: Series::Merged(merged),
        warnings,
    })
}

pub(crate) async fn label_names(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    names(state, &params, |querier, hints, matchers| {
        querier.label_names(hints, matchers)
    })
    .await
}

pub(crate) async fn label_values(
    State(state): State<Arc<QueryState>>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Response {
    let Ok(Path(name)) = name else {
        return ApiError::bad_data("invalid label name: not UTF-8").into_response();
    };
    if name.contains('/') {
        // Compat: an escaped slash separates parts of the path too, and there is no such route.
        return not_found();
    }
    // A name with characters that a path cannot carry comes in the reference's escaped form.
    let name = unescape_name(&name);
    if name.is_empty() {
        return ApiError::bad_data(format_args!("invalid label name: {}", Quoted(&name))).into_response();
    }
    names(state, &params, move |querier, hints, matchers| {
        querier.label_values(&name, hints, matchers)
    })
    .await
}

async fn names(
    state: Arc<QueryState>,
    params: &Params,
    ask: impl Fn(&dyn Querier, &SelectHints, &[Matcher]) -> Result<Vec<String>, StorageError> + Send + 'static,
) -> Response {
    let asked = match asked(params) {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    let find = move |state: &QueryState, asked: &Asked, hints: &SelectHints| {
        let querier = state.storage.querier(asked.range)?;
        let mut found = match asked.selectors.as_slice() {
            [] => ask(&*querier, hints, &[])?,
            several => {
                let mut merged = Vec::new();
                for matchers in several {
                    merged.append(&mut ask(&*querier, hints, matchers)?);
                }
                if several.len() > 1 {
                    merged.sort();
                    merged.dedup();
                }
                merged
            }
        };
        let (shown, mut warnings) = shown(found.len(), asked.limit);
        found.truncate(shown);
        warnings.append(&mut querier.label_warnings());
        // Once as it is, once in the answer.
        let bytes: usize = found
            .iter()
            .map(|text| size_of::<String>() + 2 * text.len())
            .sum();
        hints.took(bytes)?;
        Ok((found, warnings))
    };
    let brief = asked.hints(Arc::new(Until(Instant::now() + BRIEF)));
    let found = match find(&state, &asked, &brief) {
        // Once more from the beginning.
        Err(StorageError::Interrupted(_)) => {
            search(state, move |state, watch| {
                find(state, &asked, &asked.hints(watch))
            })
            .await
        }
        Ok(found) => Ok(Kept {
            found,
            _memory: Reservation::default(),
        }),
        Err(error) => Err(ApiError::from(error)),
    };
    match found {
        Ok(Kept {
            found: (found, warnings),
            _memory,
        }) => success(&warnings, |out| {
            json::strings(out, found.iter().map(String::as_str));
        }),
        Err(error) => error.into_response(),
    }
}

/// How many of `found` items to show, and the warning where that is not all.
fn shown(found: usize, limit: usize) -> (usize, Vec<String>) {
    if limit > 0 && found > limit {
        return (limit, vec![TRUNCATED.to_owned()]);
    }
    (found, Vec::new())
}

/// Reads `U__http_2e_status` as `http.status`; any other name is itself.
///
/// Format: <https://prometheus.io/docs/instrumenting/escaping_schemes/>, value encoding.
fn unescape_name(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else {
        return name.to_owned();
    };
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('_') {
            out.push('_');
            rest = tail;
            continue;
        }
        let decoded = rest.split_once('_').and_then(|(hex, tail)| {
            let code = if hex.len() <= 6 {
                u32::from_str_radix(hex, 16).ok()?
            } else {
                return None;
            };
            Some((char::from_u32(code)?, tail))
        });
        let Some((c, tail)) = decoded else {
            return name.to_owned();
        };
        out.push(c);
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read_back() {
        for (escaped, name) in [
            ("job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U___263a_", "☺"),
            ("U__broken_zz_", "U__broken_zz_"),
            ("U__open_2e", "U__open_2e"),
        ] {
            assert_eq!(unescape_name(escaped), name, "{escaped}");
        }
    }
}
