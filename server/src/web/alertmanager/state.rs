//! What the Alertmanager's API answers from.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Family, Gauge, Histogram, Registry};
use tokio::sync::Semaphore;

use super::answer::Fault;
use crate::alertmanager::Slot;

/// Reads at the same time, at least, where nobody says how many.
const READS_MIN: usize = 8;

/// The Alertmanager, while there is one, and what its API holds to.
pub(crate) struct AlertmanagerState {
    pub(crate) slot: Arc<Slot>,
    pub(super) limits: Limits,
    registry: Registry,
    metrics: OnceLock<Metrics>,
}

/// Bounds of requests.
pub(super) struct Limits {
    /// A place for each read.
    pub(super) reads: Arc<Semaphore>,
    pub(super) reads_max: usize,
    pub(super) timeout: Option<Duration>,
}

impl AlertmanagerState {
    /// `reads_max` is how many are answered at the same time, 0 for as many as there are processors, `timeout` how long
    /// each may take.
    pub(crate) fn new(
        slot: Arc<Slot>,
        registry: &Registry,
        reads_max: usize,
        timeout: Option<Duration>,
    ) -> Self {
        let reads_max = match reads_max {
            0 => std::thread::available_parallelism().map_or(READS_MIN, |cores| cores.get().max(READS_MIN)),
            max => max.min(Semaphore::MAX_PERMITS),
        };
        AlertmanagerState {
            slot,
            limits: Limits {
                reads: Arc::new(Semaphore::new(reads_max)),
                reads_max,
                timeout,
            },
            registry: registry.clone(),
            metrics: OnceLock::new(),
        }
    }

    /// What is counted, from the first request on: a server without an Alertmanager shows nothing of it.
    pub(super) fn metrics(&self) -> &Metrics {
        self.metrics.get_or_init(|| Metrics::new(&self.registry))
    }

    /// The Alertmanager that is in force.
    ///
    /// # Errors
    /// When it has been turned off a moment ago.
    pub(super) fn alertmanager(&self) -> Result<notify::Alertmanager, Fault> {
        self.slot.current().ok_or(Fault::Bare(StatusCode::NOT_FOUND))
    }
}

/// Upper bounds of durations in seconds, those of the client library.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of sizes in bytes.
const BYTES: [f64; 7] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];

/// What is counted of requests.
pub(super) struct Metrics {
    pub(super) seconds: Family<Histogram>,
    pub(super) bytes: Family<Histogram>,
    /// Reads under way.
    pub(super) reads: Gauge,
    /// Reads that were refused because there were too many.
    pub(super) refused: Counter,
}

impl Metrics {
    fn new(registry: &Registry) -> Self {
        Metrics {
            seconds: registry.histogram_vec(
                "alertmanager_http_request_duration_seconds",
                "Histogram of latencies for HTTP requests.",
                &["code", "handler", "method"],
                &SECONDS,
            ),
            bytes: registry.histogram_vec(
                "alertmanager_http_response_size_bytes",
                "Histogram of response size for HTTP requests.",
                &["handler", "method"],
                &BYTES,
            ),
            reads: registry
                .gauge_vec(
                    "alertmanager_http_requests_in_flight",
                    "Current number of HTTP requests being processed.",
                    &["method"],
                )
                .with(&["get"]),
            refused: registry
                .counter_vec(
                    "alertmanager_http_concurrency_limit_exceeded_total",
                    "Total number of times an HTTP request failed because the concurrency limit was reached.",
                    &["method"],
                )
                .with(&["get"]),
        }
    }
}
