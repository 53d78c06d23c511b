//! `smoothed` instant selectors, and range selectors with `anchored` or `smoothed` whose samples are the answer.

use model::columns::Columns;
use model::sample::is_stale_nan;

use crate::annotations::Annotations;
use crate::ast::Span;
use crate::plan::InstantSelect;
use crate::row::Row;

use super::head::Head;
use super::text::Quoted;

/// At each step the value between the samples around it; behind the last sample its value, for one lookback.
pub(super) fn select(
    columns: &Columns,
    select: &InstantSelect,
    span: Span,
    head: &Head,
    row: &mut Row,
    annotations: &mut Annotations,
) {
    row.reset(select.times.count);
    if !columns.histograms.is_empty() {
        return super::histograms::smoothed(columns, select, span, head, row, annotations);
    }
    let live: Vec<(i64, f64)> = columns
        .timestamps_ms
        .iter()
        .copied()
        .zip(columns.values.iter().copied())
        .filter(|(_, value)| !is_stale_nan(*value))
        .collect();
    let (mut low, mut high, mut next) = (0, 0, 0);
    for step in 0..select.times.count {
        let at = select.times.at(step);
        while high < live.len() && live[high].0 <= at + select.lookback_ms {
            high += 1;
        }
        while low < high && live[low].0 <= at - select.lookback_ms {
            low += 1;
        }
        next = next.max(low);
        while next < high && live[next].0 < at {
            next += 1;
        }
        let before = (next > low).then(|| live[next - 1]);
        match (before, (next < high).then(|| live[next])) {
            (_, Some((time, value))) if time == at => row.set(step, value),
            (Some(before), Some(after)) => row.set(step, interpolate(before, after, at)),
            (Some((_, value)), None) => row.set(step, value),
            (None, _) => {}
        }
    }
}

/// The warning for floats and histograms within one reach.
pub(super) fn warn_mixed(annotations: &mut Annotations, span: Span, head: &Head) {
    annotations.warn(
        span,
        format_args!(
            "encountered a mix of histograms and floats for metric name {}",
            Quoted(head.labels.metric_name())
        ),
    );
}

/// The value at `at_ms` on the line between two samples.
fn interpolate(before: (i64, f64), after: (i64, f64), at_ms: i64) -> f64 {
    before.1 + (after.1 - before.1) * (at_ms - before.0) as f64 / (after.0 - before.0) as f64
}

/// The samples in a range with values for both ends: those of the nearest samples, or between them when `smoothed`.
pub(super) fn extend(floats: &[(i64, f64)], start_ms: i64, end_ms: i64, smoothed: bool) -> Vec<(i64, f64)> {
    let Some(last) = floats.len().checked_sub(1) else {
        return Vec::new();
    };
    let first = floats[..last]
        .partition_point(|(time, _)| *time <= start_ms)
        .saturating_sub(1);
    let last = match smoothed {
        true => floats[..last].partition_point(|(time, _)| *time < end_ms),
        false => last,
    };
    if floats[last].0 <= start_ms {
        return Vec::new();
    }
    let left = match smoothed && floats[first].0 < start_ms && first < last {
        true => interpolate(floats[first], floats[first + 1], start_ms),
        false => floats[first].1,
    };
    let right = match smoothed && last > 0 && floats[last].0 > end_ms {
        true => interpolate(floats[last - 1], floats[last], end_ms),
        false => floats[last].1,
    };
    let inside = floats[first..=last]
        .iter()
        .filter(|(time, _)| *time > start_ms && *time < end_ms)
        .copied();
    let mut extended = vec![(start_ms, left)];
    extended.extend(inside);
    extended.push((end_ms, right));
    extended
}
