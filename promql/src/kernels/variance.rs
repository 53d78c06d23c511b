//! `stddev_over_time` and `stdvar_over_time`.

use model::histogram::kahan::Kahan;

use crate::row::Row;

use super::{KernelError, Run};

/// `stddev_over_time`: of the population, not of a sample.
pub(super) fn stddev(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    run.map_floats(out, |run, _, window| {
        Some(variance(&run.samples.floats[window]).sqrt())
    });
    Ok(())
}

/// `stdvar_over_time`: of the population, not of a sample.
pub(super) fn stdvar(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    run.map_floats(out, |run, _, window| Some(variance(&run.samples.floats[window])));
    Ok(())
}

/// How many standard deviations the mean may be away from 0 for the plain computation to be good enough.
const DEVIATIONS_MAX: f64 = 1e3;

/// Variance by two plain passes, which processors do several values at a time. Where the deviations are tiny beside
/// the values, or something is not finite, the rounding of [`welford`]'s order of operations shows in its result, and
/// with it in the reference's: then by that.
fn variance(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = sum(values, |value| value) / count;
    let variance = sum(values, |value| (value - mean) * (value - mean)) / count;
    let is_good = mean.abs() <= DEVIATIONS_MAX * variance.sqrt() && variance < f64::MAX && variance > 1e-280;
    if is_good { variance } else { welford(values) }
}

/// Σ f(value) in eight independent sums.
fn sum(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    let chunks = values.chunks_exact(sums.len());
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f(*value);
        }
    }
    let rest: f64 = rest.iter().map(|value| f(*value)).sum();
    rest + ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
}

/// Welford's recurrence with compensated sums.
fn welford(values: &[f64]) -> f64 {
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
