//! Counters, gauges and histograms: atomics behind cheap handles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A float that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct AtomicFloat(AtomicU64);

impl AtomicFloat {
    pub(crate) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn add(&self, delta: f64) {
        let sum = |bits| Some((f64::from_bits(bits) + delta).to_bits());
        // Never refuses: the closure always gives a value.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
    }
}

/// Only goes up. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<CounterCells>);

/// Whole numbers, nearly all there are, take one atomic addition; the rest goes to the float.
#[derive(Debug, Default)]
struct CounterCells {
    whole: AtomicU64,
    rest: AtomicFloat,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add_count(1);
    }

    /// Adds a whole number.
    pub fn add_count(&self, count: u64) {
        self.0.whole.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds `delta`; what is negative or not a number is left out, because a counter never goes down.
    pub fn add(&self, delta: f64) {
        if delta >= 0.0 {
            self.0.rest.add(delta);
        }
    }

    /// What has been counted.
    pub fn get(&self) -> f64 {
        self.0.whole.load(Ordering::Relaxed) as f64 + self.0.rest.get()
    }
}

/// Goes up and down. Clones share the value.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicFloat>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.0.add(1.0);
    }

    /// Takes one off.
    pub fn dec(&self) {
        self.0.add(-1.0);
    }

    /// Adds `delta`, which may be negative.
    pub fn add(&self, delta: f64) {
        self.0.add(delta);
    }

    /// The value.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// Counts observations by size. Clones count together.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<HistogramCells>);

#[derive(Debug)]
struct HistogramCells {
    /// Upper bounds, ascending, without the infinite one.
    bounds: Box<[f64]>,
    /// Observations between two bounds; one more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicFloat,
}

impl Histogram {
    /// A histogram with these upper bounds, which are sorted; the infinite one is always there.
    pub fn new(bounds: &[f64]) -> Self {
        let mut bounds: Vec<f64> = bounds.iter().copied().filter(|bound| bound.is_finite()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(HistogramCells {
            bounds: bounds.into(),
            counts,
            sum: AtomicFloat::default(),
        }))
    }

    /// Counts an observation. Bounds belong to the bucket below them.
    pub fn observe(&self, value: f64) {
        let cells = &*self.0;
        let bucket = if value.is_nan() {
            cells.bounds.len()
        } else {
            cells.bounds.partition_point(|bound| *bound < value)
        };
        cells.counts[bucket].fetch_add(1, Ordering::Relaxed);
        cells.sum.add(value);
    }

    /// Upper bounds with the number of observations up to each; the last bound is infinite and its number the count.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let mut total = 0;
        bounds
            .zip(&self.0.counts)
            .map(|(bound, count)| {
                total += count.load(Ordering::Relaxed);
                (bound, total)
            })
            .collect()
    }

    /// Sum of all observations.
    pub fn sum(&self) -> f64 {
        self.0.sum.get()
    }
}

/// `count` bounds from `start` on, each `factor` times the one before.
pub fn exponential_buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound * factor))
        .take(count)
        .collect()
}

/// `count` bounds from `start` on, `width` apart.
pub fn linear_buckets(start: f64, width: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound + width))
        .take(count)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_take_whole_numbers_and_fractions() {
        let counter = Counter::default();
        let other = counter.clone();
        counter.inc();
        other.add(1.5);
        other.add(-3.0);
        other.add(f64::NAN);
        counter.add_count(2);
        assert_eq!(counter.get(), 4.5);
    }

    #[test]
    fn threads_lose_nothing() {
        let (counter, gauge, histogram) = (Counter::default(), Gauge::default(), Histogram::new(&[1.0]));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.add(0.5);
                        gauge.inc();
                        histogram.observe(0.25);
                    }
                });
            }
        });
        assert_eq!(
            (counter.get(), gauge.get(), histogram.sum()),
            (2000.0, 4000.0, 1000.0)
        );
        assert_eq!(histogram.cumulative(), [(1.0, 4000), (f64::INFINITY, 4000)]);
    }

    #[test]
    fn bounds_belong_to_the_bucket_below() {
        let histogram = Histogram::new(&[2.0, 1.0, f64::INFINITY]);
        for value in [1.0, 1.5, 2.0, 3.0, f64::NAN] {
            histogram.observe(value);
        }
        assert_eq!(histogram.cumulative(), [(1.0, 1), (2.0, 3), (f64::INFINITY, 5)]);
        assert_eq!(exponential_buckets(0.5, 2.0, 3), [0.5, 1.0, 2.0]);
        assert_eq!(linear_buckets(1.0, 2.0, 3), [1.0, 3.0, 5.0]);
    }
}
