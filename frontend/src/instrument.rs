//! What is counted.

use metrics::{Counter, Gauge, Registry};

/// Metrics of the front end.
pub(crate) struct Instruments {
    /// Answered from what was kept alone.
    pub(crate) hits: Counter,
    /// Some steps were evaluated, the others were kept.
    pub(crate) partial: Counter,
    /// All steps were evaluated.
    pub(crate) misses: Counter,
    /// Nothing could have been kept.
    pub(crate) passed: Counter,
    /// Steps of answers that were kept.
    pub(crate) kept_steps: Counter,
    /// Steps of answers that were evaluated.
    pub(crate) evaluated_steps: Counter,
    pub(crate) kept_bytes: Gauge,
    pub(crate) evicted: Counter,
}

impl Instruments {
    pub(crate) fn new(registry: &Registry, max_bytes: usize) -> Self {
        let requests = registry.counter_vec(
            "narthex_frontend_requests_total",
            "Queries, by what the cache of results had of them: hit, partial, miss; bypass where it cannot have any.",
            &["result"],
        );
        let steps = registry.counter_vec(
            "narthex_frontend_steps_total",
            "Steps of range queries that can be kept, by where their results came from.",
            &["from"],
        );
        let bound = registry.gauge(
            "narthex_frontend_cache_limit_bytes",
            "Most bytes that the cache of results may take.",
        );
        bound.set(max_bytes as f64);
        Instruments {
            hits: requests.with(&["hit"]),
            partial: requests.with(&["partial"]),
            misses: requests.with(&["miss"]),
            passed: requests.with(&["bypass"]),
            kept_steps: steps.with(&["cache"]),
            evaluated_steps: steps.with(&["evaluation"]),
            kept_bytes: registry.gauge(
                "narthex_frontend_cache_bytes",
                "Bytes that the cache of results takes.",
            ),
            evicted: registry.counter(
                "narthex_frontend_cache_evictions_total",
                "Pieces of results that were dropped to make room.",
            ),
        }
    }
}
