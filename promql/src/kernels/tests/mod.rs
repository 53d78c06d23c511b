//! Every sliding kernel against its definition, window by window, on random series.

use model::columns::Columns;
use model::sample::{is_stale_nan, stale_nan};

use super::*;

mod definitions;

use definitions::{Window, define, define_extended};

/// splitmix64
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: i64,
    value: f64,
    start: i64,
}

/// A series of one of several characters: counters with resets, noise, few distinct values, sums that cancel, specials.
fn random_columns(rng: &mut Rng) -> Columns {
    let kind = rng.below(7);
    let starts = rng.below(3) == 0;
    let mut columns = Columns::default();
    let (mut at, mut counter, mut started) = (rng.below(100_000) as i64, 0.0, 0);
    for _ in 0..rng.below(120) {
        let before = at;
        at += 1 + match rng.below(12) {
            0 => rng.below(200_000),
            1 => rng.below(2_000),
            _ => 14_000 + rng.below(2_000),
        } as i64;
        let value = match kind {
            0 => {
                counter = if rng.below(9) == 0 {
                    rng.unit() * 5.0
                } else {
                    counter + rng.unit() * 100.0
                };
                counter
            }
            1 => rng.unit() - 0.5,
            2 => rng.below(4) as f64 - 1.0,
            3 => [1e20, -1e20, 1.0, 3.5, 1e-9, -1.0, 0.0][rng.below(7) as usize],
            4 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, 2.0, -0.0, 0.0][rng.below(7) as usize],
            5 => [1e308, -1e308, 1e307, 5.0][rng.below(4) as usize],
            _ => 1e9 + rng.unit(),
        };
        columns.push(at, if rng.below(15) == 0 { stale_nan() } else { value });
        if starts {
            started = match rng.below(8) {
                0 => before,
                1 => before + 1,
                2 => rng.below(at as u64 + 20_000) as i64,
                3 => 0,
                _ => started,
            };
            columns.set_last_start(started);
        }
    }
    columns
}

fn random_windows(rng: &mut Rng) -> Windows {
    let step_ms = [0, 1_000, 15_000, 30_000, 60_000, 400_000][rng.below(6) as usize];
    Windows {
        ends: Steps {
            start_ms: rng.below(200_000) as i64,
            step_ms,
            count: 1 + rng.below(80) as usize,
        },
        range_ms: [1, 20_000, 60_000, 300_000, 1_234_567][rng.below(5) as usize],
    }
}

fn live(columns: &Columns, after: i64, until: i64) -> Vec<Sample> {
    let start = |i: usize| columns.start_timestamps_ms.get(i).copied().unwrap_or(0);
    (0..columns.len())
        .map(|i| Sample {
            at: columns.timestamps_ms[i],
            value: columns.values[i],
            start: start(i),
        })
        .filter(|sample| sample.at > after && sample.at <= until && !is_stale_nan(sample.value))
        .collect()
}

fn agree(got: Option<f64>, want: Option<f64>) -> bool {
    match (got, want) {
        (None, None) => true,
        (Some(got), Some(want)) => {
            got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= 1e-12 * want.abs()
        }
        _ => false,
    }
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let fixed = std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    fixed.map_or(0..count, |seed: u64| seed..seed + 1)
}

#[test]
fn kernels_agree_with_their_definitions() {
    let mut scratch = Scratch::default();
    let mut row = Row::default();
    for seed in seeds(1500) {
        let mut rng = Rng(seed);
        let columns = random_columns(&mut rng);
        let windows = random_windows(&mut rng);
        let use_start_timestamps = rng.below(2) == 0;
        let offset = [0, 60_000, -7_000][rng.below(3) as usize];
        let eval = Steps {
            start_ms: windows.ends.start_ms + offset,
            ..windows.ends
        };
        let input = RangeInput {
            eval,
            use_start_timestamps,
            ..RangeInput::plain(&columns, windows)
        };
        let quantiles: Vec<f64> = (0..windows.ends.count)
            .map(|_| [rng.unit(), 0.5, 0.99, 1.5, -1.0, f64::NAN][rng.below(6) as usize])
            .collect();
        for function in table::FUNCTIONS {
            let args = match function.name {
                "quantile_over_time" => vec![ScalarArg::PerStep(&quantiles)],
                "predict_linear" => vec![ScalarArg::Constant(600.0)],
                "double_exponential_smoothing" => vec![ScalarArg::Constant(0.3), ScalarArg::Constant(0.6)],
                _ => vec![],
            };
            assert_eq!(args.len(), function.scalars);
            let mut annotations = Annotations::default();
            let mut context = KernelContext::new("m", Span::default(), &mut annotations, &mut scratch);
            function
                .run(&input, &args, &mut context, &mut row)
                .expect("arguments are valid");
            for step in 0..windows.ends.count {
                let (start, end) = (windows.ends.at(step) - windows.range_ms, windows.ends.at(step));
                let samples = live(&columns, start, end);
                let arg = |i: usize| args.get(i).map_or(0.0, |arg| arg.at(step));
                let window = Window {
                    samples: &samples,
                    start,
                    end,
                    eval: eval.at(step),
                    args: [arg(0), arg(1)],
                    use_starts: use_start_timestamps && function.start_timestamps,
                };
                let want = (!samples.is_empty())
                    .then(|| define(function.name, &window))
                    .flatten();
                let got = row.get(step);
                assert!(
                    agree(got, want),
                    "NARTHEX_SEED={seed}: {} step {step}: got {got:?}, want {want:?}, samples {samples:?}",
                    function.name
                );
            }
        }
    }
}

