//! `/api/v1/status/…`: what this server is and how it fares.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tsdb::db::Stat;

use super::answer::{ApiError, blocking, success_json};
use super::params::Params;
use super::state::{QueryState, StartState, StatusState};
use crate::version::{REFERENCE, REVISION};

/// Largest `limit` of the statistics.
const STATS_LIMIT_MAX: usize = 10_000;
const STATS_LIMIT_DEFAULT: usize = 10;

pub(crate) async fn config(State(state): State<Arc<StatusState>>) -> Response {
    success_json(&json!({ "yaml": &*state.config.load().config_yaml }))
}

pub(crate) async fn flags(State(state): State<Arc<StatusState>>) -> Response {
    let flags: BTreeMap<&str, &str> = state.flags.iter().collect();
    success_json(&flags)
}

/// Our own version, where the reference names the branch that it was built from.
pub(crate) const OWN_VERSION: &str = concat!("narthex-", env!("CARGO_PKG_VERSION"));
fn build() -> Value {
    json!({
        "version": REFERENCE,
        "revision": REVISION,
        "branch": OWN_VERSION,
        "buildUser": "",
        "buildDate": "",
        // There is no Go here.
        "goVersion": "",
    })
}

pub(crate) async fn build_info() -> Response {
    success_json(&build())
}

/// `/version`: the same without the envelope.
pub(crate) async fn version() -> Response {
    format!("{}\n", build()).into_response()
}

pub(crate) async fn runtime_info(State(state): State<Arc<StatusState>>) -> Response {
    let status = state.config.load();
    let folder = std::env::current_dir().map(|folder| folder.to_string_lossy().into_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    success_json(&json!({
        "startTime": rfc3339_nanos(state.start_ms),
        "CWD": folder.unwrap_or_default(),
        "hostname": hostname(),
        "serverTime": rfc3339_nanos(state.clock.now_ms()),
        "reloadConfigSuccess": status.reload_success,
        "lastConfigTime": rfc3339_seconds(status.last_reload_ms),
        "corruptionCount": state.store.corruptions(),
        "goroutineCount": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "GOMAXPROCS": cores,
        // Compat: the reference's largest limit, which means none.
        "GOMEMLIMIT": i64::MAX,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": &*status.retention_text,
    }))
}

/// Go's zero time: what has never happened.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 in UTC, as Go prints times: fractions without trailing zeros.
pub(crate) fn rfc3339_nanos(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string()
}

fn rfc3339_seconds(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How far reading the log has come, in segments; answered while it is read.
pub(crate) async fn wal_replay(State(state): State<Arc<StartState>>) -> Response {
    let (min, max, current) = state.progress.segments();
    success_json(&json!({ "min": min, "max": max, "current": current }))
}

pub(crate) async fn tsdb(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    let limit = match params.get("limit") {
        "" => STATS_LIMIT_DEFAULT,
        text => match text.parse() {
            Ok(limit) if (1..=STATS_LIMIT_MAX).contains(&limit) => limit,
            Ok(limit) if limit > STATS_LIMIT_MAX => {
                return ApiError::bad_data(format_args!("limit must not exceed {STATS_LIMIT_MAX}"))
                    .into_response();
            }
            _ => return ApiError::bad_data("limit must be a positive number").into_response(),
        },
    };
    match blocking(move || Ok::<_, ApiError>(head_statistics(&state, limit))).await {
        Ok(statistics) => success_json(&statistics),
        Err(error) => error.into_response(),
    }
}

fn head_statistics(state: &QueryState, limit: usize) -> Value {
    let head = state.db.head_status(model::labels::METRIC_NAME, limit);
    json!({
        "headStats": {
            "numSeries": head.series,
            "numLabelPairs": head.label_pairs,
            "chunkCount": head.chunks,
            "minTime": head.min_ms,
            "maxTime": head.max_ms,
        },
        "seriesCountByMetricName": stats(&head.series_by_value),
        "labelValueCountByLabelName": stats(&head.values_by_name),
        "memoryInBytesByLabelName": stats(&head.bytes_by_name),
        "seriesCountByLabelValuePair": stats(&head.series_by_pair),
    })
}

fn stats(stats: &[Stat]) -> Vec<Value> {
    stats
        .iter()
        .map(|stat| json!({ "name": stat.name, "value": stat.value }))
        .collect()
}

pub(crate) async fn blocks(State(state): State<Arc<QueryState>>) -> Response {
    let metas: Vec<_> = state.db.blocks().iter().map(|block| block.meta()).collect();
    success_json(&json!({ "blocks": metas.iter().map(|meta| &**meta).collect::<Vec<_>>() }))
}
