//! What the Alertmanager tells about itself, under the reference's names.

use std::time::Instant;

use metrics::{Counter, Family, Gauge, Histogram, Registry, Summary};
use model::storage::StorageError;
use receivers::{Attempt, FailureReason, Integration, KINDS};

/// Buckets of the client library where nobody gives any.
const DEFAULT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
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
    received: Family<Counter>,
    pub(crate) invalid: Counter,
    limited: Family<Counter>,
    writes: Family<Counter>,
    pub(crate) groups: Gauge,
    pub(crate) group_limit_reached: Counter,
    pub(crate) processing: Summary,
    receivers: Gauge,
    integrations: Gauge,
    inhibition_rules: Gauge,
    reloaded: Gauge,
    reloaded_at: Gauge,
    notifications: Family<Counter>,
    failed: Family<Counter>,
    requests: Family<Counter>,
    requests_failed: Family<Counter>,
    latency: Family<Histogram>,
    suppressed: Family<Counter>,
}

impl Stats {
    pub(crate) fn new(registry: &Registry, labels: MetricLabels, per_name_limit: usize) -> Self {
        let r = registry;
        let mut by = vec!["integration"];
        by.extend(labels.receiver_names.then_some("receiver_name"));
        let mut by_reason = by.clone();
        by_reason.push("reason");
        let alert_name: &[&str] = if labels.alert_names { &["alertname"] } else { &[] };
        r.gauge(
            "alertmanager_alerts_per_alert_limit",
            "Current limit on number of alerts per alert name",
        )
        .set(per_name_limit as f64);
        r.gauge(
            "alertmanager_cluster_enabled",
            "Indicates whether the clustering is enabled or not.",
        );
        for (name, help) in [
            (
                "alertmanager_dispatcher_aggregation_group_creation_retries_total",
                "Number of CAS retries while creating aggregation groups under contention.",
            ),
            (
                "alertmanager_dispatcher_aggregation_group_creation_given_up_total",
                "Number of alerts dropped because aggregation group creation exceeded the retry limit.",
            ),
        ] {
            r.counter(name, help);
        }
        let stats = Stats {
            labels,
            received: r.counter_vec(
                "alertmanager_alerts_received_total",
                "The total number of received alerts.",
                &["status", "version"],
            ),
            invalid: r
                .counter_vec(
                    "alertmanager_alerts_invalid_total",
                    "The total number of received alerts that were invalid.",
                    &["version"],
                )
                .with(&[VERSION]),
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
        stats.announce();
        stats
    }

    /// Makes counters appear with zero, so that their rise is seen.
    fn announce(&self) {
        for status in ["firing", "resolved"] {
            self.received.with(&[status, VERSION]);
        }
        if !self.labels.receiver_names {
            for kind in KINDS {
                self.announce_integration(&[kind.name]);
            }
        }
    }

    fn announce_integration(&self, by: &[&str]) {
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

    /// A configuration is in force.
    pub(crate) fn configured(
        &self,
        receivers: usize,
        integrations: &[&Integration],
        rules: usize,
        now_s: f64,
    ) {
        self.receivers.set(receivers as f64);
        self.integrations.set(integrations.len() as f64);
        self.inhibition_rules.set(rules as f64);
        self.reloaded.set(1.0);
        self.reloaded_at.set(now_s);
        if self.labels.receiver_names {
            // Receivers come and go with the configuration.
            for family in [
                &self.notifications,
                &self.requests,
                &self.requests_failed,
                &self.failed,
            ] {
                family.clear();
            }
            self.latency.clear();
            for integration in integrations {
                self.announce_integration(&[integration.kind(), integration.receiver()]);
            }
        }
    }

    /// A configuration could not be used.
    pub(crate) fn refused_config(&self) {
        self.reloaded.set(0.0);
    }

    pub(crate) fn received(&self, is_resolved: bool) {
        let status = if is_resolved { "resolved" } else { "firing" };
        self.received.with(&[status, VERSION]).inc();
    }

    pub(crate) fn limited(&self, alert_name: &str) {
        let by: &[&str] = if self.labels.alert_names {
            &[alert_name]
        } else {
            &[]
        };
        self.limited.with(by).inc();
    }

    /// Alerts were handed to the inhibitor and the dispatcher.
    pub(crate) fn handed_on(&self, alerts: usize) {
        for subscriber in ["dispatcher", "inhibitor"] {
            self.writes.with(&[subscriber]).add(alerts as f64);
        }
    }

    pub(crate) fn suppressed(&self, reason: &str, alerts: usize) {
        if alerts > 0 {
            self.suppressed.with(&[reason]).add(alerts as f64);
        }
    }

    pub(crate) fn notified(&self, integration: &Integration) {
        self.notifications.with(&self.by(integration)).inc();
    }

    pub(crate) fn attempted(&self, integration: &Integration, attempt: Attempt<'_>) {
        let by = self.by(integration);
        self.latency.with(&by).observe(attempt.took.as_secs_f64());
        self.requests.with(&by).inc();
        if attempt.failure.is_some() {
            self.requests_failed.with(&by).inc();
        }
    }

    pub(crate) fn failed(&self, integration: &Integration, reason: FailureReason) {
        let reason = reason.to_string();
        let mut by = self.by(integration);
        by.push(&reason);
        self.failed.with(&by).inc();
    }

    fn by<'i>(&self, integration: &'i Integration) -> Vec<&'i str> {
        let mut by = vec![integration.kind()];
        by.extend(self.labels.receiver_names.then(|| integration.receiver()));
        by
    }
}

