//! Columns split into floats and histograms without staleness markers: what range functions walk over.

use std::ops::Range;
use std::sync::Arc;

use model::columns::Columns;
use model::histogram::FloatHistogram;
use model::sample::is_stale_nan;

use super::Needs;

/// The samples of one series, floats and histograms apart, each in order of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Samples<'a> {
    /// Timestamps of floats, milliseconds.
    pub(super) float_ts: &'a [i64],
    /// Floats.
    pub(super) floats: &'a [f64],
    /// Start timestamps of floats: none, or one each.
    pub(super) float_starts: &'a [i64],
    /// Timestamps of histograms, milliseconds.
    pub(super) histogram_ts: &'a [i64],
    /// Histograms: empty unless the function needs them.
    pub(super) histograms: &'a [Arc<FloatHistogram>],
    /// Start timestamps of histograms: none, or one each.
    pub(super) histogram_starts: &'a [i64],
}

/// Copies for the series that cannot be walked in place.
#[derive(Debug, Default)]
pub(super) struct SamplesBuffers {
    float_ts: Vec<i64>,
    floats: Vec<f64>,
    float_starts: Vec<i64>,
    histogram_ts: Vec<i64>,
    histograms: Vec<Arc<FloatHistogram>>,
    histogram_starts: Vec<i64>,
}

impl SamplesBuffers {
    /// Splits `columns`. Series of floats without staleness markers are not copied.
    pub(super) fn split<'a>(&'a mut self, columns: &'a Columns, needs: Needs) -> Samples<'a> {
        let stale = has_stale_marker(&columns.values);
        if columns.histograms.is_empty() && !stale {
            return Samples {
                float_ts: &columns.timestamps_ms,
                floats: &columns.values,
                float_starts: &columns.start_timestamps_ms,
                histogram_ts: &[],
                histograms: &[],
                histogram_starts: &[],
            };
        }
        self.copy(columns, needs);
        Samples {
            float_ts: &self.float_ts,
            floats: &self.floats,
            float_starts: &self.float_starts,
            histogram_ts: &self.histogram_ts,
            histograms: &self.histograms,
            histogram_starts: &self.histogram_starts,
        }
    }

    fn copy(&mut self, columns: &Columns, needs: Needs) {
        self.float_ts.clear();
        self.floats.clear();
        self.float_starts.clear();
        self.histogram_ts.clear();
        self.histograms.clear();
        self.histogram_starts.clear();
        let starts = &columns.start_timestamps_ms;
        let mut histograms = columns.histograms.iter().peekable();
        for (row, (timestamp, value)) in columns.timestamps_ms.iter().zip(&columns.values).enumerate() {
            if let Some((_, histogram)) = histograms.next_if(|(at, _)| *at as usize == row) {
                if is_stale_nan(histogram.sum()) {
                    continue;
                }
                self.histogram_ts.push(*timestamp);
                self.histogram_starts.extend(starts.get(row));
                if needs == Needs::All {
                    self.histograms.push(histogram.to_float());
                }
            } else if !is_stale_nan(*value) {
                self.float_ts.push(*timestamp);
                self.floats.push(*value);
                self.float_starts.extend(starts.get(row));
            }
        }
    }
}

/// Whether a staleness marker is among the values. Whole chunks at a time, which processors compare several values of
/// at once.
fn has_stale_marker(values: &[f64]) -> bool {
    let in_chunk = |chunk: &[f64]| chunk.iter().fold(false, |any, value| any | is_stale_nan(*value));
    values.chunks(64).any(in_chunk)
}

/// A window over ascending timestamps that only moves forward: samples `first..end`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// Index of the first sample inside.
    pub(super) first: usize,
    /// Index behind the last sample inside.
    pub(super) end: usize,
    /// By how much both moved last.
    pace: [usize; 2],
}

impl Cursor {
    /// Moves to the samples in `(after_ms, until_ms]`; neither bound may be less than at the last call.
    #[inline]
    pub(super) fn advance(&mut self, timestamps: &[i64], after_ms: i64, until_ms: i64) {
        self.end = behind(timestamps, self.end, &mut self.pace[0], until_ms);
        self.first = behind(&timestamps[..self.end], self.first, &mut self.pace[1], after_ms);
    }

    /// The samples inside.
    #[inline]
    pub(super) fn range(&self) -> Range<usize> {
        self.first..self.end
    }

    /// Whether no sample is inside.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first == self.end
    }
}

/// Index behind the last timestamp up to `bound`, from `from` on. Steps and scrapes are regular: most often the answer
/// is as far from `from` as it was the last time, and two comparisons tell.
#[inline]
fn behind(timestamps: &[i64], from: usize, pace: &mut usize, bound: i64) -> usize {
    let guess = from + *pace;
    if let Some(next) = timestamps.get(guess)
        && *next > bound
        && (guess == from || timestamps[guess - 1] <= bound)
    {
        return guess;
    }
    let mut at = from;
    while at < timestamps.len() && timestamps[at] <= bound {
        at += 1;
    }
    *pace = at - from;
    at
}
