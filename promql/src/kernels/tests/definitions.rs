//! Range functions as they are defined: over the samples of one window, afresh.

use super::Sample;

/// What a definition sees of one step.
pub(super) struct Window<'a> {
    pub(super) samples: &'a [Sample],
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) eval: i64,
    pub(super) args: [f64; 2],
    pub(super) use_starts: bool,
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
pub(super) fn define(name: &str, window: &Window<'_>) -> Option<f64> {
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

/// The definition of an anchored or smoothed change: the samples of the range, led and closed by the values at its ends.
pub(super) fn define_extended(
    samples: &[Sample],
    window: &Window<'_>,
    smoothed: bool,
    counter: bool,
) -> Option<f64> {
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
