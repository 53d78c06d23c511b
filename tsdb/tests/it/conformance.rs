//! Folders that the reference wrote: every sample is found, and nothing is lost by opening them.

use std::path::Path;
use std::sync::Arc;

use files::{Files, MemFiles};
use model::clock::ManualClock;
use model::matcher::Matcher;
use model::storage::{ExemplarQueryable, TimeRange};
use narthex_tsdb::db::{Db, Options};

use crate::support::{Value, everything, read};

/// Copies a folder of the disk to memory, so that the original stays as it is.
fn copy(files: &MemFiles, from: &Path, to: &Path) {
    files.create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("readable").is_dir() {
            copy(files, &entry.path(), &to);
        } else {
            let writer = files.create(&to).expect("a file");
            writer
                .write_all(&std::fs::read(entry.path()).expect("readable"))
                .expect("writes");
        }
    }
}

fn open(files: &MemFiles) -> Db {
    let mut options = Options {
        background: false,
        retention_ms: 0,
        ..Options::default()
    };
    options.head.out_of_order_window_ms = 2 * 60 * 60 * 1000;
    options.head.exemplars_max = 100_000;
    let files: Arc<dyn Files> = Arc::new(files.clone());
    let clock = Arc::new(ManualClock::new(0));
    Db::open(files, Path::new("data"), options, clock).expect("opens")
}

struct Expected {
    name: &'static str,
    series: usize,
    floats: usize,
    histograms: usize,
    first_ms: i64,
    last_ms: i64,
    exemplars: usize,
}

/// Counted in the reference's answers over the same folders, staleness markers (which it does not show) added.
const EXPECTED: [Expected; 3] = [
    Expected {
        name: "scraped",
        series: 1566,
        floats: 163_866,
        histograms: 2_367,
        first_ms: 1_795_402_167_083,
        last_ms: 1_795_402_703_970,
        exemplars: 0,
    },
    Expected {
        name: "plain",
        series: 21,
        floats: 14_166,
        histograms: 8_400,
        first_ms: 1_700_006_400_000,
        last_ms: 1_700_024_385_188,
        exemplars: 50,
    },
    Expected {
        name: "deleted",
        series: 21,
        floats: 13_859,
        histograms: 8_196,
        first_ms: 1_700_006_400_000,
        last_ms: 1_700_024_385_136,
        exemplars: 59,
    },
];

#[test]
fn folders_of_the_reference_are_read_whole_again_and_again() {
    let Some(folder) = testkit::conformance("tsdb") else {
        return;
    };
    for expected in EXPECTED {
        let files = MemFiles::new();
        copy(
            &files,
            &folder.join(expected.name).join("data"),
            Path::new("data"),
        );
        let mut before = None;
        // Opened, closed and opened again; then killed and opened again.
        for round in 0..3 {
            let files = if round == 2 {
                files.after_kill()
            } else {
                files.clone()
            };
            let db = open(&files);
            let report = db.replay_report();
            assert!(
                report.damages.is_empty() && report.chunk_damage.is_none(),
                "{report:?}"
            );
            assert_eq!((report.unknown_entries, report.skipped_records), (0, 0));
            assert!(db.damaged_blocks().is_empty());
            let contents = read(&db, TimeRange::ALL, &everything());
            let values = || contents.values().flat_map(|s| s.values());
            let floats = values().filter(|v| matches!(v, Value::Float(_))).count();
            let times = || contents.values().flat_map(|s| s.keys());
            let any = vec![vec![Matcher::equal("nothing", "")]];
            let exemplars = db.exemplars(TimeRange::ALL, &any).expect("reads");
            let got = (
                contents.len(),
                floats,
                values().count() - floats,
                times().min().copied(),
                times().max().copied(),
                exemplars.iter().map(|s| s.exemplars.len()).sum::<usize>(),
            );
            let want = (
                expected.series,
                expected.floats,
                expected.histograms,
                Some(expected.first_ms),
                Some(expected.last_ms),
                expected.exemplars,
            );
            assert_eq!(got, want, "{} in round {round}", expected.name);
            let before = before.get_or_insert_with(|| contents.clone());
            assert!(
                *before == contents,
                "{} has changed in round {round}",
                expected.name
            );
            db.close().expect("closes");
        }
    }
}
