//! The fast decoders against the plain one: on every kind of sample, in every company, whole and damaged.

use model::columns::Columns;

use super::*;
use crate::chunk::testing::{Rng, attack, float_patterns};
use crate::chunk::xor_read::{decode, decode_together, plain, takes_turns};
use crate::chunk::{ChunkData, ChunkError, Encoding, decode_all};

type Samples = Vec<(i64, f64)>;

fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut appender = XorAppender::new();
    let mut bytes = vec![0; samples.len() * XOR_SAMPLE_BYTES_MAX + 64];
    for (t, v) in samples {
        appender.append(&mut bytes, *t, *v).unwrap();
    }
    bytes.truncate(appender.len());
    bytes
}

/// Chunks of `len` samples, 0 for any number, that follow each other and of which all take turns.
fn dense_chunks(seed: u64, len: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(seed);
    let mut t = 1_700_000_000_000;
    let mut v = 0.0;
    let wildness = rng.below(4);
    let mut chunks = Vec::new();
    while chunks.len() < LANES {
        let len = if len > 0 { len } else { 3 + rng.below(200) };
        let samples: Samples = (0..len)
            .map(|_| random_sample(&mut rng, wildness, &mut t, &mut v))
            .collect();
        let chunk = encode(&samples);
        if takes_turns(&chunk) {
            chunks.push(chunk);
        }
    }
    chunks
}

/// A sample after `t`: with `wildness`, more and more of what control bits can say.
fn random_sample(rng: &mut Rng, wildness: usize, t: &mut i64, v: &mut f64) -> (i64, f64) {
    *t += match rng.below([1, 8, 16, 40][wildness]) {
        0..8 => 15_000 + rng.below(3) as i64 - 1,
        8 | 9 => 15_000 + rng.below(16_384) as i64 - 8_191,
        10 | 11 => 100_000 + rng.below(131_072) as i64 - 65_535,
        12 | 13 => 600_000 + rng.below(1_048_576) as i64 - 524_287,
        14 => 1 << (20 + rng.below(19)),
        _ => 15_000,
    };
    match rng.below([4, 6, 10, 10][wildness]) {
        0..3 => *v += rng.below(100) as f64,
        3 | 4 => {}
        5 => *v = (rng.float() * 2000.0 - 1000.0).round() / 100.0,
        6 => *v = f64::from_bits(rng.next()),
        7 => *v = f64::from_bits(0x7ff0_0000_0000_0000 | rng.next() >> rng.below(64)),
        8 => *v = -*v,
        _ => *v = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 5e-324][rng.below(6)],
    }
    (*t, *v)
}

type Decoded = Result<Vec<(i64, u64)>, ChunkError>;

fn rows(columns: &Columns) -> Vec<(i64, u64)> {
    let values = columns.values.iter().map(|v| v.to_bits());
    columns.timestamps_ms.iter().copied().zip(values).collect()
}

fn plainly(chunks: &[&[u8]], min_ms: i64, max_ms: i64) -> Decoded {
    let mut columns = Columns::default();
    for chunk in chunks {
        plain(chunk, min_ms, max_ms, &mut columns)?;
    }
    if columns.timestamps_ms.is_sorted_by(|a, b| a < b) {
        Ok(rows(&columns))
    } else {
        Err(ChunkError::Corrupt("order"))
    }
}

fn quickly(chunks: &[&[u8]], min_ms: i64, max_ms: i64) -> Decoded {
    let encoding = Encoding::Xor as u8;
    let chunks: Vec<_> = chunks.iter().map(|bytes| ChunkData { encoding, bytes }).collect();
    let mut columns = Columns::default();
    decode_all(&chunks, min_ms, max_ms, &mut columns).map_err(|(_, e)| e)?;
    Ok(rows(&columns))
}

#[test]
fn a_single_chunk_is_decoded_like_the_plain_reader_does() {
    for (name, samples) in float_patterns() {
        let chunk = encode(&samples);
        let mut rng = Rng::new(11);
        for _ in 0..20 {
            let mut ends = [0, 1].map(|_| {
                samples[rng.below(samples.len())]
                    .0
                    .saturating_add(rng.below(3) as i64 - 1)
            });
            ends.sort_unstable();
            let mut columns = Columns::default();
            decode(&chunk, ends[0], ends[1], &mut columns).unwrap();
            assert_eq!(
                Ok(rows(&columns)),
                plainly(&[&chunk], ends[0], ends[1]),
                "{name} {ends:?}"
            );
        }
    }
}

