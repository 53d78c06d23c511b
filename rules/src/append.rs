//! Writing the results of rules, and markers for series that are gone.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::histogram::Histogram;
use model::labels::Labels;
use model::sample::stale_nan;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, FloatSample, HistogramSample, Refusal,
    SeriesRef, append_resolved,
};
use promql::engine::{ColumnId, InstantVector};
use promql::value::SampleValue;

use crate::error::EvalError;

/// Says that a place of the column was not looked at yet.
const NO_OUTPUT: u32 = u32::MAX;
/// Series that are gone are remembered until there are more of them than of the others, and than this.
const GONE_MIN: usize = 16;

/// The series that a rule writes. Their labels and references are found once, and by the places of the column that results
/// come in: as long as that is the same, nothing is looked up.
#[derive(Default)]
pub(crate) struct Written {
    outputs: Vec<Output>,
    numbers: HashMap<Labels, u32, RandomState>,
    column: Option<ColumnId>,
    /// The number of the output at each place of the column.
    output_of: Vec<u32>,
}

/// To which series elements of a result go.
pub(crate) struct Outputs {
    /// The number of each element's output.
    numbers: Vec<u32>,
    /// Two elements are the same series.
    pub(crate) has_twins: bool,
}

struct Output {
    labels: Labels,
    /// Absent until the store has given one, and when that is not good any more.
    reference: Option<SeriesRef>,
    /// It was written at the last evaluation.
    is_present: bool,
}

/// What became of a rule's results.
#[derive(Default)]
pub(crate) struct Appended {
    /// The last reason for which a result was not taken.
    pub(crate) refused: Option<EvalError>,
    /// How many results were not taken, by what the store said.
    pub(crate) refusals: Vec<(Refusal, usize)>,
}

impl Written {
    /// The series written at the last evaluation.
    pub(crate) fn into_present(self) -> impl Iterator<Item = Labels> {
        let present = self.outputs.into_iter().filter(|output| output.is_present);
        present.map(|output| output.labels)
    }

    /// The outputs of the elements of `results`, whose labels `labels` makes for a place.
    pub(crate) fn outputs(
        &mut self,
        results: &InstantVector,
        mut labels: impl FnMut(u32) -> Labels,
    ) -> Outputs {
        if self.column != Some(results.column()) {
            self.forget_gone();
            self.column = Some(results.column());
            self.output_of.clear();
            self.output_of.resize(results.column_len(), NO_OUTPUT);
        }
        let mut numbers = Vec::with_capacity(results.len());
        let (mut seen, mut has_twins) = (vec![false; self.outputs.len()], false);
        for place in results.places() {
            let mut number = self.output_of[*place as usize];
            if number == NO_OUTPUT {
                number = self.number(labels(*place));
                self.output_of[*place as usize] = number;
                seen.resize(self.outputs.len(), false);
            }
            has_twins |= std::mem::replace(&mut seen[number as usize], true);
            numbers.push(number);
        }
        Outputs { numbers, has_twins }
    }

    fn number(&mut self, labels: Labels) -> u32 {
        let next = self.outputs.len() as u32;
        *self.numbers.entry(labels).or_insert_with_key(|labels| {
            self.outputs.push(Output {
                labels: labels.clone(),
                reference: None,
                is_present: false,
            });
            next
        })
    }

    /// Forgets series that were not written last, if they are many.
    fn forget_gone(&mut self) {
        let present = self.outputs.iter().filter(|output| output.is_present).count();
        if self.outputs.len() - present <= present.max(GONE_MIN) {
            return;
        }
        self.outputs.retain(|output| output.is_present);
        let labels = self.outputs.iter().map(|output| output.labels.clone());
        self.numbers = labels.zip(0..).collect();
    }

    fn forget_references(&mut self, unknown: &[SeriesRef]) {
        for output in &mut self.outputs {
            if output
                .reference
                .is_some_and(|reference| unknown.contains(&reference))
            {
                output.reference = None;
            }
        }
    }

    /// The reference of an output.
    fn resolve(&mut self, number: u32, appender: &dyn Appender) -> Result<SeriesRef, EvalError> {
        let output = &mut self.outputs[number as usize];
        match output.reference {
            Some(reference) => Ok(reference),
            None => Ok(*output.reference.insert(appender.resolve(&output.labels)?)),
        }
    }
}

/// Writes `results` to their `outputs`, and a marker at their time for each series
/// that was written before and is not among them.
///
/// # Errors
/// When nothing was written.
pub(crate) fn append(
    appender: &dyn Appender,
    results: &InstantVector,
    outputs: &Outputs,
    written: &mut Written,
) -> Result<Appended, AppendError> {
    append_resolved(
        written,
        |written| try_append(appender, results, outputs, written),
        // Their references must not be used again.
        Written::forget_references,
    )
}

fn try_append(
    appender: &dyn Appender,
    results: &InstantVector,
    outputs: &Outputs,
    written: &mut Written,
) -> Result<Appended, AppendError> {
    let mut appended = Appended::default();
    let mut batch = AppendBatch {
        discard_out_of_order: true,
        ..AppendBatch::default()
    };
    // The output of each entry of the batch; behind those of `floats` come markers.
    let (mut floats, mut histograms) = (Vec::with_capacity(outputs.numbers.len()), Vec::new());
    let mut is_present = vec![false; written.outputs.len()];
    let timestamp_ms = results.timestamp_ms();
    for (index, number) in outputs.numbers.iter().enumerate() {
        let series = match written.resolve(*number, appender) {
            Ok(series) => series,
            Err(error) => {
                appended.refused = Some(error);
                continue;
            }
        };
        is_present[*number as usize] = true;
        match results.value(index) {
            SampleValue::Float(value) => {
                batch.floats.push(FloatSample {
                    series,
                    timestamp_ms,
                    value,
                });
                floats.push(*number);
            }
            SampleValue::Histogram(histogram) => {
                batch.histograms.push(HistogramSample {
                    series,
                    timestamp_ms,
                    histogram: Histogram::Float(histogram),
                });
                histograms.push(*number);
            }
        }
    }
    for (number, is_present) in is_present.iter().enumerate() {
        if written.outputs[number].is_present
            && !is_present
            && let Ok(series) = written.resolve(number as u32, appender)
        {
            batch.floats.push(marker(series, timestamp_ms));
        }
    }
    if !batch.is_empty() {
        let mut outcome = AppendOutcome::default();
        appender.append(&batch, &mut outcome)?;
        for (list, index, refusal) in &outcome.refused {
            let list = match list {
                BatchList::Floats => &floats,
                _ => &histograms,
            };
            // Markers are refused where another rule goes on with the series: nothing to tell.
            if let Some(number) = list.get(*index as usize) {
                is_present[*number as usize] = false;
                appended.refuse(&written.outputs[*number as usize].labels, *refusal);
            }
        }
    }
    for (output, is_present) in written.outputs.iter_mut().zip(is_present) {
        output.is_present = is_present;
    }
    Ok(appended)
}

impl Appended {
    fn refuse(&mut self, series: &Labels, refusal: Refusal) {
        self.refused = Some(EvalError::Refused(refusal));
        match self.refusals.iter_mut().find(|(known, _)| *known == refusal) {
            Some((_, count)) => *count += 1,
            None => self.refusals.push((refusal, 1)),
        }
        tracing::debug!(%series, %refusal, "Rule evaluation result discarded");
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
