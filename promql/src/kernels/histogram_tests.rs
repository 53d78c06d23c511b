//! Range functions of native histograms: counts behave as floats do, and annotations say what was found.

use std::sync::Arc;

use model::columns::Columns;
use model::histogram::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Histogram, Span as Run,
};
use model::sample::stale_nan;

use super::*;

/// A histogram whose observations are all in one bucket.
fn one_bucket(count: f64) -> FloatHistogram {
    Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 0.0,
        count,
        sum: 2.0 * count,
        positive_spans: vec![Run { offset: 3, length: 1 }],
        negative_spans: vec![],
        positive_buckets: vec![count],
        negative_buckets: vec![],
        custom_values: None,
    }
}

fn custom(bounds: &[f64], count: f64) -> FloatHistogram {
    FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        positive_spans: vec![Run { offset: 1, length: 1 }],
        custom_values: Some(Arc::from(bounds)),
        ..one_bucket(count)
    }
}

fn gauge(count: f64) -> FloatHistogram {
    FloatHistogram {
        counter_reset_hint: CounterResetHint::Gauge,
        ..one_bucket(count)
    }
}

fn push(columns: &mut Columns, at: i64, histogram: FloatHistogram) {
    columns.push_histogram(at, Histogram::Float(Arc::new(histogram)));
}

/// Results and the texts of annotations.
fn run(name: &str, input: &RangeInput<'_>, args: &[ScalarArg<'_>]) -> (Row, Vec<String>) {
    let (mut annotations, mut scratch, mut row) =
        (Annotations::default(), Scratch::default(), Row::default());
    let mut context = KernelContext::new("m", Span::default(), &mut annotations, &mut scratch);
    range_function(name)
        .expect("known")
        .run(input, args, &mut context, &mut row)
        .expect("arguments are valid");
    (row, annotations.iter().map(ToString::to_string).collect())
}

/// A series of floats, and the same as histograms that count as much.
fn twins(seed: u64) -> (Columns, Columns) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let (mut floats, mut histograms) = (Columns::default(), Columns::default());
    let (mut at, mut count, mut start) = (0, 0.0, 0);
    let with_starts = seed.is_multiple_of(2);
    for _ in 0..60 {
        let before = at;
        at += 10_000 + random(10_000) as i64 + if random(9) == 0 { 90_000 } else { 0 };
        let is_stale = random(12) == 0;
        if random(7) == 0 {
            count = 1.0 + random(3) as f64;
            start = before + random(3) as i64;
        } else {
            count += 1.0 + random(50) as f64;
        }
        if is_stale {
            floats.push(at, stale_nan());
            push(
                &mut histograms,
                at,
                FloatHistogram {
                    sum: stale_nan(),
                    ..one_bucket(0.0)
                },
            );
        } else {
            floats.push(at, count);
            push(&mut histograms, at, one_bucket(count));
        }
        if with_starts {
            floats.set_last_start(start);
            histograms.set_last_start(start);
        }
    }
    (floats, histograms)
}

