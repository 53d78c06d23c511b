//! The canonical chunk workload: what benches measure and what speed is quoted for. Fixed seed.

use model::columns::Columns;

use super::{CHUNK_SAMPLES, EncodeOptions, EncodedChunk, Encoding, decode, encode};

/// Shapes of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One value, every 15 s: most series of most servers.
    Constant,
    /// A counter that grows by small whole numbers, with jitter of a millisecond in every tenth scrape.
    Counter,
    /// A gauge with as many digits as a float has.
    Noisy,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 3] = [Shape::Constant, Shape::Counter, Shape::Noisy];
}

/// `count` chunks of 120 samples.
pub fn chunks(shape: Shape, encoding: Encoding, count: usize) -> Vec<EncodedChunk> {
    let mut state = 42u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let options = EncodeOptions {
        floats: encoding,
        ..EncodeOptions::default()
    };
    let mut columns = Columns::default();
    let mut value = 1000.0;
    for row in 0..count * CHUNK_SAMPLES {
        let mut jitter = 0;
        match shape {
            Shape::Constant => {}
            Shape::Counter => {
                value += (random() % 20) as f64;
                jitter = i64::from(random().is_multiple_of(10));
            }
            Shape::Noisy => value = random() as f64 / f64::from(1 << 31) * 100.0,
        }
        columns.push(1_700_000_000_000 + row as i64 * 15_000 + jitter, value);
    }
    encode(&columns, &options)
}

/// Decodes each chunk as a query does, into warm buffers; gives the number of samples.
pub fn decode_all(chunks: &[EncodedChunk], columns: &mut Columns) -> usize {
    let mut samples = 0;
    for chunk in chunks {
        columns.clear();
        let done = decode(chunk.encoding as u8, &chunk.bytes, i64::MIN, i64::MAX, columns);
        samples += done.map_or(0, |()| columns.len());
    }
    samples
}
