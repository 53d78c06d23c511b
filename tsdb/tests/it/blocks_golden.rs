//! Blocks in `testdata/tsdb/blocks`, by writer and version: they are read for ever. Each has a text of what it holds
//! (`expect.txt`), and a list of damages with what must be said about them (`damaged.txt`: file, byte, bits to flip,
//! part of the message). `UPDATE_EXPECT=1` writes the texts anew, and the block of the present version where missing.
#![expect(clippy::unwrap_used, reason = "a test: helpers fail it by panicking")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::{DiskFiles, Files, MemFiles};
use model::columns::Columns;
use model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, IntHistogram, Span};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::stale_nan;
use model::storage::TimeRange;
use narthex_tsdb::block::{Block, BlockChunk, BlockMeta, BlockWriter, SeriesEntry};
use narthex_tsdb::chunk::{EncodeOptions, Encoding, encode};
use narthex_tsdb::select::LabelIndex;
use ulid::Ulid;

const FILES: [&str; 4] = ["index", "chunks/000001", "tombstones", "meta.json"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/tsdb/blocks")
}

fn updating() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

/// Everything that a block holds.
fn render(block: &Block) -> String {
    let mut out = String::new();
    let mut entry = SeriesEntry::default();
    for series in block.index().all().unwrap().to_vec() {
        let labels = block.index().labels(series, &mut entry).unwrap();
        writeln!(out, "series {series} {labels}").unwrap();
        for chunk in &entry.chunks {
            let data = block.segments().chunk(chunk.reference).unwrap();
            writeln!(
                out,
                "  chunk {} to {}, encoding {}, {} bytes",
                chunk.min_ms,
                chunk.max_ms,
                data.encoding,
                data.bytes.len()
            )
            .unwrap();
        }
        for (min, max) in block.tombstones().of(series.into()) {
            writeln!(out, "  deleted {min} to {max}").unwrap();
        }
        let mut columns = Columns::default();
        block.read(series, TimeRange::ALL, &mut columns).unwrap();
        let mut histograms = columns.histograms.iter().peekable();
        for (row, t) in columns.timestamps_ms.iter().enumerate() {
            let start = columns.start_timestamps_ms.get(row).copied().unwrap_or(0);
            let start = if start == 0 {
                String::new()
            } else {
                format!(" since {start}")
            };
            match histograms.next_if(|(at, _)| *at as usize == row) {
                Some((_, Histogram::Int(h))) => writeln!(out, "  {t}{start} {}", shown(h)).unwrap(),
                Some((_, Histogram::Float(h))) => writeln!(out, "  {t}{start} {}", shown(h)).unwrap(),
                None => writeln!(out, "  {t}{start} {:016x}", columns.values[row].to_bits()).unwrap(),
            }
        }
    }
    out
}

fn shown<B: std::fmt::Debug, C: std::fmt::Debug>(h: &Buckets<B, C>) -> String {
    let spans = |spans: &[Span]| {
        spans
            .iter()
            .map(|s| format!("{}+{}", s.offset, s.length))
            .collect::<Vec<_>>()
            .join(" ")
    };
    format!(
        "{:?} schema {} zero {:?}@{} count {:?} sum {} [{}] {:?} [{}] {:?} {:?}",
        h.counter_reset_hint,
        h.schema,
        h.zero_count,
        h.zero_threshold,
        h.count,
        h.sum,
        spans(&h.positive_spans),
        h.positive_buckets,
        spans(&h.negative_spans),
        h.negative_buckets,
        h.custom_values.as_deref().unwrap_or(&[]),
    )
}

fn histogram(n: i64, custom: bool) -> IntHistogram {
    Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: if custom { CUSTOM_BUCKETS_SCHEMA } else { 3 },
        zero_threshold: if custom { 0.0 } else { 0.001 },
        zero_count: if custom { 0 } else { n as u64 },
        count: 10 * n as u64,
        sum: 1.25 * n as f64,
        positive_spans: vec![
            Span { offset: 0, length: 2 },
            Span {
                offset: 3,
                length: 1 + u32::from(n > 3),
            },
        ],
        negative_spans: if custom {
            vec![]
        } else {
            vec![Span {
                offset: -2,
                length: 1,
            }]
        },
        positive_buckets: [n, 1, -n, 2][..3 + usize::from(n > 3)].to_vec(),
        negative_buckets: if custom { vec![] } else { vec![3 * n] },
        custom_values: custom.then(|| [0.005, 0.25, 1.0, 7.5, 33_554.431, 1e6, 1e7].into()),
    }
}

