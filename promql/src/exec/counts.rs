//! How many samples a query looked at, by the reference's rules.

use std::sync::Arc;

use model::columns::Columns;
use model::histogram::Histogram;
use model::sample::is_stale_nan;

use crate::engine::StepSamples;
use crate::plan::{CountedSubquery, Counting, Plan};
use crate::row::{Row, Steps, Windows};

/// Samples counted so far.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    subqueries: Arc<[CountedSubquery]>,
    /// All that the steps looked at.
    pub(crate) total: i64,
    /// All that were read.
    pub(crate) read: i64,
    /// Both by step of the query, where somebody wants to know.
    by_step: Option<ByStep>,
}

#[derive(Debug, Clone)]
struct ByStep {
    steps: Steps,
    total: Vec<i64>,
    read: Vec<i64>,
}

impl Counts {
    /// Nothing counted yet for `plan`; `by_step` keeps the counts step by step, too.
    pub(crate) fn new(plan: &Plan, by_step: bool) -> Self {
        let steps = plan.steps;
        Counts {
            subqueries: plan.subqueries.clone(),
            total: 0,
            read: 0,
            by_step: by_step.then(|| ByStep {
                steps,
                total: vec![0; steps.count],
                read: vec![0; steps.count],
            }),
        }
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn merge(&mut self, other: Counts) {
        self.total += other.total;
        self.read += other.read;
        if let (Some(mine), Some(others)) = (&mut self.by_step, other.by_step) {
            mine.total.iter_mut().zip(others.total).for_each(|(a, b)| *a += b);
            mine.read.iter_mut().zip(others.read).for_each(|(a, b)| *a += b);
        }
    }

    /// The totals by step.
    pub(crate) fn total_by_step(&self) -> Option<Vec<StepSamples>> {
        self.by_step.as_ref().map(|by_step| by_step.list(&by_step.total))
    }

    /// The samples read by step.
    pub(crate) fn read_by_step(&self) -> Option<Vec<StepSamples>> {
        self.by_step.as_ref().map(|by_step| by_step.list(&by_step.read))
    }

    /// Counts `total` and `read` samples at the step at `time_ms`.
    fn add(&mut self, counting: Counting, time_ms: i64, total: i64, read: i64) {
        let Some((time_ms, consumed, seen)) = self.outermost(counting.subquery, time_ms) else {
            return;
        };
        let (total, read) = (if consumed { 0 } else { total }, if seen { read } else { 0 });
        self.total += total * i64::from(counting.times);
        self.read += read;
        if let Some(by_step) = &mut self.by_step {
            by_step.add(counting, time_ms, total, read);
        }
    }

    /// For a time inside subqueries: the step of the query that it belongs to, whether a range function will look at
    /// it again, and whether any window holds it.
    fn outermost(&self, mut subquery: Option<u32>, mut time_ms: i64) -> Option<(i64, bool, bool)> {
        let (mut consumed, mut seen) = (false, true);
        while let Some(index) = subquery {
            let outer = self.subqueries.get(index as usize)?;
            consumed |= outer.range_ms.is_some();
            let shifted = time_ms.saturating_add(outer.offset_ms);
            time_ms = step_from(outer.steps, shifted);
            if let (Some(range_ms), true) = (outer.range_ms, outer.steps.count > 1) {
                seen &= shifted > time_ms - range_ms;
            }
            subquery = outer.parent;
        }
        Some((time_ms, consumed, seen))
    }

    /// Counts samples that are the answer themselves.
    pub(crate) fn add_samples(&mut self, time_ms: i64, samples: usize) {
        let counting = Counting {
            times: 1,
            subquery: None,
        };
        self.add(counting, time_ms, samples as i64, samples as i64);
    }

    /// Counts the samples that an instant selector has found.
    pub(crate) fn add_row(&mut self, counting: Counting, steps: Steps, row: &Row) {
        if self.by_step.is_none() && counting.subquery.is_none() {
            let samples = super::limits::row_samples(row) as i64;
            self.add(counting, steps.start_ms, samples, samples);
            return;
        }
        for step in 0..steps.count {
            if row.present.get(step) {
                let samples = row
                    .histogram(step)
                    .map_or(1, |histogram| histogram.sample_weight()) as i64;
                self.add(counting, steps.at(step), samples, samples);
            }
        }
    }

    /// Counts the samples in `windows` of a series for the steps at `eval`, and gives their sizes.
    /// `read` says that they were read for these windows.
    pub(crate) fn add_windows(
        &mut self,
        counting: Counting,
        columns: &Columns,
        windows: Windows,
        eval: Steps,
        read: bool,
    ) -> WindowSizes {
        let timestamps = &columns.timestamps_ms;
        let at_once = self.by_step.is_none() && counting.subquery.is_none();
        let (mut total, mut fresh, mut largest) = (0, 0, 0);
        let mut all = 0;
        let mut count = |step: usize, seen: i64, new: i64| {
            largest = largest.max(seen);
            all += seen;
            // What the first window holds is new whatever was before it.
            let new = if step == 0 { seen } else { new } * i64::from(read);
            if at_once {
                total += seen;
                fresh += new;
            } else if seen > 0 {
                self.add(counting, eval.at(step), seen, new);
            }
        };
        match Weights::of(columns) {
            Weights::One => scan(
                timestamps,
                windows,
                |from, to| to as i64 - from as i64,
                &mut count,
            ),
            Weights::Sums(sums) => scan(timestamps, windows, |from, to| sums[to] - sums[from], &mut count),
        }
        if at_once {
            self.add(counting, eval.start_ms, total, fresh);
        }
        WindowSizes {
            largest: largest as usize,
            all: all as usize,
        }
    }
}

/// How many samples windows hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WindowSizes {
    /// The one that holds most.
    pub(crate) largest: usize,
    /// All together.
    pub(crate) all: usize,
}

