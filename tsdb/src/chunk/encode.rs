//! Samples in columns into chunks: what compaction and bulk imports use, where the head appends sample by sample.

use model::columns::Columns;
use model::histogram::Histogram;

use super::encode_floats::encode_floats;
use super::{
    Appended, ChunkFull, Encoding, Float, HistogramAppender, Int, Kind, Xor2Appender, XorAppender,
    sample_count,
};

/// Samples after which a new chunk begins: as many as the head cuts at.
pub const CHUNK_SAMPLES: usize = 120;
/// Bytes by which the buffer of floats grows.
const GROW_BYTES: usize = 256;

/// A finished chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedChunk {
    /// First sample.
    pub min_ms: i64,
    /// Last sample.
    pub max_ms: i64,
    /// How it is encoded.
    pub encoding: Encoding,
    /// The chunk.
    pub bytes: Vec<u8>,
}

/// How samples become chunks.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// Samples after which a new chunk begins.
    pub samples_max: usize,
    /// For floats without start timestamps: [`Encoding::Xor`] or [`Encoding::Xor2`]. Those with one need the latter.
    pub floats: Encoding,
    /// Encode everything like this (a chunk from which samples were deleted keeps its encoding).
    pub only: Option<Encoding>,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        EncodeOptions {
            samples_max: CHUNK_SAMPLES,
            floats: Encoding::Xor,
            only: None,
        }
    }
}

impl EncodeOptions {
    /// Options for one chunk of this encoding, however long.
    pub fn keep(encoding: Encoding) -> Self {
        EncodeOptions {
            samples_max: usize::MAX,
            only: Some(encoding),
            ..EncodeOptions::default()
        }
    }

    fn encoding_of(&self, histogram: Option<&Histogram>, start_ms: i64) -> Encoding {
        if let Some(only) = self.only {
            return only;
        }
        match histogram {
            None if start_ms != 0 => Encoding::Xor2,
            None => self.floats,
            Some(Histogram::Int(_)) if start_ms != 0 => Encoding::HistogramSt,
            Some(Histogram::Int(_)) => Encoding::Histogram,
            Some(Histogram::Float(_)) if start_ms != 0 => Encoding::FloatHistogramSt,
            Some(Histogram::Float(_)) => Encoding::FloatHistogram,
        }
    }
}

/// Encodes all rows. New chunks begin where the kind of sample changes, where the open chunk cannot hold a start
/// timestamp, where a histogram does not fit, and after [`EncodeOptions::samples_max`] samples.
pub fn encode(columns: &Columns, options: &EncodeOptions) -> Vec<EncodedChunk> {
    let plain = columns.histograms.is_empty() && columns.start_timestamps_ms.is_empty();
    let encoded = plain.then(|| encode_floats(columns, options.encoding_of(None, 0), options.samples_max));
    encoded.flatten().unwrap_or_else(|| encode_any(columns, options))
}

/// [`encode`] for whatever the rows are.
fn encode_any(columns: &Columns, options: &EncodeOptions) -> Vec<EncodedChunk> {
    let mut chunks = Vec::new();
    let mut open: Option<Open> = None;
    let mut histograms = columns.histograms.iter().peekable();
    for (row, timestamp_ms) in columns.timestamps_ms.iter().copied().enumerate() {
        let histogram = histograms.next_if(|(at, _)| *at as usize == row).map(|(_, h)| h);
        let start_ms = columns.start_timestamps_ms.get(row).copied().unwrap_or(0);
        let encoding = options.encoding_of(histogram, start_ms);
        let sample = Sample {
            start_ms,
            timestamp_ms,
            value: columns.values[row],
            histogram,
        };
        let fits = |open: &Open| {
            // A chunk with room for start timestamps takes floats without.
            let same = open.encoding == encoding
                || (open.encoding == Encoding::Xor2 && encoding == Encoding::Xor)
                || (open.encoding == Encoding::Xor && encoding == Encoding::Xor2 && start_ms == 0);
            same && open.samples < options.samples_max
        };
        match open.take_if(|open| !fits(open)) {
            Some(full) => chunks.push(full.finish()),
            None => {
                if let Some(current) = &mut open {
                    if let Some(next) = current.append(&sample) {
                        chunks.push(std::mem::replace(current, next).finish());
                    }
                    continue;
                }
            }
        }
        open = Some(Open::new(encoding, &sample));
    }
    chunks.extend(open.map(Open::finish));
    chunks
}

struct Sample<'a> {
    start_ms: i64,
    timestamp_ms: i64,
    value: f64,
    histogram: Option<&'a Histogram>,
}

struct Open {
    encoding: Encoding,
    samples: usize,
    min_ms: i64,
    max_ms: i64,
    body: Body,
}

enum Body {
    Xor(XorAppender, Vec<u8>),
    Xor2(Xor2Appender, Vec<u8>),
    Int(Box<HistogramAppender<Int>>),
    Float(Box<HistogramAppender<Float>>),
}

impl Open {
    fn new(encoding: Encoding, sample: &Sample<'_>) -> Self {
        let st = matches!(encoding, Encoding::HistogramSt | Encoding::FloatHistogramSt);
        let (start_ms, t) = (sample.start_ms, sample.timestamp_ms);
        let body = match sample.histogram {
            Some(Histogram::Int(h)) => {
                Body::Int(Box::new(HistogramAppender::start(None, st, start_ms, t, h)))
            }
            Some(Histogram::Float(h)) => {
                Body::Float(Box::new(HistogramAppender::start(None, st, start_ms, t, h)))
            }
            None if encoding == Encoding::Xor2 => Body::Xor2(Xor2Appender::new(), Vec::new()),
            None => Body::Xor(XorAppender::new(), Vec::new()),
        };
        let mut open = Open {
            encoding,
            samples: 1,
            min_ms: t,
            max_ms: t,
            body,
        };
        if sample.histogram.is_none() {
            open.samples = 0;
            let next = open.append(sample);
            debug_assert!(next.is_none(), "an empty chunk takes any float");
        }
        open
    }

