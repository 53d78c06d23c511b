//! Range functions over windows that hold very many samples altogether, a block of steps at a time.
//!
//! A month's window at each of thousands of steps is work for seconds on one series. Between blocks the query can be
//! stopped. How steps are cut follows from the samples alone, so that answers are the same each time.

use std::sync::Arc;

use crate::engine::{ExecutionError, QueryError};
use crate::kernels::{KernelContext, RangeFunction, RangeInput, ScalarArg};
use crate::row::{Row, Steps, Windows};

use super::counts::WindowSizes;
use super::limits::Limits;
use super::scalar::{Scalars, as_args};

/// Samples in the windows of a block: a few milliseconds of work.
const BLOCK_SAMPLES: usize = 1 << 20;

/// Evaluates `function`, which was prepared, into `out`.
pub(super) fn run(
    function: &RangeFunction,
    input: &RangeInput<'_>,
    args: &[Scalars],
    sizes: WindowSizes,
    limits: &Arc<Limits>,
    context: &mut KernelContext<'_>,
    out: &mut Row,
) -> Result<(), QueryError> {
    let args = as_args(args);
    let failed = |error| QueryError::from(ExecutionError::from(error));
    let steps = input.windows.ends.count;
    let blocks = sizes.all.div_ceil(BLOCK_SAMPLES).min(steps);
    if blocks < 2 {
        return function.run_prepared(input, &args, context, out).map_err(failed);
    }
    out.reset(steps);
    let (block, mut part) = (steps.div_ceil(blocks), Row::default());
    for first in (0..steps).step_by(block) {
        limits.check()?;
        let count = block.min(steps - first);
        let input = RangeInput {
            windows: Windows {
                ends: shifted(input.windows.ends, first, count),
                ..input.windows
            },
            eval: shifted(input.eval, first, count),
            ..*input
        };
        let args: Vec<ScalarArg<'_>> = args.iter().map(|arg| from(*arg, first)).collect();
        function.run(&input, &args, context, &mut part).map_err(failed)?;
        append(out, &part, first);
    }
    Ok(())
}

/// `count` steps from step `first` on.
fn shifted(steps: Steps, first: usize, count: usize) -> Steps {
    Steps {
        start_ms: steps.at(first),
        count,
        ..steps
    }
}

/// The argument as steps see it that count from `first`.
fn from(arg: ScalarArg<'_>, first: usize) -> ScalarArg<'_> {
    match arg {
        ScalarArg::PerStep(values) => ScalarArg::PerStep(values.get(first..).unwrap_or_default()),
        constant => constant,
    }
}

/// Writes the results of `part` to the steps of `out` from `first` on.
fn append(out: &mut Row, part: &Row, first: usize) {
    for (step, value) in part.values.iter().enumerate() {
        if part.present.get(step) {
            out.set(first + step, *value);
        }
    }
    let moved = part
        .histograms
        .iter()
        .map(|(step, histogram)| (*step + first as u32, histogram.clone()));
    out.histograms.extend(moved);
}
