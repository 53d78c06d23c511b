//! Readers beside writers: a transaction is seen whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};

use files::MemFiles;
use model::columns::Columns;
use model::labels::Labels;
use model::storage::{
    AppendBatch, AppendOutcome, Appender, FloatSample, Queryable, SelectHints, SeriesRef, TimeRange,
};

use crate::support::{everything, open, options};

const SERIES: usize = 700;

#[test]
fn a_view_shows_whole_transactions_and_does_not_change() {
    let db = open(&MemFiles::new(), options());
    let references: Vec<SeriesRef> = (0..SERIES)
        .map(|i| {
            let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]);
            db.resolve(&labels).expect("no limit")
        })
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut batch, mut outcome) = (AppendBatch::default(), AppendOutcome::default());
            for number in 1..=400 {
                batch.clear();
                batch.floats.extend(references.iter().map(|series| FloatSample {
                    series: *series,
                    timestamp_ms: number * 1000,
                    value: number as f64,
                }));
                db.append(&batch, &mut outcome).expect("appends");
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let querier = db.querier(TimeRange::ALL).expect("a view");
                    let set = querier
                        .select(&SelectHints::default(), &everything())
                        .expect("selects");
                    let last = |pass: u32| {
                        let mut columns = Columns::default();
                        let mut lasts: Vec<i64> = (0..set.len())
                            .map(|i| {
                                set.read(i, TimeRange::ALL, &mut columns).expect("reads");
                                columns.timestamps_ms.last().copied().unwrap_or(0)
                            })
                            .collect();
                        lasts.dedup();
                        assert!(lasts.len() <= 1, "pass {pass}: series end at {lasts:?}");
                        lasts.first().copied()
                    };
                    assert_eq!(last(0), last(1), "the view has changed");
                }
            });
        }
    });
}
