//! Instant selection: the last sample within the lookback, unless it is a staleness marker.

use model::columns::Columns;
use model::sample::is_stale_nan;

use crate::row::{Row, Steps};

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
    out: &mut Row,
) {
    out.reset(steps.count);
    let timestamps = &columns.timestamps_ms;
    let mut behind = 0;
    let mut histogram = 0;
    for step in 0..steps.count {
        let at = steps.at(step);
        while behind < timestamps.len() && timestamps[behind] <= at {
            behind += 1;
        }
        let Some(row) = behind.checked_sub(1) else {
            continue;
        };
        if timestamps[row] <= at.saturating_sub(lookback_ms) || is_stale_nan(columns.values[row]) {
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
