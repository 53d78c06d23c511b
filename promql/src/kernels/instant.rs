//! Instant selection: the last sample within the lookback, unless it is a staleness marker.

use model::columns::Columns;
use model::sample::is_stale_nan;

use crate::row::{Row, Steps, Windows};

use super::{Bounds, Scratch};

/// What an instant selector gives for the sample it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstantOutput {
    /// The sample itself.
    Value,
    /// Its timestamp in seconds: `timestamp(selector)`.
    Timestamp,
    /// Its start timestamp in seconds, 0 where unknown: `start_timestamp(selector)`.
    StartTimestamp,
}

/// At each step the newest sample in `(step - lookback_ms, step]`, or nothing where that is a staleness marker or there
/// is none. `steps` are already moved by `offset`. `out` is reset to `steps.count` steps first.
pub fn select_instant(
    columns: &Columns,
    steps: Steps,
    lookback_ms: i64,
    output: InstantOutput,
    scratch: &mut Scratch,
    out: &mut Row,
) {
    out.reset(steps.count);
    if columns.is_empty() {
        return;
    }
    let bounds = &mut scratch.float_bounds;
    let lookback = Windows {
        ends: steps,
        range_ms: lookback_ms,
    };
    bounds.find(&columns.timestamps_ms, lookback);
    if columns.histograms.is_empty() && output == InstantOutput::Value {
        select_floats(&columns.values, bounds, out);
    } else {
        select_any(columns, steps, bounds, output, out);
    }
}

/// The common case, where nearly all steps find a float.
fn select_floats(values: &[f64], bounds: &Bounds, out: &mut Row) {
    let bounds = bounds.firsts().chunks(64).zip(bounds.ends().chunks(64));
    let slots = out.present.words_mut().iter_mut().zip(out.values.chunks_mut(64));
    for ((firsts, ends), (word, slots)) in bounds.zip(slots) {
        for (slot, end) in slots.iter_mut().zip(ends) {
            *slot = values[(*end as usize).saturating_sub(1)];
        }
        let windows = || firsts.iter().zip(ends);
        let none_empty = windows().fold(true, |none, (first, end)| none & (first != end));
        // A staleness marker is a NaN.
        let none_stale = slots.iter().fold(true, |none, value| none & !value.is_nan());
        if none_empty && none_stale {
            *word = u64::MAX >> (64 - slots.len());
            continue;
        }
        for (bit, (slot, (first, end))) in slots.iter_mut().zip(windows()).enumerate() {
            let found = first != end && !is_stale_nan(*slot);
            *word |= u64::from(found) << bit;
            *slot = if found { *slot } else { 0.0 };
        }
    }
}

fn select_any(columns: &Columns, steps: Steps, bounds: &Bounds, output: InstantOutput, out: &mut Row) {
    let timestamps = &columns.timestamps_ms;
    let mut histogram = 0;
    for (step, (first, end)) in bounds.iter().enumerate() {
        if first == end {
            continue;
        }
        let row = end as usize - 1;
        if is_stale_nan(columns.values[row]) {
            continue;
        }
        while columns
            .histograms
            .get(histogram)
            .is_some_and(|(at, _)| (*at as usize) < row)
        {
            histogram += 1;
        }
        let found = columns
            .histograms
            .get(histogram)
            .filter(|(at, _)| *at as usize == row);
        if found.is_some_and(|(_, histogram)| is_stale_nan(histogram.sum())) {
            continue;
        }
        match (output, found) {
            (InstantOutput::Value, None) => out.set(step, columns.values[row]),
            (InstantOutput::Value, Some((_, histogram))) => match out.histograms.last() {
                // Steps closer than samples share the converted histogram.
                Some((last, shared))
                    if step > 0 && *last as usize == step - 1 && steps.at(step - 1) >= timestamps[row] =>
                {
                    let shared = shared.clone();
                    out.push_histogram(step, shared);
                }
                _ => out.push_histogram(step, histogram.to_float()),
            },
            (InstantOutput::Timestamp, _) => out.set(step, timestamps[row] as f64 / 1000.0),
            (InstantOutput::StartTimestamp, _) => {
                let start = columns.start_timestamps_ms.get(row).copied().unwrap_or(0);
                out.set(step, start as f64 / 1000.0);
            }
        }
    }
}
