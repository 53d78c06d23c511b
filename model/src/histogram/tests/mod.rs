//! Tables of single cases, and what has to hold for every histogram.

use std::sync::Arc;

use super::*;

mod maps;

/// splitmix64
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let fixed = std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    fixed.map_or(0..count, |seed: u64| seed..seed + 1)
}

fn empty(schema: i32) -> FloatHistogram {
    FloatHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 0.0,
        sum: 0.0,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        positive_buckets: Vec::new(),
        negative_buckets: Vec::new(),
        custom_values: None,
    }
}

fn custom(bounds: &[f64], first: i32, buckets: &[f64]) -> FloatHistogram {
    FloatHistogram {
        count: buckets.iter().sum(),
        positive_spans: spans(&[(first, buckets.len() as u32)]),
        positive_buckets: buckets.to_vec(),
        custom_values: Some(Arc::from(bounds)),
        ..empty(CUSTOM_BUCKETS_SCHEMA)
    }
}

fn spans(list: &[(i32, u32)]) -> Vec<Span> {
    list.iter()
        .map(|(offset, length)| Span {
            offset: *offset,
            length: *length,
        })
        .collect()
}

/// Spans and buckets of one side; some buckets are empty, some spans have no length.
fn random_side(rng: &mut Rng, schema: i32) -> (Vec<Span>, Vec<f64>) {
    let width = 1_i64 << (schema.max(0) + 2);
    let mut spans = Vec::new();
    let mut buckets = Vec::new();
    for i in 0..rng.below(4) {
        let offset = if i == 0 {
            rng.below(2 * width as u64) as i64 - width
        } else {
            rng.below(5) as i64
        };
        let length = rng.below(4) as u32;
        spans.push(Span {
            offset: offset as i32,
            length,
        });
        buckets.extend((0..length).map(|_| rng.below(5) as f64));
    }
    (spans, buckets)
}

fn random_histogram(rng: &mut Rng) -> FloatHistogram {
    let schema = [-4, -1, 0, 1, 2, 3, 8][rng.below(7) as usize];
    let zero_threshold = [0.0, 0.001, 0.25, 1.0, 1.3][rng.below(5) as usize];
    let (positive_spans, positive_buckets) = random_side(rng, schema);
    let (negative_spans, negative_buckets) = random_side(rng, schema);
    let zero_count = rng.below(4) as f64;
    let mut histogram = FloatHistogram {
        zero_threshold,
        zero_count,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        sum: rng.below(100) as f64,
        ..empty(schema)
    };
    let buckets = histogram
        .positive_buckets
        .iter()
        .chain(&histogram.negative_buckets);
    histogram.count = zero_count + buckets.sum::<f64>();
    histogram
}

fn as_int(histogram: &FloatHistogram) -> IntHistogram {
    let deltas = |counts: &[f64]| {
        let whole: Vec<i64> = counts.iter().map(|count| *count as i64).collect();
        super::layout::deltas(&whole)
    };
    IntHistogram {
        counter_reset_hint: histogram.counter_reset_hint,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count as u64,
        count: histogram.count as u64,
        sum: histogram.sum,
        positive_spans: histogram.positive_spans.clone(),
        negative_spans: histogram.negative_spans.clone(),
        positive_buckets: deltas(&histogram.positive_buckets),
        negative_buckets: deltas(&histogram.negative_buckets),
        custom_values: histogram.custom_values.clone(),
    }
}

#[test]
fn buckets_are_the_same_in_both_directions() {
    for seed in seeds(1000) {
        let histogram = random_histogram(&mut Rng(seed));
        let up: Vec<Bucket> = histogram.buckets().collect();
        let mut down: Vec<Bucket> = histogram.buckets().rev().collect();
        down.reverse();
        assert_eq!(up, down, "NARTHEX_SEED={seed}");
        let mut ends = Vec::new();
        let mut buckets = histogram.buckets();
        while let Some(bucket) = buckets.next() {
            ends.push(bucket);
            ends.extend(buckets.next_back());
        }
        assert_eq!(ends.len(), up.len(), "NARTHEX_SEED={seed}");
        if histogram.starts_outside_zero() {
            assert!(
                up.is_sorted_by(|a, b| a.upper <= b.lower),
                "NARTHEX_SEED={seed}: {up:?}"
            );
        }
    }
}