/// What happens to silences, or to the log of notifications.
#[derive(Clone)]
pub(crate) struct LedgerStats {
    gc: Summary,
    snapshot: Summary,
    snapshot_bytes: Gauge,
    maintenance: Counter,
    maintenance_errors: Counter,
    queries: Counter,
    query: Histogram,
    scanned: Option<(Counter, Counter)>,
}

impl LedgerStats {
    /// Those of the log.
    pub(crate) fn of_log(registry: &Registry) -> Self {
        LedgerStats::new(registry, "nflog", "notification log", "notification log")
    }

    /// Those of silences.
    pub(crate) fn of_silences(registry: &Registry) -> Self {
        let scanned = registry.counter(
            "alertmanager_silences_query_silences_scanned_total",
            "How many silences were scanned during query evaluation.",
        );
        let skipped = registry.counter(
            "alertmanager_silences_query_silences_skipped_total",
            "How many silences were skipped during query evaluation using the version index.",
        );
        registry.counter(
            "alertmanager_silences_gc_errors_total",
            "How many silence GC errors were encountered.",
        );
        let compile = registry.counter_vec(
            "alertmanager_silences_matcher_compile_errors_total",
            "How many silence matcher compilations failed.",
            &["stage"],
        );
        for stage in ["index", "load_snapshot"] {
            compile.with(&[stage]);
        }
        LedgerStats {
            scanned: Some((scanned, skipped)),
            ..LedgerStats::new(registry, "silences", "silences", "silence")
        }
    }

    fn new(r: &Registry, name: &str, what: &str, one: &str) -> Self {
        let name = |rest: &str| format!("alertmanager_{name}_{rest}");
        for (rest, help) in [
            (
                "query_errors_total",
                format!("How many {one} queries did not succeed."),
            ),
            (
                "gossip_messages_propagated_total",
                "Number of received gossip messages that have been further gossiped.".to_owned(),
            ),
        ] {
            r.counter(&name(rest), &help);
        }
        LedgerStats {
            gc: r.summary(
                &name("gc_duration_seconds"),
                &format!("Duration of the last {one} garbage collection cycle."),
                &[],
            ),
            snapshot: r.summary(
                &name("snapshot_duration_seconds"),
                &format!("Duration of the last {one} snapshot."),
                &[],
            ),
            snapshot_bytes: r.gauge(
                &name("snapshot_size_bytes"),
                &format!("Size of the last {one} snapshot in bytes."),
            ),
            maintenance: r.counter(
                &name("maintenance_total"),
                &format!("How many maintenances were executed for {what}."),
            ),
            maintenance_errors: r.counter(
                &name("maintenance_errors_total"),
                &format!("How many maintenances were executed for {what} that failed."),
            ),
            queries: r.counter(
                &name("queries_total"),
                &format!("How many {one} queries were received."),
            ),
            query: r.histogram(
                &name("query_duration_seconds"),
                &format!("Duration of {one} query evaluation."),
                &DEFAULT_BUCKETS,
            ),
            scanned: None,
        }
    }

    pub(crate) fn query<T>(&self, look: impl FnOnce() -> T) -> T {
        self.queries.inc();
        let begin = Instant::now();
        let found = look();
        self.query.observe(begin.elapsed().as_secs_f64());
        found
    }

    /// Of so many silences some were looked at.
    pub(crate) fn scanned(&self, looked_at: usize, all: usize) {
        if let Some((scanned, skipped)) = &self.scanned {
            scanned.add(looked_at as f64);
            skipped.add(all.saturating_sub(looked_at) as f64);
        }
    }

    pub(crate) fn maintenance<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.maintenance.inc();
        let done = work(self);
        if done.is_err() {
            self.maintenance_errors.inc();
        }
        done
    }

    pub(crate) fn gc(&self, work: impl FnOnce()) {
        let begin = Instant::now();
        work();
        self.gc.observe(begin.elapsed().as_secs_f64());
    }

    pub(crate) fn snapshot(
        &self,
        write: impl FnOnce() -> Result<u64, StorageError>,
    ) -> Result<(), StorageError> {
        let begin = Instant::now();
        let bytes = write()?;
        self.snapshot.observe(begin.elapsed().as_secs_f64());
        self.snapshot_bytes.set(bytes as f64);
        Ok(())
    }
}
