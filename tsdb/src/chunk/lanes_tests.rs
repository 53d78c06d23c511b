//! The fast decoders against the plain one: on every kind of sample, in every company, whole and damaged.

use model::columns::Columns;
use model::sample::stale_nan;

use super::*;
use crate::chunk::float_read::{decode_together, plain, takes_turns};
use crate::chunk::testing::{Rng, attack, float_patterns};
use crate::chunk::{ChunkData, ChunkError, Encoding, decode, decode_all, xor2};

type Samples = Vec<(i64, f64)>;
/// Start timestamp, timestamp, bits of the value.
type Row = (i64, i64, u64);

const ENCODINGS: [Encoding; 2] = [Encoding::Xor, Encoding::Xor2];

/// A chunk; with a start timestamp before its first sample where the encoding can and `start` is given.
fn encode(encoding: Encoding, start: Option<i64>, samples: &[(i64, f64)]) -> Vec<u8> {
    let mut bytes = vec![0; samples.len() * XOR2_SAMPLE_BYTES_MAX + 64];
    let len = if encoding == Encoding::Xor {
        let mut appender = XorAppender::new();
        for (t, v) in samples {
            appender.append(&mut bytes, *t, *v).unwrap();
        }
        appender.len()
    } else {
        let mut appender = Xor2Appender::new();
        for (t, v) in samples {
            appender.append(&mut bytes, start.unwrap_or(0), *t, *v).unwrap();
        }
        appender.len()
    };
    bytes.truncate(len);
    bytes
}

