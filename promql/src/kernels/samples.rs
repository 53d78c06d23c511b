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
    /// Whether nothing had to be copied.
    pub(super) in_place: bool,
    float_ts: Vec<i64>,
    floats: Vec<f64>,
    float_starts: Vec<i64>,
    histogram_ts: Vec<i64>,
    histograms: Vec<Arc<FloatHistogram>>,
    histogram_starts: Vec<i64>,
}

impl SamplesBuffers {
    /// Takes the samples that count out of `columns`, unless all of them are floats that do.
    pub(super) fn take(&mut self, columns: &Columns, needs: Needs) {
        self.in_place = columns.histograms.is_empty() && !has_stale_marker(&columns.values);
        if !self.in_place {
            self.copy(columns, needs);
        }
    }

    /// The samples of `columns`, which were taken.
    pub(super) fn split<'a>(&'a self, columns: &'a Columns) -> Samples<'a> {
        if self.in_place {
            return Samples {
                float_ts: &columns.timestamps_ms,
                floats: &columns.values,
                float_starts: &columns.start_timestamps_ms,
                histogram_ts: &[],
                histograms: &[],
                histogram_starts: &[],
            };
        }
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

/// Whether a staleness marker is among the values. Whole chunks at a time, of which processors compare several values
/// at once; that a value is not a number is seen sooner than which one it is.
fn has_stale_marker(values: &[f64]) -> bool {
    let has_nan = |chunk: &&[f64]| chunk.iter().fold(false, |any, value| any | value.is_nan());
    let mut with_nan = values.chunks(64).filter(has_nan);
    with_nan.any(|chunk| chunk.iter().any(|value| is_stale_nan(*value)))
}
