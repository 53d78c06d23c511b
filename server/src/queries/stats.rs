//! Statistics of a query as JSON: in answers and in the query log.

use std::time::Duration;

use promql::engine::{QueryStats, StepSamples};
use serde::Serialize;

/// Times outside the engine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueryTimes {
    /// Waiting for a slot.
    pub(crate) waited: Duration,
    /// From the begin of waiting to the end of the evaluation.
    pub(crate) total: Duration,
}

/// `{"timings":{…},"samples":{…}}`, in the reference's order.
#[derive(Serialize)]
pub(crate) struct StatsJson {
    timings: Timings,
    samples: Samples,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timings {
    eval_total_time: f64,
    /// Answers come out of the evaluation in order.
    result_sort_time: f64,
    query_preparation_time: f64,
    inner_eval_time: f64,
    exec_queue_time: f64,
    exec_total_time: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    #[serde(skip_serializing_if = "Option::is_none")]
    total_queryable_samples_per_step: Option<Vec<(f64, i64)>>,
    total_queryable_samples: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples_read_per_step: Option<Vec<(f64, i64)>>,
    samples_read: i64,
    peak_samples: usize,
}

impl StatsJson {
    /// Of `stats` and the times around it.
    pub(crate) fn new(stats: &QueryStats, times: &QueryTimes) -> Self {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let list = |steps: &Option<Vec<StepSamples>>| {
            let pair = |step: &StepSamples| (step.timestamp_ms as f64 / 1000.0, step.samples);
            Some(steps.as_ref()?.iter().map(pair).collect())
        };
        StatsJson {
            timings: Timings {
                eval_total_time: seconds(stats.prepare_ns + stats.eval_ns),
                result_sort_time: 0.0,
                query_preparation_time: seconds(stats.prepare_ns),
                inner_eval_time: seconds(stats.eval_ns),
                exec_queue_time: times.waited.as_secs_f64(),
                exec_total_time: times.total.as_secs_f64(),
            },
            samples: Samples {
                total_queryable_samples_per_step: list(&stats.total_queryable_samples_per_step),
                total_queryable_samples: stats.total_queryable_samples,
                samples_read_per_step: list(&stats.samples_read_per_step),
                samples_read: stats.samples_read,
                peak_samples: stats.peak_samples,
            },
        }
    }
}
