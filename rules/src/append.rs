//! Writing the results of rules, and markers for series that are gone.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::histogram::Histogram;
use model::labels::Labels;
use model::sample::stale_nan;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, FloatSample, HistogramSample, Refusal,
    SeriesRef,
};
use promql::value::{Sample, SampleValue};

use crate::error::EvalError;

/// Series that a rule wrote at its last evaluation.
pub(crate) type Written = HashMap<Labels, SeriesRef, RandomState>;

/// What became of a rule's results.
#[derive(Default)]
pub(crate) struct Appended {
    /// The series that were written.
    pub(crate) written: Written,
    /// The last reason for which a result was not taken.
    pub(crate) refused: Option<EvalError>,
    /// How many results were not taken, by what the store said.
    pub(crate) refusals: Vec<(Refusal, usize)>,
}

/// Where a sample of a batch came from.
#[derive(Clone, Copy)]
enum Origin {
    Result(usize),
    Marker,
}

/// Writes `samples` and a marker at `at_ms` for each series of `previous` that is not among them.
///
/// # Errors
/// When nothing was written.
pub(crate) fn append(
    appender: &dyn Appender,
    samples: &[Sample],
    previous: &Written,
    at_ms: i64,
) -> Result<Appended, AppendError> {
    match try_append(appender, samples, previous, at_ms) {
        Err(AppendError::UnknownSeries(unknown)) => {
            // The store has forgotten series since: their references must not be used again.
            let again = previous.iter().filter_map(|(labels, reference)| {
                let reference = if unknown.contains(reference) {
                    appender.resolve(labels).ok()?
                } else {
                    *reference
                };
                Some((labels.clone(), reference))
            });
            try_append(appender, samples, &again.collect(), at_ms)
        }
        result => result,
    }
}

fn try_append(
    appender: &dyn Appender,
    samples: &[Sample],
    previous: &Written,
    at_ms: i64,
) -> Result<Appended, AppendError> {
    let mut appended = Appended::default();
    let mut batch = AppendBatch {
        discard_out_of_order: true,
        ..AppendBatch::default()
    };
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    for (index, sample) in samples.iter().enumerate() {
        let known = previous.get(&sample.labels).copied();
        let series = match known.map_or_else(|| appender.resolve(&sample.labels), Ok) {
            Ok(series) => series,
            Err(error) => {
                appended.refused = Some(error.into());
                continue;
            }
        };
        appended.written.insert(sample.labels.clone(), series);
        match &sample.value {
            SampleValue::Float(value) => {
                batch.floats.push(FloatSample {
                    series,
                    timestamp_ms: sample.timestamp_ms,
                    value: *value,
                });
                floats.push(Origin::Result(index));
            }
            SampleValue::Histogram(histogram) => {
                batch.histograms.push(HistogramSample {
                    series,
                    timestamp_ms: sample.timestamp_ms,
                    histogram: Histogram::Float(histogram.clone()),
                });
                histograms.push(Origin::Result(index));
            }
        }
    }
    for (labels, series) in previous {
        if !appended.written.contains_key(labels) {
            batch.floats.push(marker(*series, at_ms));
            floats.push(Origin::Marker);
        }
    }
    if batch.is_empty() {
        return Ok(appended);
    }
    let mut outcome = AppendOutcome::default();
    appender.append(&batch, &mut outcome)?;
    for (list, index, refusal) in &outcome.refused {
        let origins = match list {
            BatchList::Floats => &floats,
            _ => &histograms,
        };
        // Markers are refused where another rule goes on with the series: nothing to tell.
        if let Some(Origin::Result(sample)) = origins.get(*index as usize) {
            appended.refuse(&samples[*sample], *refusal);
        }
    }
    Ok(appended)
}

impl Appended {
    fn refuse(&mut self, sample: &Sample, refusal: Refusal) {
        self.written.remove(&sample.labels);
        self.refused = Some(EvalError::Refused(refusal));
        match self.refusals.iter_mut().find(|(known, _)| *known == refusal) {
            Some((_, count)) => *count += 1,
            None => self.refusals.push((refusal, 1)),
        }
        tracing::debug!(series = %sample.labels, %refusal, "Rule evaluation result discarded");
    }
}

fn marker(series: SeriesRef, timestamp_ms: i64) -> FloatSample {
    FloatSample {
        series,
        timestamp_ms,
        value: stale_nan(),
    }
}

/// Marks `series` as gone from `at_ms` on.
///
/// # Errors
/// When nothing was written; then it is worth trying again.
pub(crate) fn mark_stale(appender: &dyn Appender, series: &[Labels], at_ms: i64) -> Result<(), AppendError> {
    let references = series.iter().filter_map(|labels| appender.resolve(labels).ok());
    let batch = AppendBatch {
        floats: references.map(|reference| marker(reference, at_ms)).collect(),
        discard_out_of_order: true,
        ..AppendBatch::default()
    };
    if batch.is_empty() {
        return Ok(());
    }
    appender.append(&batch, &mut AppendOutcome::default())
}
