//! `rate`, `increase` and `delta` over `anchored` and `smoothed` ranges: the change between the values at the ends of
//! the range, which are those of samples outside (anchored) or interpolated with them (smoothed).

use std::ops::Range;
use std::sync::Arc;

use model::histogram::{CounterResetHint, FloatHistogram, IncompatibleSchemas};

use crate::row::Row;

use super::histogram_rate::{add, sub};
use super::notes::{HistogramOperation, Notes};
use super::rate::Flavour;
use super::{Extension, Run};

/// Evaluates all steps. A window is the range and what [`super::RangeInput::reach_ms`] adds to it.
pub(super) fn evaluate(run: &mut Run<'_, '_>, flavour: Flavour, out: &mut Row) {
    let smoothed = run.input.extension == Extension::Smoothed;
    let range_seconds = run.range_seconds();
    let samples = run.samples;
    run.for_each_window(|run, step, floats, histograms| {
        let (start, end) = run.window(step);
        let range = Ends { start, end, smoothed };
        match (floats.is_empty(), histograms.is_empty()) {
            (false, false) => run.notes.mixed_floats_and_histograms(),
            (false, true) => {
                let (times, values) = (&samples.float_ts[floats.clone()], &samples.floats[floats]);
                if let Some(change) = float_change(times, values, range, flavour.counter) {
                    out.set(
                        step,
                        if flavour.per_second {
                            change / range_seconds
                        } else {
                            change
                        },
                    );
                }
            }
            (true, _) => {
                if let Some(mut change) = histogram_change(run, histograms, range, flavour) {
                    if flavour.per_second {
                        change.div(range_seconds);
                    }
                    change.counter_reset_hint = CounterResetHint::Gauge;
                    change.compact(0);
                    out.push_histogram(step, Arc::new(change));
                }
            }
        }
    });
}

/// The ends of a range and how values there are found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) smoothed: bool,
}

impl Ends {
    /// The samples that the ends of the range depend on, both included: the last one at or before its start or else
    /// the first, and the last one or, where smoothed, the first at or behind its end. `None` where nothing lies inside
    /// or around it.
    pub(super) fn bracket(self, times: &[i64]) -> Option<(usize, usize)> {
        let last = times.len().checked_sub(1)?;
        let first = times[..last]
            .partition_point(|at| *at <= self.start)
            .saturating_sub(1);
        let last = if self.smoothed {
            times[..last].partition_point(|at| *at < self.end)
        } else {
            last
        };
        let outside = times[last] <= self.start || self.smoothed && times[first] > self.end;
        (!outside).then_some((first, last))
    }

    /// Whether the value at the start lies between sample `first` and the next one.
    pub(super) fn interpolates_start(self, times: &[i64], first: usize) -> bool {
        self.smoothed && times[first] < self.start
    }

    /// Whether the value at the end lies between sample `last` and the one before it.
    pub(super) fn interpolates_end(self, times: &[i64], last: usize) -> bool {
        self.smoothed && last > 0 && times[last] > self.end
    }
}

/// The float at `at` on the line between samples `i` and `i + 1`; a counter that was reset between them started from 0.
pub(super) fn interpolate(times: &[i64], values: &[f64], i: usize, at: i64, counter: bool) -> f64 {
    let (mut old, new) = (values[i], values[i + 1]);
    if counter && new < old {
        old = 0.0;
    }
    old + (new - old) * (at - times[i]) as f64 / (times[i + 1] - times[i]) as f64
}

/// Floats at the ends of a range, and the samples strictly between them.
pub(super) fn float_ends(
    times: &[i64],
    values: &[f64],
    ends: Ends,
    counter: bool,
) -> Option<(f64, f64, Range<usize>)> {
    let (first, last) = ends.bracket(times)?;
    let left = if ends.interpolates_start(times, first) {
        interpolate(times, values, first, ends.start, counter)
    } else {
        values[first]
    };
    let right = if ends.interpolates_end(times, last) {
        interpolate(times, values, last - 1, ends.end, counter)
    } else {
        values[last]
    };
    let from = first + usize::from(times[first] <= ends.start);
    let until = last + usize::from(times[last] < ends.end);
    Some((left, right, from..until.max(from)))
}

fn float_change(times: &[i64], values: &[f64], ends: Ends, counter: bool) -> Option<f64> {
    let (left, right, between) = float_ends(times, values, ends, counter)?;
    let mut change = right - left;
    if counter {
        let mut lost = 0.0;
        let mut before = left;
        for value in values[between].iter().copied().chain([right]) {
            if value < before {
                lost += before;
            }
            before = value;
        }
        change += lost;
    }
    Some(change)
}

