//! Texts in messages.

pub(super) use model::go::Quoted;

use crate::annotations::Annotations;
use crate::ast::{AggregateOp, Span};

/// A quantile outside 0 to 1.
pub(super) fn invalid_quantile(q: f64) -> String {
    format!(
        "quantile value should be between 0 and 1, got {}",
        model::float::format_general(q)
    )
}

/// Custom bounds differed and were cut down to those in common.
pub(super) fn bounds_reconciled(operation: &str) -> String {
    format!("mismatched custom buckets were reconciled during {operation}")
}

/// One histogram says that it follows a counter reset, another that it does not.
pub(super) fn resets_collide(operation: &str) -> String {
    format!("conflicting counter resets during histogram {operation}")
}

/// Exponential and custom buckets in one group.
pub(super) fn mixed_schemas(metric_name: &str) -> String {
    format!(
        "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
        Quoted(metric_name)
    )
}

/// An aggregation of floats has met histograms.
pub(super) fn histogram_ignored(notes: &mut Annotations, about: Span, op: AggregateOp) {
    let name = match op {
        AggregateOp::Min => "min",
        AggregateOp::Max => "max",
        AggregateOp::Stddev => "stddev",
        AggregateOp::Stdvar => "stdvar",
        AggregateOp::Quantile => "quantile",
        AggregateOp::TopK => "topk",
        AggregateOp::BottomK => "bottomk",
        _ => return,
    };
    notes.info(about, format_args!("ignored histogram in {name} aggregation"));
}
