//! History: what happened to alerts, notifications and silences, and why, for asking afterwards.
//!
//! It is told what the rest of the room decides ([`Observer`]) and remembers it on the disk (`segments`), up to an age and up
//! to a number of bytes. What goes on is told once, not at every look (`noted`). The bytes stand in `notify/docs/history.md`.
//!
//! The one decision behind it: nobody waits for it. Whoever tells of something puts it into a queue with a bound; one task
//! writes, and what a disk does not take in time is dropped and counted. So the history may have holes, which the metric
//! `narthex_alertmanager_history_dropped_total` shows, and a notification is never late for its sake.
//!
//! Invariant: in memory are the queue, what has been noted (both bounded) and some numbers a segment; never the history.

mod event;
mod noted;
mod query;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use files::Files;
use jiff::Timestamp;
use metrics::{Counter, Registry};
use model::clock::Clock;
use model::labels::Labels;
use parking_lot::Mutex;
use supervise::Supervisor;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alert::StoredAlert;
use crate::observer::{Decision, Observer, Outcome, Suppressor};
use crate::silence::Silence;
pub use event::{
    AlertChange, AlertState, Event, EventKind, Notified, NotifiedResult, Pairs, SilenceChange, SilenceFate,
    Suppression, ToldAlert, What,
};
use noted::Noted;
pub use query::{HistoryPage, HistoryQuery};
use segments::Segments;

/// The task that writes, in metrics.
const TASK: &str = "alertmanager-history";
/// Where it lies, below the folder of the Alertmanager.
const FOLDER: &str = "history";
/// Most bytes of events that wait to be written; further ones are dropped.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Longest event; one with an alert whose labels are longer is dropped.
const EVENT_BYTES_MAX: usize = 256 << 10;
/// Bytes of events that are written at once, as far as there is no single longer one.
const BATCH_BYTES: usize = 256 << 10;
/// Most alerts of one event; a notification that tells of more is several events.
const EVENT_ALERTS_MAX: usize = 100;
/// How long events are gathered before they are written.
const GATHER: Duration = Duration::from_millis(100);
/// How long a disk that has failed is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// How often what is over is forgotten where nothing is written.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);
/// So many bytes from the new end are read at the start to know which alerts fire.
const SEED_BYTES_MAX: u64 = 4 << 20;

/// How much of the history is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryLimits {
    /// How old events become; zero for no history at all.
    pub age: Duration,
    /// How many bytes it takes on the disk; zero for no history at all.
    pub bytes: u64,
}

/// The history.
pub(crate) struct History {
    segments: Segments,
    queue: Mutex<Queue>,
    /// There is something in the queue.
    more: Notify,
    noted: Mutex<Noted>,
    /// One at a time takes from the queue.
    writing: Mutex<()>,
    age: Duration,
    clock: Arc<dyn Clock>,
    dropped: Counter,
    failures: Counter,
    /// The last attempt failed, and the log has it.
    is_failing: AtomicBool,
}

/// Events that wait, as they are stored.
#[derive(Default)]
struct Queue {
    events: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl History {
    /// Opens the history below `folder`; `None` where none is wanted. A disk that cannot be read costs what it does not
    /// give, and never the start. Not for the network's threads.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        folder: &Path,
        limits: HistoryLimits,
        registry: &Registry,
    ) -> Option<Arc<Self>> {
        if limits.age.is_zero() || limits.bytes == 0 {
            return None;
        }
        let history = Arc::new(History {
            segments: Segments::open(files, clock.clone(), folder.join(FOLDER), limits.bytes),
            queue: Mutex::default(),
            more: Notify::new(),
            noted: Mutex::default(),
            writing: Mutex::new(()),
            age: limits.age,
            clock,
            dropped: registry.counter(
                "narthex_alertmanager_history_dropped_total",
                "Events of the history of alerts that were dropped, since the disk did not take them in time or they were \
                 too long.",
            ),
            failures: registry.counter(
                "narthex_alertmanager_history_write_failures_total",
                "Attempts to write to the history of alerts that failed.",
            ),
            is_failing: AtomicBool::new(false),
        });
        history.seed();
        let weak = Arc::downgrade(&history);
        registry.gauge_fn(
            "narthex_alertmanager_history_bytes",
            "Bytes that the history of alerts takes on the disk.",
            move || {
                weak.upgrade()
                    .map_or(0.0, |history| history.segments.bytes() as f64)
            },
        );
        Some(history)
    }

    /// Learns from what is stored which alerts fire, so that a restart does not tell of them again.
    fn seed(&self) {
        let query = HistoryQuery {
            kinds: vec![EventKind::Alert],
            ..HistoryQuery::default()
        };
        let page = query::ask(&self.segments, &query, SEED_BYTES_MAX);
        let mut noted = self.noted.lock();
        for event in page.events.into_iter().rev() {
            if let What::Alert(change) = event.what {
                let labels = Labels::from_pairs(&change.labels);
                let state = alert_state(change.state == AlertState::Firing, change.starts_at);
                noted.is_new(alert_key(&labels), state, event.time);
            }
        }
    }

