//! Histograms against plain maps from bucket index to count.

use std::collections::BTreeMap;

use super::super::bounds::exponential_bound;
use super::super::layout::coarser_index;
use super::*;

/// Index and count of the populated buckets of a side.
type Cells = BTreeMap<i32, f64>;

fn cells(spans: &[Span], buckets: &[f64]) -> Cells {
    let mut cells = Cells::new();
    let mut buckets = buckets.iter();
    let mut index = 0;
    for span in spans {
        index += span.offset;
        for _ in 0..span.length {
            *cells.entry(index).or_default() += buckets.next().expect("as many buckets as the spans say");
            index += 1;
        }
    }
    cells
}

/// A histogram as maps.
#[derive(Clone, Debug)]
struct Model {
    schema: i32,
    threshold: f64,
    zero: f64,
    sides: [Cells; 2],
}

impl Model {
    fn of(histogram: &FloatHistogram) -> Self {
        Model {
            schema: histogram.schema,
            threshold: histogram.zero_threshold,
            zero: histogram.zero_count,
            sides: [
                cells(&histogram.positive_spans, &histogram.positive_buckets),
                cells(&histogram.negative_spans, &histogram.negative_buckets),
            ],
        }
    }

    /// The far end of a populated bucket that `threshold` divides.
    fn divided_at(&self, threshold: f64) -> Option<f64> {
        let divided = |index: i32| {
            let (near, far) = (
                exponential_bound(index - 1, self.schema),
                exponential_bound(index, self.schema),
            );
            (near < threshold && threshold < far).then_some(far)
        };
        let populated = self.sides.iter().flatten().filter(|(_, count)| **count != 0.0);
        populated
            .filter_map(|(index, _)| divided(*index))
            .reduce(f64::max)
    }

    /// Moves what lies within `threshold` to the zero bucket.
    fn widen(&mut self, threshold: f64) {
        let schema = self.schema;
        if threshold > self.threshold {
            for side in &mut self.sides {
                side.retain(|index, count| {
                    let inside = exponential_bound(*index, schema) <= threshold;
                    if inside {
                        self.zero += *count;
                    }
                    !inside
                });
            }
            self.threshold = threshold;
        }
    }

    fn coarsen(&mut self, schema: i32) {
        for side in &mut self.sides {
            let mut coarse = Cells::new();
            for (index, count) in &*side {
                *coarse
                    .entry(coarser_index(*index, self.schema, schema))
                    .or_default() += count;
            }
            *side = coarse;
        }
        self.schema = schema;
    }

    fn add(mut self, mut other: Model, sign: f64) -> Self {
        let mut threshold = self.threshold.max(other.threshold);
        while let Some(moved) = [&self, &other]
            .iter()
            // A histogram's own zero bucket may end inside one of its buckets; only a wider one may not.
            .filter(|model| threshold > model.threshold)
            .find_map(|model| model.divided_at(threshold))
        {
            threshold = moved;
        }
        self.widen(threshold);
        other.widen(threshold);
        let schema = self.schema.min(other.schema);
        self.coarsen(schema);
        other.coarsen(schema);
        self.zero += sign * other.zero;
        for (mine, others) in self.sides.iter_mut().zip(other.sides) {
            for (index, count) in others {
                *mine.entry(index).or_default() += sign * count;
            }
        }
        self
    }

    fn populated(mut self) -> Self {
        for side in &mut self.sides {
            side.retain(|_, count| *count != 0.0);
        }
        self
    }
}

fn check_same(seed: u64, got: &FloatHistogram, want: Model) {
    let (got, want) = (Model::of(got).populated(), want.populated());
    assert_eq!(
        (got.schema, got.threshold, got.zero, &got.sides),
        (want.schema, want.threshold, want.zero, &want.sides),
        "NARTHEX_SEED={seed}"
    );
}

#[test]
fn sums_and_differences_agree_with_maps() {
    for seed in seeds(4000) {
        let mut rng = Rng(seed);
        let (a, b) = (random_histogram(&mut rng), random_histogram(&mut rng));
        // Whether buckets within a histogram's own zero bucket count is not defined.
        let sound = |h: &FloatHistogram| h.starts_outside_zero();
        if !sound(&a) || !sound(&b) {
            continue;
        }
        let mut sum = a.clone();
        sum.add(&b).expect("both exponential");
        check_same(seed, &sum, Model::of(&a).add(Model::of(&b), 1.0));
        assert_eq!(
            (sum.count, sum.sum),
            (a.count + b.count, a.sum + b.sum),
            "NARTHEX_SEED={seed}"
        );
        let mut difference = a.clone();
        difference.sub(&b).expect("both exponential");
        check_same(seed, &difference, Model::of(&a).add(Model::of(&b), -1.0));

        let c = random_histogram(&mut rng);
        if sound(&c) {
            let mut total = HistogramSum::new(&a);
            total.add(&b).expect("both exponential");
            total.add(&c).expect("both exponential");
            sum.add(&c).expect("both exponential");
            check_same(seed, &total.finish(), Model::of(&sum));
            let mut mean = HistogramMean::new(&a);
            mean.add(&b).expect("both exponential");
            mean.add(&c).expect("both exponential");
            sum.div(3.0);
            check_same(seed, &mean.finish(), Model::of(&sum));
        }
    }
}

#[test]
fn compaction_keeps_every_populated_bucket() {
    for seed in seeds(2000) {
        let mut rng = Rng(seed);
        let histogram = random_histogram(&mut rng);
        for max_empty in [0, 1, 3, usize::MAX] {
            let mut compact = histogram.clone();
            compact.compact(max_empty);
            check_same(seed, &compact, Model::of(&histogram));
            let gaps: Vec<_> = compact
                .positive_spans
                .iter()
                .skip(1)
                .map(|span| span.offset as usize)
                .collect();
            assert!(
                gaps.iter().all(|gap| *gap > max_empty),
                "NARTHEX_SEED={seed}: {compact:?}"
            );
            assert!(
                compact.positive_buckets.first() != Some(&0.0)
                    && compact.positive_buckets.last() != Some(&0.0)
            );
            let longest = compact
                .positive_buckets
                .split(|count| *count != 0.0)
                .map(<[f64]>::len)
                .max();
            assert!(
                longest.unwrap_or(0) <= max_empty,
                "NARTHEX_SEED={seed}: {compact:?}"
            );
            let whole = as_int(&histogram);
            let mut whole_compact = whole.clone();
            whole_compact.compact(max_empty);
            assert_eq!(whole_compact.to_float(), compact, "NARTHEX_SEED={seed}");
        }
    }
}

#[test]
fn coarser_schemas_agree_with_maps() {
    for seed in seeds(1000) {
        let histogram = random_histogram(&mut Rng(seed));
        let mut coarse = histogram.clone();
        let target = histogram.schema - 1;
        coarse.reduce_resolution(target).expect("a coarser one");
        let mut want = Model::of(&histogram);
        want.coarsen(target);
        check_same(seed, &coarse, want);
        let mut whole = as_int(&histogram);
        whole.reduce_resolution(target).expect("a coarser one");
        assert_eq!(whole.to_float(), coarse, "NARTHEX_SEED={seed}");
        assert_eq!(
            coarse.reduce_resolution(target),
            Err(ReduceError::NotCoarser {
                from: target,
                to: target
            })
        );
    }
}
