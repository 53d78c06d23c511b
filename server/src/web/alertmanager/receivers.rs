//! `/api/v2/receivers`: whom the configuration knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::answer::{Fault, json};
use super::request::{Query, TakesJson};
use super::state::AlertmanagerState;

#[derive(Serialize)]
struct Shown {
    labels: BTreeMap<String, String>,
    name: String,
}

/// `GET`: receivers whose labels are like what is asked for, in the configuration's order.
pub(super) async fn list(
    State(state): State<Arc<AlertmanagerState>>,
    _: TakesJson,
    query: Query,
) -> Result<Response, Fault> {
    let alertmanager = state.alertmanager()?;
    let wanted = query.receiver_matchers(alertmanager.syntax())?;
    let all = alertmanager.receivers().into_iter();
    let shown = all
        .filter(|receiver| wanted.filter(|name| receiver.labels.get(name).cloned()))
        .map(|receiver| Shown {
            labels: receiver.labels,
            name: receiver.name,
        });
    Ok(json(&shown.collect::<Vec<_>>()))
}