    /// Begins to write. Must be called inside a runtime.
    pub(crate) fn start(self: &Arc<Self>, supervisor: &Supervisor, stop: &CancellationToken) {
        let (history, watching, stopping) = (self.clone(), supervisor.clone(), stop.clone());
        supervisor.spawn(TASK, stop, move || {
            let (history, supervisor, stop) = (history.clone(), watching.clone(), stopping.clone());
            async move {
                let until_stop = stop.cancelled();
                tokio::select! {
                    () = until_stop => {}
                    () = history.write_for_ever(&supervisor) => {}
                }
            }
        });
    }

    async fn write_for_ever(self: &Arc<Self>, supervisor: &Supervisor) {
        loop {
            tokio::select! {
                () = self.more.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(FORGET_INTERVAL) => {}
            }
            loop {
                let writer = self.clone();
                // A panic is counted and logged; what was not written is tried again.
                let done = supervisor.blocking(TASK, move || writer.write_all()).await;
                if done.unwrap_or(false) {
                    break;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Writes what waits, and forgets what is over; whether that went well. Not for the network's threads.
    pub(crate) fn write_all(&self) -> bool {
        let _writing = self.writing.lock();
        let outcome = self.try_write_all();
        match outcome {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("The history of alerts can be written again");
                }
                true
            }
            Err(error) => {
                self.failures.inc();
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        %error,
                        "The history of alerts cannot be written; it is tried again, and what does not fit into memory \
                         meanwhile is dropped"
                    );
                }
                false
            }
        }
    }

    fn try_write_all(&self) -> files::Result<()> {
        loop {
            let batch = self.queue.lock().first();
            if batch.is_empty() {
                break;
            }
            self.segments.write(&batch)?;
            self.queue.lock().remove(batch.len());
            self.forget()?;
        }
        self.forget()
    }

    fn forget(&self) -> files::Result<()> {
        let age_ms = i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX);
        self.segments.forget(self.clock.now_ms().saturating_sub(age_ms))
    }

    /// Events that are asked for. Not for the network's threads.
    pub(crate) fn ask(&self, query: &HistoryQuery) -> HistoryPage {
        let age_ms = i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from_millisecond(self.clock.now_ms().saturating_sub(age_ms)).ok();
        let start = query.start.max(oldest);
        query::ask(
            &self.segments,
            &HistoryQuery {
                start,
                ..query.clone()
            },
            query::SCAN_BYTES_MAX,
        )
    }

    /// When the newest event that is stored happened.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        let newest_ms = self.segments.list().iter().map(|segment| segment.newest_ms).max();
        newest_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
    }

    /// Puts an event where the writer finds it.
    fn tell(&self, at: Timestamp, what: &What) {
        let bytes = what.encode(at);
        let mut queue = self.queue.lock();
        if bytes.len() > EVENT_BYTES_MAX || queue.bytes + bytes.len() > QUEUE_BYTES_MAX {
            self.dropped.inc();
            return;
        }
        queue.bytes += bytes.len();
        queue.events.push_back(bytes);
        drop(queue);
        self.more.notify_one();
    }

    /// The time of day: of a notification, when it is done with, which may be long after its group was looked at.
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Takes note of an alert as it is at `now`.
    pub(crate) fn alert(&self, alert: &StoredAlert, now: Timestamp) {
        let is_resolved = alert.is_resolved(now);
        if !self.is_new(
            alert_key(&alert.labels),
            alert_state(!is_resolved, alert.starts_at),
            now,
        ) {
            return;
        }
        let change = AlertChange {
            state: if is_resolved {
                AlertState::Resolved
            } else {
                AlertState::Firing
            },
            labels: pairs(&alert.labels),
            starts_at: alert.starts_at,
            ends_at: is_resolved.then_some(alert.ends_at),
        };
        self.tell(now, &What::Alert(change));
    }

    /// Takes note of what somebody has done to a silence, or of its end.
    pub(crate) fn silence(
        &self,
        silence: &Silence,
        change: SilenceFate,
        replaces: Option<&str>,
        by: Option<&str>,
        at: Timestamp,
    ) {
        let matchers = silence.matchers.iter().flat_map(|matchers| matchers.iter());
        let what = What::Silence(SilenceChange {
            change,
            silence: silence.id.clone(),
            replaces: replaces.map(str::to_owned),
            by: by.map(str::to_owned),
            created_by: silence.created_by.clone(),
            comment: silence.comment.clone(),
            matchers: matchers.map(ToString::to_string).collect(),
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
        });
        self.tell(at, &what);
    }

    fn is_new(&self, key: impl std::hash::Hash, state: impl std::hash::Hash, at: Timestamp) -> bool {
        self.noted.lock().is_new(key, state, at)
    }

    fn suppressed(&self, decision: &Decision<'_>, alert: &Labels, by: &Suppressor<'_>) {
        let (mut source, mut silences, mut intervals) = (None, Vec::new(), Vec::new());
        match by {
            Suppressor::Inhibition { source: other } => source = Some(pairs(other)),
            Suppressor::Silences { ids } => silences = ids.to_vec(),
            Suppressor::Muted { intervals: names } | Suppressor::Inactive { intervals: names } => {
                intervals = names.to_vec();
            }
        }
        let state = (by.as_str(), &source, &silences, &intervals);
        if !self.is_new(member_key(decision, alert), state, decision.at) {
            return;
        }
        let what = What::Suppressed(Suppression {
            labels: pairs(alert),
            receiver: decision.receiver.to_owned(),
            route: decision.route_id.to_owned(),
            group_key: decision.group_key.to_owned(),
            by: by.as_str().to_owned(),
            source,
            silences,
            intervals,
        });
        self.tell(self.now(), &what);
    }

    /// Tells of a notification, in as many events as its alerts need.
    fn notified(&self, alerts: &[receivers::Alert], notified: Notified) {
        let mut parts = alerts.chunks(EVENT_ALERTS_MAX);
        let mut part = parts.next().unwrap_or_default();
        loop {
            let told = |alert: &receivers::Alert| ToldAlert {
                state: match alert.ends_at {
                    Some(_) => AlertState::Resolved,
                    None => AlertState::Firing,
                },
                labels: pairs(&alert.labels),
            };
            let what = What::Notification(Notified {
                alert_count: alerts.len(),
                alerts: part.iter().map(told).collect(),
                ..notified.clone()
            });
            self.tell(self.now(), &what);
            match parts.next() {
                Some(next) => part = next,
                None => return,
            }
        }
    }
}

