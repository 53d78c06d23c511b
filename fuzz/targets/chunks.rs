//! Chunks of every encoding; see the crate's page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::columns::Columns;
use tsdb::chunk::{self, EncodeOptions, Encoding, Float, HistogramAppender, Int, Xor2Appender, XorAppender};

fuzz_target!(|input: &[u8]| {
    let Some(([kind, cut], chunk)) = input.split_first_chunk::<2>() else {
        return;
    };
    let encoding = kind % 7;
    let mut columns = Columns::default();
    let decoded = chunk::decode(encoding, chunk, i64::MIN, i64::MAX, &mut columns);
    assert!(columns.timestamps_ms.len() <= usize::from(u16::MAX));
    if let Ok(known) = Encoding::from_byte(encoding) {
        resume(known, chunk);
        if decoded.is_ok() {
            part(encoding, chunk, *cut, &columns);
            again(known, &columns);
        }
    }
});

/// Appenders that go on behind a chunk.
fn resume(encoding: Encoding, chunk: &[u8]) {
    match encoding {
        Encoding::Xor => drop(XorAppender::resume(chunk)),
        Encoding::Xor2 => drop(Xor2Appender::resume(chunk)),
        Encoding::Histogram => drop(HistogramAppender::<Int>::resume(chunk, false)),
        Encoding::HistogramSt => drop(HistogramAppender::<Int>::resume(chunk, true)),
        Encoding::FloatHistogram => drop(HistogramAppender::<Float>::resume(chunk, false)),
        Encoding::FloatHistogramSt => drop(HistogramAppender::<Float>::resume(chunk, true)),
    }
}

/// A narrower range gives the samples that lie in it.
fn part(encoding: u8, chunk: &[u8], cut: u8, all: &Columns) {
    let times = &all.timestamps_ms;
    if times.is_empty() || !times.is_sorted() {
        return;
    }
    let at = usize::from(cut) % times.len();
    let (min_ms, max_ms) = (times[at / 2], times[at]);
    let mut columns = Columns::default();
    chunk::decode(encoding, chunk, min_ms, max_ms, &mut columns).expect("the whole chunk decodes");
    let within = |t: &&i64| (min_ms..=max_ms).contains(*t);
    assert!(columns.timestamps_ms.iter().eq(times.iter().filter(within)));
}

/// Bits of all rows, so that NaNs compare.
fn bits(columns: &Columns) -> Vec<(i64, u64)> {
    let values = columns.values.iter().map(|v| v.to_bits());
    columns.timestamps_ms.iter().copied().zip(values).collect()
}

/// What was decoded encodes to chunks that hold the same.
fn again(encoding: Encoding, columns: &Columns) {
    // Histograms of nonsense need not be ones that a chunk can hold.
    if encoding.is_histogram() || !columns.timestamps_ms.is_sorted_by(|a, b| a < b) {
        return;
    }
    let mut found = Columns::default();
    for chunk in chunk::encode(columns, &EncodeOptions::keep(encoding)) {
        let decoded = chunk::decode(encoding as u8, &chunk.bytes, i64::MIN, i64::MAX, &mut found);
        decoded.expect("what was encoded decodes");
    }
    assert_eq!(bits(&found), bits(columns));
}
