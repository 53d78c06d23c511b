//! Histogram chunks: round trips, appending rules, damage.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use model::sample::stale_nan;

use super::layout::{Merge, reduce, spans_of, spread};
use super::read::stale;
use super::*;
use crate::chunk::testing::{Rng, attack};
use crate::chunk::{ChunkFull, decode};

type Sample<K> = (i64, i64, Buckets<<K as Kind>::Bucket, <K as Kind>::Count>);

/// A histogram with these contents of buckets, by index.
fn histogram<K>(positive: &[(i64, f64)], negative: &[(i64, f64)]) -> Buckets<K::Bucket, K::Count>
where
    K: FromFloat,
{
    let side = |buckets: &[(i64, f64)]| {
        let mut before = K::Absolute::default();
        let stored = buckets.iter().map(|(_, n)| {
            let n = K::contents(*n);
            K::stored(std::mem::replace(&mut before, n), n)
        });
        let stored: Vec<_> = stored.collect();
        (spans_of(buckets.iter().map(|(i, _)| *i)), stored)
    };
    let (positive_spans, positive_buckets) = side(positive);
    let (negative_spans, negative_buckets) = side(negative);
    let total: f64 = positive.iter().chain(negative).map(|(_, n)| n).sum();
    Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 1,
        zero_threshold: 2f64.powi(-128),
        zero_count: K::count(2.0),
        count: K::count(total + 2.0),
        sum: total * 1.5,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values: None,
    }
}

trait FromFloat: Kind {
    fn count(n: f64) -> Self::Count;
    fn contents(n: f64) -> Self::Absolute;
}

impl FromFloat for Int {
    fn count(n: f64) -> u64 {
        n as u64
    }
    fn contents(n: f64) -> i64 {
        n as i64
    }
}

impl FromFloat for Float {
    fn count(n: f64) -> f64 {
        n
    }
    fn contents(n: f64) -> f64 {
        n
    }
}

/// Random counter or gauge histograms whose buckets come, go and grow.
fn random<K: FromFloat>(seed: u64) -> Vec<Sample<K>> {
    let mut rng = Rng::new(seed);
    let gauge = seed.is_multiple_of(3);
    let (mut t, mut start) = (1_700_000_000_000, 0);
    let mut sides = [
        std::collections::BTreeMap::new(),
        std::collections::BTreeMap::new(),
    ];
    let bounds: Arc<[f64]> = [0.005, 0.25, 1.0, 33_554.43, 33_554.431, 1e9, 0.000_1].into();
    let mut samples = Vec::new();
    for n in 0..1 + rng.below(60) {
        t += 15_000
            + if rng.below(5) == 0 {
                rng.below(100) as i64
            } else {
                0
            };
        for side in &mut sides {
            for _ in 0..rng.below(3) {
                let range = if rng.below(10) == 0 { 500 } else { 12 };
                let bucket = rng.below(range) as i64 - 4;
                *side.entry(bucket).or_insert(0.0) += rng.below(50) as f64;
            }
            if rng.below(15) == 0 {
                side.clear();
            }
        }
        let [positive, negative] = &sides;
        let list = |side: &std::collections::BTreeMap<i64, f64>| {
            side.iter().map(|(i, n)| (*i, *n)).collect::<Vec<_>>()
        };
        let mut h = histogram::<K>(&list(positive), &list(negative));
        match rng.below(25) {
            0 => h = stale(),
            1 => h.counter_reset_hint = CounterResetHint::Reset,
            2 => h.zero_threshold = 0.001,
            3 => h.schema = rng.below(8) as i32,
            4 => {
                h.schema = CUSTOM_BUCKETS_SCHEMA;
                h.custom_values = Some(bounds.clone());
            }
            _ => {}
        }
        if gauge {
            h.counter_reset_hint = CounterResetHint::Gauge;
        }
        if n > 20 && rng.below(4) == 0 {
            start = t - 10;
        }
        samples.push((start, t, h));
    }
    samples
}

