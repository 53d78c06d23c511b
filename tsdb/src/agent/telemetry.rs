//! What is counted of an agent's store, under the reference's names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use metrics::{Collected, Kind, Registry, Summary};
use model::storage::{AppendOutcome, Refusal};

use super::{Agent, SeriesLog, Shared};
use files::Result;

const PREFIX: &str = "prometheus_agent_";

/// What happened since the start.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) floats: AtomicU64,
    pub(super) histograms: AtomicU64,
    pub(super) exemplars: AtomicU64,
    out_of_order: AtomicU64,
    checkpoints: AtomicU64,
    checkpoints_failed: AtomicU64,
    removals: AtomicU64,
    removals_failed: AtomicU64,
    /// Set when metrics are registered.
    truncations: OnceLock<Summary>,
}

impl Counters {
    pub(super) fn note_taken(&self, floats: u64, histograms: u64, exemplars: u64) {
        for (counter, count) in [
            (&self.floats, floats),
            (&self.histograms, histograms),
            (&self.exemplars, exemplars),
        ] {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn note_refused(&self, outcome: &AppendOutcome) {
        let late = |refusal: Refusal| refusal == Refusal::OutOfOrder;
        let late = outcome.refused.iter().filter(|(_, _, refusal)| late(*refusal));
        self.out_of_order
            .fetch_add(late.count() as u64, Ordering::Relaxed);
    }

    pub(super) fn note_checkpoint<T>(&self, written: &Result<T>) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        let failed = u64::from(written.is_err());
        self.checkpoints_failed.fetch_add(failed, Ordering::Relaxed);
    }

    pub(super) fn note_removal(&self, removed: &Result<()>) {
        self.removals.fetch_add(1, Ordering::Relaxed);
        let failed = u64::from(removed.is_err());
        self.removals_failed.fetch_add(failed, Ordering::Relaxed);
    }

    pub(super) fn observe_truncation(&self, took: Duration) {
        if let Some(truncations) = self.truncations.get() {
            truncations.observe(took.as_secs_f64());
        }
    }
}

impl Agent {
    /// Registers the store's metrics; those that need the log are there once it is read. They are computed at each scrape,
    /// and vanish with the store.
    pub fn register_metrics(&self, registry: &Registry) {
        let truncations = registry.summary(
            &format!("{PREFIX}truncate_duration_seconds"),
            "Duration of cutting the log.",
            &[],
        );
        // Registering twice keeps the first handle.
        let _ = self.shared.counters.truncations.set(truncations);
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        registry.collect(move |out| {
            let Some(shared) = shared.upgrade() else { return };
            counters(&shared, out);
            if let Some(log) = shared.log.get() {
                of_log(log, out);
            }
        });
    }
}

fn tell(out: &mut Collected, kind: Kind, name: &str, help: &str, value: f64) {
    out.family(&format!("{PREFIX}{name}"), kind, help)
        .sample(&[], value);
}

fn counters(shared: &Shared, out: &mut Collected) {
    let counters = &shared.counters;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let appended = out.family(
        &format!("{PREFIX}samples_appended_total"),
        Kind::Counter,
        "Samples taken.",
    );
    appended.sample(&[("type", "float")], load(&counters.floats));
    appended.sample(&[("type", "histogram")], load(&counters.histograms));
    for (name, help, counter) in [
        (
            "exemplars_appended_total",
            "Exemplars taken.",
            &counters.exemplars,
        ),
        (
            "out_of_order_samples_total",
            "Samples refused as out of order.",
            &counters.out_of_order,
        ),
        (
            "checkpoint_creations_total",
            "Checkpoints begun.",
            &counters.checkpoints,
        ),
        (
            "checkpoint_creations_failed_total",
            "Checkpoints that failed.",
            &counters.checkpoints_failed,
        ),
        (
            "checkpoint_deletions_total",
            "Times that superseded checkpoints and segments were to be removed.",
            &counters.removals,
        ),
        (
            "checkpoint_deletions_failed_total",
            "Times that they could not.",
            &counters.removals_failed,
        ),
    ] {
        tell(out, Kind::Counter, name, help, load(counter));
    }
    tell(
        out,
        Kind::Gauge,
        "clean_start",
        "Whether the store was closed in good order before: 1 if so, 0 if it left its lock behind, -1 without locks.",
        shared.folder.clean_start(),
    );
}

fn of_log(log: &SeriesLog, out: &mut Collected) {
    for (name, help, value) in [
        ("active_series", "Series that are known.", log.series.len() as f64),
        (
            "deleted_series",
            "Series that are forgotten and that the log still names.",
            log.removed.lock().len() as f64,
        ),
        (
            "data_replay_duration_seconds",
            "Duration of reading the log at the start.",
            log.report.duration.as_secs_f64(),
        ),
    ] {
        tell(out, Kind::Gauge, name, help, value);
    }
    let damages = log.report.damages.len() as f64;
    let help = "Damaged log segments found at the start.";
    tell(out, Kind::Counter, "corruptions_total", help, damages);
    log.wal.tell(out, "prometheus_tsdb_wal");
}
