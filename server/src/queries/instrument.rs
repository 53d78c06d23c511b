//! What is counted of queries.

use metrics::{Counter, Histogram, Registry, Summary};
use promql::engine::QueryStats;

use super::QueryTimes;

/// Metrics of all queries.
pub(super) struct QueryMetrics {
    queue: Part,
    prepare: Part,
    evaluate: Part,
    sort: Part,
    samples: Counter,
    samples_read: Counter,
    pub(super) log_failures: Counter,
}

/// How long one part of queries takes.
struct Part {
    summary: Summary,
    histogram: Histogram,
}

impl Part {
    fn observe(&self, seconds: f64) {
        self.summary.observe(seconds);
        self.histogram.observe(seconds);
    }
}

impl QueryMetrics {
    /// Registers them.
    pub(super) fn new(registry: &Registry) -> Self {
        let help = "Query timings";
        let name = "prometheus_engine_query_duration_seconds";
        let summaries = registry.summary_vec(name, help, &["slice"], &[0.5, 0.9, 0.99]);
        let name = "prometheus_engine_query_duration_histogram_seconds";
        let histograms = registry.histogram_vec(name, help, &["slice"], &[0.01, 0.1, 1.0, 10.0]);
        let part = |slice: &str| Part {
            summary: summaries.with(&[slice]),
            histogram: histograms.with(&[slice]),
        };
        QueryMetrics {
            queue: part("queue_time"),
            prepare: part("prepare_time"),
            evaluate: part("inner_eval"),
            sort: part("result_sort"),
            samples: registry.counter(
                "prometheus_engine_query_samples_total",
                "Samples that all queries looked at; a window counts whole at each step.",
            ),
            samples_read: registry.counter(
                "prometheus_engine_query_samples_read_total",
                "Samples that all queries read; a window counts what the one before did not hold.",
            ),
            log_failures: registry.counter(
                "prometheus_engine_query_log_failures_total",
                "Queries that could not be written to the query log.",
            ),
        }
    }

    /// Counts a query that has ended.
    pub(super) fn observe(&self, stats: &QueryStats, times: &QueryTimes) {
        let seconds = |ns: u64| ns as f64 / 1e9;
        self.queue.observe(times.waited.as_secs_f64());
        self.prepare.observe(seconds(stats.prepare_ns));
        self.evaluate.observe(seconds(stats.eval_ns));
        // Answers come out of the evaluation in order.
        self.sort.observe(0.0);
        self.samples
            .add_count(stats.total_queryable_samples.max(0) as u64);
        self.samples_read.add_count(stats.samples_read.max(0) as u64);
    }
}