#[test]
fn broken_spans_do_no_harm() {
    for (list, buckets) in [
        (spans(&[(1, 5)]), vec![1.0]),
        (spans(&[(1, 1)]), vec![1.0, 2.0, 3.0]),
        (spans(&[]), vec![1.0]),
        (spans(&[(i32::MAX, 2), (-7, 1), (0, 0)]), vec![1.0, 2.0]),
        (spans(&[(0, u32::MAX), (1, u32::MAX)]), vec![1.0, 2.0]),
    ] {
        let mut broken = FloatHistogram {
            positive_spans: list.clone(),
            positive_buckets: buckets.clone(),
            negative_spans: list,
            negative_buckets: buckets,
            ..empty(3)
        };
        assert!(broken.validate().is_err());
        assert!(broken.buckets().count() <= 6 && broken.buckets().rev().count() <= 6);
        let other = broken.clone();
        broken.add(&other).expect("both exponential");
        assert!(!broken.detect_reset(&empty(3)));
        broken.compact(0);
        broken.trim(2.0, Keep::Below);
        let _ = broken.to_string();
    }
}

#[test]
fn custom_bounds_are_cut_down_to_those_in_common() {
    let mut sum = custom(&[1.0, 2.0, 5.0], 0, &[1.0, 2.0, 3.0, 4.0]);
    let combined = sum
        .add(&custom(&[2.0, 3.0, 5.0], 1, &[10.0, 20.0]))
        .expect("both custom");
    assert!(combined.bounds_reconciled && !combined.resets_collide);
    assert_eq!(sum.bounds(), [2.0, 5.0]);
    assert_eq!(sum.positive_buckets, [3.0, 33.0, 4.0]);
    let mut total = HistogramSum::new(&custom(&[1.0, 2.0, 5.0], 0, &[1.0, 2.0, 3.0, 4.0]));
    total
        .add(&custom(&[2.0, 3.0, 5.0], 1, &[10.0, 20.0]))
        .expect("both custom");
    assert_eq!(total.finish(), sum);

    let mut apart = custom(&[1.0], 0, &[1.0]);
    apart.sub(&custom(&[2.0], 0, &[3.0])).expect("both custom");
    assert_eq!(
        (apart.bounds(), apart.positive_buckets.as_slice()),
        (&[][..], &[-2.0][..])
    );

    assert_eq!(sum.add(&empty(0)), Err(IncompatibleSchemas));
}

#[test]
fn hints_combine() {
    use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
    for (left, right, hint, collide) in [
        (Unknown, Unknown, Unknown, false),
        (Reset, Reset, Reset, false),
        (NotReset, Unknown, Unknown, false),
        (Unknown, Reset, Unknown, false),
        (Gauge, Reset, Gauge, false),
        (NotReset, Gauge, Gauge, false),
        (Reset, NotReset, Unknown, true),
        (NotReset, Reset, Unknown, true),
    ] {
        let mut sum = FloatHistogram {
            counter_reset_hint: left,
            ..empty(0)
        };
        let combined = sum
            .add(&FloatHistogram {
                counter_reset_hint: right,
                ..empty(0)
            })
            .expect("both exponential");
        assert_eq!(
            (sum.counter_reset_hint, combined.resets_collide),
            (hint, collide),
            "{left:?} {right:?}"
        );
    }
}