/// Appends all samples; gives the finished chunks.
fn encode<K: Kind>(st: bool, samples: &[Sample<K>]) -> Vec<HistogramAppender<K>> {
    let mut chunks: Vec<HistogramAppender<K>> = Vec::new();
    for (start_ms, t, h) in samples {
        let Some(open) = chunks.last_mut() else {
            chunks.push(HistogramAppender::start(None, st, *start_ms, *t, h));
            continue;
        };
        let before = open.bytes().to_vec();
        match open.append(*start_ms, *t, h).unwrap() {
            Appended::NeedsNewChunk(reset) => {
                assert_eq!(open.bytes(), before, "a refused histogram changes nothing");
                chunks.push(HistogramAppender::start_with(reset, st, *start_ms, *t, h));
            }
            Appended::Added | Appended::Recoded => {}
        }
    }
    chunks
}

/// Contents of the non-empty buckets by index: what must survive any change of layout.
fn contents<K: Kind>(spans: &[Span], buckets: &[K::Bucket]) -> Vec<(i64, K::Absolute)> {
    let all = layout::indexes(spans).zip(layout::absolutes::<K>(buckets.iter().copied()));
    all.filter(|(_, n)| *n != K::Absolute::default()).collect()
}

fn check_round_trip<K: Kind>(seed: u64, st: bool, samples: &[Sample<K>])
where
    K::Count: std::fmt::Debug,
    K::Absolute: std::fmt::Debug,
{
    let mut columns = Columns::default();
    for chunk in encode::<K>(st, samples) {
        decode(
            chunk.encoding() as u8,
            chunk.bytes(),
            i64::MIN,
            i64::MAX,
            &mut columns,
        )
        .unwrap();
        let resumed = HistogramAppender::<K>::resume(chunk.bytes(), st)
            .unwrap()
            .unwrap();
        assert_eq!(resumed.bytes(), chunk.bytes(), "seed {seed}");
        assert_eq!(resumed.samples(), chunk.samples());
    }
    assert_eq!(columns.len(), samples.len(), "seed {seed}");
    for (i, (start_ms, t, want)) in samples.iter().enumerate() {
        assert_eq!(columns.timestamps_ms[i], *t, "seed {seed}");
        let start = columns.start_timestamps_ms.get(i).copied().unwrap_or(0);
        assert_eq!(start, if st { *start_ms } else { 0 }, "seed {seed} sample {i}");
        let got = K::of(&columns.histograms[i].1).expect("of the same kind");
        assert_eq!(got.sum.to_bits(), want.sum.to_bits(), "seed {seed} sample {i}");
        assert_eq!((got.count, got.zero_count), (want.count, want.zero_count));
        assert_eq!(got.custom_values, want.custom_values);
        if !model::sample::is_stale_nan(got.sum) {
            assert_eq!(
                (got.schema, got.zero_threshold),
                (want.schema, want.zero_threshold)
            );
        }
        let sides = |h: &Buckets<K::Bucket, K::Count>| {
            (
                contents::<K>(&h.positive_spans, &h.positive_buckets),
                contents::<K>(&h.negative_spans, &h.negative_buckets),
            )
        };
        assert_eq!(sides(got), sides(want), "seed {seed} sample {i}");
        if want.counter_reset_hint == CounterResetHint::Reset {
            assert_eq!(
                got.counter_reset_hint,
                CounterResetHint::Unknown,
                "a reset starts a chunk"
            );
        }
    }
}

#[test]
fn random_histograms_come_back() {
    for seed in 0..60 {
        for st in [false, true] {
            check_round_trip::<Int>(seed, st, &random::<Int>(seed));
            check_round_trip::<Float>(seed, st, &random::<Float>(seed));
        }
    }
}

#[test]
fn appending_goes_on_after_a_restart() {
    for seed in 0..20 {
        let samples = random::<Int>(seed);
        let whole = encode::<Int>(true, &samples).remove(0);
        let samples = &samples[..usize::from(whole.samples())];
        let (before, after) = samples.split_at(samples.len().div_ceil(2));
        let half = encode::<Int>(true, before).remove(0);
        let mut resumed = HistogramAppender::<Int>::resume(half.bytes(), true)
            .unwrap()
            .unwrap();
        for (start_ms, t, h) in after {
            assert!(!matches!(
                resumed.append(*start_ms, *t, h).unwrap(),
                Appended::NeedsNewChunk(_)
            ));
        }
        assert_eq!(resumed.bytes(), whole.bytes(), "seed {seed}");
    }
}

