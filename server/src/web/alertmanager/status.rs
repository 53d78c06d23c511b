//! `/api/v2/status`: what this is, since when, and its configuration.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::answer::{Fault, json};
use super::request::TakesJson;
use super::state::AlertmanagerState;
use super::time;
use crate::version::{ALERTMANAGER, REVISION};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    cluster: Cluster,
    config: Config,
    uptime: String,
    version_info: VersionInfo,
}

/// There is none; nor is there anybody to be known to.
#[derive(Serialize)]
struct Cluster {
    peers: [(); 0],
    status: &'static str,
}

#[derive(Serialize)]
struct Config {
    original: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionInfo {
    branch: &'static str,
    build_date: &'static str,
    build_user: &'static str,
    go_version: &'static str,
    revision: &'static str,
    version: &'static str,
}

/// `GET`
pub(super) async fn get(
    State(state): State<Arc<AlertmanagerState>>,
    _: TakesJson,
) -> Result<Response, Fault> {
    let alertmanager = state.alertmanager()?;
    Ok(json(&Status {
        cluster: Cluster {
            peers: [],
            status: "disabled",
        },
        config: Config {
            original: alertmanager.config_text(),
        },
        uptime: time::utc_text(alertmanager.started_at()),
        version_info: VersionInfo {
            branch: crate::web::OWN_VERSION,
            build_date: "",
            build_user: "",
            go_version: "",
            revision: REVISION,
            // Clients decide by it what they may ask for.
            version: ALERTMANAGER,
        },
    }))
}
