//! The engine against the definition of the language.
//!
//! Random queries over random data (gaps, jitter, counter resets, NaN, infinities, staleness markers) are answered by the
//! engine, on one thread and on three, and by [`reference`], which evaluates one point in time after the other, straight
//! from the definitions. `NARTHEX_SEED=n` replays a run; a failure prints the smallest query and data that still fail.
//!
//! What says nothing is left out, and must stay rare: answers that the language leaves open (ties of `topk`), and
//! answers that a relative error of 1e-11 in some step of the calculation would change visibly. One difference is
//! allowed: a subquery is evaluated between its windows too, so that the engine may find an error there.

mod functions;
mod generate;
mod operators;
mod pieces;
mod reference;
mod standing;

use std::collections::BTreeMap;
use std::fmt;

use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use narthex_promql::ast::{Expr, ExprKind};
use narthex_promql::engine::{Engine, EngineOptions, Features, QueryError, QueryOptions};
use narthex_promql::script::MemoryStore;
use narthex_promql::value::{SampleValue, Value};

use generate::Random;
use reference::{LabelMap, Outcome, Point, Reference, StoredSeries, Wrong};

/// The first sample's time.
const FIRST_MS: i64 = 100_000_000;
/// Step of subqueries that name none.
const DEFAULT_STEP_MS: i64 = 20_000;
/// Sets of data of a run, and queries over each of them.
const DATA_SETS: u64 = 300;
const QUERIES_EACH: u64 = 100;

/// A query and when it is asked.
#[derive(Clone, Debug)]
struct Case {
    query: String,
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
    instant: bool,
    lookback_ms: i64,
}

/// An answer: values by labels and time.
type Answer = BTreeMap<LabelMap, BTreeMap<i64, f64>>;

/// What an answer was like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Points,
    Empty,
    Refused,
}

/// What comparing gave.
enum Verdict {
    /// The same answer, or the same refusal.
    Same(Kind),
    /// The language leaves the answer open, or it hangs on rounding.
    Open,
    Different(String),
}

fn store(data: &[StoredSeries]) -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = AppendBatch::default();
    for series in data {
        let series_ref = store
            .resolve(&Labels::from_pairs(&series.labels))
            .expect("series");
        batch
            .floats
            .extend(series.samples.iter().map(|(timestamp_ms, value)| FloatSample {
                series: series_ref,
                timestamp_ms: *timestamp_ms,
                value: *value,
            }));
    }
    store
        .append(&batch, &mut AppendOutcome::default())
        .expect("appended");
    store
}

fn label_map(labels: &Labels) -> LabelMap {
    let pairs = labels.iter();
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn ask(engine: &Engine, store: &MemoryStore, case: &Case) -> Result<Answer, QueryError> {
    let options = QueryOptions {
        lookback_delta_ms: Some(case.lookback_ms),
        ..QueryOptions::default()
    };
    let output = match case.instant {
        true => engine.instant(store, &case.query, case.start_ms, &options)?,
        false => engine.range(
            store,
            &case.query,
            case.start_ms,
            case.end_ms,
            case.step_ms,
            &options,
        )?,
    };
    let mut answer = Answer::new();
    match output.value {
        Value::Scalar { timestamp_ms, value } => {
            answer
                .entry(LabelMap::new())
                .or_default()
                .insert(timestamp_ms, value);
        }
        Value::Vector(vector) => {
            for sample in vector {
                let SampleValue::Float(value) = sample.value else {
                    panic!("a histogram among floats: {sample:?}");
                };
                let row = answer.entry(label_map(&sample.labels)).or_default();
                let known = row.insert(sample.timestamp_ms, value);
                assert!(known.is_none(), "{} twice in a vector", sample.labels);
            }
        }
        Value::Matrix(matrix) => {
            for series in matrix {
                let known = answer.insert(label_map(&series.labels), series.floats().collect());
                assert!(known.is_none(), "{} twice in a matrix", series.labels);
            }
        }
        Value::String { value, .. } => panic!("a text: {value}"),
    }
    Ok(answer)
}

/// The answer by definition. `noise` is put upon whatever is rounded.
fn define(expr: &Expr, data: &[StoredSeries], case: &Case, noise: f64) -> Outcome<Answer> {
    let reference = Reference {
        series: data,
        start_ms: case.start_ms,
        end_ms: case.end_ms,
        lookback_ms: case.lookback_ms,
        noise,
    };
    let mut answer = Answer::new();
    for at_ms in (case.start_ms..=case.end_ms).step_by(case.step_ms as usize) {
        let vector = match reference.point(expr, at_ms)? {
            Point::Scalar(value) => vec![(LabelMap::new(), value)],
            Point::Vector(vector) => vector,
        };
        for (labels, value) in vector {
            answer.entry(labels).or_default().insert(at_ms, value);
        }
    }
    Ok(answer)
}

/// Equal but for rounding.
fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

fn same(a: &Answer, b: &Answer) -> bool {
    let same_rows = |(a, b): (&BTreeMap<i64, f64>, &BTreeMap<i64, f64>)| {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|((at, a), (bt, b))| at == bt && close(*a, *b))
    };
    a.keys().eq(b.keys()) && a.values().zip(b.values()).all(same_rows)
}

