//! The change over ordinary windows, 64 of them at once: what `rate`, `increase` and `delta` spend most of their time on.
//!
//! Five divisions make a result, and they are what it takes time for. Four of them are by one of two numbers, which
//! processors with fused multiplication do as a multiplication by the reciprocal and the correction of what that leaves
//! over: the same to the last bit, and four windows at a time.
//!
//! Unsafe: only the call of code that was compiled for such processors, in [`Block::compute`]. It is sound because the
//! processor was asked before.

use super::samples::Samples;

/// Steps that are computed at once: as many as a word has bits.
pub(super) const BLOCK_STEPS: usize = 64;

/// What the results of ordinary windows are made of, in columns so that processors do several at once: windows with two
/// samples at least, a series that goes on at both ends, and no zero within reach of extrapolation.
pub(super) struct Block {
    counter: bool,
    range_ms: f64,
    /// What results are divided by: the range in seconds, or 1.
    unit: f64,
    /// A thousand and the unit, where the processor and the unit allow it.
    reciprocals: Option<(Reciprocal, Reciprocal)>,
    /// Value of the first sample.
    first: [f64; BLOCK_STEPS],
    /// Value of the last sample.
    last: [f64; BLOCK_STEPS],
    /// Milliseconds from the start of the range to the first sample.
    before: [f64; BLOCK_STEPS],
    /// Milliseconds from the last sample to the end of the range.
    after: [f64; BLOCK_STEPS],
    /// Number of samples less one.
    intervals: [f64; BLOCK_STEPS],
}

impl Block {
    /// For windows of `range_ms`; results are divided by `unit`.
    pub(super) fn new(range_ms: i64, counter: bool, unit: f64) -> Self {
        let empty = [0.0; BLOCK_STEPS];
        Block {
            counter,
            range_ms: range_ms as f64,
            unit,
            reciprocals: has_fused_multiplication()
                .then(|| Reciprocal::of(1000.0).zip(Reciprocal::of(unit)))
                .flatten(),
            first: empty,
            last: empty,
            before: empty,
            after: empty,
            intervals: empty,
        }
    }

    /// Takes up the windows between `firsts` and `ends`, whose first ends at `end_ms`; false where one has less than two
    /// samples.
    #[inline]
    pub(super) fn gather(
        &mut self,
        samples: &Samples<'_>,
        firsts: &[u32],
        ends: &[u32],
        mut end_ms: i64,
        step_ms: i64,
    ) -> bool {
        let range_ms = self.range_ms as i64;
        let (times, values) = (samples.float_ts, &samples.floats[..samples.float_ts.len()]);
        for (at, (first, end)) in firsts.iter().zip(ends).enumerate() {
            let (first, end) = (*first as usize, *end as usize);
            if end < first + 2 {
                return false;
            }
            (self.first[at], self.last[at]) = (values[first], values[end - 1]);
            // The range reaches back from its end, and so does this: nothing can overflow that does not lie inside.
            self.before[at] = (range_ms - (end_ms - times[first])) as f64;
            self.after[at] = (end_ms - times[end - 1]) as f64;
            self.intervals[at] = (end - 1 - first) as i64 as f64;
            end_ms = end_ms.wrapping_add(step_ms);
        }
        true
    }

