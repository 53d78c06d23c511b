//! Kernels: what a selector or a range function makes of one series, over all steps at once.
//!
//! A kernel reads one series' [`Columns`] and fills one [`Row`]; it slides its window over ascending window ends, so
//! that a row costs samples + steps where the function allows it, and allocates nothing once its [`Scratch`] is warm.
//! Staleness markers in the columns are skipped by range functions and end the series for [`select_instant`].
//!
//! ```
//! use model::columns::Columns;
//! use narthex_promql::annotations::Annotations;
//! use narthex_promql::kernels::{KernelContext, RangeInput, Scratch, range_function};
//! use narthex_promql::row::{Row, Steps, Windows};
//!
//! let mut columns = Columns::default();
//! for i in 0..4 {
//!     columns.push(i * 15_000, i as f64);
//! }
//! let steps = Steps { start_ms: 45_000, step_ms: 15_000, count: 1 };
//! let input = RangeInput::plain(&columns, Windows { ends: steps, range_ms: 60_000 });
//! let (mut annotations, mut scratch, mut row) = (Annotations::default(), Scratch::default(), Row::default());
//! let mut context = KernelContext::new("up", Default::default(), &mut annotations, &mut scratch);
//! let sum = range_function("sum_over_time").expect("known");
//! sum.run(&input, &[], &mut context, &mut row).expect("takes no argument that could be wrong");
//! assert_eq!(row.get(0), Some(6.0));
//! ```

mod bounds;
mod events;
mod extended;
mod extremes;
mod histogram_rate;
mod histogram_sums;
mod instant;
mod last_two;
mod notes;
mod order;
mod pick;
mod rate;
mod rate_block;
mod regression;
mod run;
mod samples;
mod smoothing;
mod starts;
mod sums;
mod table;
mod variance;

pub use bounds::Bounds;
pub use instant::{InstantOutput, select_instant};
pub use model::histogram::kahan::Kahan;
pub use notes::HistogramOperation;
pub use order::{order, quantile_of_sorted};
pub use table::range_function;

use model::columns::Columns;
use model::float::{Layout, format_precision};

use crate::annotations::Annotations;
use crate::ast::Span;
use crate::row::{Row, Steps, Windows};

use notes::Notes;
use run::Run;
use samples::SamplesBuffers;

/// A scalar argument of a range function: one value for all steps, or one for each.
#[derive(Clone, Copy, Debug)]
pub enum ScalarArg<'a> {
    /// The same at every step.
    Constant(f64),
    /// One value a step of the evaluation.
    PerStep(&'a [f64]),
}

impl ScalarArg<'_> {
    /// Value at step `index`; NaN behind the last one.
    #[inline]
    pub fn at(&self, index: usize) -> f64 {
        match self {
            ScalarArg::Constant(value) => *value,
            ScalarArg::PerStep(values) => values.get(index).copied().unwrap_or(f64::NAN),
        }
    }
}

/// How a range selector reaches beyond its range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extension {
    /// Not at all.
    #[default]
    None,
    /// `anchored`: the last sample at or before the range's start, not older than the lookback, belongs to it.
    Anchored,
    /// `smoothed`: values at both ends are interpolated with samples up to one lookback outside.
    Smoothed,
}

/// What a range function is evaluated on.
#[derive(Clone, Copy, Debug)]
pub struct RangeInput<'a> {
    /// Samples of one series: at least those in `(first end - range - before, last end + after]`, where `before` and
    /// `after` are what [`RangeInput::reach_ms`] says. More do no harm.
    pub columns: &'a Columns,
    /// The windows. `ends.step_ms` may be 0: the same window at each step, for a selector that is pinned by `@` under
    /// arguments that change from step to step.
    pub windows: Windows,
    /// The evaluation's own times, `ends.count` of them: window ends before `offset` and `@` moved them. Only
    /// `predict_linear` looks at them.
    pub eval: Steps,
    /// `anchored` or `smoothed`.
    pub extension: Extension,
    /// Lookback, which bounds how far an extended range reaches.
    pub lookback_ms: i64,
    /// Whether start timestamps count (`--enable-feature=use-start-timestamps`).
    pub use_start_timestamps: bool,
}

impl<'a> RangeInput<'a> {
    /// An input without offset, extension or start timestamps.
    pub fn plain(columns: &'a Columns, windows: Windows) -> Self {
        RangeInput {
            columns,
            windows,
            eval: windows.ends,
            extension: Extension::None,
            lookback_ms: 0,
            use_start_timestamps: false,
        }
    }

    /// The windows with all samples that results may depend on: longer than `windows` where ranges are extended.
    pub fn reached(&self) -> Windows {
        let (before, after) = Self::reach_ms(self.extension, self.lookback_ms);
        let Windows { mut ends, range_ms } = self.windows;
        ends.start_ms = ends.start_ms.saturating_add(after);
        Windows {
            ends,
            range_ms: range_ms.saturating_add(before).saturating_add(after),
        }
    }

    /// How many milliseconds before the start and behind the end of a range samples are needed.
    pub fn reach_ms(extension: Extension, lookback_ms: i64) -> (i64, i64) {
        match extension {
            Extension::None => (0, 0),
            Extension::Anchored => (lookback_ms, 0),
            Extension::Smoothed => (lookback_ms, lookback_ms),
        }
    }
}