#[test]
fn chunks_in_lock_step_are_decoded_like_the_plain_reader_does() {
    for seed in 0..200 {
        let chunks = dense_chunks(seed, [120, 0][seed as usize % 2]);
        for count in 2..=LANES {
            let chunks: Vec<&[u8]> = chunks[..count].iter().map(|chunk| &chunk[..]).collect();
            let want = plainly(&chunks, i64::MIN, i64::MAX);
            let mut columns = Columns::default();
            let done = decode_together(&chunks, i64::MIN, i64::MAX, &mut columns);
            assert_eq!(
                (done, Ok(rows(&columns))),
                (Ok(()), want.clone()),
                "seed {seed}, {count} chunks"
            );
            let all = want.unwrap();
            let mut rng = Rng::new(seed);
            let (a, b) = (all[rng.below(all.len())].0, all[rng.below(all.len())].0);
            let (min_ms, max_ms) = (a.min(b), a.max(b) - rng.below(2) as i64);
            assert_eq!(
                quickly(&chunks, min_ms, max_ms),
                plainly(&chunks, min_ms, max_ms),
                "seed {seed}, cut"
            );
        }
    }
}

#[test]
fn rows_that_were_there_stay_and_start_timestamps_keep_up() {
    let chunks = dense_chunks(3, 0);
    let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
    let mut columns = Columns::default();
    columns.push(5, 1.0);
    columns.set_last_start(3);
    decode_together(&chunks, i64::MIN, i64::MAX, &mut columns).unwrap();
    assert_eq!((columns.timestamps_ms[0], columns.start_timestamps_ms[0]), (5, 3));
    assert_eq!(columns.start_timestamps_ms.len(), columns.len());
    let len = columns.len();
    assert_eq!(
        decode_together(&[chunks[1], chunks[0]], i64::MIN, i64::MAX, &mut columns),
        Err(Odd)
    );
    assert_eq!(columns.len(), len);
}

#[test]
fn a_chunk_longer_than_the_buffer_is_decoded_in_pieces() {
    let mut rng = Rng::new(5);
    let (mut t, mut v) = (0, 0.0);
    for wildness in 0..4 {
        let samples: Samples = (0..65_535)
            .map(|_| random_sample(&mut rng, wildness, &mut t, &mut v))
            .collect();
        let fits = samples.len().min(65_000 / XOR_SAMPLE_BYTES_MAX);
        for samples in [&samples[..fits], &samples[..2 * fits.min(1_000)]] {
            let chunk = encode(samples);
            let mut columns = Columns::default();
            decode(&chunk, i64::MIN, i64::MAX, &mut columns).unwrap();
            assert_eq!(Ok(rows(&columns)), plainly(&[&chunk], i64::MIN, i64::MAX));
        }
    }
    let runs: Samples = (0..65_535).map(|i| (i * 15_000, (i / 1000) as f64)).collect();
    let mut columns = Columns::default();
    decode(&encode(&runs), i64::MIN, i64::MAX, &mut columns).unwrap();
    assert!(columns.timestamps_ms.iter().copied().zip(columns.values).eq(runs));
}

#[test]
fn damage_in_one_lane_is_found_as_by_the_plain_reader() {
    for seed in 0..8 {
        let all = dense_chunks(seed, 12);
        for count in [1, 2, LANES] {
            let damaged = Rng::new(seed).below(count);
            attack(&all[damaged], |bytes| {
                let mut chunks: Vec<&[u8]> = all[..count].iter().map(|chunk| &chunk[..]).collect();
                chunks[damaged] = bytes;
                let quick = quickly(&chunks, i64::MIN, i64::MAX);
                let plain = plainly(&chunks, i64::MIN, i64::MAX);
                assert_eq!(quick.is_ok(), plain.is_ok(), "seed {seed}: {quick:?} {plain:?}");
                if quick.is_ok() {
                    assert_eq!(quick, plain, "seed {seed}");
                }
                quick.map(|rows| rows.len() % usize::from(u16::MAX))
            });
        }
    }
}