#[test]
fn histograms_count_as_floats_do() {
    let seeds = match std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok())
    {
        Some(seed) => seed..seed + 1,
        None => 0..300,
    };
    for seed in seeds {
        let (floats, histograms) = twins(seed);
        let windows = Windows {
            ends: Steps {
                start_ms: 30_000,
                step_ms: 17_000,
                count: 60,
            },
            range_ms: [20_000, 60_000, 300_000][seed as usize % 3],
        };
        for extension in [Extension::None, Extension::Anchored, Extension::Smoothed] {
            for name in [
                "rate",
                "increase",
                "delta",
                "irate",
                "idelta",
                "sum_over_time",
                "avg_over_time",
                "last_over_time",
                "first_over_time",
                "resets",
                "changes",
                "count_over_time",
                "present_over_time",
                "ts_of_first_over_time",
                "ts_of_last_over_time",
            ] {
                let function = range_function(name).expect("known");
                let applies = match extension {
                    Extension::None => true,
                    Extension::Anchored => function.anchored,
                    Extension::Smoothed => function.smoothed,
                };
                if !applies {
                    continue;
                }
                let of = |columns| RangeInput {
                    extension,
                    lookback_ms: 100_000,
                    use_start_timestamps: seed.is_multiple_of(4),
                    ..RangeInput::plain(columns, windows)
                };
                let (want, _) = run(name, &of(&floats), &[]);
                let (got, notes) = run(name, &of(&histograms), &[]);
                let gauge_note = "this native histogram metric is not a gauge: \"m\"";
                let overlap = |note: &String| note.contains("overlaps with previous sample");
                let expected = |note: &String| note == gauge_note && name.ends_with("delta") || overlap(note);
                assert!(
                    notes.iter().all(expected),
                    "NARTHEX_SEED={seed} {name}: {notes:?}"
                );
                for step in 0..windows.ends.count {
                    let got = got
                        .histogram(step)
                        .map_or_else(|| got.get(step), |histogram| Some(histogram.count));
                    let want = want.get(step);
                    let agree = match (got, want) {
                        (Some(got), Some(want)) => (got - want).abs() <= 1e-12 * want.abs().max(1.0),
                        _ => got == want,
                    };
                    assert!(
                        agree,
                        "NARTHEX_SEED={seed} {name} {extension:?} step {step}: got {got:?}, want {want:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn results_of_rates_are_compact_gauges() {
    let mut columns = Columns::default();
    for (i, count) in [4.0, 6.0, 1.0, 3.0].into_iter().enumerate() {
        push(&mut columns, 15_000 * (i as i64 + 1), one_bucket(count));
    }
    let windows = Windows {
        ends: Steps {
            start_ms: 60_000,
            step_ms: 1,
            count: 1,
        },
        range_ms: 60_000,
    };
    for name in ["rate", "increase", "irate"] {
        let (row, notes) = run(name, &RangeInput::plain(&columns, windows), &[]);
        let histogram = row.histogram(0).expect("two samples");
        assert_eq!(histogram.counter_reset_hint, CounterResetHint::Gauge, "{name}");
        assert_eq!(histogram.positive_spans, [Run { offset: 3, length: 1 }], "{name}");
        assert!(notes.is_empty(), "{name}: {notes:?}");
    }
}

/// One window with the given samples, a quarter of a minute apart.
fn window_of(samples: &[Option<FloatHistogram>]) -> (Columns, Windows) {
    let mut columns = Columns::default();
    for (i, sample) in samples.iter().enumerate() {
        let at = 15_000 * (i as i64 + 1);
        match sample {
            Some(histogram) => push(&mut columns, at, histogram.clone()),
            None => columns.push(at, 7.0),
        }
    }
    let end = 15_000 * samples.len() as i64;
    (
        columns,
        Windows {
            ends: Steps {
                start_ms: end,
                step_ms: 1,
                count: 1,
            },
            range_ms: end,
        },
    )
}

const MIXED: &str = "encountered a mix of histograms and floats for metric name \"m\"";
const IGNORED: &str =
    "ignored histograms in a range containing both floats and histograms for metric name \"m\"";
const NOT_COUNTER: &str = "this native histogram metric is not a counter: \"m\"";
const NOT_GAUGE: &str = "this native histogram metric is not a gauge: \"m\"";
const SCHEMAS: &str =
    "vector contains a mix of histograms with exponential and custom buckets schemas for metric name \"m\"";

#[test]
fn annotations_tell_what_does_not_fit() {
    let h = |count: f64| Some(one_bucket(count));
    let c = |bounds: &[f64], count: f64| Some(custom(bounds, count));
    let bounds = &[1.0, 2.0, 3.0][..];
    let hinted = |count: f64, hint| {
        Some(FloatHistogram {
            counter_reset_hint: hint,
            ..one_bucket(count)
        })
    };
    let (reset, not_reset) = (CounterResetHint::Reset, CounterResetHint::NotReset);
    for (names, samples, has_result, notes) in [
        (
            &["rate", "increase", "delta", "sum_over_time", "avg_over_time"][..],
            vec![h(1.0), None, None],
            false,
            &[MIXED][..],
        ),
        (&["irate", "idelta"], vec![h(1.0), h(2.0), None], false, &[MIXED]),
        (&["irate"], vec![None, None, h(1.0), h(2.0)], true, &[]),
        (&["irate"], vec![h(1.0), h(2.0), None, None], true, &[]),
        (
            &[
                "max_over_time",
                "min_over_time",
                "stddev_over_time",
                "mad_over_time",
            ],
            vec![h(1.0), None],
            true,
            &[IGNORED],
        ),
        (&["deriv"], vec![h(1.0), None], false, &[IGNORED]),
        (&["deriv"], vec![h(1.0), None, None], true, &[IGNORED]),
        (
            &["max_over_time", "deriv", "stdvar_over_time"],
            vec![h(1.0), h(2.0)],
            false,
            &[],
        ),
        (
            &["last_over_time", "first_over_time", "resets", "changes"],
            vec![h(1.0), None],
            true,
            &[],
        ),
        (
            &["rate", "irate", "increase"],
            vec![Some(gauge(1.0)), Some(gauge(2.0))],
            true,
            &[NOT_COUNTER],
        ),
        (&["delta", "idelta"], vec![h(1.0), h(2.0)], true, &[NOT_GAUGE]),
        (
            &["delta", "idelta"],
            vec![Some(gauge(1.0)), Some(gauge(2.0))],
            true,
            &[],
        ),
        (
            &["rate", "delta"],
            vec![h(1.0), h(2.0), c(bounds, 3.0)],
            false,
            &[SCHEMAS],
        ),
        (&["idelta"], vec![h(1.0), c(bounds, 2.0)], false, &[SCHEMAS]),
        // Another schema is a reset, and the second sample needs nothing of the first.
        (&["rate", "irate"], vec![h(1.0), c(bounds, 2.0)], true, &[]),
        (
            &["sum_over_time", "avg_over_time"],
            vec![h(1.0), c(bounds, 2.0)],
            false,
            &[SCHEMAS],
        ),
        (
            &["rate", "irate"],
            vec![c(bounds, 1.0), c(&[1.0, 2.0], 2.0)],
            true,
            &["mismatched custom buckets were reconciled during subtraction"],
        ),
        (
            &["sum_over_time", "avg_over_time"],
            vec![c(bounds, 1.0), c(&[1.0, 2.0], 2.0)],
            true,
            &["mismatched custom buckets were reconciled during aggregation"],
        ),
        (
            &["sum_over_time", "avg_over_time"],
            vec![hinted(1.0, reset), hinted(2.0, not_reset)],
            true,
            &["conflicting counter resets during histogram aggregation"],
        ),
    ] {
        for name in names {
            let (columns, windows) = window_of(&samples);
            let (row, got) = run(name, &RangeInput::plain(&columns, windows), &[]);
            for note in notes {
                assert!(
                    got.iter().any(|got| got == note),
                    "{name} of {samples:?}: {got:?} lacks {note}"
                );
            }
            let found = (got.is_empty(), !row.is_empty());
            assert_eq!(
                found,
                (notes.is_empty(), has_result),
                "{name} of {samples:?}: {got:?}"
            );
        }
    }
}

#[test]
fn wrong_quantiles_are_warned_of_by_value() {
    let (columns, windows) = window_of(&[None]);
    let ends = Steps {
        count: 3,
        ..windows.ends
    };
    let input = RangeInput::plain(&columns, Windows { ends, ..windows });
    let (_, notes) = run(
        "quantile_over_time",
        &input,
        &[ScalarArg::PerStep(&[1.5, f64::NAN, 0.5])],
    );
    let text = "quantile value should be between 0 and 1, got ";
    assert_eq!(notes, [format!("{text}1.5"), format!("{text}NaN")]);
}

#[test]
fn overlapping_starts_are_counted() {
    let mut columns = Columns::default();
    for (at, start) in [(15_000, 5_000), (30_000, 10_000), (45_000, 20_000)] {
        columns.push(at, at as f64);
        columns.set_last_start(start);
    }
    let windows = Windows {
        ends: Steps {
            start_ms: 45_000,
            step_ms: 1_000,
            count: 3,
        },
        range_ms: 100_000,
    };
    let input = RangeInput {
        use_start_timestamps: true,
        ..RangeInput::plain(&columns, windows)
    };
    let (_, notes) = run("rate", &input, &[]);
    assert_eq!(
        notes,
        [
            "sample has start time that overlaps with previous sample timestamp for metric \"m\" (3 occurrences)"
        ]
    );
}

#[test]
fn instant_selectors_share_histograms_between_steps() {
    let (columns, _) = window_of(&[Some(one_bucket(1.0)), Some(one_bucket(2.0)), None]);
    let (mut scratch, mut row) = (Scratch::default(), Row::default());
    let steps = Steps {
        start_ms: 14_000,
        step_ms: 8_000,
        count: 6,
    };
    select_instant(
        &columns,
        steps,
        300_000,
        InstantOutput::Value,
        &mut scratch,
        &mut row,
    );
    let counts: Vec<_> = (0..6)
        .map(|step| row.histogram(step).map(|histogram| histogram.count))
        .collect();
    assert_eq!(counts, [None, Some(1.0), Some(2.0), Some(2.0), None, None]);
    assert_eq!(
        (row.present.get(0), row.present.get(4), row.values[4]),
        (false, true, 7.0)
    );
    let shared =
        |a: usize, b: usize| Arc::ptr_eq(row.histogram(a).expect("one"), row.histogram(b).expect("one"));
    assert!(shared(2, 3) && !shared(1, 2));
}
