//! The store's metrics, under the reference's names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use metrics::{Collected, Histogram, Kind, Registry, Summary, exponential_buckets};

use super::{Db, Shared};
use crate::block::{CHUNK_SIZES, ChunkSizes};
use crate::head::ByType;

const PREFIX: &str = "prometheus_tsdb_";

/// How long things took; observed where they happen.
pub(super) struct Durations {
    pub(super) compaction: Histogram,
    pub(super) tombstone_cleanup: Histogram,
    pub(super) stale_series: Histogram,
    pub(super) wal_sync: Summary,
    pub(super) garbage_collection: Summary,
    pub(super) wal_truncation: Summary,
    pub(super) head_snapshot: Summary,
}

impl Db {
    /// Registers the store's metrics. They are computed at each scrape, and vanish with the store.
    pub fn register_metrics(&self, registry: &Registry) {
        let name = |name: &str| format!("{PREFIX}{name}");
        let durations = Durations {
            compaction: registry.histogram(
                &name("compaction_duration_seconds"),
                "Duration of merging or writing a block.",
                &exponential_buckets(1.0, 2.0, 14),
            ),
            tombstone_cleanup: registry.histogram(
                &name("tombstone_cleanup_seconds"),
                "Duration of rewriting blocks without deleted samples.",
                &[],
            ),
            stale_series: registry.histogram(
                &name("stale_series_compaction_duration_seconds"),
                "Duration of moving stale series into blocks.",
                &exponential_buckets(1.0, 2.0, 14),
            ),
            wal_sync: registry.summary(
                &name("wal_fsync_duration_seconds"),
                "Duration of syncing the logs.",
                &[0.5, 0.9, 0.99],
            ),
            garbage_collection: registry.summary(
                &name("head_gc_duration_seconds"),
                "Duration of truncating the head.",
                &[],
            ),
            wal_truncation: registry.summary(
                &name("wal_truncate_duration_seconds"),
                "Duration of writing a checkpoint.",
                &[],
            ),
            head_snapshot: registry.summary(
                "narthex_tsdb_head_snapshot_duration_seconds",
                "Duration of writing a snapshot of the head.",
                &[],
            ),
        };
        let sizes = ChunkSizes {
            samples: registry.histogram(
                &name("compaction_chunk_samples"),
                "Samples of the chunks that blocks are written with.",
                &exponential_buckets(4.0, 1.5, 12),
            ),
            bytes: registry.histogram(
                &name("compaction_chunk_size_bytes"),
                "Bytes of the chunks that blocks are written with.",
                &exponential_buckets(32.0, 1.5, 12),
            ),
            seconds: registry.histogram(
                &name("compaction_chunk_range_seconds"),
                "Time ranges of the chunks that blocks are written with.",
                &exponential_buckets(100.0, 4.0, 10),
            ),
        };
        // Registering twice keeps the first handles.
        let _ = CHUNK_SIZES.set(sizes);
        let _ = self.shared.durations.set(durations);
        let replay_seconds = self.replay_report().duration.as_secs_f64();
        let corruptions = self.replay_report().damages.len() as f64;
        let chunk_corruptions = f64::from(u8::from(self.replay_report().chunk_damage.is_some()));
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        registry.collect(move |collected| {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let mut out = Out(collected);
            out.gauge(
                "data_replay_duration_seconds",
                "Duration of reading the logs at the start.",
                replay_seconds,
            );
            out.counter(
                "wal_corruptions_total",
                "Damaged log segments found at the start.",
                corruptions,
            );
            out.counter(
                "mmap_chunk_corruptions_total",
                "Damaged head chunk files found at the start.",
                chunk_corruptions,
            );
            out.0
                .family(
                    "narthex_tsdb_head_snapshot_bytes",
                    Kind::Gauge,
                    "Length of the newest snapshot of the head.",
                )
                .sample(&[], shared.head().snapshot_bytes() as f64);
            own(&shared, &mut out);
            head(&shared, &mut out);
            samples(&shared, &mut out);
            exemplars(&shared, &mut out);
            logs(&shared, &mut out);
            blocks(&shared, &mut out);
        });
    }
}

struct Out<'a>(&'a mut Collected);

