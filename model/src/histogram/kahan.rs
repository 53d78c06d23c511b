//! Compensated sums, as histograms, aggregations and `*_over_time` use them.

/// A running sum with the rounding errors that it lost so far (Kahan's idea, in Neumaier's form).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kahan {
    /// Rounded sum.
    pub sum: f64,
    /// What rounding took from it.
    pub compensation: f64,
}

impl Kahan {
    /// A sum that starts at `value`.
    pub fn new(value: f64) -> Self {
        Kahan {
            sum: value,
            compensation: 0.0,
        }
    }

    /// Adds `value`. A sum that reaches an infinity forgets its compensation.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - sum) + value;
        } else {
            self.compensation += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    /// Sum and compensation.
    #[inline]
    pub fn total(&self) -> f64 {
        self.sum + self.compensation
    }

    /// Whether [`Kahan::total`] is the float next to the exact sum, and that of the same values added in any other order,
    /// in parts, or with others that were taken away again. `operations` is at least the number of additions in each of
    /// them, and `magnitude` at least the sum of their absolute values.
    ///
    /// The compensated sum of n values is off by n²u² Σ|x| at most before its last rounding, where u is 2⁻⁵³ (Ogita, Rump
    /// and Oishi, "Accurate sum and dot product", 2005). Two of them lie within twice that of the exact sum and of each
    /// other; where no middle between two floats is as close, all are rounded to the same float.
    #[inline]
    pub fn is_settled(&self, operations: f64, magnitude: f64) -> bool {
        const UNIT: f64 = f64::EPSILON / 2.0;
        if magnitude == 0.0 || magnitude.is_nan() {
            // Nothing but zeros, or something that is no number.
            return true;
        }
        let error = operations * UNIT;
        let error = 8.0 * error * error * magnitude;
        let total = self.total();
        // What the last rounding has lost, exactly (Knuth).
        let virtual_compensation = total - self.sum;
        let virtual_sum = total - virtual_compensation;
        let lost = (self.sum - virtual_sum) + (self.compensation - virtual_compensation);
        let size = total.abs();
        let gap = f64::from_bits(size.to_bits() + 1) - size;
        // Below a power of two floats lie twice as close.
        let is_power = size.to_bits() << 12 == 0;
        let half = if is_power { gap / 4.0 } else { gap / 2.0 };
        // Neither overflow nor underflow is accounted for above.
        size < 1e300 && error > 1e-300 && lost.abs() + error < half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_rounding_loses() {
        let mut sum = Kahan::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn a_settled_sum_is_that_of_every_order() {
        let sum = |values: &[f64]| {
            let mut sum = Kahan::default();
            values.iter().for_each(|value| sum.add(*value));
            let magnitude: f64 = values.iter().map(|value| value.abs()).sum();
            (sum.total(), sum.is_settled(values.len() as f64, magnitude))
        };
        for settled in [
            &[1.0, 2.0, 4.0][..],
            &[0.1, 0.2, 0.3],
            &[0.0, -0.0],
            &[1e15, 0.125],
            &[f64::NAN, 1.0],
        ] {
            assert!(sum(settled).1, "{settled:?}");
        }
        // In the middle between two floats; nothing left of large values; infinite.
        for unsettled in [
            &[9_007_199_254_740_992.0, 1.0][..],
            &[1.0, -1.0],
            &[f64::INFINITY, 1.0],
        ] {
            assert!(!sum(unsettled).1, "{unsettled:?}");
        }
        let seed = std::env::var("NARTHEX_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let mut state: u64 = seed.unwrap_or(11);
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut settled = 0;
        for round in 0..2000 {
            let mut values: Vec<f64> = (0..1 + next() % 60)
                .map(|_| (next() as f64 - 1e9) * 10_f64.powi((next() % 9) as i32 - 4))
                .collect();
            let (total, is_settled) = sum(&values);
            settled += u32::from(is_settled);
            for _ in 0..4 {
                for at in (1..values.len()).rev() {
                    values.swap(at, next() as usize % (at + 1));
                }
                let (other, _) = sum(&values);
                assert!(
                    !is_settled || total.to_bits() == other.to_bits(),
                    "seed {seed:?}, round {round}: {values:?}"
                );
            }
        }
        assert!(settled > 1900, "{settled} of 2000");
    }

    #[test]
    fn infinity_clears_the_compensation() {
        let mut sum = Kahan::default();
        for value in [1e100, 1.0, f64::INFINITY] {
            sum.add(value);
        }
        assert_eq!((sum.sum, sum.compensation), (f64::INFINITY, 0.0));
        sum.add(f64::NEG_INFINITY);
        assert!(sum.total().is_nan());
    }
}
