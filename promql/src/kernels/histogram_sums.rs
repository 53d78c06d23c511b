//! `sum_over_time` and `avg_over_time` of native histograms.

use std::ops::Range;
use std::sync::Arc;

use model::histogram::{
    Combined, CounterResetHint, FloatHistogram, HistogramMean, HistogramSum, IncompatibleSchemas,
};

use crate::row::Row;

use super::Run;
use super::notes::HistogramOperation;

/// `sum_over_time` of one window.
pub(super) fn sum(run: &mut Run<'_, '_>, step: usize, window: Range<usize>, out: &mut Row) {
    let mut sum = HistogramSum::new(&run.samples.histograms[window.start]);
    fold(
        run,
        step,
        window,
        out,
        &mut sum,
        HistogramSum::add,
        HistogramSum::finish,
    );
}

/// `avg_over_time` of one window.
pub(super) fn avg(run: &mut Run<'_, '_>, step: usize, window: Range<usize>, out: &mut Row) {
    let mut mean = HistogramMean::new(&run.samples.histograms[window.start]);
    fold(
        run,
        step,
        window,
        out,
        &mut mean,
        HistogramMean::add,
        HistogramMean::finish,
    );
}

fn fold<T>(
    run: &mut Run<'_, '_>,
    step: usize,
    window: Range<usize>,
    out: &mut Row,
    total: &mut T,
    add: fn(&mut T, &FloatHistogram) -> Result<Combined, IncompatibleSchemas>,
    finish: fn(&T) -> FloatHistogram,
) {
    let histograms = &run.samples.histograms[window];
    let (mut reset_seen, mut no_reset_seen, mut reconciled) = (false, false, false);
    for (i, histogram) in histograms.iter().enumerate() {
        reset_seen |= histogram.counter_reset_hint == CounterResetHint::Reset;
        no_reset_seen |= histogram.counter_reset_hint == CounterResetHint::NotReset;
        if i == 0 {
            continue;
        }
        match add(total, histogram) {
            Ok(combined) => reconciled |= combined.bounds_reconciled,
            Err(IncompatibleSchemas) => {
                run.notes.mixed_schemas();
                return;
            }
        }
    }
    if reset_seen && no_reset_seen {
        run.notes.resets_collide(HistogramOperation::Aggregation);
    }
    if reconciled {
        run.notes.bounds_reconciled(HistogramOperation::Aggregation);
    }
    out.push_histogram(step, Arc::new(finish(total)));
}