/// What a kernel needs besides its input: where annotations go and what they speak of, and buffers to reuse.
#[derive(Debug)]
pub struct KernelContext<'a> {
    /// Metric name of the series, for annotations; empty when it has none.
    pub metric_name: &'a str,
    /// The function's first argument in the query's text, for annotations.
    pub span: Span,
    /// Where annotations go.
    pub annotations: &'a mut Annotations,
    /// Buffers that survive from series to series; one a thread.
    pub scratch: &'a mut Scratch,
}

impl<'a> KernelContext<'a> {
    /// A context.
    pub fn new(
        metric_name: &'a str,
        span: Span,
        annotations: &'a mut Annotations,
        scratch: &'a mut Scratch,
    ) -> Self {
        KernelContext {
            metric_name,
            span,
            annotations,
            scratch,
        }
    }
}

/// Buffers of kernels; keep one a thread and hand it to every call.
#[derive(Debug, Default)]
pub struct Scratch {
    samples: SamplesBuffers,
    float_bounds: Bounds,
    histogram_bounds: Bounds,
    work: Work,
}

impl Scratch {
    /// Where the windows that were prepared last, as [`RangeInput::reached`] gives them, begin and end among the rows of
    /// their columns; `None` unless each row is a float that counts.
    pub fn bounds(&self) -> Option<&Bounds> {
        self.samples.in_place.then_some(&self.float_bounds)
    }
}

/// Buffers that single kernels work in; what they hold before and after a call means nothing.
#[derive(Debug, Default)]
struct Work {
    bounds: Bounds,
    indices: Vec<u32>,
    more_indices: Vec<u32>,
    times: Vec<i64>,
    keys: Vec<i64>,
    sorted: Vec<f64>,
    distances: Vec<f64>,
}

/// Why a range function failed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The first scalar of `double_exponential_smoothing` is out of range.
    #[error("invalid smoothing factor. Expected: 0 < sf < 1, got: {}", fixed(*.0))]
    SmoothingFactor(f64),
    /// The second scalar of `double_exponential_smoothing` is out of range.
    #[error("invalid trend factor. Expected: 0 < tf < 1, got: {}", fixed(*.0))]
    TrendFactor(f64),
}

/// Go's `%f`.
fn fixed(value: f64) -> String {
    format_precision(value, Layout::Plain, 6)
}

/// Which samples a range function looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Timestamps only, of floats and histograms.
    Timestamps,
    /// Floats; histograms in a window at most cause an annotation.
    Floats,
    /// Floats and whole histograms.
    All,
}

/// A range function: what the planner has to know of it, and its kernel.
#[derive(Debug)]
pub struct RangeFunction {
    /// Name, as in queries.
    pub name: &'static str,
    /// Whether results keep the metric name (`first_over_time`, `last_over_time`).
    pub keeps_name: bool,
    /// Which samples it looks at.
    pub needs: Needs,
    /// Whether it may be used over `anchored` ranges.
    pub anchored: bool,
    /// Whether it may be used over `smoothed` ranges.
    pub smoothed: bool,
    /// Whether it looks at start timestamps when they count.
    pub start_timestamps: bool,
    /// Number of scalar arguments, in the order they are written; the range vector is not one of them.
    pub scalars: usize,
    kernel: Kernel,
}

type Kernel = fn(&mut Run<'_, '_>, &mut Row) -> Result<(), KernelError>;

impl RangeFunction {
    /// Evaluates the function over one series; `out` is reset to `input.windows.ends.count` steps first.
    ///
    /// # Errors
    /// When a scalar argument is out of the function's range and some window holds samples.
    pub fn run(
        &self,
        input: &RangeInput<'_>,
        args: &[ScalarArg<'_>],
        context: &mut KernelContext<'_>,
        out: &mut Row,
    ) -> Result<(), KernelError> {
        self.prepare(input, context.scratch);
        self.run_prepared(input, args, context, out)
    }

    /// Finds the samples that count and the bounds of the windows: the first half of [`RangeFunction::run`], for callers
    /// that look at [`Scratch::bounds`] before the second.
    pub fn prepare(&self, input: &RangeInput<'_>, scratch: &mut Scratch) {
        scratch.samples.take(input.columns, self.needs);
        let samples = scratch.samples.split(input.columns);
        let windows = input.reached();
        scratch.float_bounds.find(samples.float_ts, windows);
        if !samples.histogram_ts.is_empty() {
            scratch.histogram_bounds.find(samples.histogram_ts, windows);
        }
    }

    /// The second half of [`RangeFunction::run`], on the input that was prepared last with the context's scratch.
    ///
    /// # Errors
    /// As there.
    pub fn run_prepared(
        &self,
        input: &RangeInput<'_>,
        args: &[ScalarArg<'_>],
        context: &mut KernelContext<'_>,
        out: &mut Row,
    ) -> Result<(), KernelError> {
        out.reset(input.windows.ends.count);
        if input.columns.is_empty() || input.windows.range_ms <= 0 {
            return Ok(());
        }
        let Scratch {
            samples,
            float_bounds,
            histogram_bounds,
            work,
        } = &mut *context.scratch;
        let mut run = Run {
            samples: samples.split(input.columns),
            float_bounds,
            histogram_bounds,
            input,
            args,
            notes: Notes {
                metric_name: context.metric_name,
                span: context.span,
                annotations: &mut *context.annotations,
            },
            work,
        };
        (self.kernel)(&mut run, out)
    }
}

#[cfg(test)]
mod histogram_tests;
#[cfg(test)]
mod tests;
