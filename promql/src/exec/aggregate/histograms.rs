//! Sums and means of histograms.

use std::sync::Arc;

use model::histogram::{
    Combined, CounterResetHint, FloatHistogram, HistogramMean, HistogramSum, IncompatibleSchemas,
};

use crate::annotations::Annotations;
use crate::ast::Span;
use crate::exec::text;
use crate::row::Row;

use super::cells::{About, Shared};

/// What is made of a group's histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

/// Histograms of one group, one cell a step; takes no space until the first one comes.
pub(super) struct HistogramCells {
    kind: Sum,
    steps: usize,
    cells: Vec<Option<Box<Cell>>>,
}

struct Cell {
    state: State,
    /// Schemas that cannot be added have met: there is no result.
    incompatible: bool,
    reset_seen: bool,
    no_reset_seen: bool,
}

enum State {
    Sum(HistogramSum),
    /// In their order: a mean cannot be put together from two.
    Mean(Vec<Shared>),
}

impl HistogramCells {
    pub(super) fn new(steps: usize, kind: Sum) -> Self {
        HistogramCells {
            kind,
            steps,
            cells: Vec::new(),
        }
    }

    /// Adds a histogram at `step`.
    pub(super) fn add(&mut self, step: usize, histogram: &Shared, about: About<'_>, notes: &mut Annotations) {
        if self.cells.is_empty() {
            self.cells.resize_with(self.steps, || None);
        }
        let cell = &mut self.cells[step];
        let Some(cell) = cell else {
            *cell = Some(Box::new(Cell::new(self.kind, histogram)));
            return;
        };
        if cell.incompatible {
            return;
        }
        cell.note_hint(histogram.counter_reset_hint);
        let added = match &mut cell.state {
            State::Sum(sum) => sum.add(histogram),
            State::Mean(all) => {
                let custom = all.first().is_some_and(|first| first.uses_custom_buckets());
                match custom == histogram.uses_custom_buckets() {
                    true => {
                        all.push(histogram.clone());
                        Ok(Combined::default())
                    }
                    false => Err(IncompatibleSchemas),
                }
            }
        };
        let name = match about.head.keeps(model::labels::METRIC_NAME) {
            true => about.head.labels.metric_name(),
            false => "",
        };
        cell.note(added, about.span, name, notes);
    }

    /// Takes over the cells of rows that follow.
    pub(super) fn merge(&mut self, later: HistogramCells, about: Span, notes: &mut Annotations) {
        if self.cells.is_empty() {
            self.cells = later.cells;
            return;
        }
        for (mine, later) in self.cells.iter_mut().zip(later.cells) {
            match (mine, later) {
                (_, None) => {}
                (mine @ None, later) => *mine = later,
                (Some(mine), Some(later)) => mine.merge(*later, about, notes),
            }
        }
    }

    /// Puts the results into the row of the group's floats. A step that has both has no result.
    pub(super) fn finish(self, mut row: Row, about: Span, notes: &mut Annotations) -> Row {
        for (step, cell) in self.cells.into_iter().enumerate() {
            let Some(cell) = cell else {
                continue;
            };
            if row.present.get(step) {
                notes.warn(
                    about,
                    "encountered a mix of histograms and floats for aggregation",
                );
                row.present.unset(step);
                row.values[step] = 0.0;
                continue;
            }
            let (reset_seen, no_reset_seen) = (cell.reset_seen, cell.no_reset_seen);
            let Some(mut histogram) = cell.finish(about, notes) else {
                continue;
            };
            histogram.compact(0);
            row.push_histogram(step, Arc::new(histogram));
            if reset_seen && no_reset_seen {
                notes.warn(about, "conflicting counter resets during histogram aggregation");
            }
        }
        row
    }
}

impl Cell {
    fn new(kind: Sum, first: &Shared) -> Self {
        let mut cell = Cell {
            state: match kind {
                Sum::Sum => State::Sum(HistogramSum::new(first)),
                Sum::Mean => State::Mean(vec![first.clone()]),
            },
            incompatible: false,
            reset_seen: false,
            no_reset_seen: false,
        };
        cell.note_hint(first.counter_reset_hint);
        cell
    }

    fn note_hint(&mut self, hint: CounterResetHint) {
        self.reset_seen |= hint == CounterResetHint::Reset;
        self.no_reset_seen |= hint == CounterResetHint::NotReset;
    }

    fn note(
        &mut self,
        added: Result<Combined, IncompatibleSchemas>,
        about: Span,
        metric_name: &str,
        notes: &mut Annotations,
    ) {
        match added {
            Err(IncompatibleSchemas) => {
                self.incompatible = true;
                notes.warn(about, text::mixed_schemas(metric_name));
            }
            Ok(Combined {
                bounds_reconciled: true,
                ..
            }) => notes.info(about, text::bounds_reconciled("aggregation")),
            Ok(_) => {}
        }
    }

    fn merge(&mut self, later: Cell, about: Span, notes: &mut Annotations) {
        self.reset_seen |= later.reset_seen;
        self.no_reset_seen |= later.no_reset_seen;
        self.incompatible |= later.incompatible;
        if self.incompatible {
            return;
        }
        match (&mut self.state, later.state) {
            (State::Sum(mine), State::Sum(later)) => {
                let added = mine.add(&later.finish());
                self.note(added, about, "", notes);
            }
            (State::Mean(mine), State::Mean(later)) => mine.extend(later),
            _ => unreachable!("cells of one aggregation are of one kind"),
        }
    }

    fn finish(mut self, about: Span, notes: &mut Annotations) -> Option<FloatHistogram> {
        let all = match &mut self.state {
            _ if self.incompatible => return None,
            State::Sum(sum) => return Some(sum.finish()),
            State::Mean(all) => std::mem::take(all),
        };
        let (first, others) = all.split_first()?;
        let mut mean = HistogramMean::new(first);
        for histogram in others {
            let added = mean.add(histogram);
            self.note(added, about, "", notes);
            if self.incompatible {
                return None;
            }
        }
        Some(mean.finish())
    }
}
