//! Every sliding kernel against its definition, window by window, on random series.

use model::columns::Columns;
use model::sample::{is_stale_nan, stale_nan};

use super::*;

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

/// What a definition sees of one step.
struct Window<'a> {
    samples: &'a [Sample],
    start: i64,
    end: i64,
    eval: i64,
    args: [f64; 2],
    use_starts: bool,
}

impl Window<'_> {
    fn values(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.value).collect()
    }

    fn start_reset(&self, i: usize) -> bool {
        let (previous, current) = (self.samples[i - 1], self.samples[i]);
        let known = current.start != 0 && current.start < current.at;
        let delta = current.start == previous.at && previous.start != 0 && previous.start < previous.at;
        self.use_starts && known && (current.start > previous.at || delta)
    }

    fn is_reset(&self, i: usize) -> bool {
        self.samples[i].value < self.samples[i - 1].value || self.start_reset(i)
    }
}

/// Σ by Neumaier, an overflow dropping the compensation.
fn neumaier(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    values.into_iter().fold((0.0_f64, 0.0_f64), |(sum, lost), value| {
        let next = sum + value;
        let lost = if next.is_infinite() {
            0.0
        } else if sum.abs() >= value.abs() {
            lost + ((sum - next) + value)
        } else {
            lost + ((value - next) + sum)
        };
        (next, lost)
    })
}

fn define_sum(window: &Window<'_>) -> Option<f64> {
    let (sum, lost) = neumaier(window.values());
    Some(if sum.is_infinite() { sum } else { sum + lost })
}

fn define_avg(window: &Window<'_>) -> Option<f64> {
    let values = window.values();
    let fits = (2..=values.len())
        .take_while(|n| !neumaier(values[..*n].iter().copied()).0.is_infinite())
        .count()
        + 1;
    let (sum, lost) = neumaier(values[..fits].iter().copied());
    let n = fits as f64;
    let (mut mean, mut mean_lost) = (sum / n, lost / n);
    for (i, value) in values.iter().enumerate().skip(fits) {
        let n = (i + 1) as f64;
        let (kept, kept_lost) = (mean * ((n - 1.0) / n), mean_lost * ((n - 1.0) / n));
        let (next, lost) = neumaier([kept, value / n]);
        (mean, mean_lost) = (next, if next.is_infinite() { 0.0 } else { kept_lost + lost });
    }
    Some(mean + mean_lost)
}

fn define_extreme(window: &Window<'_>, max: bool, last: bool) -> Option<Sample> {
    let mut best = window.samples[0];
    for sample in window.samples {
        let better = if max {
            sample.value > best.value
        } else {
            sample.value < best.value
        };
        if better || best.value.is_nan() || last && sample.value == best.value {
            best = *sample;
        }
    }
    Some(best)
}

fn define_quantile(q: f64, mut values: Vec<f64>) -> f64 {
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    if q.is_nan() || !(0.0..=1.0).contains(&q) {
        return if q.is_nan() { q } else { q.signum() * f64::INFINITY };
    }
    let rank = q * (values.len() - 1) as f64;
    let (low, weight) = (rank.floor() as usize, rank - rank.floor());
    values[low] * (1.0 - weight) + values[(low + 1).min(values.len() - 1)] * weight
}

fn define_mad(window: &Window<'_>) -> Option<f64> {
    if window.values().iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let median = define_quantile(0.5, window.values());
    Some(define_quantile(
        0.5,
        window
            .values()
            .iter()
            .map(|value| (value - median).abs())
            .collect(),
    ))
}

fn define_variance(window: &Window<'_>) -> Option<f64> {
    let (mut mean, mut squares) = ((0.0, 0.0), (0.0, 0.0));
    let add = |(sum, lost): (f64, f64), value: f64| {
        let (next, more) = neumaier([sum, value]);
        (next, if next.is_infinite() { 0.0 } else { lost + more })
    };
    for (i, value) in window.values().into_iter().enumerate() {
        let delta = value - (mean.0 + mean.1);
        mean = add(mean, delta / (i + 1) as f64);
        squares = add(squares, delta * (value - (mean.0 + mean.1)));
    }
    Some((squares.0 + squares.1) / window.samples.len() as f64)
}

