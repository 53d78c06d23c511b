//! What the worker does, derived from numbers alone, so that the judge knows it from the worker's short messages.

use std::sync::Arc;

use model::histogram::{Buckets, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::storage::TimeRange;
use narthex_tsdb::db::Options;

use crate::support::{Rng, Value};

/// Milliseconds of the data's time between a batch and the next.
pub(super) const STEP_MS: i64 = 500;
/// Length of the smallest blocks.
pub(super) const RANGE_MS: i64 = 60_000;
/// How late samples may be, and are at most.
const WINDOW_MS: i64 = 20_000;
const LATE_MS: i64 = 15_000;
/// Deletions keep away from where samples still come in.
const DELETABLE_AFTER_MS: i64 = 25_000;
/// What is older than this may go.
pub(super) const RETENTION_MS: i64 = 900_000;
/// Series of one thread; the last ones come and go.
const SERIES: u64 = 24;

/// A sample that is to be appended.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) labels: Labels,
    pub(super) timestamp_ms: i64,
    pub(super) late: bool,
    pub(super) what: What,
}

/// A sample's value.
#[derive(Clone, Debug)]
pub(super) enum What {
    Float(f64),
    Histogram(Histogram),
}

impl What {
    /// As tests compare it.
    pub(super) fn value(&self) -> Value {
        match self {
            What::Float(value) => Value::Float(value.to_bits()),
            What::Histogram(histogram) => Value::of(histogram),
        }
    }
}

/// Options with which everything that happens in hours happens within a second; `snapshots` says whether the head may
/// be read from its snapshot.
pub(super) fn options(seed: u64, background: bool, snapshots: bool) -> Options {
    let mut options = Options {
        background,
        retention_ms: RETENTION_MS,
        block_range_max_ms: 9 * RANGE_MS,
        wal_sync_interval: std::time::Duration::from_millis(20),
        compaction_interval: std::time::Duration::from_millis(50),
        head_snapshot_interval: std::time::Duration::from_millis(30),
        truncation_patience: std::time::Duration::from_millis(200),
        ..Options::default()
    };
    let head = &mut options.head;
    head.snapshots = snapshots;
    head.chunk_range_ms = RANGE_MS;
    head.samples_per_chunk = 20;
    head.out_of_order_window_ms = WINDOW_MS;
    head.out_of_order_cap = 4;
    head.exemplars_max = 50;
    head.wal_segment_bytes = 32 << 10;
    head.wal_compression = match seed % 3 {
        0 => narthex_tsdb::wal::Compression::None,
        1 => narthex_tsdb::wal::Compression::Snappy,
        _ => narthex_tsdb::wal::Compression::Zstd,
    };
    options
}

/// The samples of batch `number` by thread `thread`.
pub(super) fn batch(seed: u64, number: i64, thread: u64) -> Vec<Planned> {
    let mut rng = Rng::new(seed ^ (number as u64) << 8 ^ thread);
    let now_ms = number * STEP_MS;
    let mut planned = Vec::new();
    for i in 0..SERIES {
        if rng.below(3) == 0 {
            continue;
        }
        // The last ones get a new identity now and then.
        let epoch = if i + 4 > SERIES { number / 300 } else { 0 };
        let kind = match i % 8 {
            5 => "integer",
            6 => "float_histogram",
            7 => "custom",
            _ => "float",
        };
        let labels = Labels::from_pairs([
            ("__name__", kind.to_owned()),
            ("epoch", epoch.to_string()),
            ("i", i.to_string()),
            ("thread", thread.to_string()),
        ]);
        let late = rng.below(8) == 0;
        let timestamp_ms = if late {
            // No two late samples of a series meet: the odd rest tells batches of one window apart.
            now_ms - STEP_MS * (1 + rng.below((LATE_MS / STEP_MS) as u64) as i64) + 1 + number % 499
        } else {
            now_ms
        };
        let what = match kind {
            "float" if rng.below(12) == 0 => What::Float(model::sample::stale_nan()),
            "float" => What::Float(number as f64 + i as f64 / 64.0),
            kind => What::Histogram(histogram(kind, &mut rng)),
        };
        planned.push(Planned {
            labels,
            timestamp_ms,
            late,
            what,
        });
    }
    planned
}

/// Whether a sample of this time came in order.
pub(super) fn is_in_order(timestamp_ms: i64) -> bool {
    timestamp_ms % STEP_MS == 0
}

fn histogram(kind: &str, rng: &mut Rng) -> Histogram {
    let counts: Vec<i64> = (0..3).map(|_| 1 + rng.below(50) as i64).collect();
    let deltas = vec![counts[0], counts[1] - counts[0], counts[2] - counts[1]];
    let total: i64 = counts.iter().sum();
    let sum = rng.below(1000) as f64 / 8.0;
    let span = Span {
        offset: rng.below(3) as i32,
        length: 3,
    };
    match kind {
        "float_histogram" => {
            let buckets = counts.iter().map(|c| *c as f64).collect();
            Histogram::Float(Arc::new(filled(1.0, total as f64 + 1.0, sum, span, buckets)))
        }
        "custom" => {
            let mut custom = filled(0, total as u64, sum, Span { offset: 0, length: 3 }, deltas);
            custom.schema = -53;
            custom.zero_threshold = 0.0;
            custom.custom_values = Some([1.0, 2.5, 10.0].into());
            Histogram::Int(Arc::new(custom))
        }
        _ => Histogram::Int(Arc::new(filled(1, total as u64 + 1, sum, span, deltas))),
    }
}

fn filled<B, C>(zero_count: C, count: C, sum: f64, span: Span, positive_buckets: Vec<B>) -> Buckets<B, C> {
    Buckets {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: 1,
        zero_threshold: 0.001,
        zero_count,
        count,
        sum,
        positive_spans: vec![span],
        negative_spans: Vec::new(),
        positive_buckets,
        negative_buckets: Vec::new(),
        custom_values: None,
    }
}

/// Deletion `number`, begun when batch `now` was the oldest on its way.
pub(super) fn deletion(seed: u64, number: i64, now: i64) -> (TimeRange, Matcher) {
    let mut rng = Rng::new(seed ^ (number as u64) << 20 ^ 0xdead);
    let max_ms = now * STEP_MS - DELETABLE_AFTER_MS - rng.below(200_000) as i64;
    let min_ms = max_ms - rng.below(20_000) as i64;
    let matcher = match rng.below(3) {
        0 => Matcher::equal("i", rng.below(SERIES).to_string()),
        1 => Matcher::new(MatchOp::Regex, "i", "1|5|.7").expect("a pattern"),
        _ => Matcher::equal("__name__", "float"),
    };
    (TimeRange::new(min_ms, max_ms), matcher)
}
