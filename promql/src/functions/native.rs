//! Quantiles, fractions and variances of native histograms.

use std::fmt;

use model::histogram::kahan::Kahan;
use model::histogram::{Bucket, FloatHistogram};

/// What NaN observations, which lie in no bucket, did to a result. Its text is the info that the reference gives,
/// without the metric name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanNote {
    /// The quantile lies among them, and is NaN.
    QuantileIsNan,
    /// The quantile is higher than that of the other observations.
    QuantileIsSkewed,
    /// No fraction contains them.
    NotInFractions,
}

impl fmt::Display for NanNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NanNote::QuantileIsNan => "input to histogram_quantile has NaN observations, result is NaN",
            NanNote::QuantileIsSkewed => {
                "input to histogram_quantile has NaN observations, result is skewed higher"
            }
            NanNote::NotInFractions => {
                "input to histogram_fraction has NaN observations, which are excluded from all fractions"
            }
        })
    }
}

/// The `q`-quantile: ±∞ where `q` lies outside 0 to 1, NaN where it is NaN or there are no observations. Within a bucket
/// it is found on the logarithmic scale, within custom buckets and the zero bucket on the linear one.
pub fn quantile(q: f64, histogram: &FloatHistogram) -> (f64, Option<NanNote>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    // From the nearer end, for precision. NaN observations count above all buckets: only from below is the rank right.
    if histogram.sum.is_nan() || q < 0.5 {
        let rank = q * histogram.count;
        quantile_from(histogram, rank, false, histogram.buckets())
    } else {
        let rank = (1.0 - q) * histogram.count;
        quantile_from(histogram, rank, true, histogram.buckets().rev())
    }
}

/// The quantile where `rank` observations lie between it and the end that `buckets` start from.
fn quantile_from(
    histogram: &FloatHistogram,
    rank: f64,
    from_above: bool,
    mut buckets: impl Iterator<Item = Bucket>,
) -> (f64, Option<NanNote>) {
    let custom = histogram.uses_custom_buckets();
    let mut bucket = Bucket {
        lower: 0.0,
        upper: 0.0,
        lower_inclusive: false,
        upper_inclusive: false,
        count: 0.0,
    };
    let mut seen = 0.0;
    for next in buckets.by_ref() {
        bucket = next;
        seen += bucket.count;
        if bucket.count != 0.0 && seen >= rank {
            break;
        }
    }
    if custom {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        end_zero_bucket_at_zero(&mut bucket, histogram);
    }
    // Rounding may have given the buckets more than there is.
    seen = seen.min(histogram.count);
    if seen < rank {
        return if histogram.sum.is_nan() {
            (f64::NAN, Some(NanNote::QuantileIsNan))
        } else {
            (bucket.upper, None)
        };
    }
    let into = if from_above {
        seen - rank
    } else {
        rank - (seen - bucket.count)
    };
    let mut note = None;
    if histogram.sum.is_nan() {
        // The sum is NaN after observations of +∞ and −∞, too; NaN observations show in the count alone.
        // Compat: the reference goes on with the last bucket, whichever holds the quantile.
        for next in buckets {
            bucket = next;
            seen += bucket.count;
        }
        note = (seen < histogram.count).then_some(NanNote::QuantileIsSkewed);
    }
    let part = into / bucket.count;
    if custom || bucket.lower <= 0.0 && bucket.upper >= 0.0 {
        return (bucket.lower + (bucket.upper - bucket.lower) * part, note);
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let value = if bucket.lower > 0.0 {
        (lower + (upper - lower) * part).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - part)).exp2()
    };
    (value, note)
}

/// The zero bucket ends at 0 on the side where there are no buckets, if there are some on the other.
fn end_zero_bucket_at_zero(bucket: &mut Bucket, histogram: &FloatHistogram) {
    match (
        histogram.negative_buckets.is_empty(),
        histogram.positive_buckets.is_empty(),
    ) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

/// Which part of the observations lies between `lower` and `upper`: NaN where a bound is NaN or there are no
/// observations, 0 where the bounds are the wrong way round.
pub fn fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> (f64, Option<NanNote>) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let custom = histogram.uses_custom_buckets();
    let (mut rank, mut in_buckets) = (0.0, 0.0);
    let (mut below_lower, mut below_upper) = (None, None);
    let mut buckets = histogram.buckets();
    for mut bucket in buckets.by_ref() {
        in_buckets += bucket.count;
        let around_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if around_zero {
            end_zero_bucket_at_zero(&mut bucket, histogram);
        }
        for (bound, below) in [(lower, &mut below_lower), (upper, &mut below_upper)] {
            if below.is_none() {
                *below = rank_in(&bucket, rank, bound, custom || around_zero);
            }
        }
        if below_lower.is_some() && below_upper.is_some() {
            break;
        }
        rank += bucket.count;
    }
    let mut note = None;
    let mut total = histogram.count;
    if histogram.sum.is_nan() {
        total = buckets.fold(in_buckets, |sum, bucket| sum + bucket.count);
        note = (total < histogram.count).then_some(NanNote::NotInFractions);
    }
    let capped = |below: Option<f64>| below.map_or(total, |rank| if rank > total { total } else { rank });
    (
        (capped(below_upper) - capped(below_lower)) / histogram.count,
        note,
    )
}

/// How many observations lie below `value`, where `rank` lie below the bucket; `None` where `value` lies above it.
fn rank_in(bucket: &Bucket, rank: f64, value: f64, linear: bool) -> Option<f64> {
    if bucket.lower >= value {
        return Some(rank);
    }
    if bucket.upper <= value {
        return None;
    }
    // Endless buckets are not divided: what lies below −∞'s end counts whole, what lies above +∞'s not at all.
    if linear && bucket.lower == f64::NEG_INFINITY {
        return Some(bucket.count);
    }
    Some(rank + bucket.count * bucket.fraction_below(value, linear))
}

/// The population variance, estimated from the middles of buckets: arithmetic for custom buckets, 0 for the zero bucket,
/// geometric otherwise.
pub fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut squares = Kahan::default();
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.uses_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let distance = middle - mean;
        squares.add(bucket.count * distance * distance);
    }
    squares.total() / histogram.count
}