#[test]
fn damage_never_panics() {
    for seed in 0..12 {
        for st in [false, true] {
            for chunk in encode::<Int>(st, &random::<Int>(seed)).iter().take(2) {
                attack_chunk(chunk.encoding(), &chunk.bytes()[..chunk.bytes().len().min(600)]);
            }
            for chunk in encode::<Float>(st, &random::<Float>(seed)).iter().take(2) {
                attack_chunk(chunk.encoding(), &chunk.bytes()[..chunk.bytes().len().min(600)]);
            }
        }
    }
}

fn attack_chunk(encoding: Encoding, bytes: &[u8]) {
    attack(bytes, |bytes| {
        let st = matches!(encoding, Encoding::HistogramSt | Encoding::FloatHistogramSt);
        let _ = HistogramAppender::<Int>::resume(bytes, st);
        let _ = HistogramAppender::<Float>::resume(bytes, st);
        let mut columns = Columns::default();
        decode(encoding as u8, bytes, i64::MIN, i64::MAX, &mut columns).map(|()| columns.len())
    });
}

/// What a second histogram does to a chunk that begins with `first`.
fn second<K: FromFloat>(
    first: &Buckets<K::Bucket, K::Count>,
    next: &Buckets<K::Bucket, K::Count>,
) -> (Appended, CounterReset) {
    let mut chunk = HistogramAppender::<K>::start(None, false, 0, 0, first);
    let appended = chunk.append(0, 1, next).unwrap();
    let header = HistogramAppender::<K>::start(Some(&chunk_of(first)), false, 0, 1, next).counter_reset();
    (appended, header)
}

fn chunk_of<K: Kind>(h: &Buckets<K::Bucket, K::Count>) -> HistogramAppender<K> {
    HistogramAppender::start(None, false, 0, 0, h)
}

#[test]
fn when_a_counter_needs_a_new_chunk() {
    use Appended::{Added, NeedsNewChunk, Recoded};
    use CounterReset::{NotReset, Reset, Unknown};
    let base = histogram::<Int>(&[(0, 4.0), (1, 0.0), (3, 2.0)], &[]);
    let with = |change: &dyn Fn(&mut Buckets<i64, u64>)| {
        let mut h = histogram::<Int>(&[(0, 5.0), (1, 1.0), (3, 2.0)], &[]);
        change(&mut h);
        second::<Int>(&base, &h)
    };
    assert_eq!(with(&|_| {}), (Added, NotReset));
    assert_eq!(with(&|h| h.count = 1), (NeedsNewChunk(Reset), Reset));
    assert_eq!(with(&|h| h.zero_count = 1), (NeedsNewChunk(Reset), Reset));
    assert_eq!(with(&|h| h.schema = 2), (NeedsNewChunk(Unknown), Unknown));
    assert_eq!(
        with(&|h| h.zero_threshold = 0.5),
        (NeedsNewChunk(Unknown), Unknown)
    );
    assert_eq!(with(&|h| h.sum = stale_nan()), (Added, NotReset));
    assert_eq!(
        with(&|h| h.counter_reset_hint = CounterResetHint::Reset),
        (NeedsNewChunk(Reset), Reset)
    );
    let gauge = CounterReset::Gauge;
    assert_eq!(
        with(&|h| h.counter_reset_hint = CounterResetHint::Gauge),
        (NeedsNewChunk(gauge), gauge)
    );
    // A bucket more; one that was empty gone; both; one that held something gone; one that shrank.
    let more = histogram::<Int>(&[(0, 4.0), (1, 0.0), (2, 9.0), (3, 2.0)], &[(7, 1.0)]);
    assert_eq!(second::<Int>(&base, &more), (Recoded, NotReset));
    let fewer = histogram::<Int>(&[(0, 4.0), (3, 9.0)], &[]);
    assert_eq!(second::<Int>(&base, &fewer), (Added, NotReset));
    let other = histogram::<Int>(&[(0, 4.0), (3, 9.0), (4, 1.0)], &[]);
    assert_eq!(second::<Int>(&base, &other), (Recoded, NotReset));
    let gone = histogram::<Int>(&[(0, 40.0)], &[]);
    assert_eq!(second::<Int>(&base, &gone), (NeedsNewChunk(Reset), Reset));
    let shrunk = histogram::<Int>(&[(0, 3.0), (3, 50.0)], &[]);
    assert_eq!(second::<Int>(&base, &shrunk), (NeedsNewChunk(Reset), Reset));
    // Behind a staleness marker only markers.
    assert_eq!(second::<Int>(&stale(), &base), (NeedsNewChunk(Unknown), Unknown));
    // A counter behind a gauge; for floats the reference knows less and claims more.
    let mut gauge = base.clone();
    gauge.counter_reset_hint = CounterResetHint::Gauge;
    assert_eq!(second::<Int>(&gauge, &base), (NeedsNewChunk(NotReset), NotReset));
    let float = histogram::<Float>(&[(0, 4.0)], &[]);
    let mut finer = float.clone();
    finer.schema = 2;
    assert_eq!(
        second::<Float>(&float, &finer),
        (NeedsNewChunk(Unknown), NotReset)
    );
}

