//! Imports into stores that only remember what they were given.

use model::clock::ManualClock;
use model::columns::Columns;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, History, SeriesError, SeriesRef,
    StorageError,
};
use parking_lot::Mutex;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const HEAD_MS: i64 = NOW_MS - 3_600_000;

/// Refuses as late what is odd, as doubled what ends in two zeros, and each series called `full`.
#[derive(Default)]
struct Memory {
    names: Mutex<Vec<String>>,
    appended: Mutex<Vec<(String, i64, f64)>>,
    inserted: Mutex<Vec<Vec<(String, Columns)>>>,
    fails: bool,
}

impl Appender for Memory {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        if labels.metric_name() == "full" {
            return Err(SeriesError::LimitReached);
        }
        let mut names = self.names.lock();
        names.push(labels.to_string());
        Ok(SeriesRef(names.len() as u64 - 1))
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        let (names, mut appended) = (self.names.lock(), self.appended.lock());
        for (at, sample) in batch.floats.iter().enumerate() {
            let refusal = match sample.timestamp_ms {
                ms if ms % 2 != 0 => Refusal::OutOfOrder,
                ms if ms % 1000 == 200 => Refusal::DuplicateTimestamp,
                _ => {
                    let name = names[sample.series.0 as usize].clone();
                    appended.push((name, sample.timestamp_ms, sample.value));
                    outcome.accepted += 1;
                    continue;
                }
            };
            // In whatever order.
            outcome.refused.insert(0, (BatchList::Floats, at as u32, refusal));
        }
        Ok(())
    }
}

impl History for Memory {
    fn range(&self) -> TimeRange {
        TimeRange::new(0, HEAD_MS - 1)
    }

    fn insert(&self, series: Vec<(Labels, Columns)>) -> Result<(), StorageError> {
        if self.fails {
            return Err(StorageError::Other("the disk is full".to_owned()));
        }
        let named = series
            .into_iter()
            .map(|(labels, columns)| (labels.to_string(), columns));
        let mut inserted: Vec<(String, Columns)> = named.collect();
        inserted.sort_by(|a, b| a.0.cmp(&b.0));
        self.inserted.lock().push(inserted);
        Ok(())
    }
}

fn importer(store: &Arc<Memory>, form: Form) -> (Importer, Arc<Progress>) {
    let stores = Stores {
        appender: store.clone(),
        history: store.clone(),
        clock: Arc::new(ManualClock::new(NOW_MS)),
    };
    let progress = Arc::new(Progress::default());
    (
        Importer::new(form, Rules::default(), stores, progress.clone()),
        progress,
    )
}

