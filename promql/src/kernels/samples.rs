//! Columns split into floats and histograms without staleness markers: what range functions walk over.

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
        let stale = columns.values.iter().any(|value| is_stale_nan(*value));
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

/// A window over ascending timestamps that only moves forward: samples `first..end`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// Index of the first sample inside.
    pub(super) first: usize,
    /// Index behind the last sample inside.
    pub(super) end: usize,
}

impl Cursor {
    /// Moves to the samples in `(after_ms, until_ms]`; neither bound may be less than at the last call.
    #[inline]
    pub(super) fn advance(&mut self, timestamps: &[i64], after_ms: i64, until_ms: i64) {
        while self.end < timestamps.len() && timestamps[self.end] <= until_ms {
            self.end += 1;
        }
        while self.first < self.end && timestamps[self.first] <= after_ms {
            self.first += 1;
        }
    }

    /// Number of samples inside.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.first
    }

    /// Whether no sample is inside.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first == self.end
    }
}
