//! `/api/v2/alerts`: what is held, and taking more in.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use notify::matcher::Syntax;
use notify::{AlertFilter, AlertView};
use serde::{Serialize, Serializer};

use super::answer::{Fault, json};
use super::request::{JsonBody, Query, TakesJson};
use super::state::AlertmanagerState;
use super::{decode, time};
use crate::web::answer::blocking;

/// `GET`: alerts that are not resolved, by their fingerprints.
pub(super) async fn list(
    State(state): State<Arc<AlertmanagerState>>,
    _: TakesJson,
    query: Query,
) -> Result<Response, Fault> {
    let alertmanager = state.alertmanager()?;
    let filter = filter(&query, alertmanager.syntax())?;
    blocking(move || {
        let views = alertmanager.alerts(&filter);
        Ok(json(&views.iter().map(ShownAlert::new).collect::<Vec<_>>()))
    })
    .await
}

/// `POST`: takes alerts in. Good ones are taken though others be bad.
pub(super) async fn post(
    State(state): State<Arc<AlertmanagerState>>,
    body: JsonBody,
) -> Result<Response, Fault> {
    let alertmanager = state.alertmanager()?;
    blocking(move || {
        let alerts = decode::alerts(&body.bytes)?;
        alertmanager.post(alerts).map_err(Fault::bad)?;
        Ok(StatusCode::OK.into_response())
    })
    .await
}

/// What of alerts and groups is asked for.
pub(super) fn filter(query: &Query, syntax: Syntax) -> Result<AlertFilter, Fault> {
    Ok(AlertFilter {
        matchers: query.filter(syntax)?,
        receiver: query.receiver()?,
        receiver_matchers: query.receiver_matchers(syntax)?,
        active: query.switch("active"),
        silenced: query.switch("silenced"),
        inhibited: query.switch("inhibited"),
        muted: query.switch("muted"),
    })
}

/// An alert as the API shows it, in the reference's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownAlert<'v> {
    annotations: &'v BTreeMap<String, String>,
    ends_at: String,
    fingerprint: String,
    receivers: Vec<Named<'v>>,
    starts_at: String,
    status: ShownStatus<'v>,
    updated_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'v str,
    labels: ShownLabels<'v>,
}

/// Something that is known by its name alone.
#[derive(Serialize)]
pub(super) struct Named<'v> {
    pub(super) name: &'v str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownStatus<'v> {
    inhibited_by: &'v [String],
    muted_by: &'v [String],
    silenced_by: &'v [String],
    state: &'static str,
}

/// Labels as a JSON object.
pub(super) struct ShownLabels<'v>(pub(super) &'v model::labels::Labels);

impl Serialize for ShownLabels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0)
    }
}

impl<'v> ShownAlert<'v> {
    pub(super) fn new(view: &'v AlertView) -> Self {
        let alert = &view.alert;
        ShownAlert {
            annotations: &alert.annotations,
            ends_at: time::text(alert.ends_at, alert.offsets.ends_at),
            fingerprint: format!("{:016x}", alert.fingerprint),
            receivers: view.receivers.iter().map(|name| Named { name }).collect(),
            starts_at: time::text(alert.starts_at, alert.offsets.starts_at),
            status: ShownStatus {
                inhibited_by: &view.inhibited_by,
                muted_by: &view.muted_by,
                silenced_by: &view.silenced_by,
                state: if view.is_suppressed() {
                    "suppressed"
                } else {
                    "active"
                },
            },
            updated_at: time::utc_text(alert.updated_at),
            generator_url: &alert.generator_url,
            labels: ShownLabels(&alert.labels),
        }
    }
}
