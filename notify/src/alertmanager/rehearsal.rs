//! What an Alertmanager would have sent: the same routes, groups, intervals, inhibition and log, at times that are gone.
//!
//! The clock is moved by hand, from one moment at which something is due to the next; nothing is kept on a disk, and
//! receivers write down instead of sending. It is the real thing otherwise, so that there is no second opinion of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use files::MemFiles;
use futures_util::future::BoxFuture;
use metrics::Registry;
use model::alert::{Alert, AlertSink as _};
use model::clock::ManualClock;
use model::labels::Labels;
use model::storage::StorageError;
use parking_lot::Mutex;
use receivers::{Failure, Integration, Memory, Notification, NotifyReason, Receiver};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::{Alertmanager, Options, PrepareError};
use crate::config::Config;
use crate::dispatch::Hand;
use crate::observer::{Decision, Observer, Outcome};

/// Most notifications that are kept; more are only counted.
const NOTIFICATIONS_MAX: usize = 100_000;
/// Most alerts in all of them together.
const ALERTS_MAX: usize = 1_000_000;
/// From one forgetting of what is over to the next.
const UPKEEP_MS: i64 = 30 * 60_000;

/// An Alertmanager at times that are gone.
pub struct Rehearsal {
    alertmanager: Alertmanager,
    hand: Hand,
    clock: Arc<ManualClock>,
    minutes: Arc<Minutes>,
    runtime: Runtime,
    upkeep_at_ms: i64,
}

/// What would have been sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RehearsalReport {
    /// In the order of their times.
    pub notifications: Vec<Rehearsed>,
    /// Notifications that are only counted, because there are so many.
    pub left_out: u64,
    /// How many each receiver would have had.
    pub by_receiver: BTreeMap<String, u64>,
    /// How often an alert was kept back at a look, by why: `inhibition`, `mute_time_interval`, `active_time_interval`.
    pub suppressed: BTreeMap<&'static str, u64>,
}

/// A notification that would have been sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Rehearsed {
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// To whom.
    pub receiver: String,
    /// By which of its integrations: `slack[0]`.
    pub integration: String,
    /// Of which group.
    pub group_labels: Labels,
    /// Why.
    pub reason: NotifyReason,
    /// Alerts of the group that fire, by their labels.
    pub firing: Vec<Labels>,
    /// Those that are resolved.
    pub resolved: Vec<Labels>,
}

/// Why nothing can be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RehearsalError {
    /// The configuration's templates cannot be read.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// There are no threads to be had.
    #[error("no threads: {0}")]
    Threads(#[from] std::io::Error),
    /// What is kept in memory cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Rehearsal {
    /// One with this configuration, whose time is `from_ms`.
    ///
    /// # Errors
    /// When templates cannot be read, or there are no threads.
    pub fn new(mut config: Config, from_ms: i64) -> Result<Self, RehearsalError> {
        // Nobody else takes part.
        config.high_availability = None;
        let (clock, minutes) = (Arc::new(ManualClock::new(from_ms)), Arc::new(Minutes::default()));
        let told: Arc<dyn Receiver> = Arc::new(Silent);
        let build = move |config: &receivers::ReceiverConfig, _: &receivers::Templates| {
            Ok(Integration::all_to(config, &told))
        };
        let options = Options {
            files: Arc::new(MemFiles::new()),
            clock: clock.clone(),
            observer: Some(minutes.clone()),
            ..Options::new("rehearsal", Arc::new(build), Registry::new())
        };
        let hand = Hand {
            origin: Instant::now(),
            origin_ms: from_ms,
        };
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let alertmanager = Alertmanager::open_with(options, Some(hand))?;
        let prepared = alertmanager.prepare(config)?;
        runtime.block_on(async { alertmanager.apply(prepared) });
        Ok(Rehearsal {
            alertmanager,
            hand,
            clock,
            minutes,
            runtime,
            upkeep_at_ms: from_ms.saturating_add(UPKEEP_MS),
        })
    }

    /// Lets time go by until `to_ms`, and groups be looked at when they are due. Not within a runtime.
    pub fn advance(&mut self, to_ms: i64) {
        while self.upkeep_at_ms <= to_ms {
            self.look(self.upkeep_at_ms);
            self.alertmanager.shared.forget_alerts();
            self.alertmanager.shared.maintain_logged();
            self.upkeep_at_ms += UPKEEP_MS;
        }
        self.look(to_ms);
    }

    fn look(&self, to_ms: i64) {
        let (hand, clock) = (self.hand, &self.clock);
        if let Some(running) = self.alertmanager.running() {
            let set = |due: Instant| clock.set(hand.time_ms(due));
            let looking = running.dispatcher.look_by_hand(hand.instant(to_ms), set);
            self.runtime.block_on(looking);
        }
        self.clock.set(to_ms);
    }

    /// Takes in what rules send at `at_ms`, which is no earlier than what was done before.
    pub fn take(&mut self, at_ms: i64, alerts: Vec<Alert>) {
        self.advance(at_ms);
        self.alertmanager.send(alerts);
    }

    /// What would have been sent up to now.
    pub fn report(self) -> RehearsalReport {
        let mut report = std::mem::take(&mut self.minutes.0.lock().report);
        // Integrations of a group are told at the same time, in no order.
        report.notifications.sort_by(|a, b| {
            let order = a.at_ms.cmp(&b.at_ms).then_with(|| a.receiver.cmp(&b.receiver));
            let order = order.then_with(|| a.group_labels.cmp(&b.group_labels));
            order.then_with(|| a.integration.cmp(&b.integration))
        });
        report
    }
}

