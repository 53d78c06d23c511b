//! `double_exponential_smoothing` (Holt's method).

use crate::row::Row;

use super::{KernelError, Run};

/// `double_exponential_smoothing`; its scalars are the smoothing factor and the trend factor.
pub(super) fn double_exponential(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    let [smoothing, trend] = run.args else {
        return Ok(());
    };
    let (smoothing, trend) = (*smoothing, *trend);
    let mut error = None;
    let mut check = |step: usize| {
        let (smoothing, trend) = (smoothing.at(step), trend.at(step));
        // Compat: NaN passes.
        if smoothing <= 0.0 || smoothing >= 1.0 {
            error.get_or_insert(KernelError::SmoothingFactor(smoothing));
        } else if trend <= 0.0 || trend >= 1.0 {
            error.get_or_insert(KernelError::TrendFactor(trend));
        }
    };
    run.for_each_window(|_, step, _, _| check(step));
    if let Some(error) = error {
        return Err(error);
    }
    run.map_float_pairs(out, |run, step, window| {
        let values = &run.samples.floats[window];
        smooth(values, smoothing.at(step), trend.at(step))
    });
    Ok(())
}

/// The smoothed value at the last of at least two values.
fn smooth(values: &[f64], smoothing: f64, trend: f64) -> f64 {
    let (mut before, mut level) = (0.0, values[0]);
    let mut slope = values[1] - values[0];
    for (i, value) in values[1..].iter().enumerate() {
        let scaled = smoothing * value;
        if i > 0 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        let carried = (1.0 - smoothing) * (level + slope);
        (before, level) = (level, scaled + carried);
    }
    level
}
