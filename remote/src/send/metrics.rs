//! What is told of queues, in the reference's names.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Family, Gauge, Histogram, Registry};

use super::item::Counts;

/// Upper bounds of the durations of requests, in seconds: the reference's.
const DURATIONS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 300.0,
];
const LABELS: [&str; 2] = ["remote_name", "url"];
const REASONS: [&str; 3] = ["remote_name", "url", "reason"];

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    TooOld,
    Series,
    UnknownSeries,
    CustomBuckets,
}

impl Dropped {
    fn word(self) -> &'static str {
        match self {
            Dropped::TooOld => "too_old",
            Dropped::Series => "dropped_series",
            Dropped::UnknownSeries => "unintentionally_dropped_series",
            Dropped::CustomBuckets => "nhcb_in_rw1_not_supported",
        }
    }
}

/// The families of all queues.
#[derive(Clone)]
pub(super) struct SendMetrics {
    registry: Registry,
}

/// One of each kind of thing that is sent.
#[derive(Clone)]
pub(super) struct Each<M> {
    pub(super) floats: M,
    pub(super) histograms: M,
    pub(super) exemplars: M,
}

impl Each<Counter> {
    pub(super) fn add(&self, counts: Counts) {
        self.floats.add_count(counts.floats);
        self.histograms.add_count(counts.histograms);
        self.exemplars.add_count(counts.exemplars);
    }
}

impl Each<Gauge> {
    pub(super) fn add(&self, counts: Counts) {
        self.floats.add(counts.floats as f64);
        self.histograms.add(counts.histograms as f64);
        self.exemplars.add(counts.exemplars as f64);
    }

    pub(super) fn sub(&self, counts: Counts) {
        self.floats.add(-(counts.floats as f64));
        self.histograms.add(-(counts.histograms as f64));
        self.exemplars.add(-(counts.exemplars as f64));
    }

    pub(super) fn clear(&self) {
        self.floats.set(0.0);
        self.histograms.set(0.0);
        self.exemplars.set(0.0);
    }
}

impl Each<Family<Counter>> {
    fn reasons(&self, name: &str, url: &str, reason: Dropped) -> Each<Counter> {
        let of = |family: &Family<Counter>| family.with(&[name, url, reason.word()]);
        Each {
            floats: of(&self.floats),
            histograms: of(&self.histograms),
            exemplars: of(&self.exemplars),
        }
    }
}

/// What is told of one queue.
#[derive(Clone)]
pub(super) struct QueueMetrics {
    name: String,
    url: String,
    pub(super) sent: Each<Counter>,
    pub(super) failed: Each<Counter>,
    pub(super) retried: Each<Counter>,
    pub(super) pending: Each<Gauge>,
    dropped: Each<Family<Counter>>,
    pub(super) metadata: Counter,
    pub(super) metadata_failed: Counter,
    pub(super) metadata_retried: Counter,
    pub(super) metadata_bytes: Counter,
    pub(super) bytes: Counter,
    pub(super) enqueue_retries: Counter,
    pub(super) duration: Histogram,
    pub(super) highest_queued: Newest,
    pub(super) highest_sent: Newest,
    pub(super) shards: Gauge,
    pub(super) shards_desired: Gauge,
    pub(super) segments_lost: Counter,
    pub(super) read_to_segment: Gauge,
    pub(super) records_read: Family<Counter>,
    pub(super) unreadable: Counter,
}

/// A gauge that only goes up, in whole seconds.
#[derive(Clone)]
pub(super) struct Newest {
    gauge: Gauge,
    newest: std::sync::Arc<AtomicU64>,
}

impl Newest {
    fn new(gauge: Gauge) -> Self {
        Newest {
            gauge,
            newest: std::sync::Arc::default(),
        }
    }

