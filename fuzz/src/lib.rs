//! What the fuzz targets share: checksums put right, files in memory, everything read.
//!
//! A fuzzer never guesses a checksum, so everything behind one would stay in the dark. Targets over checked formats
//! therefore *seal* their input first: they walk it as loosely as they can and write the right checksum wherever one
//! belongs. What is then read is damage that a faulty writer could produce, which must give an error and never a panic,
//! an endless loop or an allocation beyond what the input's size explains.
//!
//! | target | input | what must hold |
//! |---|---|---|
//! | `chunks` | encoding, time range, chunk | decodes or fails; appenders resume or fail; what decodes encodes again to the same |
//! | `index` | a block's index | every look-up answers or fails |
//! | `segments` | a chunk segment of a block | every offset answers or fails |
//! | `tombstones`, `meta` | the block's files | what is read is written and read again to the same |
//! | `wal_pages` | a log segment | reading ends |
//! | `wal_records` | one record | what decodes encodes again to the same |
//! | `head` | kind of file, its contents | a store opens on it, answers, takes samples, and opens again without damage |
//! | `snapshot` | a snapshot of the head, beside the logs it was made from | the same |
//! | `exposition` | format and options, a body | reading ends; every series and exemplar text parses or fails |
//! | `pushed` | switches, a line with a path, a body pushed there | it is taken or refused; what was taken is shown |
//! | `influx` | lines | reading ends; what is wrong is told in three lines |
//! | `import` | form and a place to cut, lines of JSON or text | the same is stored and told wherever the stream is cut |
//! | `remote_write` | version and switches, a message | it is answered, twice; what is stored can be read |
//! | `promql` | switches, a query | what parses prints to a query that parses to the same |
//! | `discovery` | kind of answer, the answer | reading ends; a list of Kubernetes gives the same objects wherever it is cut |
//! | `configs` | kind of file, its text | reading ends; what is wrong is told |
//! | `otlp` | encoding and options, a request | it is answered, twice, and what is taken is samples of valid sets |
//! | `series_notation` | a series with values, a selector | reading ends |
//!
//! `seeds/TARGET` is a small committed corpus, written by `cargo run --example seeds` here; `corpus/` is what a machine has
//! found so far. An input that breaks a target becomes a test of the crate concerned.

mod sample;
mod seal;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use files::{Files, MemFiles};
use model::columns::Columns;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, Queryable, SelectHints, TimeRange};
use tsdb::db::{Db, Options};

pub use sample::{SampleBlock, fill, float_rows, histogram_rows, sample_block};
pub use seal::{frame_records, seal_chunk_file, seal_index, seal_segment, seal_snapshot, seal_tombstones};

/// Puts a file and the folders above it.
pub fn put(files: &MemFiles, path: &Path, bytes: &[u8]) {
    files
        .create_dir_all(path.parent().unwrap_or(Path::new("")))
        .expect("memory");
    files
        .create(path)
        .and_then(|file| file.write_all(bytes))
        .expect("memory");
}

/// Options of a small store without threads.
pub fn options() -> Options {
    let mut options = Options {
        background: false,
        ..Options::default()
    };
    options.head.out_of_order_window_ms = 600_000;
    options.head.exemplars_max = 100;
    options
}

/// The files of a small store that was closed, its snapshot of the head included.
pub fn sample_store() -> &'static MemFiles {
    static STORE: OnceLock<MemFiles> = OnceLock::new();
    STORE.get_or_init(|| {
        let files = MemFiles::new();
        let db = open(&files);
        fill(&db, 150);
        db.close().expect("memory");
        files.after_kill()
    })
}

/// What a store that has opened on whatever was there must still do: take a sample, close, and open again on files that
/// are now whole.
pub fn go_on(files: &MemFiles, db: Db) {
    if let Ok(series) = db.resolve(&Labels::from_pairs([("__name__", "another")])) {
        let mut batch = AppendBatch::default();
        // Far ahead of whatever is there.
        batch.floats.push(FloatSample {
            series,
            timestamp_ms: db.head().max_ms().saturating_add(1),
            value: 1.0,
        });
        db.append(&batch, &mut AppendOutcome::default()).expect("memory");
    }
    db.close().expect("memory");
    drop(db);
    let again = open(files);
    let report = again.replay_report();
    assert!(
        report.damages.is_empty() && report.chunk_damage.is_none(),
        "{report:?}"
    );
    read_all(&again);
}

/// Reads everything that a store holds; the number of samples.
pub fn read_all(db: &Db) -> usize {
    let querier = db.querier(TimeRange::ALL).expect("a view of memory");
    let every = Matcher::new(MatchOp::Regex, "__name__", ".*").expect("a pattern");
    let hints = SelectHints {
        sorted: true,
        ..SelectHints::default()
    };
    let Ok(set) = querier.select(&hints, &[every]) else {
        return 0;
    };
    let mut columns = Columns::default();
    let mut samples = 0;
    for i in 0..set.len() {
        columns.clear();
        // A chunk of nonsense under a right checksum fails when it is read.
        if set.read(i, TimeRange::ALL, &mut columns).is_ok() {
            samples += columns.timestamps_ms.len();
        }
    }
    samples
}

/// Opens a store on these files.
pub fn open(files: &MemFiles) -> Db {
    let files: Arc<dyn Files> = Arc::new(files.clone());
    let clock = Arc::new(model::clock::ManualClock::new(0));
    Db::open(files, Path::new("data"), options(), clock).expect("damage is no error")
}
