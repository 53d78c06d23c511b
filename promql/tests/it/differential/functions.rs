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

/// A function of single samples; `None` where it gives none.
pub(super) fn element(name: &str, value: f64, args: &[f64]) -> Option<f64> {
    Some(match name {
        "abs" => value.abs(),
        "ceil" => value.ceil(),
        "floor" => value.floor(),
        "sqrt" => value.sqrt(),
        "exp" => value.exp(),
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

/// A function of the samples of a series in `(start_ms, end_ms]`; `None` where it gives none.
pub(super) fn over_time(name: &str, window: &Window, start_ms: i64, end_ms: i64, arg: f64) -> Option<f64> {
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
        "quantile_over_time" => quantile(arg, &values),
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
