//! What a transaction tells the log of late samples.

use crate::wal::{
    FloatEntry, HistogramEntry, MarkerEntry, RecordType, encode_floats, encode_floats_with_start,
    encode_histograms, encode_markers,
};

/// Late samples of a transaction, for their log.
#[derive(Default)]
pub(crate) struct LateLog {
    pub(crate) floats: Vec<FloatEntry>,
    pub(crate) histograms: Vec<HistogramEntry>,
    pub(crate) markers: Vec<MarkerEntry>,
    /// Records cut before the last marker.
    pub(crate) records: Vec<Vec<u8>>,
}

impl LateLog {
    /// Whether a marker is among the records.
    pub(crate) fn has_markers(&self) -> bool {
        self.records.iter().any(|record| is_marker(record))
    }

    /// Leaves the markers out: without them the samples before stay in force, whether a chunk has them or not.
    pub(crate) fn drop_markers(&mut self) {
        self.records.retain(|record| !is_marker(record));
    }

    /// Turns what has gathered into records.
    pub(crate) fn cut(&mut self, with_start: bool) {
        let mut record = Vec::new();
        if !self.markers.is_empty() {
            encode_markers(&mut record, self.markers.drain(..));
            self.records.push(std::mem::take(&mut record));
        }
        if !self.floats.is_empty() {
            if with_start {
                encode_floats_with_start(&mut record, self.floats.drain(..));
            } else {
                encode_floats(&mut record, self.floats.drain(..));
            }
            self.records.push(std::mem::take(&mut record));
        }
        if !self.histograms.is_empty() {
            let records = &mut self.records;
            let push = |r: &[u8]| -> Result<(), std::convert::Infallible> {
                records.push(r.to_vec());
                Ok(())
            };
            match encode_histograms(&mut record, &self.histograms, with_start, push) {
                Ok(()) => self.histograms.clear(),
                Err(never) => match never {},
            }
        }
    }
}

fn is_marker(record: &[u8]) -> bool {
    RecordType::of(record) == Some(RecordType::MmapMarkers)
}