#[test]
fn the_head_has_what_it_takes_and_history_the_rest() {
    let store = Arc::new(Memory::default());
    let (mut importer, progress) = importer(&store, Form::Json);
    let times = [
        7,
        HEAD_MS + 5,
        HEAD_MS + 2,
        HEAD_MS - 1,
        HEAD_MS + 3,
        HEAD_MS + 200,
        -1,
        NOW_MS + 3_600_000,
    ];
    let times = times.map(|ms| ms.to_string()).join(",");
    importer.read(
        format!(
            "{{\"metric\":{{\"__name__\":\"m\"}},\"values\":[1,2,3,4,5,6,7,8],\"timestamps\":[{times}]}}\n"
        )
        .as_bytes(),
    );
    importer.read(
        format!("{{\"metric\":{{\"__name__\":\"full\"}},\"values\":[1],\"timestamps\":[{NOW_MS}]}}")
            .as_bytes(),
    );
    let outcome = importer.finish();
    assert_eq!(
        *store.appended.lock(),
        [(r#"{__name__="m"}"#.to_owned(), HEAD_MS + 2, 3.0)]
    );
    let inserted = store.inserted.lock();
    let [block] = &inserted[..] else {
        panic!("{inserted:?}")
    };
    let [(name, columns)] = &block[..] else {
        panic!("{block:?}")
    };
    assert_eq!(name, r#"{__name__="m"}"#);
    assert_eq!(columns.timestamps_ms, [7, HEAD_MS - 1, HEAD_MS + 3, HEAD_MS + 5]);
    assert_eq!(columns.values, [1.0, 4.0, 5.0, 2.0]);
    assert_eq!(
        outcome.problems(),
        "1 samples were not stored, the first in line 1: duplicate sample for timestamp\n\
         1 samples were not stored, the first in line 2: limit of active series reached\n\
         1 samples were not stored, the first in line 1: older than what is kept; see --storage.tsdb.retention.time\n\
         1 samples were not stored, the first in line 1: sample is too far in the future"
    );
    let counts = progress.counts();
    assert_eq!(
        (counts.lines, counts.stored, counts.refused, counts.bad_lines),
        (2, 5, 4, 0)
    );
}

#[test]
fn what_is_held_is_stored_before_it_becomes_too_much() {
    let store = Arc::new(Memory::default());
    let (mut importer, _) = importer(&store, Form::Text);
    importer.reader.held_bytes_max = 10_000;
    for step in 0..2000 {
        importer.read(format!("a{{b=\"{}\"}} {step} {step}\n", step % 3).as_bytes());
        assert!(importer.reader.held.bytes() <= 10_100);
    }
    assert_eq!(importer.finish().stored, 2000);
    let inserted = store.inserted.lock();
    assert!((3..10).contains(&inserted.len()), "{}", inserted.len());
    let all = inserted
        .iter()
        .flatten()
        .map(|(_, columns)| columns.len())
        .sum::<usize>();
    assert_eq!(all, 2000);
}

#[test]
fn of_two_values_for_a_time_the_later_counts() {
    let store = Arc::new(Memory::default());
    let (mut importer, _) = importer(&store, Form::Text);
    importer.read(b"a 1 10\na 2 5\na 3 10\nb 4 10\n");
    assert_eq!(importer.finish().stored, 3);
    let inserted = store.inserted.lock();
    let columns = &inserted[0][0].1;
    assert_eq!(
        (&columns.timestamps_ms[..], &columns.values[..]),
        (&[5, 10][..], &[2.0, 3.0][..])
    );
}

#[test]
fn storage_that_fails_ends_it() {
    let store = Arc::new(Memory {
        fails: true,
        ..Memory::default()
    });
    let (mut importer, progress) = importer(&store, Form::Text);
    importer.reader.held_bytes_max = 300;
    for step in 0..100 {
        importer.read(format!("a 1 {step}\n").as_bytes());
    }
    assert!(importer.has_failed());
    let outcome = importer.finish();
    assert_eq!(outcome.problems(), "storage refuses writes: the disk is full");
    assert_eq!((outcome.stored, progress.counts().stored), (0, 0));
}

#[test]
fn lines_that_are_wrong_are_shown() {
    let store = Arc::new(Memory::default());
    let (mut importer, _) = importer(&store, Form::Text);
    importer.read("good 1 5\nbad one\n\n# HELP a b\nü bad\n".as_bytes());
    let outcome = importer.finish();
    assert_eq!((outcome.stored, outcome.bad_lines), (1, 2));
    let problems = outcome.problems();
    assert!(problems.starts_with("line 2, column 5: expected "), "{problems}");
    assert!(
        problems.contains("\n  bad one\n      ^\nline 5, column 1: "),
        "{problems}"
    );
    // Of a long line, what is around the place.
    let (mut importer, _) = self::importer(&store, Form::Json);
    let long = format!(
        r#"{{"metric":{{"__name__":"m"}},"values":[{}x],"timestamps":[1]}}"#,
        "1,".repeat(1000)
    );
    importer.read(long.as_bytes());
    let problems = importer.finish().problems();
    assert!(problems.starts_with("line 1, column 2038: "), "{problems}");
    assert!(problems.contains(r#"1,1,x],"timestamps":[1]}"#), "{problems}");
}
