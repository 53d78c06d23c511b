//! Functions of one sample and of one window, as they are defined.

use std::collections::BTreeMap;

use model::matcher::MatchOp;
use narthex_promql::ast::VectorSelector;

use super::reference::{LabelMap, Vector, Window};

/// The labels of `absent(selector)`: what the selector demands to be equal.
pub(super) fn absent_labels(selector: &VectorSelector) -> LabelMap {
    let wanted = selector
        .matchers
        .iter()
        .filter(|matcher| matcher.op == MatchOp::Equal && matcher.name != "__name__");
    wanted
        .filter(|matcher| !matcher.value.is_empty())
        .map(|matcher| (matcher.name.clone(), matcher.value.clone()))
        .collect()
}

/// Label `texts[0]` becomes the values of the other labels with `texts[1]` between them.
pub(super) fn label_join(labels: &mut LabelMap, texts: &[String]) {
    let value = |name: &String| labels.get(name).cloned().unwrap_or_default();
    let joined = texts[2..].iter().map(value).collect::<Vec<_>>().join(&texts[1]);
    set_label(labels, &texts[0], joined);
}

/// Where the value of label `texts[2]` is matched by `texts[3]`, label `texts[0]` becomes `texts[1]`, in which `$1` stands
/// for the first group.
pub(super) fn label_replace(labels: &mut LabelMap, texts: &[String]) {
    let source = labels.get(&texts[2]).cloned().unwrap_or_default();
    // Only these patterns are generated.
    let group = match texts[3].as_str() {
        "(.*)" => source.clone(),
        "(.+)" if !source.is_empty() => source.clone(),
        "([12])" if source == "1" || source == "2" => source.clone(),
        "p|q" if source == "p" || source == "q" => String::new(),
        _ => return,
    };
    set_label(labels, &texts[0], texts[1].replace("$1", &group));
}

fn set_label(labels: &mut LabelMap, name: &str, value: String) {
    match value.is_empty() {
        true => labels.remove(name),
        false => labels.insert(name.to_owned(), value),
    };
}

/// A function of single samples; `None` where it gives none.
pub(super) fn element(name: &str, value: f64, args: &[f64]) -> Option<f64> {
    Some(match name {
        "abs" => value.abs(),
        "ceil" => value.ceil(),
        "floor" => value.floor(),
        "sqrt" => value.sqrt(),
        "exp" => value.exp(),
        "ln" => value.ln(),
        "log2" => value.log2(),
        "log10" => value.log10(),
        "sin" => value.sin(),
        "atan" => value.atan(),
        "deg" => value.to_degrees(),
        "rad" => value.to_radians(),
        "sgn" if value > 0.0 => 1.0,
        "sgn" if value < 0.0 => -1.0,
        "sgn" => value,
        "round" => {
            let parts = 1.0 / args.first().unwrap_or(&1.0);
            (value * parts + 0.5).floor() / parts
        }
        "clamp" if args[0] > args[1] => return None,
        "clamp_min" => larger(args[0], value),
        "clamp_max" => smaller(args[0], value),
        "clamp" => larger(args[0], smaller(args[1], value)),
        other => panic!("{other} has no definition here"),
    })
}

/// The larger of two; NaN is larger than all but +∞.
fn larger(a: f64, b: f64) -> f64 {
    match a.is_nan() || b.is_nan() {
        true if a == f64::INFINITY || b == f64::INFINITY => f64::INFINITY,
        true => f64::NAN,
        false => a.max(b),
    }
}

/// The smaller of two; NaN is smaller than all but -∞.
fn smaller(a: f64, b: f64) -> f64 {
    -larger(-a, -b)
}