/// Takes everything and sends nothing.
struct Silent;

impl Receiver for Silent {
    fn notify<'a>(
        &'a self,
        _: &'a Notification,
        _: &'a mut Memory,
        _: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Writes down what is decided.
#[derive(Default)]
struct Minutes(Mutex<Written>);

#[derive(Default)]
struct Written {
    report: RehearsalReport,
    num_alerts: usize,
}

impl Observer for Minutes {
    fn decided(&self, decision: &Decision<'_>) {
        let written = &mut *self.0.lock();
        let report = &mut written.report;
        let (integration, reason, alerts) = match &decision.outcome {
            Outcome::Suppressed { by, .. } => {
                *report.suppressed.entry(by.as_str()).or_default() += 1;
                return;
            }
            // What is not tried is not sent: only resolved alerts, for one that is not told of those.
            Outcome::Sent {
                integration,
                reason,
                attempts: 1..,
                alerts,
                ..
            } => (*integration, *reason, *alerts),
            _ => return,
        };
        *report
            .by_receiver
            .entry(decision.receiver.to_owned())
            .or_default() += 1;
        written.num_alerts += alerts.len();
        if report.notifications.len() >= NOTIFICATIONS_MAX || written.num_alerts > ALERTS_MAX {
            report.left_out += 1;
            return;
        }
        let labels = |is_over: bool| {
            let wanted = alerts.iter().filter(|alert| alert.ends_at.is_some() == is_over);
            wanted.map(|alert| alert.labels.clone()).collect()
        };
        report.notifications.push(Rehearsed {
            at_ms: decision.at.as_millisecond(),
            receiver: decision.receiver.to_owned(),
            integration: integration.to_owned(),
            group_labels: decision.group_labels.clone(),
            reason,
            firing: labels(false),
            resolved: labels(true),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::Syntax;

    const CONFIG: &str = "\
route:
  receiver: team
  group_by: [job]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 1h
  routes:
  - matchers: [severity=page]
    receiver: pager
    mute_time_intervals: [night]
time_intervals:
- name: night
  time_intervals: [{times: [{start_time: '00:00', end_time: '06:00'}]}]
inhibit_rules:
- source_matchers: [alertname=Down]
  target_matchers: [alertname=Slow]
  equal: [job]
receivers:
- name: team
  webhook_configs: [{url: 'http://x.example/', send_resolved: false}, {url: 'http://y.example/'}]
- name: pager
  pagerduty_configs: [{routing_key_file: /not/there}]
";

    fn alert(labels: &[(&str, &str)], starts_at_ms: i64, ends_at_ms: i64) -> Alert {
        Alert {
            labels: Labels::from_pairs(labels.iter().copied()),
            annotations: Labels::empty(),
            starts_at_ms,
            ends_at_ms,
            generator_url: String::new(),
        }
    }

    /// `10:00:30 team webhook[0] first 1+0`
    fn lines(report: &RehearsalReport) -> Vec<String> {
        let show = |told: &Rehearsed| {
            let time = jiff::Timestamp::from_millisecond(told.at_ms).expect("a time");
            let (reason, firing, resolved) = (told.reason.as_str(), told.firing.len(), told.resolved.len());
            let (receiver, integration) = (&told.receiver, &told.integration);
            format!(
                "{} {receiver} {integration} {reason} {firing}+{resolved}",
                time.strftime("%H:%M:%S")
            )
        };
        report.notifications.iter().map(show).collect()
    }

    #[test]
    fn days_pass_by_hand() {
        let ms = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
        let from_ms = ms("2026-05-13T22:00:00Z");
        let config = Config::parse("am.yml", CONFIG, Syntax::Fallback).expect("good");
        let mut rehearsal = Rehearsal::new(config, from_ms).expect("prepared");
        let slow = [("alertname", "Slow"), ("job", "a")];
        let down = [("alertname", "Down"), ("job", "a")];
        let page = [("alertname", "Dead"), ("job", "a"), ("severity", "page")];
        for minute in 0..600 {
            let at_ms = from_ms + minute * 60_000;
            let end_ms = at_ms + 240_000;
            let mut alerts = Vec::new();
            if (10..200).contains(&minute) {
                alerts.push(alert(&slow, from_ms + 600_000, end_ms));
            }
            if (60..100).contains(&minute) {
                alerts.push(alert(&down, from_ms + 3_600_000, end_ms));
            }
            // From half past eleven until two.
            if (90..240).contains(&minute) {
                alerts.push(alert(&page, from_ms + 5_400_000, end_ms));
            }
            if minute == 200 {
                alerts.push(alert(&slow, from_ms + 600_000, at_ms));
            }
            rehearsal.take(at_ms, alerts);
        }
        let report = rehearsal.report();
        let want = [
            "22:10:30 team webhook[0] first notification 1+0",
            "22:10:30 team webhook[1] first notification 1+0",
            // The one that inhibits the other.
            "23:00:30 team webhook[0] new alerts added 1+0",
            "23:00:30 team webhook[1] new alerts added 1+0",
            // From midnight on it is mute.
            "23:30:30 pager pagerduty[0] first notification 1+0",
            "23:45:30 team webhook[0] new alerts added 1+1",
            "23:45:30 team webhook[1] new alerts added 1+1",
            "00:50:30 team webhook[0] repeat interval elapsed 1+0",
            "00:50:30 team webhook[1] repeat interval elapsed 1+0",
            // The other one is not told of resolved alerts.
            "01:20:30 team webhook[1] all alerts resolved 0+1",
        ];
        assert_eq!(lines(&report), want);
        assert!(report.suppressed["inhibition"] > 0 && report.suppressed["mute_time_interval"] > 0);
        assert_eq!(report.by_receiver["pager"], 1);
    }

    #[test]
    fn more_notifications_than_are_kept_are_counted() {
        let minutes = Minutes::default();
        let (at, group_labels) = (jiff::Timestamp::UNIX_EPOCH, Labels::empty());
        for _ in 0..=NOTIFICATIONS_MAX {
            minutes.decided(&Decision {
                at,
                group_key: "{}:{}",
                group_labels: &group_labels,
                route_id: "{}",
                receiver: "team",
                outcome: Outcome::Sent {
                    integration: "webhook[0]",
                    reason: NotifyReason::First,
                    attempts: 1,
                    alerts: &[],
                    is_durable: true,
                    template_error: None,
                },
            });
        }
        let report = &minutes.0.lock().report;
        assert_eq!(
            (report.notifications.len(), report.left_out),
            (NOTIFICATIONS_MAX, 1)
        );
        assert_eq!(report.by_receiver["team"], NOTIFICATIONS_MAX as u64 + 1);
    }
}