/// Calls `f` with what each window holds, and what of it the previous one did not hold. `sum` is what lies between two
/// rows.
#[inline(always)]
fn scan(
    timestamps: &[i64],
    windows: Windows,
    sum: impl Fn(usize, usize) -> i64,
    mut f: impl FnMut(usize, i64, i64),
) {
    let (mut low, mut high) = (Boundary::default(), Boundary::default());
    let mut end = windows.ends.start_ms;
    for step in 0..windows.ends.count {
        let before = high.index;
        high.advance(timestamps, end);
        low.advance(timestamps, end - windows.range_ms);
        f(
            step,
            sum(low.index, high.index),
            sum(low.index.max(before), high.index),
        );
        end += windows.ends.step_ms;
    }
}

/// How many of ascending timestamps are not behind a time that moves forward. Scrapes are regular, so that the next
/// number is first looked for as far away as the last one was.
#[derive(Default)]
struct Boundary {
    index: usize,
    stride: usize,
}

impl Boundary {
    #[inline]
    fn advance(&mut self, timestamps: &[i64], time_ms: i64) {
        let from = self.index;
        let mut index = from + self.stride;
        if self.stride == 0 || index > timestamps.len() || timestamps[index - 1] > time_ms {
            index = from;
        }
        while index < timestamps.len() && timestamps[index] <= time_ms {
            index += 1;
        }
        (self.index, self.stride) = (index, index - from);
    }
}

impl ByStep {
    fn add(&mut self, counting: Counting, time_ms: i64, total: i64, read: i64) {
        let at = step_index(self.steps, time_ms);
        if counting.times > 1 {
            self.total.iter_mut().for_each(|count| *count += total);
            self.read[0] += read;
        } else if let (Some(all), Some(new)) = (self.total.get_mut(at), self.read.get_mut(at)) {
            *all += total;
            *new += read;
        }
    }

    fn list(&self, counts: &[i64]) -> Vec<StepSamples> {
        let with_time = |(step, samples): (usize, &i64)| StepSamples {
            timestamp_ms: self.steps.at(step),
            samples: *samples,
        };
        counts.iter().enumerate().map(with_time).collect()
    }
}

/// The first step that is not before `time_ms`, or the last one.
fn step_index(steps: Steps, time_ms: i64) -> usize {
    let behind = time_ms.saturating_sub(steps.start_ms).max(0);
    let step_ms = steps.step_ms.max(1);
    let index = usize::try_from(behind / step_ms + i64::from(behind % step_ms > 0)).unwrap_or(usize::MAX);
    index.min(steps.count.saturating_sub(1))
}

/// The time of that step.
fn step_from(steps: Steps, time_ms: i64) -> i64 {
    steps.at(step_index(steps, time_ms))
}

/// How much each row of a series counts.
enum Weights {
    /// 1.
    One,
    /// The sums of the first 0, 1, 2 … rows: staleness markers count nothing, histograms by their size.
    Sums(Vec<i64>),
}

impl Weights {
    fn of(columns: &Columns) -> Self {
        if columns.histograms.is_empty() && !columns.values.iter().any(|value| is_stale_nan(*value)) {
            return Weights::One;
        }
        let mut sums = Vec::with_capacity(columns.len() + 1);
        let mut sum = 0;
        sums.push(sum);
        let mut histograms = columns.histograms.iter().peekable();
        for (row, value) in columns.values.iter().enumerate() {
            sum += match histograms.next_if(|(at, _)| *at as usize == row) {
                Some((_, histogram)) => weight(histogram),
                None => i64::from(!is_stale_nan(*value)),
            };
            sums.push(sum);
        }
        Weights::Sums(sums)
    }
}

/// Size of a stored histogram in samples of 16 bytes; a staleness marker has none.
fn weight(histogram: &Histogram) -> i64 {
    match histogram {
        stale if is_stale_nan(stale.sum()) => 0,
        Histogram::Float(histogram) => histogram.sample_weight() as i64,
        Histogram::Int(histogram) => histogram.to_float().sample_weight() as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_what_lies_between_their_ends() {
        // Regular, with a gap, and irregular.
        let mut timestamps: Vec<i64> = (0..40).map(|i| i * 15).collect();
        timestamps.drain(10..17);
        timestamps.extend([601, 602, 650, 700, 701]);
        for (start, step, count, range) in [
            (0, 60, 14, 60),
            (33, 7, 90, 100),
            (-50, 15, 60, 20),
            (300, 0, 4, 45),
        ] {
            let windows = Windows {
                ends: Steps {
                    start_ms: start,
                    step_ms: step,
                    count,
                },
                range_ms: range,
            };
            let mut before = i64::MIN;
            let mut steps = 0;
            scan(
                &timestamps,
                windows,
                |from, to| to as i64 - from as i64,
                |step, seen, new| {
                    let end = windows.ends.at(step);
                    let inside = |t: &&i64| **t > end - range && **t <= end;
                    let all = timestamps.iter().filter(inside).count() as i64;
                    let fresh = timestamps.iter().filter(inside).filter(|t| **t > before).count() as i64;
                    assert_eq!((seen, new), (all, fresh), "step {step} of {windows:?}");
                    before = end;
                    steps += 1;
                },
            );
            assert_eq!(steps, count);
        }
    }
}
