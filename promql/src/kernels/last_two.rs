//! `irate` and `idelta`: the change between the last two samples of a window.

use std::ops::Range;
use std::sync::Arc;

use model::histogram::{CounterResetHint, FloatHistogram};

use crate::row::Row;

use super::notes::HistogramOperation;
use super::samples::Samples;
use super::starts;
use super::{KernelError, Run};

/// `irate`: per second, and a reset starts from zero.
pub(super) fn irate(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    if !run.input.use_start_timestamps {
        run.samples.float_starts = &[];
        run.samples.histogram_starts = &[];
    }
    evaluate(run, true, out);
    Ok(())
}

/// `idelta`
pub(super) fn idelta(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    run.samples.float_starts = &[];
    run.samples.histogram_starts = &[];
    evaluate(run, false, out);
    Ok(())
}

fn evaluate(run: &mut Run<'_, '_>, counter: bool, out: &mut Row) {
    if run.only_floats() {
        return run.map_floats(out, |run, _, floats| {
            (floats.len() > 1).then(|| float_change(&run.samples, counter, floats.end - 1))
        });
    }
    // The last two are of one kind if two of that kind lie behind all of the other.
    let is_tail = |mine: &Range<usize>, at: &[i64], other: &Range<usize>, other_at: &[i64]| {
        mine.len() >= 2 && (other.is_empty() || at[mine.end - 2] > other_at[other.end - 1])
    };
    run.for_each_window(|run, step, floats, histograms| {
        let samples = run.samples;
        if floats.len() + histograms.len() < 2 {
            return;
        }
        if is_tail(&floats, samples.float_ts, &histograms, samples.histogram_ts) {
            out.set(step, float_change(&samples, counter, floats.end - 1));
        } else if is_tail(&histograms, samples.histogram_ts, &floats, samples.float_ts) {
            if let Some(change) = histogram_change(run, counter, histograms.end - 1) {
                out.push_histogram(step, Arc::new(change));
            }
        } else {
            run.notes.mixed_floats_and_histograms();
        }
    });
}

/// The change from float `last - 1` to `last`.
#[inline]
fn float_change(samples: &Samples<'_>, counter: bool, last: usize) -> f64 {
    let previous = starts::times(samples.float_ts, samples.float_starts, last - 1);
    let current = starts::times(samples.float_ts, samples.float_starts, last);
    let (old, new) = (samples.floats[last - 1], samples.floats[last]);
    if !counter {
        return new - old;
    }
    let reset = new < old || starts::is_reset(previous, current);
    let change = if reset { new } else { new - old };
    change / ((current.at - previous.at) as f64 / 1000.0)
}

/// The change from histogram `last - 1` to `last`; `None` where their buckets cannot be compared.
fn histogram_change(run: &mut Run<'_, '_>, counter: bool, last: usize) -> Option<FloatHistogram> {
    let samples = run.samples;
    let (old, new) = (&samples.histograms[last - 1], &samples.histograms[last]);
    let gauges = [old, new].map(|histogram| histogram.counter_reset_hint == CounterResetHint::Gauge);
    if counter && gauges.contains(&true) {
        run.notes.not_a_counter();
    }
    if !counter && gauges.contains(&false) {
        run.notes.not_a_gauge();
    }
    let previous = starts::times(samples.histogram_ts, samples.histogram_starts, last - 1);
    let current = starts::times(samples.histogram_ts, samples.histogram_starts, last);
    let mut change = FloatHistogram::clone(new);
    if !counter || !starts::is_reset(previous, current) && !new.detect_reset(old) {
        match change.sub(old) {
            Ok(done) if done.bounds_reconciled => {
                run.notes.bounds_reconciled(HistogramOperation::Subtraction);
            }
            Ok(_) => {}
            Err(_) => {
                run.notes.mixed_schemas();
                return None;
            }
        }
    }
    change.counter_reset_hint = CounterResetHint::Gauge;
    change.compact(0);
    if counter {
        change.div((current.at - previous.at) as f64 / 1000.0);
    }
    Some(change)
}
