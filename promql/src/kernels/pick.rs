//! Functions that count samples or pick one: `count`, `present`, `first`, `last`, `absent`, `ts_of_first`,
//! `ts_of_last` … `_over_time`.

use std::sync::Arc;

use crate::row::Row;

use super::{KernelError, Run};

/// `count_over_time`: floats and histograms.
pub(super) fn count(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    if run.only_floats() {
        run.map_floats(out, |_, _, floats| Some(floats.len() as f64));
        return Ok(());
    }
    run.for_each_window(|_, step, floats, histograms| {
        out.set(step, (floats.len() + histograms.len()) as f64);
    });
    Ok(())
}

/// `present_over_time`, and the core of `absent_over_time`: 1 where there is a sample.
pub(super) fn present(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    run.for_each_window(|_, step, _, _| out.set(step, 1.0));
    Ok(())
}

/// `first_over_time`
pub(super) fn first(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    let samples = run.samples;
    run.for_each_window(|_, step, floats, histograms| {
        let float_first = histograms.is_empty()
            || !floats.is_empty() && samples.float_ts[floats.start] < samples.histogram_ts[histograms.start];
        if float_first {
            out.set(step, samples.floats[floats.start]);
        } else {
            out.push_histogram(step, Arc::clone(&samples.histograms[histograms.start]));
        }
    });
    Ok(())
}

/// `last_over_time`
pub(super) fn last(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    let samples = run.samples;
    if run.only_floats() {
        run.map_floats(out, |_, _, floats| Some(samples.floats[floats.end - 1]));
        return Ok(());
    }
    run.for_each_window(|_, step, floats, histograms| {
        let float_last = histograms.is_empty()
            || !floats.is_empty()
                && samples.histogram_ts[histograms.end - 1] < samples.float_ts[floats.end - 1];
        if float_last {
            out.set(step, samples.floats[floats.end - 1]);
        } else {
            out.push_histogram(step, Arc::clone(&samples.histograms[histograms.end - 1]));
        }
    });
    Ok(())
}

/// `ts_of_first_over_time`, in seconds.
pub(super) fn ts_of_first(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    let samples = run.samples;
    run.for_each_window(|_, step, floats, histograms| {
        let float = (!floats.is_empty()).then(|| samples.float_ts[floats.start]);
        let histogram = (!histograms.is_empty()).then(|| samples.histogram_ts[histograms.start]);
        if let Some(first) = float.into_iter().chain(histogram).min() {
            out.set(step, first as f64 / 1000.0);
        }
    });
    Ok(())
}

/// `ts_of_last_over_time`, in seconds.
pub(super) fn ts_of_last(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    let samples = run.samples;
    run.for_each_window(|_, step, floats, histograms| {
        // Compat: the missing kind counts as time 0, so that results before 1970 are 0.
        let float = if floats.is_empty() {
            0
        } else {
            samples.float_ts[floats.end - 1]
        };
        let histogram = if histograms.is_empty() {
            0
        } else {
            samples.histogram_ts[histograms.end - 1]
        };
        out.set(step, float.max(histogram) as f64 / 1000.0);
    });
    Ok(())
}