fn identical(a: &Result<Answer, QueryError>, b: &Result<Answer, QueryError>) -> bool {
    let bits = |answer: &Answer| -> Vec<_> {
        let rows = answer
            .iter()
            .flat_map(|(labels, row)| row.iter().map(move |point| (labels, point)));
        rows.map(|(labels, (time, value))| (labels.clone(), *time, value.to_bits()))
            .collect()
    };
    match (a, b) {
        (Ok(a), Ok(b)) => bits(a) == bits(b),
        (Err(a), Err(b)) => a.to_string() == b.to_string(),
        _ => false,
    }
}

fn has_subquery(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |expr| found |= matches!(expr.kind, ExprKind::Subquery(_)));
    found
}

/// Compares the engines' answers with each other and with the definition.
fn check(engines: &[Engine; 2], data: &[StoredSeries], store: &MemoryStore, case: &Case) -> Verdict {
    let expr = match engines[0].parse(&case.query) {
        Ok(expr) => expr,
        Err(error) => return Verdict::Different(format!("no query: {error}")),
    };
    let [one, three] = [0, 1].map(|at| ask(&engines[at], store, case));
    if !identical(&one, &three) {
        return Verdict::Different(format!("one thread: {one:?}\nthree threads: {three:?}"));
    }
    let defined = define(&expr, data, case, 0.0);
    let fits = match (&one, &defined) {
        (_, Err(Wrong::Open)) => return Verdict::Open,
        (Ok(found), Ok(defined)) => same(found, defined),
        (Err(_), Err(Wrong::Refused)) => true,
        (Err(_), Ok(_)) => has_subquery(&expr),
        (Ok(_), Err(Wrong::Refused)) => false,
    };
    if fits {
        return Verdict::Same(match one {
            Err(_) => Kind::Refused,
            Ok(answer) if answer.is_empty() => Kind::Empty,
            Ok(_) => Kind::Points,
        });
    }
    let hangs_on_rounding =
        [1e-11, -1e-11]
            .into_iter()
            .any(|noise| match (define(&expr, data, case, noise), &defined) {
                (Ok(noisy), Ok(defined)) => !same(&noisy, defined),
                (Err(Wrong::Refused), Err(Wrong::Refused)) => false,
                _ => true,
            });
    match hangs_on_rounding {
        true => Verdict::Open,
        false => Verdict::Different(format!("engine:     {one:?}\ndefinition: {defined:?}")),
    }
}

/// A failing case, cut down as far as it still fails.
struct Failure {
    seed: u64,
    case: Case,
    data: Vec<StoredSeries>,
    why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            start_ms,
            end_ms,
            step_ms,
            instant,
            lookback_ms,
            ..
        } = self.case;
        writeln!(f, "NARTHEX_SEED={}\nquery: {}", self.seed, self.case.query)?;
        match instant {
            true => writeln!(f, "at {start_ms}, lookback {lookback_ms} ms")?,
            false => writeln!(
                f,
                "from {start_ms} to {end_ms} by {step_ms}, lookback {lookback_ms} ms"
            )?,
        }
        for series in &self.data {
            writeln!(f, "{:?}: {:?}", series.labels, series.samples)?;
        }
        write!(f, "{}", self.why)
    }
}

/// Every query that is `query` with one part replaced by a part of that part, the shortest first.
fn simpler(engine: &Engine, query: &str) -> Vec<String> {
    let Ok(expr) = engine.parse(query) else {
        return Vec::new();
    };
    let mut spans = Vec::new();
    expr.walk(&mut |expr| spans.push((expr.span.start as usize, expr.span.end as usize)));
    let mut found = Vec::new();
    for (start, end) in &spans {
        for (inner_start, inner_end) in &spans {
            let within = start <= inner_start && inner_end <= end;
            if within && inner_end - inner_start < end - start {
                found.push([&query[..*start], &query[*inner_start..*inner_end], &query[*end..]].concat());
            }
        }
    }
    found.retain(|query| engine.parse(query).is_ok_and(|expr| !is_range(&expr)));
    found.sort_by_key(String::len);
    found
}

