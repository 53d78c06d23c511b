//! `sum_over_time` and `avg_over_time` of floats.

use std::ops::Range;

use model::histogram::kahan::Kahan;

use crate::row::Row;

use super::{KernelError, Run, histogram_sums};

/// `sum_over_time`
pub(super) fn sum(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    additive(
        run,
        out,
        |window, sliding| {
            if let Some(sliding) = sliding {
                return sliding.total();
            }
            let mut sum = Kahan::default();
            for value in window {
                sum.add(*value);
            }
            if sum.sum.is_infinite() {
                sum.sum
            } else {
                sum.total()
            }
        },
        histogram_sums::sum,
    )
}

/// `avg_over_time`
pub(super) fn avg(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    additive(
        run,
        out,
        |window, sliding| match sliding {
            Some(sliding) => sliding.total() / window.len() as f64,
            None => mean(window),
        },
        histogram_sums::avg,
    )
}

/// The mean by way of the sum; where that overflows, the running mean from there on.
pub(super) fn mean(values: &[f64]) -> f64 {
    let mut values = values.iter().enumerate();
    let mut sum = Kahan::new(values.next().map_or(f64::NAN, |(_, first)| *first));
    let mut count = 1.0;
    while let Some((i, value)) = values.next() {
        let mut next = sum;
        next.add(*value);
        if next.sum.is_infinite() {
            let mean = Kahan {
                sum: sum.sum / count,
                compensation: sum.compensation / count,
            };
            return running_mean(mean, i, std::iter::once(*value).chain(values.map(|(_, v)| *v)));
        }
        sum = next;
        count = (i + 1) as f64;
    }
    sum.total() / count
}

/// Goes on with the mean of `seen` values.
fn running_mean(mut mean: Kahan, seen: usize, values: impl Iterator<Item = f64>) -> f64 {
    for (i, value) in values.enumerate() {
        let count = (seen + i + 1) as f64;
        let kept = (count - 1.0) / count;
        mean.sum *= kept;
        mean.compensation *= kept;
        mean.add(value / count);
    }
    mean.total()
}

/// Runs over the windows; `f` gets the window and, where it is as good as a fresh one, the sum carried over from the
/// window before.
fn additive(
    run: &mut Run<'_, '_>,
    out: &mut Row,
    f: impl Fn(&[f64], Option<Kahan>) -> f64,
    of_histograms: fn(&mut Run<'_, '_>, usize, Range<usize>, &mut Row),
) -> Result<(), KernelError> {
    let values = run.samples.floats;
    let mut sliding = SlidingSum::default();
    let mut of_floats = |floats: Range<usize>| {
        let sum = sliding.slide(values, floats.clone());
        f(&values[floats], sum)
    };
    if run.only_floats() {
        run.map_floats(out, |_, _, floats| Some(of_floats(floats)));
        return Ok(());
    }
    run.for_each_window(
        |run, step, floats, histograms| match (floats.is_empty(), histograms.is_empty()) {
            (false, false) => run.notes.mixed_floats_and_histograms(),
            (true, _) => of_histograms(run, step, histograms, out),
            (false, true) => out.set(step, of_floats(floats)),
        },
    );
    Ok(())
}

/// A sum carried from window to window by adding what comes and subtracting what goes.
///
/// It is given out only while it is settled ([`Kahan::is_settled`]) over everything added or subtracted since the last
/// fresh start, and so is the sum of the window to the last bit: no result depends on where the steps began. A large value
/// that has left the window, a sum that cancels, an infinity or a NaN end it.
#[derive(Clone, Debug, Default)]
struct SlidingSum {
    sum: Kahan,
    /// What it is the sum of.
    window: Range<usize>,
    /// Σ|x| of all operations since the last fresh start.
    magnitude: f64,
    /// Number of those operations.
    operations: f64,
}

/// Magnitudes from here on might overflow in another order of additions.
const SLIDING_MAGNITUDE_MAX: f64 = 1e300;

impl SlidingSum {
    /// The sum of `window`, which starts and ends no earlier than the last one; `None` where the caller has to sum
    /// afresh by its own rules.
    #[inline]
    fn slide(&mut self, values: &[f64], window: Range<usize>) -> Option<Kahan> {
        let (gone, come) = (self.window.start..window.start, self.window.end..window.end);
        if gone.len() + come.len() >= window.len() {
            self.restart(&values[window.clone()]);
        } else {
            for value in &values[come] {
                self.add(*value);
            }
            for value in &values[gone] {
                self.add(-*value);
            }
            if !self.is_good() {
                self.restart(&values[window.clone()]);
            }
        }
        self.window = window;
        if self.magnitude < SLIDING_MAGNITUDE_MAX {
            return Some(self.sum);
        }
        *self = SlidingSum::default();
        None
    }

    /// Sums `window` in its order, as the reference does.
    fn restart(&mut self, window: &[f64]) {
        *self = SlidingSum::default();
        for value in window {
            self.add(*value);
        }
    }

    #[inline]
    fn add(&mut self, value: f64) {
        self.sum.add(value);
        self.magnitude += value.abs();
        self.operations += 1.0;
    }

    fn is_good(&self) -> bool {
        self.sum.is_settled(self.operations, self.magnitude) && self.magnitude < SLIDING_MAGNITUDE_MAX
    }
}
