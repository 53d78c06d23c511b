//! How many samples a query looked at, by the reference's rules.

use model::columns::Columns;
use model::histogram::Histogram;
use model::sample::is_stale_nan;

use crate::engine::StepSamples;
use crate::plan::Counting;
use crate::row::{Row, Steps, Windows};

/// Samples counted so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
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
    /// Counts that are kept step by step, too.
    pub(crate) fn by_step(steps: Steps) -> Self {
        Counts {
            by_step: Some(ByStep {
                steps,
                total: vec![0; steps.count],
                read: vec![0; steps.count],
            }),
            ..Counts::default()
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
        let total = if counting.only_read { 0 } else { total };
        self.total += total * i64::from(counting.times);
        self.read += read;
        if let Some(by_step) = &mut self.by_step {
            by_step.add(counting, time_ms, total, read);
        }
    }

    /// Counts samples that are the answer themselves.
    pub(crate) fn add_samples(&mut self, time_ms: i64, samples: usize) {
        let counting = Counting {
            times: 1,
            only_read: false,
        };
        self.add(counting, time_ms, samples as i64, samples as i64);
    }

    /// Counts the samples that an instant selector has found.
    pub(crate) fn add_row(&mut self, counting: Counting, steps: Steps, row: &Row) {
        if self.by_step.is_none() {
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

    /// Counts the samples in `windows` of a series for the steps at `eval`, and gives the size of the largest window.
    /// `read` says that they were read for these windows.
    pub(crate) fn add_windows(
        &mut self,
        counting: Counting,
        columns: &Columns,
        windows: Windows,
        eval: Steps,
        read: bool,
    ) -> usize {
        let weights = Weights::of(columns);
        let timestamps = &columns.timestamps_ms;
        let (mut low, mut high, mut largest) = (0, 0, 0);
        for step in 0..windows.ends.count {
            let end = windows.ends.at(step);
            let before = high;
            while high < timestamps.len() && timestamps[high] <= end {
                high += 1;
            }
            while low < high && timestamps[low] <= end - windows.range_ms {
                low += 1;
            }
            let total = weights.sum(low, high);
            let fresh = match (read, step) {
                (false, _) => 0,
                (true, 0) => total,
                (true, _) => weights.sum(low.max(before), high),
            };
            largest = largest.max(total);
            if total > 0 {
                self.add(counting, eval.at(step), total, fresh);
            }
        }
        largest as usize
    }
}

impl ByStep {
    fn add(&mut self, counting: Counting, time_ms: i64, total: i64, read: i64) {
        let behind = time_ms - self.steps.start_ms;
        let last = self.steps.count.saturating_sub(1);
        // Steps of subqueries belong to the query's step whose window they end up in, roughly.
        let at = ((behind.max(0) + self.steps.step_ms - 1) / self.steps.step_ms) as usize;
        let at = at.min(last);
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

    fn sum(&self, from: usize, to: usize) -> i64 {
        match self {
            Weights::One => to.saturating_sub(from) as i64,
            Weights::Sums(sums) => sums[to] - sums[from.min(to)],
        }
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
