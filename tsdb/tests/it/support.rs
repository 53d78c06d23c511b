//! What the tests share: a small random generator, a store on memory, and everything that a store holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use files::{Files, MemFiles};
use model::clock::ManualClock;
use model::columns::Columns;
use model::histogram::Histogram;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::storage::{Queryable, SelectHints, TimeRange};
use narthex_tsdb::db::{Db, Options};
use narthex_tsdb::head::Head;

/// Folder of the store on the memory files.
pub(crate) const DIR: &str = "data";

/// xorshift64*: enough for tests, and the same on every machine.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }
}

/// Seeds to run: the one in `NARTHEX_SEED`, or the range of them that stands there (`100..900`), or `0..n`.
pub(crate) fn seeds(n: u64) -> std::ops::Range<u64> {
    let given = std::env::var("NARTHEX_SEED").ok();
    let given = given.and_then(|text| match text.split_once("..") {
        Some((first, end)) => Some(first.parse().ok()?..end.parse().ok()?),
        None => text.parse().ok().map(|seed: u64| seed..seed + 1),
    });
    given.unwrap_or(0..n)
}

/// A value as tests compare it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Float(u64),
    Histogram(String),
}

impl Value {
    pub(crate) fn of(histogram: &Histogram) -> Value {
        Value::Histogram(match histogram {
            Histogram::Int(h) => format!("{h}"),
            Histogram::Float(h) => format!("float {h}"),
        })
    }
}

/// Everything in a store: samples by series and time.
pub(crate) type Contents = BTreeMap<Labels, BTreeMap<i64, Value>>;

pub(crate) fn options() -> Options {
    let mut options = Options {
        background: false,
        retention_ms: 0,
        ..Options::default()
    };
    options.head.chunk_range_ms = 100_000;
    options.head.wal_segment_bytes = 32 << 10;
    // Most tests are about what the logs bring back.
    options.head.snapshots = false;
    options
}

pub(crate) fn open(files: &MemFiles, options: Options) -> Db {
    let files: Arc<dyn Files> = Arc::new(files.clone());
    Db::open(files, Path::new(DIR), options, Arc::new(ManualClock::new(0))).expect("the store opens")
}

/// Removes the snapshot of the head, so that the next start reads the whole log.
pub(crate) fn forget_snapshot(files: &MemFiles) {
    let path = Path::new(DIR).join(Head::SNAPSHOT_FILE);
    if files.exists(&path) {
        files.remove_file(&path).expect("removes");
    }
}

/// The samples in `range` of the series that satisfy all matchers.
pub(crate) fn read(db: &Db, range: TimeRange, matchers: &[Matcher]) -> Contents {
    let querier = db.querier(range).expect("a view");
    let hints = SelectHints {
        sorted: true,
        ..SelectHints::default()
    };
    let set = querier.select(&hints, matchers).expect("selects");
    let mut contents = Contents::new();
    let mut columns = Columns::default();
    let mut last: Option<Labels> = None;
    for i in 0..set.len() {
        set.read(i, TimeRange::ALL, &mut columns).expect("reads");
        let mut samples = BTreeMap::new();
        assert!(
            columns.timestamps_ms.is_sorted_by(|a, b| a < b),
            "{:?}",
            columns.timestamps_ms
        );
        for (t, v) in columns.timestamps_ms.iter().zip(&columns.values) {
            samples.insert(*t, Value::Float(v.to_bits()));
        }
        for (row, histogram) in &columns.histograms {
            samples.insert(columns.timestamps_ms[*row as usize], Value::of(histogram));
        }
        let labels = set.labels(i);
        assert!(
            last.as_ref().is_none_or(|l| *l < labels),
            "series come sorted and once"
        );
        last = Some(labels.clone());
        if !samples.is_empty() {
            contents.insert(labels, samples);
        }
    }
    contents
}

pub(crate) fn everything() -> Vec<Matcher> {
    vec![Matcher::new(MatchOp::Regex, "__name__", ".*").expect("a pattern")]
}

/// The bytes of the fence "```hex NAME" in a document of `tsdb/docs`; what follows a `#` in a line is comment.
pub(crate) fn hex_of(document: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document);
    let text = std::fs::read_to_string(path).expect("the document is there");
    let fence = format!("```hex {name}\n");
    let start = text.find(&fence).expect("the example is there") + fence.len();
    let body = &text[start..];
    let body = &body[..body.find("```").expect("the fence ends")];
    let digits: String = body
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).expect("two digits"))
        .collect()
}
