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
    let mut sorted = SortedWindow::new(std::mem::take(&mut run.work.sorted));
    let mut warned_about = None;
    run.for_each_float_window(|run, step, window| {
        let q = q.at(step);
        if !(0.0..=1.0).contains(&q) && warned_about != Some(q.to_bits()) {
            warned_about = Some(q.to_bits());
            run.notes.invalid_quantile(q);
        }
        sorted.slide(run.samples.floats, window);
        out.set(step, quantile_of_sorted(q, &sorted.values));
    });
    run.work.sorted = sorted.values;
    Ok(())
}

/// `mad_over_time`: the median of the distances to the median; NaN where a value is NaN.
pub(super) fn mad_over_time(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    let mut sorted = SortedWindow::new(std::mem::take(&mut run.work.sorted));
    let mut distances = std::mem::take(&mut run.work.distances);
    run.for_each_float_window(|run, step, window| {
        sorted.slide(run.samples.floats, window);
        out.set(step, median_distance(&sorted.values, &mut distances));
    });
    run.work.sorted = sorted.values;
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
    if sorted.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = sorted.len() - 1;
    let rank = q * last as f64;
    let weight = rank - rank.floor();
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

/// Order of values for quantiles: NaN first, −0 before 0.
pub fn order(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a, b) => b.cmp(&a),
    }
}

/// The values of a window, sorted, carried from window to window.
struct SortedWindow {
    values: Vec<f64>,
    window: Range<usize>,
}

impl SortedWindow {
    fn new(mut values: Vec<f64>) -> Self {
        values.clear();
        SortedWindow { values, window: 0..0 }
    }

    /// Makes it the values of `window`, which starts and ends no earlier than the last one.
    fn slide(&mut self, floats: &[f64], window: Range<usize>) {
        let overlap = self.window.end.saturating_sub(window.start);
        let moved = (self.window.len() - overlap) + (window.len() - overlap);
        // Each value that comes or goes shifts half of the others; sorting afresh costs about log n of that.
        if overlap == 0 || moved > window.len() / 4 {
            self.values.clear();
            self.values.extend_from_slice(&floats[window.clone()]);
            self.values.sort_unstable_by(order);
        } else {
            for value in &floats[self.window.start..window.start] {
                let at = self.values.partition_point(|other| order(other, value).is_lt());
                self.values.remove(at);
            }
            for value in &floats[self.window.end..window.end] {
                let at = self.values.partition_point(|other| order(other, value).is_lt());
                self.values.insert(at, *value);
            }
        }
        self.window = window;
    }
}