/// Histogram `i` and its time.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) time: i64,
    pub(super) histogram: &'a FloatHistogram,
}

/// The histogram at `at` between two others; a counter that was reset between them started from nothing.
///
/// # Errors
/// When one has custom bounds and the other has not.
pub(super) fn interpolate_histograms(
    notes: &mut Notes<'_>,
    old: At<'_>,
    new: At<'_>,
    at: i64,
    counter: bool,
) -> Result<FloatHistogram, IncompatibleSchemas> {
    if at == old.time {
        return Ok(old.histogram.clone());
    }
    let mut result = new.histogram.clone();
    if at == new.time {
        return Ok(result);
    }
    let part = (at - old.time) as f64 / (new.time - old.time) as f64;
    if counter && new.histogram.detect_reset(old.histogram) {
        result.mul(part);
        return Ok(result);
    }
    if result.sub(old.histogram)?.bounds_reconciled {
        notes.bounds_reconciled(HistogramOperation::Subtraction);
    }
    result.mul(part);
    if result.add(old.histogram)?.bounds_reconciled {
        notes.bounds_reconciled(HistogramOperation::Addition);
    }
    Ok(result)
}

/// The change over the range; `None` where nothing lies in it or the buckets cannot be compared.
fn histogram_change(
    run: &mut Run<'_, '_>,
    window: Range<usize>,
    ends: Ends,
    flavour: Flavour,
) -> Option<FloatHistogram> {
    let samples = run.samples;
    let times = &samples.histogram_ts[window.clone()];
    let histograms = &samples.histograms[window];
    let notes = &mut run.notes;
    let (first, last) = ends.bracket(times)?;
    if !check_range(notes, &histograms[first..=last], flavour.counter) {
        return None;
    }
    let sample = |i: usize| At {
        time: times[i],
        histogram: &histograms[i],
    };
    let between = |notes: &mut Notes<'_>, i: usize, at: i64| {
        let found = interpolate_histograms(notes, sample(i), sample(i + 1), at, flavour.counter);
        if found.is_err() {
            notes.mixed_schemas();
        }
        found.ok()
    };
    let left = if ends.interpolates_start(times, first) {
        between(notes, first, ends.start)?
    } else {
        FloatHistogram::clone(&histograms[first])
    };
    let right = if ends.interpolates_end(times, last) {
        between(notes, last - 1, ends.end)?
    } else {
        FloatHistogram::clone(&histograms[last])
    };
    let is_gauge = |histogram: &FloatHistogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
    let gauges = is_gauge(&left) && is_gauge(&right);
    if !flavour.counter && !gauges {
        notes.not_a_gauge();
    }
    let mut change = right.clone();
    if !sub(notes, &mut change, &left) {
        return None;
    }
    if flavour.counter {
        // A reset that the left interpolation went across is accounted for: what follows is compared with the sample
        // behind it.
        let across =
            ends.interpolates_start(times, first) && histograms[first + 1].detect_reset(&histograms[first]);
        let (before, from): (&FloatHistogram, usize) = if across {
            (&histograms[first + 1], first + 2)
        } else {
            (&left, first + 1)
        };
        if from <= last {
            // The last sample is represented by the right end, whose hint is its own.
            let inner = histograms[from..last].iter().map(|histogram| &**histogram);
            if let Some(lost) = lost_at_resets(notes, before, inner.chain([&right]))?
                && !add(notes, &mut change, &lost)
            {
                return None;
            }
        }
    }
    Some(change)
}

/// What the histograms before each reset held, added up; `None` inside where there was no reset, outside where buckets
/// cannot be added.
fn lost_at_resets<'a>(
    notes: &mut Notes<'_>,
    mut before: &'a FloatHistogram,
    histograms: impl Iterator<Item = &'a FloatHistogram>,
) -> Option<Option<FloatHistogram>> {
    let mut lost: Option<FloatHistogram> = None;
    for histogram in histograms {
        if histogram.detect_reset(before) {
            match &mut lost {
                None => lost = Some(before.clone()),
                Some(lost) => {
                    if !add(notes, lost, before) {
                        return None;
                    }
                }
            }
        }
        before = histogram;
    }
    Some(lost)
}

/// Whether all histograms have buckets of one kind; warns where not, and where one is a gauge and should not be.
fn check_range(notes: &mut Notes<'_>, histograms: &[Arc<FloatHistogram>], counter: bool) -> bool {
    let custom = histograms[0].uses_custom_buckets();
    for histogram in histograms {
        if histogram.uses_custom_buckets() != custom {
            notes.mixed_schemas();
            return false;
        }
        if counter && histogram.counter_reset_hint == CounterResetHint::Gauge {
            notes.not_a_counter();
        }
    }
    true
}
