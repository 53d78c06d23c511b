//! Exponential histograms added up: on the coarser scale of the two, and on a coarser one yet before there are too many
//! buckets.

use super::both;

/// Buckets of one sign that a sum may have before it is made coarser. Compat: what the reference's processor has.
const BUCKETS_MAX: i64 = 160;

/// The sum of a stream.
#[derive(Clone)]
pub(super) struct Exponential {
    pub(super) scale: i32,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    pub(super) positive: Side,
    pub(super) negative: Side,
}

/// Buckets from number `offset` on.
#[derive(Clone, Default)]
pub(super) struct Side {
    pub(super) offset: i64,
    pub(super) counts: Vec<u64>,
}

impl Exponential {
    /// Adds buckets of whatever scale.
    pub(super) fn add(&mut self, mut other: Exponential) {
        let scale = self.scale.min(other.scale);
        self.coarsen(scale);
        other.coarsen(scale);
        let limit = |a: &Side, b: &Side| scale_within_limit(scale, a, b);
        let scale = limit(&self.positive, &other.positive).min(limit(&self.negative, &other.negative));
        self.coarsen(scale);
        other.coarsen(scale);
        if self.zero_threshold < other.zero_threshold {
            self.widen_zero(other.zero_threshold);
        } else if other.zero_threshold < self.zero_threshold {
            other.widen_zero(self.zero_threshold);
        }
        self.positive.add(other.positive);
        self.negative.add(other.negative);
        self.count = self.count.wrapping_add(other.count);
        self.zero_count = self.zero_count.wrapping_add(other.zero_count);
        self.sum = both(self.sum, other.sum);
    }

    fn coarsen(&mut self, scale: i32) {
        while self.scale > scale && (self.positive.can_halve() || self.negative.can_halve()) {
            self.positive.halve();
            self.negative.halve();
            self.scale -= 1;
        }
        self.scale = self.scale.min(scale);
    }

    /// Counts what lies within `width` of zero as zero.
    fn widen_zero(&mut self, width: f64) {
        let last = bucket_of(width, self.scale);
        for side in [&mut self.positive, &mut self.negative] {
            let within = last.saturating_add(1).saturating_sub(side.offset);
            let within = usize::try_from(within).unwrap_or(0).min(side.counts.len());
            for count in side.counts.drain(..within) {
                self.zero_count = self.zero_count.wrapping_add(count);
            }
            side.offset += within as i64;
        }
        self.zero_threshold = (last.saturating_add(1) as f64 * f64::from(-self.scale).exp2()).exp2();
    }
}

/// The bucket that `value` lies in: bucket `i` ends at `2^((i + 1) / 2^scale)`, that end included.
fn bucket_of(value: f64, scale: i32) -> i64 {
    // The cast cuts what lies beyond.
    (value.log2() * f64::from(scale).exp2()).ceil() as i64 - 1
}

/// The finest scale, `scale` at most, at which the sum of both sides has no more buckets than it may.
fn scale_within_limit(scale: i32, a: &Side, b: &Side) -> i32 {
    let ends = [a.ends(), b.ends()].into_iter().flatten();
    let Some((mut first, mut behind)) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
        return scale;
    };
    let mut scale = scale;
    while behind - first > BUCKETS_MAX {
        // Compat: rounded towards zero, which may come out one bucket above the limit.
        (first, behind, scale) = (first / 2, behind / 2, scale - 1);
    }
    scale
}

impl Side {
    /// The first bucket that has something, and what is behind the last.
    fn ends(&self) -> Option<(i64, i64)> {
        let first = self.counts.iter().position(|count| *count != 0)?;
        let last = self.counts.iter().rposition(|count| *count != 0)?;
        Some((self.offset + first as i64, self.offset + last as i64 + 1))
    }

    /// Whether halving still changes something.
    fn can_halve(&self) -> bool {
        self.counts.len() > 1 || !matches!(self.offset, 0 | -1)
    }

    /// Makes each two buckets one.
    fn halve(&mut self) {
        let offset = self.offset.div_euclid(2);
        let mut halves = Vec::with_capacity(self.counts.len() / 2 + 1);
        for (index, count) in (self.offset..).zip(&self.counts) {
            let at = (index.div_euclid(2) - offset) as usize;
            if halves.len() <= at {
                halves.push(0_u64);
            }
            halves[at] = halves[at].wrapping_add(*count);
        }
        (self.offset, self.counts) = (offset, halves);
    }

    fn add(&mut self, other: Side) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            *self = other;
            return;
        }
        let ends = [self.ends(), other.ends()].into_iter().flatten();
        // Where there is nothing on either side, one empty bucket is left.
        let (first, behind) = ends
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .unwrap_or((self.offset, self.offset + 1));
        let mut counts = vec![0_u64; (behind - first) as usize];
        for side in [&*self, &other] {
            for (index, count) in (side.offset..).zip(&side.counts) {
                if let Some(sum) = usize::try_from(index - first)
                    .ok()
                    .and_then(|at| counts.get_mut(at))
                {
                    *sum = sum.wrapping_add(*count);
                }
            }
        }
        (self.offset, self.counts) = (first, counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(offset: i64, counts: &[u64]) -> Side {
        Side {
            offset,
            counts: counts.to_vec(),
        }
    }

    fn exponential(scale: i32, positive: Side) -> Exponential {
        Exponential {
            scale,
            count: positive.counts.iter().sum(),
            sum: Some(1.0),
            zero_count: 0,
            zero_threshold: 0.0,
            positive,
            negative: Side::default(),
        }
    }

    #[test]
    fn buckets_of_either_scale_add_up_on_the_coarser() {
        let mut sum = exponential(1, side(-3, &[1, 2, 3, 4]));
        sum.add(exponential(0, side(-1, &[10])));
        assert_eq!((sum.scale, sum.positive.offset), (0, -2));
        assert_eq!(sum.positive.counts, [1, 15, 4]);
        assert_eq!((sum.count, sum.sum), (20, Some(2.0)));
    }

    #[test]
    fn sums_are_made_coarser_before_they_have_too_many_buckets() {
        let mut sum = exponential(3, side(0, &[1; 100]));
        sum.add(exponential(3, side(100, &[1; 100])));
        assert_eq!((sum.scale, sum.positive.counts.len()), (2, 100));
        assert_eq!(sum.positive.counts.iter().sum::<u64>(), 200);
        // From one end of all numbers to the other.
        let mut sum = exponential(20, side(i64::from(i32::MIN), &[1]));
        sum.add(exponential(20, side(i64::from(i32::MAX), &[1])));
        assert!(sum.positive.counts.len() <= 161, "{}", sum.positive.counts.len());
        assert_eq!(sum.positive.counts.iter().sum::<u64>(), 2);
    }

    #[test]
    fn a_wider_zero_takes_the_buckets_that_lie_in_it() {
        let mut sum = exponential(0, side(-2, &[1, 2, 4, 8]));
        let mut other = exponential(0, side(1, &[16]));
        // Buckets -2 to 0 end at 0.5, 1 and 2.
        other.zero_threshold = 2.0;
        sum.add(other);
        assert_eq!((sum.zero_count, sum.zero_threshold), (7, 2.0));
        assert_eq!((sum.positive.offset, sum.positive.counts), (1, vec![24]));
    }
}
