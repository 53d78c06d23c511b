//! A random list of operations drives the store and a map; both must tell the same.

use std::sync::Arc;

use model::clock::ManualClock;
use model::histogram::{CounterResetHint, Histogram, IntHistogram, Span};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, FloatSample, HistogramSample, TimeRange,
};
use narthex_tsdb::db::{Db, Options};
use narthex_tsdb::files::{Files, MemFiles};
use narthex_tsdb::head::{SnapshotRefusal, SnapshotUse};

use crate::support::{Contents, Rng, Value, everything, forget_snapshot, open, options, read, seeds};

struct Run {
    rng: Rng,
    files: MemFiles,
    options: Options,
    db: Option<Db>,
    model: Contents,
    now_ms: i64,
    /// Ranges that were deleted: late samples must not go there, tombstones would hide them.
    deleted: Vec<(i64, i64)>,
    log: Vec<String>,
}

fn labels(i: u64) -> Labels {
    let name = if i % 5 == 4 { "histogram" } else { "float" };
    Labels::from_pairs([
        ("__name__", name.to_owned()),
        ("i", i.to_string()),
        ("mod", (i % 3).to_string()),
    ])
}

fn histogram(rng: &mut Rng) -> Histogram {
    let buckets: Vec<i64> = (0..3).map(|_| rng.below(9) as i64).collect();
    let absolute = [
        buckets[0],
        buckets[0] + buckets[1],
        buckets[0] + buckets[1] + buckets[2],
    ];
    Histogram::Int(Arc::new(IntHistogram {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: (rng.below(3)) as i32,
        zero_threshold: 0.001,
        zero_count: 1,
        count: 1 + absolute.iter().sum::<i64>() as u64,
        sum: rng.below(1000) as f64 / 8.0,
        positive_spans: vec![Span {
            offset: rng.below(3) as i32,
            length: 3,
        }],
        negative_spans: vec![],
        positive_buckets: buckets,
        negative_buckets: vec![],
        custom_values: None,
    }))
}

impl Run {
    fn db(&self) -> &Db {
        self.db.as_ref().expect("open")
    }

    fn append(&mut self) {
        let series = 1 + self.rng.below(40);
        let mut batch = AppendBatch::default();
        let mut ids = Vec::new();
        self.now_ms += 200 + self.rng.below(4000) as i64;
        for i in 0..series {
            if self.rng.below(4) == 0 {
                continue;
            }
            let labels = labels(i);
            let reference = self.db().resolve(&labels).expect("no limit");
            let window_ms = self.options.head.out_of_order_window_ms;
            let late = window_ms > 0 && self.rng.below(6) == 0;
            let mut timestamp_ms = self.now_ms + self.rng.below(50) as i64;
            if late {
                timestamp_ms -= self.rng.below(window_ms as u64 - 5000) as i64;
                let known = self
                    .model
                    .get(&labels)
                    .is_some_and(|s| s.contains_key(&timestamp_ms));
                let hidden = self
                    .deleted
                    .iter()
                    .any(|(a, b)| (*a..=*b).contains(&timestamp_ms));
                if known || hidden {
                    continue;
                }
            }
            if labels.metric_name() == "histogram" {
                let histogram = histogram(&mut self.rng);
                batch.histograms.push(HistogramSample {
                    series: reference,
                    timestamp_ms,
                    histogram: histogram.clone(),
                });
                ids.push((BatchList::Histograms, labels, timestamp_ms, Value::of(&histogram)));
            } else {
                let value = match self.rng.below(10) {
                    0 => model::sample::stale_nan(),
                    1 => f64::NAN,
                    _ => self.rng.below(1000) as f64 / 4.0,
                };
                batch.floats.push(FloatSample {
                    series: reference,
                    timestamp_ms,
                    value,
                });
                ids.push((
                    BatchList::Floats,
                    labels,
                    timestamp_ms,
                    Value::Float(value.to_bits()),
                ));
            }
        }
        let mut outcome = AppendOutcome::default();
        match self.db().append(&batch, &mut outcome) {
            Ok(()) => {}
            Err(AppendError::UnknownSeries(_)) => panic!("nothing is collected in between"),
            Err(error) => panic!("{error}"),
        }
        self.log.push(format!("append {} at {}", ids.len(), self.now_ms));
        let (mut floats, mut histograms) = (0, 0);
        for (list, labels, timestamp_ms, value) in ids {
            let at = if list == BatchList::Floats {
                &mut floats
            } else {
                &mut histograms
            };
            let refused = outcome.refused.iter().any(|(l, i, _)| *l == list && *i == *at);
            *at += 1;
            if !refused {
                self.model.entry(labels).or_default().insert(timestamp_ms, value);
            }
        }
    }

    fn restart(&mut self) {
        let db = self.db.take().expect("open");
        if self.rng.below(2) == 0 {
            self.log.push("close".to_owned());
            db.close().expect("closes");
        } else {
            self.log.push("kill".to_owned());
            self.files = self.files.after_kill();
        }
        drop(db);
        if self.rng.below(3) == 0 {
            self.log.push("without its snapshot".to_owned());
            forget_snapshot(&self.files);
        }
        self.db = Some(open(&self.files, self.options.clone()));
        let report = self.db().replay_report().clone();
        assert!(report.damages.is_empty());
        self.log.push(format!("{:?}", report.snapshot));
        // A checkpoint may have been written after the last snapshot.
        assert!(
            !matches!(report.snapshot, SnapshotUse::Refused(SnapshotRefusal::Damaged(_))),
            "{:#?}",
            self.log
        );
    }

