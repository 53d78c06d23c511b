//! `/api/v1/query` and `/api/v1/query_range`.

mod shared;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, OriginalUri, State};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use promql::engine::{CancelHandle, EvalTime, QueryError, QueryOptions, QueryOutput};
use promql::value::Value;
use tokio::sync::oneshot;

use super::answer::{
    ApiError, CancelOnDrop, ErrorType, SUCCESS_HEAD, TRUNCATED, annotation_texts, json_response,
    success_json, tail,
};
use super::chunks::{self, ChunkSink};
use super::json;
use super::listener::Peer;
use super::params::{Params, Quoted};
use super::state::QueryState;
use crate::explain::Explained;
use crate::queries::{Origin, QueryTimes, Question, StatsJson};

/// Most steps that a range query may have, the reference's bound.
const STEPS_MAX: i64 = 11_000;

/// What a request asks for.
struct Asked {
    query: String,
    time: EvalTime,
    options: QueryOptions,
    limit: usize,
    stats: Stats,
    explain: Explain,
    /// The client wants it evaluated: `Cache-Control: no-store`.
    no_store: bool,
}

impl Asked {
    /// Whether the answer says nothing of the way to it, so that it may be one that was kept.
    fn may_be_kept(&self) -> bool {
        !self.no_store && self.stats == Stats::None && self.explain == Explain::Nothing
    }

    fn question<'q>(&'q self, origin: &'q Origin) -> Question<'q> {
        Question {
            text: &self.query,
            expr: None,
            time: self.time,
            options: self.options.clone(),
            origin,
            may_be_kept: self.may_be_kept(),
        }
    }
}

/// What a query gave, and when.
struct Answer {
    output: Arc<QueryOutput>,
    times: QueryTimes,
}

/// What the answer tells of the way to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Explain {
    Nothing,
    /// The plan, without executing it.
    Plan,
    /// The plan, and what its parts took.
    Analyze,
}

/// Which statistics the answer carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stats {
    None,
    Totals,
    /// `stats=all`: by step too.
    Steps,
}

pub(crate) async fn instant(
    State(state): State<Arc<QueryState>>,
    origin: Origin,
    headers: HeaderMap,
    params: Params,
) -> Response {
    respond(state, asked_instant, origin, &headers, params).await
}

pub(crate) async fn range(
    State(state): State<Arc<QueryState>>,
    origin: Origin,
    headers: HeaderMap,
    params: Params,
) -> Response {
    respond(state, asked_range, origin, &headers, params).await
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>();
        // Inside of nested routers the path has lost its beginning.
        let whole = parts.extensions.get::<OriginalUri>();
        Ok(Origin::Request {
            client: peer.map_or_else(String::new, Peer::to_string),
            method: parts.method.to_string(),
            path: whole.map_or(&parts.uri, |uri| &uri.0).path().to_owned(),
        })
    }
}

fn asked_instant(state: &QueryState, params: &Params) -> Result<Asked, ApiError> {
    let limit = params.limit()?;
    let at_ms = params.time_ms("time", Some(state.clock.now_ms()))?;
    asked(params, EvalTime::Instant { at_ms }, limit)
}

