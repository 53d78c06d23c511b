//! Plain floats into chunks, without a look at each sample's kind: most of what merging and importing encode.

use model::columns::Columns;

use super::{
    ChunkFull, EncodedChunk, Encoding, XOR_SAMPLE_BYTES_MAX, XOR2_SAMPLE_BYTES_MAX, Xor2Appender, XorAppender,
};

/// A chunk's length is kept in 16 bits.
const CHUNK_BYTES_MAX: usize = u16::MAX as usize;

trait FloatAppender {
    const ENCODING: Encoding;
    const SAMPLE_BYTES_MAX: usize;
    fn new() -> Self;
    fn append(&mut self, buf: &mut [u8], timestamp_ms: i64, value: f64) -> Result<(), ChunkFull>;
    fn len(&self) -> usize;
}

impl FloatAppender for XorAppender {
    const ENCODING: Encoding = Encoding::Xor;
    const SAMPLE_BYTES_MAX: usize = XOR_SAMPLE_BYTES_MAX;

    fn new() -> Self {
        XorAppender::new()
    }

    #[inline]
    fn append(&mut self, buf: &mut [u8], timestamp_ms: i64, value: f64) -> Result<(), ChunkFull> {
        self.append(buf, timestamp_ms, value)
    }

    fn len(&self) -> usize {
        self.len()
    }
}

impl FloatAppender for Xor2Appender {
    const ENCODING: Encoding = Encoding::Xor2;
    const SAMPLE_BYTES_MAX: usize = XOR2_SAMPLE_BYTES_MAX;

    fn new() -> Self {
        Xor2Appender::new()
    }

    #[inline]
    fn append(&mut self, buf: &mut [u8], timestamp_ms: i64, value: f64) -> Result<(), ChunkFull> {
        self.append(buf, 0, timestamp_ms, value)
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// Encodes floats without start timestamps; `None` where `encoding` is not one for floats. A new chunk begins after
/// `samples_max` samples, or where one is full.
pub(super) fn encode_floats(
    columns: &Columns,
    encoding: Encoding,
    samples_max: usize,
) -> Option<Vec<EncodedChunk>> {
    match encoding {
        Encoding::Xor => Some(encode_as::<XorAppender>(columns, samples_max)),
        Encoding::Xor2 => Some(encode_as::<Xor2Appender>(columns, samples_max)),
        _ => None,
    }
}

fn encode_as<A: FloatAppender>(columns: &Columns, samples_max: usize) -> Vec<EncodedChunk> {
    let rows = columns.len().min(columns.values.len());
    let samples_max = samples_max.max(1);
    // Every chunk is made here and copied out at its length.
    let bytes_max = samples_max.min(rows).saturating_mul(A::SAMPLE_BYTES_MAX);
    let mut buffer = vec![0; bytes_max.saturating_add(A::SAMPLE_BYTES_MAX).min(CHUNK_BYTES_MAX)];
    let mut chunks = Vec::with_capacity(rows.div_ceil(samples_max));
    let mut start = 0;
    while start < rows {
        let end = start.saturating_add(samples_max).min(rows);
        let mut appender = A::new();
        let samples = columns.timestamps_ms[start..end]
            .iter()
            .zip(&columns.values[start..end]);
        let mut next = start;
        for (timestamp_ms, value) in samples {
            if appender.append(&mut buffer, *timestamp_ms, *value).is_err() {
                break;
            }
            next += 1;
        }
        debug_assert!(next > start, "an empty chunk takes any float");
        // Never reached, but it ends.
        next = next.max(start + 1);
        chunks.push(EncodedChunk {
            min_ms: columns.timestamps_ms[start],
            max_ms: columns.timestamps_ms[next - 1],
            encoding: A::ENCODING,
            bytes: buffer[..appender.len()].to_vec(),
        });
        start = next;
    }
    chunks
}
