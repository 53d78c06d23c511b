//! What becomes of a group when it is looked at: inhibition, intervals, silences, then for each integration the log,
//! the delivery, the log again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use model::clock::Clock;
use model::labels::Labels;
use receivers::{Integration, Memory, Notification, NotifyReason, Templates, deliver};
use supervise::Supervisor;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::groups::{Look, MemberState, Seen};
use crate::alert::{StoredAlert, by_job};
use crate::inhibit::Inhibitor;
use crate::interval::NamedIntervals;
use crate::log::{Entry, LogKey, NotificationLog, Told, alert_number, reason};
use crate::observer::{Decision, Observer, Outcome, Suppressor};
use crate::route::{Route, Tree};
use crate::silence::{MuteCache, Silences};
use crate::stats::Stats;

/// The least time that telling may take, however short the group's interval.
const TELLING_MIN: Duration = Duration::from_secs(10);
/// So many alerts are looked at before others have their turn on the thread.
const ALERTS_A_TURN: usize = 256;

/// What lasts from one configuration to the next.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) silences: Arc<Silences>,
    pub(crate) mutes: Arc<MuteCache>,
    pub(crate) log: Arc<NotificationLog>,
    pub(crate) stats: Stats,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) supervisor: Supervisor,
}

impl Surroundings {
    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// What a configuration makes of alerts.
pub(crate) struct Pipeline {
    pub(crate) tree: Tree,
    /// Of the receivers that the tree names.
    pub(crate) integrations: HashMap<String, Vec<Integration>>,
    pub(crate) intervals: HashMap<String, NamedIntervals>,
    pub(crate) inhibitor: Inhibitor,
    pub(crate) templates: Templates,
    pub(crate) around: Surroundings,
}

/// One look at a group on its way through the pipeline.
struct Way<'a> {
    look: &'a Look,
    route: &'a Route,
    at: Timestamp,
    alerts: Vec<Arc<StoredAlert>>,
    states: HashMap<Labels, MemberState>,
}

impl Pipeline {
    /// How long telling a group of a node may take.
    pub(super) fn patience(&self, route: usize) -> Duration {
        self.tree.routes()[route].options.group_interval.max(TELLING_MIN)
    }

    /// Looks at a group, and tells whoever has to be told until `deadline` or until `stop` is cancelled.
    pub(super) async fn run(&self, look: &Look, deadline: Instant, stop: &CancellationToken) -> Seen {
        let at = self.around.now();
        let mut way = Way {
            look,
            route: &self.tree.routes()[look.route],
            at,
            alerts: look.alerts.clone(),
            states: HashMap::with_capacity(look.alerts.len()),
        };
        way.alerts.sort_by(|a, b| by_job(&a.labels, &b.labels));
        let all: Vec<receivers::Alert> = way.alerts.iter().map(|alert| alert.told(at)).collect();
        let resolved: Vec<_> = way
            .alerts
            .iter()
            .filter(|alert| alert.is_resolved(at))
            .cloned()
            .collect();
        let mut seen = Seen::default();
        self.inhibit(&mut way).await;
        if !way.alerts.is_empty() {
            seen.muted_by = Some(self.mute(&mut way));
        }
        self.silence(&mut way).await;
        seen.is_told = way.alerts.is_empty() || self.tell(&way, &all, deadline, stop).await;
        if seen.is_told {
            seen.done_with = resolved;
        }
        seen.states = way.states.into_iter().collect();
        seen
    }

    async fn inhibit(&self, way: &mut Way<'_>) {
        let before = way.alerts.len();
        let mut left = Vec::with_capacity(before);
        for (at, alert) in std::mem::take(&mut way.alerts).into_iter().enumerate() {
            take_turns(at).await;
            match self.inhibitor.inhibiting(&alert.labels, way.at) {
                Some(source) => {
                    way.states.insert(alert.labels.clone(), MemberState::Suppressed);
                    let source = &source.labels;
                    self.suppressed(way, &alert.labels, Suppressor::Inhibition { source });
                }
                None => {
                    way.states.insert(alert.labels.clone(), MemberState::Active);
                    left.push(alert);
                }
            }
        }
        self.around.stats.suppressed("inhibition", before - left.len());
        way.alerts = left;
    }

