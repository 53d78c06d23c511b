//! What the rules tell about themselves, by the reference's names.

use metrics::{Counter, Family, Gauge, Histogram, Registry, Summary};
use supervise::Supervisor;

/// Metrics of all groups.
pub struct RuleMetrics {
    /// Watches over whatever may panic.
    pub(crate) supervisor: Supervisor,
    pub(crate) evaluation_seconds: Summary,
    pub(crate) evaluation_histogram: Histogram,
    pub(crate) group_seconds: Summary,
    pub(crate) group_histogram: Histogram,
    iterations_missed: Family<Counter>,
    iterations_caught_up: Family<Counter>,
    iterations: Family<Counter>,
    evaluations: Family<Counter>,
    evaluation_failures: Family<Counter>,
    interval: Family<Gauge>,
    last_evaluation: Family<Gauge>,
    last_duration: Family<Gauge>,
    last_rule_duration_sum: Family<Gauge>,
    last_restore_duration: Family<Gauge>,
    rules: Family<Gauge>,
    last_samples: Family<Gauge>,
    missing_alerts: Family<Gauge>,
}

/// Metrics of one group.
pub(crate) struct GroupMetrics {
    pub(crate) iterations_missed: Counter,
    pub(crate) iterations_caught_up: Counter,
    pub(crate) iterations: Counter,
    pub(crate) evaluations: Counter,
    pub(crate) evaluation_failures: Counter,
    pub(crate) interval_seconds: Gauge,
    pub(crate) last_evaluation_seconds: Gauge,
    pub(crate) last_duration_seconds: Gauge,
    pub(crate) last_rule_duration_sum_seconds: Gauge,
    pub(crate) rules: Gauge,
    pub(crate) last_samples: Gauge,
}

impl RuleMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        crate::expand::register_metrics(registry);
        let buckets: &[f64] = &[0.01, 0.1, 1.0, 10.0];
        let group: &[&str] = &["rule_group"];
        let counter = |name: &str, help: &str| registry.counter_vec(name, help, group);
        let gauge = |name: &str, help: &str| registry.gauge_vec(name, help, group);
        RuleMetrics {
            supervisor: Supervisor::new(registry),
            evaluation_seconds: registry.summary(
                "prometheus_rule_evaluation_duration_seconds",
                "The duration for a rule to execute.",
                &[0.5, 0.9, 0.99],
            ),
            evaluation_histogram: registry.histogram(
                "prometheus_rule_evaluation_duration_histogram_seconds",
                "The duration for a rule to execute.",
                buckets,
            ),
            group_seconds: registry.summary(
                "prometheus_rule_group_duration_seconds",
                "The duration of rule group evaluations.",
                &[0.01, 0.05, 0.5, 0.9, 0.99],
            ),
            group_histogram: registry.histogram(
                "prometheus_rule_group_duration_histogram_seconds",
                "The duration of rule group evaluations.",
                buckets,
            ),
            iterations_missed: counter(
                "prometheus_rule_group_iterations_missed_total",
                "The total number of rule group evaluations missed due to slow rule group evaluation.",
            ),
            iterations_caught_up: counter(
                "narthex_rule_group_iterations_caught_up_total",
                "Rule group evaluations that were missed and made up for later, at their own times.",
            ),
            iterations: counter(
                "prometheus_rule_group_iterations_total",
                "The total number of scheduled rule group evaluations, whether executed or missed.",
            ),
            evaluations: counter(
                "prometheus_rule_evaluations_total",
                "The total number of rule evaluations.",
            ),
            evaluation_failures: counter(
                "prometheus_rule_evaluation_failures_total",
                "The total number of rule evaluation failures.",
            ),
            interval: gauge(
                "prometheus_rule_group_interval_seconds",
                "The interval of a rule group.",
            ),
            last_evaluation: gauge(
                "prometheus_rule_group_last_evaluation_timestamp_seconds",
                "The timestamp of the last rule group evaluation in seconds.",
            ),
            last_duration: gauge(
                "prometheus_rule_group_last_duration_seconds",
                "The duration of the last rule group evaluation.",
            ),
            last_rule_duration_sum: gauge(
                "prometheus_rule_group_last_rule_duration_sum_seconds",
                "The sum of time in seconds it took to evaluate each rule in the group regardless of concurrency. This \
                 should be higher than the group duration if rules are evaluated concurrently.",
            ),
            last_restore_duration: gauge(
                "prometheus_rule_group_last_restore_duration_seconds",
                "The duration of the last alert rules alerts restoration using the `ALERTS_FOR_STATE` series.",
            ),
            rules: gauge("prometheus_rule_group_rules", "The number of rules."),
            last_samples: gauge(
                "prometheus_rule_group_last_evaluation_samples",
                "The number of samples returned during the last rule group evaluation.",
            ),
            missing_alerts: gauge(
                "narthex_rule_group_missing_alerts",
                "The number of alerts whose data is missing, of groups that keep such alerts.",
            ),
        }
    }

    /// The metrics of the group with the key `key`.
    pub(crate) fn group(&self, key: &str) -> GroupMetrics {
        let key = &[key];
        GroupMetrics {
            iterations_missed: self.iterations_missed.with(key),
            iterations_caught_up: self.iterations_caught_up.with(key),
            iterations: self.iterations.with(key),
            evaluations: self.evaluations.with(key),
            evaluation_failures: self.evaluation_failures.with(key),
            interval_seconds: self.interval.with(key),
            last_evaluation_seconds: self.last_evaluation.with(key),
            last_duration_seconds: self.last_duration.with(key),
            last_rule_duration_sum_seconds: self.last_rule_duration_sum.with(key),
            rules: self.rules.with(key),
            last_samples: self.last_samples.with(key),
        }
    }

    /// How long restoring a group's alerts took: only groups that did so have it.
    pub(crate) fn restored(&self, key: &str, seconds: f64) {
        self.last_restore_duration.with(&[key]).set(seconds);
    }

    /// How many alerts of a group are missing: only groups that want to know have it.
    pub(crate) fn missing(&self, key: &str, alerts: usize) {
        self.missing_alerts.with(&[key]).set(alerts as f64);
    }

    /// Forgets a group.
    pub(crate) fn remove(&self, key: &str) {
        let key = &[key];
        self.iterations_missed.remove(key);
        self.iterations_caught_up.remove(key);
        self.iterations.remove(key);
        self.evaluations.remove(key);
        self.evaluation_failures.remove(key);
        self.interval.remove(key);
        self.last_evaluation.remove(key);
        self.last_duration.remove(key);
        self.last_rule_duration_sum.remove(key);
        self.last_restore_duration.remove(key);
        self.rules.remove(key);
        self.last_samples.remove(key);
        self.missing_alerts.remove(key);
    }
}
