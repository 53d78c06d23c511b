//! The store, part by part: chunks, reading a block, writing one. `cargo bench -p narthex-benches --bench store`.
//!
//! Chunks are those of a whole day, all of them different: one chunk decoded again and again is learned by heart by the
//! processor's branch prediction, and looks faster than it is.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use files::{DiskFiles, Files, MemFiles};
use model::clock::ManualClock;
use model::columns::Columns;
use model::matcher::{MatchOp, Matcher};
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, Queryable, SelectHints, TimeRange};
use narthex_benches::{Shape, day, series};
use tsdb::block::{Block, BlockMeta, BlockWriter, compact};
use tsdb::chunk::{ChunkData, EncodeOptions, EncodedChunk, Encoding, decode, decode_all, encode};
use tsdb::db::{Db, Options};
use ulid::Ulid;

const SHAPES: [Shape; 4] = [Shape::Constant, Shape::Still, Shape::Counter, Shape::Noise];
const TWO_HOURS_MS: i64 = 7_200_000;

/// Chunks of several days of one series: too many to be learned by heart.
fn chunks_of(shape: Shape, floats: Encoding) -> Vec<EncodedChunk> {
    let options = EncodeOptions {
        floats,
        ..EncodeOptions::default()
    };
    (0..10).flat_map(|n| encode(&day(shape, n), &options)).collect()
}

fn chunks(c: &mut Criterion) {
    for (floats, shape) in [Encoding::Xor, Encoding::Xor2]
        .into_iter()
        .flat_map(|e| SHAPES.map(|shape| (e, shape)))
    {
        let chunks = chunks_of(shape, floats);
        let data: Vec<ChunkData<'_>> = chunks
            .iter()
            .map(|chunk| ChunkData {
                encoding: chunk.encoding as u8,
                bytes: &chunk.bytes,
            })
            .collect();
        let columns_of_a_day = day(shape, 0);
        let mut group = c.benchmark_group(format!("{floats:?}/{shape:?}").to_lowercase());
        group.throughput(Throughput::Elements(columns_of_a_day.len() as u64));
        let options = EncodeOptions {
            floats,
            ..EncodeOptions::default()
        };
        group.bench_function("encode", |b| {
            b.iter(|| encode(black_box(&columns_of_a_day), &options).len());
        });
        let mut columns = Columns::default();
        let mut days = data.chunks(data.len() / 10).cycle();
        group.bench_function("decode a day", |b| {
            b.iter(|| {
                columns.clear();
                let day = days.next().expect("a cycle");
                decode_all(day, i64::MIN, i64::MAX, &mut columns).expect("chunks");
                columns.len()
            });
        });
        group.bench_function("decode a day, chunk by chunk", |b| {
            b.iter(|| {
                columns.clear();
                for chunk in days.next().expect("a cycle") {
                    decode(chunk.encoding, chunk.bytes, i64::MIN, i64::MAX, &mut columns).expect("a chunk");
                }
                columns.len()
            });
        });
        group.finish();
    }
}

/// A block of `count` series with those `rows` of the samples of [`day`] that are `wanted`.
fn block(
    files: &Arc<dyn Files>,
    dir: &Path,
    number: u64,
    count: usize,
    rows: std::ops::Range<usize>,
    wanted: fn(usize) -> bool,
) -> BlockMeta {
    let start_ms = day(Shape::Constant, 0).timestamps_ms[0] / TWO_HOURS_MS * TWO_HOURS_MS;
    let all = series(count);
    let mut sorted: Vec<_> = all.iter().collect();
    sorted.sort();
    let symbols: BTreeSet<&str> = all
        .iter()
        .flat_map(|labels| labels.iter().flat_map(|(n, v)| [n, v]))
        .collect();
    let meta = BlockMeta::of_head(
        Ulid::from_parts(number + 1, 7),
        start_ms + rows.start as i64 * 15_000,
        start_ms + rows.end as i64 * 15_000 + TWO_HOURS_MS,
    );
    let mut writer = BlockWriter::create(Arc::clone(files), dir, meta, symbols).expect("a block");
    for (n, labels) in sorted.into_iter().enumerate() {
        let day = day(SHAPES[n % 4], n as u64);
        let mut columns = Columns::default();
        for row in rows.clone().filter(|row| wanted(*row)) {
            columns.push(day.timestamps_ms[row], day.values[row]);
        }
        writer.add_samples(labels, &columns).expect("samples");
    }
    writer.finish().expect("written").expect("not empty")
}