impl Out<'_> {
    fn one(&mut self, kind: Kind, name: &str, help: &str, value: f64) {
        self.0
            .family(&format!("{PREFIX}{name}"), kind, help)
            .sample(&[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.one(Kind::Gauge, name, help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.one(Kind::Counter, name, help, value);
    }

    fn count(&mut self, name: &str, help: &str, value: &AtomicU64) {
        self.counter(name, help, value.load(Ordering::Relaxed) as f64);
    }

    /// A timestamp in milliseconds, and again in whole seconds as the reference has it.
    fn time(&mut self, name: &str, help: &str, ms: i64) {
        self.gauge(name, help, ms as f64);
        self.gauge(&format!("{name}_seconds"), help, (ms / 1000) as f64);
    }
}

/// What the reference does not have.
fn own(shared: &Shared, out: &mut Out<'_>) {
    let counters = &shared.head().counters;
    for (name, help, value) in [
        (
            "narthex_tsdb_head_chunks_healed_total",
            "Damaged head chunks that were read from the log again.",
            &counters.chunks_healed,
        ),
        (
            "narthex_tsdb_head_chunks_lost_total",
            "Damaged head chunks that the log had nothing of.",
            &counters.chunks_lost,
        ),
        (
            "narthex_tsdb_head_series_refused_total",
            "New series refused because there are as many as --storage.tsdb.max-series allows.",
            &counters.series_refused,
        ),
    ] {
        let value = value.load(Ordering::Relaxed) as f64;
        out.0.family(name, Kind::Counter, help).sample(&[], value);
    }
}

fn head(shared: &Shared, out: &mut Out<'_>) {
    let (head, counters) = (shared.head(), &shared.head().counters);
    let census = head.census();
    let (appending, _) = head.activity();
    let (newest, settled) = head.watermarks();
    let removed = counters.chunks_removed.load(Ordering::Relaxed);
    out.gauge(
        "head_active_appenders",
        "Transactions in progress.",
        appending as f64,
    );
    out.gauge("head_series", "Series in the head.", census.series as f64);
    out.gauge(
        "head_stale_series",
        "Series whose newest sample is a staleness marker.",
        census.stale as f64,
    );
    out.gauge(
        "head_native_histogram_series",
        "Series whose newest sample is a histogram.",
        census.histograms as f64,
    );
    out.gauge("head_chunks", "Chunks in the head.", census.chunks as f64);
    out.counter(
        "head_chunks_created_total",
        "Chunks made in the head.",
        (census.chunks as u64 + removed) as f64,
    );
    out.counter(
        "head_chunks_removed_total",
        "Chunks removed from the head.",
        removed as f64,
    );
    out.count(
        "head_series_created_total",
        "Series made in the head.",
        &counters.series_created,
    );
    out.count(
        "head_series_removed_total",
        "Series removed from the head.",
        &counters.series_removed,
    );
    out.count(
        "head_truncations_total",
        "Truncations of the head.",
        &counters.truncations,
    );
    out.count(
        "head_truncations_failed_total",
        "Truncations put off because of old queries.",
        &shared.counters.put_off,
    );
    out.time("head_min_time", "First timestamp in the head.", head.min_ms());
    out.time("head_max_time", "Last timestamp in the head.", head.max_ms());
    out.gauge(
        "head_chunks_storage_size_bytes",
        "Bytes of full head chunks on disk.",
        head.chunk_files_bytes() as f64,
    );
    out.gauge(
        "isolation_high_watermark",
        "Number of the newest transaction.",
        newest as f64,
    );
    out.gauge(
        "isolation_low_watermark",
        "Lowest transaction that a query may not see.",
        settled as f64,
    );
}

fn samples(shared: &Shared, out: &mut Out<'_>) {
    let counters = &shared.head().counters;
    let load = |c: &AtomicU64| c.load(Ordering::Relaxed) as f64;
    let by_type = |out: &mut Out<'_>, name: &str, help: &str, float: f64, histogram: f64| {
        let family = out.0.family(&format!("{PREFIX}{name}"), Kind::Counter, help);
        family.sample(&[("type", "float")], float);
        family.sample(&[("type", "histogram")], histogram);
    };
    by_type(
        out,
        "head_samples_appended_total",
        "Samples taken.",
        load(&counters.floats_appended),
        load(&counters.histograms_appended),
    );
    let late_histograms = load(&counters.late_histograms_appended);
    by_type(
        out,
        "head_out_of_order_samples_appended_total",
        "Late samples taken.",
        load(&counters.late_appended) - late_histograms,
        late_histograms,
    );
    let refused = |out: &mut Out<'_>, name: &str, help: &str, value: &ByType| {
        by_type(out, name, help, load(&value.floats), load(&value.histograms));
    };
    refused(
        out,
        "out_of_order_samples_total",
        "Samples refused as out of order.",
        &counters.out_of_order,
    );
    refused(
        out,
        "out_of_bound_samples_total",
        "Samples refused as out of bounds.",
        &counters.out_of_bounds,
    );
    refused(
        out,
        "too_old_samples_total",
        "Samples refused as older than the window.",
        &counters.too_old,
    );
}

