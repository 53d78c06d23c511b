//! What the chunk tests share: seeded numbers, sample patterns, damage.

use super::ChunkError;

/// A small seeded generator (splitmix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn float(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Series of many shapes, each with a name.
pub(crate) fn float_patterns() -> Vec<(String, Vec<(i64, f64)>)> {
    let stale = model::sample::stale_nan();
    let mut patterns: Vec<(String, Vec<(i64, f64)>)> = vec![
        ("one".into(), vec![(1_700_000_000_000, 1.5)]),
        (
            "negative times".into(),
            (0..40).map(|i| (i * 7 - 140, i as f64)).collect(),
        ),
        (
            "extreme times".into(),
            vec![(i64::MIN, 0.0), (0, 1.0), (1, -1.0), (i64::MAX, f64::MAX)],
        ),
        ("constant".into(), (0..240).map(|i| (i * 15_000, 42.0)).collect()),
        (
            "counter".into(),
            (0..240).map(|i| (i * 15_000, (i * 10) as f64)).collect(),
        ),
        (
            "specials".into(),
            [
                0.0,
                -0.0,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                stale,
                stale,
                f64::MIN_POSITIVE,
                5e-324,
                1.0,
            ]
            .into_iter()
            .enumerate()
            .map(|(i, v)| (i as i64, v))
            .collect(),
        ),
        (
            "every width of time change".into(),
            [
                1,
                2,
                8_191,
                8_192,
                8_193,
                65_535,
                65_536,
                65_537,
                524_287,
                524_288,
                524_289,
                1 << 40,
            ]
            .iter()
            .flat_map(|step: &i64| [*step, 600_000, *step, 1_300_000])
            .scan(0, |t, step| {
                *t += step;
                Some((*t, 1.0))
            })
            .collect(),
        ),
    ];
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let (mut t, mut v) = (1_700_000_000_000 + rng.below(100_000) as i64, 0.0);
        let jitter = [1, 1, 3, 50, 20_000, 3_000_000][rng.below(6)];
        let samples = (0..1 + rng.below(300)).map(|_| {
            t += 1 + rng.below(jitter) as i64 + if rng.below(9) == 0 { 0 } else { 15_000 };
            match (seed + rng.below(4) as u64) % 5 {
                0 => v = rng.float(),
                1 => v += rng.below(100) as f64,
                2 => v = f64::from_bits(rng.next()),
                3 if rng.below(10) == 0 => v = stale,
                _ => {}
            }
            (t, v)
        });
        patterns.push((format!("seed {seed}"), samples.collect()));
    }
    patterns
}

/// Tries a decoder on the chunk cut at every length and with every byte changed; `decode` gives the number of samples.
/// A cut chunk must be refused, since a chunk ends with its last sample.
pub(crate) fn attack(chunk: &[u8], decode: impl Fn(&[u8]) -> Result<usize, ChunkError>) {
    for len in 0..chunk.len() {
        assert!(
            decode(&chunk[..len]).is_err(),
            "cut to {len} of {} bytes",
            chunk.len()
        );
    }
    let mut bytes = chunk.to_vec();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff, 0x10] {
            bytes[at] ^= flip;
            if let Ok(samples) = decode(&bytes) {
                assert!(samples <= usize::from(u16::MAX));
            }
            bytes[at] ^= flip;
        }
    }
}
