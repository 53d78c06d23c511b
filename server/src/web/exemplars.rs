//! `/api/v1/query_exemplars`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::storage::{ExemplarQueryable, SeriesExemplars, TimeRange};

use super::answer::{ApiError, blocking, success};
use super::json;
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params};
use super::state::QueryState;

pub(crate) async fn query(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    let found = async {
        let start_ms = params.time_ms("start", Some(MIN_TIME_MS))?;
        let end_ms = params.time_ms("end", Some(MAX_TIME_MS))?;
        if end_ms < start_ms {
            return Err(ApiError::bad_data(
                "end timestamp must not be before start timestamp",
            ));
        }
        let expr = state
            .engine
            .parse(params.get("query"))
            .map_err(ApiError::bad_data)?;
        let selectors: Vec<_> = expr
            .selectors()
            .into_iter()
            .map(|selector| selector.matchers.clone())
            .collect();
        if selectors.is_empty() {
            // Compat: nothing is asked for, and nothing is the answer (api: `query_exemplars?query=1`).
            return Ok(None);
        }
        let range = TimeRange::new(start_ms, end_ms);
        blocking(move || Ok(Some(state.db.exemplars(range, &selectors)?))).await
    };
    match found.await {
        Ok(Some(found)) => success(&[], |out| write(out, &found)),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.into_response(),
    }
}

fn write(out: &mut Vec<u8>, found: &[SeriesExemplars]) {
    out.push(b'[');
    for (index, series) in found.iter().enumerate() {
        out.extend_from_slice(if index > 0 {
            b",{\"seriesLabels\":"
        } else {
            b"{\"seriesLabels\":"
        });
        json::labels(out, &series.series);
        out.extend_from_slice(b",\"exemplars\":[");
        for (index, exemplar) in series.exemplars.iter().enumerate() {
            out.extend_from_slice(if index > 0 {
                b",{\"labels\":"
            } else {
                b"{\"labels\":"
            });
            json::labels(out, &exemplar.labels);
            out.extend_from_slice(b",\"value\":\"");
            model::float::write_json(out, exemplar.value);
            out.extend_from_slice(b"\",\"timestamp\":");
            model::float::write_timestamp(out, exemplar.timestamp_ms.unwrap_or(0));
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
}
