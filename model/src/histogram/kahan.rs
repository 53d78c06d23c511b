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
