//! `deriv` and `predict_linear`: the least-squares line through a window's floats.

use model::histogram::kahan::Kahan;

use crate::row::Row;

use super::{KernelError, Run};

/// `deriv`: the slope per second.
pub(super) fn deriv(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    run.map_float_pairs(out, |run, _, window| {
        // The origin lies near the samples, so that no digits are lost to large times.
        let origin = run.samples.float_ts[window.start];
        let line = fit(
            &run.samples.float_ts[window.clone()],
            &run.samples.floats[window],
            origin,
        );
        line.slope
    });
    Ok(())
}

/// `predict_linear`: the line's value a number of seconds behind the evaluation time.
pub(super) fn predict_linear(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    let Some(ahead) = run.args.first().copied() else {
        return Ok(());
    };
    run.map_float_pairs(out, |run, step, window| {
        let origin = run.input.eval.at(step);
        let line = fit(
            &run.samples.float_ts[window.clone()],
            &run.samples.floats[window],
            origin,
        );
        line.slope * ahead.at(step) + line.intercept
    });
    Ok(())
}

struct Line {
    /// Per second.
    slope: f64,
    /// Value at the origin.
    intercept: f64,
}

fn fit(timestamps: &[i64], values: &[f64], origin_ms: i64) -> Line {
    let first = values[0];
    if values[1..].iter().all(|value| *value == first) {
        return if first.is_infinite() {
            Line {
                slope: f64::NAN,
                intercept: f64::NAN,
            }
        } else {
            Line {
                slope: 0.0,
                intercept: first,
            }
        };
    }
    let (mut x_sum, mut y_sum) = (Kahan::default(), Kahan::default());
    let (mut xy_sum, mut xx_sum) = (Kahan::default(), Kahan::default());
    for (timestamp, y) in timestamps.iter().zip(values) {
        let x = (timestamp - origin_ms) as f64 / 1e3;
        x_sum.add(x);
        y_sum.add(*y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let n = values.len() as f64;
    let (x, y) = (x_sum.total(), y_sum.total());
    let covariance = xy_sum.total() - x * y / n;
    let variance = xx_sum.total() - x * x / n;
    let slope = covariance / variance;
    Line {
        slope,
        intercept: y / n - slope * x / n,
    }
}
