//! What discovery tells about itself: the reference's `prometheus_sd_*`.

use std::time::Duration;

use metrics::{Counter, Family, Gauge, Histogram, Registry, Summary};
use supervise::Supervisor;

/// Quantiles of the reference's summaries.
pub const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// Buckets of a refresh's duration, in seconds, as in the reference.
const REFRESH_BUCKETS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

/// Metrics that all mechanisms have, and the registry for those of their own. Made once and shared by all managers.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub(crate) refresh_failures: Family<Counter>,
    pub(crate) refresh_seconds: Family<Summary>,
    pub(crate) refresh_histogram: Family<Histogram>,
    pub(crate) discovered_targets: Family<Gauge>,
    pub(crate) failed_configs: Family<Gauge>,
    pub(crate) received_updates: Family<Counter>,
    pub(crate) delayed_updates: Family<Counter>,
    pub(crate) sent_updates: Family<Counter>,
    pub(crate) last_update: Family<Gauge>,
    pub(crate) supervisor: Supervisor,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Registers them, with those of all mechanisms.
    pub fn new(registry: &Registry) -> Self {
        let by_job = ["name", "config"];
        let metrics = Metrics {
            registry: registry.clone(),
            refresh_failures: registry.counter_vec(
                "prometheus_sd_refresh_failures_total",
                "Number of refresh failures for the given SD mechanism.",
                &["mechanism", "config"],
            ),
            refresh_seconds: registry.summary_vec(
                "prometheus_sd_refresh_duration_seconds",
                "The duration of a refresh in seconds for the given SD mechanism.",
                &["mechanism", "config"],
                &QUANTILES,
            ),
            refresh_histogram: registry.histogram_vec(
                "prometheus_sd_refresh_duration_histogram_seconds",
                "The duration of a refresh for the given SD mechanism.",
                &["mechanism"],
                &REFRESH_BUCKETS,
            ),
            discovered_targets: registry.gauge_vec(
                "prometheus_sd_discovered_targets",
                "Current number of discovered targets.",
                &by_job,
            ),
            failed_configs: registry.gauge_vec(
                "prometheus_sd_failed_configs",
                "Current number of service discovery configurations that failed to load.",
                &["name"],
            ),
            received_updates: registry.counter_vec(
                "prometheus_sd_received_updates_total",
                "Total number of update events received from the SD providers.",
                &["name"],
            ),
            delayed_updates: registry.counter_vec(
                "prometheus_sd_updates_delayed_total",
                "Total number of update events that couldn't be sent immediately.",
                &["name"],
            ),
            sent_updates: registry.counter_vec(
                "prometheus_sd_updates_total",
                "Total number of update events sent to the SD consumers.",
                &["name"],
            ),
            last_update: registry.gauge_vec(
                "prometheus_sd_last_update_timestamp_seconds",
                "Timestamp of the last update sent to the SD consumers.",
                &by_job,
            ),
            supervisor: Supervisor::new(registry),
        };
        crate::mechanism::register_all(&metrics);
        metrics
    }

    /// Where a mechanism registers its own; the same name gives the same metric again.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn refreshed(&self, mechanism: &str, job: &str, took: Duration) {
        self.refresh_seconds
            .with(&[mechanism, job])
            .observe(took.as_secs_f64());
        self.refresh_histogram
            .with(&[mechanism])
            .observe(took.as_secs_f64());
    }

    /// A job is configured no more.
    pub(crate) fn forget(&self, name: &str, job: &str) {
        self.discovered_targets.remove(&[name, job]);
        self.last_update.remove(&[name, job]);
        if name == crate::manager::SCRAPE {
            self.refresh_failures.retain(|labels| labels[1] != job);
            self.refresh_seconds.retain(|labels| labels[1] != job);
        }
    }
}
