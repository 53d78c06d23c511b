//! Quantiles and fractions of classic histograms, whose buckets are series of their own.

use std::cmp::Ordering;

use model::float::parse_float;

/// A cumulative bucket: how many observations were at most `upper_bound`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassicBucket {
    /// Upper bound: the `le` label's value.
    pub upper_bound: f64,
    /// Observations up to there.
    pub count: f64,
}

/// The bound that an `le` label tells; `None` where it is missing or no number.
pub fn parse_bound(le: &str) -> Option<f64> {
    parse_float(le).ok()
}

/// Where counts had to be raised because a lower bucket held more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForcedMonotonicity {
    /// Lowest bound whose count was raised.
    pub min_bound: f64,
    /// Highest bound whose count was raised.
    pub max_bound: f64,
    /// Largest raise.
    pub max_difference: f64,
}

/// Differences between neighbouring counts up to this part of them are rounding errors.
const TOLERANCE: f64 = 1e-12;
/// Differences above this part of a count are none, however they are computed.
const ERROR_MAX: f64 = 1e-9;

/// The `q`-quantile, by linear interpolation within the bucket that holds it: ±∞ where `q` lies outside 0 to 1; NaN where
/// `q` is NaN, there are no observations, fewer than two buckets, or none up to +∞. In the last bucket it is the bound
/// below. `buckets` may come in any order and are changed; there must be at least one for an answer.
pub fn quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, Option<ForcedMonotonicity>) {
    match q {
        q if q.is_nan() => return (f64::NAN, None),
        q if q < 0.0 => return (f64::NEG_INFINITY, None),
        q if q > 1.0 => return (f64::INFINITY, None),
        _ => {}
    }
    if !prepare(buckets) {
        return (f64::NAN, None);
    }
    let forced = make_monotonic(buckets);
    (quantile_of_sorted(q, buckets), forced)
}

fn quantile_of_sorted(q: f64, buckets: &[ClassicBucket]) -> f64 {
    let [lower @ .., last] = buckets else {
        return f64::NAN;
    };
    let Some(second_last) = lower.last() else {
        return f64::NAN;
    };
    if last.count == 0.0 {
        return f64::NAN;
    }
    let rank = q * last.count;
    // Counts that are NaN do not reach any rank.
    let at = lower.partition_point(|bucket| !bucket.count.partial_cmp(&rank).is_some_and(Ordering::is_ge));
    let Some(bucket) = lower.get(at) else {
        return second_last.upper_bound;
    };
    match at.checked_sub(1).map(|below| buckets[below]) {
        None if bucket.upper_bound <= 0.0 => bucket.upper_bound,
        None => bucket.upper_bound * (rank / bucket.count),
        Some(below) => {
            let part = (rank - below.count) / (bucket.count - below.count);
            below.upper_bound + (bucket.upper_bound - below.upper_bound) * part
        }
    }
}

/// Which part of the observations lies between `lower` and `upper`: NaN where a bound is NaN, there are no observations
/// or no bucket up to +∞; 0 where the bounds are the wrong way round. `buckets` may come in any order and are changed.
pub fn fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !prepare(buckets) {
        return f64::NAN;
    }
    let total = buckets.last().map_or(0.0, |bucket| bucket.count);
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let below = |value: f64| {
        let rank = rank_below(value, buckets).unwrap_or(total);
        if rank > total { total } else { rank }
    };
    (below(upper) - below(lower)) / total
}

/// How many observations lie below `value`; `None` where it lies above all buckets.
fn rank_below(value: f64, buckets: &[ClassicBucket]) -> Option<f64> {
    // Observations are taken to be positive if the first bucket reaches above 0.
    let mut start = if buckets[0].upper_bound <= 0.0 {
        f64::NEG_INFINITY
    } else {
        0.0
    };
    let mut rank = 0.0;
    for bucket in buckets {
        if start >= value {
            return Some(rank);
        }
        if bucket.upper_bound > value {
            // What lies in an endless first bucket counts as below; in the last one the quotient is 0.
            return Some(if start == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + (bucket.count - rank) * (value - start) / (bucket.upper_bound - start)
            });
        }
        rank = bucket.count;
        start = bucket.upper_bound;
    }
    None
}

/// Sorts the buckets and adds up those of one bound; false where there is none up to +∞.
fn prepare(buckets: &mut Vec<ClassicBucket>) -> bool {
    let order = |a: &ClassicBucket, b: &ClassicBucket| a.upper_bound.total_cmp(&b.upper_bound);
    // Callers that ask for many steps have sorted them once.
    if !buckets.is_sorted_by(|a, b| order(a, b).is_le()) {
        buckets.sort_by(order);
    }
    if buckets
        .last()
        .is_none_or(|last| last.upper_bound != f64::INFINITY)
    {
        return false;
    }
    buckets.dedup_by(|bucket, kept| {
        let same = bucket.upper_bound == kept.upper_bound;
        if same {
            kept.count += bucket.count;
        }
        same
    });
    true
}

/// Raises each count to that of the bucket below where it is less; levels differences that are rounding errors.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> Option<ForcedMonotonicity> {
    let mut forced: Option<ForcedMonotonicity> = None;
    let mut previous = buckets.first()?.count;
    for bucket in &mut buckets[1..] {
        let count = bucket.count;
        if count == previous {
            continue;
        }
        // Most counts rise by far more than rounding errors: no need to divide.
        if count - previous > ERROR_MAX * count && previous >= 0.0 && count >= f64::MIN_POSITIVE {
            previous = count;
        } else if almost_equal(previous, count) {
            bucket.count = previous;
        } else if count < previous {
            bucket.count = previous;
            let difference = previous - count;
            let bound = bucket.upper_bound;
            let forced = forced.get_or_insert(ForcedMonotonicity {
                min_bound: bound,
                max_bound: bound,
                max_difference: difference,
            });
            forced.max_bound = bound;
            forced.max_difference = forced.max_difference.max(difference);
        } else {
            previous = count;
        }
    }
    forced
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}
