//! Vectors that are kept: all rows of a node.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use model::labels::Labels;

use crate::annotations::Annotations;
use crate::engine::{ExecutionError, QueryError};
use crate::plan::Distinct;
use crate::row::Row;

use super::head::Head;
use super::limits::{Held, Limits, labels_bytes, row_bytes, row_samples};
use super::pipeline::{Consumer, Sink};

/// A row and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct SeriesRow {
    /// Its labels; none is only marked as dropped.
    pub(crate) labels: Labels,
    /// Name, type and unit go when the query is done.
    pub(crate) drop_name: bool,
    /// Its results, at least one.
    pub(crate) row: Row,
}

/// All rows of a node, in the node's order.
#[derive(Debug)]
pub(crate) struct Table {
    /// The rows.
    pub(crate) series: Vec<SeriesRow>,
    held: Held,
}

impl Table {
    /// No rows.
    pub(crate) fn new(limits: &Arc<Limits>) -> Self {
        Table {
            series: Vec::new(),
            held: Held::new(limits),
        }
    }

    /// Adds a row, unless it is empty.
    pub(crate) fn push(&mut self, labels: Labels, drop_name: bool, row: Row) -> Result<(), QueryError> {
        if row.is_empty() {
            return Ok(());
        }
        self.held.add_bytes(row_bytes(&row) + labels_bytes(&labels))?;
        self.series.push(SeriesRow {
            labels,
            drop_name,
            row,
        });
        Ok(())
    }

    /// By whose limits it is held.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        self.held.limits()
    }

    /// The samples of all rows.
    pub(crate) fn samples(&self) -> usize {
        self.series.iter().map(|series| row_samples(&series.row)).sum()
    }

    /// How many rows have a result at the last step.
    pub(crate) fn rows_at_last(&self) -> usize {
        let at_last = |series: &&SeriesRow| series.row.has_last();
        self.series.iter().filter(at_last).count()
    }

    /// What is held for the rows.
    pub(crate) fn into_parts(self) -> (Vec<SeriesRow>, Held) {
        (self.series, self.held)
    }

    /// Treats rows with equal labels as `distinct` says.
    pub(crate) fn make_distinct(&mut self, distinct: Distinct) -> Result<(), QueryError> {
        if distinct == Distinct::Sure || self.series.len() < 2 {
            return Ok(());
        }
        // The table of labels, and the second list.
        let each = size_of::<(Labels, usize)>() * 2 + size_of::<SeriesRow>();
        self.held.touch_bytes(each.saturating_mul(self.series.len()))?;
        let limits = self.limits().clone();
        let mut first: HashMap<Labels, usize> = HashMap::with_capacity(self.series.len());
        let mut kept: Vec<SeriesRow> = Vec::with_capacity(self.series.len());
        for (index, series) in self.series.drain(..).enumerate() {
            limits.check_now_and_then(index)?;
            match first.get(&series.labels) {
                None => {
                    first.insert(series.labels.clone(), kept.len());
                    kept.push(series);
                }
                Some(_) if distinct == Distinct::Refuse => return Err(ExecutionError::SameLabelset.into()),
                Some(at) => merge_rows(&mut kept[*at].row, series.row)?,
            }
        }
        self.series = kept;
        Ok(())
    }
}

/// Adds the results of `other` to `row`; no step may have both.
pub(crate) fn merge_rows(row: &mut Row, other: Row) -> Result<(), QueryError> {
    for (mine, others) in row.present.words_mut().iter_mut().zip(other.present.words()) {
        if *mine & others != 0 {
            return Err(ExecutionError::SameLabelset.into());
        }
        *mine |= others;
    }
    for (step, value) in other.values.iter().enumerate() {
        if other.present.get(step) {
            row.values[step] = *value;
        }
    }
    if !other.histograms.is_empty() {
        row.histograms.extend(other.histograms);
        row.histograms.sort_by_key(|(step, _)| *step);
    }
    Ok(())
}

/// Keeps the rows that come.
pub(crate) struct Collect {
    table: Table,
}

impl Collect {
    /// Keeps nothing yet.
    pub(crate) fn new(limits: &Arc<Limits>) -> Self {
        Collect {
            table: Table::new(limits),
        }
    }

    /// The rows that came.
    pub(crate) fn finish(self) -> Table {
        self.table
    }
}

impl Sink for Collect {
    fn take(&mut self, head: Head, row: &mut Row, _: &mut Annotations) -> Result<(), QueryError> {
        let drop_name = head.drop_name;
        self.table
            .push(head.into_labels(), drop_name, std::mem::take(row))?;
        Ok(())
    }
}

impl Consumer for Collect {
    fn merge(&mut self, later: Self, _: &mut Annotations) -> Result<(), QueryError> {
        self.table.series.extend(later.table.series);
        self.table.held.absorb(later.table.held);
        Ok(())
    }
}