fn define_line(window: &Window<'_>, origin: i64) -> Option<(f64, f64)> {
    let first = window.samples.first()?.value;
    if window.samples.len() < 2 {
        return None;
    }
    if window.samples.iter().all(|sample| sample.value == first) {
        return Some(if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        });
    }
    let n = window.samples.len() as f64;
    let sum = |f: &dyn Fn(f64, f64) -> f64| {
        let (sum, lost) = neumaier(
            window
                .samples
                .iter()
                .map(|sample| f((sample.at - origin) as f64 / 1000.0, sample.value)),
        );
        sum + lost
    };
    let (x, y, xy, xx) = (
        sum(&|x, _| x),
        sum(&|_, y| y),
        sum(&|x, y| x * y),
        sum(&|x, _| x * x),
    );
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Some((slope, y / n - slope * x / n))
}

fn define_rate(window: &Window<'_>, counter: bool, per_second: bool) -> Option<f64> {
    let samples = window.samples;
    let (first, last) = (samples.first()?, samples.last()?);
    let mut change = last.value - first.value;
    for i in 1..samples.len() {
        if counter && window.is_reset(i) {
            change += samples[i - 1].value;
        }
    }
    let average = if samples.len() > 1 {
        (last.at - first.at) as f64 / 1000.0 / (samples.len() - 1) as f64
    } else {
        0.0
    };
    let mut to_start = (first.at - window.start) as f64 / 1000.0;
    let mut to_end = (window.end - last.at) as f64 / 1000.0;
    let mut sampled = (last.at - first.at) as f64 / 1000.0;
    let begins =
        window.use_starts && first.start != 0 && first.start > window.start && first.start < first.at;
    if counter && begins {
        to_start = 0.0;
        sampled = (last.at - first.start) as f64 / 1000.0;
        change += first.value;
    } else {
        if samples.len() < 2 {
            return None;
        }
        if to_start >= average * 1.1 {
            to_start = average / 2.0;
        }
        if counter && change > 0.0 && first.value >= 0.0 {
            to_start = to_start.min(sampled * (first.value / change));
        }
    }
    if to_end >= average * 1.1 {
        to_end = average / 2.0;
    }
    let seconds = if per_second {
        (window.end - window.start) as f64 / 1000.0
    } else {
        1.0
    };
    Some(change * ((sampled + to_start + to_end) / sampled / seconds))
}

fn define_last_two(window: &Window<'_>, counter: bool) -> Option<f64> {
    let last = window.samples.len() - 1;
    let before = window.samples.get(last.checked_sub(1)?)?;
    let current = window.samples[last];
    let change = if counter && window.is_reset(last) {
        current.value
    } else {
        current.value - before.value
    };
    let seconds = if counter {
        (current.at - before.at) as f64 / 1000.0
    } else {
        1.0
    };
    Some(change / seconds)
}

fn define_holt(window: &Window<'_>) -> Option<f64> {
    let values = window.values();
    let [smoothing, trend] = window.args;
    let (mut levels, mut slope) = (vec![values[0]], values.get(1)? - values[0]);
    for (i, value) in values.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (levels[i - 1] - levels[i - 2]) + (1.0 - trend) * slope;
        }
        levels.push(smoothing * value + (1.0 - smoothing) * (levels[i - 1] + slope));
    }
    levels.last().copied()
}

