//! Telling: each integration what it does not know yet, by the log of notifications.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;
use model::labels::Labels;
use receivers::{
    Delivered, FailureReason, Integration, Memory, Notification, NotifyReason, Undelivered,
    deliver_despite_templates,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::groups::Look;
use super::pipeline::{Pipeline, Way};
use crate::alert::{StoredAlert, by_job};
use crate::lease::Permit;
use crate::log::{Entry, LogKey, Told, alert_number, reason};
use crate::observer::Outcome;
use crate::route::Route;

/// What is to be told to all integrations of a receiver, and until when.
struct Telling<'a> {
    way: &'a Way<'a>,
    /// The reason is each integration's own.
    notification: Notification,
    told: Told,
    deadline: Instant,
    stop: &'a CancellationToken,
}

/// What those who have to be told know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Knowledge {
    /// All there is.
    All,
    /// Not all: sending failed.
    Less,
    /// Not all: who holds the lease sends.
    HeldBack,
}

impl Pipeline {
    /// Tells all integrations of the receiver at the same time; gives what they know then, the least of them.
    pub(super) async fn tell(&self, way: &Way<'_>, deadline: Instant, stop: &CancellationToken) -> Knowledge {
        let Some(integrations) = self.integrations.get(&way.route.options.receiver) else {
            return Knowledge::All;
        };
        let alerts: Vec<receivers::Alert> = way.alerts.iter().map(|alert| alert.told(way.at)).collect();
        let telling = Telling {
            way,
            told: numbers(&alerts),
            notification: Notification {
                route_labels: self.route_labels(way.route, way.look, way.at),
                alerts: Arc::new(alerts),
                ..blank(way.route, way.look, way.at)
            },
            deadline,
            stop,
        };
        let telling = &telling;
        let tell = |integration| async move {
            // A receiver that panics fails alone.
            let told = self.tell_one(telling, integration);
            let told = self.around.supervisor.round("notification", told).await;
            told.unwrap_or(Knowledge::Less)
        };
        let told = join_all(integrations.iter().map(tell)).await;
        told.into_iter().max().unwrap_or(Knowledge::All)
    }

