//! The documents in `tsdb/docs` and the code agree: every hex example is what the code writes, and the code reads it.
#![expect(clippy::unwrap_used, reason = "a test: helpers fail it by panicking")]

use std::path::Path;
use std::sync::Arc;

use files::{Files, MemFiles};
use model::columns::Columns;
use model::histogram::{Buckets, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::TimeRange;
use narthex_tsdb::block::{Block, BlockMeta, BlockWriter, INDEX_FILE, META_FILE, TOMBSTONES_FILE};
use narthex_tsdb::chunk::{EncodeOptions, Encoding, decode, encode};
use ulid::Ulid;

/// The bytes of the fence "```hex NAME" in a document; what follows a `#` in a line is comment.
fn hex_of(document: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document);
    let text = std::fs::read_to_string(&path).unwrap();
    let fence = format!("```hex {name}\n");
    let start = text
        .find(&fence)
        .unwrap_or_else(|| panic!("{document} has no example {name}"))
        + fence.len();
    let body = &text[start..start + text[start..].find("```").unwrap()];
    let digits: String = body
        .lines()
        .map(|line| line.split('#').next().unwrap())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}

fn check(document: &str, name: &str, want: &[u8]) {
    let hex: String = want.iter().map(|b| format!("{b:02x}")).collect();
    let shown: String = hex_of(document, name)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(shown, hex, "{document}, example {name}");
}

/// Floats 1, 1, 2, 2 about every 15 s.
fn floats() -> Columns {
    let mut columns = Columns::default();
    for (t, v) in [(1000, 1.0), (16_000, 1.0), (31_000, 2.0), (46_001, 2.0)] {
        columns.push(t, v);
    }
    columns
}

/// Two histograms with two buckets.
fn histograms(start_ms: i64) -> Columns {
    let mut columns = Columns::default();
    for (t, buckets, count) in [(1000, [1, 2], 6), (16_000, [2, 3], 9)] {
        let histogram = Buckets {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: 1,
            zero_threshold: 2f64.powi(-128),
            zero_count: 2,
            count,
            sum: 1.5 * count as f64,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            negative_spans: vec![],
            positive_buckets: buckets.to_vec(),
            negative_buckets: vec![],
            custom_values: None,
        };
        columns.push_histogram(t, Histogram::Int(Arc::new(histogram)));
        columns.set_last_start(start_ms);
    }
    columns
}

/// The same with float counts.
fn float_histograms(start_ms: i64) -> Columns {
    let mut columns = histograms(start_ms);
    for (_, histogram) in &mut columns.histograms {
        if let Histogram::Int(h) = &*histogram {
            *histogram = Histogram::Float(Arc::new(h.to_float()));
        }
    }
    columns
}

#[test]
fn chunks() {
    let mut started = floats();
    for (row, start_ms) in [500, 500, 500, 600].into_iter().enumerate() {
        started.start_timestamps_ms.resize(4, 0);
        started.start_timestamps_ms[row] = start_ms;
    }
    let examples = [
        ("xor", Encoding::Xor, floats()),
        ("xor2", Encoding::Xor2, started),
        ("histogram", Encoding::Histogram, histograms(0)),
        ("float-histogram", Encoding::FloatHistogram, float_histograms(0)),
        ("histogram-st", Encoding::HistogramSt, histograms(500)),
        (
            "float-histogram-st",
            Encoding::FloatHistogramSt,
            float_histograms(500),
        ),
    ];
    for (name, encoding, columns) in examples {
        let chunk = encode(&columns, &EncodeOptions::keep(encoding)).remove(0);
        check("chunks.md", name, &chunk.bytes);
        let mut read = Columns::default();
        decode(
            encoding as u8,
            &hex_of("chunks.md", name),
            i64::MIN,
            i64::MAX,
            &mut read,
        )
        .unwrap();
        assert_eq!(read.timestamps_ms, columns.timestamps_ms);
        assert_eq!(read.values, columns.values);
        assert_eq!(read.start_timestamps_ms, columns.start_timestamps_ms);
    }
}

/// The block that the documents show: two series, one sample deleted.
fn example_block(files: &Arc<dyn Files>) -> Block {
    let meta = BlockMeta::of_head(Ulid::from_parts(1_700_000_000_000, 7), 0, 7_200_000);
    let symbols = ["__name__", "a", "b", "job", "up"];
    let mut writer = BlockWriter::create(files.clone(), Path::new("/"), meta, symbols).unwrap();
    writer
        .add_samples(&Labels::from_pairs([("__name__", "up"), ("job", "a")]), &floats())
        .unwrap();
    let mut one = Columns::default();
    one.push(1000, 0.0);
    writer
        .add_samples(&Labels::from_pairs([("__name__", "up"), ("job", "b")]), &one)
        .unwrap();
    let meta = writer.finish().unwrap().unwrap();
    let block = Block::open(files.clone(), &Path::new("/").join(meta.ulid.to_string())).unwrap();
    block
        .delete(TimeRange::new(0, 5000), &[Matcher::equal("job", "b")])
        .unwrap();
    block
}

#[test]
fn block_files() {
    let files: Arc<dyn Files> = Arc::new(MemFiles::new());
    let block = example_block(&files);
    let examples = [
        ("index.md", "index", INDEX_FILE),
        ("block-chunks.md", "segment", "chunks/000001"),
        ("tombstones.md", "tombstones", TOMBSTONES_FILE),
    ];
    let dir = Path::new("/copy");
    files.create_dir_all(&dir.join("chunks")).unwrap();
    let meta = files.read(&block.dir().join(META_FILE)).unwrap();
    let document =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/meta.md")).unwrap();
    assert!(
        document.contains(std::str::from_utf8(&meta).unwrap()),
        "meta.md should show\n{}",
        String::from_utf8_lossy(&meta)
    );
    files
        .create(&dir.join(META_FILE))
        .unwrap()
        .write_all(&meta)
        .unwrap();
    for (document, name, file) in examples {
        check(document, name, &files.read(&block.dir().join(file)).unwrap());
        files
            .create(&dir.join(file))
            .unwrap()
            .write_all(&hex_of(document, name))
            .unwrap();
    }
    let read = Block::open(files.clone(), dir).unwrap();
    let mut columns = Columns::default();
    let series = read.select(&[Matcher::equal("__name__", "up")]).unwrap();
    for number in &series {
        read.read(*number, TimeRange::ALL, &mut columns).unwrap();
    }
    assert_eq!(series.len(), 2);
    assert_eq!(columns.timestamps_ms, floats().timestamps_ms);
}