fn exemplars(shared: &Shared, out: &mut Out<'_>) {
    let counters = &shared.head().counters;
    let (capacity, len, series, oldest_ms) = shared.head().exemplar_stats();
    out.gauge(
        "exemplar_max_exemplars",
        "Exemplars that may be kept.",
        capacity as f64,
    );
    out.gauge("exemplar_exemplars_in_storage", "Exemplars kept.", len as f64);
    out.gauge(
        "exemplar_series_with_exemplars_in_storage",
        "Series with exemplars.",
        series as f64,
    );
    out.gauge(
        "exemplar_last_exemplars_timestamp_seconds",
        "Timestamp of the oldest exemplar kept.",
        oldest_ms.unwrap_or(0) as f64 / 1000.0,
    );
    out.count(
        "exemplar_exemplars_appended_total",
        "Exemplars taken.",
        &counters.exemplars_appended,
    );
    out.count(
        "exemplar_out_of_order_exemplars_total",
        "Exemplars refused as out of order.",
        &counters.exemplars_out_of_order,
    );
}

fn logs(shared: &Shared, out: &mut Out<'_>) {
    let (head, counters) = (shared.head(), &shared.head().counters);
    head.wal().tell(out.0, &format!("{PREFIX}wal"));
    if let Some(wbl) = head.wbl() {
        wbl.tell(out.0, &format!("{PREFIX}out_of_order_wbl"));
    }
    out.count(
        "checkpoint_creations_total",
        "Checkpoints written.",
        &counters.checkpoints,
    );
    out.count(
        "checkpoint_creations_failed_total",
        "Checkpoints that failed.",
        &counters.checkpoints_failed,
    );
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
    let (written, unwritten) = (load(&counters.checkpoints), load(&counters.checkpoints_failed));
    let unremoved = load(&counters.checkpoint_removals_failed);
    out.counter(
        "wal_truncations_total",
        "Times that the write-ahead log was to become shorter.",
        written + unwritten,
    );
    out.counter(
        "wal_truncations_failed_total",
        "Times that it could not.",
        unwritten + unremoved,
    );
    out.counter(
        "checkpoint_deletions_total",
        "Times that superseded checkpoints were to be removed.",
        written,
    );
    out.counter(
        "checkpoint_deletions_failed_total",
        "Times that they could not.",
        unremoved,
    );
}

fn blocks(shared: &Shared, out: &mut Out<'_>) {
    let (list, counters) = (shared.blocks(), &shared.counters);
    let load = |c: &AtomicU64| c.load(Ordering::Relaxed) as f64;
    let bytes: u64 = list.iter().map(|b| b.size_bytes()).sum();
    let first_ms = list.iter().map(|b| b.range().min_ms).min();
    let (age_ms, max_bytes, percent) = *shared.retention.lock();
    out.count(
        "reloads_total",
        "Times that the data folder was looked through for blocks.",
        &counters.reloads,
    );
    out.count(
        "reloads_failures_total",
        "Times that this failed.",
        &counters.reloads_failed,
    );
    out.gauge("blocks_loaded", "Blocks.", list.len() as f64);
    out.gauge("storage_blocks_bytes", "Bytes of all blocks.", bytes as f64);
    out.time(
        "lowest_timestamp",
        "First timestamp stored.",
        first_ms.unwrap_or_else(|| shared.head().min_ms()),
    );
    out.gauge(
        "retention_limit_seconds",
        "Age that is kept; 0 for any.",
        age_ms as f64 / 1000.0,
    );
    out.gauge(
        "retention_limit_bytes",
        "Bytes that are kept; 0 for any.",
        max_bytes as f64,
    );
    out.gauge(
        "retention_limit_percentage",
        "Percentage of the disk that is used; 0 for any.",
        percent,
    );
    out.count(
        "time_retentions_total",
        "Times that age made blocks go.",
        &counters.age_retentions,
    );
    out.count(
        "size_retentions_total",
        "Times that size made blocks go.",
        &counters.size_retentions,
    );
    out.count(
        "compactions_triggered_total",
        "Rounds of compaction.",
        &counters.rounds,
    );
    out.count(
        "compactions_failed_total",
        "Rounds of compaction that failed.",
        &counters.failed,
    );
    out.count(
        "stale_series_compactions_triggered_total",
        "Times that stale series were moved into blocks, or should have been.",
        &counters.stale_rounds,
    );
    out.count(
        "stale_series_compactions_failed_total",
        "Times that moving stale series into blocks failed.",
        &counters.stale_failed,
    );
    let written = load(&counters.head_blocks) + load(&counters.merged_blocks);
    out.counter("compactions_total", "Blocks written.", written);
    out.count(
        "vertical_compactions_total",
        "Blocks written from overlapping ones.",
        &counters.overlapping_merges,
    );
    out.gauge(
        "clean_start",
        "Whether the store was closed in good order before: 1 if so, 0 if it left its lock behind, -1 without locks.",
        shared.folder.clean_start(),
    );
}