#[test]
fn gauges_take_any_bucket() {
    let gauge = |buckets: &[(i64, f64)]| {
        let mut h = histogram::<Float>(buckets, &[]);
        h.counter_reset_hint = CounterResetHint::Gauge;
        h
    };
    let base = gauge(&[(0, 4.0), (5, 1.0)]);
    assert_eq!(
        second::<Float>(&base, &gauge(&[(0, 1.0), (5, 0.5)])).0,
        Appended::Added
    );
    assert_eq!(second::<Float>(&base, &gauge(&[(5, 1.0)])).0, Appended::Added);
    assert_eq!(
        second::<Float>(&base, &gauge(&[(0, 1.0), (6, 0.5)])).0,
        Appended::Recoded
    );
}

#[test]
fn layouts_merge_and_spread() {
    let spans = |list: &[i64]| spans_of(list.iter().copied());
    assert_eq!(
        spans(&[-3, -2, 0, 1, 9]),
        [(-3, 2), (1, 2), (7, 1)].map(|(offset, length)| Span { offset, length })
    );
    let merge = Merge::of_layouts(&spans(&[1, 4]), &spans(&[0, 4, 5]));
    assert!(merge.chunk_grows && merge.histogram_grows);
    assert_eq!(merge.spans(), spans(&[0, 1, 4, 5]));
    // Contents 6, 3, 3 in 0, 1, 4 become 6, 3, 0, 3, 0.
    let wide = spread::<Int>(&spans(&[0, 1, 4]), &[6, -3, 0], &spans(&[0, 1, 2, 4, 5]));
    assert_eq!(wide, [6, -3, -3, 3, -3]);
    // Schema 10 to 8: four buckets become one.
    let (reduced, buckets) = reduce::<Float>(10, 8, &spans(&[1, 2, 3, 4, 5]), &[1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!((reduced, buckets), (spans(&[1, 2]), vec![10.0, 5.0]));
}

#[test]
fn bytes_are_those_of_the_format() {
    // As documented in tsdb/docs/chunks.md.
    let first = histogram::<Int>(&[(0, 1.0), (1, 3.0)], &[]);
    let next = histogram::<Int>(&[(0, 2.0), (1, 5.0)], &[]);
    let mut chunk = HistogramAppender::<Int>::start(None, false, 0, 1000, &first);
    chunk.append(0, 16_000, &next).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(
        hex(chunk.bytes()),
        "000200748c6478fa2d240180000000000008cbe0ea626d437b1880"
    );
}

#[test]
fn sample_counts_do_not_run_into_the_header() {
    let h = histogram::<Float>(&[], &[]);
    let mut chunk = HistogramAppender::<Float>::start_with(CounterReset::Gauge, true, 0, 0, &h);
    let mut gauge = h;
    gauge.counter_reset_hint = CounterResetHint::Gauge;
    for t in 1..0x3fff {
        chunk.append(0, t, &gauge).unwrap();
    }
    assert_eq!(chunk.append(0, 0x3fff, &gauge), Err(ChunkFull::Samples));
    assert_eq!(
        CounterReset::of_chunk(chunk.encoding(), chunk.bytes()),
        Ok(CounterReset::Gauge)
    );
}
