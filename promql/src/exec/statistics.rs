//! Histograms without their buckets, for functions that look at count and sum only.
//!
//! Whether a counter was reset can only be told from the buckets, so it is found out before they go.

use std::sync::Arc;

use model::columns::Columns;
use model::histogram::{CounterResetHint, FloatHistogram, Histogram};
use model::sample::is_stale_nan;

/// Replaces the histograms of `columns` by their statistics, with hints about counter resets between them.
pub(super) fn keep_statistics(columns: &mut Columns) {
    let mut previous: Option<Arc<FloatHistogram>> = None;
    for (_, histogram) in &mut columns.histograms {
        let whole = histogram.to_float();
        let stale = is_stale_nan(whole.sum);
        let hint = match (&previous, whole.counter_reset_hint) {
            (Some(previous), CounterResetHint::Unknown) if !stale => match whole.detect_reset(previous) {
                true => CounterResetHint::Reset,
                false => CounterResetHint::NotReset,
            },
            (_, hint) => hint,
        };
        *histogram = Histogram::Float(Arc::new(FloatHistogram {
            counter_reset_hint: hint,
            schema: whole.schema,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: whole.count,
            sum: whole.sum,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            positive_buckets: Vec::new(),
            negative_buckets: Vec::new(),
            custom_values: None,
        }));
        if !stale {
            previous = Some(whole);
        }
    }
}
