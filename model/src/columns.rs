//! Samples of one series, decoded into arrays: what storage hands to the query engine.

use crate::histogram::Histogram;

/// Samples of one series in order of time. Buffers are the caller's and are reused from series to series.
///
/// A row is a float or a histogram. `timestamps_ms` and `values` always have one entry a row; where the row is a
/// histogram, `values` holds 0 and `histograms` has an entry with the row's number. In the common case `histograms` is
/// empty and kernels run over plain arrays.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Milliseconds since the Unix epoch, strictly ascending.
    pub timestamps_ms: Vec<i64>,
    /// The float of each row.
    pub values: Vec<f64>,
    /// Rows that are histograms, ascending by row.
    pub histograms: Vec<(u32, Histogram)>,
    /// When each row's counter started (milliseconds since the epoch, 0 where unknown): either empty, when no row of
    /// the series has one, or one entry a row.
    pub start_timestamps_ms: Vec<i64>,
    /// Whether several places had samples for one time that differ, or histograms that took turns with those of another
    /// place: what is given then depends on how much was read at once, too.
    pub is_contested: bool,
}

impl Columns {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }

    /// Forgets all rows and keeps the buffers.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.histograms.clear();
        self.start_timestamps_ms.clear();
        self.is_contested = false;
    }

    /// Adds a float row.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
        if !self.start_timestamps_ms.is_empty() {
            self.start_timestamps_ms.push(0);
        }
    }

    /// Adds a histogram row.
    pub fn push_histogram(&mut self, timestamp_ms: i64, histogram: Histogram) {
        let row = self.timestamps_ms.len() as u32;
        self.push(timestamp_ms, 0.0);
        self.histograms.push((row, histogram));
    }

    /// Sets the start timestamp of the last row; earlier rows without one count as unknown.
    pub fn set_last_start(&mut self, start_timestamp_ms: i64) {
        if start_timestamp_ms == 0 && self.start_timestamps_ms.is_empty() {
            return;
        }
        self.start_timestamps_ms.resize(self.timestamps_ms.len(), 0);
        if let Some(last) = self.start_timestamps_ms.last_mut() {
            *last = start_timestamp_ms;
        }
    }
}
