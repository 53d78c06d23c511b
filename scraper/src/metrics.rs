//! What scraping tells about itself, under the reference's names.

use std::collections::HashSet;

use metrics::{Counter, Family, Gauge, Histogram, Registry, Summary};

const QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];
const SECONDS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

/// Metrics of all pools.
#[derive(Clone, Debug)]
pub(crate) struct ScrapeMetrics {
    pub(crate) pools: Counter,
    pub(crate) pools_failed: Counter,
    pub(crate) pool_reloads: Counter,
    pub(crate) pool_reloads_failed: Counter,
    pub(crate) pool_exceeded_target_limit: Counter,
    pub(crate) pool_target_limit: Family<Gauge>,
    pub(crate) pool_targets: Family<Gauge>,
    pub(crate) pool_syncs: Family<Counter>,
    pub(crate) reload_length: Family<Summary>,
    pub(crate) sync_length: Family<Summary>,
    pub(crate) sync_length_histogram: Family<Histogram>,
    pub(crate) sync_failed: Family<Counter>,
    pub(crate) refusals: Refusals,
    pub(crate) interval_length: Family<Summary>,
    pub(crate) interval_length_histogram: Family<Histogram>,
    pub(crate) scrape_duration: Histogram,
}

/// What of scrapes was not stored, and why.
#[derive(Clone, Debug)]
pub(crate) struct Refusals {
    pub(crate) exceeded_body_size_limit: Counter,
    pub(crate) exceeded_sample_limit: Counter,
    pub(crate) series_dropped: Family<Counter>,
    pub(crate) exceeded_bucket_limit: Counter,
    pub(crate) exceeded_label_limits: Counter,
    pub(crate) sample_duplicate: Counter,
    pub(crate) sample_out_of_order: Counter,
    pub(crate) sample_out_of_bounds: Counter,
    pub(crate) exemplar_out_of_order: Counter,
}

impl Refusals {
    fn new(registry: &Registry) -> Self {
        Refusals {
            exceeded_body_size_limit: registry.counter(
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Total number of scrapes that hit the body size limit",
            ),
            exceeded_sample_limit: registry.counter(
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Total number of scrapes that hit the sample limit and were rejected.",
            ),
            series_dropped: registry.counter_vec(
                "narthex_target_scrapes_series_dropped_total",
                "Total number of samples of new series that were dropped because sample_limit_action is drop_new.",
                &["scrape_job", "metric"],
            ),
            exceeded_bucket_limit: registry.counter(
                "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
                "Total number of scrapes that hit the native histogram bucket limit and were rejected.",
            ),
            exceeded_label_limits: registry.counter(
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Total number of times scrape pools hit the label limits, during sync or config reload.",
            ),
            sample_duplicate: registry.counter(
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Total number of samples rejected due to duplicate timestamps but different values.",
            ),
            sample_out_of_order: registry.counter(
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Total number of samples rejected due to not being out of the expected order.",
            ),
            sample_out_of_bounds: registry.counter(
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Total number of samples rejected due to timestamp falling outside of the time bounds.",
            ),
            exemplar_out_of_order: registry.counter(
                "prometheus_target_scrapes_exemplar_out_of_order_total",
                "Total number of exemplar rejected due to not being out of the expected order.",
            ),
        }
    }
}

impl ScrapeMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        // The table has no symbols, and is never flushed by force; dashboards expect the metric all the same.
        registry.counter(
            "prometheus_target_scrapes_cache_flush_forced_total",
            "How many times a scrape cache was flushed due to getting big while scrapes are failing.",
        );
        ScrapeMetrics {
            pools: registry.counter(
                "prometheus_target_scrape_pools_total",
                "Total number of scrape pool creation attempts.",
            ),
            pools_failed: registry.counter(
                "prometheus_target_scrape_pools_failed_total",
                "Total number of scrape pool creations that failed.",
            ),
            pool_reloads: registry.counter(
                "prometheus_target_scrape_pool_reloads_total",
                "Total number of scrape pool reloads.",
            ),
            pool_reloads_failed: registry.counter(
                "prometheus_target_scrape_pool_reloads_failed_total",
                "Total number of failed scrape pool reloads.",
            ),
            pool_exceeded_target_limit: registry.counter(
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Total number of times scrape pools hit the target limit, during sync or config reload.",
            ),
            pool_target_limit: registry.gauge_vec(
                "prometheus_target_scrape_pool_target_limit",
                "Maximum number of targets allowed in this scrape pool.",
                &["scrape_job"],
            ),
            pool_targets: registry.gauge_vec(
                "prometheus_target_scrape_pool_targets",
                "Current number of targets in this scrape pool.",
                &["scrape_job"],
            ),
            pool_syncs: registry.counter_vec(
                "prometheus_target_scrape_pool_sync_total",
                "Total number of syncs that were executed on a scrape pool.",
                &["scrape_job"],
            ),
            reload_length: registry.summary_vec(
                "prometheus_target_reload_length_seconds",
                "Actual interval to reload the scrape pool with a given configuration.",
                &["interval"],
                &QUANTILES,
            ),
            sync_length: registry.summary_vec(
                "prometheus_target_sync_length_seconds",
                "Actual interval to sync the scrape pool.",
                &["scrape_job"],
                &QUANTILES,
            ),
            sync_length_histogram: registry.histogram_vec(
                "prometheus_target_sync_length_histogram_seconds",
                "Actual interval to sync the scrape pool.",
                &["scrape_job"],
                &SECONDS,
            ),
            sync_failed: registry.counter_vec(
                "prometheus_target_sync_failed_total",
                "Total number of target sync failures.",
                &["scrape_job"],
            ),
            refusals: Refusals::new(registry),
            interval_length: registry.summary_vec(
                "prometheus_target_interval_length_seconds",
                "Actual intervals between scrapes.",
                &["interval"],
                &QUANTILES,
            ),
            interval_length_histogram: registry.histogram_vec(
                "prometheus_target_interval_length_histogram_seconds",
                "Actual intervals between scrapes.",
                &["interval"],
                &SECONDS,
            ),
            scrape_duration: registry.histogram(
                "prometheus_target_scrape_duration_seconds",
                "Total duration of the scrape from start to commit completion in seconds.",
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            ),
        }
    }

    /// Forgets what is kept for pools: of all of them together, since each look goes through all that there are.
    pub(crate) fn forget_pools(&self, jobs: &HashSet<String>) {
        if jobs.is_empty() {
            return;
        }
        let kept = |values: &[String]| values.first().is_none_or(|job| !jobs.contains(job));
        self.pool_target_limit.retain(kept);
        self.pool_targets.retain(kept);
        self.pool_syncs.retain(kept);
        self.sync_length.retain(kept);
        self.sync_length_histogram.retain(kept);
        self.sync_failed.retain(kept);
        self.refusals.series_dropped.retain(kept);
    }
}