    pub(super) fn note_ms(&self, timestamp_ms: i64) {
        let seconds = u64::try_from(timestamp_ms / 1000).unwrap_or(0);
        if self.newest.fetch_max(seconds, Ordering::Relaxed) < seconds {
            self.gauge.set(seconds as f64);
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.newest.load(Ordering::Relaxed) as f64
    }
}

fn storage(name: &str) -> String {
    format!("prometheus_remote_storage_{name}")
}

impl SendMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let released = storage("string_interner_zero_reference_releases_total");
        registry.counter(
            &released,
            "Releases of interned texts that nobody held. Nothing is interned here: always 0.",
        );
        SendMetrics {
            registry: registry.clone(),
        }
    }

    fn counter(&self, name: &str, help: &str) -> Family<Counter> {
        self.registry.counter_vec(&storage(name), help, &LABELS)
    }

    fn gauge(&self, name: &str, help: &str) -> Family<Gauge> {
        self.registry.gauge_vec(&storage(name), help, &LABELS)
    }

    fn each(&self, what: &str, help: impl Fn(&str) -> String) -> Each<Family<Counter>> {
        let of = |kind: &str| self.counter(&format!("{kind}_{what}"), &help(kind));
        Each {
            floats: of("samples"),
            histograms: of("histograms"),
            exemplars: of("exemplars"),
        }
    }

    fn reasons(&self) -> Each<Family<Counter>> {
        let of = |kind: &str| {
            let help = format!(
                "Total of {kind} that were read from the log and not sent: dropped by relabelling, too old, of a series \
                 that is not known, or of a kind that the message has no place for."
            );
            self.registry
                .counter_vec(&storage(&format!("{kind}_dropped_total")), &help, &REASONS)
        };
        Each {
            floats: of("samples"),
            histograms: of("histograms"),
            exemplars: of("exemplars"),
        }
    }

    /// Those of the queue of this name and address, at their beginning.
    pub(super) fn queue(&self, name: &str, url: &str) -> QueueMetrics {
        let with = |each: Each<Family<Counter>>| Each {
            floats: each.floats.with(&[name, url]),
            histograms: each.histograms.with(&[name, url]),
            exemplars: each.exemplars.with(&[name, url]),
        };
        let counter = |metric: &str, help: &str| self.counter(metric, help).with(&[name, url]);
        let gauge = |metric: &str, help: &str| self.gauge(metric, help).with(&[name, url]);
        let pending = |kind: &str| {
            gauge(
                &format!("{kind}_pending"),
                &format!("The {kind} that wait in shards to be sent."),
            )
        };
        let retried = "that failed and were tried again";
        let durations = self.registry.histogram_vec(
            &storage("sent_batch_duration_seconds"),
            "Duration of requests to the receiver.",
            &LABELS,
            &DURATIONS,
        );
        let registry = &self.registry;
        let segments_lost = registry.counter_vec(
            "narthex_remote_write_segments_lost_total",
            "Segments of the log that were gone, or could not be read on, before they were sent.",
            &LABELS,
        );
        let watcher = |metric: &str, help: &str| {
            registry
                .counter_vec(&format!("prometheus_wal_watcher_{metric}"), help, &["consumer"])
                .with(&[name])
        };
        // Of the reference, and without a meaning here; dashboards ask for them.
        watcher(
            "notifications_skipped_total",
            "Notices of writes that found a reader reading already.",
        );
        watcher(
            "samples_sent_pre_tailing_total",
            "Samples sent while the log was read for the first time.",
        );
        QueueMetrics {
            name: name.to_owned(),
            url: url.to_owned(),
            sent: with(self.each("total", |kind| format!("Total of {kind} sent, each try counted."))),
            failed: with(self.each("failed_total", |kind| {
                format!("Total of {kind} that failed and are not tried again.")
            })),
            retried: with(self.each("retried_total", |kind| format!("Total of {kind} {retried}."))),
            pending: Each {
                floats: pending("samples"),
                histograms: pending("histograms"),
                exemplars: pending("exemplars"),
            },
            dropped: self.reasons(),
            metadata: counter("metadata_total", "Total of metadata entries sent."),
            metadata_failed: counter(
                "metadata_failed_total",
                "Total of metadata entries that failed and are not tried again.",
            ),
            metadata_retried: counter(
                "metadata_retried_total",
                &format!("Total of metadata entries {retried}."),
            ),
            metadata_bytes: counter("metadata_bytes_total", "Bytes of metadata sent, compressed."),
            bytes: counter(
                "bytes_total",
                "Bytes sent, compressed, metadata of version 1.0 left out.",
            ),
            enqueue_retries: counter("enqueue_retries_total", "Times that a shard was full."),
            duration: durations.with(&[name, url]),
            highest_queued: Newest::new(gauge(
                "queue_highest_timestamp_seconds",
                "The newest timestamp that waits or was sent, in seconds since the epoch.",
            )),
            highest_sent: Newest::new(gauge(
                "queue_highest_sent_timestamp_seconds",
                "The newest timestamp that was sent, in seconds since the epoch.",
            )),
            shards: gauge("shards", "The shards that send at the same time."),
            shards_desired: gauge("shards_desired", "The shards that the load asks for."),
            segments_lost: segments_lost.with(&[name, url]),
            read_to_segment: registry
                .gauge_vec(
                    "prometheus_wal_watcher_current_segment",
                    "Segment of the log that is being read.",
                    &["consumer"],
                )
                .with(&[name]),
            records_read: registry.counter_vec(
                "prometheus_wal_watcher_records_read_total",
                "Records read from the log.",
                &["consumer", "type"],
            ),
            unreadable: watcher(
                "record_decode_failures_total",
                "Records of the log that could not be read.",
            ),
        }
    }

    /// Says what does not change while a queue runs.
    pub(super) fn limits(&self, queue: &QueueMetrics, config: &super::config::QueueConfig) {
        let labels = [queue.name.as_str(), queue.url.as_str()];
        let say =
            |metric: &str, help: &str, value: usize| self.gauge(metric, help).with(&labels).set(value as f64);
        say(
            "shard_capacity",
            "Samples that may wait in a shard.",
            config.capacity,
        );
        say(
            "shards_max",
            "The most shards that the queue may have.",
            config.max_shards,
        );
        say(
            "shards_min",
            "The least shards that the queue may have.",
            config.min_shards,
        );
        say(
            "max_samples_per_send",
            "The most samples of a request; exemplars count.",
            config.max_samples_per_send,
        );
    }

    /// Forgets queues but those of `kept`: names and addresses.
    pub(super) fn retain(&self, kept: &[(String, String)]) {
        let keep = |labels: &[String]| {
            kept.iter()
                .any(|(name, url)| labels[0] == *name && labels[1] == *url)
        };
        let names = |labels: &[String]| kept.iter().any(|(name, _)| labels[0] == *name);
        let counters = [
            "bytes_total",
            "enqueue_retries_total",
            "metadata_bytes_total",
            "metadata_failed_total",
            "metadata_retried_total",
            "metadata_total",
        ];
        for name in counters {
            self.counter(name, "").retain(keep);
        }
        for what in ["total", "failed_total", "retried_total"] {
            let each = self.each(what, |_| String::new());
            [each.floats, each.histograms, each.exemplars]
                .iter()
                .for_each(|family| family.retain(keep));
        }
        let reasons = self.reasons();
        [reasons.floats, reasons.histograms, reasons.exemplars]
            .iter()
            .for_each(|family| family.retain(keep));
        let gauges = [
            "samples_pending",
            "histograms_pending",
            "exemplars_pending",
            "queue_highest_timestamp_seconds",
            "queue_highest_sent_timestamp_seconds",
            "shards",
            "shards_desired",
            "shards_max",
            "shards_min",
            "shard_capacity",
            "max_samples_per_send",
        ];
        for name in gauges {
            self.gauge(name, "").retain(keep);
        }
        let registry = &self.registry;
        registry
            .histogram_vec(&storage("sent_batch_duration_seconds"), "", &LABELS, &DURATIONS)
            .retain(keep);
        registry
            .counter_vec("narthex_remote_write_segments_lost_total", "", &LABELS)
            .retain(keep);
        for name in [
            "notifications_skipped_total",
            "samples_sent_pre_tailing_total",
            "record_decode_failures_total",
        ] {
            registry
                .counter_vec(&format!("prometheus_wal_watcher_{name}"), "", &["consumer"])
                .retain(names);
        }
        registry
            .counter_vec(
                "prometheus_wal_watcher_records_read_total",
                "",
                &["consumer", "type"],
            )
            .retain(names);
        registry
            .gauge_vec("prometheus_wal_watcher_current_segment", "", &["consumer"])
            .retain(names);
    }
}

impl QueueMetrics {
    /// Counts what is not sent.
    pub(super) fn drop(&self, counts: Counts, reason: Dropped) {
        if counts.all() > 0 {
            self.dropped.reasons(&self.name, &self.url, reason).add(counts);
        }
    }

    pub(super) fn read(&self, kind: &str) {
        self.records_read.with(&[&self.name, kind]).inc();
    }
}
