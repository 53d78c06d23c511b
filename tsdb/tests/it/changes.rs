//! Whatever a view does not see is told as changed, by whatever it came: `model::changes`' two promises.
//!
//! `NARTHEX_SEED` runs one seed (`7`) or many (`100..900`).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use files::MemFiles;
use model::changes::{Changes as _, Mark};
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender as _, FloatSample, TimeRange};
use narthex_tsdb::db::Db;

use crate::support::{Contents, Rng, everything, open, options, read, seeds};

/// Times at which two states of a store differ.
fn differences(before: &Contents, after: &Contents) -> BTreeSet<i64> {
    let mut times = BTreeSet::new();
    let none = Default::default();
    for labels in before.keys().chain(after.keys()) {
        let (old, new) = (
            before.get(labels).unwrap_or(&none),
            after.get(labels).unwrap_or(&none),
        );
        let differ = |time: &&i64| old.get(time) != new.get(time);
        times.extend(old.keys().chain(new.keys()).filter(differ));
    }
    times
}

fn append(db: &Db, samples: &[(u64, i64, f64)]) {
    let mut batch = AppendBatch::default();
    for (series, timestamp_ms, value) in samples {
        let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("i", series.to_string())]);
        batch.floats.push(FloatSample {
            series: db.resolve(&labels).expect("no limit"),
            timestamp_ms: *timestamp_ms,
            value: *value,
        });
    }
    db.append(&batch, &mut AppendOutcome::default()).expect("appends");
}

struct Run {
    rng: Rng,
    db: Db,
    now_ms: i64,
}

impl Run {
    /// Does something to the store; says what.
    fn step(&mut self) -> String {
        let now_ms = self.now_ms;
        match self.rng.below(20) {
            0 => {
                let min_ms = now_ms - self.rng.below(200_000) as i64;
                let max_ms = min_ms + self.rng.below(30_000) as i64;
                self.db
                    .delete(TimeRange::new(min_ms, max_ms), &everything())
                    .expect("deletes");
                format!("delete {min_ms}..={max_ms}")
            }
            1 => {
                self.db.compact().expect("compacts");
                "compact".to_owned()
            }
            2 => {
                self.db.clean_tombstones().expect("cleans");
                "clean".to_owned()
            }
            3 => {
                self.db.compact_stale_series().expect("moves");
                "stale".to_owned()
            }
            _ => {
                self.now_ms += self.rng.below(4000) as i64;
                let samples: Vec<(u64, i64, f64)> = (0..self.rng.below(12))
                    .map(|_| {
                        // Some series lag behind the others, and some samples are late.
                        let series = self.rng.below(9);
                        let mut lag_ms = 3000 * series as i64;
                        if self.rng.below(8) == 0 {
                            lag_ms += self.rng.below(80_000) as i64;
                        }
                        let time = self.now_ms - lag_ms;
                        // One value a time: who wins where samples contradict each other is not followed.
                        let value = match (time + series as i64) % 13 {
                            0 => model::sample::stale_nan(),
                            value => value as f64,
                        };
                        (series, time, value)
                    })
                    .collect();
                append(&self.db, &samples);
                format!("append {samples:?}")
            }
        }
    }
}

#[test]
fn what_differs_from_an_earlier_view_is_told() {
    for seed in seeds(if cfg!(debug_assertions) { 30 } else { 300 }) {
        let mut options = options();
        options.head.out_of_order_window_ms = 90_000;
        options.stale_series_threshold = 0.3;
        options.retention_ms = 500_000;
        let mut run = Run {
            rng: Rng::new(seed),
            db: open(&MemFiles::new(), options),
            now_ms: 100_000,
        };
        let mut earlier: Vec<(Mark, Contents)> = Vec::new();
        let mut done = Vec::new();
        for _ in 0..150 {
            let mark = run.db.mark();
            earlier.push((mark, read(&run.db, TimeRange::ALL, &everything())));
            done.push(run.step());
            let after = read(&run.db, TimeRange::ALL, &everything());
            for _ in 0..3 {
                let (mark, before) = &earlier[run.rng.below(earlier.len() as u64) as usize];
                let told = run.db.changed_since(*mark);
                for time in differences(before, &after) {
                    assert!(
                        told.touch(TimeRange::new(time, time)),
                        "seed {seed}: {time} has changed since {mark:?}, told is {told:?}, after {:?}",
                        done.last()
                    );
                }
            }
            if run.rng.below(40) == 0 {
                // Nothing has happened since: nothing is told.
                let mark = run.db.mark();
                assert_eq!(run.db.changed_since(mark).iter().count(), 0, "seed {seed}");
            }
        }
    }
}

#[test]
fn samples_in_order_move_one_number() {
    let db = open(&MemFiles::new(), options());
    append(&db, &[(0, 1000, 1.0), (1, 1500, 1.0)]);
    let mark = db.mark();
    for at in 0..500 {
        append(&db, &[(0, 2000 + at, 1.0), (1, 2500 + at, 1.0)]);
    }
    let told = db.changed_since(mark);
    assert_eq!((told.from_ms, told.ranges), (2000, vec![]));
    // A repetition of what is there changes nothing.
    let mark = db.mark();
    append(&db, &[(1, 2999, 1.0)]);
    assert_eq!(db.changed_since(mark).iter().count(), 0);
}

/// Views that are opened in the midst of transactions: what they miss is told, however the threads run.
#[test]
fn what_a_view_misses_of_transactions_under_way_is_told() {
    const ROUNDS: i64 = 300;
    let mut options = options();
    options.head.chunk_range_ms = 100_000_000;
    options.head.out_of_order_window_ms = 10_000_000;
    let db = open(&MemFiles::new(), options);
    let (clock, done) = (AtomicI64::new(1_000_000), AtomicBool::new(false));
    append(
        &db,
        &(0..64).map(|series| (series, 1_000_000, 0.0)).collect::<Vec<_>>(),
    );
    let seen = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3u64)
            .map(|writer| {
                let (db, clock) = (&db, &clock);
                scope.spawn(move || {
                    let mut rng = Rng::new(writer + 1);
                    for _ in 0..ROUNDS {
                        let now_ms = clock.fetch_add(10, Ordering::Relaxed);
                        let late_ms = if rng.below(3) == 0 { 5000 } else { 0 };
                        let samples: Vec<(u64, i64, f64)> = (0..40)
                            .map(|_| {
                                let series = writer + 3 * rng.below(20);
                                (series, now_ms - late_ms, now_ms as f64)
                            })
                            .collect();
                        append(db, &samples);
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut seen = Vec::new();
            while !done.load(Ordering::Acquire) {
                let mark = db.mark();
                seen.push((mark, read(&db, TimeRange::ALL, &everything())));
                if seen.len() > 60 {
                    seen.remove(seen.len() / 2);
                }
            }
            seen
        });
        for writer in writers {
            writer.join().expect("writes");
        }
        done.store(true, Ordering::Release);
        reader.join().expect("reads")
    });
    let after = read(&db, TimeRange::ALL, &everything());
    assert!(!seen.is_empty());
    for (mark, before) in seen {
        let told = db.changed_since(mark);
        for time in differences(&before, &after) {
            assert!(
                told.touch(TimeRange::new(time, time)),
                "{time} has changed since {mark:?}"
            );
        }
    }
}
