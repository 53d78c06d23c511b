//! `rate`, `increase` and `delta` over plain ranges: the change between the first and the last sample of a window,
//! extrapolated to its ends.

use std::ops::Range;

use crate::row::Row;

use super::rate_block::{BLOCK_STEPS, Block};
use super::starts::{self, Times};
use super::{Extension, KernelError, Run, extended, histogram_rate};

/// What tells the three functions apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flavour {
    /// Resets are made up for, and nothing is extrapolated below zero.
    pub(super) counter: bool,
    /// The result is per second.
    pub(super) per_second: bool,
}

const RATE: Flavour = Flavour {
    counter: true,
    per_second: true,
};
const INCREASE: Flavour = Flavour {
    counter: true,
    per_second: false,
};
const DELTA: Flavour = Flavour {
    counter: false,
    per_second: false,
};

/// `rate`
pub(super) fn rate(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    evaluate(run, RATE, out)
}

/// `increase`
pub(super) fn increase(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    evaluate(run, INCREASE, out)
}

/// `delta`
pub(super) fn delta(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    evaluate(run, DELTA, out)
}

fn evaluate(run: &mut Run<'_, '_>, flavour: Flavour, out: &mut Row) -> Result<(), KernelError> {
    if run.input.extension != Extension::None {
        extended::evaluate(run, flavour, out);
        return Ok(());
    }
    let use_starts = flavour.counter && run.input.use_start_timestamps;
    if !use_starts {
        run.samples.float_starts = &[];
        run.samples.histogram_starts = &[];
    }
    let mut resets = Marks::new(std::mem::take(&mut run.work.indices));
    let mut overlaps = Marks::new(std::mem::take(&mut run.work.more_indices));
    if flavour.counter {
        find_resets(run, &mut resets, &mut overlaps);
    }
    let range_seconds = run.range_seconds();
    if run.only_floats() && run.samples.float_starts.is_empty() {
        plain_floats(run, flavour, &mut resets, range_seconds, out);
        run.work.indices = resets.at;
        run.work.more_indices = overlaps.at;
        return Ok(());
    }
    let mut of_floats = |run: &mut Run<'_, '_>, step: usize, floats: Range<usize>| {
        if !overlaps.between(&floats).is_empty() {
            run.notes.start_times_overlap();
        }
        let change = float_change(run, &floats, resets.between(&floats));
        float_window(run, flavour, step, floats, change, range_seconds)
    };
    if run.only_floats() {
        run.map_floats(out, of_floats);
    } else {
        run.for_each_window(|run, step, floats, histograms| {
            match (floats.is_empty(), histograms.is_empty()) {
                (false, false) => run.notes.mixed_floats_and_histograms(),
                (true, _) => histogram_rate::window(run, flavour, step, histograms, range_seconds, out),
                (false, true) => {
                    if let Some(value) = of_floats(run, step, floats) {
                        out.set(step, value);
                    }
                }
            }
        });
    }
    run.work.indices = resets.at;
    run.work.more_indices = overlaps.at;
    Ok(())
}

/// All steps of a series of floats whose start times do not count. Blocks of ordinary windows are computed at once, and
/// what is out of the ordinary window by window.
fn plain_floats(run: &Run<'_, '_>, flavour: Flavour, resets: &mut Marks, range_seconds: f64, out: &mut Row) {
    let unit = if flavour.per_second { range_seconds } else { 1.0 };
    let mut block = Block::new(run.input.windows.range_ms, flavour.counter, unit);
    let (firsts, ends) = (run.float_bounds.firsts(), run.float_bounds.ends());
    let bounds = firsts.chunks(BLOCK_STEPS).zip(ends.chunks(BLOCK_STEPS));
    let slots = out
        .present
        .words_mut()
        .iter_mut()
        .zip(out.values.chunks_mut(BLOCK_STEPS));
    for (number, ((firsts, ends), (word, values))) in bounds.zip(slots).enumerate() {
        let from = number * BLOCK_STEPS;
        let all = firsts[0] as usize..ends[ends.len() - 1] as usize;
        let first_end = run.input.windows.ends.at(from);
        let step_ms = run.input.windows.ends.step_ms;
        if !resets.any_between(&all)
            && block.gather(&run.samples, firsts, ends, first_end, step_ms)
            && block.compute(values)
        {
            *word = u64::MAX >> (BLOCK_STEPS - values.len());
            continue;
        }
        for (bit, value) in values.iter_mut().enumerate() {
            let window = firsts[bit] as usize..ends[bit] as usize;
            *value = 0.0;
            if !window.is_empty() {
                let change = float_change(run, &window, resets.between(&window));
                if let Some(result) = float_window(run, flavour, from + bit, window, change, range_seconds) {
                    *value = result;
                    *word |= 1 << bit;
                }
            }
        }
    }
}

/// The extrapolated `change` over a window of floats.
#[inline]
fn float_window(
    run: &Run<'_, '_>,
    flavour: Flavour,
    step: usize,
    floats: Range<usize>,
    change: f64,
    range_seconds: f64,
) -> Option<f64> {
    let (start, end) = run.window(step);
    let edges = Edges {
        range_start: start,
        range_end: end,
        first: starts::times(run.samples.float_ts, run.samples.float_starts, floats.start),
        last_at: run.samples.float_ts[floats.end - 1],
        intervals: floats.len() - 1,
    };
    let first = run.samples.floats[floats.start];
    if edges.starts_inside(flavour) {
        return Some((change + first) * edges.factor_from_start(flavour, range_seconds));
    }
    (edges.intervals > 0).then(|| change * edges.factor(flavour, first, change, range_seconds))
}

