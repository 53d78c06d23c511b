//! Whole counts to float counts.

use super::{FloatHistogram, IntHistogram};

impl IntHistogram {
    /// The same histogram with float counts and absolute buckets.
    pub fn to_float(&self) -> FloatHistogram {
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            positive_buckets: absolute(&self.positive_buckets),
            negative_buckets: absolute(&self.negative_buckets),
            custom_values: self.custom_values.clone(),
        }
    }
}

/// Absolute counts from differences. Differences from outside may overflow; they wrap as the reference's do.
fn absolute(deltas: &[i64]) -> Vec<f64> {
    deltas
        .iter()
        .scan(0_i64, |count, delta| {
            *count = count.wrapping_add(*delta);
            Some(*count as f64)
        })
        .collect()
}
