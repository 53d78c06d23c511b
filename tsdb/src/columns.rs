//! Merging and thinning decoded samples.

use model::columns::Columns;

/// Appends row `row` of `from`; `histogram` is where its histograms have been read up to.
fn push_row(from: &Columns, row: usize, histogram: &mut usize, out: &mut Columns) {
    let timestamp_ms = from.timestamps_ms[row];
    match from.histograms.get(*histogram) {
        Some((at, h)) if *at as usize == row => {
            out.push_histogram(timestamp_ms, h.clone());
            *histogram += 1;
        }
        _ => out.push(timestamp_ms, from.values[row]),
    }
    if let Some(start_ms) = from.start_timestamps_ms.get(row) {
        out.set_last_start(*start_ms);
    }
}

fn skip_row(from: &Columns, row: usize, histogram: &mut usize) {
    if matches!(from.histograms.get(*histogram), Some((at, _)) if *at as usize == row) {
        *histogram += 1;
    }
}

/// Appends the rows of `a` and `b`, both in order of time, to `out` in order of time. Where both have a timestamp, the
/// row of `a` counts.
pub(crate) fn merge(a: &Columns, b: &Columns, out: &mut Columns) {
    let (mut i, mut j, mut hi, mut hj) = (0, 0, 0, 0);
    while i < a.len() || j < b.len() {
        let (ta, tb) = (a.timestamps_ms.get(i), b.timestamps_ms.get(j));
        match (ta, tb) {
            (Some(ta), Some(tb)) if ta > tb => {
                push_row(b, j, &mut hj, out);
                j += 1;
            }
            (None, _) => {
                push_row(b, j, &mut hj, out);
                j += 1;
            }
            _ => {
                if ta == tb {
                    skip_row(b, j, &mut hj);
                    j += 1;
                }
                push_row(a, i, &mut hi, out);
                i += 1;
            }
        }
    }
}

/// Adds floats in order of time to `columns`, which has floats only. Where both have a timestamp, the row of `columns`
/// counts. `spare` is space to work in.
pub(crate) fn merge_floats(columns: &mut Columns, times_ms: &[i64], values: &[f64], spare: &mut Columns) {
    let Some(first_ms) = times_ms.first() else {
        return;
    };
    let from = match columns.timestamps_ms.last() {
        Some(last_ms) if last_ms >= first_ms => columns.timestamps_ms.partition_point(|t| t < first_ms),
        _ => columns.len(),
    };
    spare.clear();
    spare.timestamps_ms.extend(columns.timestamps_ms.drain(from..));
    spare.values.extend(columns.values.drain(from..));
    let (out_ms, out) = (&mut columns.timestamps_ms, &mut columns.values);
    let (mut old_ms, mut old) = (spare.timestamps_ms.as_slice(), spare.values.as_slice());
    let (mut new_ms, mut new) = (times_ms, values);
    // Stretches of one side are copied together.
    while let (Some(next_ms), false) = (new_ms.first(), old_ms.is_empty()) {
        let older = old_ms.iter().take_while(|t| *t <= next_ms).count();
        out_ms.extend_from_slice(&old_ms[..older]);
        out.extend_from_slice(&old[..older]);
        (old_ms, old) = (&old_ms[older..], &old[older..]);
        let same = usize::from(out_ms.last() == Some(next_ms));
        (new_ms, new) = (&new_ms[same..], &new[same..]);
        let bound_ms = old_ms.first().copied().unwrap_or(i64::MAX);
        let newer = new_ms.iter().take_while(|t| **t < bound_ms).count();
        out_ms.extend_from_slice(&new_ms[..newer]);
        out.extend_from_slice(&new[..newer]);
        (new_ms, new) = (&new_ms[newer..], &new[newer..]);
    }
    out_ms.extend_from_slice(old_ms);
    out.extend_from_slice(old);
    out_ms.extend_from_slice(new_ms);
    out.extend_from_slice(new);
}

