//! Samples that came late: a small sorted list a series, encoded into chunks of their own when it is full.

use model::histogram::Histogram;

use super::chunk_files::MappedChunk;
use super::histograms::OpenHistogram;
use super::series::ChunkRules;
use crate::chunk::{ChunkFull, Encoding, Xor2Appender, XorAppender};
use model::columns::Columns;

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
        encode(rules, &samples, |min_ms, max_ms, encoding, bytes| {
            let chunk = rules
                .files
                .write(reference, min_ms, max_ms, encoding as u8, true, bytes);
            self.mapped.push(chunk);
        });
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

/// Encodes sorted samples into as few chunks as their kinds allow.
fn encode(rules: ChunkRules<'_>, samples: &[Late], mut write: impl FnMut(i64, i64, Encoding, &[u8])) {
    let mut at = 0;
    while at < samples.len() {
        let floats = matches!(samples[at].value, LateValue::Float(_));
        let same = |s: &&Late| matches!(s.value, LateValue::Float(_)) == floats;
        let end = at + samples[at..].iter().take_while(same).count();
        if floats {
            encode_floats(rules, &samples[at..end], &mut write);
        } else {
            encode_histograms(rules, &samples[at..end], &mut write);
        }
        at = end;
    }
}

fn encode_floats(rules: ChunkRules<'_>, samples: &[Late], write: &mut impl FnMut(i64, i64, Encoding, &[u8])) {
    let (min_ms, max_ms) = (samples[0].timestamp_ms, samples[samples.len() - 1].timestamp_ms);
    let mut bytes = Vec::new();
    let (mut xor, mut xor2) = (XorAppender::new(), Xor2Appender::new());
    for sample in samples {
        let LateValue::Float(value) = sample.value else {
            continue;
        };
        loop {
            let appended = if rules.start_timestamps {
                xor2.append(&mut bytes, sample.start_ms, sample.timestamp_ms, value)
            } else {
                xor.append(&mut bytes, sample.timestamp_ms, value)
            };
            match appended {
                Err(ChunkFull::Bytes { needed }) => bytes.resize(needed.next_multiple_of(64), 0),
                Ok(()) | Err(ChunkFull::Samples) => break,
            }
        }
    }
    if rules.start_timestamps {
        write(min_ms, max_ms, Encoding::Xor2, &bytes[..xor2.len()]);
    } else {
        write(min_ms, max_ms, Encoding::Xor, &bytes[..xor.len()]);
    }
}

fn encode_histograms(
    rules: ChunkRules<'_>,
    samples: &[Late],
    write: &mut impl FnMut(i64, i64, Encoding, &[u8]),
) {
    let mut open: Option<(i64, OpenHistogram)> = None;
    for sample in samples {
        let LateValue::Histogram(histogram) = &sample.value else {
            continue;
        };
        let (start_ms, timestamp_ms) = (sample.start_ms, sample.timestamp_ms);
        match &mut open {
            None => {
                let chunk = OpenHistogram::start(rules.start_timestamps, start_ms, timestamp_ms, histogram);
                open = Some((timestamp_ms, chunk));
            }
            Some((min_ms, chunk)) => {
                let step = chunk.append(rules, (*min_ms, i64::MAX), start_ms, timestamp_ms, histogram);
                if let Some(full) = step.full {
                    write(*min_ms, full.last_timestamp_ms, full.encoding, &full.bytes);
                    *min_ms = timestamp_ms;
                }
            }
        }
    }
    if let Some((min_ms, chunk)) = open {
        write(min_ms, chunk.last_timestamp_ms(), chunk.encoding(), chunk.bytes());
    }
}