/// Writes the block of the present version.
fn write_block(files: &Arc<dyn Files>, parent: &Path) {
    let names = [
        "float",
        "float_started",
        "histogram",
        "histogram_custom",
        "histogram_float",
        "histogram_started",
    ];
    let mut symbols = vec!["__name__", "case"];
    symbols.extend(names);
    symbols.sort_unstable();
    let meta = BlockMeta::of_head(Ulid::from_parts(1_700_000_000_000, 1), 0, 7_200_000);
    let mut writer = BlockWriter::create(files.clone(), parent, meta, symbols).unwrap();
    for name in names {
        let mut columns = Columns::default();
        for n in 1..=6 {
            let t = n * 15_000 + n % 2;
            let int = Arc::new(histogram(n, name == "histogram_custom"));
            match name {
                _ if n == 6 && name.starts_with("float") => columns.push(t, stale_nan()),
                "float" => columns.push(t, [0.0, 1.0, -0.5, f64::INFINITY, 1e300][n as usize - 1]),
                "float_started" => columns.push(t, n as f64),
                "histogram_float" => columns.push_histogram(t, Histogram::Float(Arc::new(int.to_float()))),
                _ => columns.push_histogram(t, Histogram::Int(int)),
            }
            if name.ends_with("started") {
                columns.set_last_start(if n < 4 { 1000 } else { 50_000 });
            }
        }
        let mut chunks = encode(&columns, &EncodeOptions::default());
        if name == "histogram_float" {
            // The sixth encoding: start timestamps on float histograms.
            columns.set_last_start(77_000);
            chunks = encode(&columns, &EncodeOptions::keep(Encoding::FloatHistogramSt));
        }
        let labels = Labels::from_pairs([("__name__", name), ("case", name)]);
        let chunks: Vec<_> = chunks.iter().map(BlockChunk::from).collect();
        writer.add(&labels, &chunks).unwrap();
    }
    let meta = writer.finish().unwrap().unwrap();
    let block = Block::open(files.clone(), &parent.join(meta.ulid.to_string())).unwrap();
    block
        .delete(TimeRange::new(20_000, 50_000), &[Matcher::equal("case", "float")])
        .unwrap();
}

fn blocks() -> Vec<(PathBuf, PathBuf)> {
    let mut blocks = Vec::new();
    for version in std::fs::read_dir(golden())
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
    {
        let inside = std::fs::read_dir(&version).unwrap().flatten().map(|e| e.path());
        let block = inside.filter(|p| p.join("meta.json").exists()).last();
        blocks.push((version, block.unwrap()));
    }
    assert!(!blocks.is_empty());
    blocks
}

#[test]
fn old_blocks_are_read_for_ever() {
    let disk: Arc<dyn Files> = Arc::new(DiskFiles);
    let present = golden().join("narthex-0.1");
    if updating() && !present.exists() {
        std::fs::create_dir_all(&present).unwrap();
        write_block(&disk, &present);
    }
    for (version, block) in blocks() {
        let text = render(&Block::open(disk.clone(), &block).unwrap());
        let expect = version.join("expect.txt");
        if updating() {
            std::fs::write(&expect, &text).unwrap();
        }
        assert_eq!(
            text,
            std::fs::read_to_string(&expect).unwrap(),
            "{}",
            version.display()
        );
    }
}

#[test]
fn what_is_written_today_is_what_was_written_first() {
    let files: Arc<dyn Files> = Arc::new(MemFiles::new());
    write_block(&files, Path::new("/"));
    let (_, block) = blocks()
        .into_iter()
        .find(|(v, _)| v.ends_with("narthex-0.1"))
        .unwrap();
    let ours = Path::new("/").join(block.file_name().unwrap());
    for file in FILES {
        assert!(
            std::fs::read(block.join(file)).unwrap() == files.read(&ours.join(file)).unwrap(),
            "{file} differs"
        );
    }
}

#[test]
fn damaged_twins_are_refused_with_a_reason() {
    for (version, block) in blocks() {
        let mut damages = 0;
        for line in std::fs::read_to_string(version.join("damaged.txt"))
            .unwrap()
            .lines()
        {
            let mut words = line.splitn(4, ' ');
            let (file, at) = (
                words.next().unwrap(),
                words.next().unwrap().parse::<usize>().unwrap(),
            );
            let flip = u8::from_str_radix(words.next().unwrap(), 16).unwrap();
            let files: Arc<dyn Files> = Arc::new(MemFiles::new());
            files.create_dir_all(Path::new("/b/chunks")).unwrap();
            for name in FILES {
                let mut bytes = std::fs::read(block.join(name)).unwrap();
                if name == file {
                    bytes[at] ^= flip;
                }
                files
                    .create(&Path::new("/b").join(name))
                    .unwrap()
                    .write_all(&bytes)
                    .unwrap();
            }
            let error = read_all(files).unwrap_err().to_string();
            assert!(error.contains(words.next().unwrap()), "{line}: {error}");
            assert!(
                error.starts_with(&format!("/b/{file} is damaged at byte ")),
                "{line}: {error}"
            );
            damages += 1;
        }
        assert!(damages > 0);
    }
}

fn read_all(files: Arc<dyn Files>) -> Result<(), model::storage::StorageError> {
    let block = Block::open(files, Path::new("/b"))?;
    let mut columns = Columns::default();
    for series in block.index().all()?.to_vec() {
        columns.clear();
        block.labels(series)?;
        block.read(series, TimeRange::ALL, &mut columns)?;
    }
    Ok(())
}
