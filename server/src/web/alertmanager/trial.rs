//! `/api/v2/receivers/{name}/preview` and `…/test`, which are ours: what a receiver would send, and sending it once.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use notify::matcher::{Matchers, Syntax};
use notify::{
    Alertmanager, IntegrationPreview, IntegrationTrial, PreparedTrial, Trial, TrialAlerts, TrialError,
};
use receivers::rehearsal::Rendered;
use receivers::{Outgoing, Preview};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::Handle;

use super::answer::{Fault, json};
use super::decode;
use super::request::JsonBody;
use super::state::AlertmanagerState;
use crate::web::answer::blocking;
use crate::web::auth::scope::Asker;

/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Names of the samples, in their order.
const SAMPLES: [&str; 4] = ["firing", "resolved", "several", "bare"];

/// What is to be tried; nothing need be said.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    integration: Option<String>,
    /// A text that is rendered in the place of the receiver's; preview only.
    template: Option<String>,
    html: bool,
    /// Alerts as they are posted.
    alerts: Option<Value>,
    /// Matchers of alerts that fire.
    filter: Option<Vec<String>>,
    sample: Option<String>,
}

impl Asked {
    fn read(body: &[u8]) -> Result<Self, Fault> {
        if body.len() > BODY_BYTES_MAX {
            let message = format!("request body too large: it may have {BODY_BYTES_MAX} bytes");
            return Err(Fault::Request(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        if body.trim_ascii().is_empty() {
            return Ok(Asked::default());
        }
        serde_json::from_slice(body)
            .map_err(|error| Fault::bad(format_args!("the body cannot be read: {error}")))
    }

    fn trial(&self, receiver: String, syntax: Syntax) -> Result<Trial, Fault> {
        let alerts = match (&self.alerts, &self.filter, self.sample.as_deref()) {
            (Some(alerts), None, None) => {
                let body = serde_json::to_vec(alerts).unwrap_or_default();
                TrialAlerts::Posted(decode::alerts(&body)?)
            }
            (None, Some(filter), None) => {
                let matchers = filter.iter().map(|text| syntax.matcher(text));
                TrialAlerts::Held(matchers.collect::<Result<Matchers, _>>().map_err(Fault::bad)?)
            }
            (None, None, sample) => {
                let name = sample.unwrap_or(SAMPLES[0]);
                let number = SAMPLES.iter().position(|known| *known == name);
                TrialAlerts::Sample(number.ok_or_else(|| {
                    let known = SAMPLES.join(", ");
                    Fault::bad(format_args!("unknown sample {name:?}: there are {known}"))
                })?)
            }
            _ => return Err(Fault::bad("alerts, filter and sample exclude each other")),
        };
        Ok(Trial {
            receiver,
            integration: self.integration.clone(),
            alerts,
        })
    }
}

fn prepare(alertmanager: &Alertmanager, asked: &Asked, receiver: String) -> Result<PreparedTrial, Fault> {
    let trial = asked.trial(receiver, alertmanager.syntax())?;
    alertmanager.prepare_trial(trial).map_err(|error| {
        let status = match &error {
            TrialError::NoReceiver { .. } | TrialError::NoIntegration { .. } => StatusCode::NOT_FOUND,
            TrialError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            TrialError::Build(_) | TrialError::Unconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Fault::Asked(status, error.to_string())
    })
}

/// `POST …/preview`: what would be sent.
pub(super) async fn preview(
    State(state): State<Arc<AlertmanagerState>>,
    Path(receiver): Path<String>,
    body: JsonBody,
) -> Result<Response, Fault> {
    let (alertmanager, asked) = (state.alertmanager()?, Asked::read(&body.bytes)?);
    let runtime = Handle::current();
    blocking(move || {
        let prepared = prepare(&alertmanager, &asked, receiver)?;
        let alert_count = prepared.notification().alerts.len();
        if let Some(text) = &asked.template {
            let (text, error) = match prepared.render(text, asked.html).outcome {
                Ok(text) => (Some(text), None),
                Err(error) => (None, Some(error.to_string())),
            };
            return Ok(json(&ShownRendering {
                alert_count,
                text,
                error,
            }));
        }
        // Nothing of it waits for a network.
        let previews = runtime.block_on(prepared.preview());
        Ok(json(&ShownPreviews {
            alert_count,
            integrations: previews.iter().map(ShownPreview::new).collect(),
            templates: prepared.texts().iter().map(ShownText::new).collect(),
        }))
    })
    .await
}

/// `POST …/test`: sends it once, and tells what became of it.
pub(super) async fn send(
    State(state): State<Arc<AlertmanagerState>>,
    asker: Option<Extension<Asker>>,
    Path(receiver): Path<String>,
    body: JsonBody,
) -> Result<Response, Fault> {
    let (alertmanager, asked) = (state.alertmanager()?, Asked::read(&body.bytes)?);
    if asked.template.is_some() {
        return Err(Fault::bad(
            "template is for previews: what is sent is what the configuration says",
        ));
    }
    let by = asker.as_ref().map(|Extension(Asker(name))| &**name);
    tracing::info!(receiver, by, "Somebody tries a receiver");
    let preparing = alertmanager.clone();
    let prepared = crate::web::answer::blocking(move || prepare(&preparing, &asked, receiver)).await?;
    let sent = alertmanager.send_trial(prepared).await;
    let shown: Vec<_> = sent.iter().map(ShownTrial::new).collect();
    Ok(json(&shown))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownPreviews<'p> {
    alert_count: usize,
    integrations: Vec<ShownPreview<'p>>,
    templates: Vec<ShownText<'p>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownPreview<'p> {
    integration: &'p str,
    outgoing: Vec<ShownOutgoing<'p>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_error: &'p Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum ShownOutgoing<'p> {
    #[serde(rename_all = "camelCase")]
    Request {
        method: &'p str,
        url: &'p str,
        content_type: &'p str,
        body: &'p str,
    },
    Mail {
        from: &'p str,
        to: &'p str,
        content: &'p str,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownText<'p> {
    place: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownRendering {
    alert_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownTrial<'p> {
    integration: &'p str,
    /// `false` also where nothing was to be sent, as it is not told of resolved alerts.
    sent: bool,
    took_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_error: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Of one that failed: whether a notification would be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<bool>,
}

impl<'p> ShownPreview<'p> {
    fn new(shown: &'p IntegrationPreview) -> Self {
        let Preview {
            outgoing,
            template_error,
            failure,
        } = &shown.preview;
        ShownPreview {
            integration: &shown.integration,
            outgoing: outgoing.iter().map(ShownOutgoing::new).collect(),
            template_error,
            error: failure.as_ref().map(ToString::to_string),
        }
    }
}

impl<'p> ShownOutgoing<'p> {
    fn new(outgoing: &'p Outgoing) -> Self {
        match outgoing {
            Outgoing::Request {
                method,
                url,
                content_type,
                body,
            } => ShownOutgoing::Request {
                method,
                url,
                content_type,
                body,
            },
            Outgoing::Mail { from, to, content } => ShownOutgoing::Mail { from, to, content },
        }
    }
}

impl<'p> ShownText<'p> {
    fn new(rendered: &'p Rendered) -> Self {
        ShownText {
            place: &rendered.place,
            text: rendered.outcome.as_deref().ok(),
            error: rendered.outcome.as_ref().err().map(ToString::to_string),
        }
    }
}

impl<'p> ShownTrial<'p> {
    fn new(trial: &'p IntegrationTrial) -> Self {
        let (delivered, failure) = match &trial.outcome {
            Ok(delivered) => (Some(delivered), None),
            Err(undelivered) => (None, Some(&undelivered.failure)),
        };
        ShownTrial {
            integration: &trial.integration,
            sent: delivered.is_some_and(|delivered| delivered.attempts > 0),
            took_ms: trial.took.as_millis(),
            template_error: delivered.and_then(|delivered| delivered.template_error.as_deref()),
            error: failure.map(ToString::to_string),
            retry: failure.map(|failure| failure.retry),
        }
    }
}