    fn range(&mut self) -> TimeRange {
        let a = self.rng.below(self.now_ms as u64 + 1000) as i64;
        let b = self.rng.below(self.now_ms as u64 + 1000) as i64;
        TimeRange::new(a.min(b), a.max(b))
    }

    fn matcher(&mut self) -> Matcher {
        match self.rng.below(4) {
            0 => Matcher::equal("mod", "1"),
            1 => Matcher::new(MatchOp::Regex, "i", "1.|2").expect("a pattern"),
            2 => Matcher::new(MatchOp::NotEqual, "mod", "2").expect("no pattern"),
            _ => Matcher::equal("__name__", "histogram"),
        }
    }

    fn delete(&mut self) {
        let (range, matcher) = (self.range(), self.matcher());
        self.log.push(format!("delete {range:?} {matcher}"));
        self.db()
            .delete(range, std::slice::from_ref(&matcher))
            .expect("deletes");
        self.deleted.push((range.min_ms, range.max_ms));
        for (labels, samples) in &mut self.model {
            if matcher.matches_labels(labels) {
                samples.retain(|t, _| !range.contains(*t));
            }
        }
    }

    fn compact(&mut self) {
        self.log.push("compact".to_owned());
        self.db().compact().expect("compacts");
    }

    fn head_snapshot(&mut self) {
        self.log.push("snapshot of the head".to_owned());
        let written = self.db().head().write_snapshot().expect("writes");
        assert!(written.is_some());
    }

    fn clean(&mut self) {
        self.log.push("clean".to_owned());
        self.db().clean_tombstones().expect("cleans");
        assert!(self.db().blocks().iter().all(|b| b.tombstones().is_empty()));
    }

    /// A snapshot is a store of its own that tells the same.
    fn snapshot(&mut self) {
        self.log.push("snapshot".to_owned());
        let dir = std::path::PathBuf::from(format!("snapshots/{}", self.log.len()));
        self.db().snapshot(&dir, true).expect("is taken");
        let files: Arc<dyn Files> = Arc::new(self.files.clone());
        let clock = Arc::new(ManualClock::new(0));
        let copy = Db::open(files, &dir, self.options.clone(), clock).expect("opens");
        let found = read(&copy, TimeRange::ALL, &everything());
        let mut want = self.model.clone();
        want.retain(|_, samples| !samples.is_empty());
        assert!(
            found == want,
            "the snapshot tells something else\n{:#?}",
            self.log
        );
        drop(copy);
        self.files.remove_dir_all(&dir).expect("memory");
    }

    fn check(&mut self) {
        let range = if self.rng.below(3) == 0 {
            TimeRange::ALL
        } else {
            self.range()
        };
        let matchers = if self.rng.below(2) == 0 {
            everything()
        } else {
            vec![self.matcher()]
        };
        let mut want = self.model.clone();
        want.retain(|labels, samples| {
            samples.retain(|t, _| range.contains(*t));
            !samples.is_empty() && matchers.iter().all(|m| m.matches_labels(labels))
        });
        let got = read(self.db(), range, &matchers);
        for (labels, samples) in &want {
            assert_eq!(
                got.get(labels),
                Some(samples),
                "{labels} in {range:?}\n{:#?}",
                self.log
            );
        }
        for labels in got.keys() {
            assert!(
                want.contains_key(labels),
                "{labels} in {range:?}\n{:#?}",
                self.log
            );
        }
    }
}

fn run(seed: u64, steps: u64, window_ms: i64) {
    println!("seed {seed}, window {window_ms} ms");
    let mut options = options();
    options.head.out_of_order_window_ms = window_ms;
    options.head.out_of_order_cap = 4;
    options.block_range_max_ms = 900_000;
    options.head.snapshots = true;
    let files = MemFiles::new();
    let db = open(&files, options.clone());
    let mut run = Run {
        rng: Rng::new(seed),
        files,
        options,
        db: Some(db),
        model: Contents::new(),
        now_ms: 1_000_000,
        deleted: Vec::new(),
        log: Vec::new(),
    };
    for _ in 0..steps {
        match run.rng.below(42) {
            0 | 1 => run.restart(),
            2 => run.delete(),
            3 | 4 => run.compact(),
            5..=8 => run.check(),
            9 => run.head_snapshot(),
            10 if run.rng.below(3) == 0 => run.snapshot(),
            11 if run.rng.below(2) == 0 => run.clean(),
            _ => run.append(),
        }
    }
    run.restart();
    run.check();
}

#[test]
fn the_store_tells_what_the_model_tells() {
    for seed in seeds(25) {
        run(seed, 250, 0);
    }
}

#[test]
fn late_samples_are_told_too() {
    for seed in seeds(25) {
        run(seed + 1000, 250, 60_000);
    }
}
