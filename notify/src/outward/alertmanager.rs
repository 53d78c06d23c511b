//! Sending to one Alertmanager: `POST /api/v2/alerts`.

use std::time::Duration;

use httpclient::{HttpClient, Request};
use model::alert::Alert;
use model::labels::Labels;
use serde_json::{Map, Value, json};
use url::Url;

use super::queue::{Deliver, DeliveryError};

/// One Alertmanager.
pub(crate) struct Alertmanager {
    pub(crate) client: HttpClient,
    pub(crate) url: Url,
    pub(crate) timeout: Duration,
}

impl Deliver for Alertmanager {
    async fn deliver(&self, alerts: Vec<Alert>) -> Result<(), DeliveryError> {
        let body: Vec<Value> = alerts.iter().map(to_json).collect();
        post(&self.client, &self.url, self.timeout, &Value::Array(body)).await
    }
}

/// Posts JSON; any 2xx is a success.
pub(crate) async fn post(
    client: &HttpClient,
    url: &Url,
    timeout: Duration,
    body: &Value,
) -> Result<(), DeliveryError> {
    // Repeating does no harm: the receiver knows an alert by its labels, so that saying it twice is saying it once.
    let request = Request::post(url.clone(), "application/json", body.to_string())
        .timeout(timeout)
        .repeatable();
    let answer = client.send(&request).await?;
    let status = answer.status();
    answer.discard().await;
    if status.is_success() {
        Ok(())
    } else {
        Err(DeliveryError::Refused(status))
    }
}

fn to_json(alert: &Alert) -> Value {
    json!({
        "labels": pairs(&alert.labels),
        "annotations": pairs(&alert.annotations),
        "startsAt": time_text(alert.starts_at_ms),
        "endsAt": time_text(alert.ends_at_ms),
        "generatorURL": alert.generator_url,
    })
}

/// A label set as a JSON object.
pub(crate) fn pairs(labels: &Labels) -> Value {
    Value::Object(
        labels
            .iter()
            .map(|(n, v)| (n.to_owned(), Value::from(v)))
            .collect::<Map<_, _>>(),
    )
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn time_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}
