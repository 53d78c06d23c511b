//! XOR chunks: round trips, resuming, damage.

use model::columns::Columns;

use super::*;
use crate::chunk::float_read::decode;
use crate::chunk::testing::{Rng, attack, float_patterns};

fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut appender = XorAppender::new();
    let mut buf = Vec::new();
    for (t, v) in samples {
        while let Err(full) = appender.append(&mut buf, *t, *v) {
            let ChunkFull::Bytes { needed } = full else {
                panic!("{full}")
            };
            assert!(needed > buf.len() && needed <= buf.len() + 32);
            // Whatever lies behind the chunk in its buffer must not matter.
            buf.resize(needed, 0xa5);
        }
    }
    buf.truncate(appender.len());
    buf
}

fn decoded(chunk: &[u8], min_ms: i64, max_ms: i64) -> Result<Vec<(i64, u64)>, ChunkError> {
    let mut columns = Columns::default();
    decode::<false>(chunk, min_ms, max_ms, &mut columns)?;
    let values = columns.values.iter().map(|v| v.to_bits());
    Ok(columns.timestamps_ms.iter().copied().zip(values).collect())
}

#[test]
fn every_pattern_comes_back_in_every_range() {
    for (name, samples) in float_patterns() {
        let chunk = encode(&samples);
        let all: Vec<_> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
        assert_eq!(decoded(&chunk, i64::MIN, i64::MAX).unwrap(), all, "{name}");
        let mut rng = Rng::new(7);
        for _ in 0..20 {
            let min = samples[rng.below(samples.len())]
                .0
                .saturating_add(rng.below(3) as i64 - 1);
            let max = samples[rng.below(samples.len())]
                .0
                .saturating_add(rng.below(3) as i64 - 1);
            let want: Vec<_> = all
                .iter()
                .copied()
                .filter(|(t, _)| (min..=max).contains(t))
                .collect();
            assert_eq!(decoded(&chunk, min, max).unwrap(), want, "{name} {min}..={max}");
        }
    }
}

#[test]
fn appending_goes_on_after_a_restart() {
    for (name, samples) in float_patterns() {
        let whole = encode(&samples);
        for cut in [1, 2, 3, samples.len() / 2, samples.len() - 1] {
            if cut == 0 || cut > samples.len() {
                continue;
            }
            let (before, after) = samples.split_at(cut);
            let mut buf = encode(before);
            let mut appender = XorAppender::resume(&buf).unwrap();
            buf.resize(64 * 1024, 0xff);
            for (t, v) in after {
                appender.append(&mut buf, *t, *v).unwrap();
            }
            assert_eq!(&buf[..appender.len()], whole, "{name} cut at {cut}");
        }
    }
}

#[test]
fn bytes_are_those_of_the_format() {
    // Count 4 | 1000 as varint | 1.0 | 15000 as uvarint | then bit by bit: same value 0; same difference 0, new window 11
    // of 1 leading zero 00001 and 11 bits 001011, the XOR of 1.0 and 2.0; 10 and a change of 1 in 14 bits, same value 0.
    let chunk = encode(&[(1000, 1.0), (16000, 1.0), (31000, 2.0), (46001, 2.0)]);
    let hex: String = chunk.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "0004d00f3ff000000000000098753097ffe00040");
}

#[test]
fn a_full_buffer_changes_nothing() {
    let mut appender = XorAppender::new();
    let mut buf = [0; 18];
    assert_eq!(
        appender.append(&mut buf[..11], 1000, 0.5),
        Err(ChunkFull::Bytes { needed: 12 })
    );
    appender.append(&mut buf, 1000, 0.5).unwrap();
    appender.append(&mut buf, 2000, 0.5).unwrap();
    let before = (appender, buf);
    let full = appender.append(&mut buf, 3000, 0.1).unwrap_err();
    assert!(matches!(full, ChunkFull::Bytes { needed } if needed > 18));
    assert_eq!((appender, buf), before);
}

#[test]
fn the_sample_count_does_not_wrap() {
    let mut appender = XorAppender::new();
    let mut buf = vec![0; 32 * 1024];
    for i in 0..65_535 {
        appender.append(&mut buf, i, 1.0).unwrap();
    }
    assert_eq!(appender.append(&mut buf, 65_535, 1.0), Err(ChunkFull::Samples));
    assert_eq!(
        decoded(&buf[..appender.len()], i64::MIN, i64::MAX).unwrap().len(),
        65_535
    );
}

#[test]
fn damage_never_panics() {
    for (_, samples) in float_patterns() {
        let chunk = encode(&samples[..samples.len().min(40)]);
        attack(&chunk, |bytes| {
            let _ = XorAppender::resume(bytes);
            let _ = decoded(bytes, 1_000, i64::MAX);
            decoded(bytes, i64::MIN, i64::MAX).map(|samples| samples.len())
        });
    }
}
