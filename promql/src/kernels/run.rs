//! What a kernel function gets, and the walks over windows that kernels share.

use std::ops::Range;

use super::notes::Notes;
use super::samples::{Cursor, Samples};
use super::{RangeInput, ScalarArg, Work};

/// One evaluation of a range function over one series.
pub(super) struct Run<'a, 'c> {
    pub(super) samples: Samples<'a>,
    pub(super) input: &'a RangeInput<'a>,
    pub(super) args: &'a [ScalarArg<'a>],
    pub(super) notes: Notes<'c>,
    pub(super) work: &'a mut Work,
}

impl Run<'_, '_> {
    /// Number of steps.
    pub(super) fn steps(&self) -> usize {
        self.input.windows.ends.count
    }

    /// Start (excluded) and end (included) of a step's window.
    #[inline]
    pub(super) fn window(&self, step: usize) -> (i64, i64) {
        let end = self.input.windows.ends.at(step);
        (end.saturating_sub(self.input.windows.range_ms), end)
    }

    /// Length of the range in seconds.
    pub(super) fn range_seconds(&self) -> f64 {
        // Whole and fraction apart: the sum rounds as the reference's does.
        let range = self.input.windows.range_ms;
        (range / 1000) as f64 + (range % 1000 * 1_000_000) as f64 / 1e9
    }

    /// Calls `f(run, step, floats, histograms)` for each step whose window holds samples.
    #[inline]
    pub(super) fn for_each_window(
        &mut self,
        mut f: impl FnMut(&mut Self, usize, Range<usize>, Range<usize>),
    ) {
        let (mut floats, mut histograms) = (Cursor::default(), Cursor::default());
        let has_histograms = !self.samples.histogram_ts.is_empty();
        for step in 0..self.steps() {
            let (start, end) = self.window(step);
            floats.advance(self.samples.float_ts, start, end);
            if has_histograms {
                histograms.advance(self.samples.histogram_ts, start, end);
            }
            if !floats.is_empty() || !histograms.is_empty() {
                f(
                    self,
                    step,
                    floats.first..floats.end,
                    histograms.first..histograms.end,
                );
            }
        }
    }

    /// Calls `f(run, step, floats)` for each step whose window holds floats; notes histograms beside them.
    pub(super) fn for_each_float_window(&mut self, mut f: impl FnMut(&mut Self, usize, Range<usize>)) {
        let mut ignored = false;
        self.for_each_window(|run, step, floats, histograms| {
            if !floats.is_empty() {
                ignored |= !histograms.is_empty();
                f(run, step, floats);
            }
        });
        if ignored {
            self.notes.histograms_ignored();
        }
    }

    /// Calls `f(run, step, floats)` for each step whose window holds at least two floats; notes histograms beside even
    /// one.
    pub(super) fn for_each_float_pair(&mut self, mut f: impl FnMut(&mut Self, usize, Range<usize>)) {
        self.for_each_float_window(|run, step, floats| {
            if floats.len() > 1 {
                f(run, step, floats);
            }
        });
    }
}
