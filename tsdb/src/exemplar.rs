//! What an exemplar must be like, wherever it is kept.

use model::sample::Exemplar;
use model::storage::{AppendBatch, Refusal, SeriesRef};

/// Most characters that the names and values of an exemplar's labels may have together.
const LABEL_CHARS_MAX: usize = 128;

/// # Errors
/// When the exemplar's labels are too long.
pub(crate) fn check_labels(exemplar: &Exemplar) -> Result<(), Refusal> {
    let pairs = exemplar.labels.iter();
    let chars: usize = pairs.map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    if chars > LABEL_CHARS_MAX {
        return Err(Refusal::ExemplarLabelsTooLong);
    }
    Ok(())
}

/// The time of an exemplar of `series`: its own, or that of its sample; `None` where there is neither.
pub(crate) fn timestamp_of(exemplar: &Exemplar, series: SeriesRef, batch: &AppendBatch) -> Option<i64> {
    let of_float = || {
        let float = batch.floats.iter().find(|sample| sample.series == series);
        float.map(|sample| sample.timestamp_ms)
    };
    let of_histogram = || {
        let histogram = batch.histograms.iter().find(|sample| sample.series == series);
        histogram.map(|sample| sample.timestamp_ms)
    };
    exemplar.timestamp_ms.or_else(of_float).or_else(of_histogram)
}