/// Appends the rows in `min_ms..=max_ms` of several runs, each in order of time, to `out` in order of time.
///
/// Compat: which row counts where runs share a timestamp is the reference's rule for overlapping data. One run is current,
/// at first the first one; it stays current while its next row is older than those of all others, and otherwise the
/// run with the oldest row (of equal ones, another than the current, the first) becomes current (chained_runs_take_turns_where_they_are_equal).
pub fn chain(runs: &[Columns], min_ms: i64, max_ms: i64, out: &mut Columns) {
    let mut at: Vec<(usize, usize)> = vec![(0, 0); runs.len()];
    let next_ms = |at: &[(usize, usize)], run: usize| runs[run].timestamps_ms.get(at[run].0).copied();
    let mut current = 0;
    let mut last_ms = None;
    let odd = |run: &Columns| run.is_contested || (runs.len() > 1 && !run.histograms.is_empty());
    out.is_contested |= runs.iter().any(odd);
    loop {
        let others = (0..runs.len()).filter(|run| *run != current);
        let other = others.filter_map(|run| Some((next_ms(&at, run)?, run))).min();
        current = match (next_ms(&at, current), other) {
            (None, None) => return,
            (None, Some((_, run))) => run,
            (Some(mine), Some((theirs, run))) if theirs <= mine => run,
            (Some(_), _) => current,
        };
        let (row, histogram) = &mut at[current];
        let timestamp_ms = runs[current].timestamps_ms[*row];
        if last_ms.replace(timestamp_ms) != Some(timestamp_ms) && (min_ms..=max_ms).contains(&timestamp_ms) {
            push_row(&runs[current], *row, histogram, out);
        } else {
            let known = out.timestamps_ms.last() == Some(&timestamp_ms);
            let value = runs[current].values[*row].to_bits();
            out.is_contested |= known && out.values.last().map(|last| last.to_bits()) != Some(value);
            skip_row(&runs[current], *row, histogram);
        }
        *row += 1;
    }
}

/// Appends all rows of `from`.
pub(crate) fn append_all(from: &Columns, columns: &mut Columns) {
    let first = columns.len() as u32;
    columns.timestamps_ms.extend_from_slice(&from.timestamps_ms);
    columns.values.extend_from_slice(&from.values);
    columns.is_contested |= from.is_contested;
    let histograms = from.histograms.iter().map(|(row, h)| (first + row, h.clone()));
    columns.histograms.extend(histograms);
    if !from.start_timestamps_ms.is_empty() || !columns.start_timestamps_ms.is_empty() {
        columns.start_timestamps_ms.resize(first as usize, 0);
        columns
            .start_timestamps_ms
            .extend_from_slice(&from.start_timestamps_ms);
        columns.start_timestamps_ms.resize(columns.timestamps_ms.len(), 0);
    }
}

/// Adds the rows of `more` to `columns`, where `spare` is space to work in. Cheap when `more` lies behind.
pub fn merge_into(columns: &mut Columns, more: &Columns, spare: &mut Columns) {
    if more.is_empty() {
        return;
    }
    if columns.timestamps_ms.last() < more.timestamps_ms.first() {
        append_all(more, columns);
        return;
    }
    spare.clear();
    merge(columns, more, spare);
    std::mem::swap(columns, spare);
}

/// Removes rows whose timestamps lie in one of `deleted` (closed ranges, sorted, without overlap).
pub(crate) fn remove_deleted(columns: &mut Columns, deleted: &[(i64, i64)], spare: &mut Columns) {
    let (Some(first), Some(last)) = (columns.timestamps_ms.first(), columns.timestamps_ms.last()) else {
        return;
    };
    if !deleted.iter().any(|(min, max)| min <= last && max >= first) {
        return;
    }
    spare.clear();
    spare.is_contested = columns.is_contested;
    let mut histogram = 0;
    let mut ranges = deleted.iter().peekable();
    for row in 0..columns.len() {
        let t = columns.timestamps_ms[row];
        while ranges.next_if(|(_, max)| *max < t).is_some() {}
        if ranges.peek().is_some_and(|(min, _)| *min <= t) {
            skip_row(columns, row, &mut histogram);
        } else {
            push_row(columns, row, &mut histogram, spare);
        }
    }
    std::mem::swap(columns, spare);
}

