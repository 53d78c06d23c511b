//! Summaries: quantiles of what was observed in the last ten minutes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use model::clock::{Clock, SystemClock};
use parking_lot::Mutex;

/// How long observations count towards the quantiles, in milliseconds.
const WINDOW_MS: i64 = 10 * 60 * 1000;
/// The window moves on in this many steps.
const SLICES: i64 = 5;
/// Most observations kept for each slice. Of more, a random choice is kept: quantiles then are estimates, good to about
/// two percent of rank.
const SLICE_OBSERVATIONS_MAX: usize = 2048;

/// Sum and count of all observations, and quantiles of the latest. Clones observe together.
#[derive(Clone)]
pub struct Summary(Arc<SummaryCells>);

struct SummaryCells {
    quantiles: Box<[f64]>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sum: f64,
    count: u64,
    /// Oldest first.
    slices: VecDeque<Slice>,
    random: u64,
}

#[derive(Debug)]
struct Slice {
    /// Milliseconds of elapsed time, divided by a slice's length.
    number: i64,
    seen: u64,
    observations: Vec<f64>,
}

/// What a summary shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    /// Quantile and value, which is NaN where nothing was observed lately.
    pub(crate) quantiles: Vec<(f64, f64)>,
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

impl Summary {
    /// A summary that shows `quantiles` (each from 0 to 1).
    pub fn new(quantiles: &[f64]) -> Self {
        Summary::with_clock(quantiles, Arc::new(SystemClock))
    }

    /// As [`Summary::new`], with the window's time from `clock`.
    pub fn with_clock(quantiles: &[f64], clock: Arc<dyn Clock>) -> Self {
        let mut quantiles = quantiles.to_vec();
        quantiles.sort_by(f64::total_cmp);
        Summary(Arc::new(SummaryCells {
            quantiles: quantiles.into(),
            clock,
            state: Mutex::new(State::default()),
        }))
    }

    /// Not the time of day: where that is set back, the window must go on.
    fn now_ms(&self) -> i64 {
        self.0.clock.elapsed().as_millis() as i64
    }

    /// Counts an observation. Takes a short lock.
    pub fn observe(&self, value: f64) {
        let now_ms = self.now_ms();
        let mut state = self.0.state.lock();
        state.sum += value;
        state.count += 1;
        if !self.0.quantiles.is_empty() {
            state.keep(now_ms, value);
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let now_ms = self.now_ms();
        let mut state = self.0.state.lock();
        state.forget(now_ms);
        let mut sorted: Vec<f64> = state
            .slices
            .iter()
            .flat_map(|slice| &slice.observations)
            .copied()
            .collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        Snapshot {
            quantiles: self
                .0
                .quantiles
                .iter()
                .map(|&quantile| (quantile, at(quantile)))
                .collect(),
            sum: state.sum,
            count: state.count,
        }
    }
}

impl State {
    fn keep(&mut self, now_ms: i64, value: f64) {
        self.forget(now_ms);
        let number = slice_number(now_ms);
        if self.slices.back().is_none_or(|slice| slice.number != number) {
            self.slices.push_back(Slice {
                number,
                seen: 0,
                observations: Vec::new(),
            });
        }
        // xorshift: which observations stay need not be unpredictable.
        self.random = (self.random ^ self.count).max(1);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let Some(slice) = self.slices.back_mut() else {
            return;
        };
        slice.seen += 1;
        if slice.observations.len() < SLICE_OBSERVATIONS_MAX {
            slice.observations.push(value);
        } else if let Some(kept) = slice.observations.get_mut((self.random % slice.seen) as usize) {
            *kept = value;
        }
    }

    fn forget(&mut self, now_ms: i64) {
        let oldest = slice_number(now_ms) - SLICES;
        while self.slices.front().is_some_and(|slice| slice.number <= oldest) {
            self.slices.pop_front();
        }
    }
}

fn slice_number(now_ms: i64) -> i64 {
    now_ms.div_euclid(WINDOW_MS / SLICES)
}

impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary")
            .field("snapshot", &self.snapshot())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::clock::ManualClock;

    #[test]
    fn quantiles_are_of_the_window_sums_of_all_time() {
        let clock = Arc::new(ManualClock::new(0));
        let summary = Summary::with_clock(&[0.9, 0.5], clock.clone());
        assert!(
            summary
                .snapshot()
                .quantiles
                .iter()
                .all(|(_, value)| value.is_nan())
        );
        (1..=10).for_each(|value| summary.observe(f64::from(value)));
        let expected = Snapshot {
            quantiles: vec![(0.5, 5.0), (0.9, 9.0)],
            sum: 55.0,
            count: 10,
        };
        assert_eq!(summary.snapshot(), expected);

        clock.set(WINDOW_MS - 1);
        summary.observe(100.0);
        assert_eq!(summary.snapshot().quantiles, [(0.5, 6.0), (0.9, 10.0)]);
        clock.set(WINDOW_MS);
        assert_eq!(summary.snapshot().quantiles, [(0.5, 100.0), (0.9, 100.0)]);
        clock.set(3 * WINDOW_MS);
        let late = summary.snapshot();
        assert!(late.quantiles.iter().all(|(_, value)| value.is_nan()));
        assert_eq!((late.sum, late.count), (155.0, 11));
    }

    #[test]
    fn the_window_moves_on_though_the_clock_is_set_back() {
        let clock = Arc::new(ManualClock::new(10 * WINDOW_MS));
        let summary = Summary::with_clock(&[0.5], clock.clone());
        summary.observe(1.0);
        clock.jump(-5 * WINDOW_MS);
        clock.set(clock.now_ms() + WINDOW_MS);
        summary.observe(2.0);
        assert_eq!(summary.snapshot().quantiles, [(0.5, 2.0)]);
    }

    #[test]
    fn many_observations_are_bounded_and_still_representative() {
        let summary = Summary::with_clock(&[0.5], Arc::new(ManualClock::new(0)));
        (0..100_000).for_each(|value| summary.observe(f64::from(value)));
        assert_eq!(
            summary.0.state.lock().slices[0].observations.len(),
            SLICE_OBSERVATIONS_MAX
        );
        let median = summary.snapshot().quantiles[0].1;
        assert!((median - 50_000.0).abs() < 5_000.0, "{median}");
    }
}
