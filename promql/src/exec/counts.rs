//! How many samples a query looked at, by the reference's rules.

use std::sync::Arc;

use model::columns::Columns;
use model::histogram::Histogram;
use model::sample::is_stale_nan;

use crate::engine::StepSamples;
use crate::kernels::Bounds;
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
    /// What was asked for last: series of one selector ask for the same.
    seen: Option<SeenSteps>,
}

/// What becomes of results inside a subquery.
#[derive(Debug, Clone)]
struct SeenSteps {
    subquery: Option<u32>,
    eval: Steps,
    /// A range function looks at them again.
    consumed: bool,
    /// Which of them any window holds; nothing where all are held.
    steps: Option<Arc<[bool]>>,
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
            seen: None,
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
        if self.by_step.is_none() && row.histograms.is_empty() {
            let (seen, count) = (
                self.seen_steps(counting.subquery, steps),
                row.present.count() as i64,
            );
            if !seen.consumed {
                self.total += count * i64::from(counting.times);
            }
            match &seen.steps {
                None => self.read += count,
                Some(steps) => row
                    .present
                    .for_each_set(|step| self.read += i64::from(steps[step])),
            }
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
    /// `read` says that they were read for these windows; `bounds` are those of the windows where each row counts 1.
    pub(crate) fn add_windows(
        &mut self,
        counting: Counting,
        columns: &Columns,
        windows: Windows,
        eval: Steps,
        read: bool,
        bounds: Option<&Bounds>,
    ) -> WindowSizes {
        if let Some(bounds) = bounds {
            let rows = |from: u32, to: u32| i64::from(to) - i64::from(from);
            let total = bounds.total() as i64;
            self.add_bounds(counting, bounds, (windows, eval), read, total, rows);
            return WindowSizes {
                largest: bounds.largest() as usize,
                last: bounds.iter().last().map_or(0, |(from, to)| (to - from) as usize),
                all: total as usize,
            };
        }
        let sums = weight_sums(columns);
        let weight = |from: u32, to: u32| sums[to as usize] - sums[from as usize];
        let mut bounds = Bounds::default();
        bounds.find(&columns.timestamps_ms, windows);
        let sizes = || bounds.iter().map(|(from, to)| weight(from, to));
        let all: i64 = sizes().sum();
        self.add_bounds(counting, &bounds, (windows, eval), read, all, weight);
        WindowSizes {
            largest: sizes().max().unwrap_or(0) as usize,
            last: sizes().last().unwrap_or(0) as usize,
            all: all as usize,
        }
    }

    /// Counts windows that hold `total`; `sum` is what lies between two rows.
    fn add_bounds(
        &mut self,
        counting: Counting,
        bounds: &Bounds,
        (windows, eval): (Windows, Steps),
        read: bool,
        total: i64,
        sum: impl Fn(u32, u32) -> i64,
    ) {
        let mut before = 0;
        // What a window shares with the one before is not new.
        let mut new = |(from, to): (u32, u32)| {
            let new = sum(from.max(before), to);
            before = to;
            new
        };
        if self.by_step.is_some() {
            for (step, (from, to)) in bounds.iter().enumerate() {
                let new = if read { new((from, to)) } else { 0 };
                self.add(counting, eval.at(step), sum(from, to), new);
            }
            return;
        }
        let seen = self.seen_steps(counting.subquery, eval);
        if !seen.consumed {
            self.total += total * i64::from(counting.times);
        }
        if !read || eval.count == 0 {
            return;
        }
        let is_gapless = windows.range_ms >= windows.ends.step_ms;
        self.read += match seen.steps {
            // Windows that leave nothing out between them, or that share nothing.
            None if is_gapless => sum(bounds.firsts()[0], bounds.ends()[eval.count - 1]),
            None => total,
            Some(steps) => {
                let seen = bounds.iter().map(new).zip(steps.iter());
                seen.map(|(new, seen)| if *seen { new } else { 0 }).sum()
            }
        };
    }

    /// What becomes of the times `eval` inside `subquery`.
    fn seen_steps(&mut self, subquery: Option<u32>, eval: Steps) -> SeenSteps {
        if subquery.is_none() {
            return SeenSteps {
                subquery,
                eval,
                consumed: false,
                steps: None,
            };
        }
        if let Some(known) = &self.seen
            && (known.subquery, known.eval) == (subquery, eval)
        {
            return known.clone();
        }
        let outermost = |step: usize| self.outermost(subquery, eval.at(step));
        let steps: Arc<[bool]> = (0..eval.count)
            .map(|step| outermost(step).is_some_and(|(_, _, seen)| seen))
            .collect();
        let seen = SeenSteps {
            subquery,
            eval,
            consumed: outermost(0).is_some_and(|(_, consumed, _)| consumed),
            steps: steps.contains(&false).then_some(steps),
        };
        self.seen = Some(seen.clone());
        seen
    }
}

/// How many samples windows hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WindowSizes {
    /// The one that holds most.
    pub(crate) largest: usize,
    /// The last one.
    pub(crate) last: usize,
    /// All together.
    pub(crate) all: usize,
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

/// How much the first 0, 1, 2 … rows of a series count: floats 1, staleness markers nothing, histograms by their size.
fn weight_sums(columns: &Columns) -> Vec<i64> {
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
    sums
}

/// Size of a stored histogram in samples of 16 bytes; a staleness marker has none.
fn weight(histogram: &Histogram) -> i64 {
    match histogram {
        stale if is_stale_nan(stale.sum()) => 0,
        Histogram::Float(histogram) => histogram.sample_weight() as i64,
        Histogram::Int(histogram) => histogram.to_float().sample_weight() as i64,
    }
}
