//! What is counted of stores elsewhere. Names and help texts are the reference's.

use std::time::Duration;

use metrics::{Counter, Family, Gauge, Histogram, Registry};

const STORE: [&str; 2] = ["remote_name", "url"];

/// Upper bounds of durations, in seconds.
const SECONDS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0,
];

/// What is counted of all stores.
#[derive(Clone)]
pub(super) struct ReadMetrics {
    queries: Family<Gauge>,
    total: Family<Counter>,
    duration: Family<Histogram>,
}

impl ReadMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let with = |more: &[&'static str]| [&STORE[..], more].concat();
        ReadMetrics {
            queries: registry.gauge_vec(
                "prometheus_remote_read_client_queries",
                "The number of in-flight remote read queries.",
                &STORE,
            ),
            total: registry.counter_vec(
                "prometheus_remote_read_client_queries_total",
                "The total number of remote read queries.",
                &with(&["response_type", "code"]),
            ),
            duration: registry.histogram_vec(
                "prometheus_remote_read_client_request_duration_seconds",
                "Histogram of the latency for remote read requests. Note that for streamed responses this is only the \
                 duration of the initial call and does not include the processing of the stream.",
                &with(&["response_type"]),
                &SECONDS,
            ),
        }
    }

    /// What is counted of one store.
    pub(super) fn of(&self, name: &str, url: &str) -> StoreMetrics {
        StoreMetrics {
            all: self.clone(),
            name: name.to_owned(),
            url: url.to_owned(),
            queries: self.queries.with(&[name, url]),
        }
    }

    /// Forgets how many queries are under way at stores that are configured no more.
    pub(super) fn keep<'s>(&self, stores: impl Iterator<Item = &'s StoreMetrics> + Clone) {
        self.queries.retain(|values| {
            stores
                .clone()
                .any(|store| *values == [store.name.as_str(), store.url.as_str()])
        });
    }
}

/// What is counted of one store.
pub(super) struct StoreMetrics {
    all: ReadMetrics,
    name: String,
    url: String,
    queries: Gauge,
}

/// A query under way.
pub(super) struct UnderWay<'m>(&'m Gauge);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl StoreMetrics {
    /// A query begins.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.queries.inc();
        UnderWay(&self.queries)
    }

    /// An answer of this form has begun.
    pub(super) fn began(&self, form: &str, after: Duration) {
        let of = [self.name.as_str(), self.url.as_str(), form];
        self.all.duration.with(&of).observe(after.as_secs_f64());
    }

    /// An answer of this form has come to an end: with this status, or broken off.
    pub(super) fn count(&self, form: &str, code: &str) {
        let of = [self.name.as_str(), self.url.as_str(), form, code];
        self.all.total.with(&of).inc();
    }
}