impl Observer for History {
    fn decided(&self, decision: &Decision<'_>) {
        let (result, integration, alerts) = match &decision.outcome {
            Outcome::Suppressed { alert, by } => return self.suppressed(decision, alert, by),
            Outcome::Sent {
                integration, alerts, ..
            } => (NotifiedResult::Sent, *integration, *alerts),
            Outcome::Failed {
                integration, alerts, ..
            } => (NotifiedResult::Failed, *integration, *alerts),
            Outcome::LeftToHolder {
                integration,
                is_holder_known,
                alerts,
                ..
            } => {
                let result = match is_holder_known {
                    true => NotifiedResult::Left,
                    false => NotifiedResult::Waiting,
                };
                (result, *integration, *alerts)
            }
            Outcome::Known { integration, alerts } => (NotifiedResult::Unchanged, *integration, *alerts),
        };
        let key = ("integration", decision.group_key, decision.receiver, integration);
        let is_new = self.is_new(key, result, decision.at);
        // What nothing suppresses any more may be suppressed anew.
        for alert in alerts {
            self.is_new(member_key(decision, &alert.labels), (), decision.at);
        }
        let goes_on = matches!(
            result,
            NotifiedResult::Unchanged | NotifiedResult::Left | NotifiedResult::Waiting
        );
        if goes_on && !is_new {
            return;
        }
        let mut notified = Notified {
            result,
            receiver: decision.receiver.to_owned(),
            integration: integration.to_owned(),
            route: decision.route_id.to_owned(),
            group_key: decision.group_key.to_owned(),
            group_labels: pairs(decision.group_labels),
            reason: None,
            attempts: 0,
            error: None,
            template_error: None,
            not_durable: false,
            alert_count: 0,
            alerts: Vec::new(),
        };
        match &decision.outcome {
            Outcome::Sent {
                reason,
                attempts,
                template_error,
                is_durable,
                ..
            } => {
                notified.reason = Some(reason.as_str().to_owned());
                notified.attempts = *attempts;
                notified.template_error = template_error.map(str::to_owned);
                notified.not_durable = !is_durable;
            }
            Outcome::Failed {
                reason,
                attempts,
                failure,
                ..
            } => {
                notified.reason = Some(reason.as_str().to_owned());
                notified.attempts = *attempts;
                notified.error = Some(failure.to_string());
            }
            Outcome::LeftToHolder { reason, .. } => notified.reason = Some(reason.as_str().to_owned()),
            Outcome::Known { .. } | Outcome::Suppressed { .. } => {}
        }
        self.notified(alerts, notified);
    }
}

impl Queue {
    /// What is written next.
    fn first(&self) -> Vec<Vec<u8>> {
        let mut bytes = 0;
        let fits = |event: &&Vec<u8>| {
            let is_first = bytes == 0;
            bytes += event.len();
            is_first || bytes <= BATCH_BYTES
        };
        self.events.iter().take_while(fits).cloned().collect()
    }

    fn remove(&mut self, count: usize) {
        let gone: usize = self.events.drain(..count).map(|event| event.len()).sum();
        self.bytes -= gone;
    }
}

fn pairs(labels: &Labels) -> Pairs {
    labels
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What an alert is known by.
fn alert_key(labels: &Labels) -> (&'static str, &Labels) {
    ("alert", labels)
}

/// What there is to know of it: one that fires again has begun anew.
fn alert_state(fires: bool, starts_at: Timestamp) -> (bool, i128) {
    (fires, starts_at.as_nanosecond())
}

/// What an alert is known by within a group of a receiver: routes beside each other may have groups of one key.
fn member_key<'a>(decision: &'a Decision<'_>, alert: &'a Labels) -> (&'a str, &'a str, &'a str, &'a Labels) {
    ("member", decision.group_key, decision.receiver, alert)
}
