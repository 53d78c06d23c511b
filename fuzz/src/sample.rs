//! Small valid things: what seeds are made of.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use files::{Files, MemFiles};
use model::columns::Columns;
use model::histogram::{Buckets, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::sample::{Exemplar, Metadata, MetricType};
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, HistogramSample};
use tsdb::block::{BlockMeta, BlockWriter};
use tsdb::db::Db;

/// The files of a small block.
pub struct SampleBlock {
    /// `index`.
    pub index: Vec<u8>,
    /// `chunks/000001`.
    pub segment: Vec<u8>,
    /// `meta.json`.
    pub meta: Vec<u8>,
}

fn labels(name: &str, i: usize) -> Labels {
    Labels::from_pairs([("__name__", name.to_owned()), ("i", i.to_string())])
}

/// Floats of several kinds of change.
pub fn float_rows(start: bool) -> Columns {
    let mut columns = Columns::default();
    for i in 0..24i64 {
        let value = match i % 6 {
            0 => i as f64,
            1 => f64::from_bits(0x7ff0_0000_0000_0002),
            2 => 0.1 * i as f64,
            3 => f64::NAN,
            _ => 1e9,
        };
        columns.push(1_000 + i * 15_000 + i * i % 7, value);
        if start {
            columns.set_last_start(if i < 12 { 500 } else { 100_000 });
        }
    }
    columns
}

/// Histograms whose buckets grow.
pub fn histogram_rows(float: bool, start: bool) -> Columns {
    let mut columns = Columns::default();
    for i in 1..10i64 {
        let spans = vec![
            Span { offset: 0, length: 2 },
            Span {
                offset: 3,
                length: 1 + u32::from(i > 5),
            },
        ];
        let deltas: Vec<i64> = if i > 5 { vec![i, 1, 2, -1] } else { vec![i, 1, 2] };
        let mut at = 0;
        let absolute: Vec<f64> = deltas
            .iter()
            .map(|d| {
                at += d;
                at as f64
            })
            .collect();
        let sum = i as f64 * 2.5;
        let histogram = if float {
            Histogram::Float(Arc::new(buckets(
                1.0,
                1.0 + absolute.iter().sum::<f64>(),
                sum,
                spans,
                absolute,
            )))
        } else {
            Histogram::Int(Arc::new(buckets(
                1,
                1 + absolute.iter().sum::<f64>() as u64,
                sum,
                spans,
                deltas,
            )))
        };
        columns.push_histogram(i * 15_000, histogram);
        if start {
            columns.set_last_start(500);
        }
    }
    columns
}

fn buckets<B, C>(
    zero_count: C,
    count: C,
    sum: f64,
    spans: Vec<Span>,
    positive_buckets: Vec<B>,
) -> Buckets<B, C> {
    Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 1,
        zero_threshold: 0.001,
        zero_count,
        count,
        sum,
        positive_spans: spans,
        negative_spans: Vec::new(),
        positive_buckets,
        negative_buckets: Vec::new(),
        custom_values: None,
    }
}

/// A block of a few series of all kinds.
pub fn sample_block() -> &'static SampleBlock {
    static BLOCK: OnceLock<SampleBlock> = OnceLock::new();
    BLOCK.get_or_init(|| write_block().expect("memory"))
}

fn write_block() -> Result<SampleBlock, model::storage::StorageError> {
    let files = MemFiles::new();
    let ulid = ulid_of_zero();
    let mut symbols: Vec<String> = ["__name__", "h", "i", "m"].map(str::to_owned).into();
    symbols.extend((0..40).map(|i| i.to_string()));
    symbols.sort();
    files.create_dir_all(Path::new("d"))?;
    let meta = BlockMeta::of_head(ulid, 0, 1_000_000);
    let mut writer = BlockWriter::create(Arc::new(files.clone()), Path::new("d"), meta, &symbols)?;
    writer.add_samples(&labels("h", 0), &histogram_rows(false, false))?;
    writer.add_samples(&labels("h", 1), &histogram_rows(true, true))?;
    let mut floats: Vec<Labels> = (0..40).map(|i| labels("m", i)).collect();
    floats.sort();
    for labels in &floats {
        writer.add_samples(labels, &float_rows(false))?;
    }
    writer.finish()?;
    let dir = Path::new("d").join(ulid.to_string());
    Ok(SampleBlock {
        index: files.read(&dir.join("index"))?,
        segment: files.read(&dir.join("chunks/000001"))?,
        meta: files.read(&dir.join("meta.json"))?,
    })
}

fn ulid_of_zero() -> ulid::Ulid {
    ulid::Ulid::from_parts(1_700_000_000_000, 7)
}

/// Appends floats, histograms, late samples, exemplars and metadata.
pub fn fill(db: &Db, samples: i64) {
    let float = db.resolve(&labels("m", 1)).expect("no limit");
    let histogram = db.resolve(&labels("h", 1)).expect("no limit");
    let rows = histogram_rows(false, false);
    for i in 0..samples {
        let mut batch = AppendBatch::default();
        // Every seventh comes late.
        let timestamp_ms = 1_000_000 + i * 15_000 - if i % 7 == 6 { 100_000 } else { 0 };
        batch.floats.push(FloatSample {
            series: float,
            timestamp_ms,
            value: i as f64,
        });
        if i % 7 != 6 {
            batch.histograms.push(HistogramSample {
                series: histogram,
                timestamp_ms,
                histogram: rows.histograms[(i % 9) as usize].1.clone(),
            });
        }
        if i == 0 {
            let metadata = Metadata {
                metric_type: MetricType::Counter,
                unit: "s".into(),
                help: "what it is".into(),
            };
            batch.metadata.push((float, metadata));
        }
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace", "1")]),
            value: 1.0,
            timestamp_ms: Some(timestamp_ms),
        };
        batch.exemplars.push((float, exemplar));
        db.append(&batch, &mut AppendOutcome::default()).expect("memory");
    }
}