fn is_range(expr: &Expr) -> bool {
    expr.value_type() == narthex_promql::ast::ValueType::Matrix
}

/// Tries ever smaller queries and data.
fn shrink(engines: &[Engine; 2], seed: u64, case: Case, data: Vec<StoredSeries>, why: String) -> Failure {
    let mut failure = Failure {
        seed,
        case,
        data,
        why,
    };
    let still = |failure: &mut Failure, case: &Case, data: &[StoredSeries]| match check(
        engines,
        data,
        &store(data),
        case,
    ) {
        Verdict::Different(why) => {
            let (case, data) = (case.clone(), data.to_vec());
            *failure = Failure {
                seed,
                case,
                data,
                why,
            };
            true
        }
        _ => false,
    };
    loop {
        let (case, data) = (failure.case.clone(), failure.data.clone());
        let queries = simpler(&engines[0], &case.query).into_iter();
        let mut cases: Vec<Case> = queries
            .map(|query| Case {
                query,
                ..case.clone()
            })
            .collect();
        if case.end_ms > case.start_ms {
            let (start_ms, end_ms) = (case.start_ms + case.step_ms, case.end_ms - case.step_ms);
            cases.push(Case {
                end_ms,
                ..case.clone()
            });
            cases.push(Case {
                start_ms,
                ..case.clone()
            });
        }
        let smaller_case = cases.iter().any(|case| still(&mut failure, case, &data));
        let smaller_data = !smaller_case && without_one(&data).any(|data| still(&mut failure, &case, &data));
        if !smaller_case && !smaller_data {
            return failure;
        }
    }
}

/// The data without one series, or without one sample.
fn without_one(data: &[StoredSeries]) -> impl Iterator<Item = Vec<StoredSeries>> {
    let series = (0..data.len()).map(|at| {
        let mut data = data.to_vec();
        data.remove(at);
        data
    });
    let samples = data.iter().enumerate().flat_map(move |(at, series)| {
        (0..series.samples.len()).map(move |sample| {
            let mut data = data.to_vec();
            data[at].samples.remove(sample);
            data
        })
    });
    series.chain(samples)
}

/// Tries the data of each seed with its queries; how often each kind of answer came out, and that nothing was said.
fn run(engines: &[Engine; 2], seeds: std::ops::Range<u64>) -> BTreeMap<Option<Kind>, u64> {
    let mut tally = BTreeMap::new();
    for seed in seeds {
        let mut random = Random(seed);
        let data = generate::data(&mut random);
        let store = store(&data);
        for _ in 0..QUERIES_EACH {
            let case = generate::case(&mut random);
            let kind = match check(engines, &data, &store, &case) {
                Verdict::Same(kind) => Some(kind),
                Verdict::Open => None,
                Verdict::Different(why) => panic!("{}", shrink(engines, seed, case, data, why)),
            };
            *tally.entry(kind).or_default() += 1;
        }
    }
    tally
}

#[test]
fn the_engine_does_what_the_language_says() {
    let first_seed = match std::env::var("NARTHEX_SEED") {
        Ok(seed) => seed.parse().expect("NARTHEX_SEED is a number"),
        Err(_) => 0x5eed,
    };
    println!("NARTHEX_SEED={first_seed}");
    let engines = [1, 3].map(|threads| {
        Engine::new(EngineOptions {
            threads,
            features: Features::all_syntax(),
            default_subquery_step: std::sync::Arc::new(|_| DEFAULT_STEP_MS),
            ..EngineOptions::default()
        })
    });
    let halves = [first_seed, first_seed + DATA_SETS / 2];
    let tallies = std::thread::scope(|scope| {
        let engines = &engines;
        let run = |seed| scope.spawn(move || run(engines, seed..seed + DATA_SETS / 2));
        halves.map(run).map(|half| {
            half.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    });
    let count = |kind: Option<Kind>| tallies.iter().filter_map(|tally| tally.get(&kind)).sum::<u64>();
    let [points, empty, refused] = [Kind::Points, Kind::Empty, Kind::Refused].map(|kind| count(Some(kind)));
    let open = count(None);
    println!("{points} answers, {empty} empty ones, {refused} refusals, {open} open");
    let cases = DATA_SETS * QUERIES_EACH;
    assert!(open * 20 < cases, "{open} of {cases} cases say nothing");
    assert!(
        points * 2 > cases,
        "only {points} of {cases} cases have an answer"
    );
}
