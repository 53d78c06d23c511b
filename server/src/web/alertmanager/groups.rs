//! `/api/v2/alerts/groups`: alerts as they are grouped for their receivers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use notify::GroupView;
use serde::Serialize;

use super::alerts::{Named, ShownAlert, ShownLabels, filter};
use super::answer::{Fault, json};
use super::request::{Query, TakesJson};
use super::state::AlertmanagerState;
use crate::web::answer::blocking;

/// `GET`: groups with alerts that are asked for.
pub(super) async fn list(
    State(state): State<Arc<AlertmanagerState>>,
    _: TakesJson,
    query: Query,
) -> Result<Response, Fault> {
    let alertmanager = state.alertmanager()?;
    let filter = filter(&query, alertmanager.syntax())?;
    blocking(move || {
        let views = alertmanager.groups(&filter);
        Ok(json(&views.iter().map(ShownGroup::new).collect::<Vec<_>>()))
    })
    .await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownGroup<'v> {
    alerts: Vec<ShownAlert<'v>>,
    labels: ShownLabels<'v>,
    receiver: Named<'v>,
    route_labels: &'v BTreeMap<String, String>,
}

impl<'v> ShownGroup<'v> {
    fn new(view: &'v GroupView) -> Self {
        ShownGroup {
            alerts: view.alerts.iter().map(ShownAlert::new).collect(),
            labels: ShownLabels(&view.labels),
            receiver: Named { name: &view.receiver },
            route_labels: &view.route_labels,
        }
    }
}
