//! `/api/v1/status/queries`: queries that wait, run, or ended last; and stopping one. Ours.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use promql::engine::{QueryError, QueryOptions};
use serde_json::{Value, json};

use super::answer::{ApiError, ErrorType, blocking, success_json};
use super::params::Params;
use super::state::QueryState;
use super::status::rfc3339_nanos;
use crate::explain::Explained;
use crate::queries::{Kind, Seen, Stage, StopError};

pub(crate) async fn list(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    let with_plans = match params.get("explain") {
        "" => false,
        "plan" => true,
        _ => return ApiError::parameter("explain", "must be \"plan\"").into_response(),
    };
    // Planning all that run takes longer than a look.
    let listed = blocking(move || {
        let queries = state.queries.list();
        let listed = queries.iter().map(|seen| json_of(&state, seen, with_plans));
        Ok::<Vec<Value>, ApiError>(listed.collect())
    });
    match listed.await {
        Ok(listed) => success_json(&listed),
        Err(error) => error.into_response(),
    }
}

pub(crate) async fn stop(State(state): State<Arc<QueryState>>, Path(id): Path<String>) -> Response {
    let Ok(number) = id.parse() else {
        return ApiError::parameter("id", "not the number of a query").into_response();
    };
    match state.queries.stop(number) {
        Ok(()) => {
            tracing::info!(id, "A query was stopped by a request");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error @ StopError::NotThere(_)) => ApiError::new(ErrorType::NotFound, error).into_response(),
        Err(error @ StopError::OfRule(_)) => ApiError::bad_data(error).into_response(),
    }
}

fn json_of(state: &QueryState, seen: &Seen, with_plan: bool) -> Value {
    let mut json = json!({
        "id": seen.id.to_string(),
        "query": &*seen.text,
        "kind": match seen.kind {
            Kind::Instant => "instant",
            Kind::Range => "range",
            Kind::Rule => "rule",
        },
        "state": match seen.stage {
            Stage::Queued => "queued",
            Stage::Running => "running",
            Stage::Done => "done",
            Stage::Failed => "failed",
        },
        "from": &*seen.from,
        "started": rfc3339_nanos(seen.came_ms),
        "seconds": seen.ran.as_secs_f64(),
        "queuedSeconds": seen.queued.as_secs_f64(),
        "bytes": seen.bytes,
        "samples": seen.samples,
    });
    if let Some(error) = &seen.error {
        json["error"] = (&**error).into();
    }
    // A text that was cut has no plan.
    if with_plan && let Ok(Some(plan)) = plan(state, seen) {
        json["plan"] = plan;
    }
    json
}

fn plan(state: &QueryState, seen: &Seen) -> Result<Option<Value>, QueryError> {
    let Some(time) = seen.time else { return Ok(None) };
    let expr = state.engine.parse(&seen.text)?;
    let plan = state.engine.explain(&expr, time, &QueryOptions::default())?;
    Ok(json!(Explained::planned(&plan)).get("plan").cloned())
}