#[test]
fn resets_are_detected() {
    let base = FloatHistogram {
        zero_threshold: 0.25,
        zero_count: 2.0,
        count: 9.0,
        positive_spans: spans(&[(0, 2), (2, 1)]),
        positive_buckets: vec![3.0, 0.0, 4.0],
        ..empty(1)
    };
    let with = |change: &dyn Fn(&mut FloatHistogram)| {
        let mut changed = base.clone();
        changed.count = 10.0;
        change(&mut changed);
        changed.detect_reset(&base)
    };
    assert!(!with(&|_| {}));
    assert!(with(&|h| h.count = 8.0), "count");
    assert!(with(&|h| h.zero_count = 1.0), "zero count");
    assert!(with(&|h| h.positive_buckets[2] = 3.0), "bucket");
    assert!(
        with(&|h| h.positive_spans[1].offset = 3),
        "a populated bucket is gone"
    );
    assert!(with(&|h| h.zero_threshold = 0.125), "narrower zero bucket");
    assert!(with(&|h| h.schema = 2), "finer schema");
    assert!(with(&|h| h.counter_reset_hint = CounterResetHint::Reset), "hint");
    assert!(!with(&|h| {
        h.counter_reset_hint = CounterResetHint::NotReset;
        h.count = 1.0;
    }));
    // The zero bucket has grown over bucket 0, (2^-0.5, 1]: its 3 have to be in there.
    let grown = |zero_count: f64, threshold: f64| {
        with(&|h| {
            (h.zero_count, h.zero_threshold) = (zero_count, threshold);
            h.positive_spans = spans(&[(4, 1)]);
            h.positive_buckets = vec![4.0];
        })
    };
    assert!(!grown(5.0, 1.0) && grown(4.0, 1.0) && grown(5.0, 0.9));
    // Half the resolution: buckets 0 (3) and 4 (4) become 0 and 2.
    let coarser = |buckets: Vec<f64>| {
        with(&|h| {
            h.schema = 0;
            h.positive_spans = spans(&[(0, 1), (1, 1)]);
            h.positive_buckets.clone_from(&buckets);
        })
    };
    assert!(!coarser(vec![3.0, 4.0]) && coarser(vec![3.0, 3.0]));
    let nhcb = custom(&[1.0, 2.0, 5.0], 0, &[1.0, 2.0, 3.0]);
    assert!(
        nhcb.detect_reset(&FloatHistogram {
            count: 0.0,
            ..empty(0)
        }),
        "from exponential to custom"
    );
    assert!(
        FloatHistogram {
            count: 99.0,
            ..empty(0)
        }
        .detect_reset(&nhcb),
        "from custom to exponential"
    );
    assert!(
        !nhcb.detect_reset(&custom(&[2.0, 5.0], 0, &[3.0, 3.0])),
        "nothing less between common bounds"
    );
    assert!(
        nhcb.detect_reset(&custom(&[2.0, 5.0], 0, &[4.0, 2.0])),
        "less below 2"
    );
}

#[test]
fn equality_is_of_data() {
    let a = FloatHistogram {
        positive_spans: spans(&[(1, 0), (2, 1)]),
        positive_buckets: vec![1.0],
        ..empty(0)
    };
    let mut b = FloatHistogram {
        positive_spans: spans(&[(3, 1), (5, 0)]),
        ..a.clone()
    };
    b.counter_reset_hint = CounterResetHint::Gauge;
    assert!(a.same_data(&b));
    b.sum = -0.0;
    assert!(!a.same_data(&b), "bit for bit");
    b.sum = 0.0;
    b.positive_spans[0].offset = 4;
    assert!(!a.same_data(&b));
}

#[test]
fn trimmed_halves_make_a_whole() {
    for seed in seeds(1000) {
        let mut rng = Rng(seed);
        let histogram = random_histogram(&mut rng);
        let value = [0.0, 0.1, 1.0, -3.3, 2.7, -0.6][rng.below(6) as usize];
        let (mut below, mut above) = (histogram.clone(), histogram.clone());
        below.trim(value, Keep::Below);
        above.trim(value, Keep::Above);
        let total = below.count + above.count;
        // Buckets that overlap the zero bucket are cut nowhere else either.
        assert!(
            (total - histogram.count).abs() < 1e-9 * (1.0 + total),
            "NARTHEX_SEED={seed}: {histogram} at {value}"
        );
        let is_above = |bucket: Bucket| bucket.upper >= value || bucket.count == 0.0;
        assert!(
            !histogram.starts_outside_zero() || above.buckets().all(is_above),
            "NARTHEX_SEED={seed}"
        );
    }
}

#[test]
fn texts() {
    let histogram = FloatHistogram {
        zero_threshold: 0.001,
        zero_count: 2.5,
        count: 1e6,
        sum: 18.4,
        counter_reset_hint: CounterResetHint::Gauge,
        positive_spans: spans(&[(0, 2), (1, 1)]),
        positive_buckets: vec![1.0, 0.0, 4.0],
        negative_spans: spans(&[(-1, 1)]),
        negative_buckets: vec![3.0],
        ..empty(1)
    };
    assert_eq!(
        histogram.to_string(),
        "{count:1e+06, sum:18.4, [-0.7071067811865475,-0.5):3, [-0.001,0.001]:2.5, (0.7071067811865475,1]:1, (2,2.82842712474619]:4}"
    );
    assert_eq!(
        histogram.test_expression(),
        "{{schema:1 count:1e+06 sum:18.4 z_bucket:2.5 z_bucket_w:0.001 counter_reset_hint:gauge buckets:[1 0 0 4] n_offset:-1 n_buckets:[3]}}"
    );
    let codes: Vec<u8> = histogram.buckets().map(|bucket| bucket.boundaries()).collect();
    assert_eq!(codes, [1, 3, 0, 0, 0]);
    let nhcb = custom(&[-2.0, 5.0], 0, &[1.0, 2.0, 3.0]);
    assert_eq!(
        nhcb.to_string(),
        "{count:6, sum:0, [-Inf,-2]:1, (-2,5]:2, (5,+Inf]:3}"
    );
    assert_eq!(
        nhcb.test_expression(),
        "{{schema:-53 count:6 custom_values:[-2 5] buckets:[1 2 3]}}"
    );
    let whole = IntHistogram {
        count: 12_345_678,
        ..as_int(&histogram)
    };
    assert!(
        whole
            .to_string()
            .starts_with("{count:12345678, sum:18.4, [-0.707")
    );
}