/// Adds a closed range to sorted ranges without overlap, joining those that touch.
pub(crate) fn add_range(ranges: &mut Vec<(i64, i64)>, new: (i64, i64)) {
    let from = ranges.partition_point(|r| r.1 < new.0.saturating_sub(1));
    let to = ranges.partition_point(|r| r.0 <= new.1.saturating_add(1));
    if from >= to {
        ranges.insert(from, new);
        return;
    }
    let joined = (ranges[from].0.min(new.0), ranges[to - 1].1.max(new.1));
    ranges.splice(from..to, [joined]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use model::histogram::{Histogram, IntHistogram};

    #[test]
    fn floats_are_merged_as_rows_are() {
        let mut random = 3u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        for round in 0..3000 {
            let mut side = |value: f64| {
                let (mut columns, mut t) = (Columns::default(), next(40) as i64);
                for _ in 0..next(12) {
                    columns.push(t, value);
                    t += 1 + next([2, 5, 30][round % 3]) as i64;
                }
                columns
            };
            let (mut a, b) = (side(1.0), side(2.0));
            let mut want = Columns::default();
            merge(&a, &b, &mut want);
            merge_floats(&mut a, &b.timestamps_ms, &b.values, &mut Columns::default());
            assert_eq!((a.timestamps_ms, a.values), (want.timestamps_ms, want.values));
        }
    }

    fn histogram() -> IntHistogram {
        IntHistogram {
            counter_reset_hint: Default::default(),
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0,
            count: 0,
            sum: 0.0,
            positive_spans: vec![],
            negative_spans: vec![],
            positive_buckets: vec![],
            negative_buckets: vec![],
            custom_values: None,
        }
    }

    fn columns(rows: &[(i64, f64)]) -> Columns {
        let mut columns = Columns::default();
        for (t, v) in rows {
            if v.is_nan() {
                columns.push_histogram(*t, Histogram::Int(Arc::new(histogram())));
            } else {
                columns.push(*t, *v);
            }
        }
        columns
    }

    #[test]
    fn merging_keeps_order_and_takes_the_first_of_two() {
        let a = columns(&[(1, 1.0), (3, f64::NAN), (5, 5.0)]);
        let b = columns(&[(2, f64::NAN), (3, 30.0), (5, f64::NAN), (6, 6.0)]);
        let mut out = Columns::default();
        merge(&a, &b, &mut out);
        assert_eq!(out.timestamps_ms, [1, 2, 3, 5, 6]);
        assert_eq!(out.values, [1.0, 0.0, 0.0, 5.0, 6.0]);
        assert_eq!(out.histograms.iter().map(|h| h.0).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn chained_runs_take_turns_where_they_are_equal() {
        let a = columns(&[(1, 1.0), (2, 2.0), (4, 4.0), (6, f64::NAN)]);
        let b = columns(&[(2, 20.0), (4, f64::NAN), (5, 50.0), (6, 60.0)]);
        let mut out = Columns::default();
        chain(&[a.clone(), b.clone()], i64::MIN, i64::MAX, &mut out);
        assert_eq!(out.timestamps_ms, [1, 2, 4, 5, 6]);
        assert_eq!(out.values, [1.0, 20.0, 0.0, 50.0, 0.0]);
        assert!(out.is_contested);
        let mut out = Columns::default();
        chain(&[b, a], 2, 5, &mut out);
        assert_eq!(out.timestamps_ms, [2, 4, 5]);
        assert_eq!(
            out.histograms.len() + out.values.iter().filter(|v| **v == 0.0).count(),
            2
        );
    }

    #[test]
    fn runs_that_say_the_same_do_not_contest() {
        let runs = |second: &[(i64, f64)]| [columns(&[(1, 1.0), (2, 2.0), (4, 4.0)]), columns(second)];
        for (second, contested) in [
            (&[(2, 2.0), (3, 3.0)][..], false),
            (&[(2, 2.5), (3, 3.0)], true),
            (&[(4, -0.0)], true),
            (&[(9, f64::NAN)], true),
        ] {
            let mut out = Columns::default();
            chain(&runs(second), i64::MIN, i64::MAX, &mut out);
            assert_eq!(out.is_contested, contested, "{second:?}");
        }
        // Where nobody looks, it does not matter.
        let mut out = Columns::default();
        chain(&runs(&[(2, 2.5), (3, 3.0)]), 3, 9, &mut out);
        assert!(!out.is_contested);
    }

    #[test]
    fn deleted_rows_go_and_others_stay() {
        let mut c = columns(&[(1, 1.0), (2, f64::NAN), (3, 3.0), (4, 4.0), (9, f64::NAN)]);
        remove_deleted(&mut c, &[(-5, 1), (3, 3), (5, 8)], &mut Columns::default());
        assert_eq!(c.timestamps_ms, [2, 4, 9]);
        assert_eq!(c.histograms.iter().map(|h| h.0).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn ranges_are_joined_where_they_touch() {
        let mut ranges = Vec::new();
        for new in [
            (10, 20),
            (30, 40),
            (21, 29),
            (50, 60),
            (i64::MIN, 3),
            (5, 8),
            (0, 4),
        ] {
            add_range(&mut ranges, new);
        }
        assert_eq!(ranges, [(i64::MIN, 8), (10, 40), (50, 60)]);
        add_range(&mut ranges, (i64::MIN, i64::MAX));
        assert_eq!(ranges, [(i64::MIN, i64::MAX)]);
    }
}
