//! Order statistics: `quantile_over_time` and `mad_over_time`.

use std::cmp::Ordering;
use std::ops::Range;

use crate::row::Row;

use super::{KernelError, Run};

/// `quantile_over_time`; its scalar is the quantile.
pub(super) fn quantile_over_time(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    let Some(q) = run.args.first().copied() else {
        return Ok(());
    };
    let mut sorted = SortedWindow::new(std::mem::take(&mut run.work.keys));
    let mut warned_about = None;
    run.map_floats(out, |run, step, window| {
        let q = q.at(step);
        if !(0.0..=1.0).contains(&q) && warned_about != Some(q.to_bits()) {
            warned_about = Some(q.to_bits());
            run.notes.invalid_quantile(q);
        }
        sorted.slide(run.samples.floats, window);
        Some(quantile_at(q, sorted.keys.len(), |index| {
            value(sorted.keys[index])
        }))
    });
    run.work.keys = sorted.keys;
    Ok(())
}

/// `mad_over_time`: the median of the distances to the median; NaN where a value is NaN.
pub(super) fn mad_over_time(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    let mut sorted = SortedWindow::new(std::mem::take(&mut run.work.keys));
    let mut values = std::mem::take(&mut run.work.sorted);
    let mut distances = std::mem::take(&mut run.work.distances);
    run.map_floats(out, |run, _, window| {
        sorted.slide(run.samples.floats, window);
        values.clear();
        values.extend(sorted.keys.iter().map(|key| value(*key)));
        Some(median_distance(&values, &mut distances))
    });
    run.work.keys = sorted.keys;
    run.work.sorted = values;
    run.work.distances = distances;
    Ok(())
}

fn median_distance(sorted: &[f64], distances: &mut Vec<f64>) -> f64 {
    if sorted[0].is_nan() {
        return f64::NAN;
    }
    let median = quantile_of_sorted(0.5, sorted);
    distances.clear();
    distances.extend(sorted.iter().map(|value| (value - median).abs()));
    let farthest = distances[0].max(distances[sorted.len() - 1]);
    if !median.is_finite() || !farthest.is_finite() {
        // Distances of infinities are NaN and come anywhere; infinite ones make NaN of a weight of 0.
        distances.sort_unstable_by(order);
        return quantile_of_sorted(0.5, distances);
    }
    // Distances fall towards the median and rise behind it: merging from its place outwards sorts them, and only the
    // smaller half is wanted.
    let mut right = sorted.partition_point(|value| *value < median);
    let mut left = right;
    let wanted = sorted.len() / 2 + 1;
    let mut last_two = (f64::NAN, f64::NAN);
    for _ in 0..wanted {
        let from_left = left > 0 && (right == sorted.len() || distances[left - 1] <= distances[right]);
        let next = if from_left {
            left -= 1;
            distances[left]
        } else {
            right += 1;
            distances[right - 1]
        };
        last_two = (last_two.1, next);
    }
    if sorted.len() % 2 == 1 {
        last_two.1
    } else {
        last_two.0 * 0.5 + last_two.1 * 0.5
    }
}

/// The quantile of values sorted by [`order`], between neighbours by weight: NaN of nothing or where `q` is NaN, and
/// infinite where `q` lies outside 0 to 1.
pub fn quantile_of_sorted(q: f64, sorted: &[f64]) -> f64 {
    quantile_at(q, sorted.len(), |index| sorted[index])
}

fn quantile_at(q: f64, count: usize, sorted: impl Fn(usize) -> f64) -> f64 {
    if count == 0 || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = count - 1;
    let rank = q * last as f64;
    let weight = rank - rank.floor();
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    sorted(lower) * (1.0 - weight) + sorted(upper) * weight
}

/// Order of values for quantiles: NaN first, −0 before 0.
pub fn order(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a, b) => b.cmp(&a),
    }
}

/// The values of a window, sorted, carried from window to window as keys that compare as integers.
struct SortedWindow {
    keys: Vec<i64>,
    window: Range<usize>,
}

/// An integer for each float that compares as [`order`] does. NaNs become one.
#[inline]
fn key(value: f64) -> i64 {
    if value.is_nan() {
        return i64::MIN;
    }
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63) & i64::MAX)
}

/// The float of a key.
#[inline]
fn value(key: i64) -> f64 {
    if key == i64::MIN {
        return f64::NAN;
    }
    f64::from_bits((key ^ ((key >> 63) & i64::MAX)).cast_unsigned())
}

impl SortedWindow {
    fn new(mut keys: Vec<i64>) -> Self {
        keys.clear();
        SortedWindow { keys, window: 0..0 }
    }

    /// Makes it the values of `window`, which starts and ends no earlier than the last one.
    fn slide(&mut self, floats: &[f64], window: Range<usize>) {
        let overlap = self.window.end.saturating_sub(window.start);
        let moved = (self.window.len() - overlap) + (window.len() - overlap);
        // Each value that comes or goes shifts half of the others; sorting afresh costs about log n of that.
        if overlap == 0 || moved > window.len() / 4 {
            self.keys.clear();
            self.keys
                .extend(floats[window.clone()].iter().map(|value| key(*value)));
            self.keys.sort_unstable();
        } else {
            for value in &floats[self.window.start..window.start] {
                let gone = key(*value);
                let at = self.keys.partition_point(|key| *key < gone);
                self.keys.remove(at);
            }
            for value in &floats[self.window.end..window.end] {
                let new = key(*value);
                let at = self.keys.partition_point(|key| *key < new);
                self.keys.insert(at, new);
            }
        }
        self.window = window;
    }
}
