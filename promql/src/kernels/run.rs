//! What a kernel function gets, and the walks over windows that kernels share.

use std::ops::Range;

use crate::row::Row;

use super::bounds::Bounds;
use super::notes::Notes;
use super::samples::Samples;
use super::{RangeInput, ScalarArg, Work};

/// One evaluation of a range function over one series.
pub(super) struct Run<'a, 'c> {
    pub(super) samples: Samples<'a>,
    /// Windows among the floats.
    pub(super) float_bounds: &'a Bounds,
    /// Windows among the histograms; means nothing where there are none.
    pub(super) histogram_bounds: &'a Bounds,
    pub(super) input: &'a RangeInput<'a>,
    pub(super) args: &'a [ScalarArg<'a>],
    pub(super) notes: Notes<'c>,
    pub(super) work: &'a mut Work,
}

impl Run<'_, '_> {
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
    pub(super) fn for_each_window(
        &mut self,
        mut f: impl FnMut(&mut Self, usize, Range<usize>, Range<usize>),
    ) {
        let both = |(first, end): (u32, u32)| first as usize..end as usize;
        let mut histograms = self.histogram_bounds.iter();
        let only_floats = self.only_floats();
        for (step, floats) in self.float_bounds.iter().enumerate() {
            let histograms = match only_floats {
                true => 0..0,
                false => histograms.next().map_or(0..0, both),
            };
            let floats = both(floats);
            if !floats.is_empty() || !histograms.is_empty() {
                f(self, step, floats, histograms);
            }
        }
    }

    /// Whether all samples are floats: then [`Run::map_floats`] sees every window.
    pub(super) fn only_floats(&self) -> bool {
        self.samples.histogram_ts.is_empty()
    }

    /// Sets each step whose window holds floats to what `f(run, step, floats)` gives for it; notes histograms beside
    /// them.
    #[inline]
    pub(super) fn map_floats(
        &mut self,
        out: &mut Row,
        mut f: impl FnMut(&mut Self, usize, Range<usize>) -> Option<f64>,
    ) {
        if self.only_floats() {
            return self.map_only_floats(out, f);
        }
        let mut ignored = false;
        self.for_each_window(|run, step, floats, histograms| {
            if !floats.is_empty() {
                ignored |= !histograms.is_empty();
                if let Some(value) = f(run, step, floats) {
                    out.set(step, value);
                }
            }
        });
        if ignored {
            self.notes.histograms_ignored();
        }
    }

    /// The common case, as tight as it gets: results and presence bits are written without looking at them again.
    #[inline]
    fn map_only_floats(
        &mut self,
        out: &mut Row,
        mut f: impl FnMut(&mut Self, usize, Range<usize>) -> Option<f64>,
    ) {
        let mut windows = self.float_bounds.iter().enumerate();
        for (word, values) in out.present.words_mut().iter_mut().zip(out.values.chunks_mut(64)) {
            let mut present = 0;
            for ((bit, slot), (step, (first, end))) in values.iter_mut().enumerate().zip(&mut windows) {
                if first < end
                    && let Some(value) = f(self, step, first as usize..end as usize)
                {
                    *slot = value;
                    present |= 1 << bit;
                }
            }
            *word = present;
        }
    }

    /// As [`Run::map_floats`], for windows with at least two floats; notes histograms beside even one.
    pub(super) fn map_float_pairs(
        &mut self,
        out: &mut Row,
        mut f: impl FnMut(&mut Self, usize, Range<usize>) -> f64,
    ) {
        self.map_floats(out, |run, step, floats| {
            (floats.len() > 1).then(|| f(run, step, floats))
        });
    }
}
