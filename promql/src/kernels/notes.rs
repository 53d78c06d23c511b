//! The annotations that kernels make, in the reference's words.

use model::go::Quoted;
use std::fmt;

use model::float::format_general;

use crate::annotations::Annotations;
use crate::ast::Span;

/// Where a kernel's annotations go and what they speak of: a [`super::KernelContext`] whose scratch is lent out.
#[derive(Debug)]
pub(super) struct Notes<'c> {
    pub(super) metric_name: &'c str,
    pub(super) span: Span,
    pub(super) annotations: &'c mut Annotations,
}

/// What was done when histograms met whose counter resets or bounds differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramOperation {
    /// `+`
    Addition,
    /// `-`
    Subtraction,
    /// `sum`, `avg` and their `_over_time` forms.
    Aggregation,
}

impl fmt::Display for HistogramOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HistogramOperation::Addition => "addition",
            HistogramOperation::Subtraction => "subtraction",
            HistogramOperation::Aggregation => "aggregation",
        })
    }
}

impl Notes<'_> {
    /// Floats and histograms in a window of a function that cannot mix them.
    pub(super) fn mixed_floats_and_histograms(&mut self) {
        self.warn(format_args!(
            "encountered a mix of histograms and floats for metric name {}",
            Quoted(self.metric_name)
        ));
    }

    /// Histograms in a window of a function that looks at floats only.
    pub(super) fn histograms_ignored(&mut self) {
        self.annotations.info(
            self.span,
            format_args!(
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                Quoted(self.metric_name)
            ),
        );
    }

    /// A gauge histogram under a function for counters.
    pub(super) fn not_a_counter(&mut self) {
        self.warn(format_args!(
            "this native histogram metric is not a counter: {}",
            Quoted(self.metric_name)
        ));
    }

    /// A counter histogram under a function for gauges.
    pub(super) fn not_a_gauge(&mut self) {
        self.warn(format_args!(
            "this native histogram metric is not a gauge: {}",
            Quoted(self.metric_name)
        ));
    }

    /// Exponential and custom buckets in one window.
    pub(super) fn mixed_schemas(&mut self) {
        self.warn(format_args!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
            Quoted(self.metric_name)
        ));
    }

    /// Custom bounds differed and were cut down to those in common.
    pub(super) fn bounds_reconciled(&mut self, operation: HistogramOperation) {
        self.annotations.info(
            self.span,
            format_args!("mismatched custom buckets were reconciled during {operation}"),
        );
    }

    /// One histogram says that it follows a counter reset, another that it does not.
    pub(super) fn resets_collide(&mut self, operation: HistogramOperation) {
        self.warn(format_args!(
            "conflicting counter resets during histogram {operation}"
        ));
    }

    /// A sample claims to have started before its predecessor was taken.
    pub(super) fn start_times_overlap(&mut self) {
        self.annotations.warn_counted(
            self.span,
            format_args!(
                "sample has start time that overlaps with previous sample timestamp for metric {}",
                Quoted(self.metric_name)
            ),
        );
    }

    /// A quantile outside 0 to 1.
    pub(super) fn invalid_quantile(&mut self, q: f64) {
        self.warn(format_args!(
            "quantile value should be between 0 and 1, got {}",
            format_general(q)
        ));
    }

    fn warn(&mut self, message: fmt::Arguments<'_>) {
        self.annotations.warn(self.span, message);
    }
}