    /// Computes the results of the first `out.len()` windows; false where one is out of the ordinary.
    #[inline]
    #[cfg_attr(
        target_arch = "x86_64",
        expect(unsafe_code, reason = "see the top of the file")
    )]
    pub(super) fn compute(&self, out: &mut [f64]) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Some((thousand, unit)) = self.reciprocals {
            // SAFETY: there are reciprocals only where the processor has AVX2 and fused multiplication.
            return unsafe { self.compute_fused(out, thousand, unit) };
        }
        self.compute_by(out, Divisor(1000.0), Divisor(self.unit))
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn compute_fused(&self, out: &mut [f64], thousand: Reciprocal, unit: Reciprocal) -> bool {
        self.compute_by(out, thousand, unit)
    }

    /// What follows from [`Edges::factor`](super::rate::Edges::factor) where both ends are extrapolated to, operation by
    /// operation: the results are the same to the last bit.
    #[inline(always)]
    fn compute_by(&self, out: &mut [f64], thousand: impl Divide, unit: impl Divide) -> bool {
        /// Just under the limit of extrapolation, where rounding decides nothing.
        const NEAR: f64 = 1.1 * (1.0 - 1e-8);
        let count = out.len().min(BLOCK_STEPS);
        let (first, last) = (&self.first[..count], &self.last[..count]);
        let (before, after) = (&self.before[..count], &self.after[..count]);
        let intervals = &self.intervals[..count];
        let mut ordinary = true;
        for at in 0..count {
            let limit = (self.range_ms - before[at] - after[at]) * NEAR;
            let farther = if before[at] > after[at] {
                before[at]
            } else {
                after[at]
            };
            ordinary &= farther * intervals[at] < limit;
        }
        if self.counter {
            for at in 0..count {
                let change = last[at] - first[at];
                let zero_in_reach = (change > 0.0) & (first[at] >= 0.0) & (first[at] < 2.0 * change);
                ordinary &= !zero_in_reach;
            }
        }
        for at in 0..count {
            let sampled = thousand.divide(self.range_ms - before[at] - after[at]);
            let extended = sampled + thousand.divide(before[at]) + thousand.divide(after[at]);
            out[at] = (last[at] - first[at]) * unit.divide(extended / sampled);
        }
        ordinary
    }
}

/// Whether [`Reciprocal::divide`] is a few instructions.
fn has_fused_multiplication() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Something to divide by.
trait Divide: Copy {
    /// The float next to the quotient.
    fn divide(self, dividend: f64) -> f64;
}

#[derive(Clone, Copy)]
struct Divisor(f64);

impl Divide for Divisor {
    #[inline(always)]
    fn divide(self, dividend: f64) -> f64 {
        dividend / self.0
    }
}

/// A divisor of at most 24 significant bits, neither tiny nor huge.
///
/// The product with its reciprocal is at most two units in the last place off. What that leaves over of the dividend is
/// a float exactly, since the divisor is so short; and the quotient that is corrected by it is rounded as a division
/// rounds, since no quotient by so short a divisor lies as close to the middle between two floats as the correction is
/// inexact (Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990; Brisebarre,
/// Muller and Raina, "Accelerating correctly rounded floating-point division when the divisor is known in advance", 2004).
#[derive(Clone, Copy, Debug)]
struct Reciprocal {
    divisor: f64,
    reciprocal: f64,
}

impl Reciprocal {
    fn of(divisor: f64) -> Option<Self> {
        let short = f64::from(divisor as f32) == divisor && (1e-6..1e12).contains(&divisor);
        short.then(|| Reciprocal {
            divisor,
            reciprocal: 1.0 / divisor,
        })
    }
}

impl Divide for Reciprocal {
    /// For dividends that are neither infinite, nor so small or large that the product with the reciprocal is no normal
    /// float.
    #[inline(always)]
    fn divide(self, dividend: f64) -> f64 {
        let close = dividend * self.reciprocal;
        let left = (-close).mul_add(self.divisor, dividend);
        left.mul_add(self.reciprocal, close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reciprocals_divide_as_divisions_do() {
        let seed: u64 = std::env::var("NARTHEX_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or(7);
        println!("NARTHEX_SEED={seed}");
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 11
        };
        let divisors = [
            1.0,
            0.5,
            3.0,
            7.0,
            15.0,
            60.0,
            90.0,
            300.0,
            1000.0,
            3600.0,
            86_400.0,
            604_800.0,
            16_777_215.0,
        ];
        for divisor in divisors {
            let reciprocal = Reciprocal::of(divisor).expect("short");
            let whole = (0..10_000).map(f64::from);
            let random = (0..20_000).map(|_| f64::from_bits(0x3f00_0000_0000_0000 | next() << 3));
            for dividend in whole.chain(random.collect::<Vec<_>>()) {
                let (fast, exact) = (reciprocal.divide(dividend), dividend / divisor);
                assert_eq!(fast.to_bits(), exact.to_bits(), "{dividend:?} / {divisor}");
            }
        }
        assert!(Reciprocal::of(0.1).is_none());
        assert!(Reciprocal::of(1e300).is_none());
    }
}
