//! What the Alertmanager tells about itself, under the reference's names.

mod ledger;

use metrics::{Counter, Family, Gauge, Histogram, Registry, Summary};
use receivers::{Attempt, FailureReason, Integration, KINDS};

pub(crate) use ledger::LedgerStats;

/// Buckets of how long an attempt takes.
const LATENCY_BUCKETS: [f64; 5] = [1.0, 5.0, 10.0, 15.0, 20.0];
/// The API's version, which posts are counted under.
const VERSION: &str = "v2";

/// Labels that metrics have beyond the usual ones (`--enable-feature`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricLabels {
    /// The receiver's name on notifications.
    pub receiver_names: bool,
    /// The alert's name on alerts that were refused.
    pub alert_names: bool,
    /// The group's key on alerts.
    pub group_keys: bool,
}

/// What becomes of alerts and notifications.
#[derive(Clone)]
pub(crate) struct Stats {
    labels: MetricLabels,
    intake: Intake,
    config: ConfigStats,
    sending: Sending,
    /// Groups that there are.
    pub(crate) groups: Gauge,
    /// Alerts that were in no group because there are too many.
    pub(crate) group_limit_reached: Counter,
    /// How long it takes to find an alert's groups.
    pub(crate) processing: Summary,
}

/// Alerts that come in.
#[derive(Clone)]
struct Intake {
    received: Family<Counter>,
    invalid: Counter,
    limited: Family<Counter>,
    writes: Family<Counter>,
}

/// The configuration in force.
#[derive(Clone)]
struct ConfigStats {
    receivers: Gauge,
    integrations: Gauge,
    inhibition_rules: Gauge,
    reloaded: Gauge,
    reloaded_at: Gauge,
}

/// Notifications that go out, and those that do not.
#[derive(Clone)]
struct Sending {
    notifications: Family<Counter>,
    failed: Family<Counter>,
    /// Notifications of ours that went out although a template failed.
    templates_failed: Family<Counter>,
    requests: Family<Counter>,
    requests_failed: Family<Counter>,
    latency: Family<Histogram>,
    suppressed: Family<Counter>,
}

impl Intake {
    fn new(r: &Registry, labels: MetricLabels, per_name_limit: usize) -> Self {
        let limit = r.gauge(
            "alertmanager_alerts_per_alert_limit",
            "Current limit on number of alerts per alert name",
        );
        limit.set(per_name_limit as f64);
        let alert_name: &[&str] = if labels.alert_names { &["alertname"] } else { &[] };
        let invalid = r.counter_vec(
            "alertmanager_alerts_invalid_total",
            "The total number of received alerts that were invalid.",
            &["version"],
        );
        let intake = Intake {
            received: r.counter_vec(
                "alertmanager_alerts_received_total",
                "The total number of received alerts.",
                &["status", "version"],
            ),
            invalid: invalid.with(&[VERSION]),
            limited: r.counter_vec(
                "alertmanager_alerts_limited_total",
                "Total number of alerts that were dropped due to per alert name limit",
                alert_name,
            ),
            writes: r.counter_vec(
                "alertmanager_alerts_subscriber_channel_writes_total",
                "Number of times alerts were written to subscriber channels",
                &["subscriber"],
            ),
        };
        // They appear with zero, so that their rise is seen.
        for status in ["firing", "resolved"] {
            intake.received.with(&[status, VERSION]);
        }
        intake
    }
}

impl ConfigStats {
    fn new(r: &Registry) -> Self {
        r.gauge(
            "alertmanager_cluster_enabled",
            "Indicates whether the clustering is enabled or not.",
        );
        ConfigStats {
            receivers: r.gauge("alertmanager_receivers", "Number of configured receivers."),
            integrations: r.gauge("alertmanager_integrations", "Number of configured integrations."),
            inhibition_rules: r.gauge(
                "alertmanager_inhibition_rules",
                "Number of configured inhibition rules.",
            ),
            reloaded: r.gauge(
                "alertmanager_config_last_reload_successful",
                "Whether the last configuration reload attempt was successful.",
            ),
            reloaded_at: r.gauge(
                "alertmanager_config_last_reload_success_timestamp_seconds",
                "Timestamp of the last successful configuration reload.",
            ),
        }
    }
}

impl Sending {
    fn new(r: &Registry, labels: MetricLabels) -> Self {
        let mut by = vec!["integration"];
        by.extend(labels.receiver_names.then_some("receiver_name"));
        let mut by_reason = by.clone();
        by_reason.push("reason");
        let sending = Sending {
            notifications: r.counter_vec(
                "alertmanager_notifications_total",
                "The total number of attempted notifications.",
                &by,
            ),
            failed: r.counter_vec(
                "alertmanager_notifications_failed_total",
                "The total number of failed notifications.",
                &by_reason,
            ),
            templates_failed: r.counter_vec(
                "narthex_alertmanager_notification_template_failures_total",
                "Notifications that were sent although a template of them failed: with the default text.",
                &["receiver", "integration"],
            ),
            requests: r.counter_vec(
                "alertmanager_notification_requests_total",
                "The total number of attempted notification requests.",
                &by,
            ),
            requests_failed: r.counter_vec(
                "alertmanager_notification_requests_failed_total",
                "The total number of failed notification requests.",
                &by,
            ),
            latency: r.histogram_vec(
                "alertmanager_notification_latency_seconds",
                "The latency of notifications in seconds.",
                &by,
                &LATENCY_BUCKETS,
            ),
            suppressed: r.counter_vec(
                "alertmanager_notifications_suppressed_total",
                "The total number of notifications suppressed for being silenced, inhibited, outside of active time \
                 intervals or within muted time intervals.",
                &["reason"],
            ),
        };
        if !labels.receiver_names {
            for kind in KINDS {
                sending.announce(&[kind.name]);
            }
        }
        sending
    }