/// A function of the samples of a series in `(start_ms, end_ms]`; `None` where it gives none. `at_ms` is the time of the
/// query's step, and `args` are the scalars beside the range.
pub(super) fn over_time(
    name: &str,
    window: &Window,
    (start_ms, end_ms): (i64, i64),
    at_ms: i64,
    args: &[f64],
) -> Option<f64> {
    let values: Vec<f64> = window.iter().map(|(_, value)| *value).collect();
    let last = *values.last()?;
    let count = values.len() as f64;
    let pairs = |event: &dyn Fn(f64, f64) -> bool| {
        let events = values.windows(2).filter(|pair| event(pair[0], pair[1]));
        events.count() as f64
    };
    Some(match name {
        "rate" => extrapolated(window, start_ms, end_ms, true)? / ((end_ms - start_ms) as f64 / 1000.0),
        "increase" => extrapolated(window, start_ms, end_ms, true)?,
        "delta" => extrapolated(window, start_ms, end_ms, false)?,
        "irate" | "idelta" => {
            let [.., (before_ms, before), (last_ms, last)] = window[..] else {
                return None;
            };
            let seconds = (last_ms - before_ms) as f64 / 1000.0;
            match name {
                "idelta" => last - before,
                _ if last < before => last / seconds,
                _ => (last - before) / seconds,
            }
        }
        "sum_over_time" => sum(&values),
        "avg_over_time" => sum(&values) / count,
        "count_over_time" => count,
        "present_over_time" => 1.0,
        "last_over_time" => last,
        "min_over_time" => extreme(&values, |new, old| new < old),
        "max_over_time" => extreme(&values, |new, old| new > old),
        "stddev_over_time" => variance(&values).sqrt(),
        "stdvar_over_time" => variance(&values),
        "quantile_over_time" => quantile(args[0], &values),
        "first_over_time" => values[0],
        "mad_over_time" if values.iter().any(|value| value.is_nan()) => f64::NAN,
        "mad_over_time" => {
            let median = quantile(0.5, &values);
            let distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
            quantile(0.5, &distances)
        }
        "ts_of_first_over_time" => seconds(window.first()?.0),
        "ts_of_last_over_time" => seconds(window.last()?.0),
        "ts_of_min_over_time" => time_of_extreme(window, |new, old| new <= old),
        "ts_of_max_over_time" => time_of_extreme(window, |new, old| new >= old),
        "deriv" => line(window, window.first()?.0)?.0,
        "predict_linear" => {
            let (slope, now) = line(window, at_ms)?;
            slope * args[0] + now
        }
        "double_exponential_smoothing" => smoothed(&values, args[0], args[1])?,
        "changes" => pairs(&|old, new| old != new && !(old.is_nan() && new.is_nan())),
        "resets" => pairs(&|old, new| new < old),
        other => panic!("{other} has no definition here"),
    })
}

/// The change over a window, stretched to its ends where samples come close to them.
fn extrapolated(window: &Window, start_ms: i64, end_ms: i64, counter: bool) -> Option<f64> {
    let [(first_ms, first), .., (last_ms, last)] = window[..] else {
        return None;
    };
    let mut change = last - first;
    for pair in window.windows(2) {
        if counter && pair[1].1 < pair[0].1 {
            change += pair[0].1;
        }
    }
    let sampled = (last_ms - first_ms) as f64 / 1000.0;
    let between = sampled / (window.len() - 1) as f64;
    let reach = |gap_ms: i64| match gap_ms as f64 / 1000.0 {
        gap if gap >= between * 1.1 => between / 2.0,
        gap => gap,
    };
    let mut to_start = reach(first_ms - start_ms);
    // A counter is never extrapolated below zero.
    if counter && change > 0.0 && first >= 0.0 {
        to_start = to_start.min(sampled * (first / change));
    }
    Some(change * ((sampled + to_start + reach(end_ms - last_ms)) / sampled))
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// When the newest of the best values was; where one of two is NaN, the number is the better one.
fn time_of_extreme(window: &Window, better: impl Fn(f64, f64) -> bool) -> f64 {
    let best = window.iter().copied().reduce(|old, new| {
        if better(new.1, old.1) || old.1.is_nan() {
            new
        } else {
            old
        }
    });
    best.map_or(f64::NAN, |(time, _)| seconds(time))
}

/// The line through the samples with the least squares: its slope a second, and its height at `zero_ms`.
fn line(window: &Window, zero_ms: i64) -> Option<(f64, f64)> {
    if window.len() < 2 {
        return None;
    }
    let first = window[0].1;
    if window.iter().all(|(_, value)| *value == first) {
        return Some(if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        });
    }
    let count = window.len() as f64;
    let of = |each: &dyn Fn(f64, f64) -> f64| {
        let parts: Vec<f64> = window
            .iter()
            .map(|(time, value)| each(seconds(time - zero_ms), *value))
            .collect();
        sum(&parts)
    };
    let (x, y) = (of(&|x, _| x), of(&|_, y| y));
    let slope = (of(&|x, y| x * y) - x * y / count) / (of(&|x, _| x * x) - x * x / count);
    Some((slope, y / count - slope * x / count))
}

