//! `/api/v1/query` and `/api/v1/query_range`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use promql::engine::{CancelHandle, EvalTime, QueryOptions, QueryOutput, QueryStats, StepSamples};
use promql::value::Value;
use tokio::sync::oneshot;

use super::Api;
use super::answer::{ApiError, ErrorType, SUCCESS_HEAD, TRUNCATED, annotation_texts, json_response, tail};
use super::chunks::{self, ChunkSink};
use super::json;
use super::params::{Params, Quoted};

/// Most steps that a range query may have, the reference's bound.
const STEPS_MAX: i64 = 11_000;

/// What a request asks for.
struct Asked {
    query: String,
    time: EvalTime,
    options: QueryOptions,
    limit: usize,
    stats: Stats,
}

/// Which statistics the answer carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stats {
    None,
    Totals,
    /// `stats=all`: by step too.
    Steps,
}

/// Stops the query when the client hangs up: the handler's future is dropped then, and this with it.
struct CancelOnDrop(CancelHandle);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub(crate) async fn instant(State(api): State<Arc<Api>>, params: Params) -> Response {
    respond(api, asked_instant, params).await
}

pub(crate) async fn range(State(api): State<Arc<Api>>, params: Params) -> Response {
    respond(api, asked_range, params).await
}

fn asked_instant(api: &Api, params: &Params) -> Result<Asked, ApiError> {
    let limit = params.limit()?;
    let at_ms = params.time_ms("time", Some(api.clock.now_ms()))?;
    asked(params, EvalTime::Instant { at_ms }, limit)
}

fn asked_range(_: &Api, params: &Params) -> Result<Asked, ApiError> {
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
    let options = QueryOptions {
        lookback_delta_ms: lookback.filter(|ms| *ms > 0),
        timeout,
        per_step_stats: stats == Stats::Steps,
        explain: false,
        cancel: CancelHandle::new(),
    };
    Ok(Asked {
        query: params.get("query").to_owned(),
        time,
        options,
        limit,
        stats,
    })
}

async fn respond(
    api: Arc<Api>,
    read: fn(&Api, &Params) -> Result<Asked, ApiError>,
    params: Params,
) -> Response {
    let asked = match read(&api, &params) {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    let stats_warning = deprecated_stats(params.get("stats"));
    let _hung_up = CancelOnDrop(asked.options.cancel.clone());
    let queued = Instant::now();
    let Ok(slot) = api.query_slots.clone().acquire_owned().await else {
        return ApiError::new(ErrorType::Internal, "server is stopping").into_response();
    };
    let waited = queued.elapsed();
    let (mut sink, chunks) = chunks::channel();
    let (answer, answered) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let begin = Instant::now();
        let (output, truncated) = match evaluate(&api, &asked) {
            Ok(evaluated) => evaluated,
            Err(error) => return drop(answer.send(Err(error))),
        };
        // Evaluation is what the slots are for; a client that reads slowly does not hold one.
        drop(slot);
        if answer.send(Ok(())).is_err() {
            return;
        }
        let times = Times {
            waited,
            total: begin.elapsed(),
        };
        let warnings = [truncated.then(|| TRUNCATED.to_owned()), stats_warning]
            .into_iter()
            .flatten();
        write(&mut sink, &asked, &output, &times, warnings.collect());
        sink.flush();
    });
    match answered.await {
        Ok(Ok(())) => json_response(StatusCode::OK, chunks.into_body().await),
        Ok(Err(error)) => error.into_response(),
        Err(_) => ApiError::new(ErrorType::Internal, "query evaluation ended unexpectedly").into_response(),
    }
}

/// The answer, cut to the limit, and whether it was cut.
fn evaluate(api: &Api, asked: &Asked) -> Result<(QueryOutput, bool), ApiError> {
    let mut output = match asked.time {
        EvalTime::Instant { at_ms } => {
            api.engine
                .instant(&*api.storage, &asked.query, at_ms, &asked.options)?
        }
        EvalTime::Range {
            start_ms,
            end_ms,
            step_ms,
        } => api.engine.range(
            &*api.storage,
            &asked.query,
            start_ms,
            end_ms,
            step_ms,
            &asked.options,
        )?,
    };
    let truncated = asked.limit > 0
        && match &mut output.value {
            Value::Vector(samples) => cut(samples, asked.limit),
            Value::Matrix(series) => cut(series, asked.limit),
            Value::Scalar { .. } | Value::String { .. } => false,
        };
    Ok((output, truncated))
}

fn cut<T>(items: &mut Vec<T>, limit: usize) -> bool {
    let over = items.len() > limit;
    items.truncate(limit);
    over
}

/// Times outside the engine.
struct Times {
    waited: Duration,
    total: Duration,
}

fn write(
    sink: &mut ChunkSink,
    asked: &Asked,
    output: &QueryOutput,
    times: &Times,
    extra_warnings: Vec<String>,
) {
    sink.extend_from_slice(SUCCESS_HEAD);
    sink.push(b'{');
    json::query_value(sink, &output.value);
    if asked.stats != Stats::None {
        sink.extend_from_slice(b",\"stats\":");
        let stats = stats_json(&output.stats, times, asked.options.per_step_stats);
        sink.extend_from_slice(stats.to_string().as_bytes());
    }
    sink.push(b'}');
    let (mut warnings, infos) = annotation_texts(&output.annotations, &asked.query);
    warnings.extend(extra_warnings);
    tail(sink, &warnings, &infos);
}

fn stats_json(stats: &QueryStats, times: &Times, per_step: bool) -> serde_json::Value {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let mut samples = serde_json::json!({
        "totalQueryableSamples": stats.total_queryable_samples,
        "samplesRead": stats.samples_read,
        "peakSamples": stats.peak_samples,
    });
    if per_step {
        let list = |steps: &Option<Vec<StepSamples>>| -> Option<Vec<serde_json::Value>> {
            let steps = steps.as_ref()?;
            Some(
                steps
                    .iter()
                    .map(|step| serde_json::json!([step.timestamp_ms as f64 / 1000.0, step.samples]))
                    .collect(),
            )
        };
        if let Some(steps) = list(&stats.total_queryable_samples_per_step) {
            samples["totalQueryableSamplesPerStep"] = steps.into();
        }
        if let Some(steps) = list(&stats.samples_read_per_step) {
            samples["samplesReadPerStep"] = steps.into();
        }
    }
    serde_json::json!({
        "timings": {
            "evalTotalTime": seconds(stats.prepare_ns + stats.eval_ns),
            // Answers come out of the evaluation in order.
            "resultSortTime": 0,
            "queryPreparationTime": seconds(stats.prepare_ns),
            "innerEvalTime": seconds(stats.eval_ns),
            "execQueueTime": times.waited.as_secs_f64(),
            "execTotalTime": times.total.as_secs_f64(),
        },
        "samples": samples,
    })
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