/// The result of `name` over a window with samples.
fn define(name: &str, window: &Window<'_>) -> Option<f64> {
    let samples = window.samples;
    let count = |event: &dyn Fn(usize) -> bool| (1..samples.len()).filter(|i| event(*i)).count() as f64;
    let changed = |i: usize| {
        let (a, b) = (samples[i - 1].value, samples[i].value);
        a != b && !(a.is_nan() && b.is_nan())
    };
    match name {
        "absent_over_time" | "present_over_time" => Some(1.0),
        "avg_over_time" => define_avg(window),
        "changes" => Some(count(&changed)),
        "count_over_time" => Some(samples.len() as f64),
        "delta" => define_rate(window, false, false),
        "deriv" => define_line(window, samples[0].at).map(|(slope, _)| slope),
        "double_exponential_smoothing" => define_holt(window),
        "first_over_time" => Some(samples[0].value),
        "idelta" => define_last_two(window, false),
        "increase" => define_rate(window, true, false),
        "irate" => define_last_two(window, true),
        "last_over_time" => samples.last().map(|sample| sample.value),
        "mad_over_time" => define_mad(window),
        "max_over_time" => define_extreme(window, true, false).map(|sample| sample.value),
        "min_over_time" => define_extreme(window, false, false).map(|sample| sample.value),
        "predict_linear" => {
            define_line(window, window.eval).map(|(slope, intercept)| slope * window.args[0] + intercept)
        }
        "quantile_over_time" => Some(define_quantile(window.args[0], window.values())),
        "rate" => define_rate(window, true, true),
        "resets" => Some(count(&|i| window.is_reset(i))),
        "stddev_over_time" => define_variance(window).map(f64::sqrt),
        "stdvar_over_time" => define_variance(window),
        "sum_over_time" => define_sum(window),
        "ts_of_first_over_time" => samples.first().map(|sample| sample.at as f64 / 1000.0),
        "ts_of_last_over_time" => samples.last().map(|sample| sample.at as f64 / 1000.0),
        "ts_of_max_over_time" => define_extreme(window, true, true).map(|sample| sample.at as f64 / 1000.0),
        "ts_of_min_over_time" => define_extreme(window, false, true).map(|sample| sample.at as f64 / 1000.0),
        other => panic!("{other} has no definition here"),
    }
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
    let mut row = Row::default();
    for seed in seeds(500) {
        let mut rng = Rng(seed);
        let columns = random_columns(&mut rng);
        let windows = random_windows(&mut rng);
        for output in [
            InstantOutput::Value,
            InstantOutput::Timestamp,
            InstantOutput::StartTimestamp,
        ] {
            select_instant(&columns, windows.ends, windows.range_ms, output, &mut row);
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

/// The definition of an anchored or smoothed change: the samples of the range, led and closed by the values at its ends.
fn define_extended(samples: &[Sample], window: &Window<'_>, smoothed: bool, counter: bool) -> Option<f64> {
    let line = |old: Sample, new: Sample, at: i64| {
        let from = if counter && new.value < old.value {
            0.0
        } else {
            old.value
        };
        from + (new.value - from) * (at - old.at) as f64 / (new.at - old.at) as f64
    };
    let before = samples.iter().rfind(|sample| sample.at <= window.start).copied();
    let inside: Vec<Sample> = samples
        .iter()
        .filter(|sample| sample.at > window.start && sample.at < window.end)
        .copied()
        .collect();
    let at_end = samples.iter().find(|sample| sample.at == window.end).copied();
    let behind = samples.iter().find(|sample| sample.at > window.end).copied();
    let next = inside.first().copied().or(at_end).or(behind);
    let left = match (before, next) {
        (Some(before), Some(next)) if smoothed && before.at < window.start => {
            line(before, next, window.start)
        }
        (Some(before), Some(_)) => before.value,
        (Some(_), None) => return None,
        (None, Some(next)) if !smoothed || next.at <= window.end => next.value,
        (None, _) => return None,
    };
    let previous = inside.last().copied().or(before);
    let right = match (at_end, behind, previous) {
        (Some(end), _, _) => end.value,
        (None, Some(behind), Some(previous)) if smoothed => line(previous, behind, window.end),
        (None, _, Some(previous)) => previous.value,
        _ => return None,
    };
    let mut change = right - left;
    if counter {
        let path: Vec<f64> = [left]
            .into_iter()
            .chain(inside.iter().map(|sample| sample.value))
            .chain([right])
            .collect();
        change += path
            .windows(2)
            .filter(|pair| pair[1] < pair[0])
            .map(|pair| pair[0])
            .sum::<f64>();
    }
    Some(change)
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
