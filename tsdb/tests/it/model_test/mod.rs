//! A random list of operations drives the store and a map; both must tell the same.
//!
//! `NARTHEX_SEED` runs one seed (`7`) or many (`100..900`).

mod exemplars;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use files::{Files, MemFiles};
use model::clock::ManualClock;
use model::histogram::{CounterResetHint, Histogram, IntHistogram, Span};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, ExemplarQueryable as _, FloatSample,
    HistogramSample, SeriesRef, TimeRange,
};
use narthex_tsdb::block::HINT_OUT_OF_ORDER;
use narthex_tsdb::db::{Db, Options};
use narthex_tsdb::head::{SnapshotRefusal, SnapshotUse};

use crate::support::{Contents, Rng, Value, everything, forget_snapshot, open, options, read, seeds};
use exemplars::Exemplars;

struct Run {
    rng: Rng,
    files: MemFiles,
    options: Options,
    db: Option<Db>,
    model: Contents,
    exemplars: Exemplars,
    now_ms: i64,
    /// How fast time goes, where blocks are to expire.
    pace: i64,
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
        self.now_ms += (200 + self.rng.below(4000) as i64) * self.pace;
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
                // The log forgets a series, and with it its exemplars, that has nothing in order any more.
                if !late {
                    self.plan_exemplars(&mut batch, reference, timestamp_ms);
                }
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
        self.take_exemplars(&batch, &outcome, &ids);
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

    /// Adds up to two exemplars of a sample; some are older than it.
    fn plan_exemplars(&mut self, batch: &mut AppendBatch, series: SeriesRef, timestamp_ms: i64) {
        for _ in 0..self.rng.below(8).saturating_sub(5) {
            let mut exemplar = exemplars::random(&mut self.rng);
            if self.rng.below(2) == 0 {
                exemplar.timestamp_ms = Some(timestamp_ms - self.rng.below(3) as i64 * 1000);
            }
            batch.exemplars.push((series, exemplar));
        }
    }

    /// Looks whether the right exemplars were refused, and notes the others.
    fn take_exemplars(
        &mut self,
        batch: &AppendBatch,
        outcome: &AppendOutcome,
        ids: &[(BatchList, Labels, i64, Value)],
    ) {
        let floats = ids.iter().filter(|(list, ..)| *list == BatchList::Floats);
        let floats: Vec<_> = floats.zip(&batch.floats).collect();
        let mut taken = Vec::new();
        for (i, (series, exemplar)) in batch.exemplars.iter().enumerate() {
            let (id, sample) = floats.iter().find(|(_, s)| s.series == *series).expect("planned");
            let mut exemplar = exemplar.clone();
            exemplar.timestamp_ms.get_or_insert(sample.timestamp_ms);
            let refused =
                |(list, at, _): &(BatchList, u32, _)| *list == BatchList::Exemplars && *at == i as u32;
            let refused = outcome.refused.iter().any(refused);
            let takes = self.exemplars.capacity > 0 && self.exemplars.takes(&id.1, &exemplar);
            assert_eq!(takes, !refused, "{} {exemplar:?}\n{:#?}", id.1, self.log);
            if takes {
                taken.push((id.1.clone(), exemplar));
            }
        }
        for (labels, exemplar) in taken {
            self.exemplars.append(labels, exemplar);
        }
    }

    fn check_exemplars(&mut self) {
        let range = self.range();
        let matchers = [self.matcher(), self.matcher()];
        let selectors = [vec![matchers[0].clone()], matchers.to_vec()];
        let found = self.db().exemplars(range, &selectors).expect("reads");
        let want = self
            .exemplars
            .select(range, |labels| matchers[0].matches_labels(labels));
        assert_eq!(found, want, "{range:?}\n{:#?}", self.log);
    }

    fn resize_exemplars(&mut self) {
        let capacity = self.rng.below(80) as usize;
        self.log.push(format!("{capacity} exemplars"));
        self.db().head().set_exemplars_max(capacity);
        self.options.head.exemplars_max = capacity;
        self.exemplars.resize(capacity);
    }

    /// Where in-order samples begin that are in no block.
    fn in_order_end_ms(&self) -> i64 {
        let metas = self.db().blocks().iter().map(|b| b.meta()).collect::<Vec<_>>();
        let whole = metas.iter().filter(|m| !m.compaction.has_hint(HINT_OUT_OF_ORDER));
        whole.map(|m| m.max_time).max().unwrap_or(i64::MIN)
    }

