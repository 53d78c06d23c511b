//! From the outermost node to the answer.

use std::sync::Arc;

use model::labels::Labels;

use crate::engine::QueryError;
use crate::plan::{Distinct, NodeId, Root};
use crate::row::{Row, Steps};
use crate::value::{Sample, SampleValue, Series, Value};

use super::Execution;
use super::head::is_metadata_label;
use super::limits::{Held, float_row_bytes, row_samples};
use super::ordered;
use super::table::{Collect, SeriesRow, Table};

impl Execution<'_> {
    /// Evaluates the query: to its own type at one point in time, to a matrix over a range. What the value takes stays
    /// accounted for until the second result is dropped.
    pub(crate) fn evaluate(&self, instant: bool) -> Result<(Value, Held), QueryError> {
        let mut held = Held::new(&self.shared.limits);
        let value = self.value(instant, &mut held)?;
        Ok((value, held))
    }

    fn value(&self, instant: bool, held: &mut Held) -> Result<Value, QueryError> {
        let steps = self.plan.steps;
        self.shared.limits.check()?;
        match &self.plan.root {
            Root::String(value) => Ok(Value::String {
                timestamp_ms: steps.start_ms,
                value: value.clone(),
            }),
            Root::Scalar(scalar) => {
                self.check_steps(steps)?;
                let values = self.scalar(scalar, steps)?;
                self.shared.limits.touch_samples(steps.count)?;
                held.add_bytes(2 * float_row_bytes(if instant { 1 } else { steps.count }))?;
                if instant {
                    return Ok(Value::Scalar {
                        timestamp_ms: steps.start_ms,
                        value: values.at(0),
                    });
                }
                if steps.count == 0 {
                    return Ok(Value::Matrix(Vec::new()));
                }
                Ok(Value::Matrix(vec![Series {
                    labels: Labels::empty(),
                    timestamps_ms: times(steps),
                    values: values.into_steps(steps.count),
                    histograms: Vec::new(),
                }]))
            }
            Root::Vector(node) => {
                let series = self.finished(*node, held)?;
                match instant {
                    true => Ok(Value::Vector(
                        series.into_iter().map(|s| sample(s, steps.start_ms)).collect(),
                    )),
                    false => self.matrix(series, steps, held),
                }
            }
            Root::Subquery(node) => {
                let steps = self.plan.node(*node).steps;
                self.matrix(self.finished(*node, held)?, steps, held)
            }
            Root::Samples(select) => self.samples(select, held),
        }
    }

    /// The rows of the outermost node, with the names gone that were to go at the end.
    fn finished(&self, node: NodeId, all: &mut Held) -> Result<Vec<SeriesRow>, QueryError> {
        let table = match self.plan.node(node).distinct {
            Distinct::Sure => {
                let limits = &self.shared.limits;
                let (collect, samples) = self.consume(node, || Collect::new(limits))?;
                all.absorb(samples);
                collect.finish()
            }
            _ => self.owned_table(node)?,
        };
        let mut table = table;
        if self.shared.features.delayed_name_removal {
            let dropping = table.series.iter_mut().filter(|series| series.drop_name);
            for (index, series) in dropping.enumerate() {
                self.shared.limits.check_now_and_then(index)?;
                series.labels = series.labels.without(is_metadata_label);
            }
            table.make_distinct(Distinct::Merge)?;
        }
        let (series, held) = table.into_parts();
        all.absorb(held);
        Ok(series)
    }

    /// The rows of a node, as a table that nobody else has.
    fn owned_table(&self, node: NodeId) -> Result<Table, QueryError> {
        let (table, _samples) = self.table(node)?;
        match Arc::try_unwrap(table) {
            Ok(table) => Ok(table),
            Err(shared) => {
                let mut table = Table::new(&self.shared.limits);
                for series in &shared.series {
                    table.push(series.labels.clone(), series.drop_name, series.row.clone())?;
                }
                Ok(table)
            }
        }
    }

    /// Rows as series, sorted by their labels.
    fn matrix(&self, series: Vec<SeriesRow>, steps: Steps, held: &mut Held) -> Result<Value, QueryError> {
        held.add_bytes(series.len() * size_of::<Series>() + 8 * steps.count)?;
        let all = times(steps);
        let mut matrix = Vec::with_capacity(series.len());
        for (index, series) in series.into_iter().enumerate() {
            self.shared.limits.check_now_and_then(index)?;
            let series = series_of(series, steps, &all);
            if !Arc::ptr_eq(&series.timestamps_ms, &all) {
                held.add_bytes(8 * series.timestamps_ms.len())?;
            }
            matrix.push(series);
        }
        ordered::sort_by(&mut matrix, &self.shared.limits, |a, b| a.labels.cmp(&b.labels))?;
        Ok(Value::Matrix(matrix))
    }
}

fn times(steps: Steps) -> Arc<[i64]> {
    (0..steps.count).map(|step| steps.at(step)).collect()
}

fn sample(series: SeriesRow, timestamp_ms: i64) -> Sample {
    let SeriesRow { labels, mut row, .. } = series;
    let value = match row.histograms.pop() {
        Some((_, histogram)) => SampleValue::Histogram(histogram),
        None => SampleValue::Float(row.values[0]),
    };
    Sample {
        labels,
        timestamp_ms,
        value,
    }
}

fn series_of(series: SeriesRow, steps: Steps, all: &Arc<[i64]>) -> Series {
    let SeriesRow { labels, row, .. } = series;
    if row.histograms.is_empty() && row_samples(&row) == steps.count {
        return Series {
            labels,
            timestamps_ms: all.clone(),
            values: row.values,
            histograms: Vec::new(),
        };
    }
    let Row {
        mut present,
        values,
        histograms,
    } = row;
    for (step, _) in &histograms {
        present.unset(*step as usize);
    }
    let floats = present.count();
    let (mut timestamps_ms, mut with_float) = (Vec::with_capacity(floats), Vec::with_capacity(floats));
    present.for_each_set(|step| {
        timestamps_ms.push(steps.at(step));
        with_float.push(values[step]);
    });
    Series {
        labels,
        timestamps_ms: timestamps_ms.into(),
        values: with_float,
        histograms: histograms
            .into_iter()
            .map(|(step, histogram)| (steps.at(step as usize), histogram))
            .collect(),
    }
}