    /// Takes all alerts away where the node is mute; gives the names of the intervals that make it so.
    fn mute(&self, way: &mut Way<'_>) -> Vec<String> {
        let route = way.route;
        let options = &route.options;
        let active = &options.active_time_intervals;
        if !active.is_empty() && self.inside(active, way.at).is_empty() {
            self.all_suppressed(way, &Suppressor::Inactive { intervals: active });
            return active.clone();
        }
        let muted_by = self.inside(&options.mute_time_intervals, way.at);
        if !muted_by.is_empty() {
            self.all_suppressed(way, &Suppressor::Muted { intervals: &muted_by });
        }
        muted_by
    }

    /// Names of those intervals that an instant is in, once for each time that it is.
    fn inside(&self, names: &[String], at: Timestamp) -> Vec<String> {
        let times = |name: &String| self.intervals.get(name).map_or(0, |named| named.count(at));
        names
            .iter()
            .flat_map(|name| std::iter::repeat_n(name.clone(), times(name)))
            .collect()
    }

    fn all_suppressed(&self, way: &mut Way<'_>, by: &Suppressor<'_>) {
        self.around.stats.suppressed(by.as_str(), way.alerts.len());
        for alert in &std::mem::take(&mut way.alerts) {
            self.suppressed(way, &alert.labels, by.clone());
        }
    }

    async fn silence(&self, way: &mut Way<'_>) {
        let before = way.alerts.len();
        let mut left = Vec::with_capacity(before);
        for (at, alert) in std::mem::take(&mut way.alerts).into_iter().enumerate() {
            take_turns(at).await;
            let ids = self.silencing(&alert.labels, way.at);
            if ids.is_empty() {
                left.push(alert);
                continue;
            }
            way.states.insert(alert.labels.clone(), MemberState::Suppressed);
            self.suppressed(way, &alert.labels, Suppressor::Silences { ids: &ids });
        }
        self.around.stats.suppressed("silence", before - left.len());
        way.alerts = left;
    }

    /// Ids of the active silences that an alert with these labels meets.
    pub(crate) fn silencing(&self, labels: &Labels, at: Timestamp) -> Vec<String> {
        self.around.mutes.silencing(&self.around.silences, labels, at)
    }

    /// Tells all integrations of the receiver at the same time; whether all that had to be were told.
    async fn tell(
        &self,
        way: &Way<'_>,
        all: &[receivers::Alert],
        deadline: Instant,
        stop: &CancellationToken,
    ) -> bool {
        let Some(integrations) = self.integrations.get(&way.route.options.receiver) else {
            return true;
        };
        let alerts: Vec<receivers::Alert> = way.alerts.iter().map(|alert| alert.told(way.at)).collect();
        let told = numbers(&alerts);
        let mut notification = self.notification(way.route, way.look, all.to_vec(), way.at);
        notification.route_labels = self.route_labels(way.route, &notification);
        notification.alerts = Arc::new(alerts);
        let (notification, told) = (&notification, &told);
        let tell = |integration| async move {
            let telling = self.tell_one(way, integration, notification, told, deadline, stop);
            // A receiver that panics fails alone.
            self.around
                .supervisor
                .round("notification", telling)
                .await
                .unwrap_or(false)
        };
        join_all(integrations.iter().map(tell))
            .await
            .into_iter()
            .all(|is_told| is_told)
    }

