//! What is told about silences and the log of notifications.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, Registry, Summary};
use model::storage::StorageError;

/// Buckets of the client library where nobody gives any.
const DEFAULT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

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