#[test]
fn instant_selection_agrees_with_its_definition() {
    let (mut scratch, mut row) = (Scratch::default(), Row::default());
    for seed in seeds(500) {
        let mut rng = Rng(seed);
        let columns = random_columns(&mut rng);
        let windows = random_windows(&mut rng);
        for output in [
            InstantOutput::Value,
            InstantOutput::Timestamp,
            InstantOutput::StartTimestamp,
        ] {
            let (steps, lookback_ms) = (windows.ends, windows.range_ms);
            select_instant(&columns, steps, lookback_ms, output, &mut scratch, &mut row);
            for step in 0..windows.ends.count {
                let at = windows.ends.at(step);
                let newest = columns.timestamps_ms.iter().rposition(|time| *time <= at);
                let want = newest
                    .filter(|i| {
                        columns.timestamps_ms[*i] > at - windows.range_ms && !is_stale_nan(columns.values[*i])
                    })
                    .map(|i| match output {
                        InstantOutput::Value => columns.values[i],
                        InstantOutput::Timestamp => columns.timestamps_ms[i] as f64 / 1000.0,
                        InstantOutput::StartTimestamp => columns
                            .start_timestamps_ms
                            .get(i)
                            .map_or(0.0, |start| *start as f64 / 1000.0),
                    });
                let got = row.get(step);
                assert!(
                    agree(got, want),
                    "NARTHEX_SEED={seed} {output:?} step {step}: got {got:?}, want {want:?}"
                );
            }
        }
    }
}

#[test]
fn extended_ranges_agree_with_their_definition() {
    let mut scratch = Scratch::default();
    let mut row = Row::default();
    for seed in seeds(1500) {
        let mut rng = Rng(seed);
        let columns = random_columns(&mut rng);
        // Sums of values beyond all measure differ by the order of additions.
        if columns
            .values
            .iter()
            .any(|value| value.abs() > 1e10 || value.is_infinite())
        {
            continue;
        }
        let windows = random_windows(&mut rng);
        let lookback_ms = [30_000, 300_000][rng.below(2) as usize];
        for extension in [Extension::Anchored, Extension::Smoothed] {
            let smoothed = extension == Extension::Smoothed;
            let input = RangeInput {
                extension,
                lookback_ms,
                ..RangeInput::plain(&columns, windows)
            };
            for function in table::FUNCTIONS
                .iter()
                .filter(|f| if smoothed { f.smoothed } else { f.anchored })
            {
                let mut annotations = Annotations::default();
                let mut context = KernelContext::new("m", Span::default(), &mut annotations, &mut scratch);
                function
                    .run(&input, &[], &mut context, &mut row)
                    .expect("no arguments");
                for step in 0..windows.ends.count {
                    let (start, end) = (windows.ends.at(step) - windows.range_ms, windows.ends.at(step));
                    let (before, behind) = RangeInput::reach_ms(extension, lookback_ms);
                    let samples = live(&columns, start - before, end + behind);
                    let anchor = samples.iter().rposition(|sample| sample.at <= start).unwrap_or(0);
                    let window = Window {
                        samples: &samples[anchor.min(samples.len())..],
                        start,
                        end,
                        eval: end,
                        args: [0.0, 0.0],
                        use_starts: false,
                    };
                    let want = match function.name {
                        "changes" | "resets" => samples
                            .last()
                            .filter(|sample| sample.at > start)
                            .and_then(|_| define(function.name, &window)),
                        name => define_extended(&samples, &window, smoothed, name != "delta").map(|change| {
                            if name == "rate" {
                                change / (windows.range_ms as f64 / 1000.0)
                            } else {
                                change
                            }
                        }),
                    };
                    let got = row.get(step);
                    let close = match (got, want) {
                        // Interpolation and the order of corrections round differently; counters of this size show it.
                        (Some(got), Some(want)) => agree(Some(got), Some(want)) || (got - want).abs() < 1e-9,
                        _ => got.is_none() && want.is_none(),
                    };
                    assert!(
                        close,
                        "NARTHEX_SEED={seed}: {} {extension:?} step {step} ({start}, {end}]: got {got:?}, want {want:?}, samples {samples:?}",
                        function.name
                    );
                }
            }
        }
    }
}

#[test]
fn smoothing_factors_are_checked_where_there_are_samples() {
    let mut columns = Columns::default();
    let windows = Windows {
        ends: Steps {
            start_ms: 100,
            step_ms: 1,
            count: 1,
        },
        range_ms: 50,
    };
    let (mut scratch, mut row) = (Scratch::default(), Row::default());
    let mut annotations = Annotations::default();
    let mut context = KernelContext::new("m", Span::default(), &mut annotations, &mut scratch);
    let function = range_function("double_exponential_smoothing").expect("known");
    let args = [ScalarArg::Constant(1.0), ScalarArg::Constant(0.5)];
    let mut run = |columns: &Columns, args: &[ScalarArg<'_>]| {
        function
            .run(&RangeInput::plain(columns, windows), args, &mut context, &mut row)
            .map_err(|e| e.to_string())
    };
    assert_eq!(run(&columns, &args), Ok(()));
    columns.push(90, 1.0);
    let text = "invalid smoothing factor. Expected: 0 < sf < 1, got: 1.000000";
    assert_eq!(run(&columns, &args), Err(text.to_owned()));
    let args = [ScalarArg::Constant(0.5), ScalarArg::Constant(f64::INFINITY)];
    let text = "invalid trend factor. Expected: 0 < tf < 1, got: +Inf";
    assert_eq!(run(&columns, &args), Err(text.to_owned()));
}
