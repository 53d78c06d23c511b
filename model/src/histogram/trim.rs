//! The trim operators `</` and `>/`: what is left of a histogram below or above a value.

use super::FloatHistogram;
use super::iter::Bucket;

/// Which observations a trim keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those below the value: `</`.
    Below,
    /// Those above it: `>/`.
    Above,
}

/// What is left of a bucket, and where it lies on average.
struct Rest {
    count: f64,
    midpoint: f64,
}

impl FloatHistogram {
    /// Drops the observations on the other side of `value`. A bucket that `value` divides keeps a part by
    /// interpolation, and count and sum are estimated anew from the buckets; where nothing is dropped, nothing changes.
    pub fn trim(&mut self, value: f64, keep: Keep) {
        let linear = self.uses_custom_buckets();
        let mut total = Rest {
            count: 0.0,
            midpoint: 0.0,
        };
        let mut trimmed = false;
        let mut has_side = [false, false];
        for (side, is_positive) in [(0, true), (1, false)] {
            let buckets: Vec<Bucket> = if is_positive {
                self.positive().collect()
            } else {
                self.negative().collect()
            };
            let counts = if is_positive {
                &mut self.positive_buckets
            } else {
                &mut self.negative_buckets
            };
            for (bucket, count) in buckets
                .iter()
                .zip(counts)
                .filter(|(bucket, _)| bucket.count != 0.0)
            {
                has_side[side] = true;
                let rest = rest_of(bucket, value, keep, is_positive, linear);
                total.count += rest.count;
                total.midpoint += rest.midpoint * rest.count;
                if rest.count != *count {
                    *count = rest.count;
                    trimmed = true;
                }
            }
        }
        if self.zero_count > 0.0 {
            let [has_positive, has_negative] = has_side;
            let rest = rest_of_zero(self.zero_bucket(), value, keep, has_positive, has_negative);
            total.count += rest.count;
            total.midpoint += rest.midpoint * rest.count;
            if rest.count != self.zero_count {
                self.zero_count = rest.count;
                trimmed = true;
            }
        }
        if trimmed {
            self.count = total.count;
            self.sum = total.midpoint;
            self.compact(0);
        }
    }
}

fn rest_of(bucket: &Bucket, value: f64, keep: Keep, is_positive: bool, linear: bool) -> Rest {
    let (whole, divided) = match keep {
        Keep::Below => (bucket.upper <= value, bucket.lower < value),
        Keep::Above => (bucket.lower >= value, bucket.upper > value),
    };
    if whole {
        return Rest {
            count: bucket.count,
            midpoint: midpoint(bucket.lower, bucket.upper, is_positive, linear),
        };
    }
    if !divided {
        return Rest {
            count: 0.0,
            midpoint: 0.0,
        };
    }
    if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
        return rest_of_endless(bucket, value, keep);
    }
    let below = bucket.count * bucket.fraction_below(value, linear);
    match keep {
        Keep::Below => Rest {
            count: below,
            midpoint: midpoint(bucket.lower, value, is_positive, linear),
        },
        Keep::Above => Rest {
            count: bucket.count - below,
            midpoint: midpoint(value, bucket.upper, is_positive, linear),
        },
    }
}

/// A bucket that reaches to infinity and holds `value`. Nothing is known of the distribution inside. Below the first
/// custom bound, if that is positive, 0 counts as the lower end; otherwise all observations are taken to lie where
/// they are easiest to tell from the value: in the first bucket below it, in the last one above it.
fn rest_of_endless(bucket: &Bucket, value: f64, keep: Keep) -> Rest {
    let nothing = |midpoint: f64| Rest {
        count: 0.0,
        midpoint: if midpoint.is_infinite() { 0.0 } else { midpoint },
    };
    if bucket.lower == f64::NEG_INFINITY {
        let ends_above_zero = bucket.upper > 0.0 && bucket.upper.is_finite();
        return match keep {
            Keep::Below if value > 0.0 && ends_above_zero => Rest {
                count: bucket.count * value / bucket.upper,
                midpoint: value / 2.0,
            },
            Keep::Below if bucket.upper <= 0.0 => Rest {
                count: bucket.count,
                midpoint: value,
            },
            Keep::Above if value >= 0.0 && bucket.upper > value && ends_above_zero => Rest {
                count: bucket.count * (1.0 - value / bucket.upper),
                midpoint: (value + bucket.upper) / 2.0,
            },
            _ => nothing(bucket.upper),
        };
    }
    match keep {
        Keep::Above if value >= bucket.lower => Rest {
            count: bucket.count,
            midpoint: value,
        },
        _ => nothing(bucket.lower),
    }
}

/// The zero bucket, which ends at 0 on the side without observations; linear inside.
fn rest_of_zero(bucket: Bucket, value: f64, keep: Keep, has_positive: bool, has_negative: bool) -> Rest {
    let upper = if has_negative && !has_positive {
        0.0
    } else {
        bucket.upper
    };
    let lower = if has_positive && !has_negative {
        0.0
    } else {
        bucket.lower
    };
    let whole = Rest {
        count: bucket.count,
        midpoint: (lower + upper) / 2.0,
    };
    let nothing = Rest {
        count: 0.0,
        midpoint: 0.0,
    };
    match keep {
        Keep::Below if value <= lower => nothing,
        Keep::Below if value >= upper => whole,
        Keep::Below => Rest {
            count: bucket.count * ((value - lower) / (upper - lower)),
            midpoint: (lower + value) / 2.0,
        },
        Keep::Above if value <= lower => whole,
        Keep::Above if value >= upper => nothing,
        Keep::Above => Rest {
            count: bucket.count * ((upper - value) / (upper - lower)),
            midpoint: (value + upper) / 2.0,
        },
    }
}

/// Where the observations between two bounds lie on average: in the arithmetic middle of custom buckets, in the
/// geometric one of exponential buckets.
fn midpoint(lower: f64, upper: f64, is_positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => return 0.0,
        (true, false) if upper > 0.0 => return upper / 2.0,
        (true, false) => return upper,
        (false, true) => return lower,
        (false, false) => {}
    }
    if linear {
        return (lower + upper) / 2.0;
    }
    let mean = (lower * upper).abs().sqrt();
    if is_positive { mean } else { -mean }
}
