//! `resets` and `changes`: how often a sample of the window differs from the one before it.

use std::sync::Arc;

use model::histogram::FloatHistogram;

use crate::row::Row;

use super::samples::Samples;
use super::starts::{self, Times};
use super::{Extension, KernelError, Run};

/// `resets`: of counters, floats or histograms; a change between the two counts as one.
pub(super) fn resets(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    if !run.input.use_start_timestamps {
        run.samples.float_starts = &[];
        run.samples.histogram_starts = &[];
    }
    count(run, is_reset, out);
    Ok(())
}

/// `changes`: of value; a change between float and histogram counts as one.
pub(super) fn changes(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    count(run, is_change, out);
    Ok(())
}

/// A sample of either kind.
#[derive(Clone, Copy)]
struct Sample<'a> {
    times: Times,
    value: Value<'a>,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

fn is_reset(previous: Sample<'_>, current: Sample<'_>) -> bool {
    match (previous.value, current.value) {
        (Value::Float(old), Value::Float(new)) => {
            new < old || starts::is_reset(previous.times, current.times)
        }
        (Value::Histogram(old), Value::Histogram(new)) => {
            starts::is_reset(previous.times, current.times) || new.detect_reset(old)
        }
        _ => true,
    }
}

fn is_change(previous: Sample<'_>, current: Sample<'_>) -> bool {
    match (previous.value, current.value) {
        (Value::Float(old), Value::Float(new)) => new != old && !(new.is_nan() && old.is_nan()),
        (Value::Histogram(old), Value::Histogram(new)) => !new.same_data(old),
        _ => true,
    }
}

/// Whether a pair is an event depends on the two samples alone: one pass counts the events up to each sample, and a
/// window's count is the difference between its ends.
fn count(run: &mut Run<'_, '_>, is_event: impl Fn(Sample<'_>, Sample<'_>) -> bool, out: &mut Row) {
    let mut times = std::mem::take(&mut run.work.times);
    let mut events = std::mem::take(&mut run.work.indices);
    times.clear();
    events.clear();
    if run.only_floats() {
        // The common case, without telling kinds apart.
        events.extend(counted(floats(run.samples), &is_event));
    } else {
        times.extend(merged(run.samples).map(|sample| sample.times.at));
        events.extend(counted(merged(run.samples), &is_event));
    }
    let at = if run.only_floats() {
        run.samples.float_ts
    } else {
        &times[..]
    };
    let anchored = run.input.extension == Extension::Anchored;
    let mut bounds = std::mem::take(&mut run.work.bounds);
    bounds.find(at, run.input.windows);
    for (step, (first, end)) in bounds.iter().enumerate() {
        if first == end {
            continue;
        }
        let (mut first, end) = (first as usize, end as usize);
        let oldest = || run.window(step).0.saturating_sub(run.input.lookback_ms);
        if anchored && first > 0 && at[first - 1] > oldest() {
            first -= 1;
        }
        out.set(step, f64::from(events[end - 1] - events[first]));
    }
    run.work.bounds = bounds;
    run.work.times = times;
    run.work.indices = events;
}

/// For each sample the number of events up to it.
fn counted<'a>(
    samples: impl Iterator<Item = Sample<'a>>,
    is_event: impl Fn(Sample<'_>, Sample<'_>) -> bool,
) -> impl Iterator<Item = u32> {
    samples.scan((None, 0), move |(previous, total), sample| {
        *total += u32::from(previous.is_some_and(|previous| is_event(previous, sample)));
        *previous = Some(sample);
        Some(*total)
    })
}

fn floats(samples: Samples<'_>) -> impl Iterator<Item = Sample<'_>> {
    samples.floats.iter().enumerate().map(move |(i, value)| Sample {
        times: starts::times(samples.float_ts, samples.float_starts, i),
        value: Value::Float(*value),
    })
}

/// Floats and histograms in order of time.
fn merged<'a>(samples: Samples<'a>) -> impl Iterator<Item = Sample<'a>> {
    let (mut float, mut histogram) = (0, 0);
    std::iter::from_fn(move || {
        let float_at = samples.float_ts.get(float);
        let histogram_at = samples.histogram_ts.get(histogram);
        let take_float = match (float_at, histogram_at) {
            (None, None) => return None,
            (Some(float_at), Some(histogram_at)) => float_at < histogram_at,
            (float_at, _) => float_at.is_some(),
        };
        if take_float {
            float += 1;
            Some(Sample {
                times: starts::times(samples.float_ts, samples.float_starts, float - 1),
                value: Value::Float(samples.floats[float - 1]),
            })
        } else {
            histogram += 1;
            Some(Sample {
                times: starts::times(samples.histogram_ts, samples.histogram_starts, histogram - 1),
                value: Value::Histogram(&samples.histograms[histogram - 1]),
            })
        }
    })
}
