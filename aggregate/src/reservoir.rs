//! Quantiles of values of which at most [`VALUES_MAX`] are kept: exact up to there, by a fair choice beyond.
//!
//! What is chosen follows from the order of values alone (the generator begins anew with each interval), and is
//! VictoriaMetrics' choice: Vitter's algorithm R over Marsaglia's xorshift of 32 bits (shifts 13, 17, 5).

/// Most values that a group keeps of an interval.
pub(crate) const VALUES_MAX: usize = 1000;

#[derive(Clone, Debug)]
pub(crate) struct Reservoir {
    kept: Vec<f64>,
    seen: u32,
    min: f64,
    max: f64,
    random: u32,
}

impl Default for Reservoir {
    fn default() -> Self {
        Reservoir {
            kept: Vec::new(),
            seen: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            random: 1,
        }
    }
}

impl Reservoir {
    /// Adds a value; `may_grow` says whether one more may be kept. Says whether one more is, and `None` where the value
    /// would have had to be and was not.
    pub(crate) fn add(&mut self, value: f64, may_grow: bool) -> Option<bool> {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.seen = self.seen.saturating_add(1);
        if self.kept.len() < VALUES_MAX {
            if may_grow {
                self.kept.push(value);
            }
            return may_grow.then_some(true);
        }
        let at = self.below(self.seen) as usize;
        if let Some(kept) = self.kept.get_mut(at) {
            *kept = value;
        }
        Some(false)
    }

    /// A number below `end`.
    fn below(&mut self, end: u32) -> u32 {
        let mut x = self.random;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random = x;
        ((u64::from(x) * u64::from(end)) >> 32) as u32
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Puts what is kept in order, for [`Reservoir::quantile`].
    pub(crate) fn sort(&mut self) {
        self.kept.sort_by(f64::total_cmp);
    }

    /// The value that stands next to `phi` of the way through what is kept and sorted; both ends are exact.
    pub(crate) fn quantile(&self, phi: f64) -> f64 {
        if phi <= 0.0 || self.kept.is_empty() {
            return self.min;
        }
        if phi >= 1.0 {
            return self.max;
        }
        let last = self.kept.len() - 1;
        self.kept[((phi * last as f64 + 0.5) as usize).min(last)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_of_few_and_bounded_of_many() {
        let mut reservoir = Reservoir::default();
        for value in (1..=101).rev() {
            assert_eq!(reservoir.add(f64::from(value), true), Some(true));
        }
        reservoir.sort();
        assert_eq!(
            [0.0, 0.5, 0.99, 1.0].map(|phi| reservoir.quantile(phi)),
            [1.0, 51.0, 100.0, 101.0]
        );
        for value in 0..100_000 {
            reservoir.add(f64::from(value), true);
        }
        assert_eq!(reservoir.len(), VALUES_MAX);
        reservoir.sort();
        let median = reservoir.quantile(0.5);
        assert!((45_000.0..55_000.0).contains(&median), "{median}");
        assert_eq!(reservoir.quantile(1.0), 99_999.0);
    }
}