    /// Adds a sample of the chunk's kind; where it does not fit, the chunk that begins with it is returned.
    fn append(&mut self, sample: &Sample<'_>) -> Option<Open> {
        let (start_ms, t) = (sample.start_ms, sample.timestamp_ms);
        let next = match (&mut self.body, sample.histogram) {
            (Body::Xor(appender, bytes), None) => {
                let full = grow(bytes, |bytes| appender.append(bytes, t, sample.value));
                full.then(|| Body::Xor(XorAppender::new(), Vec::new()))
            }
            (Body::Xor2(appender, bytes), None) => {
                let full = grow(bytes, |bytes| appender.append(bytes, start_ms, t, sample.value));
                full.then(|| Body::Xor2(Xor2Appender::new(), Vec::new()))
            }
            (Body::Int(appender), Some(Histogram::Int(h))) => {
                next_histogram(appender, start_ms, t, h).map(|next| Body::Int(Box::new(next)))
            }
            (Body::Float(appender), Some(Histogram::Float(h))) => {
                next_histogram(appender, start_ms, t, h).map(|next| Body::Float(Box::new(next)))
            }
            // The kinds differ: only with `EncodeOptions::only` and columns that are not of that kind.
            _ => return Some(Open::new(self.encoding, sample)),
        };
        let Some(body) = next else {
            self.samples += 1;
            self.max_ms = t;
            return None;
        };
        let mut open = Open {
            encoding: self.encoding,
            samples: 1,
            min_ms: t,
            max_ms: t,
            body,
        };
        if sample.histogram.is_none() {
            open.samples = 0;
            open.append(sample);
        }
        Some(open)
    }

    fn finish(self) -> EncodedChunk {
        let bytes = match self.body {
            Body::Xor(appender, mut bytes) => {
                bytes.truncate(appender.len());
                bytes
            }
            Body::Xor2(appender, mut bytes) => {
                bytes.truncate(appender.len());
                bytes
            }
            Body::Int(appender) => appender.into_bytes(),
            Body::Float(appender) => appender.into_bytes(),
        };
        debug_assert!(sample_count(&bytes).is_ok());
        EncodedChunk {
            min_ms: self.min_ms,
            max_ms: self.max_ms,
            encoding: self.encoding,
            bytes,
        }
    }
}

/// Appends with as much room as it takes; true where the chunk is full.
fn grow(bytes: &mut Vec<u8>, mut append: impl FnMut(&mut [u8]) -> Result<(), ChunkFull>) -> bool {
    loop {
        match append(bytes) {
            Ok(()) => return false,
            // A chunk's length is kept in 16 bits.
            Err(ChunkFull::Bytes { needed }) if needed <= usize::from(u16::MAX) => {
                bytes.resize(needed.max(bytes.len() + GROW_BYTES).min(u16::MAX.into()), 0);
            }
            Err(_) => return true,
        }
    }
}

fn next_histogram<K: Kind>(
    appender: &mut HistogramAppender<K>,
    start_ms: i64,
    timestamp_ms: i64,
    histogram: &model::histogram::Buckets<K::Bucket, K::Count>,
) -> Option<HistogramAppender<K>> {
    let st = appender.encoding() == K::ST_ENCODING;
    match appender.append(start_ms, timestamp_ms, histogram) {
        Ok(Appended::Added | Appended::Recoded) => None,
        Ok(Appended::NeedsNewChunk(reset)) => Some(HistogramAppender::start_with(
            reset,
            st,
            start_ms,
            timestamp_ms,
            histogram,
        )),
        Err(_) => Some(HistogramAppender::start(
            Some(appender),
            st,
            start_ms,
            timestamp_ms,
            histogram,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that fill chunks to their ends, for many reasons.
    fn columns(rows: usize) -> Columns {
        let mut columns = Columns::default();
        let (mut random, mut timestamp_ms, mut value) = (7u64, 1_795_400_000_000, 0.0);
        for row in 0..rows {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            timestamp_ms += if random >> 60 == 0 {
                1 << (random >> 33 & 31)
            } else {
                15_000
            };
            value = match row / 500 % 3 {
                0 => value + (random >> 58) as f64,
                1 => f64::from_bits(random),
                _ => value,
            };
            columns.push(timestamp_ms, value);
        }
        columns
    }

    #[test]
    fn floats_are_encoded_as_ever() {
        let only = |encoding| EncodeOptions::keep(encoding);
        let floats = |floats| EncodeOptions {
            floats,
            ..EncodeOptions::default()
        };
        for rows in [0, 1, 2, 119, 120, 121, 5000, 70_000] {
            let columns = columns(rows);
            for options in [
                floats(Encoding::Xor),
                floats(Encoding::Xor2),
                only(Encoding::Xor),
                only(Encoding::Xor2),
            ] {
                assert_eq!(
                    encode(&columns, &options),
                    encode_any(&columns, &options),
                    "{rows} rows, {options:?}"
                );
            }
        }
    }
}
