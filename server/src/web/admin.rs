//! `/api/v1/admin/tsdb/…`: deleting series, snapshots; only with `--web.enable-admin-api`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::storage::{StorageError, TimeRange};
use serde_json::json;

use super::answer::{ApiError, ErrorType, blocking, success_json};
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params, Quoted};
use super::state::AdminState;

fn enabled(state: &AdminState) -> Result<(), ApiError> {
    if state.enabled {
        Ok(())
    } else {
        Err(ApiError::new(ErrorType::Unavailable, "admin APIs disabled"))
    }
}

/// Changes the store; what fails there is our fault, not the request's.
async fn change<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, ApiError> {
    blocking(move || work().map_err(|error| ApiError::new(ErrorType::Internal, error))).await
}

fn respond(result: Result<(), ApiError>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.into_response(),
    }
}

pub(crate) async fn delete_series(State(state): State<Arc<AdminState>>, params: Params) -> Response {
    let result = async {
        enabled(&state)?;
        params.whole().map_err(|error| ApiError::form(&error))?;
        if params.all("match[]").is_empty() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        let start_ms = params.time_ms("start", Some(MIN_TIME_MS))?;
        let end_ms = params.time_ms("end", Some(MAX_TIME_MS))?;
        // Compat: here a selector may match everything (api: `delete_series`, `match[]={}`).
        let selectors = params
            .any_selectors()
            .map_err(|what| ApiError::parameter("match[]", what))?;
        let range = TimeRange::new(start_ms, end_ms);
        change(move || {
            selectors
                .iter()
                .try_for_each(|matchers| state.db.delete(range, matchers))
        })
        .await
    };
    respond(result.await)
}

pub(crate) async fn clean_tombstones(State(state): State<Arc<AdminState>>) -> Response {
    let result = async {
        enabled(&state)?;
        change(move || state.db.clean_tombstones()).await
    };
    respond(result.await)
}

pub(crate) async fn snapshot(State(state): State<Arc<AdminState>>, params: Params) -> Response {
    let result = async {
        enabled(&state)?;
        let text = params.get("skip_head");
        let skip_head = match model::go::parse_bool(text) {
            Some(skip) => skip,
            None if text.is_empty() => false,
            None => {
                let text = Quoted(text);
                let what =
                    format!("unable to parse boolean: strconv.ParseBool: parsing {text}: invalid syntax");
                return Err(ApiError::parameter("skip_head", what));
            }
        };
        let now =
            jiff::Timestamp::from_millisecond(state.clock.now_ms()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let name = format!("{}-{:016x}", now.strftime("%Y%m%dT%H%M%SZ"), rand_u64());
        let folder = state.db.dir().join("snapshots").join(&name);
        change(move || state.db.snapshot(&folder, !skip_head)).await?;
        Ok(name)
    };
    match result.await {
        Ok(name) => success_json(&json!({ "name": name })),
        Err(error) => error.into_response(),
    }
}

/// Enough of a difference between two snapshots of one second.
fn rand_u64() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}
