//! A part of a range, evaluated over nothing but the samples that its steps reach, gives what the whole range gives there,
//! to the last bit: what a cache of results rests on.
//!
//! The part sees fewer series, in another order. Where the engine says that the order may show, nothing is compared; that
//! must stay rare.

use narthex_promql::engine::{Engine, EngineOptions, EvalTime, Features, QueryOptions, QueryOutput, Reach};

use super::generate::{self, Random};
use super::{Case, DEFAULT_STEP_MS, StoredSeries, Value, store};
use model::storage::TimeRange;

/// Sets of data, and queries over each of them.
const DATA_SETS: u64 = 15;
const QUERIES_EACH: u64 = 150;

fn engine() -> Engine {
    Engine::new(EngineOptions {
        features: Features::all_syntax(),
        threads: 1,
        default_subquery_step: std::sync::Arc::new(|_| DEFAULT_STEP_MS),
        ..EngineOptions::default()
    })
}

/// The samples that are reached, series in the opposite order, empty ones left out.
fn reached(data: &[StoredSeries], reach: &Reach, first_ms: i64, last_ms: i64) -> Vec<StoredSeries> {
    let mut ranges = vec![reach.around(first_ms, last_ms)];
    ranges.extend(
        reach
            .pinned_ms
            .iter()
            .map(|(min, max)| TimeRange::new(*min, *max)),
    );
    let mut kept: Vec<StoredSeries> = data.to_vec();
    for series in &mut kept {
        series
            .samples
            .retain(|(time, _)| ranges.iter().any(|range| range.contains(*time)));
    }
    kept.retain(|series| !series.samples.is_empty());
    kept.reverse();
    kept
}

/// Samples between two times, as texts that tell bits apart; NaNs are all the same.
fn lines(output: &QueryOutput, first_ms: i64, last_ms: i64) -> Vec<String> {
    let Value::Matrix(matrix) = &output.value else {
        panic!("a matrix");
    };
    let mut lines = Vec::new();
    for series in matrix {
        let inside = series
            .floats()
            .filter(|(time, _)| (first_ms..=last_ms).contains(time));
        for (time, value) in inside {
            let bits = if value.is_nan() { f64::NAN } else { value }.to_bits();
            lines.push(format!("{} {time} {value} {bits:x}", series.labels));
        }
        assert!(series.histograms.is_empty());
    }
    lines
}

fn ask(
    engine: &Engine,
    data: &[StoredSeries],
    case: &Case,
    (start_ms, end_ms): (i64, i64),
) -> Result<QueryOutput, String> {
    let options = QueryOptions {
        lookback_delta_ms: Some(case.lookback_ms),
        watch_order: true,
        ..QueryOptions::default()
    };
    engine
        .range(
            &store(data),
            &case.query,
            start_ms,
            end_ms,
            case.step_ms,
            &options,
        )
        .map_err(|error| error.to_string())
}

fn reach(engine: &Engine, case: &Case) -> Option<Reach> {
    let time = EvalTime::Range {
        start_ms: case.start_ms,
        end_ms: case.end_ms,
        step_ms: case.step_ms,
    };
    let options = QueryOptions {
        lookback_delta_ms: Some(case.lookback_ms),
        ..QueryOptions::default()
    };
    engine.reach(&engine.parse(&case.query).ok()?, time, &options)
}

#[test]
fn a_part_is_what_the_whole_has_there() {
    let seed = std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let rounds = if seed.is_some() { 1 } else { DATA_SETS };
    let engine = engine();
    let (mut compared, mut points, mut open, mut immovable) = (0, 0, 0, 0);
    for seed in (0..rounds).map(|round| seed.unwrap_or(round)) {
        let mut random = Random(seed);
        let data = generate::data(&mut random);
        for _ in 0..QUERIES_EACH {
            let case = generate::case(&mut random);
            if case.instant {
                continue;
            }
            let Some(reach) = reach(&engine, &case) else {
                immovable += 1;
                continue;
            };
            let Ok(whole) = ask(&engine, &data, &case, (case.start_ms, case.end_ms)) else {
                continue;
            };
            let count = (case.end_ms - case.start_ms) / case.step_ms + 1;
            let first = random.below(count as u64) as i64;
            let last = first + random.below((count - first) as u64) as i64;
            let at = |step: i64| case.start_ms + step * case.step_ms;
            let (first_ms, last_ms) = (at(first), at(last));
            let some = reached(&data, &reach, first_ms, last_ms);
            // Behind its last step, so that one step is not a single time.
            let part = ask(&engine, &some, &case, (first_ms, last_ms + 1))
                .unwrap_or_else(|error| panic!("seed {seed}: {case:?} steps {first}..={last}: {error}"));
            if whole.order_shows || part.order_shows {
                open += 1;
                continue;
            }
            compared += 1;
            let (part, whole) = (lines(&part, first_ms, last_ms), lines(&whole, first_ms, last_ms));
            points += part.len();
            assert_eq!(part, whole, "seed {seed}: {case:?} steps {first}..={last}");
        }
    }
    println!("{compared} compared, {points} points; in {open} the order may show, {immovable} cannot be cut");
    assert!(seed.is_some() || (compared > 2 * open && points > compared));
}
