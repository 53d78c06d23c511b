//! XOR2 chunks: round trips, resuming, damage.

use super::*;
use crate::chunk::float_read::decode;
use crate::chunk::testing::{Rng, attack, float_patterns};

type Sample = (i64, i64, f64);

fn encode(samples: &[Sample]) -> Vec<u8> {
    let mut appender = Xor2Appender::new();
    let mut buf = Vec::new();
    for (st, t, v) in samples {
        while let Err(full) = appender.append(&mut buf, *st, *t, *v) {
            let ChunkFull::Bytes { needed } = full else {
                panic!("{full}")
            };
            assert!(needed > buf.len() && needed <= appender.len().max(3) + XOR2_SAMPLE_BYTES_MAX);
            buf.resize(needed, 0xa5);
        }
    }
    buf.truncate(appender.len());
    buf
}

fn decoded(chunk: &[u8], min_ms: i64, max_ms: i64) -> Result<Vec<(i64, i64, u64)>, ChunkError> {
    let mut columns = Columns::default();
    decode::<true>(chunk, min_ms, max_ms, &mut columns)?;
    assert!(columns.start_timestamps_ms.is_empty() || columns.start_timestamps_ms.len() == columns.len());
    let row = |i: usize| {
        let start = columns.start_timestamps_ms.get(i).copied().unwrap_or(0);
        (start, columns.timestamps_ms[i], columns.values[i].to_bits())
    };
    Ok((0..columns.len()).map(row).collect())
}

/// The shared patterns with start timestamps of several kinds.
fn patterns() -> Vec<(String, Vec<Sample>)> {
    let mut all = Vec::new();
    for (seed, (name, samples)) in float_patterns().into_iter().enumerate() {
        let mut rng = Rng::new(seed as u64);
        let first = samples[0].0.saturating_sub(1000);
        let change_at = rng.below(samples.len() + 1);
        for kind in ["none", "constant", "late", "each", "gone"] {
            let with_start = samples.iter().enumerate().map(|(i, (t, v))| {
                let start = match kind {
                    "constant" => first,
                    "late" if i >= change_at => first,
                    "each" => t.saturating_sub(rng.below(40) as i64),
                    "gone" if i < change_at => first,
                    _ => 0,
                };
                (start, *t, *v)
            });
            all.push((format!("{name}, start {kind}"), with_start.collect()));
        }
    }
    all
}

#[test]
fn every_pattern_comes_back_in_every_range() {
    for (name, samples) in patterns() {
        let chunk = encode(&samples);
        let all: Vec<_> = samples.iter().map(|(st, t, v)| (*st, *t, v.to_bits())).collect();
        assert_eq!(decoded(&chunk, i64::MIN, i64::MAX).unwrap(), all, "{name}");
        let (min, max) = (samples[samples.len() / 3].1, samples[samples.len() / 2].1);
        let want: Vec<_> = all
            .iter()
            .copied()
            .filter(|s| (min..=max).contains(&s.1))
            .collect();
        assert_eq!(decoded(&chunk, min, max).unwrap(), want, "{name}");
    }
}

#[test]
fn appending_goes_on_after_a_restart() {
    for (name, samples) in patterns() {
        let whole = encode(&samples);
        for cut in [1, 2, samples.len() / 2] {
            if cut == 0 || cut > samples.len() {
                continue;
            }
            let (before, after) = samples.split_at(cut);
            let mut buf = encode(before);
            let mut appender = Xor2Appender::resume(&buf).unwrap();
            buf.resize(64 * 1024, 0xff);
            for (st, t, v) in after {
                appender.append(&mut buf, *st, *t, *v).unwrap();
            }
            assert_eq!(&buf[..appender.len()], whole, "{name} cut at {cut}");
        }
    }
}

#[test]
fn bytes_are_those_of_the_format() {
    // Count 6, header 83: sample 0 has a start, changes from sample 3 on | 1000 as varint | 1.0 | 1000 - 500 as varint |
    // 15000 as uvarint | bit by bit: same value 0; 0: all the same; 10 and a new window 1 of 00001 001011, the XOR with
    // 2.0, and its start 600 as 111110 and 18 bits of 31000 - 600; 110, a change of 1 in 13 bits, stale 111, the start as
    // 111110 and 18 bits of 15000, by which the distance grew; 11111: stale, the distance grew by 15001.
    let stale = model::sample::stale_nan();
    let chunk = encode(&[
        (500, 1000, 1.0),
        (500, 16000, 1.0),
        (500, 31000, 1.0),
        (600, 46000, 2.0),
        (600, 61001, stale),
        (600, 76002, stale),
    ]);
    let hex: String = chunk.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        "000683d00f3ff0000000000000e8079875284bffff0ed818003fe0ea63ff075320"
    );
}

#[test]
fn damage_never_panics() {
    for (_, samples) in patterns() {
        let chunk = encode(&samples[..samples.len().min(25)]);
        attack(&chunk, |bytes| {
            let _ = Xor2Appender::resume(bytes);
            decoded(bytes, i64::MIN, i64::MAX).map(|samples| samples.len())
        });
    }
}