    fn restart(&mut self) {
        let kept_from_ms = self.in_order_end_ms();
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
        let found = self
            .db()
            .exemplars(TimeRange::ALL, &[everything()])
            .expect("reads");
        let survived = self.exemplars.restart(&found, kept_from_ms);
        assert!(survived.is_ok(), "{survived:?}\n{:#?}", self.log);
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
        let retentions = self.retentions();
        self.db().compact().expect("compacts");
        let now = self.retentions();
        if now != retentions {
            self.log.push(format!("retentions: {retentions:?} to {now:?}"));
            self.expire(now.0 > retentions.0, now.1 > retentions.1);
        }
    }

    /// How often blocks had to go because of their age, and because of their size.
    fn retentions(&self) -> (u64, u64) {
        let counters = self.db().compaction_counters();
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        (of(&counters.age_retentions), of(&counters.size_retentions))
    }

    /// What is old enough may be gone; what is gone stays gone.
    fn expire(&mut self, by_age: bool, by_size: bool) {
        let ends_ms = self
            .db()
            .blocks()
            .iter()
            .map(|b| b.meta().max_time)
            .collect::<Vec<_>>();
        let newest_ms = ends_ms.iter().copied().max().unwrap_or(i64::MIN);
        let aged_ms = newest_ms.saturating_sub(self.options.retention_ms);
        let floor_ms = match (by_age, by_size) {
            (_, true) => self.in_order_end_ms(),
            (true, false) => aged_ms,
            (false, false) => i64::MIN,
        };
        if by_age {
            assert!(ends_ms.iter().all(|end_ms| *end_ms > aged_ms), "{:#?}", self.log);
        }
        let found = read(self.db(), TimeRange::ALL, &everything());
        for (labels, samples) in &mut self.model {
            let there = found.get(labels);
            samples.retain(|t, _| {
                let is_there = there.is_some_and(|there| there.contains_key(t));
                assert!(
                    is_there || *t < floor_ms,
                    "{labels} at {t} is gone\n{:#?}",
                    self.log
                );
                is_there
            });
        }
    }

    /// Takes away blocks until the rest fits, but not all in order: the log would bring back what it still has, as the
    /// reference's does.
    fn shrink(&mut self) {
        self.compact();
        let newest_ms = self.in_order_end_ms();
        let (mut least, mut most) = (self.log_bytes(), self.log_bytes());
        for block in &*self.db().blocks() {
            most += block.size_bytes();
            least += if block.meta().max_time >= newest_ms {
                block.size_bytes()
            } else {
                0
            };
        }
        let bytes = least + self.rng.below(most - least + 1);
        if bytes == 0 || self.db().blocks().is_empty() {
            return;
        }
        self.log.push(format!("{bytes} bytes are enough"));
        self.db().set_retention(self.options.retention_ms, bytes, 0.0);
        self.compact();
        let blocks: u64 = self.db().blocks().iter().map(|b| b.size_bytes()).sum();
        assert!(
            blocks == 0 || self.log_bytes() + blocks <= bytes,
            "{:#?}",
            self.log
        );
        self.db().set_retention(self.options.retention_ms, 0, 0.0);
    }

    /// Bytes of the log and the head's chunks.
    fn log_bytes(&self) -> u64 {
        let head = self.db().head();
        head.wal().disk_bytes().expect("memory") + head.chunk_files_bytes()
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
    options.head.exemplars_max = 50;
    options.block_range_max_ms = 900_000;
    // Long enough for some block in order to stay, as in `shrink`.
    let (retention_ms, pace) = if seed.is_multiple_of(3) {
        (400_000, 4)
    } else {
        (0, 1)
    };
    options.retention_ms = retention_ms;
    options.head.snapshots = true;
    let files = MemFiles::new();
    let db = open(&files, options.clone());
    let mut run = Run {
        rng: Rng::new(seed),
        files,
        options,
        db: Some(db),
        model: Contents::new(),
        exemplars: Exemplars {
            capacity: 50,
            window_ms,
            ..Exemplars::default()
        },
        now_ms: 1_000_000,
        pace,
        deleted: Vec::new(),
        log: Vec::new(),
    };
    for _ in 0..steps {
        match run.rng.below(45) {
            0 | 1 => run.restart(),
            2 => run.delete(),
            3 | 4 => run.compact(),
            5..=8 => run.check(),
            9 => run.head_snapshot(),
            10 if run.rng.below(3) == 0 => run.snapshot(),
            11 if run.rng.below(2) == 0 => run.clean(),
            12 if run.rng.below(4) == 0 => run.shrink(),
            13 if run.rng.below(4) == 0 => run.resize_exemplars(),
            14..=16 => run.check_exemplars(),
            _ => run.append(),
        }
    }
    run.restart();
    run.check();
    run.check_exemplars();
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
