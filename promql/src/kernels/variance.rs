//! `stddev_over_time` and `stdvar_over_time`.

use model::histogram::kahan::Kahan;

use crate::row::Row;

use super::{KernelError, Run};

/// `stddev_over_time`: of the population, not of a sample.
pub(super) fn stddev(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    run.for_each_float_window(|run, step, window| {
        out.set(step, variance(&run.samples.floats[window]).sqrt());
    });
    Ok(())
}

/// `stdvar_over_time`: of the population, not of a sample.
pub(super) fn stdvar(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    run.for_each_float_window(|run, step, window| {
        out.set(step, variance(&run.samples.floats[window]));
    });
    Ok(())
}

/// Welford's recurrence with compensated sums. Each window is computed afresh: where the deviations are tiny beside the
/// values, the rounding of this order of operations shows in the result.
fn variance(values: &[f64]) -> f64 {
    let mut count = 0.0;
    let (mut mean, mut squares) = (Kahan::default(), Kahan::default());
    for value in values {
        count += 1.0;
        let delta = value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (value - mean.total()));
    }
    squares.total() / count
}