/// Chunks of `len` samples, 0 for any number, that follow each other and of which all take turns.
fn dense_chunks(encoding: Encoding, seed: u64, len: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(seed);
    let (mut t, mut v) = (1_700_000_000_000, 0.0);
    let wildness = rng.below(4);
    let mut chunks = Vec::new();
    while chunks.len() < LANES {
        let start = (rng.below(2) == 0).then_some(t - 77);
        // From sample 127 on each sample would have a start timestamp.
        let len = if len > 0 { len } else { 3 + rng.below(120) };
        let mut sample = |i| {
            let next = random_sample(&mut rng, wildness, &mut t, &mut v);
            // Chunks that begin with a staleness marker are left to the plain reader.
            if i < 2 && next.1.to_bits() == STALE_NAN_BITS {
                (next.0, 1.0)
            } else {
                next
            }
        };
        let samples: Samples = (0..len).map(&mut sample).collect();
        let chunk = encode(encoding, start, &samples);
        if takes_turns(encoding as u8, &chunk) {
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
    match rng.below([4, 6, 11, 11][wildness]) {
        0..3 => *v += rng.below(100) as f64,
        3 | 4 => {}
        5 => *v = (rng.float() * 2000.0 - 1000.0).round() / 100.0,
        6 => *v = f64::from_bits(rng.next()),
        7 => *v = f64::from_bits(0x7ff0_0000_0000_0000 | rng.next() >> rng.below(64)),
        8 => *v = -*v,
        9 => return (*t, stale_nan()),
        _ => *v = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 5e-324][rng.below(6)],
    }
    (*t, *v)
}

fn rows(columns: &Columns) -> Vec<Row> {
    let starts = &columns.start_timestamps_ms;
    assert!(starts.is_empty() || starts.len() == columns.len());
    let row = |i: usize| {
        let start = starts.get(i).copied().unwrap_or(0);
        (start, columns.timestamps_ms[i], columns.values[i].to_bits())
    };
    (0..columns.len()).map(row).collect()
}

type Decoded = Result<Vec<Row>, ChunkError>;

fn plainly(encoding: Encoding, chunks: &[&[u8]], min_ms: i64, max_ms: i64) -> Decoded {
    let mut columns = Columns::default();
    for chunk in chunks {
        match encoding {
            Encoding::Xor => plain(chunk, min_ms, max_ms, &mut columns)?,
            _ => xor2::plain(chunk, min_ms, max_ms, &mut columns)?,
        }
    }
    if columns.timestamps_ms.is_sorted_by(|a, b| a < b) {
        Ok(rows(&columns))
    } else {
        Err(ChunkError::Corrupt("order"))
    }
}

fn quickly(encoding: Encoding, chunks: &[&[u8]], min_ms: i64, max_ms: i64) -> Decoded {
    let data = |bytes| ChunkData {
        encoding: encoding as u8,
        bytes,
    };
    let chunks: Vec<_> = chunks.iter().copied().map(data).collect();
    let mut columns = Columns::default();
    decode_all(&chunks, min_ms, max_ms, &mut columns).map_err(|(_, e)| e)?;
    Ok(rows(&columns))
}

fn together(encoding: Encoding, chunks: &[&[u8]], columns: &mut Columns) -> Result<(), Odd> {
    match encoding {
        Encoding::Xor => decode_together::<false>(chunks, i64::MIN, i64::MAX, columns),
        _ => decode_together::<true>(chunks, i64::MIN, i64::MAX, columns),
    }
}

#[test]
fn a_single_chunk_is_decoded_like_the_plain_reader_does() {
    for (name, samples) in float_patterns() {
        for encoding in ENCODINGS {
            let start = (samples.len() % 2 == 0).then_some(samples[0].0.saturating_sub(5));
            let chunk = encode(encoding, start, &samples);
            let mut rng = Rng::new(11);
            for _ in 0..10 {
                let mut end = || {
                    samples[rng.below(samples.len())]
                        .0
                        .saturating_add(rng.below(3) as i64 - 1)
                };
                let (a, b) = (end(), end());
                let (min_ms, max_ms) = (a.min(b), a.max(b));
                let want = plainly(encoding, &[&chunk], min_ms, max_ms);
                let mut columns = Columns::default();
                decode(encoding as u8, &chunk, min_ms, max_ms, &mut columns).unwrap();
                assert_eq!(
                    Ok(rows(&columns)),
                    want,
                    "{name} {encoding:?} {min_ms}..={max_ms}"
                );
            }
        }
    }
}

#[test]
fn chunks_in_lock_step_are_decoded_like_the_plain_reader_does() {
    for (seed, encoding) in (0..200).flat_map(|seed| ENCODINGS.map(|encoding| (seed, encoding))) {
        let chunks = dense_chunks(encoding, seed, [120, 0][seed as usize % 2]);
        for count in 2..=LANES {
            let chunks: Vec<&[u8]> = chunks[..count].iter().map(|chunk| &chunk[..]).collect();
            let want = plainly(encoding, &chunks, i64::MIN, i64::MAX);
            let mut columns = Columns::default();
            let done = together(encoding, &chunks, &mut columns);
            let same = done.is_ok() && Ok(rows(&columns)) == want;
            assert!(same, "{encoding:?} {seed} {count}");
            let all = want.unwrap();
            let mut rng = Rng::new(seed);
            let (a, b) = (all[rng.below(all.len())].1, all[rng.below(all.len())].1);
            let (min_ms, max_ms) = (a.min(b), a.max(b) - rng.below(2) as i64);
            let want = plainly(encoding, &chunks, min_ms, max_ms);
            let same = quickly(encoding, &chunks, min_ms, max_ms) == want;
            assert!(same, "{encoding:?} {seed}, cut");
        }
    }
}

#[test]
fn rows_that_were_there_stay_and_start_timestamps_keep_up() {
    for encoding in ENCODINGS {
        let chunks = dense_chunks(encoding, 3, 0);
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
        let mut columns = Columns::default();
        columns.push(5, 1.0);
        columns.set_last_start(3);
        together(encoding, &chunks, &mut columns).unwrap();
        assert_eq!((columns.timestamps_ms[0], columns.start_timestamps_ms[0]), (5, 3));
        assert_eq!(columns.start_timestamps_ms.len(), columns.len());
        let len = columns.len();
        assert_eq!(
            together(encoding, &[chunks[1], chunks[0]], &mut columns),
            Err(Odd)
        );
        assert_eq!(columns.len(), len);
    }
}

#[test]
fn a_chunk_longer_than_the_buffer_is_decoded_in_pieces() {
    let mut longest = 0;
    for (wildness, encoding) in (0..4).flat_map(|wildness| ENCODINGS.map(|encoding| (wildness, encoding))) {
        let mut rng = Rng::new(5);
        let (mut t, mut v) = (0, 0.0);
        let samples: Samples = (0..4_000)
            .map(|_| random_sample(&mut rng, wildness, &mut t, &mut v))
            .collect();
        let chunk = encode(encoding, None, &samples);
        longest = longest.max(chunk.len());
        let want = plainly(encoding, &[&chunk], i64::MIN, i64::MAX);
        let same = quickly(encoding, &[&chunk], i64::MIN, i64::MAX) == want;
        assert!(same, "{encoding:?} {wildness}");
    }
    assert!(longest > BUFFER_BYTES);
    let runs: Samples = (0..65_535).map(|i| (i * 15_000, (i / 1000) as f64)).collect();
    let rows = quickly(
        Encoding::Xor,
        &[&encode(Encoding::Xor, None, &runs)],
        i64::MIN,
        i64::MAX,
    )
    .unwrap();
    assert!(rows.into_iter().map(|(_, t, v)| (t, f64::from_bits(v))).eq(runs));
}

#[test]
fn damage_in_one_lane_is_found_as_by_the_plain_reader() {
    for (seed, encoding) in (0..8).flat_map(|seed| ENCODINGS.map(|encoding| (seed, encoding))) {
        let all = dense_chunks(encoding, seed, 12);
        for count in [1, 2, 4, LANES] {
            let damaged = Rng::new(seed).below(count);
            attack(&all[damaged], |bytes| {
                let mut chunks: Vec<&[u8]> = all[..count].iter().map(|chunk| &chunk[..]).collect();
                chunks[damaged] = bytes;
                let quick = quickly(encoding, &chunks, i64::MIN, i64::MAX);
                let plain = plainly(encoding, &chunks, i64::MIN, i64::MAX);
                let same = quick == plain || quick.is_err() && plain.is_err();
                assert!(same, "{encoding:?} {seed}");
                quick.map(|rows| rows.len() % usize::from(u16::MAX))
            });
        }
    }
}