#[test]
fn contradictions_are_refused() {
    let sound = FloatHistogram {
        positive_spans: spans(&[(0, 1)]),
        positive_buckets: vec![1.0],
        ..empty(0)
    };
    let refusal = |change: &dyn Fn(&mut FloatHistogram)| {
        let mut changed = sound.clone();
        change(&mut changed);
        changed
            .validate()
            .map_err(|e| e.to_string())
            .expect_err("contradicts itself")
    };
    assert_eq!(sound.validate(), Ok(()));
    assert_eq!(
        refusal(&|h| h.positive_spans = spans(&[(0, 1), (-2, 1)])),
        "positive side: span number 2 with offset -2: histogram has a span whose offset is negative"
    );
    assert_eq!(
        refusal(&|h| h.negative_spans = spans(&[(0, 2)])),
        "negative side: spans need 2 buckets, have 0 buckets: histogram spans specify different number of buckets than provided"
    );
    assert_eq!(
        refusal(&|h| h.positive_buckets[0] = -0.5),
        "positive side: bucket number 1 has observation count of -0.5: histogram has a bucket whose observation count is negative"
    );
    assert_eq!(
        refusal(&|h| h.zero_count = -1.0),
        "zero bucket has observation count of -1: histogram has a bucket whose observation count is negative"
    );
    assert_eq!(
        refusal(&|h| h.count = -1.0),
        "observation count is  -1: histogram's observation count is negative"
    );
    assert_eq!(
        refusal(&|h| h.schema = 9),
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema 9"
    );
    assert_eq!(
        refusal(&|h| h.custom_values = Some(Arc::from([]))),
        "histogram with exponential schema must not have custom bounds"
    );
    for (bounds, buckets, text) in [
        (
            &[1.0, f64::NAN][..],
            1,
            "custom buckets: histogram custom bounds must not be NaN",
        ),
        (
            &[2.0, 1.0],
            1,
            "custom buckets: previous bound is 2.000000 and current is 1.000000: histogram custom bounds must be in strictly increasing order",
        ),
        (
            &[2.0, f64::INFINITY],
            1,
            "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be finite",
        ),
        (
            &[2.0],
            3,
            "custom buckets: only 1 custom bounds defined which is insufficient to cover total span length of 3: histogram custom bounds are too few",
        ),
    ] {
        let refused = custom(bounds, 0, &vec![1.0; buckets])
            .validate()
            .expect_err("contradicts itself");
        assert_eq!(refused.to_string(), text);
    }
    let mut whole = as_int(&FloatHistogram {
        count: 1.0,
        ..sound.clone()
    });
    assert_eq!(whole.validate(), Ok(()));
    whole.count = 2;
    assert_eq!(
        whole.validate(),
        Err(HistogramError::CountMismatch {
            in_buckets: 1,
            count: 2
        })
    );
    whole.sum = f64::NAN;
    assert_eq!(whole.validate(), Ok(()));
    whole.count = 0;
    assert_eq!(
        whole.validate(),
        Err(HistogramError::CountTooSmall {
            in_buckets: 1,
            count: 0
        })
    );
}

#[test]
fn means_survive_overflow() {
    let huge = FloatHistogram {
        count: f64::MAX,
        sum: 1.0,
        ..empty(0)
    };
    let mut mean = HistogramMean::new(&huge);
    for _ in 0..3 {
        mean.add(&huge).expect("both exponential");
    }
    let mean = mean.finish();
    assert!(
        (mean.count / f64::MAX - 1.0).abs() < 1e-12 && (mean.sum - 1.0).abs() < 1e-12,
        "{mean}"
    );
}

#[test]
fn division_by_zero_drops_the_buckets() {
    let mut histogram = custom(&[1.0], 0, &[1.0]);
    histogram.div(0.0);
    assert!(histogram.positive_buckets.is_empty() && histogram.positive_spans.is_empty());
    assert_eq!(histogram.count, f64::INFINITY);
    histogram.div(-1.0);
    assert_eq!(histogram.counter_reset_hint, CounterResetHint::Gauge);
}
