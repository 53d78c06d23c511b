//! Random samples against a naive computation that remembers everything.

use std::collections::{BTreeMap, BTreeSet};

use super::store::Bench;

/// Marsaglia's xorshift of 64 bits.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[derive(Clone, Debug)]
struct Sample {
    /// When it came.
    at_ms: i64,
    own_ms: i64,
    pod: u64,
    job: u64,
    value: f64,
}

const INTERVAL_MS: i64 = 10_000;
const STALENESS_MS: i64 = 30_000;

/// What comes out, by time and name, from a list of all samples.
fn naive(samples: &[Sample], end_ms: i64) -> BTreeMap<(i64, String), f64> {
    let mut out = BTreeMap::new();
    for job in 0..3 {
        let mine: Vec<&Sample> = samples.iter().filter(|sample| sample.job == job).collect();
        let mut total = 0.0;
        for flush_ms in (INTERVAL_MS..=end_ms).step_by(INTERVAL_MS as usize) {
            let now: Vec<&&Sample> = mine
                .iter()
                .filter(|s| (flush_ms - INTERVAL_MS..flush_ms).contains(&s.at_ms))
                .collect();
            let newest = mine.iter().filter(|s| s.at_ms < flush_ms).map(|s| s.at_ms).max();
            if newest.is_none_or(|newest| flush_ms > newest + STALENESS_MS) {
                total = 0.0;
                continue;
            }
            let mut tell = |output: &str, value: f64| {
                out.insert(
                    (flush_ms, format!("m:10s_by_job_{output}{{job=\"{job}\"}}")),
                    value,
                );
            };
            let mut rise = 0.0;
            for sample in &now {
                rise += increase(&mine, sample);
            }
            total += rise;
            tell("total_prometheus", total);
            tell("sum_samples", now.iter().map(|s| s.value).sum());
            if now.is_empty() {
                continue;
            }
            tell("increase_prometheus", rise);
            tell("count_samples", now.len() as f64);
            tell(
                "count_series",
                now.iter().map(|s| s.pod).collect::<BTreeSet<_>>().len() as f64,
            );
            tell(
                "unique_samples",
                now.iter()
                    .map(|s| s.value.to_bits())
                    .collect::<BTreeSet<_>>()
                    .len() as f64,
            );
            tell("min", now.iter().map(|s| s.value).fold(f64::INFINITY, f64::min));
            tell(
                "max",
                now.iter().map(|s| s.value).fold(f64::NEG_INFINITY, f64::max),
            );
            let last = now.iter().rev().max_by_key(|s| s.own_ms).map_or(0.0, |s| s.value);
            // Of the same time the later one counts.
            let newest_ms = now.iter().map(|s| s.own_ms).max();
            let last = now
                .iter()
                .rev()
                .find(|s| Some(s.own_ms) == newest_ms)
                .map_or(last, |s| s.value);
            tell("last", last);
        }
    }
    out
}

/// By how much a sample's series has risen with it.
fn increase(all: &[&Sample], sample: &Sample) -> f64 {
    let mut last: Option<(&Sample, i64)> = None;
    for other in all.iter().filter(|other| other.pod == sample.pod) {
        let known = last.filter(|(_, deadline_ms)| *deadline_ms >= other.at_ms);
        let rise = match known {
            Some((before, _)) if other.own_ms < before.own_ms => {
                if std::ptr::eq(*other, sample) {
                    return 0.0;
                }
                continue;
            }
            Some((before, _)) if other.value >= before.value => other.value - before.value,
            Some(_) => other.value,
            None => 0.0,
        };
        if std::ptr::eq(*other, sample) {
            return rise;
        }
        last = Some((other, other.at_ms + STALENESS_MS));
    }
    0.0
}

fn run(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let bench = Bench::new(
        "rules: [{match: m, interval: 10s, staleness_interval: 30s, by: [job], outputs: [total_prometheus, increase_prometheus, \
         sum_samples, count_samples, count_series, unique_samples, min, max, last]}]",
        0,
    );
    let mut samples = Vec::new();
    let mut at_ms = 0;
    for _ in 0..400 {
        at_ms += [1, 200, 700, 2_000, 45_000]
            [[0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4][random.below(20) as usize]];
        let own_ms = at_ms - [0, 0, 0, 500, 9_000][random.below(5) as usize];
        let (pod, value) = (random.below(6), random.below(40) as f64);
        samples.push(Sample {
            at_ms,
            own_ms,
            pod,
            job: pod % 3,
            value,
        });
    }
    for sample in &samples {
        bench.until(sample.at_ms);
        bench.push(
            &format!("m{{job=\"{}\", pod=\"{}\"}}", sample.job, sample.pod),
            sample.own_ms,
            sample.value,
        );
    }
    let end_ms = (at_ms / INTERVAL_MS + 1) * INTERVAL_MS;
    bench.until(end_ms);
    let stored = bench.store.take();
    let got: BTreeMap<(i64, String), f64> = stored
        .into_iter()
        .filter(|stored| !model::sample::is_stale_nan(stored.value))
        .map(|stored| ((stored.timestamp_ms, stored.labels), stored.value))
        .collect();
    let want = naive(&samples, end_ms);
    for (key, value) in &want {
        assert_eq!(got.get(key), Some(value), "seed {seed}: {key:?}");
    }
    assert_eq!(
        got.len(),
        want.len(),
        "seed {seed}: there is more than there should be"
    );
}

/// `NARTHEX_SEED` replays one.
#[test]
fn aggregates_are_those_of_all_samples() {
    match std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        Some(seed) => run(seed),
        None => (0..60).for_each(run),
    }
}