/// Marks each float that starts anew after the one before it, and each whose start time overlaps it.
fn find_resets(run: &Run<'_, '_>, resets: &mut Marks, overlaps: &mut Marks) {
    let samples = run.samples;
    if samples.float_starts.is_empty() {
        return find_falls(samples.floats, &mut resets.at);
    }
    for i in 1..samples.floats.len() {
        let previous = starts::times(samples.float_ts, samples.float_starts, i - 1);
        let current = starts::times(samples.float_ts, samples.float_starts, i);
        if samples.floats[i] < samples.floats[i - 1] || starts::is_reset(previous, current) {
            resets.at.push(i as u32);
        }
        if starts::overlap(previous, current) {
            overlaps.at.push(i as u32);
        }
    }
}

/// Indices of the floats that are less than the one before. They are few: whole chunks without one are passed over
/// with comparisons that processors do several of at once.
fn find_falls(floats: &[f64], falls: &mut Vec<u32>) {
    const CHUNK: usize = 32;
    for (i, before) in floats.chunks(CHUNK).enumerate() {
        let from = i * CHUNK;
        let after = &floats[from + 1..floats.len().min(from + 1 + CHUNK)];
        let pairs = || before.iter().zip(after);
        if pairs().fold(false, |any, (old, new)| any | (new < old)) {
            let fallen = pairs().enumerate().filter(|(_, (old, new))| new < old);
            falls.extend(fallen.map(|(at, _)| (from + at + 1) as u32));
        }
    }
}

/// Last less first, and what was lost at each reset. The few resets are added in order and afresh for each window, so
/// that no rounding is carried along.
fn float_change(run: &Run<'_, '_>, window: &Range<usize>, resets: &[u32]) -> f64 {
    let floats = run.samples.floats;
    let mut change = floats[window.end - 1] - floats[window.start];
    for reset in resets {
        change += floats[*reset as usize - 1];
    }
    change
}

/// Ascending indices of marked samples, and which of them lie inside a window that slides forward.
struct Marks {
    at: Vec<u32>,
    /// The marks inside.
    inside: Range<usize>,
}

impl Marks {
    fn new(mut at: Vec<u32>) -> Self {
        at.clear();
        Marks { at, inside: 0..0 }
    }

    /// The marks behind the window's first sample.
    #[inline]
    fn between(&mut self, window: &Range<usize>) -> &[u32] {
        let Range { start, end } = &mut self.inside;
        while *end < self.at.len() && (self.at[*end] as usize) < window.end {
            *end += 1;
        }
        while *start < *end && self.at[*start] as usize <= window.start {
            *start += 1;
        }
        &self.at[*start..*end]
    }

    /// Whether there are marks behind the window's first sample.
    #[inline]
    fn any_between(&self, window: &Range<usize>) -> bool {
        let next = self.at.partition_point(|at| *at as usize <= window.start);
        self.at.get(next).is_some_and(|at| (*at as usize) < window.end)
    }
}

/// Where a window's samples lie between its ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edges {
    /// Start of the range, excluded, in milliseconds.
    pub(super) range_start: i64,
    /// End of the range, included, in milliseconds.
    pub(super) range_end: i64,
    /// Times of the first sample.
    pub(super) first: Times,
    /// Timestamp of the last sample.
    pub(super) last_at: i64,
    /// Number of samples less one.
    pub(super) intervals: usize,
}

impl Edges {
    /// Whether the counter is known to have started from zero inside the window, before its first sample.
    pub(super) fn starts_inside(&self, flavour: Flavour) -> bool {
        flavour.counter
            && self.first.start != 0
            && self.first.start > self.range_start
            && self.first.start < self.first.at
    }

    /// What the change since a known start is multiplied with. There is nothing to extrapolate to on the left.
    pub(super) fn factor_from_start(&self, flavour: Flavour, range_seconds: f64) -> f64 {
        let sampled = seconds(self.last_at - self.first.start);
        scale(
            flavour,
            sampled,
            0.0,
            self.beyond(seconds(self.range_end - self.last_at)),
            range_seconds,
        )
    }

    /// What `change` is multiplied with. A sample closer to an end of the range than 1.1 times the average distance
    /// of samples means that the series goes on there, and the change is extrapolated to that end; otherwise half an
    /// average distance further. A counter whose first value was `first` is not extrapolated below zero.
    #[inline]
    pub(super) fn factor(&self, flavour: Flavour, first: f64, change: f64, range_seconds: f64) -> f64 {
        let sampled = self.sampled();
        let mut to_start = self.beyond(seconds(self.first.at - self.range_start));
        // Extrapolation goes no further than 1.1 times the sampled time: zero is in reach of small first values only.
        if flavour.counter && change > 0.0 && first >= 0.0 && first < 2.0 * change {
            let to_zero = sampled * (first / change);
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        scale(
            flavour,
            sampled,
            to_start,
            self.beyond(seconds(self.range_end - self.last_at)),
            range_seconds,
        )
    }

    /// Seconds between the first sample and the last.
    fn sampled(&self) -> f64 {
        seconds(self.last_at - self.first.at)
    }

    /// How far the change is extrapolated beyond a sample that lies `distance` seconds from the range's end.
    #[inline]
    fn beyond(&self, distance: f64) -> f64 {
        if self.intervals == 0 {
            return 0.0;
        }
        let average = self.sampled() / self.intervals as f64;
        if distance >= average * 1.1 {
            average / 2.0
        } else {
            distance
        }
    }
}

/// Compat: the reference computes in seconds from here on, and its roundings show in the last digit of results.
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// All times in seconds.
fn scale(flavour: Flavour, sampled: f64, to_start: f64, to_end: f64, range_seconds: f64) -> f64 {
    let factor = (sampled + to_start + to_end) / sampled;
    if flavour.per_second {
        factor / range_seconds
    } else {
        factor
    }
}
