//! `rate`, `increase` and `delta` of native histograms over plain ranges.

use std::ops::Range;
use std::sync::Arc;

use model::histogram::{CounterResetHint, FloatHistogram};

use crate::row::Row;

use super::Run;
use super::notes::{HistogramOperation, Notes};
use super::rate::{Edges, Flavour};
use super::starts::{self, Times};

/// One step whose window holds histograms only: those of `window`.
pub(super) fn window(
    run: &mut Run<'_, '_>,
    flavour: Flavour,
    step: usize,
    window: Range<usize>,
    range_seconds: f64,
    out: &mut Row,
) {
    let samples = run.samples;
    let histograms = &samples.histograms[window.clone()];
    let times = |i: usize| starts::times(samples.histogram_ts, samples.histogram_starts, window.start + i);
    let mut change = None;
    if histograms.len() > 1 {
        change = change_between(&mut run.notes, flavour, histograms, times);
        if change.is_none() {
            return;
        }
    }
    let (start, end) = run.window(step);
    let edges = Edges {
        range_start: start,
        range_end: end,
        first: times(0),
        last_at: times(histograms.len() - 1).at,
        intervals: histograms.len() - 1,
    };
    let first = &histograms[0];
    let (mut change, factor) = if edges.starts_inside(flavour) {
        let change = match change {
            None => FloatHistogram::clone(first),
            Some(mut change) => {
                if !add(&mut run.notes, &mut change, first) {
                    return;
                }
                change
            }
        };
        (change, edges.factor_from_start(flavour, range_seconds))
    } else {
        let Some(change) = change else {
            return;
        };
        let factor = edges.factor(flavour, first.count, change.count, range_seconds);
        (change, factor)
    };
    change.mul(factor);
    out.push_histogram(step, Arc::new(change));
}

/// Adds `other`; false, and a warning, where the buckets cannot be added.
pub(super) fn add(notes: &mut Notes<'_>, to: &mut FloatHistogram, other: &FloatHistogram) -> bool {
    combine(notes, HistogramOperation::Addition, to, other)
}

/// Subtracts `other`; false, and a warning, where the buckets cannot be subtracted.
pub(super) fn sub(notes: &mut Notes<'_>, from: &mut FloatHistogram, other: &FloatHistogram) -> bool {
    combine(notes, HistogramOperation::Subtraction, from, other)
}

fn combine(
    notes: &mut Notes<'_>,
    operation: HistogramOperation,
    left: &mut FloatHistogram,
    right: &FloatHistogram,
) -> bool {
    // Counter resets are what these functions deal with: that hints contradict each other is no news.
    let combined = match operation {
        HistogramOperation::Subtraction => left.sub(right),
        HistogramOperation::Addition | HistogramOperation::Aggregation => left.add(right),
    };
    match combined {
        Ok(combined) => {
            if combined.bounds_reconciled {
                notes.bounds_reconciled(operation);
            }
            true
        }
        Err(_) => {
            notes.mixed_schemas();
            false
        }
    }
}

/// The last of at least two histograms less the first, and what was lost at each reset; `None` where their buckets
/// cannot be compared.
fn change_between(
    notes: &mut Notes<'_>,
    flavour: Flavour,
    histograms: &[Arc<FloatHistogram>],
    times: impl Fn(usize) -> Times,
) -> Option<FloatHistogram> {
    let last = histograms.len() - 1;
    let is_gauge = |i: usize| histograms[i].counter_reset_hint == CounterResetHint::Gauge;
    if flavour.counter && (is_gauge(0) || is_gauge(last)) {
        notes.not_a_counter();
    }
    let reset_at = |i: usize, before: &FloatHistogram| {
        starts::is_reset(times(i - 1), times(i)) || histograms[i].detect_reset(before)
    };
    // Where a reset follows the first histogram, its buckets do not count, and need not fit to the others.
    let nothing;
    let first: &FloatHistogram = if flavour.counter && reset_at(1, &histograms[0]) {
        nothing = empty_like(&histograms[1]);
        &nothing
    } else {
        &histograms[0]
    };
    let custom = first.uses_custom_buckets();
    let mut schema = first.schema.min(histograms[last].schema);
    let mut fits = histograms[last].uses_custom_buckets() == custom;
    for between in &histograms[1..last] {
        if flavour.counter && fits {
            if between.counter_reset_hint == CounterResetHint::Gauge {
                notes.not_a_counter();
            }
            schema = schema.min(between.schema);
            fits = between.uses_custom_buckets() == custom;
        }
    }
    if !fits {
        notes.mixed_schemas();
        return None;
    }
    let mut change = histograms[last].to_schema(schema);
    if !sub(notes, &mut change, first) {
        return None;
    }
    if flavour.counter {
        let mut overlapping = false;
        let mut before = first;
        for (i, current) in histograms.iter().enumerate().skip(1) {
            overlapping |= starts::overlap(times(i - 1), times(i));
            if reset_at(i, before) && !add(notes, &mut change, before) {
                return None;
            }
            before = current;
        }
        if overlapping {
            notes.start_times_overlap();
        }
    } else if !is_gauge(0) || !is_gauge(last) {
        notes.not_a_gauge();
    }
    change.counter_reset_hint = CounterResetHint::Gauge;
    change.compact(0);
    Some(change)
}

/// A histogram without observations that can be added to `other`.
fn empty_like(other: &FloatHistogram) -> FloatHistogram {
    FloatHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: other.schema,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 0.0,
        sum: 0.0,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        positive_buckets: Vec::new(),
        negative_buckets: Vec::new(),
        custom_values: other.custom_values.clone(),
    }
}
