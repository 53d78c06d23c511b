//! Metrics about the server as a whole: what no single room can count, under the reference's names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::{Collected, Kind, Registry};
use notify::QueueStats;

use crate::version::{REFERENCE, REVISION};
use crate::web::OWN_VERSION;
use crate::web::state::{AlertingState, QueryState, Site, StartState, StatusState};

/// Registers them; values are read when somebody scrapes us.
pub(crate) fn register(registry: &Registry, site: &Site) {
    site.query.queries.register_metrics(registry);
    // The registry is a part of the site: it must not hold it.
    let (query, alerting) = (Arc::downgrade(&site.query), Arc::downgrade(&site.alerting));
    let (status, start) = (Arc::downgrade(&site.status), Arc::downgrade(&site.start));
    registry.collect(move |out| {
        if let (Some(status), Some(start)) = (status.upgrade(), start.upgrade()) {
            server(out, &status, &start);
        }
        if let Some(query) = query.upgrade() {
            queries(out, &query);
        }
        if let Some(alerting) = alerting.upgrade() {
            notifications(out, &alerting);
        }
    });
}

/// Registers those of an agent.
pub(crate) fn register_agent(registry: &Registry, status: &Arc<StatusState>, start: &Arc<StartState>) {
    let (status, start) = (Arc::downgrade(status), Arc::downgrade(start));
    registry.collect(move |out| {
        if let (Some(status), Some(start)) = (status.upgrade(), start.upgrade()) {
            server(out, &status, &start);
        }
    });
}

fn server(out: &mut Collected, status: &StatusState, start: &StartState) {
    let config = status.config.load();
    let help = "A metric with a constant '1' value labeled by version, revision, branch, goversion from which \
                prometheus was built, and the goos and goarch for the build.";
    let labels = [
        ("branch", OWN_VERSION),
        ("goarch", std::env::consts::ARCH),
        ("goos", std::env::consts::OS),
        ("goversion", ""),
        ("revision", REVISION),
        ("tags", ""),
        ("version", REFERENCE),
    ];
    out.family("prometheus_build_info", Kind::Gauge, help)
        .sample(&labels, 1.0);
    out.family(
        "narthex_build_info",
        Kind::Gauge,
        "Version of Narthex; its value is always 1.",
    )
    .sample(
        &[("revision", REVISION), ("version", env!("CARGO_PKG_VERSION"))],
        1.0,
    );
    out.family(
        "prometheus_ready",
        Kind::Gauge,
        "Whether Prometheus startup was fully completed and the server is ready for normal operation.",
    )
    .sample(&[], f64::from(u8::from(*start.ready.borrow())));
    out.family(
        "prometheus_config_last_reload_successful",
        Kind::Gauge,
        "Whether the last configuration reload attempt was successful.",
    )
    .sample(&[], f64::from(u8::from(config.reload_success)));
    out.family(
        "prometheus_config_last_reload_success_timestamp_seconds",
        Kind::Gauge,
        "Timestamp of the last successful configuration reload.",
    )
    .sample(&[], config.last_reload_ms as f64 / 1000.0);
}

fn queries(out: &mut Collected, state: &QueryState) {
    out.family(
        "prometheus_engine_queries_concurrent_max",
        Kind::Gauge,
        "The max number of concurrent queries.",
    )
    .sample(&[], state.queries.concurrency() as f64);
    out.family(
        "prometheus_engine_queries",
        Kind::Gauge,
        "The current number of queries being executed or waiting.",
    )
    .sample(&[], state.queries.running() as f64);
    out.family(
        "prometheus_engine_query_log_enabled",
        Kind::Gauge,
        "State of the query log.",
    )
    .sample(&[], f64::from(u8::from(state.queries.log.is_on())));
    let memory = state.engine.memory();
    for (name, help, bytes) in [
        (
            "narthex_query_memory_bytes",
            "Memory that the buffers of queries take, answers that are being sent included.",
            memory.held_bytes(),
        ),
        (
            "narthex_query_memory_peak_bytes",
            "Most memory that the buffers of queries have taken at a time.",
            memory.peak_bytes(),
        ),
        (
            "narthex_query_memory_max_bytes",
            "Most memory that the buffers of queries may take together.",
            memory.max_bytes(),
        ),
    ] {
        out.family(name, Kind::Gauge, help).sample(&[], bytes as f64);
    }
}

/// A metric of every destination: name, kind, help, value.
type OfQueue = (&'static str, Kind, &'static str, fn(&QueueStats) -> f64);

fn notifications(out: &mut Collected, state: &AlertingState) {
    const METRICS: [OfQueue; 4] = [
        (
            "prometheus_notifications_sent_total",
            Kind::Counter,
            "Total number of alerts sent.",
            |s| s.sent.load(Ordering::Relaxed) as f64,
        ),
        (
            "prometheus_notifications_errors_total",
            Kind::Counter,
            "Total number of sent alerts affected by errors.",
            |s| s.errors.load(Ordering::Relaxed) as f64,
        ),
        (
            "prometheus_notifications_dropped_total",
            Kind::Counter,
            "Total number of alerts dropped due to errors when sending to Alertmanager.",
            |s| s.dropped.load(Ordering::Relaxed) as f64,
        ),
        (
            "prometheus_notifications_queue_length",
            Kind::Gauge,
            "The number of alert notifications in the queue.",
            |s| s.waiting.load(Ordering::Relaxed) as f64,
        ),
    ];
    for (name, kind, help, value) in METRICS {
        let mut samples = Vec::new();
        state
            .notifier
            .visit_stats(|url, stats| samples.push((url.to_owned(), value(stats))));
        let family = out.family(name, kind, help);
        for (url, value) in samples {
            family.sample(&[("alertmanager", &url)], value);
        }
    }
    out.family(
        "prometheus_notifications_alertmanagers_discovered",
        Kind::Gauge,
        "The number of alertmanagers discovered and active.",
    )
    .sample(&[], state.notifier.alertmanagers().active.len() as f64);
}