    /// Tells a receiver of an alert that is in no group: of what the Alertmanager itself has to say, once. Whether all who
    /// had to be told were.
    pub(crate) async fn tell_apart(
        &self,
        receiver: &str,
        route: &str,
        labels: Labels,
        alert: Arc<StoredAlert>,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> bool {
        let route = Route::apart(route, receiver);
        let look = Look {
            route: 0,
            key: Arc::from(format!("{}:{labels}", route.key)),
            labels,
            alerts: vec![alert],
        };
        let way = Way::new(&look, &route, self.around.now());
        self.tell(&way, deadline, stop).await == Knowledge::All
    }

    /// Tells one integration what it does not know; gives what it knows then, as far as the log has it on the disk.
    async fn tell_one(&self, telling: &Telling<'_>, integration: &Integration) -> Knowledge {
        let Telling { way, told, .. } = telling;
        let (name, log) = (integration.name(), &self.around.log);
        let key = LogKey {
            group: telling.notification.group_key.clone(),
            receiver: integration.receiver().to_owned(),
            kind: integration.kind().to_owned(),
            index: integration.index() as u32,
        };
        let _claim = tokio::select! {
            claim = log.claim(&key) => claim,
            () = telling.stop.cancelled() => return Knowledge::Less,
            () = tokio::time::sleep_until(telling.deadline) => return Knowledge::Less,
        };
        // Asked first: who has it knows what was sent before.
        let permit = self.around.seat.permit();
        let last = log.last(&key);
        let last_term = last.as_ref().map_or(0, |last| last.term);
        let repeat = telling.notification.repeat_interval;
        let Some(reason) = reason(last.as_deref(), told, integration.send_resolved(), repeat, way.at) else {
            let outcome = Outcome::Known {
                integration: &name,
                alerts: &telling.notification.alerts,
            };
            self.observe(way, outcome);
            return Knowledge::All;
        };
        let Some(permit) = permit else {
            let outcome = Outcome::LeftToHolder {
                integration: &name,
                is_holder_known: self.around.seat.left_to_holder(),
                reason,
                alerts: &telling.notification.alerts,
            };
            self.observe(way, outcome);
            return Knowledge::HeldBack;
        };
        let mut memory = match &last {
            Some(last) if reason != NotifyReason::First => last.memory.clone(),
            _ => Memory::new(),
        };
        let delivered = match self
            .send(telling, integration, reason, &mut memory, &permit)
            .await
        {
            Ok(delivered) => delivered,
            Err(undelivered) => {
                let outcome = Outcome::Failed {
                    integration: &name,
                    reason,
                    attempts: undelivered.attempts,
                    alerts: &telling.notification.alerts,
                    failure: &undelivered.failure,
                };
                self.observe(way, outcome);
                return match permit.over.is_cancelled() {
                    true => Knowledge::HeldBack,
                    false => Knowledge::Less,
                };
            }
        };
        let entry = Entry {
            key,
            timestamp: self.around.now(),
            firing: told.firing.clone(),
            resolved: told.resolved.clone(),
            memory,
            expires_at: way.at,
            term: last_term.max(permit.term.unwrap_or(0)),
        };
        let entered = log.enter(entry, repeat).await;
        if let Err(error) = &entered {
            let key = &telling.notification.group_key;
            tracing::error!(aggrGroup = %key, err = %error, "A notification was sent, and is not in the log on the disk");
        }
        let outcome = Outcome::Sent {
            integration: &name,
            reason,
            attempts: delivered.attempts,
            alerts: &telling.notification.alerts,
            template_error: delivered.template_error.as_deref(),
            is_durable: entered.is_ok(),
        };
        self.observe(way, outcome);
        match entered {
            Ok(()) => Knowledge::All,
            Err(_) => Knowledge::Less,
        }
    }

    /// Delivers, and counts. Breaks off when the leave to send ends.
    async fn send(
        &self,
        telling: &Telling<'_>,
        integration: &Integration,
        reason: NotifyReason,
        memory: &mut Memory,
        permit: &Permit,
    ) -> Result<Delivered, Undelivered> {
        let notification = Notification {
            reason,
            ..telling.notification.clone()
        };
        let stats = &self.around.stats;
        stats.notified(integration);
        let mut count = |attempt: receivers::Attempt<'_>| stats.attempted(integration, attempt);
        let (deadline, stop) = (telling.deadline, telling.stop.child_token());
        let delivering =
            deliver_despite_templates(integration, &notification, memory, deadline, &stop, &mut count);
        let ending = async {
            permit.over.cancelled().await;
            stop.cancel();
            std::future::pending().await
        };
        let delivered = tokio::select! {
            biased;
            delivered = delivering => delivered,
            never = ending => never,
        };
        let delivered = delivered.inspect(|delivered| {
            if let Some(error) = &delivered.template_error {
                stats.template_failed(integration);
                say_of_template(&notification, integration, error);
            }
        });
        delivered.inspect_err(|undelivered| {
            stats.failed(integration, undelivered.failure.reason);
            let key = &notification.group_key;
            if undelivered.failure.reason == FailureReason::ContextCanceled {
                tracing::debug!(aggrGroup = %key, err = %undelivered, "Notify for alerts failed");
            } else {
                tracing::error!(aggrGroup = %key, err = %undelivered, "Notify for alerts failed");
            }
        })
    }

    /// The labels that a node adds to a group, rendered for all its alerts, suppressed ones among them.
    pub(super) fn route_labels(
        &self,
        route: &Route,
        look: &Look,
        now: Timestamp,
    ) -> BTreeMap<String, String> {
        let raw = &route.options.labels;
        if raw.is_empty() {
            return BTreeMap::new();
        }
        let mut alerts = look.alerts.clone();
        alerts.sort_by(|a, b| by_job(&a.labels, &b.labels));
        let mut notification = blank(route, look, now);
        notification.alerts = Arc::new(alerts.iter().map(|alert| alert.told(now)).collect());
        let mut data = self.templates.data(&notification);
        // Compat: labels do not depend on the reason (`labels` in the reference's documentation of routes).
        data.reason = "unknown".to_owned();
        let (labels, failed) = self.templates.route_labels(raw, data, now);
        for (label, error) in failed {
            tracing::error!(aggrGroup = %look.key, label, err = %error, "failed to render route label");
        }
        labels
    }
}

fn say_of_template(notification: &Notification, integration: &Integration, error: &str) {
    tracing::error!(
        receiver = integration.receiver(),
        integration = integration.name(),
        aggrGroup = notification.group_key,
        err = error,
        "A template of a notification failed; it was sent with the default text, or without what the template makes"
    );
}

/// What a group's receiver is told, without alerts, and with the node's labels as they are written.
fn blank(route: &Route, look: &Look, now: Timestamp) -> Notification {
    Notification {
        receiver: route.options.receiver.clone(),
        group_key: look.key.to_string(),
        group_labels: look.labels.clone(),
        route_labels: route.options.labels.clone(),
        alerts: Arc::default(),
        reason: NotifyReason::First,
        now,
        repeat_interval: route.options.repeat_interval,
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
