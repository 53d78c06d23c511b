//! Questions beside writers: an answer is always one that some moment between asking and answering had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::Registry;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{AppendBatch, Appender as _, FloatSample, TimeRange};
use narthex_frontend::{Frontend, Question};
use promql::engine::{Engine, EngineOptions, EvalTime, QueryOptions};

use crate::world::{BEGIN_MS, Random, World, text};

const SERIES: usize = 40;

/// Lets the others end, even where a comparison fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Writers bring one value to all series at once, mostly in order, sometimes late; a third thread deletes and compacts.
#[test]
fn answers_beside_writers_are_of_one_moment() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("NARTHEX_FRONTEND_ROUNDS").unwrap_or(300);
    let world = World::new(7, Vec::new());
    let engine = Arc::new(Engine::new(EngineOptions::default()));
    let frontend = Frontend::new(engine.clone(), world.db.clone(), 4 << 20, &Registry::new());
    let series: Vec<_> = (0..SERIES)
        .map(|i| {
            let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]);
            world.db.resolve(&labels).expect("no limit")
        })
        .collect();
    let write = |timestamp_ms: i64, value: f64| {
        let mut batch = AppendBatch::default();
        batch.floats.extend(series.iter().map(|series| FloatSample {
            series: *series,
            timestamp_ms,
            value,
        }));
        world.append(&batch);
    };
    for at in 0..200 {
        write(BEGIN_MS + at * 5_000, 1.0);
    }
    let (asked, changes, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let mut same = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(3);
            let (mut at, mut answered) = (200, 0);
            while !done.load(Ordering::Acquire) {
                // One change a question, at some moment of it or behind it.
                if asked.load(Ordering::Acquire) == answered {
                    std::thread::yield_now();
                    continue;
                }
                answered = asked.load(Ordering::Acquire);
                for _ in 0..random.below(8_000_000) {
                    std::hint::spin_loop();
                }
                match random.below(12) {
                    0 => write(BEGIN_MS + random.below(900_000) as i64 + 1, 2.0),
                    1 => {
                        let min_ms = BEGIN_MS + random.below(900_000) as i64;
                        let range = TimeRange::new(min_ms, min_ms + 5_000);
                        let matchers = [Matcher::equal("i", "3")];
                        world.db.delete(range, &matchers).expect("deletes");
                    }
                    2 => world.db.compact().expect("compacts"),
                    _ => {
                        write(BEGIN_MS + at * 5_000, 1.0);
                        at += 1;
                    }
                }
                changes.fetch_add(1, Ordering::Release);
            }
        });
        let _ends = Ends(&done);
        let mut random = Random(4);
        let options = QueryOptions::default();
        for round in 0..rounds {
            let query = *random.pick(&[
                "sum(m)",
                "count(m) + sum(rate(m[1m]))",
                "m",
                "max_over_time(m[2m])",
            ]);
            let expr = engine.parse(query).expect("a query");
            let end_ms = BEGIN_MS + 1_000_000 + random.below(40) as i64 * 5_000;
            let time = EvalTime::Range {
                start_ms: end_ms - 600_000,
                end_ms,
                step_ms: 5_000,
            };
            let question = Question {
                text: query,
                expr: &expr,
                time,
                options: &options,
            };
            let fresh = || text(&engine.evaluate(&*world.db, &expr, time, &options), query);
            asked.fetch_add(1, Ordering::Release);
            let began = changes.load(Ordering::Acquire);
            let before = fresh();
            let kept = text(&frontend.evaluate(question).result, query);
            let after = fresh();
            // What was the same before and after has not changed in between, unless there and back, which needs two.
            if before == after && changes.load(Ordering::Acquire) <= began + 1 {
                same += 1;
                assert!(
                    kept == after,
                    "round {round}: {query} {time:?}\nkept\n{kept}fresh\n{after}"
                );
            }
        }
    });
    println!("{same} of {rounds} compared");
    assert!(5 * same > rounds, "{same} of {rounds} compared");
    let question = "sum(m)";
    let expr = engine.parse(question).expect("a query");
    let options = QueryOptions::default();
    let time = EvalTime::Range {
        start_ms: BEGIN_MS,
        end_ms: BEGIN_MS + 2_000_000,
        step_ms: 5_000,
    };
    for _ in 0..2 {
        let kept = frontend.evaluate(Question {
            text: question,
            expr: &expr,
            time,
            options: &options,
        });
        let fresh = engine.evaluate(&*world.db, &expr, time, &options);
        assert_eq!(text(&kept.result, question), text(&fresh, question));
    }
}