fn asked_range(_: &QueryState, params: &Params) -> Result<Asked, ApiError> {
    let limit = params.limit()?;
    let start_ms = params.time_ms("start", None)?;
    let end_ms = params.time_ms("end", None)?;
    if end_ms < start_ms {
        return Err(ApiError::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step_ms = params
        .duration_ms("step")?
        .ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step_ms <= 0 {
        let what = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", what));
    }
    if end_ms.saturating_sub(start_ms) / step_ms > STEPS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    asked(
        params,
        EvalTime::Range {
            start_ms,
            end_ms,
            step_ms,
        },
        limit,
    )
}

fn asked(params: &Params, time: EvalTime, limit: usize) -> Result<Asked, ApiError> {
    let timeout = params
        .duration_ms("timeout")?
        .map(|ms| Duration::from_millis(ms.max(0) as u64));
    let lookback = params.duration_ms("lookback_delta").map_err(|error| {
        let what = error
            .message
            .split_once(": ")
            .map_or(error.message.as_str(), |(_, what)| what);
        ApiError::bad_data(format_args!("error parsing lookback delta duration: {what}"))
    })?;
    let stats = match params.get("stats") {
        "" => Stats::None,
        "all" => Stats::Steps,
        _ => Stats::Totals,
    };
    let explain = match params.get("explain") {
        "" => Explain::Nothing,
        "plan" => Explain::Plan,
        "analyze" => Explain::Analyze,
        _ => {
            let what = "must be \"plan\" or \"analyze\"";
            return Err(ApiError::parameter("explain", what));
        }
    };
    let options = QueryOptions {
        lookback_delta_ms: lookback.filter(|ms| *ms > 0),
        timeout,
        per_step_stats: stats == Stats::Steps,
        explain: explain == Explain::Analyze,
        watch_order: false,
        cancel: CancelHandle::new(),
        watch: None,
    };
    let query = params.get("query");
    if query.is_empty() {
        // What could not be read may have been the query.
        params.whole().map_err(|error| ApiError::form(&error))?;
    }
    Ok(Asked {
        query: query.to_owned(),
        time,
        options,
        limit,
        stats,
        explain,
        no_store: false,
    })
}

async fn respond(
    state: Arc<QueryState>,
    read: fn(&QueryState, &Params) -> Result<Asked, ApiError>,
    origin: Origin,
    headers: &HeaderMap,
    params: Params,
) -> Response {
    let mut asked = match read(&state, &params) {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    asked.no_store = refuses_kept(headers);
    let stats_warning = deprecated_stats(params.get("stats"));
    if asked.may_be_kept() {
        return shared::answer(state, asked, origin, stats_warning).await;
    }
    let _hung_up = CancelOnDrop(asked.options.cancel.clone());
    let turn = match state
        .queries
        .turn(&asked.query, &origin, asked.options.timeout)
        .await
    {
        Ok(turn) => turn,
        Err(error) => return ApiError::from(error).into_response(),
    };
    if asked.explain == Explain::Plan {
        let planned = super::answer::blocking(move || {
            let _turn = turn;
            planned(&state, &asked)
        });
        return planned.await.unwrap_or_else(IntoResponse::into_response);
    }
    let (sink, chunks) = chunks::channel();
    let (failed, failure) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let begin = Instant::now();
        let evaluated = state
            .supervisor
            .catch("query", || state.queries.run(&turn, asked.question(&origin)));
        let output = match evaluated {
            Ok(Ok(output)) => output,
            // Nobody may be left to tell.
            Ok(Err(error)) => return drop(failed.send(ApiError::from(error))),
            // Whoever waits hears that nobody tells him.
            Err(_) => return,
        };
        let times = QueryTimes {
            waited: turn.waited,
            total: turn.waited + begin.elapsed(),
        };
        // Evaluation is what the slots are for; a client that reads slowly does not hold one.
        drop(turn);
        let answer = Answer {
            output: Arc::new(output),
            times,
        };
        send(&state, sink, Arc::new(asked), answer, stats_warning);
    });
    if let Some(body) = chunks.into_body().await {
        return json_response(StatusCode::OK, body);
    }
    failure.await.unwrap_or_else(|_| ended()).into_response()
}

/// Nobody tells what became of a query.
fn ended() -> ApiError {
    ApiError::new(ErrorType::Internal, "query evaluation ended unexpectedly")
}

/// Whether a client wants no answer that was kept, nor that its own is.
fn refuses_kept(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter();
    let mut directives = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    directives.any(|directive| directive.trim().eq_ignore_ascii_case("no-store"))
}

/// Writes an answer to a client that may read slowly. Called where work may take long.
fn send(
    state: &QueryState,
    mut sink: ChunkSink,
    asked: Arc<Asked>,
    answer: Answer,
    stats_warning: Option<String>,
) {
    if !sink.is_wanted() {
        return;
    }
    chunks::write(&state.supervisor, async move {
        write(&mut sink, &asked, &answer, stats_warning).await;
        sink.finish().await;
    });
}

/// The plan of a query, beside an empty answer of the right form.
fn planned(state: &QueryState, asked: &Asked) -> Result<Response, ApiError> {
    let expr = state.engine.parse(&asked.query).map_err(QueryError::from)?;
    let plan = state.engine.explain(&expr, asked.time, &asked.options)?;
    let result_type = match asked.time {
        EvalTime::Instant { .. } => "vector",
        EvalTime::Range { .. } => "matrix",
    };
    Ok(success_json(&serde_json::json!({
        "resultType": result_type,
        "result": [],
        "explain": Explained::planned(&plan),
    })))
}

/// A value cut to `limit` items, and whether there were more.
fn cut(value: &Value, limit: usize) -> (Cow<'_, Value>, bool) {
    match value {
        Value::Vector(samples) if limit > 0 && samples.len() > limit => {
            (Cow::Owned(Value::Vector(samples[..limit].to_vec())), true)
        }
        Value::Matrix(series) if limit > 0 && series.len() > limit => {
            (Cow::Owned(Value::Matrix(series[..limit].to_vec())), true)
        }
        _ => (Cow::Borrowed(value), false),
    }
}

async fn write(sink: &mut ChunkSink, asked: &Asked, answer: &Answer, stats_warning: Option<String>) {
    let output = &*answer.output;
    let (value, truncated) = cut(&output.value, asked.limit);
    sink.extend_from_slice(SUCCESS_HEAD);
    sink.push(b'{');
    json::query_value(sink, &value).await;
    if asked.stats != Stats::None {
        sink.extend_from_slice(b",\"stats\":");
        json::serialized(sink, &StatsJson::new(&output.stats, &answer.times));
    }
    if let Some(explained) = Explained::executed(output) {
        sink.extend_from_slice(b",\"explain\":");
        json::serialized(sink, &explained);
    }
    sink.push(b'}');
    let (mut warnings, infos) = annotation_texts(&output.annotations, &asked.query);
    warnings.extend(truncated.then(|| TRUNCATED.to_owned()));
    warnings.extend(stats_warning);
    tail(sink, &warnings, &infos);
}

/// Compat: any text turns statistics on, and the reference warns of those that it will refuse one day.
fn deprecated_stats(text: &str) -> Option<String> {
    if matches!(text, "" | "true" | "all") {
        return None;
    }
    Some(format!(
        "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"",
        Quoted(text)
    ))
}
