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
use receivers::fingerprint;
use serde_json::{Value, json};
use url::Url;

use super::alertmanager::{pairs, post, time_text};
use super::queue::{Deliver, DeliveryError};

/// Most alerts whose last message is remembered. Beyond it the oldest are forgotten, and told again when their rule sends
/// them the next time.
const REMEMBERED_MAX: usize = 100_000;
/// How many are forgotten at once, so that not every message looks for the oldest.
const FORGOTTEN_AT_ONCE: usize = REMEMBERED_MAX / 10;
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
    pub(crate) notified: Mutex<NotificationLog>,
}

/// What was last said of each alert.
#[derive(Debug, Default)]
pub(crate) struct NotificationLog {
    entries: HashMap<Labels, LogEntry>,
    /// Number of the next message.
    next: u64,
}

/// What was last said of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogEntry {
    starts_at_ms: i64,
    resolved: bool,
    /// Number of the message that said it.
    message: u64,
}

impl NotificationLog {
    /// Notes that a message has said this of `alerts`.
    fn note(&mut self, alerts: &[Alert], now_ms: i64) {
        for alert in alerts {
            let entry = LogEntry {
                starts_at_ms: alert.starts_at_ms,
                resolved: alert.is_resolved(now_ms),
                message: self.next,
            };
            self.entries.insert(alert.labels.clone(), entry);
        }
        self.next += 1;
        if self.entries.len() > REMEMBERED_MAX {
            self.forget_oldest();
        }
    }

    /// Makes room: of alerts that are resolved there is nothing more to say, so they go first.
    fn forget_oldest(&mut self) {
        let over = self.entries.len() - REMEMBERED_MAX + FORGOTTEN_AT_ONCE;
        let mut ages: Vec<(bool, u64)> = self.entries.values().map(LogEntry::age).collect();
        let (_, last, _) = ages.select_nth_unstable(over - 1);
        let last = *last;
        let mut left = over;
        self.entries.retain(|_, entry| {
            let goes = left > 0 && entry.age() <= last;
            left -= usize::from(goes);
            !goes
        });
    }
}

impl LogEntry {
    /// Sorts what is forgotten first to the front.
    fn age(&self) -> (bool, u64) {
        (!self.resolved, self.message)
    }
}

impl Deliver for Webhook {
    async fn deliver(&self, alerts: Vec<Alert>) -> Result<(), DeliveryError> {
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
        self.notified.lock().note(&changed, now_ms);
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
        let mut log = self.notified.lock();
        let entries = &mut log.entries;
        let mut is_news = |alert: &Alert| match (entries.get(&alert.labels), alert.is_resolved(now_ms)) {
            (None, resolved) => !resolved,
            (Some(before), true) if self.send_resolved => !before.resolved,
            (Some(_), true) => {
                // Nobody is to be told, and when it fires again that is news.
                entries.remove(&alert.labels);
                false
            }
            (Some(before), false) => before.resolved || before.starts_at_ms != alert.starts_at_ms,
        };
        last.into_values().filter(|alert| is_news(alert)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(number: usize, ends_at_ms: i64) -> Alert {
        Alert {
            labels: Labels::from_pairs([("n", number.to_string())]),
            annotations: Labels::empty(),
            starts_at_ms: 0,
            ends_at_ms,
            generator_url: String::new(),
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_go_first() {
        let mut log = NotificationLog::default();
        let resolved_at = REMEMBERED_MAX - 1;
        for number in 0..=REMEMBERED_MAX {
            let ends_at_ms = if number == resolved_at { 0 } else { i64::MAX };
            log.note(&[alert(number, ends_at_ms)], 1);
        }
        assert_eq!(log.entries.len(), REMEMBERED_MAX - FORGOTTEN_AT_ONCE);
        let knows = |number: usize| log.entries.contains_key(&alert(number, 0).labels);
        assert!(!knows(0) && knows(REMEMBERED_MAX) && !knows(resolved_at));
        // All said by one message: any may go, but no more than must.
        let mut log = NotificationLog::default();
        let alerts: Vec<Alert> = (0..=REMEMBERED_MAX).map(|n| alert(n, i64::MAX)).collect();
        log.note(&alerts, 1);
        assert_eq!(log.entries.len(), REMEMBERED_MAX - FORGOTTEN_AT_ONCE);
    }
}
