//! Samples that came late: a small sorted list a series, encoded into chunks of their own when it is full.

use model::columns::Columns;
use model::histogram::Histogram;

use super::chunk_files::MappedChunk;
use super::open::ChunkRules;
use crate::chunk::{EncodeOptions, encode};

/// What a late sample holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LateValue {
    Float(f64),
    Histogram(Histogram),
}

/// A late sample.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    pub(crate) start_ms: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: LateValue,
}

/// The late samples of a series.
#[derive(Debug, Default)]
pub(crate) struct OutOfOrder {
    /// Sorted by time.
    pub(crate) open: Vec<Late>,
    /// Full chunks in the order in which they were written; they may overlap.
    pub(crate) mapped: Vec<MappedChunk>,
}

/// What became of a late sample.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// There is one for this timestamp.
    Duplicate,
    /// It is in; the references of the chunks that were written to make room, if any were.
    Added(Vec<u64>),
}

impl OutOfOrder {
    /// Adds a sample; a list of `cap` samples is written out first.
    pub(crate) fn insert(
        &mut self,
        rules: ChunkRules<'_>,
        reference: u64,
        cap: usize,
        sample: Late,
    ) -> Inserted {
        let written = if self.open.len() >= cap {
            self.write_open(rules, reference)
        } else {
            Vec::new()
        };
        match self
            .open
            .binary_search_by_key(&sample.timestamp_ms, |s| s.timestamp_ms)
        {
            Ok(_) => Inserted::Duplicate,
            Err(at) => {
                self.open.insert(at, sample);
                Inserted::Added(written)
            }
        }
    }

    /// Encodes the list into chunks and empties it; returns their references.
    pub(crate) fn write_open(&mut self, rules: ChunkRules<'_>, reference: u64) -> Vec<u64> {
        let samples = std::mem::take(&mut self.open);
        let before = self.mapped.len();
        let mut columns = Columns::default();
        Self::read_open(&samples, i64::MIN, i64::MAX, &mut columns);
        let options = EncodeOptions {
            floats: rules.floats,
            ..EncodeOptions::default()
        };
        for chunk in encode(&columns, &options) {
            let encoding = chunk.encoding as u8;
            let written = rules.files.write(
                reference,
                chunk.min_ms,
                chunk.max_ms,
                encoding,
                true,
                &chunk.bytes,
            );
            self.mapped.push(written);
        }
        self.mapped[before..].iter().map(|c| c.chunk).collect()
    }

    /// Whether nothing is stored.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.mapped.is_empty()
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> usize {
        self.mapped.len() + usize::from(!self.open.is_empty())
    }

    /// First and last timestamp.
    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        let open = self.open.first().zip(self.open.last());
        let open = open.map(|(a, b)| (a.timestamp_ms, b.timestamp_ms));
        let all = self.mapped.iter().map(|c| (c.min_ms, c.max_ms)).chain(open);
        all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Whether a sample may lie in the range.
    pub(crate) fn overlaps(&self, min_ms: i64, max_ms: i64) -> bool {
        self.range().is_some_and(|(a, b)| a <= max_ms && b >= min_ms)
    }

    /// Appends the samples of the list that lie in the range.
    pub(crate) fn read_open(samples: &[Late], min_ms: i64, max_ms: i64, columns: &mut Columns) {
        for sample in samples {
            if (min_ms..=max_ms).contains(&sample.timestamp_ms) {
                match &sample.value {
                    LateValue::Float(value) => columns.push(sample.timestamp_ms, *value),
                    LateValue::Histogram(h) => columns.push_histogram(sample.timestamp_ms, h.clone()),
                }
                columns.set_last_start(sample.start_ms);
            }
        }
    }

    /// Forgets chunks up to reference `chunk`; they are in blocks now.
    pub(crate) fn forget(&mut self, chunk: u64) {
        self.mapped.retain(|c| c.chunk > chunk);
    }
}