fn reading(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    let meta = block(&files, dir.path(), 0, 400, 0..5760, |_| true);
    let options = Options {
        background: false,
        retention_ms: 0,
        ..Options::default()
    };
    let clock = Arc::new(ManualClock::new(meta.max_time));
    let db = Db::open(files, dir.path(), options, clock).expect("opens");
    let querier = db.querier(TimeRange::ALL).expect("opens");
    let all = [Matcher::new(MatchOp::NotEqual, "__name__", "").expect("valid")];
    let set = querier.select(&SelectHints::default(), &all).expect("selects");
    let mut columns = Columns::default();
    let mut group = c.benchmark_group("block");
    group.throughput(Throughput::Elements(meta.stats.num_samples));
    group.bench_function("read 24 h of 400 series", |b| {
        b.iter(|| {
            let mut samples = 0;
            for index in 0..set.len() {
                set.read(index, TimeRange::ALL, &mut columns).expect("reads");
                samples += columns.len();
            }
            samples
        });
    });
    let range = TimeRange::new(meta.max_time - TWO_HOURS_MS - 300_000, meta.max_time);
    group.throughput(Throughput::Elements(set.len() as u64));
    group.bench_function("read the last 5 min of 400 series", |b| {
        b.iter(|| {
            for index in 0..set.len() {
                set.read(index, range, &mut columns).expect("reads");
            }
            columns.len()
        });
    });
    group.finish();
}

fn writing(c: &mut Criterion) {
    let files: Arc<dyn Files> = Arc::new(MemFiles::new());
    let dir = Path::new("/blocks");
    files.create_dir_all(dir).expect("a folder");
    let open = |meta: BlockMeta| {
        Arc::new(Block::open(Arc::clone(&files), &dir.join(meta.ulid.to_string())).expect("opens"))
    };
    let behind_each_other: Vec<_> = (0..3_usize)
        .map(|n| {
            open(block(&files, dir, n as u64, 1000, n * 480..(n + 1) * 480, |_| {
                true
            }))
        })
        .collect();
    // Late samples among others.
    let overlapping = [
        open(block(&files, dir, 3, 1000, 0..480, |row| row % 10 != 0)),
        open(block(&files, dir, 4, 1000, 0..480, |row| row % 10 == 0)),
    ];
    let mut group = c.benchmark_group("block");
    group.sample_size(10);
    for (what, blocks) in [
        (
            "compact three blocks of 2 h, 1000 series",
            behind_each_other.as_slice(),
        ),
        ("compact two overlapping blocks of 2 h, 1000 series", &overlapping),
    ] {
        let samples = blocks.iter().map(|block| block.meta().stats.num_samples).sum();
        group.throughput(Throughput::Elements(samples));
        group.bench_function(what, |b| {
            b.iter(|| {
                let meta = compact(
                    &files,
                    dir,
                    blocks,
                    Ulid::from_parts(9, 9),
                    Encoding::Xor,
                    &|| true,
                )
                .expect("compacts")
                .expect("not empty");
                files
                    .remove_dir_all(&dir.join(meta.ulid.to_string()))
                    .expect("removes");
            });
        });
    }
    let head = head(&files, 1000, 480);
    group.throughput(Throughput::Elements(480 * 1000));
    group.bench_function("write a head as a block: 2 h of 1000 series", |b| {
        let dir = Path::new("/snapshot");
        b.iter(|| {
            head.snapshot(dir, true).expect("writes");
            files.remove_dir_all(dir).expect("removes");
        });
    });
    group.finish();
}

/// A head in memory with `rows` samples of each of `count` series.
fn head(files: &Arc<dyn Files>, count: usize, rows: usize) -> Db {
    let options = Options {
        background: false,
        ..Options::default()
    };
    let days: Vec<_> = (0..count).map(|n| day(SHAPES[n % 4], n as u64)).collect();
    let clock = Arc::new(ManualClock::new(days[0].timestamps_ms[0]));
    let db = Db::open(Arc::clone(files), Path::new("/data"), options, clock).expect("opens");
    let references: Vec<_> = series(count)
        .iter()
        .map(|labels| db.resolve(labels).expect("no limit"))
        .collect();
    let mut batch = AppendBatch::default();
    for row in 0..rows {
        batch.floats.clear();
        batch
            .floats
            .extend(references.iter().zip(&days).map(|(series, day)| FloatSample {
                series: *series,
                timestamp_ms: day.timestamps_ms[row],
                value: day.values[row],
            }));
        db.append(&batch, &mut AppendOutcome::default()).expect("appends");
    }
    db
}

criterion_group!(store, chunks, reading, writing);
criterion_main!(store);
