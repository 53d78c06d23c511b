//! `/api/v1/series`, `/api/v1/labels`, `/api/v1/label/<name>/values`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{Querier, SelectHints, StorageError, TimeRange};

use super::Api;
use super::answer::{ApiError, TRUNCATED, blocking, success};
use super::json;
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params, Quoted};

/// What the three requests share.
struct Asked {
    range: TimeRange,
    limit: usize,
    selectors: Vec<Vec<Matcher>>,
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

pub(crate) async fn series(State(api): State<Arc<Api>>, params: Params) -> Response {
    let answer = async {
        if params.all("match[]").is_empty() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        let (range, limit) = range_and_limit(&params)?;
        let selectors = params
            .selectors()
            .map_err(|what| ApiError::parameter("match[]", what))?;
        let asked = Asked {
            range,
            limit,
            selectors,
        };
        blocking(move || select_series(&api, &asked)).await
    };
    match answer.await {
        Ok((found, warnings)) => success(&warnings, |out| {
            out.push(b'[');
            for (index, labels) in found.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json::labels(out, labels);
            }
            out.push(b']');
        }),
        Err(error) => error.into_response(),
    }
}

fn select_series(api: &Api, asked: &Asked) -> Result<(Vec<Labels>, Vec<String>), ApiError> {
    let querier = api.storage.querier(asked.range)?;
    // One more than asked for tells whether there were more.
    let limit = if asked.limit == 0 { 0 } else { asked.limit + 1 };
    let hints = SelectHints {
        sorted: asked.selectors.len() > 1,
        limit,
        ..SelectHints::default()
    };
    let mut found: Vec<Labels> = Vec::new();
    if let [matchers] = asked.selectors.as_slice() {
        let set = querier.select(&hints, matchers)?;
        found.extend((0..set.len()).map(|index| set.labels(index)));
    } else {
        let mut merged = BTreeSet::new();
        for matchers in &asked.selectors {
            let set = querier.select(&hints, matchers)?;
            merged.extend((0..set.len()).map(|index| set.labels(index)));
        }
        found.extend(merged);
    }
    let warnings = truncate(&mut found, asked.limit);
    Ok((found, warnings))
}

pub(crate) async fn label_names(State(api): State<Arc<Api>>, params: Params) -> Response {
    names(api, params, |querier, matchers, limit| {
        querier.label_names(matchers, limit)
    })
    .await
}

pub(crate) async fn label_values(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    // A name with characters that a path cannot carry comes in the reference's escaped form.
    let name = unescape_name(&name);
    if name.is_empty() {
        return ApiError::bad_data(format_args!("invalid label name: {}", Quoted(&name))).into_response();
    }
    names(api, params, move |querier, matchers, limit| {
        querier.label_values(&name, matchers, limit)
    })
    .await
}

async fn names(
    api: Arc<Api>,
    params: Params,
    ask: impl Fn(&dyn Querier, &[Matcher], usize) -> Result<Vec<String>, StorageError> + Send + 'static,
) -> Response {
    let answer = async {
        let asked = asked(&params)?;
        blocking(move || {
            let querier = api.storage.querier(asked.range)?;
            let limit = if asked.limit == 0 { 0 } else { asked.limit + 1 };
            let mut found = match asked.selectors.as_slice() {
                [] => ask(&*querier, &[], limit)?,
                [matchers] => ask(&*querier, matchers, limit)?,
                several => {
                    let mut merged = BTreeSet::new();
                    for matchers in several {
                        merged.extend(ask(&*querier, matchers, limit)?);
                    }
                    merged.into_iter().collect()
                }
            };
            let warnings = truncate(&mut found, asked.limit);
            Ok((found, warnings))
        })
        .await
    };
    match answer.await {
        Ok((found, warnings)) => success(&warnings, |out| {
            json::strings(out, found.iter().map(String::as_str));
        }),
        Err(error) => error.into_response(),
    }
}

fn truncate<T>(items: &mut Vec<T>, limit: usize) -> Vec<String> {
    if limit > 0 && items.len() > limit {
        items.truncate(limit);
        return vec![TRUNCATED.to_owned()];
    }
    Vec::new()
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