    async fn tell_one(
        &self,
        way: &Way<'_>,
        integration: &Integration,
        notification: &Notification,
        told: &Told,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> bool {
        let name = integration.name();
        let key = LogKey {
            group: notification.group_key.clone(),
            receiver: integration.receiver().to_owned(),
            kind: integration.kind().to_owned(),
            index: integration.index() as u32,
        };
        let log = &self.around.log;
        let _claim = tokio::select! {
            claim = log.claim(&key) => claim,
            () = stop.cancelled() => return false,
            () = tokio::time::sleep_until(deadline) => return false,
        };
        let last = log.last(&key);
        let repeat = notification.repeat_interval;
        let Some(reason) = reason(last.as_deref(), told, integration.send_resolved(), repeat, way.at) else {
            self.observe(way, Outcome::Known { integration: &name });
            return true;
        };
        let mut memory = match &last {
            Some(last) if reason != NotifyReason::First => last.memory.clone(),
            _ => Memory::new(),
        };
        let mut notification = notification.clone();
        notification.reason = reason;
        self.around.stats.notified(integration);
        let stats = &self.around.stats;
        let mut count = |attempt: receivers::Attempt<'_>| stats.attempted(integration, attempt);
        let outcome = deliver(
            integration,
            &notification,
            &mut memory,
            deadline,
            stop,
            &mut count,
        )
        .await;
        let attempts = match outcome {
            Ok(attempts) => attempts,
            Err(undelivered) => {
                stats.failed(integration, undelivered.failure.reason);
                self.complain(&notification.group_key, &undelivered);
                let (attempts, failure) = (undelivered.attempts, &undelivered.failure);
                let integration = &name;
                self.observe(
                    way,
                    Outcome::Failed {
                        integration,
                        reason,
                        attempts,
                        failure,
                    },
                );
                return false;
            }
        };
        let entry = Entry {
            key,
            timestamp: self.around.now(),
            firing: told.firing.clone(),
            resolved: told.resolved.clone(),
            memory,
            expires_at: way.at,
        };
        let entered = log.enter(entry, repeat).await;
        if let Err(error) = &entered {
            let aggr_group = &notification.group_key;
            tracing::error!(aggrGroup = %aggr_group, err = %error, "A notification was sent, and is not in the log on the disk");
        }
        let outcome = Outcome::Sent {
            integration: &name,
            reason,
            attempts,
            alerts: &notification.alerts,
            is_durable: entered.is_ok(),
        };
        self.observe(way, outcome);
        entered.is_ok()
    }

    fn complain(&self, group_key: &str, undelivered: &receivers::Undelivered) {
        if undelivered.failure.reason == receivers::FailureReason::ContextCanceled {
            tracing::debug!(aggrGroup = group_key, err = %undelivered, "Notify for alerts failed");
        } else {
            tracing::error!(aggrGroup = group_key, err = %undelivered, "Notify for alerts failed");
        }
    }

    /// What a group's receiver is told; the reason and the rendered labels are still to come.
    fn notification(
        &self,
        route: &Route,
        look: &Look,
        alerts: Vec<receivers::Alert>,
        now: Timestamp,
    ) -> Notification {
        Notification {
            receiver: route.options.receiver.clone(),
            group_key: look.key.to_string(),
            group_labels: look.labels.clone(),
            route_labels: Labels::from_pairs(&route.options.labels),
            alerts: Arc::new(alerts),
            reason: NotifyReason::First,
            now,
            repeat_interval: route.options.repeat_interval,
        }
    }

    /// The labels that the node adds, rendered for all alerts of a group.
    fn route_labels(&self, route: &Route, notification: &Notification) -> Labels {
        let raw: &BTreeMap<String, String> = &route.options.labels;
        if raw.is_empty() {
            return Labels::empty();
        }
        let mut data = self.templates.data(notification);
        // Compat: labels are the same whatever the reason (the reference's documentation of `labels`).
        data.reason = "unknown".to_owned();
        let (labels, failed) = self.templates.route_labels(raw, data, notification.now);
        for (label, error) in failed {
            tracing::error!(aggrGroup = %notification.group_key, label, err = %error, "failed to render route label");
        }
        labels
    }

    /// The same for a group that somebody only wants to see.
    pub(super) fn shown_route_labels(&self, route: &Route, look: &Look, now: Timestamp) -> Labels {
        let mut alerts = look.alerts.clone();
        alerts.sort_by(|a, b| by_job(&a.labels, &b.labels));
        let alerts = alerts.iter().map(|alert| alert.told(now)).collect();
        self.route_labels(route, &self.notification(route, look, alerts, now))
    }

    fn suppressed(&self, way: &Way<'_>, alert: &Labels, by: Suppressor<'_>) {
        self.observe(way, Outcome::Suppressed { alert, by });
    }

    fn observe(&self, way: &Way<'_>, outcome: Outcome<'_>) {
        if let Some(observer) = &self.around.observer {
            observer.decided(&Decision {
                at: way.at,
                group_key: &way.look.key,
                group_labels: &way.look.labels,
                route_id: &way.route.id,
                receiver: &way.route.options.receiver,
                outcome,
            });
        }
    }
}

/// Lets others have their turn now and then.
async fn take_turns(at: usize) {
    if at > 0 && at.is_multiple_of(ALERTS_A_TURN) {
        tokio::task::yield_now().await;
    }
}

/// What the log knows the alerts by.
fn numbers(alerts: &[receivers::Alert]) -> Told {
    let mut told = Told::default();
    for alert in alerts {
        let list = match alert.ends_at {
            Some(_) => &mut told.resolved,
            None => &mut told.firing,
        };
        list.push(alert_number(&alert.labels));
    }
    told
}