/// Level and trend, each smoothed by its own factor.
fn smoothed(values: &[f64], of_level: f64, of_trend: f64) -> Option<f64> {
    let [first, second, ..] = *values else {
        return None;
    };
    let (mut level, mut trend) = (first, second - first);
    for (at, value) in values.iter().enumerate().skip(1) {
        let next = of_level * value + (1.0 - of_level) * (level + trend);
        if at + 1 < values.len() {
            trend = of_trend * (next - level) + (1.0 - of_trend) * trend;
        }
        level = next;
    }
    Some(level)
}

/// A sum that does not lose the small beside the large.
pub(super) fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for value in values {
        let next = sum + value;
        let (large, small) = if sum.abs() >= value.abs() {
            (sum, *value)
        } else {
            (*value, sum)
        };
        lost += (large - next) + small;
        sum = next;
    }
    if sum.is_finite() { sum + lost } else { sum }
}

/// The value that is `better` than all others; NaN only where there is nothing else.
pub(super) fn extreme(values: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    let numbers = values.iter().copied().filter(|value| !value.is_nan());
    numbers
        .reduce(|old, new| if better(new, old) { new } else { old })
        .unwrap_or(f64::NAN)
}

/// The mean square of the distances from the mean.
pub(super) fn variance(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = sum(values) / count;
    let squares: Vec<f64> = values
        .iter()
        .map(|value| (value - mean) * (value - mean))
        .collect();
    sum(&squares) / count
}

/// The quantile between the two nearest ranks; NaN is the least of all values.
pub(super) fn quantile(q: f64, values: &[f64]) -> f64 {
    match q {
        q if q.is_nan() => return q,
        q if q < 0.0 => return f64::NEG_INFINITY,
        q if q > 1.0 => return f64::INFINITY,
        _ => {}
    }
    let mut values = values.to_vec();
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = q * (values.len() - 1) as f64;
    let (low, part) = (rank.floor() as usize, rank - rank.floor());
    let high = (low + 1).min(values.len() - 1);
    values[low] * (1.0 - part) + values[high] * part
}

/// `histogram_quantile` over series with an `le` label each.
pub(super) fn histogram_quantile(q: f64, buckets: Vector) -> impl Iterator<Item = (LabelMap, f64)> {
    let mut histograms: BTreeMap<LabelMap, Vec<(f64, f64)>> = BTreeMap::new();
    for (mut labels, count) in buckets {
        labels.remove("__name__");
        let bound = labels.remove("le").and_then(|le| le.parse::<f64>().ok());
        if let Some(bound) = bound {
            histograms.entry(labels).or_default().push((bound, count));
        }
    }
    histograms
        .into_iter()
        .map(move |(labels, buckets)| (labels, bucket_quantile(q, buckets)))
}

fn bucket_quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    match q {
        q if q.is_nan() => return q,
        q if q < 0.0 => return f64::NEG_INFINITY,
        q if q > 1.0 => return f64::INFINITY,
        _ => {}
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (bound, count) in buckets {
        match merged.last_mut() {
            Some(last) if last.0 == bound => last.1 += count,
            _ => merged.push((bound, count)),
        }
    }
    for i in 1..merged.len() {
        if merged[i].1 < merged[i - 1].1 {
            merged[i].1 = merged[i - 1].1;
        }
    }
    let [finite @ .., (f64::INFINITY, total)] = &merged[..] else {
        return f64::NAN;
    };
    let Some((highest, _)) = finite.last() else {
        return f64::NAN;
    };
    if *total == 0.0 {
        return f64::NAN;
    }
    let rank = q * total;
    let Some(at) = finite.iter().position(|(_, count)| *count >= rank) else {
        return *highest;
    };
    let (bound, count) = finite[at];
    match at.checked_sub(1).map(|before| finite[before]) {
        None if bound <= 0.0 => bound,
        None => bound * (rank / count),
        Some((lower, below)) => lower + (bound - lower) * ((rank - below) / (count - below)),
    }
}
