//! Whatever happens to the store, a kept answer is the fresh one, to the last bit.
//!
//! `NARTHEX_SEED` replays one seed; `NARTHEX_FRONTEND_SEEDS` says how many are tried.

use std::sync::Arc;

use metrics::Registry;
use narthex_frontend::{Frontend, Question};
use promql::engine::{Engine, EngineOptions, EvalTime, Features, QueryOptions};

use crate::queries::{Recorded, random_query};
use crate::world::{BEGIN_MS, Random, SCRAPE_MS, World, text};

/// Seeds that are tried where nobody says how many.
const SEEDS: u64 = 12;
/// What happens to a store, and questions asked in between.
const STEPS: u64 = 250;

/// A query that is asked again and again, as a panel of a dashboard is.
struct Panel {
    query: String,
    step_ms: i64,
    phase_ms: i64,
}

impl Panel {
    fn new(query: String, random: &mut Random) -> Self {
        let step_ms = *random.pick(&[5_000, 15_000, 30_000, 60_000, 17_000]);
        Panel {
            query,
            step_ms,
            phase_ms: *random.pick(&[0, 0, 1_234]),
        }
    }

    /// A range that ends about now, or anywhere; steps are on the panel's grid.
    fn range(&self, now_ms: i64, random: &mut Random) -> EvalTime {
        let on_grid = |time_ms: i64| time_ms.div_euclid(self.step_ms) * self.step_ms + self.phase_ms;
        let end_ms = match random.below(5) {
            0 => now_ms - random.below(1_500_000) as i64,
            1 => now_ms + random.below(60_000) as i64,
            _ => now_ms,
        };
        let length_ms = *random.pick(&[200_000, 900_000, 900_000, 3_000_000]);
        let start_ms = on_grid(end_ms - length_ms);
        let end_ms = match random.once_in(3) {
            true => end_ms,
            false => on_grid(end_ms),
        };
        EvalTime::Range {
            start_ms,
            end_ms: end_ms.max(start_ms),
            step_ms: self.step_ms,
        }
    }
}

fn engine() -> Arc<Engine> {
    Arc::new(Engine::new(EngineOptions {
        features: Features::all_syntax(),
        ..EngineOptions::default()
    }))
}

/// How many questions were answered how.
#[derive(Debug, Default)]
struct Tally {
    hits: f64,
    partial: f64,
    misses: f64,
    passed: f64,
}

impl Tally {
    fn add(&mut self, registry: &Registry) {
        let requests = registry.counter_vec("narthex_frontend_requests_total", "", &["result"]);
        self.hits += requests.with(&["hit"]).get();
        self.partial += requests.with(&["partial"]).get();
        self.misses += requests.with(&["miss"]).get();
        self.passed += requests.with(&["bypass"]).get();
    }
}

fn run(seed: u64, recorded: Option<&Recorded>, tally: &mut Tally) {
    let engine = engine();
    let mut random = Random(seed ^ 0x5eed);
    let (mut panels, mut more) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        panels.push(Panel::new(random_query(&mut random), &mut random));
    }
    for _ in 0..2 {
        if let Some((query, series)) = recorded.and_then(|recorded| recorded.pick(&engine, &mut random)) {
            panels.push(Panel::new(query, &mut random));
            more.extend(series);
        }
    }
    let mut world = World::new(seed, more);
    let registry = Registry::new();
    // A small one has to make room all the time.
    let cache_bytes = if random.once_in(3) { 60_000 } else { 8 << 20 };
    let frontend = Frontend::new(engine.clone(), world.db.clone(), cache_bytes, &registry);
    for _ in 0..40 {
        world.scrape();
    }
    for step in 0..STEPS {
        let mut happened = Vec::new();
        for _ in 0..random.below(3) {
            happened.push(world.step());
        }
        for _ in 0..2 {
            let panel = random.pick(&panels);
            let time = panel.range(world.now_ms, &mut random);
            let options = QueryOptions {
                lookback_delta_ms: random.once_in(6).then_some(60_000),
                ..QueryOptions::default()
            };
            let expr = engine.parse(&panel.query).expect("a query");
            let question = Question {
                text: &panel.query,
                expr: &expr,
                time,
                options: &options,
            };
            let known = frontend.known(question);
            let kept = frontend.evaluate(question).result;
            let fresh = engine.evaluate(&*world.db, &expr, time, &options);
            let (kept, fresh) = (text(&kept, &panel.query), text(&fresh, &panel.query));
            let context = || {
                format!(
                    "seed {seed}, step {step}, {:?} {time:?}, since the last questions: {happened:?}",
                    panel.query
                )
            };
            if let Some(known) = known {
                let known = text(&Ok(known), &panel.query);
                assert!(known == fresh, "{}\nknown\n{known}fresh\n{fresh}", context());
            }
            assert!(kept == fresh, "{}\nkept\n{kept}fresh\n{fresh}", context());
        }
    }
    tally.add(&registry);
}

#[test]
fn kept_answers_are_fresh_ones() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let recorded = Recorded::read();
    let seeds = match number("NARTHEX_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NARTHEX_FRONTEND_SEEDS").unwrap_or(SEEDS),
    };
    let (count, mut tally) = (seeds.end - seeds.start, Tally::default());
    for seed in seeds {
        println!("NARTHEX_SEED={seed}");
        run(seed, recorded.as_ref(), &mut tally);
    }
    println!("{tally:?}");
    if count >= SEEDS {
        // Both ways are tried, not one of them.
        assert!(
            tally.hits > 100.0 && tally.partial > 100.0 && tally.misses > 100.0,
            "{tally:?}"
        );
    }
}

#[test]
fn limits_are_those_of_an_evaluation() {
    let mut world = World::new(1, Vec::new());
    for _ in 0..80 {
        world.scrape();
    }
    let end_ms = BEGIN_MS + 80 * SCRAPE_MS;
    let time = |start_ms| EvalTime::Range {
        start_ms,
        end_ms,
        step_ms: 5_000,
    };
    let roomy = engine();
    let options = QueryOptions::default();
    let expr = roomy.parse("sum_over_time(b[1m])").expect("a query");
    let peak = |start_ms| {
        let evaluated = roomy.evaluate_counted(&*world.db, &expr, time(start_ms), &options);
        evaluated.stats.peak_samples
    };
    let (short_ms, long_ms) = (end_ms - 300_000, end_ms - 500_000);
    assert!(peak(short_ms) < peak(long_ms));
    // A limit that the short range keeps and the long one does not.
    let narrow = Arc::new(Engine::new(EngineOptions {
        max_samples: peak(long_ms) - 1,
        ..EngineOptions::default()
    }));
    let frontend = Frontend::new(narrow.clone(), world.db.clone(), 1 << 20, &Registry::new());
    for start_ms in [short_ms, long_ms, short_ms] {
        let question = Question {
            text: "sum_over_time(b[1m])",
            expr: &expr,
            time: time(start_ms),
            options: &options,
        };
        let fresh = narrow.evaluate(&*world.db, &expr, time(start_ms), &options);
        assert_eq!(fresh.is_ok(), start_ms == short_ms);
        let kept = frontend.evaluate(question).result;
        assert_eq!(text(&kept, question.text), text(&fresh, question.text));
    }
}
