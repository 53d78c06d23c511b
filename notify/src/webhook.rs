//! Sending to a plain webhook, in the form of the Alertmanager's webhook receiver (version 4), so that whatever reads
//! those reads ours.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use httpclient::HttpClient;
use model::alert::Alert;
use model::clock::Clock;
use model::labels::Labels;
use parking_lot::Mutex;
use serde_json::{Value, json};
use url::Url;

use crate::alertmanager::{pairs, post, time_text};
use crate::queue::Deliver;

/// Most alerts whose state is remembered; beyond it, changes of the oldest may be told twice.
const REMEMBERED_MAX: usize = 100_000;
/// How Go writes a time that was never set: when a firing alert ends.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Attempts at one message, and the pause after the first, which doubles.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// One webhook and what it has been told.
pub(crate) struct Webhook {
    pub(crate) client: HttpClient,
    pub(crate) url: Url,
    pub(crate) timeout: Duration,
    pub(crate) send_resolved: bool,
    pub(crate) external_url: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) told: Mutex<HashMap<Labels, Told>>,
}

/// What was last said of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    starts_at_ms: i64,
    resolved: bool,
}

impl Deliver for Webhook {
    async fn deliver(&self, alerts: Vec<Alert>) -> Result<(), String> {
        let now_ms = self.clock.now_ms();
        let changed = self.changed(alerts, now_ms);
        if changed.is_empty() {
            return Ok(());
        }
        let message = self.message(&changed, now_ms);
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match post(&self.client, &self.url, self.timeout, &message).await {
                Ok(()) => break,
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        self.remember(&changed, now_ms);
        Ok(())
    }
}

impl Webhook {
    /// Alerts of which something else was said before; the last word on each counts.
    fn changed(&self, alerts: Vec<Alert>, now_ms: i64) -> Vec<Alert> {
        let mut last: BTreeMap<Labels, Alert> = BTreeMap::new();
        for alert in alerts {
            last.insert(alert.labels.clone(), alert);
        }
        let told = self.told.lock();
        let is_news = |alert: &Alert| match (told.get(&alert.labels), alert.is_resolved(now_ms)) {
            (None, resolved) => !resolved,
            (Some(before), true) => self.send_resolved && !before.resolved,
            (Some(before), false) => before.resolved || before.starts_at_ms != alert.starts_at_ms,
        };
        last.into_values().filter(is_news).collect()
    }

    fn remember(&self, alerts: &[Alert], now_ms: i64) {
        let mut told = self.told.lock();
        if told.len() + alerts.len() > REMEMBERED_MAX {
            told.retain(|_, state| !state.resolved);
        }
        for alert in alerts {
            let state = Told {
                starts_at_ms: alert.starts_at_ms,
                resolved: alert.is_resolved(now_ms),
            };
            told.insert(alert.labels.clone(), state);
        }
    }

    fn message(&self, alerts: &[Alert], now_ms: i64) -> Value {
        let firing = alerts.iter().any(|alert| !alert.is_resolved(now_ms));
        let common = |of: fn(&Alert) -> &Labels| {
            let first = of(&alerts[0]);
            let shared = first
                .iter()
                .filter(|(n, v)| alerts.iter().all(|alert| of(alert).get(n) == Some(v)));
            pairs(&Labels::from_sorted(shared))
        };
        let entries: Vec<Value> = alerts.iter().map(|alert| entry(alert, now_ms)).collect();
        json!({
            "version": "4",
            "groupKey": "{}:{}",
            "truncatedAlerts": 0,
            "status": if firing { "firing" } else { "resolved" },
            "receiver": "webhook",
            "groupLabels": {},
            "commonLabels": common(|alert| &alert.labels),
            "commonAnnotations": common(|alert| &alert.annotations),
            "externalURL": self.external_url,
            "alerts": entries,
        })
    }
}

fn entry(alert: &Alert, now_ms: i64) -> Value {
    let resolved = alert.is_resolved(now_ms);
    json!({
        "status": if resolved { "resolved" } else { "firing" },
        "labels": pairs(&alert.labels),
        "annotations": pairs(&alert.annotations),
        "startsAt": time_text(alert.starts_at_ms),
        "endsAt": if resolved { time_text(alert.ends_at_ms) } else { NEVER.to_owned() },
        "generatorURL": alert.generator_url,
        "fingerprint": format!("{:016x}", fingerprint(&alert.labels)),
    })
}

/// The reference's fingerprint of a label set: FNV-1a over names and values, each ended by the byte 255.
fn fingerprint(labels: &Labels) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, value) in labels {
        for byte in name.bytes().chain([255]).chain(value.bytes()).chain([255]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
