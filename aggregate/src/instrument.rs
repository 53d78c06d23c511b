//! Metrics of what is thinned.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Collected, Kind, Registry};

use crate::runner::Counts;
use crate::thinner::Thinner;

/// A metric of each rule: name, help, and what it counts.
type OfRule = (&'static str, &'static str, fn(&Counts) -> &AtomicU64);

const OF_RULES: [OfRule; 7] = [
    (
        "narthex_aggregation_samples_total",
        "Samples that a rule has taken.",
        |counts| &counts.taken,
    ),
    (
        "narthex_aggregation_late_samples_total",
        "Of these, samples whose interval was over.",
        |counts| &counts.late,
    ),
    (
        "narthex_aggregation_histograms_total",
        "Native histograms of series that a rule takes; they are stored as they come.",
        |counts| &counts.histograms,
    ),
    (
        "narthex_aggregation_refused_series_total",
        "Series that a rule has not taken because it has too many.",
        |counts| &counts.refused_series,
    ),
    (
        "narthex_aggregation_output_samples_total",
        "Samples that a rule has written.",
        |counts| &counts.written,
    ),
    (
        "narthex_aggregation_refused_output_samples_total",
        "Samples of a rule that storage did not take.",
        |counts| &counts.refused_outputs,
    ),
    (
        "narthex_aggregation_failed_flushes_total",
        "Intervals of a rule whose results could not be written.",
        |counts| &counts.failed_flushes,
    ),
];

const DROPPED: &str = "narthex_aggregation_dropped_samples_total";
const DROPPED_HELP: &str = "Samples that a rule has left out, by reason.";

/// Why a rule leaves samples out, and what it counts.
type Reason = (&'static str, fn(&Counts) -> &AtomicU64);

const REASONS: [Reason; 4] = [
    ("late", |counts| &counts.dropped_late),
    ("nan", |counts| &counts.dropped_nan),
    ("duplicate", |counts| &counts.dropped_duplicate),
    ("memory", |counts| &counts.dropped_memory),
];

/// Tells of a thinner, as long as it has something to do.
pub fn register(registry: &Registry, thinner: &Arc<Thinner>) {
    let thinner = Arc::downgrade(thinner);
    registry.collect(move |collected| {
        if let Some(thinner) = thinner.upgrade() {
            collect(&thinner, collected);
        }
    });
}

fn collect(thinner: &Thinner, collected: &mut Collected) {
    let Some(active) = thinner.active.load_full() else {
        return;
    };
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    for (number, runner) in active.runners.iter().enumerate() {
        let place = number.to_string();
        let labels = [("rule", place.as_str()), ("name", runner.rule.name.as_str())];
        for (name, help, count) in OF_RULES {
            collected
                .family(name, Kind::Counter, help)
                .sample(&labels, get(count(&runner.counts)));
        }
        for (reason, count) in REASONS {
            let labels = [labels[0], labels[1], ("reason", reason)];
            collected
                .family(DROPPED, Kind::Counter, DROPPED_HELP)
                .sample(&labels, get(count(&runner.counts)));
        }
        let series = runner.running.lock().state.series() as f64;
        collected
            .family(
                "narthex_aggregation_series",
                Kind::Gauge,
                "Series that a rule takes.",
            )
            .sample(&labels, series);
    }
    let totals = &thinner.totals;
    for (name, help, count) in [
        (
            "narthex_replicas_dropped_samples_total",
            "Samples of replicas that are not elected.",
            &totals.replicas_dropped,
        ),
        (
            "narthex_replicas_refused_series_total",
            "Series of clusters or replicas that are too many.",
            &totals.clusters_refused,
        ),
        (
            "narthex_deduplication_dropped_samples_total",
            "Samples that deduplication has left out.",
            &totals.duplicates_dropped,
        ),
        (
            "narthex_deduplication_refused_samples_total",
            "Samples that deduplication held and storage did not take.",
            &totals.held_refused,
        ),
        (
            "narthex_aggregation_unmatched_dropped_samples_total",
            "Samples that no rule takes, left out.",
            &totals.unmatched_dropped,
        ),
        (
            "narthex_aggregation_journal_failures_total",
            "Attempts to keep totals over a restart that failed.",
            &totals.journal_failures,
        ),
    ] {
        collected
            .family(name, Kind::Counter, help)
            .sample(&[], get(count));
    }
}
