//! Queries that are asked again and again, against the same queries asked for the first time: the same answers to the
//! last bit, in the same order, the same words beside them, the same counts.

use std::ops::Range;

use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use narthex_promql::annotations::Annotations;
use narthex_promql::ast::Expr;
use narthex_promql::engine::{
    Engine, EngineOptions, EvalTime, Evaluated, Features, QueryOptions, QueryStats, Round, Standing,
    StandingQuestion,
};
use narthex_promql::script::MemoryStore;
use narthex_promql::value::{Sample, SampleValue, Value};

use super::generate::{self, Random};
use super::reference::StoredSeries;
use super::{DEFAULT_STEP_MS, is_range, store};

/// Sets of data of a run, queries over each of them, and moments at which each is asked.
const DATA_SETS: u64 = 60;
const QUERIES_EACH: usize = 60;
const MOMENTS: i64 = 5;
const MOMENT_MS: i64 = 30_000;

/// What a query gave, in a form that shows each bit.
#[derive(Debug, PartialEq)]
struct Told {
    elements: Vec<(String, u64)>,
    annotations: Vec<String>,
    counts: (i64, i64, usize),
}

fn bits(samples: impl Iterator<Item = Sample>) -> Vec<(String, u64)> {
    let bits = |sample: Sample| match sample.value {
        SampleValue::Float(value) => (sample.labels.to_string(), value.to_bits()),
        SampleValue::Histogram(_) => panic!("there are none"),
    };
    samples.map(bits).collect()
}

/// What is said; in which order depends on what is evaluated first.
fn notes(annotations: &Annotations) -> Vec<String> {
    let mut notes: Vec<String> = annotations.iter().map(|note| format!("{note:?}")).collect();
    notes.sort();
    notes
}

fn counts(stats: &QueryStats) -> (i64, i64, usize) {
    (
        stats.total_queryable_samples,
        stats.samples_read,
        stats.peak_samples,
    )
}

fn once(engine: &Engine, store: &MemoryStore, expr: &Expr, at_ms: i64) -> Result<Told, String> {
    let options = QueryOptions::default();
    let Evaluated { result, stats } =
        engine.evaluate_counted(store, expr, EvalTime::Instant { at_ms }, &options);
    let output = result.map_err(|error| error.to_string())?;
    let elements = match output.value {
        Value::Vector(samples) => bits(samples.into_iter()),
        Value::Scalar { value, .. } => vec![("{}".to_owned(), value.to_bits())],
        _ => panic!("neither a vector nor a scalar"),
    };
    Ok(Told {
        elements,
        annotations: notes(&output.annotations),
        counts: counts(&stats),
    })
}

fn again(engine: &Engine, store: &MemoryStore, question: StandingQuestion<'_>) -> Result<Told, String> {
    let evaluated = engine.evaluate_standing(store, question, &QueryOptions::default());
    let output = evaluated.result.map_err(|error| error.to_string())?;
    Ok(Told {
        elements: bits(output.vector.samples()),
        annotations: notes(&output.annotations),
        counts: counts(&evaluated.stats),
    })
}

/// Several copies of random data, told apart by a label: sums of more series than one part holds.
fn data(random: &mut Random) -> Vec<StoredSeries> {
    let copies = 1 + random.below(9);
    let mut all = Vec::new();
    for copy in 0..copies {
        all.extend(generate::data(random).into_iter().map(|mut series| {
            series.labels.insert("z".to_owned(), copy.to_string());
            series
        }));
    }
    all
}

/// A series that comes while queries stand.
fn add_series(store: &MemoryStore, random: &mut Random, at_ms: i64) {
    let labels = Labels::from_pairs([
        ("__name__", "a".to_owned()),
        ("x", random.below(4).to_string()),
        ("z", format!("new{}", random.below(3))),
    ]);
    let series = store.resolve(&labels).expect("series");
    let floats = (0..3).map(|at| FloatSample {
        series,
        timestamp_ms: at_ms + at * 10_000,
        value: at as f64,
    });
    let batch = AppendBatch {
        floats: floats.collect(),
        ..AppendBatch::default()
    };
    store
        .append(&batch, &mut AppendOutcome::default())
        .expect("appended");
}

/// Asks the queries of each seed at several moments; how many answers there were.
fn run(engine: &Engine, seeds: Range<u64>) -> u64 {
    let mut answers = 0;
    for seed in seeds {
        let mut random = Random(seed);
        let store = store(&data(&mut random));
        let mut queries = Vec::new();
        let mut at_ms = 0;
        while queries.len() < QUERIES_EACH {
            let case = generate::case(&mut random);
            at_ms = case.start_ms;
            let expr = engine.parse(&case.query).expect(&case.query);
            if !is_range(&expr) {
                queries.push((case.query, expr));
            }
        }
        let standing = Standing::new(queries.len());
        for moment in 0..MOMENTS {
            let at_ms = at_ms + moment * MOMENT_MS;
            if random.once_in(3) {
                add_series(&store, &mut random, at_ms - 25_000);
            }
            let round = Round::new();
            for (number, (text, expr)) in queries.iter().enumerate() {
                let question = StandingQuestion {
                    expr,
                    standing: &standing,
                    number,
                    round: (number % 3 != 0).then_some(&round),
                    at_ms,
                };
                let (got, want) = (again(engine, &store, question), once(engine, &store, expr, at_ms));
                answers += u64::from(want.as_ref().is_ok_and(|told| !told.elements.is_empty()));
                assert_eq!(got, want, "NARTHEX_SEED={seed}, moment {moment}: {text}");
            }
        }
    }
    answers
}

#[test]
fn queries_that_stand_answer_as_new_ones() {
    let first_seed = match std::env::var("NARTHEX_SEED") {
        Ok(seed) => seed.parse().expect("NARTHEX_SEED is a number"),
        Err(_) => 0x57a4d,
    };
    println!("NARTHEX_SEED={first_seed}");
    let engine = Engine::new(EngineOptions {
        threads: 1,
        features: Features::all_syntax(),
        default_subquery_step: std::sync::Arc::new(|_| DEFAULT_STEP_MS),
        ..EngineOptions::default()
    });
    let answers = run(&engine, first_seed..first_seed + DATA_SETS);
    let asked = DATA_SETS * QUERIES_EACH as u64 * MOMENTS as u64;
    println!("{answers} of {asked} questions have an answer");
    assert!(answers * 3 > asked, "only {answers} of {asked}");
}