    /// Makes counters appear with zero, so that their rise is seen.
    fn announce(&self, by: &[&str]) {
        for family in [&self.notifications, &self.requests, &self.requests_failed] {
            family.with(by);
        }
        self.latency.with(by);
        for reason in FailureReason::ALL {
            let reason = reason.to_string();
            let mut by_reason = by.to_vec();
            by_reason.push(&reason);
            self.failed.with(&by_reason);
        }
    }

    fn clear(&self) {
        for family in [
            &self.notifications,
            &self.requests,
            &self.requests_failed,
            &self.failed,
        ] {
            family.clear();
        }
        self.latency.clear();
    }
}

impl Stats {
    pub(crate) fn new(r: &Registry, labels: MetricLabels, per_name_limit: usize) -> Self {
        // What cannot happen here: nobody else puts a group where one is to be put.
        r.counter(
            "alertmanager_dispatcher_aggregation_group_creation_retries_total",
            "Number of CAS retries while creating aggregation groups under contention.",
        );
        r.counter(
            "alertmanager_dispatcher_aggregation_group_creation_given_up_total",
            "Number of alerts dropped because aggregation group creation exceeded the retry limit.",
        );
        Stats {
            labels,
            intake: Intake::new(r, labels, per_name_limit),
            config: ConfigStats::new(r),
            sending: Sending::new(r, labels),
            groups: r.gauge(
                "alertmanager_dispatcher_aggregation_groups",
                "Number of active aggregation groups",
            ),
            group_limit_reached: r.counter(
                "alertmanager_dispatcher_aggregation_group_limit_reached_total",
                "Number of times when dispatcher failed to create new aggregation group due to limit.",
            ),
            processing: r.summary(
                "alertmanager_dispatcher_alert_processing_duration_seconds",
                "Summary of latencies for the processing of alerts.",
                &[],
            ),
        }
    }

    /// A configuration is in force.
    pub(crate) fn configured(
        &self,
        receivers: usize,
        integrations: &[&Integration],
        rules: usize,
        now_s: f64,
    ) {
        self.config.receivers.set(receivers as f64);
        self.config.integrations.set(integrations.len() as f64);
        self.config.inhibition_rules.set(rules as f64);
        self.config.reloaded.set(1.0);
        self.config.reloaded_at.set(now_s);
        if self.labels.receiver_names {
            // Receivers come and go with the configuration.
            self.sending.clear();
            for integration in integrations {
                self.sending
                    .announce(&[integration.kind(), integration.receiver()]);
            }
        }
    }

    /// A configuration could not be used.
    pub(crate) fn refused_config(&self) {
        self.config.reloaded.set(0.0);
    }

    /// An alert came in.
    pub(crate) fn received(&self, is_resolved: bool) {
        let status = if is_resolved { "resolved" } else { "firing" };
        self.intake.received.with(&[status, VERSION]).inc();
    }

    /// It made no sense.
    pub(crate) fn invalid(&self) {
        self.intake.invalid.inc();
    }

    /// It was refused because there are too many.
    pub(crate) fn limited(&self, alert_name: &str) {
        let by: &[&str] = if self.labels.alert_names {
            &[alert_name]
        } else {
            &[]
        };
        self.intake.limited.with(by).inc();
    }

    /// Alerts were handed to the inhibitor and the dispatcher.
    pub(crate) fn handed_on(&self, alerts: usize) {
        for subscriber in ["dispatcher", "inhibitor"] {
            self.intake.writes.with(&[subscriber]).add(alerts as f64);
        }
    }

    /// Nobody was told of alerts.
    pub(crate) fn suppressed(&self, reason: &str, alerts: usize) {
        if alerts > 0 {
            self.sending.suppressed.with(&[reason]).add(alerts as f64);
        }
    }

    /// Somebody is about to be told.
    pub(crate) fn notified(&self, integration: &Integration) {
        self.sending.notifications.with(&self.by(integration)).inc();
    }

    /// It was tried.
    pub(crate) fn attempted(&self, integration: &Integration, attempt: Attempt<'_>) {
        let by = self.by(integration);
        self.sending.latency.with(&by).observe(attempt.took.as_secs_f64());
        self.sending.requests.with(&by).inc();
        if attempt.failure.is_some() {
            self.sending.requests_failed.with(&by).inc();
        }
    }

    /// It was given up.
    pub(crate) fn failed(&self, integration: &Integration, reason: FailureReason) {
        let reason = reason.to_string();
        let mut by = self.by(integration);
        by.push(&reason);
        self.sending.failed.with(&by).inc();
    }

    /// It went out although a template failed.
    pub(crate) fn template_failed(&self, integration: &Integration) {
        self.sending
            .templates_failed
            .with(&[integration.receiver(), integration.kind()])
            .inc();
    }

    fn by<'i>(&self, integration: &'i Integration) -> Vec<&'i str> {
        let mut by = vec![integration.kind()];
        by.extend(self.labels.receiver_names.then(|| integration.receiver()));
        by
    }
}
